"""The comparison's picture: its size, its words, and that every text can be read."""

from __future__ import annotations

import functools
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.transforms import Bbox

from asynctrace.analysis.comparison_rows import Bar, panel
from asynctrace.analysis.version import measured
from asynctrace.charts.comparison_bars import _visible, split
from asynctrace.charts.comparison_chart import draw_comparison
from asynctrace.charts.looks import LOOKS
from asynctrace.charts.mixing import MIX_NOTE
from asynctrace.charts.style import SMALL
from asynctrace.comparison import Comparison
from asynctrace.errors import UsageError
from tests.comparison_fakes import blocking, comparison, demo, gather, processes, slept, threads
from tests.fakes import FakeTrace


def texts(figure: Figure) -> list[tuple[Text, Bbox]]:
    """Return every text that is drawn, with its place in pixels."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    renderer = canvas.get_renderer()
    found = []
    for artist in figure.findobj(Text):
        assert isinstance(artist, Text)
        if artist.get_text().strip() and artist.get_visible():
            found.append((artist, artist.get_window_extent(renderer)))
    # matplotlib keeps tick labels beyond the axis' end; they are not drawn.
    frames = [axes.get_window_extent(renderer) for axes in figure.axes]
    ticks = [label for axes in figure.axes for label in axes.get_xticklabels()]
    return [
        (text, box)
        for text, box in found
        if not any(text is tick for tick in ticks) or frames[0].x0 - 1 <= (box.x0 + box.x1) / 2 <= frames[0].x1 + 1
    ]


def words(figure: Figure) -> list[str]:
    return [text.get_text() for text, _ in texts(figure)]


def legend(figure: Figure) -> list[str]:
    shown = figure.axes[-1].get_legend()
    return [text.get_text() for text in shown.get_texts()] if shown is not None else []


def crowded() -> Comparison:
    """Long names, many rows, failures, every state, notes: whatever may run out of room."""
    fake = FakeTrace()
    for index in range(20):
        states = [
            ("ready", 0, 10 * index),
            ("running", 10 * index, 10 * index + 100),
            ("waiting", 10 * index + 100, 900, "io", "session.get(f'https://example.org/items/{number}', timeout=10)"),
            ("running", 900, 1000),
        ]
        outcome: Any = ("raised", "cancelled", "unfinished", "returned")[index % 4]
        blockings = [("time.sleep", 910, 990, "time.sleep(0.08)")]
        fake.task("an_uncommonly_long_name_of_a_coroutine", states=states, outcome=outcome, blockings=blockings)
    many = fake.build(notes=["normalize was called more than 1,000 times: its calls are left out " * 3], lost=12)
    packed = FakeTrace()
    for _ in range(300):
        packed.task("get_item", states=[("running", 0, 1), ("waiting", 1, 2000, "io", "session.get(url)")])
    partial = FakeTrace()
    partial.call("count", 0, 500, outcome="raised", blockings=[slept(0, 500)])
    return comparison(
        a_version_with_an_uncommonly_long_name=many,
        packed=packed.build(),
        partial=measured("partial", partial.build(), "ValueError: a message that goes on " + "and on " * 30),
        dead=measured("dead", None, "ModuleNotFoundError: No module named " + "x" * 200),
        empty=FakeTrace().build(end=1000),
        blocking=blocking(),
    )


ALL = [
    demo(),
    crowded(),
    comparison(gather=gather(), blocking=blocking()),
    comparison(blocking=measured("blocking", None, "SyntaxError: invalid syntax"), gather=gather()),
    comparison(gather=gather(24), threads=threads()),
    comparison(alone=processes()),
]


@functools.cache  # drawing takes longer than looking
def page(index: int) -> tuple[Figure, list[tuple[Text, Bbox]]]:
    figure = draw_comparison(ALL[index])
    return figure, texts(figure)


@pytest.mark.parametrize("index", range(len(ALL)))
def test_no_text_is_cut_off_or_small(index: int) -> None:
    figure, found = page(index)

    for text, box in found:
        assert text.get_fontsize() >= SMALL
        assert box.x0 >= 0, text.get_text()
        assert box.y0 >= 0, text.get_text()
        assert box.x1 <= figure.bbox.x1, text.get_text()
        assert box.y1 <= figure.bbox.y1, text.get_text()


@pytest.mark.parametrize("index", range(len(ALL)))
def test_no_two_texts_overlap(index: int) -> None:
    _, found = page(index)

    overlapping = [
        (one.get_text(), other.get_text())
        for (one, first), (other, second) in combinations(found, 2)
        if first.padded(-0.5).overlaps(second.padded(-0.5))
    ]

    assert overlapping == []


def test_the_demo_is_ten_by_five_point_six_inches() -> None:
    width, height = draw_comparison(demo()).get_size_inches()

    assert (width, round(height, 2)) == (10.0, 5.6)


def test_many_rows_make_it_taller_and_few_lower() -> None:
    taller = draw_comparison(comparison(many=gather(24), few=gather(2)))
    lower = draw_comparison(comparison(gather=gather(), blocking=blocking()))

    assert taller.get_size_inches()[1] > 5.6 > lower.get_size_inches()[1]


def test_the_demos_words() -> None:
    said = words(draw_comparison(demo()))

    assert {
        "count ×3: gather, threads and processes overlap; blocking does not",
        "gather finishes 3.0× sooner than blocking: three waits at the same time, on one thread",
        "3.00 s  baseline",
        "1.00 s  3.0× faster",
        "1.12 s  2.7× faster",
        "peak 3 · mean 3.0 in progress",
        "peak 3 · mean 2.7 in progress",
        "CPU 0.01 s",
        "MainThread  count",
        "Thread-1  count",
        "worker 1  count",
        "count #1",
        "time.sleep(1)",
        "asyncio.sleep(1)",
        "seconds since the first line of the script",
    } <= set(said)
    assert said.count("time.sleep(1)") == 9
    assert said.count("asyncio.sleep(1)") == 3
    assert said.count("seconds since the first line of the script") == 1


def test_panels_stand_in_the_order_given_on_one_axis() -> None:
    axes = draw_comparison(demo()).axes

    assert [one.get_label() for one in axes] == ["blocking", "threads", "processes", "gather"]
    assert [one.get_position().y0 for one in axes] == sorted((one.get_position().y0 for one in axes), reverse=True)
    assert {one.get_xlim() for one in axes} == {axes[0].get_xlim()}


def test_the_legend_has_only_what_is_there() -> None:
    assert legend(draw_comparison(demo())) == ["running", "waiting (on what)", "starting up"]
    assert legend(draw_comparison(comparison(gather=gather()))) == ["running", "waiting (on what)"]
    assert legend(draw_comparison(crowded())) == [
        "running",
        "waiting (on what)",
        "ready, loop busy",
        "blocking the loop",
        "raised",
        "cancelled",
        "unfinished",
    ]


def test_the_states_have_their_colours() -> None:
    figure = draw_comparison(demo())

    faces = {to_hex(color) for axes in figure.axes for drawn in axes.collections for color in drawn.get_facecolor()[:1]}

    assert faces == {LOOKS[state].face.lower() for state in ("running", "waiting", "starting")}


def test_a_version_that_failed_is_an_empty_frame_with_its_error() -> None:
    figure = draw_comparison(
        comparison(blocking=blocking(), dead=measured("dead", None, "ModuleNotFoundError: No module named 'x'"))
    )

    dead = figure.axes[1]
    assert [text.get_text() for text in dead.texts] == ["ModuleNotFoundError: No module named 'x'"]
    assert list(dead.collections) == []
    assert "failed" in words(figure)


def test_a_partial_trace_is_drawn_with_its_error_beside() -> None:
    fake = FakeTrace()
    fake.call("count", 0, 500, outcome="raised", blockings=[slept(0, 500)])
    failed = measured("partial", fake.build(), "ValueError: boom", is_script=True)

    said = words(draw_comparison(comparison(blocking=blocking(), partial=failed)))

    assert {"ValueError: boom", "500 ms  failed"} <= set(said)


def test_what_was_folded_or_lost_is_said() -> None:
    said = words(draw_comparison(crowded()))

    assert "24 lanes; 276 more folded" in said
    assert "a_version_with_an_uncommonly_long_name: lost 12 events" in said


def test_another_clock() -> None:
    figure = draw_comparison(
        comparison(gather=gather(), blocking=blocking()),
        time_scale=1 / 1.8,
        time_unit="h",
        time_label="hours of play (1 h = 1.8 s)",
        title="One table at a time, or all",
    )

    assert {"hours of play (1 h = 1.8 s)", "One table at a time, or all", "1.67 h  3.0× slower"} <= set(words(figure))
    assert figure.axes[0].get_xlim()[1] == pytest.approx(3.002 / 1.8 * 1.02)


def test_traces_that_are_no_scripts_begin_at_the_start() -> None:
    compared = Comparison((measured("gather", gather()),), "gather")

    assert "seconds since the start" in words(draw_comparison(compared))


@pytest.mark.parametrize("suffix", [".png", ".svg", ".pdf"])
def test_it_is_written_the_same_each_time(tmp_path: Path, suffix: str) -> None:
    paths = [tmp_path / f"{name}{suffix}" for name in ("one", "two")]
    for path in paths:
        demo().save(path)

    assert paths[0].read_bytes() == paths[1].read_bytes()


def test_another_suffix_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"use one of \.png, \.svg, \.pdf"):
        demo().save(tmp_path / "comparison.txt")


def test_a_notebook_shows_a_png() -> None:
    shown = demo()._repr_png_()

    assert shown is not None
    assert shown.startswith(b"\x89PNG")


def test_a_sliver_alone_is_seen_and_a_crowd_is_its_largest_part() -> None:
    alone = [Bar("ready", 0, 3), Bar("running", 3, 5), Bar("waiting", 5, 500)]
    crowd = [Bar("running", 0, 2), Bar("ready", 2, 9), Bar("waiting", 9, 500)]

    assert _visible(alone, 10) == [Bar("running", 3, 5), Bar("waiting", 5, 500)]
    assert _visible(crowd, 10) == [Bar("ready", 0, 9), Bar("waiting", 9, 500)]


def steps(fake: FakeTrace, count: int) -> None:
    """Add a task of so many steps of 10 ms: 2 ms blocking the loop, 8 ms waiting."""
    states: list[tuple[Any, ...]] = []
    for index in range(count):
        start = 10 * index
        states += [("running", start, start + 2), ("waiting", start + 2, start + 10, "sleep")]
    blockings = [("time.sleep", 10 * index + 0.01, 10 * index + 1.99) for index in range(count)]
    fake.task("storm", states=states, blockings=blockings)


def test_bars_too_fine_to_draw_become_shares_of_the_time() -> None:
    fake = FakeTrace()
    steps(fake, 2000)
    (row,) = panel(fake.build()).rows

    plain, mixes = split(row, finest_ns=100_000_000)

    assert plain == []
    assert {state: round(share, 2) for state, share in mixes[5].shares.items()} == {"blocking": 0.2, "waiting": 0.8}


def test_few_fine_bars_are_drawn_as_they_are() -> None:
    (row,) = panel(blocking()).rows

    assert split(row, finest_ns=5_000_000) == (list(row.bars), [])


def test_the_page_says_what_shares_are() -> None:
    fake = FakeTrace()
    steps(fake, 2000)

    said = words(draw_comparison(comparison(storm=fake.build())))

    assert MIX_NOTE in said
    assert not any(text.startswith("Where bars") for text in words(draw_comparison(demo())))


def test_a_hundred_thousand_states_draw_few_bars() -> None:
    fake = FakeTrace()
    states: list[tuple[Any, ...]] = []
    for index in range(50_000):
        states += [("running", 2 * index, 2 * index + 1), ("ready", 2 * index + 1, 2 * index + 2)]
    fake.task("storm", states=states)

    (axes,) = draw_comparison(comparison(storm=fake.build())).axes

    assert sum(len(drawn.get_paths()) for drawn in axes.collections) < 5_000
