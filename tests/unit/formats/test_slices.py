"""What a file shows in the Perfetto UI, read with Perfetto's own messages."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings

from asynctrace import events as kinds
from asynctrace.events import Event, Expression, Part, Site, ThreadInfo
from asynctrace.formats import perfetto_arguments, perfetto_names, save_parts
from asynctrace.formats.perfetto_writer import PerfettoWriter
from tests import sampling
from tests.perfetto_view import View, messages, view
from tests.strategies_parts import START_NS, any_parts, example_part, program_parts

pytestmark = pytest.mark.usefixtures("each_core")

one_directory = settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=sampling.examples(60)
)

MAIN, WORKER, SLEEP, AGEN, FUTURE, ERROR, JOB = 1, 2, 3, 4, 5, 6, 7
A, B, LOOP, C1, C2, C3, CALL, JOB_ID = 101, 102, 103, 104, 105, 106, 107, 108

BASE = Part(
    pid=42,
    process_name="MainProcess",
    parent_pid=1,
    python="CPython 3.13.0",
    start_ns=0,
    end_ns=1000,
    wall_ns=1_700_000_000_000_000_000,
    cpu_ns=0,
    program="app.py",
    sees_coroutines=True,
    threads={1: ThreadInfo("MainThread", 42, True), 2: ThreadInfo("pool-0", 43)},
    names={A: "Task-1", B: "fetcher"},
    sites={
        MAIN: Site("main", "app.py", 1, True),
        WORKER: Site("worker", "app.py", 10, True),
        SLEEP: Site("sleep", "/lib/asyncio/tasks.py", 600),
        AGEN: Site("numbers", "app.py", 20, True),
        FUTURE: Site("Future"),
        ERROR: Site("ValueError"),
        JOB: Site("work", "app.py", 30, True),
    },
    expressions={
        (MAIN, 8): Expression("await  asyncio.sleep(\n    1)", 2),
        (SLEEP, 8): Expression("await future", 601),
    },
    stacks={9: ((MAIN, 8), (SLEEP, 8))},
)


def shown(tmp_path: Path, *events: tuple[int, ...], part: Part = BASE) -> View:
    """Save events given as (time, kind, subject, …) on thread 1, or with a negative kind on thread 2."""
    whole: list[Event] = []
    for time_ns, kind, *rest in events:
        subject, other, site, flags = (*rest, 0, 0, 0, 0)[:4]
        whole.append((time_ns, 1 if kind > 0 else 2, abs(kind), subject, other, site, flags))
    path = tmp_path / "shown.pftrace"
    save_parts((replace(part, events=whole),), path)
    return view(path)


def test_a_task_shows_what_it_runs_and_what_it_waits_for(tmp_path: Path) -> None:
    seen = shown(
        tmp_path,
        (10, kinds.TASK_CREATED, A, 0, MAIN),
        (10, kinds.TASK_READY, A),
        (20, kinds.STEP_STARTED, A, LOOP),
        (21, kinds.COROUTINE_STARTED, C1, 0, MAIN),
        (22, kinds.COROUTINE_STARTED, C2, C1, SLEEP),
        (23, kinds.COROUTINE_SUSPENDED, C2, 0, 8),
        (24, kinds.COROUTINE_SUSPENDED, C1, 0, 8),
        (25, kinds.STEP_FINISHED, A, 0, FUTURE),
        (50, kinds.TASK_READY, A, 0, 0, kinds.CAUSE_TIMER),
        (60, kinds.STEP_STARTED, A, LOOP),
        (61, kinds.COROUTINE_RESUMED, C1),
        (62, kinds.COROUTINE_RESUMED, C2),
        (63, kinds.COROUTINE_FINISHED, C2, 0, 0, kinds.RETURNED),
        (64, kinds.COROUTINE_FINISHED, C1, 0, ERROR, kinds.RAISED),
        (65, kinds.STEP_FINISHED, A, 0, ERROR, kinds.RAISED),
    )
    assert seen.on("main") == [
        (0, "main (Task-1)", 10, 65),
        (1, "ready", 10, 20),
        (1, "main", 21, 64),
        (2, "sleep", 22, 63),
        (3, "waiting asyncio.sleep( 1)", 25, 50),
        (3, "ready", 50, 60),
    ]
    assert seen.on("MainThread") == [(0, "main (Task-1)", 20, 25), (0, "main (Task-1)", 60, 65)]
    main, sleep = ("app.py", "main", 1), ("/lib/asyncio/tasks.py", "sleep", 600)
    assert [one.arguments for one in seen.slices if one.arguments] == [
        {"outcome": "raised ValueError"},
        {"cause": "unknown"},
        {"place": main, "outcome": "raised ValueError"},
        {"place": sleep},
        {
            "place": ("app.py", "main", 2),
            "expression": "await  asyncio.sleep(\n    1)",
            "wait": "sleep",
        },
        {"cause": "timer"},
    ]
    assert seen.slices[0].track == ("MainProcess", "asyncio tasks", "main")
    assert seen.values("live tasks") == [1, 1, 1, 1, 1, 0]
    assert seen.values("ready tasks") == [0, 1, 0, 1, 0, 0]


def test_without_coroutines_the_await_stack_names_the_wait(tmp_path: Path) -> None:
    seen = shown(
        tmp_path,
        (10, kinds.TASK_CREATED, A, 0, SLEEP),
        (20, kinds.STEP_STARTED, A, LOOP),
        (24, kinds.AWAIT_STACK, A, 0, 9),
        (25, kinds.STEP_FINISHED, A, 0, FUTURE),
    )
    assert seen.on("main")[-1] == (1, "waiting asyncio.sleep( 1)", 25, None)


def test_attributes_of_the_decorator_and_who_woke_a_task_are_arguments(tmp_path: Path) -> None:
    attributes = (("shard", 3), ("ratio", 0.5), ("hot", True), ("who", "me"), ("below", -7), ("huge", 1 << 80))
    part = replace(BASE, sites={**BASE.sites, MAIN: replace(BASE.sites[MAIN], attributes=attributes)})
    seen = shown(
        tmp_path,
        (1, kinds.TASK_CREATED, A, 0, MAIN),
        (2, kinds.TASK_CREATED, B, 0, WORKER),
        (3, kinds.TASK_READY, A, 2, 0, kinds.CAUSE_THREAD),
        (4, kinds.STEP_STARTED, A, LOOP),
        (5, kinds.COROUTINE_STARTED, C1, 0, MAIN),
        (6, kinds.TASK_READY, B, A, 0, kinds.CAUSE_TASK),
        (7, kinds.COROUTINE_FINISHED, C1, 0, 0, kinds.RETURNED),
        (8, kinds.STEP_FINISHED, A, 0, 0, kinds.RETURNED),
        (9, -kinds.CALL_STARTED, CALL, 0, MAIN),
        part=part,
    )
    given = {"shard": 3, "ratio": 0.5, "hot": True, "who": "me", "below": -7, "huge": str(1 << 80)}
    found = [one.arguments for one in seen.slices if one.name == "main"]
    assert found == [{"place": ("app.py", "main", 1), **given}] * 2
    assert [one.arguments for one in seen.slices if one.name == "ready"] == [
        {"cause": "thread", "thread": "pool-0"},
        {"cause": "task", "waker": "main (Task-1)"},
    ]


MS = 1_000_000


def late(begin_ns: int, ready_ns: int, end_ns: int, *, task: int = A) -> list[tuple[int, ...]]:
    """Return the events of a step that had been ready for so long."""
    return [
        (begin_ns - ready_ns, kinds.TASK_READY, task, 0, 0, kinds.CAUSE_TIMER),
        (begin_ns, kinds.STEP_STARTED, task, LOOP),
        (end_ns, kinds.STEP_FINISHED, task, 0, FUTURE),
    ]


def test_how_far_a_loop_lags_is_told_until_it_idles(tmp_path: Path) -> None:
    seen = shown(
        tmp_path,
        (1, kinds.TASK_CREATED, A, 0, MAIN),
        (2, kinds.LOOP_IDLE_STARTED, LOOP),
        (3, kinds.LOOP_IDLE_FINISHED, LOOP),
        *late(10 * MS, 7 * MS, 11 * MS),
        *late(20 * MS, 2 * MS, 21 * MS),
        (22 * MS, kinds.LOOP_IDLE_STARTED, LOOP),
        (23 * MS, kinds.LOOP_IDLE_FINISHED, LOOP),
        *late(30 * MS, MS - 1, 31 * MS),
        *late(40 * MS, MS, 41 * MS),
        *late(50 * MS, MS - 1, 51 * MS),
        part=replace(BASE, end_ns=100 * MS),
    )
    lag = seen.gauges["MainProcess", "MainThread", "loop lag"]
    assert lag == [(10 * MS, 7.0 * MS), (20 * MS, 2.0 * MS), (22 * MS, 0), (40 * MS, 1.0 * MS), (50 * MS, 0)]


def test_a_loop_that_does_not_say_when_it_idles_has_no_lag_where_nothing_is_ready(tmp_path: Path) -> None:
    seen = shown(
        tmp_path,
        (1, kinds.TASK_CREATED, A, 0, MAIN),
        (2, kinds.TASK_CREATED, B, 0, WORKER),
        (3 * MS, kinds.TASK_READY, B),
        *late(10 * MS, 6 * MS, 11 * MS),
        (12 * MS, kinds.STEP_STARTED, B, LOOP),
        (14 * MS, kinds.STEP_FINISHED, B, 0, FUTURE),
        part=replace(BASE, end_ns=100 * MS),
    )
    assert seen.gauges["MainProcess", "MainThread", "loop lag"] == [
        (10 * MS, 6.0 * MS),
        (12 * MS, 9.0 * MS),
        (14 * MS, 0),
    ]


def test_loops_of_two_threads_lag_by_themselves(tmp_path: Path) -> None:
    other = [(time_ns, -kind, *rest) for time_ns, kind, *rest in late(20 * MS, 4 * MS, 21 * MS, task=B)]
    seen = shown(
        tmp_path,
        (1, kinds.TASK_CREATED, A, 0, MAIN),
        (2, -kinds.TASK_CREATED, B, 0, WORKER),
        *late(10 * MS, 3 * MS, 11 * MS),
        *other,
        part=replace(BASE, end_ns=100 * MS),
    )
    assert seen.gauges == {
        ("MainProcess", "MainThread", "loop lag"): [(10 * MS, 3.0 * MS), (11 * MS, 0)],
        ("MainProcess", "pool-0", "loop lag"): [(20 * MS, 4.0 * MS), (21 * MS, 0)],
    }


def test_a_wake_is_an_arrow_from_the_wakers_step_to_the_woken_step(tmp_path: Path) -> None:
    seen = shown(
        tmp_path,
        (1, kinds.TASK_CREATED, A, 0, MAIN),
        (2, kinds.TASK_CREATED, B, 0, WORKER),
        (10, kinds.STEP_STARTED, B, LOOP),
        (11, kinds.STEP_FINISHED, B, A, FUTURE),
        (20, kinds.STEP_STARTED, A, LOOP),
        (21, kinds.TASK_READY, B, A, 0, kinds.CAUSE_TASK),
        (22, kinds.STEP_FINISHED, A, 0, 0, kinds.RETURNED),
        (23, kinds.STEP_STARTED, B, LOOP),
        (24, kinds.STEP_FINISHED, B, 0, 0, kinds.RETURNED),
    )
    (waker,) = (one for one in seen.slices if one.arrows_out)
    (woken,) = (one for one in seen.slices if one.arrows_in)
    assert (waker.name, waker.start_ns, waker.track[-1]) == ("main (Task-1)", 20, "MainThread")
    assert (woken.name, woken.start_ns, woken.track[-1]) == ("fetcher", 23, "MainThread")
    assert waker.arrows_out == woken.arrows_in
    assert (1, "waiting Task-1", 11, 21) in seen.on("worker")


def test_a_wake_from_another_loop_is_an_arrow_from_its_moment(tmp_path: Path) -> None:
    seen = shown(
        tmp_path,
        (1, kinds.TASK_CREATED, A, 0, MAIN),
        (2, -kinds.TASK_CREATED, B, 0, WORKER),
        (10, -kinds.STEP_STARTED, B, LOOP),
        (11, -kinds.STEP_FINISHED, B, 0, FUTURE),
        (20, kinds.STEP_STARTED, A, LOOP),
        (21, kinds.TASK_READY, B, A, 0, kinds.CAUSE_TASK),
        (22, -kinds.STEP_STARTED, B, LOOP),
        (25, kinds.STEP_FINISHED, A, 0, 0, kinds.RETURNED),
    )
    assert [(one.name, one.start_ns) for one in seen.slices if one.arrows_out] == [("wake", 21)]
    assert [(one.name, one.start_ns) for one in seen.slices if one.arrows_in] == [("fetcher", 22)]


def test_a_yield_is_ready_at_once(tmp_path: Path) -> None:
    seen = shown(
        tmp_path,
        (1, kinds.TASK_CREATED, B, 0, WORKER),
        (1, kinds.TASK_READY, B),
        (10, kinds.STEP_STARTED, B, LOOP),
        (11, kinds.TASK_READY, B, B, 0, kinds.CAUSE_TASK),
        (12, kinds.STEP_FINISHED, B, 0, 0, kinds.YIELDED),
        (20, kinds.STEP_STARTED, B, LOOP),
    )
    assert seen.on("worker") == [(0, "fetcher", 1, None), (1, "ready", 1, 10), (1, "ready", 12, 20)]
    assert not any(one.arrows_out for one in seen.slices)


def test_an_async_generator_shows_while_it_runs_whoever_drives_it(tmp_path: Path) -> None:
    seen = shown(
        tmp_path,
        (1, kinds.TASK_CREATED, A, 0, MAIN),
        (2, kinds.TASK_CREATED, B, 0, WORKER),
        (10, kinds.STEP_STARTED, A, LOOP),
        (11, kinds.COROUTINE_STARTED, C1, 0, MAIN),
        (12, kinds.COROUTINE_STARTED, C2, C1, AGEN, kinds.ASYNC_GENERATOR),
        (13, kinds.COROUTINE_SUSPENDED, C2, 0, 4, kinds.YIELDED),
        (14, kinds.COROUTINE_SUSPENDED, C1, 0, 8),
        (15, kinds.STEP_FINISHED, A, 0, FUTURE),
        (20, kinds.STEP_STARTED, B, LOOP),
        (21, kinds.COROUTINE_STARTED, C3, 0, WORKER),
        (22, kinds.COROUTINE_RESUMED, C2),
        (23, kinds.COROUTINE_FINISHED, C2, 0, 0, kinds.RETURNED),
        (24, kinds.COROUTINE_FINISHED, C3, 0, 0, kinds.RETURNED),
        (25, kinds.STEP_FINISHED, B, 0, 0, kinds.RETURNED),
    )
    assert (2, "numbers", 12, 13) in seen.on("main")
    assert (2, "numbers", 22, 23) in seen.on("worker")
    assert (1, "main", 11, None) in seen.on("main")


def test_a_coroutine_that_ends_in_anothers_step_ends_on_its_own_track(tmp_path: Path) -> None:
    seen = shown(
        tmp_path,
        (1, kinds.TASK_CREATED, A, 0, MAIN),
        (2, kinds.TASK_CREATED, B, 0, WORKER),
        (10, kinds.STEP_STARTED, A, LOOP),
        (11, kinds.COROUTINE_STARTED, C1, 0, MAIN),
        (14, kinds.COROUTINE_SUSPENDED, C1, 0, 8),
        (15, kinds.STEP_FINISHED, A, 0, FUTURE),
        (20, kinds.STEP_STARTED, B, LOOP),
        (21, kinds.COROUTINE_STARTED, C3, 0, WORKER),
        (22, kinds.COROUTINE_RESUMED, C1, 0, 0, kinds.THROWN),
        (23, kinds.COROUTINE_FINISHED, C1, 0, 0, kinds.CLOSED),
        (24, kinds.TASK_COLLECTED, A),
    )
    assert seen.on("main") == [
        (0, "main (Task-1)", 1, 24),
        (1, "main", 11, 23),
        (2, "waiting asyncio.sleep( 1)", 15, 23),
        (1, "waiting asyncio.sleep( 1)", 23, 24),
    ]
    assert (1, "worker", 21, None) in seen.on("worker")


def test_what_is_nested_deeper_than_the_ui_draws_is_left_out(tmp_path: Path) -> None:
    ids = range(1000, 1600)
    seen = shown(
        tmp_path,
        (1, kinds.TASK_CREATED, A, 0, MAIN),
        (2, kinds.STEP_STARTED, A, LOOP),
        *((3, kinds.COROUTINE_STARTED, id, id - 1, WORKER) for id in ids),
        *((4, kinds.COROUTINE_SUSPENDED, id, 0, 8) for id in reversed(ids)),
        (5, kinds.STEP_FINISHED, A, 0, FUTURE),
        (6, kinds.STEP_STARTED, A, LOOP),
        *((7, kinds.COROUTINE_RESUMED, id) for id in ids),
        *((8, kinds.COROUTINE_FINISHED, id, 0, 0, kinds.RETURNED) for id in reversed(ids)),
        (9, kinds.STEP_FINISHED, A, 0, 0, kinds.RETURNED),
    )

    assert [slice for slice in seen.on("main") if slice[1] == "worker"] == [
        (depth, "worker", 3, 8) for depth in range(1, 500)
    ]
    assert [slice[2:] for slice in seen.on("main") if slice[1].startswith("waiting")] == [(5, 6)]
    assert seen.on("main")[0] == (0, "main (Task-1)", 1, 9)


def test_threads_show_calls_jobs_blocking_idle_and_long_callbacks(tmp_path: Path) -> None:
    seen = shown(
        tmp_path,
        (1, kinds.TASK_CREATED, A, 0, MAIN),
        (10, kinds.STEP_STARTED, A, LOOP),
        (11, kinds.JOB_SUBMITTED, JOB_ID, A, JOB, kinds.JOB_THREAD),
        (12, kinds.STEP_FINISHED, A, JOB_ID, FUTURE),
        (13, -kinds.CALL_STARTED, CALL, JOB_ID, JOB, kinds.CALL_JOB),
        (13, kinds.LOOP_IDLE_STARTED, LOOP),
        (14, -kinds.BLOCKING_STARTED, CALL, 0, FUTURE),
        (15, -kinds.BLOCKING_FINISHED, CALL),
        (16, -kinds.CALL_FINISHED, CALL, 3, 0, kinds.RETURNED),
        (17, kinds.LOOP_IDLE_FINISHED, LOOP),
        (30, kinds.CALLBACK_RAN, LOOP, 12, JOB),
        (31, kinds.STEP_STARTED, A, LOOP),
        (32, kinds.STEP_FINISHED, A, 0, 0, kinds.RETURNED),
    )
    assert seen.on("pool-0") == [(0, "work", 13, 16), (1, "Future", 14, 15)]
    assert seen.on("MainThread") == [
        (0, "main (Task-1)", 10, 12),
        (1, "submit work", 11, 11),
        (0, "idle", 13, 17),
        (0, "work", 18, 30),
        (0, "main (Task-1)", 31, 32),
    ]
    arrows = [(one.name, one.start_ns, one.arrows_in, one.arrows_out) for one in seen.slices]
    arrows = [arrow for arrow in arrows if arrow[2] or arrow[3]]
    assert arrows == [("submit work", 11, set(), {1}), ("work", 13, {1}, {2}), ("main (Task-1)", 31, {2}, set())]


def test_a_window_into_a_program_shows_tasks_that_it_never_saw_begin(tmp_path: Path) -> None:
    seen = shown(
        tmp_path,
        (5, kinds.COROUTINE_FINISHED, C1, 0, 0, kinds.RETURNED),
        (6, kinds.STEP_FINISHED, A, 0, 0, kinds.RETURNED),
        (10, kinds.STEP_STARTED, B, LOOP),
        (11, kinds.STEP_FINISHED, B, 0, FUTURE),
    )
    assert seen.on("task") == [(0, "fetcher", 10, None), (1, "waiting Future", 11, None)]


def test_a_recording_that_begins_late_shows_where_each_task_stands(tmp_path: Path) -> None:
    late = kinds.SEEN_LATE
    seen = shown(
        tmp_path,
        (1, kinds.TASK_CREATED, A, 0, MAIN, late),
        (1, kinds.STEP_STARTED, A, LOOP, 0, late),
        (2, kinds.TASK_CREATED, B, 0, WORKER, late),
        (3, kinds.STEP_STARTED, B, LOOP, 0, late),
        (3, kinds.COROUTINE_STARTED, C1, 0, WORKER, late),
        (3, kinds.COROUTINE_SUSPENDED, C1, 0, 8),
        (4, kinds.COROUTINE_STARTED, C2, C1, SLEEP, late),
        (4, kinds.COROUTINE_SUSPENDED, C2, 0, 8),
        (5, kinds.STEP_FINISHED, B, 0, FUTURE, late),
        (6, kinds.COROUTINE_STARTED, C3, 0, MAIN, late),
        (6, kinds.COROUTINE_SUSPENDED, C3, 0, 8),
        (7, kinds.STEP_FINISHED, A, 0, FUTURE),
    )
    assert seen.on("worker") == [
        (0, "fetcher", 2, None),
        (1, "worker", 3, None),
        (2, "sleep", 4, None),
        (3, "waiting Future", 5, None),
    ]
    assert seen.on("main") == [
        (0, "main (Task-1)", 1, None),
        (1, "main", 6, None),
        (2, "waiting asyncio.sleep( 1)", 7, None),
    ]


def test_an_eager_step_is_inside_its_creators(tmp_path: Path) -> None:
    seen = shown(
        tmp_path,
        (1, kinds.TASK_CREATED, A, 0, MAIN),
        (1, kinds.TASK_READY, A),
        (10, kinds.STEP_STARTED, A, LOOP),
        (12, kinds.TASK_CREATED, B, A, WORKER),
        (12, kinds.STEP_STARTED, B, LOOP, 0, kinds.EAGER),
        (13, kinds.COROUTINE_STARTED, C1, 0, WORKER),
        (14, kinds.COROUTINE_FINISHED, C1, 0, 0, kinds.RETURNED),
        (15, kinds.STEP_FINISHED, B, 0, 0, kinds.RETURNED),
        (16, kinds.COROUTINE_STARTED, C2, 0, MAIN),
    )
    assert seen.on("MainThread") == [(0, "main (Task-1)", 10, None), (1, "fetcher", 12, 15)]
    assert seen.on("worker") == [(0, "fetcher", 12, 15), (1, "worker", 13, 14)]
    assert seen.on("main")[-1] == (1, "main", 16, None)


def test_names_are_shown_as_valid_text(tmp_path: Path) -> None:
    part = replace(BASE, names={A: 'a "b"\n\udce9\0🧵', B: ""}, program="\ud800")
    seen = shown(tmp_path, (1, kinds.TASK_CREATED, A, 0, MAIN), (2, kinds.TASK_CREATED, B, 0, WORKER), part=part)
    assert [one.name for one in seen.slices if one.depth == 0] == ['a "b"\n?␀🧵', "worker"]


def test_each_task_can_have_a_row(tmp_path: Path) -> None:
    path = tmp_path / "rows.pftrace"
    with path.open("wb") as file, PerfettoWriter(file, row_each=True) as writer:
        writer.write_part(example_part(3))
    packets = [packet.track_descriptor for packet in messages(path).packet]
    assert {track.sibling_merge_behavior for track in packets if track.HasField("sibling_merge_behavior")} == {2}
    rows = {one.track[-1] for one in view(path).slices if one.number and "asyncio tasks" in one.track}
    assert rows == {one.name for one in view(path).slices if one.number}, "a row is called as its task"


def test_names_that_were_forgotten_come_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def everything() -> object:
        save_parts((example_part(60),), tmp_path / "names.pftrace")
        seen = view(tmp_path / "names.pftrace")
        return [(one.track, one.name, one.start_ns, one.end_ns, one.arguments) for one in seen.slices], seen.gauges

    expected = everything()
    monkeypatch.setattr(perfetto_names, "MOST_KEPT", 3)
    monkeypatch.setattr(perfetto_arguments, "MOST_KEPT", 2)
    assert everything() == expected


def test_two_processes_have_tracks_and_threads_of_their_own(tmp_path: Path) -> None:
    path = tmp_path / "two.pftrace"
    save_parts((example_part(10, pid=100), example_part(10, seed=2, pid=200)), path)
    uuids: dict[int, set[int]] = defaultdict(set)
    for packet in messages(path).packet:
        if packet.HasField("track_event"):
            uuids[packet.trusted_packet_sequence_id].add(packet.track_event.track_uuid)
    assert len(uuids) == 2
    assert not uuids[1] & uuids[2]
    view(path)


@pytest.mark.sampled
@given(any_parts)
@one_directory
def test_whatever_the_events_no_end_lacks_its_beginning(tmp_path: Path, part: Part) -> None:
    path = tmp_path / "any.pftrace"
    save_parts((part,), path)
    view(path)


@pytest.mark.sampled
@given(program_parts())
@one_directory
def test_each_coroutine_shows_exactly_while_it_is_open(tmp_path: Path, part: Part) -> None:
    path = tmp_path / "program.pftrace"
    save_parts((part,), path)
    open_since: dict[int, int] = {}
    names: dict[int, str] = {}
    generators: set[int] = set()
    expected: dict[str, int] = defaultdict(int)
    for time_ns, _, kind, subject, _, site, flags in part.events:
        if kind == kinds.COROUTINE_STARTED:
            names[subject] = part.sites[site].name
            open_since[subject] = time_ns
            if flags & kinds.ASYNC_GENERATOR:
                generators.add(subject)
        elif kind == kinds.COROUTINE_RESUMED and subject not in open_since:
            open_since[subject] = time_ns
        elif kind == kinds.COROUTINE_FINISHED or (
            kind == kinds.COROUTINE_SUSPENDED and subject in generators and flags & kinds.YIELDED
        ):
            expected[names[subject]] += time_ns - open_since.pop(subject)
    open_names = {names[subject] for subject in open_since}
    found: dict[str, int] = defaultdict(int)
    unfinished = set()
    for one in view(path).slices:
        if one.track[1:2] != ("asyncio tasks",) or one.name not in names.values():
            continue
        if one.end_ns is None:
            unfinished.add(one.name)
        else:
            found[one.name] += one.end_ns - one.start_ns
    assert unfinished == open_names
    assert {name: found[name] for name in expected} == expected


@pytest.mark.sampled
@given(program_parts())
@one_directory
def test_what_is_open_at_the_end_is_what_did_not_finish(tmp_path: Path, part: Part) -> None:
    path = tmp_path / "program.pftrace"
    save_parts((part,), path)
    seen = view(path)
    tasks = {event[3] for event in part.events if event[2] == kinds.TASK_CREATED}
    ended = {event[3] for event in part.events if event[2] == kinds.STEP_FINISHED and event[6] & kinds.OUTCOME_MASK}
    task_slices = [one for one in seen.slices if one.depth == 0 and one.track[1:2] == ("asyncio tasks",)]
    assert len(task_slices) == len(tasks)
    assert sum(one.end_ns is None for one in task_slices) == len(tasks - ended)
    # The generated programs end between two steps: whatever a thread ran has ended.
    assert all(one.end_ns is not None for one in seen.slices if one.track[-1] == "MainThread")
    assert seen.values("live tasks")[-1] == len(tasks - ended)
    assert min(seen.values("ready tasks")) >= 0
    assert all(one.start_ns >= START_NS for one in seen.slices)


def test_a_coroutine_whose_awaiter_was_nested_too_deep_and_ended_with_its_task_is_written(tmp_path: Path) -> None:
    nested = [(20, kinds.COROUTINE_STARTED, 1000 + depth, 999 + depth, MAIN) for depth in range(600)]
    seen = shown(
        tmp_path,
        (10, kinds.TASK_CREATED, A, 0, MAIN),
        (20, kinds.STEP_STARTED, A, LOOP),
        *nested,
        (30, kinds.STEP_FINISHED, A, 0, 0, kinds.RETURNED),
        (40, kinds.COROUTINE_STARTED, C1, 1599, SLEEP),
    )
    assert "sleep" not in {one.name for one in seen.slices}
