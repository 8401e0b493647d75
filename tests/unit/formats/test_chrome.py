"""Chrome trace JSON: by the format's own rules, and by Perfetto's trace processor where it is there."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from asynctrace.formats import save
from asynctrace.formats.chrome_names import microseconds
from asynctrace.model.build import build_trace
from asynctrace.model.trace import Trace
from tests.chrome_view import View, agrees, expected_sums, view
from tests.cuts import cuts, folded, with_distinct_times
from tests.fakes import FakeTrace
from tests.strategies_parts import example_part, program_parts
from tests.trace_processor import ERRORS, ask

_SETTINGS = settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])


def shown(trace: Trace, folder: Path, name: str = "trace.json") -> View:
    save(trace, folder / name)
    return view(folder / name)


@_SETTINGS
@given(program_parts())
def test_sums_slices_and_tracks_are_those_of_the_model(tmp_path: Path, part: Any) -> None:
    # An arrow is tied to a slice by its time: of slices that begin in the same nanosecond it may be any.
    trace = build_trace([with_distinct_times(part)])
    agrees(trace, shown(trace, tmp_path))


@_SETTINGS
@given(program_parts(), program_parts(pid=200), st.floats(0, 1))
def test_so_they_are_of_several_processes_and_of_what_is_left(
    tmp_path: Path, part: Any, child: Any, share: float
) -> None:
    part = with_distinct_times(part)
    indexes = cuts(part)
    if indexes:
        part = folded(part, indexes[int((len(indexes) - 1) * share)])
    trace = build_trace([part, with_distinct_times(child)])
    agrees(trace, shown(trace, tmp_path))


def test_a_program_as_it_is_shown(tmp_path: Path) -> None:
    fake = FakeTrace(unit_ns=1000)
    main = fake.task(
        "main",
        states=[("ready", 0, 1), ("running", 1, 11), ("waiting", 11, 50, "gather", "await asyncio.gather(a, b)")],
        outcome="unfinished",
    )
    count = fake.task(
        "count",
        creator=main,
        states=[("ready", 5, 12, main), ("running", 12, 20), ("waiting", 20, 30, "sleep"), ("ready", 30, 31, "timer")],
        outcome="unfinished",
    )
    root = fake.coroutine("count", 13, 31, task=count, suspensions=[(19, 31, "sleep(1)")], outcome="unfinished")
    fake.coroutine("sleep", 18, 31, awaiter=root, suspensions=[(19, 31)], outcome="unfinished")
    fake.call("price", 2, 4, task=main, blockings=[("time.sleep", 2.5, 3.5)])
    fake.mark(40, "half way")
    seen = shown(fake.build(end=50, lost=3, notes=["cut short"]), tmp_path)

    assert [(one.category, one.depth, one.name, one.start_ns, one.end_ns) for one in seen.slices] == [
        ("task", 0, "main", 0, 50_000),
        ("task", 1, "ready", 0, 1000),
        ("step", 0, "main", 1000, 11_000),
        ("call", 1, "price", 2000, 4000),
        ("blocking", 2, "time.sleep", 2500, 3500),
        ("task", 0, "count", 5000, 31_000),
        ("task", 1, "ready", 5000, 12_000),
        ("task", 1, "waiting asyncio.gather(a, b)", 11_000, 50_000),
        ("step", 0, "count", 12_000, 20_000),
        ("task", 1, "count", 13_000, 31_000),
        ("task", 2, "sleep", 18_000, 31_000),
        ("task", 3, "waiting sleep", 20_000, 30_000),
        ("task", 3, "ready", 30_000, 31_000),
    ]
    wait = next(one for one in seen.slices if "gather" in one.name)
    assert wait.args == {
        "state": "waiting",
        "wait": "gather",
        "expression": "await asyncio.gather(a, b)",
        "file": "app.py",
        "line": 1,
        "outcome": "unfinished",
    }
    assert [(kind, source.name, target.name) for kind, source, target in seen.arrows] == [("create", "main", "count")]
    assert seen.counters[100, "tasks live"] == [
        (0, 1),
        (1000, 1),
        (5000, 2),
        (12_000, 2),
        (30_000, 2),
        (31_000, 1),
        (50_000, 0),
    ]
    assert seen.counters[100, "tasks ready"] == [
        (0, 1),
        (1000, 0),
        (5000, 1),
        (12_000, 0),
        (30_000, 1),
        (31_000, 0),
        (50_000, 0),
    ]
    assert seen.instants == [(0, "cut short"), (0, "3 events were lost"), (40_000, "half way")]


def test_an_eager_step_lies_in_that_of_its_creator(tmp_path: Path) -> None:
    fake = FakeTrace(unit_ns=1000)
    main = fake.task("main", states=[("running", 0, 10)])
    fake.task(
        "child",
        creator=main,
        is_eager=True,
        states=[("running", 2, 4), ("waiting", 4, 8), ("ready", 8, 10, main), ("running", 10, 11)],
    )
    seen = shown(fake.build(), tmp_path)

    assert [(one.name, one.depth) for one in seen.of_category("step")] == [("main", 0), ("child", 1), ("child", 0)]
    ((kind, source, target),) = seen.arrows
    assert (kind, source.name, target.name, target.start_ns) == ("wake", "main", "child", 10_000)


def test_a_job_has_arrows_to_its_call_and_back(tmp_path: Path) -> None:
    fake = FakeTrace(unit_ns=1000)
    pool = fake.thread("pool")
    task = fake.task(
        "main", states=[("running", 0, 2), ("waiting", 2, 8, "thread"), ("ready", 8, 9, pool), ("running", 9, 10)]
    )
    job = fake.job("work", 1, 7, task=task)
    task.states[1].wait.job = job  # type: ignore[union-attr]
    fake.call("work", 3, 7, kind="job", thread=pool, job=job)
    seen = shown(fake.build(), tmp_path)

    assert [(kind, source.name, target.name) for kind, source, target in seen.arrows] == [
        ("job", "main", "work"),
        ("job", "work", "main"),
    ]


def test_a_generator_is_drawn_only_while_somebody_asks_for_its_value(tmp_path: Path) -> None:
    fake = FakeTrace(unit_ns=1000)
    task = fake.task("main", states=[("running", 0, 10), ("waiting", 10, 20), ("running", 20, 30)])
    root = fake.coroutine("main", 0, 30, task=task, suspensions=[(10, 20)])
    generator = fake.coroutine("numbers", 2, 28, awaiter=root, is_generator=True)
    generator.suspensions = tuple(
        type(root.suspensions[0])(fake.ns(start), fake.ns(end), None, None, is_yield)
        for start, end, is_yield in ((4, 8, True), (10, 20, False), (22, 26, True))
    )
    seen = shown(fake.build(), tmp_path)

    assert [(one.start_ns, one.end_ns) for one in seen.slices if one.name == "numbers"] == [
        (2000, 4000),
        (8000, 22_000),
        (26_000, 28_000),
    ]


def test_what_is_nested_deeper_than_viewers_draw_leaves_room_for_the_wait(tmp_path: Path) -> None:
    fake = FakeTrace(unit_ns=1000)
    task = fake.task("main", states=[("running", 0, 1000), ("waiting", 1000, 2000, "sleep"), ("running", 2000, 3000)])
    outer = None
    for depth in range(700):
        outer = fake.coroutine("down", depth, 3000 - depth, task=task, awaiter=outer, suspensions=[(1000, 2000)])
    trace = fake.build()
    seen = shown(trace, tmp_path)

    assert max(one.depth for one in seen.slices) == 501
    assert seen.slices[-1].name == "main"
    assert [one.depth for one in seen.slices if one.name == "waiting sleep"] == [501]


@pytest.mark.parametrize("name", ['a "quoted" name', "two\nlines", "🧵 emoji", "caf\udce9", "nul\0nul", "x" * 600])
def test_any_name_is_valid_json(tmp_path: Path, name: str) -> None:
    fake = FakeTrace()
    task = fake.task(name, states=[("running", 0, 1), ("waiting", 1, 2, "sleep", name)])
    fake.coroutine(name, 0, 2, task=task).attributes.update({name: name, "nan": float("nan"), "flag": True})
    fake.thread(name)
    seen = shown(fake.build(), tmp_path)

    assert seen.slices[0].name.isprintable()
    (coroutine,) = (one for one in seen.slices if "attributes" in one.args)
    assert list(coroutine.args["attributes"].values())[1:] == ["nan", True]


def test_threads_and_processes_of_the_same_number_stay_apart(tmp_path: Path) -> None:
    fake = FakeTrace()
    for process in (fake.main_process, fake.process("again", pid=100)):
        thread = fake.thread("pool", process=process)
        thread.native_id = 7
        fake.call("work", 0, 1, thread=thread)
    seen = shown(fake.build(), tmp_path)

    assert len({one.track for one in seen.slices}) == 2
    assert len({key[1] for key in seen.names if key[0] == "process_name"}) == 2


def test_compressed_it_is_the_same(tmp_path: Path) -> None:
    trace = build_trace([example_part()])
    assert shown(trace, tmp_path, "trace.json.gz") == shown(trace, tmp_path)


def test_times_are_exact() -> None:
    assert [microseconds(time) for time in (0, 7, 1001, 86_400_000_000_001)] == [
        "0.000",
        "0.007",
        "1.001",
        "86400000000.001",
    ]


def test_a_trace_of_nothing_is_valid(tmp_path: Path) -> None:
    seen = shown(FakeTrace().build(), tmp_path)
    assert (seen.slices, seen.about["exporter"].split()[0]) == ([], "asynctrace")


_COUNTS = (
    "select s.name, s.ts, s.dur, s.depth from slice s where s.dur is not null",
    "select count(*) as n from flow",
    "select t.name, c.ts, cast(c.value as int) as value from counter c join track t on t.id = c.track_id",
    "select extract_arg(f.arg_set_id, 'cat') as cat, extract_arg(a.arg_set_id, 'args.task_id') as source,"
    " extract_arg(b.arg_set_id, 'args.task_id') as target, a.name as sn, b.name as tn"
    " from flow f join slice a on a.id = f.slice_out join slice b on b.id = f.slice_in",
    "select extract_arg(arg_set_id, 'args.task_id') as task, sum(dur) as ns from slice"
    " where extract_arg(arg_set_id, 'args.state') = 'running' group by 1",
)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(4))
def test_the_trace_processor_shows_what_the_model_tells(ui_directory: Path, tmp_path: Path, seed: int) -> None:
    # Of slices that begin at one time it ties arrows to another one than the file's order tells.
    parts = example_part(200, seed), example_part(50, seed + 100, pid=200)
    trace = build_trace([with_distinct_times(part) for part in parts])
    path = tmp_path / "trace.json"
    save(trace, path)
    seen = view(path)
    errors, slices, flows, counters, arrows, running = ask(ui_directory, path, ERRORS, *_COUNTS)

    assert errors == []
    marks = len(seen.instants)
    assert len(slices) - marks == len(seen.slices)
    assert Counter((row["name"], row["ts"], row["dur"]) for row in slices) == Counter(
        [(one.name, one.start_ns, one.end_ns - one.start_ns) for one in seen.slices]
        + [(name, time, 0) for time, name in seen.instants]
    )
    assert flows == [{"n": len(seen.arrows)}]
    assert Counter((row["sn"], row["tn"], row["source"], row["target"]) for row in arrows) == Counter(
        (source.name, target.name, source.args.get("task_id"), target.args.get("task_id"))
        for _, source, target in seen.arrows
    )
    assert Counter((row["name"], row["ts"], row["value"]) for row in counters) == Counter(
        (name, *each) for (_, name), values in seen.counters.items() for each in values
    )
    own = {task: ns for (task, state), ns in expected_sums(trace).items() if state == "running"}
    assert {row["task"]: row["ns"] for row in running if row["ns"]} == own


@pytest.mark.slow
def test_it_sums_up_waiting_and_ready_as_the_model_does(ui_directory: Path, tmp_path: Path) -> None:
    trace = build_trace([example_part(200, 3)])
    path = tmp_path / "trace.json.gz"
    save(trace, path)
    query = (
        "select (select extract_arg(r.arg_set_id, 'args.task_id') from slice r where r.track_id = s.track_id"
        " and r.depth = 0) as task, extract_arg(s.arg_set_id, 'args.state') as state, sum(s.dur) as ns"
        " from slice s where state in ('ready', 'waiting') group by 1, 2"
    )
    errors, rows = ask(ui_directory, path, ERRORS, query)

    assert errors == []
    own = {key: ns for key, ns in expected_sums(trace).items() if key[1] != "running"}
    assert {(row["task"], row["state"]): row["ns"] for row in rows if row["ns"]} == own
