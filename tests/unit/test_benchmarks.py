"""The benchmarks' own code, on given figures: what is measured is no test's business."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from matplotlib.text import Text

from benchmarks import __main__, chart, measure, peers, ratios, tables, workloads
from benchmarks.growth import Figures, bytes_per_event
from benchmarks.ratios import CASES, Failed, Found, Ratio

STORM = next(case for case in CASES if case.title == "storm, every coroutine")
HTTP = next(case for case in CASES if case.workload == "http")
DECORATED = next(case for case in CASES if case.ours == "decorated")

MEASURED: list[Found] = [
    {"native": Ratio(1.46, 1.4, 1.5), "python": Ratio(6.4, 3.87, 7.8), "viztracer": Ratio(3.1, 3.0, 12.5)},
    {"native": Ratio(0.98, 0.97, 1.0), "python": Ratio(0.5, 0.4, 0.6), "viztracer": Failed("KeyError: 'task'")},
]


def ignore(text: str) -> None:
    pass


def test_the_table_of_asynctrace_has_a_column_for_each_core_with_its_goal_beside_it() -> None:
    assert tables.core_table([STORM, HTTP], MEASURED, ["native", "python"]) == [
        ["asynctrace", "native core", "goal", "python core", "goal"],
        ["storm, every coroutine", "1.46 (1.40–1.50)", "≤ 1.6", "6.40 (3.87–7.80)", "≤ 8"],
        ["HTTP, requests/s kept", "0.98 (0.97–1.00)", "≥ 0.97", "0.50 (0.40–0.60)", "≥ 0.5"],
    ]


def test_one_core_alone_can_be_shown() -> None:
    rows = tables.core_table([STORM], MEASURED[:1], ["python"])
    assert rows == [
        ["asynctrace", "python core", "goal"],
        ["storm, every coroutine", "6.40 (3.87–7.80)", "≤ 8"],
    ]


def test_a_peer_that_failed_is_a_dash_in_the_table_and_a_sentence_under_it() -> None:
    rows = tables.peer_table([STORM, HTTP], MEASURED, ["viztracer"])
    assert rows[2:] == [["storm, every coroutine", "3.10 (3.00–12.50)"], ["HTTP, requests/s kept", "–"]]
    assert tables.reasons([STORM, HTTP], MEASURED) == [
        "– viztracer has no figure for HTTP, requests/s kept: KeyError: 'task'."
    ]


def test_a_reason_that_is_the_same_for_several_rows_is_told_once() -> None:
    found: list[Found] = [{"asyncviz": Failed("it is not installed here")}] * 2
    assert tables.reasons([STORM, HTTP], found) == [
        "– asyncviz has no figure for storm, every coroutine; HTTP, requests/s kept: it is not installed here."
    ]


def test_peers_have_no_row_where_only_asynctrace_can_be_asked() -> None:
    rows = tables.peer_table([DECORATED, STORM], [{}, MEASURED[0]], ["viztracer"])
    assert [row[0] for row in rows] == ["other tools", "records", "storm, every coroutine"]


def test_markdown_has_one_row_a_line_and_escapes_bars() -> None:
    assert tables.as_markdown([["", "a"], ["b|c", "1"]]) == "|  | a |\n|---|---:|\n| b\\|c | 1 |"


class Clock:
    """Stands in for the measurements: seconds by tool, the same in each turn unless a list is given."""

    def __init__(self, **took: float | list[float] | str) -> None:
        self.took = took
        self.asked: list[tuple[str, str | None]] = []

    def __call__(self, workload: str, tool: str, times: int, core: str | None = None) -> dict[str, float]:
        self.asked.append((tool, core))
        took = self.took[core or tool]
        if isinstance(took, str):
            raise ratios.MeasurementError(took)
        seconds = took.pop(0) if isinstance(took, list) else took
        return {"wall": seconds, "cpu": seconds / 2}


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Clock]:
    def made(**took: float | list[float] | str) -> Clock:
        found = Clock(**took)
        monkeypatch.setattr(ratios, "seconds", found)
        return found

    return made


def test_a_tool_is_held_against_the_untraced_run_of_its_own_turn(clock: Callable[..., Clock]) -> None:
    taken = clock(untraced=[1.0, 2.0, 4.0], native=[2.0, 3.0, 12.0], debug=[4.0, 8.0, 16.0])
    found = ratios.ratios(STORM, 3, 1, "wall", ["native", "debug"], ignore)
    assert found == {"native": Ratio(2.0, 1.5, 3.0), "debug": Ratio(4.0, 4.0, 4.0)}
    assert taken.asked == [("untraced", None), ("every", "native"), ("debug", None)] * 3


def test_of_a_rate_what_is_kept_is_given(clock: Callable[..., Clock]) -> None:
    clock(untraced=1.0, python=4.0)
    assert ratios.ratios(HTTP, 1, 1, "cpu", ["python"], ignore) == {"python": Ratio(0.25, 0.25, 0.25)}


def test_a_tool_that_fails_in_one_turn_has_no_ratio_and_the_others_go_on(clock: Callable[..., Clock]) -> None:
    clock(untraced=1.0, native="UsageError: there is no native core", debug=3.0)
    assert ratios.ratios(STORM, 2, 1, "wall", ["native", "debug"], ignore) == {
        "native": Failed("UsageError: there is no native core"),
        "debug": Ratio(3.0, 3.0, 3.0),
    }


def test_a_program_that_fails_untraced_gives_that_as_the_reason_of_all(clock: Callable[..., Clock]) -> None:
    clock(untraced="ModuleNotFoundError: No module named 'uvloop'")
    reason = "the program itself failed: ModuleNotFoundError: No module named 'uvloop'"
    found = ratios.ratios(STORM, 2, 1, "wall", ["native", "debug"], ignore)
    assert found == {"native": Failed(reason), "debug": Failed(reason)}


def test_a_peer_that_is_not_installed_is_told(clock: Callable[..., Clock], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(peers.PEERS, "viztracer", peers.Peer("viztracer", "no_such_package.module", "nothing"))
    clock(untraced=1.0, native=1.0)
    assert ratios.ratios(STORM, 1, 1, "wall", ["native", "viztracer"], ignore) == {
        "native": Ratio(1.0, 1.0, 1.0),
        "viztracer": Failed("it is not installed here"),
    }


def test_a_measurement_that_fails_says_why_with_its_last_line() -> None:
    with pytest.raises(ratios.MeasurementError, match=r"No module named benchmarks\.no_such_module"):
        ratios.output_of("benchmarks.no_such_module")


def test_a_tool_that_recorded_nothing_has_no_cost() -> None:
    with pytest.raises(peers.NothingRecordedError, match="it recorded nothing of this program"):
        peers._check(0)


@pytest.mark.parametrize("tool", ["untraced", "every", "decorated", "idle", "debug"])
def test_programs_do_the_same_work_untraced_and_traced(tool: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workloads, "STORM_TASKS", 2)
    monkeypatch.setattr(workloads, "STORM_YIELDS", 3)
    assert measure.measure("storm", tool, times=1).wall > 0


def test_a_program_that_did_other_work_raises(monkeypatch: pytest.MonkeyPatch) -> None:
    async def idles(count: int) -> int:
        return count - 1

    monkeypatch.setattr(workloads, "STORM_TASKS", 2)
    monkeypatch.setattr(workloads, "STORM_YIELDS", 3)
    with pytest.raises(workloads.WorkNotDoneError, match="the program did 4 of 6 pieces"):
        asyncio.run(workloads.storm(idles)())


def of_size(size: int, events: int, held: int, dropped: int = 0, **more: float) -> Figures:
    return {
        "size": size,
        "events": events,
        "held_bytes": held,
        "late_growth": 0.004,
        "dropped": dropped,
        "event_ns": 50.0,
        **more,
    }


SAVED = {
    "save_s": 1.5,
    "save_peak_bytes": 100 * 2**20,
    "load_s": 3.0,
    "load_peak_bytes": 200 * 2**20,
    "disk_bytes": 20_000_000,
}
GROWTH = [
    of_size(100_000, 100_000, 4_000_000, **SAVED),
    of_size(1_000_000, 1_000_000, 32_800_000, **SAVED),
    of_size(10_000_000, 10_000_000, 256 * 2**20, dropped=1_611_392),
]


def test_the_memory_of_an_event_is_what_more_events_add() -> None:
    assert bytes_per_event(GROWTH) == 32.0


def test_the_memory_of_an_event_is_unknown_when_the_oldest_went() -> None:
    assert bytes_per_event([of_size(100_000, 100_000, 1), of_size(1_000_000, 1_000_000, 2, dropped=1)]) is None


def test_costs_are_shown_for_each_core_with_the_goal_and_a_core_without_has_dashes() -> None:
    costs: tables.OfCore = {"native": {"event_ns": 45.0}, "python": {}}
    growth: tables.GrowthOfCore = {"native": GROWTH, "python": []}
    rows = {title: cells for title, *cells in tables.cost_table(costs, growth)}
    assert rows[""] == ["native core", "python core", "goal"]
    assert rows["time an event adds to a storm"] == ["45 ns", "–", ""]
    assert rows["memory of an event, 10⁵ to 10⁶ events"] == ["32 bytes", "–", "≤ 32 bytes"]
    assert rows["load and summarise a million events"] == ["3.0 s", "–", "≤ 4 s"]
    assert rows["peak memory of the process that did"] == ["200 MiB", "–", ""]
    assert rows["import asynctrace"] == ["–", "–", ""]


def test_sizes_measured_before_one_that_fails_are_shown_and_the_failure_is_told(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(largest: int, core: str, progress: object) -> Iterator[Figures]:
        yield GROWTH[0]
        raise ratios.MeasurementError("it was not done after 600 s")

    monkeypatch.setattr(__main__, "growth", failing)
    monkeypatch.setattr(__main__, "output_of", lambda *_, **__: '{"event_ns": 45.0}')
    __main__.main(["--no-ratios", "--core", "python"])

    printed = capsys.readouterr().out
    assert "100,000  python  50" in printed and "45 ns" in printed
    assert "– asynctrace's python core has no figures of more events: it was not done after 600 s." in printed


def test_growth_shows_what_was_dropped_and_that_memory_stays() -> None:
    header, *_, last = tables.growth_table({"native": GROWTH})
    assert dict(zip(header, last, strict=True)) == {
        "events": "10,000,000",
        "core": "native",
        "ns an event": "50",
        "memory grew by": "256.0 MiB",
        "in its last tenth": "+0.4%",
        "dropped": "1,611,392",
        "on disk": "–",
        "save": "–",
        "load": "–",
    }


def test_the_chart_shows_slowdowns_by_panel_also_of_what_is_measured_as_a_rate(tmp_path: Path) -> None:
    path = tmp_path / "slowdowns.png"
    figure = chart.draw([STORM, HTTP], MEASURED, path, footer=["a machine", "python -m benchmarks"])
    texts = [text.get_text() for text in figure.findobj(Text) if isinstance(text, Text)]
    assert path.read_bytes().startswith(b"\x89PNG")
    assert [ax.get_title(loc="left") for ax in figure.axes] == ["storm", "HTTP"]
    for shown in ("asynctrace, native", "asynctrace, python", "viztracer", "×1.46", "×1.02", "×2.00", "–"):
        assert shown in texts
    assert "python -m benchmarks" in texts


def test_the_chart_s_title_is_what_was_found() -> None:
    assert chart.headline(chart.panels_of([STORM, HTTP], MEASURED)) == (
        "asynctrace (native core): storm ×1.46, HTTP ×1.02 of the untraced time",
        "other tools: storm ×3.1 to ×3.1",
    )


def test_a_chart_of_nothing_that_worked_is_drawn_all_the_same(tmp_path: Path) -> None:
    chart.draw([STORM], [{"native": Failed("no"), "viztracer": Failed("no")}], tmp_path / "none.png", footer=[])
    assert (tmp_path / "none.png").exists()


def test_the_command_writes_its_tables_and_its_chart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def given(case: ratios.Case, *_: object) -> Found:
        return {"native": Ratio(1.0, 1.0, 1.0), "python": Ratio(2.0, 2.0, 2.0), "debug": Failed("it is out")}

    monkeypatch.setattr(__main__, "ratios", given)
    markdown, picture = tmp_path / "costs.md", tmp_path / "costs.png"
    arguments = ["--only", "spawn", "--turns", "3", "--markdown", str(markdown), "--chart", str(picture)]
    __main__.main(arguments)

    text = markdown.read_text(encoding="utf-8")
    assert "`python -m benchmarks --clock wall --turns 3 --only spawn`" in text
    assert "| spawn, every coroutine | 1.00 (1.00–1.00) | ≤ 1.5 | 2.00 (2.00–2.00) | ≤ 8 |" in text
    assert "– asyncio debug has no figure for spawn, every coroutine: it is out." in text
    assert picture.exists()


@pytest.mark.parametrize("arguments", [["--chart", "costs.doc"], ["--markdown", "no/such/directory/costs.md"]])
def test_a_file_that_cannot_be_written_is_refused_before_anything_is_measured(arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as refused:
        __main__.main(arguments)
    assert refused.value.code == 2
