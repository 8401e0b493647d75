"""The Gantt chart as it is drawn: what it says, and that all of it can be read."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from matplotlib import rcParams
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text

from asynctrace import __version__
from asynctrace.charts.gantt import draw_gantt, gantt_png
from asynctrace.errors import AsynctraceError, MissingPackageError, UsageError
from asynctrace.model.trace import Task, Trace
from tests.fakes import FakeTrace


def gather() -> Trace:
    fake = FakeTrace(source="/home/user/gather.py")
    expression = "asyncio.gather(count(), count(), count())"
    main = fake.task(
        "main", line=6, states=[("running", 0, 2), ("waiting", 2, 1000, "gather", expression), ("running", 1000, 1002)]
    )
    for index in range(3):
        fake.task(
            "count",
            line=2,
            creator=main,
            states=[("running", 2 + index, 3 + index), ("waiting", 3 + index, 999, "sleep", "asyncio.sleep(1)")],
        )
    return fake.build()


def every_state() -> Trace:
    fake = FakeTrace(source="app.py")
    main = fake.task(
        "main", outcome="unfinished", states=[("running", 0, 30), ("waiting", 30, 1500, "task", "server.serve()")]
    )
    rules = fake.task(
        "load_rules",
        creator=main,
        states=[("ready", 30, 40), ("running", 40, 260), ("waiting", 260, 900, "io", "reader.readline()")],
        blockings=[("time.sleep", 60, 250)],
    )
    fake.task(
        "refresh",
        creator=main,
        outcome="cancelled",
        states=[("ready", 35, 265), ("running", 265, 280), ("waiting", 280, 1200, "lock", "lock.acquire()")],
    )
    fake.task(
        "get_item",
        creator=rules,
        outcome="raised",
        error="TimeoutError",
        states=[("ready", 36, 280), ("running", 280, 500), ("waiting", 500, 700), ("ready", 700, 800, rules)],
    )
    fake.mark(500, "warm")
    fake.mark(510, "second phase")
    return fake.build(lost=12, notes=["The first 0.21 s are unknown: memory was short. " * 6])


def crowd() -> Trace:
    fake = FakeTrace(source="a/very/long/path/to/a_service_with_a_long_name.pftrace")
    main = fake.task("main", states=[("running", 0, 1), ("waiting", 1, 4000, "task", "server.wait()")])
    for index in range(300):
        label = "Service.get_item_of_a_long_name" if index % 3 else "refresh"
        start = index * 12
        fake.task(
            label,
            creator=main,
            file="some_module_with_a_long_name.py",
            line=1234,
            outcome="raised" if index % 7 == 0 else "returned",
            states=[
                ("ready", start, start + 4),
                ("running", start + 4, start + 5),
                ("waiting", start + 5, start + 300),
            ],
        )
    for index in range(41):
        fake.task("receive", is_user=False, states=[("running", index * 20, index * 20 + 1)])
    return fake.build()


def storm() -> Trace:
    fake = FakeTrace(source="storm.py")
    for task in range(5):
        states = []
        for step in range(1000):
            states += [
                ("running", step + task / 10, step + 0.1 + task / 10),
                ("ready", step + 0.1 + task / 10, step + 1),
            ]
        fake.task("spin", states=states)
    return fake.build()


def nested() -> Trace:
    fake = FakeTrace(source="service.py")
    task = fake.task(
        "handle", states=[("running", 0, 50), ("waiting", 50, 400, "io", "client.get(url)"), ("running", 400, 500)]
    )
    awaiter = fake.coroutine("handle", 0, 500, task=task)
    for level in range(8):
        awaiter = fake.coroutine(f"Service.level_{level}", level, 490 - level, awaiter=awaiter, suspensions=[(50, 400)])
    return fake.build()


def workers() -> Trace:
    fake = FakeTrace(source="processes.py")
    for index in range(3):
        process = fake.process(f"SpawnProcess-{index}", started=1, first_event=100)
        thread = fake.thread("MainThread", process=process, is_main=True)
        fake.call(
            "count", 110, 1110, kind="process", thread=thread, blockings=[("time.sleep", 111, 1109, "time.sleep(1)")]
        )
    return fake.build()


TRACES: dict[str, Callable[[], Trace]] = {
    "gather": gather,
    "every state": every_state,
    "crowd": crowd,
    "storm": storm,
    "nested": nested,
    "workers": workers,
}


def texts(figure: Figure) -> list[Text]:
    """Return the texts that are drawn: matplotlib keeps labels of ticks outside an axis, too."""
    outside = {
        id(label)
        for ax in figure.axes
        for axis, limits in ((ax.xaxis, sorted(ax.get_xlim())), (ax.yaxis, sorted(ax.get_ylim())))
        for tick in axis.get_major_ticks()
        for label in (tick.label1, tick.label2)
        if not limits[0] <= tick.get_loc() <= limits[1]
    }
    found = [text for text in figure.findobj(Text) if isinstance(text, Text)]
    return [text for text in found if text.get_visible() and text.get_text().strip() and id(text) not in outside]


def shown(figure: Figure) -> list[str]:
    return [text.get_text() for text in texts(figure)]


def legend_of(figure: Figure) -> list[str]:
    legend = figure.axes[-1].get_legend()
    assert legend is not None
    return [text.get_text() for text in legend.get_texts()]


@pytest.mark.parametrize("coroutines", [False, True])
@pytest.mark.parametrize("name", TRACES)
def test_no_text_overlaps_another_or_is_cut_off_or_too_small(name: str, coroutines: bool) -> None:
    figure = draw_gantt(TRACES[name](), coroutines=coroutines)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()  # type: ignore[no-untyped-call]  # matplotlib's
    page = figure.bbox

    boxes = [(text.get_text(), text.get_window_extent()) for text in texts(figure)]

    assert {text.get_text(): text.get_fontsize() for text in texts(figure) if float(text.get_fontsize()) < 9} == {}
    assert [said for said, box in boxes if box.x0 < 0 or box.y0 < 0 or box.x1 > page.x1 or box.y1 > page.y1] == []
    overlapping = [
        (said, other)
        for index, (said, box) in enumerate(boxes)
        for other, area in boxes[index + 1 :]
        # Line boxes may touch: a pixel is not an overlap.
        if min(box.x1, area.x1) - max(box.x0, area.x0) > 1 and min(box.y1, area.y1) - max(box.y0, area.y0) > 1
    ]
    assert overlapping == []


def test_gather_says_what_it_shows() -> None:
    figure = draw_gantt(gather())

    said = shown(figure)
    assert "gather.py: 4 tasks, 1.00 s, up to 3 in progress; loop busy 1 %" in said
    assert "peak 4 tasks" in said
    assert {"main", "count #1", "count #2", "count #3", "gather.py:6", "gather.py:2"} <= set(said)
    assert said.count("asyncio.sleep(1)") == 3
    assert f"gather.py · asynctrace {__version__} · lost 0" in said


@pytest.mark.parametrize(
    ("name", "legend"),
    [
        ("gather", ["running", "waiting (on what)"]),
        (
            "every state",
            [
                *("running", "waiting (on what)", "ready, loop busy", "blocking the loop"),
                *("raised", "cancelled", "unfinished", "wakes"),
            ],
        ),
        ("workers", ["running", "waiting (on what)", "starting up"]),
    ],
)
def test_the_legend_has_only_what_is_present(name: str, legend: list[str]) -> None:
    assert legend_of(draw_gantt(TRACES[name]())) == legend


def test_a_step_that_kept_others_ready_is_named_above_the_rows() -> None:
    assert "load_rules 220 ms, 2 kept waiting" in shown(draw_gantt(every_state()))


def test_losses_notes_and_marks_are_told() -> None:
    said = "\n".join(shown(draw_gantt(every_state())))

    assert "lost 12" in said
    assert "The first 0.21 s are unknown" in said
    assert "second phase" in said


def test_what_is_too_fine_is_said_to_be_a_share() -> None:
    assert any("share of the time" in said for said in shown(draw_gantt(storm())))


def test_nested_coroutines_are_drawn_when_asked_for() -> None:
    assert "Service.level_0" in shown(draw_gantt(nested(), coroutines=True))
    assert "Service.level_0" not in shown(draw_gantt(nested()))
    assert "Coroutines nest 8 levels deep here; 6 are drawn." in shown(draw_gantt(nested(), coroutines=True))


def test_a_notebook_and_its_cells_are_called_so() -> None:
    fake = FakeTrace(source="/usr/lib/python3/ipykernel_launcher.py")
    fake.task("main", file="/somewhere/ipykernel_4711/2189754641.py", line=1, states=[("running", 0, 1)])

    said = shown(draw_gantt(fake.build()))

    assert any(text.startswith("notebook: 1 task") for text in said)
    assert "cell:1" in said


def test_a_threaded_script_has_a_picture_too() -> None:
    said = shown(draw_gantt(workers()))

    assert "processes.py: 3 threads, 1.11 s, up to 3 in progress" in said
    assert {"worker 1  count", "worker 2  count", "worker 3  count"} <= set(said)


def test_ten_thousand_tasks_fit_on_sixty_rows() -> None:
    fake = FakeTrace()
    main = fake.task("main", states=[("running", 0, 1), ("waiting", 1, 20_000, "gather", "gather(*jobs)")])
    for index in range(10_000):
        start = index * 1.9
        fake.task(
            "job",
            creator=main,
            states=[
                ("ready", start, start + 0.5),
                ("running", start + 0.5, start + 0.6),
                ("waiting", start + 0.6, start + 100, "sleep", "asyncio.sleep(0.1)"),
                ("ready", start + 100, start + 100.5),
                ("running", start + 100.5, start + 100.6),
            ],
        )

    figure = draw_gantt(fake.build())

    said = shown(figure)
    assert "app.py: 10,001 tasks, 20.0 s, up to 53 in progress; loop busy 10 %" in said
    assert "job ×10,000" in said
    assert figure.get_size_inches()[1] < 60 * 0.28 + 4


@pytest.mark.parametrize("suffix", [".png", ".svg", ".pdf"])
def test_the_same_trace_gives_the_same_bytes(tmp_path: Path, suffix: str) -> None:
    for name in ("a", "b"):
        draw_gantt(gather(), tmp_path / f"{name}{suffix}")

    assert (tmp_path / f"a{suffix}").read_bytes() == (tmp_path / f"b{suffix}").read_bytes()


def test_text_in_an_svg_is_text(tmp_path: Path) -> None:
    draw_gantt(gather(), tmp_path / "gantt.svg")

    assert ">asyncio.sleep(1)</text>" in (tmp_path / "gantt.svg").read_text()


def test_the_picture_is_twelve_inches_wide(tmp_path: Path) -> None:
    png = gantt_png(gather())

    assert png is not None
    assert int.from_bytes(png[16:20], "big") == 12 * 150


def test_it_draws_into_an_axes_and_returns_its_figure(tmp_path: Path) -> None:
    figure = Figure(figsize=(9, 6), layout="constrained")
    upper, lower = figure.subplots(2, 1)

    assert draw_gantt(gather(), tmp_path / "both.png", ax=upper) is figure
    draw_gantt(every_state(), ax=lower)

    FigureCanvasAgg(figure).draw()  # type: ignore[no-untyped-call]  # matplotlib's
    assert [label.get_text() for label in upper.get_yticklabels()][:2] == ["main  gather.py:6", "count #1  gather.py:2"]
    assert axes_width(upper) > 0.6 * figure.bbox.width
    assert (tmp_path / "both.png").exists()


def axes_width(ax: Axes) -> float:
    return float(ax.get_window_extent().width)


def test_the_users_settings_are_left_alone() -> None:
    before = dict(rcParams)

    draw_gantt(gather())

    assert dict(rcParams) == before


def test_an_unknown_suffix_is_refused_before_anything_is_drawn(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"^gantt\.gif is no picture: use one of \.png, \.svg, \.pdf$"):
        draw_gantt(gather(), tmp_path / "gantt.gif")


def test_nothing_to_draw_is_told() -> None:
    with pytest.raises(AsynctraceError, match=r"^no coroutine ran: was main\(\) called without awaiting it\?$"):
        draw_gantt(FakeTrace().build())
    assert gantt_png(FakeTrace().build()) is None


def test_without_matplotlib_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)

    with pytest.raises(MissingPackageError, match=r"install matplotlib \(pip install matplotlib\)$"):
        draw_gantt(gather())


def test_pyplot_is_never_imported() -> None:
    program = (
        "import sys; from tests.unit.charts.test_gantt import gather; from asynctrace.charts.gantt import gantt_png; "
        "gantt_png(gather()); print('matplotlib.pyplot' in sys.modules)"
    )

    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "False"


def test_a_dollar_sign_is_no_formula() -> None:
    fake = FakeTrace(source="$cost$.py")
    task: Task = fake.task("pay_$x$", states=[("running", 0, 1), ("waiting", 1, 100, "io", "price('$5', '$6')")])

    said = shown(draw_gantt(fake.build()))

    assert {task.label, "price('$5', '$6')", "$cost$.py:1"} <= set(said)
    assert gantt_png(fake.build()) is not None
