"""A recording stays within its bound: the oldest events go, whole, counted and told; what is kept is a right trace."""

from __future__ import annotations

import asyncio
import threading
import tracemalloc
from types import CodeType
from typing import Any

import pytest
from integration import trace_rules

import asynctrace
from asynctrace import cores, stream
from asynctrace.model.trace import Trace
from asynctrace.recorder import Recorder

MIB = 1 << 20
RULES = (trace_rules.states_add_up, trace_rules.steps_exclude_each_other, trace_rules.events_pair)


def check(trace: Trace) -> None:
    for rule in RULES:
        rule(trace)


def recorder() -> Recorder:
    found = stream.current_recorder()
    assert found is not None
    return found


async def enough_to_drop(events: int = 25_000) -> None:
    """Make events until the keeper has dropped some, and no more than are kept came after."""

    async def yields() -> None:
        for _ in range(10):
            await asyncio.sleep(0)

    history = recorder().history
    begin = len(history)
    while history.first < begin or len(history) < begin + events:
        async with asyncio.TaskGroup() as group:
            for number in range(20):
                group.create_task(yields(), name=f"yields {number} of {len(history)}")
        await asyncio.sleep(0.001)


def test_an_endless_program_stays_within_its_bound_and_what_is_left_is_a_right_trace() -> None:
    async def lives_on(event: asyncio.Event) -> str:
        await event.wait()
        return "at last"

    async def main() -> None:
        event = asyncio.Event()
        old = asyncio.create_task(lives_on(event), name="old")
        await asyncio.sleep(0)
        await enough_to_drop()
        event.set()
        await old

    with asynctrace.record(limit_bytes=MIB) as recording:
        asyncio.run(main())
        made = len(recorder().history)

    trace = recording.trace
    check(trace)
    kept = sum(not event[6] & 32 or event[0] > trace.start_ns for event in trace.parts[0].events) - 1
    assert trace.lost > 0 and trace.lost + kept == pytest.approx(made, abs=200)
    assert recording._stream is not None and recording._stream.recorder.history.first == trace.lost
    assert [note for note in trace.notes if f"{trace.lost:,} earlier events were dropped" in note]
    # What was there before the window is there, clipped, with what it waited for and how it ended.
    [old] = [task for task in trace.tasks if task.name == "old"]
    assert old.is_clipped and old.created_ns == trace.start_ns and old.outcome == "returned"
    first = old.states[0]
    assert first.wait is not None and (first.kind, first.wait.kind, first.wait.expression) == (
        "waiting",
        "event",
        "event.wait()",
    )


def test_what_is_dropped_is_really_gone_from_memory() -> None:
    sizes: list[int] = []

    async def main() -> None:
        for _ in range(3):
            await enough_to_drop(25_000)
            while recorder().history.used_bytes > MIB:  # the keeper may be behind, on a busy machine
                await asyncio.sleep(0.001)
            sizes.append(tracemalloc.get_traced_memory()[0])

    tracemalloc.start()
    try:
        with asynctrace.record(limit_bytes=MIB):
            asyncio.run(main())
    finally:
        tracemalloc.stop()

    assert max(sizes) < 5 * MIB, sizes  # with the program's own


def test_a_program_that_never_idles_stays_within_the_bound_too() -> None:
    limit, rounds = (8 * MIB, 3) if cores.core() == "python" else (4 * MIB, 10)
    used: list[int] = []

    async def yields(number: int) -> None:
        history = recorder().history
        for turn in range(400):
            await asyncio.sleep(0)
            if number == 0 and turn % 10 == 0:
                used.append(history.used_bytes)

    async def main() -> None:
        for _ in range(rounds):
            await asyncio.gather(*(yields(number) for number in range(100)))

    with asynctrace.record(limit_bytes=limit) as recording:
        asyncio.run(main())

    trace = recording.trace
    check(trace)
    assert max(used) < 1.5 * limit, max(used) / limit  # the keeper may be one look late
    assert trace.lost > 0


def test_names_texts_threads_and_code_are_forgotten_with_the_events_that_name_them() -> None:
    async def churn(number: int) -> None:
        namespace: dict[str, Any] = {}
        exec(f"async def made_{number}(): pass", namespace)
        await namespace[f"made_{number}"]()
        recording.mark(f"mark {number}")
        if number % 10 == 0:
            thread = threading.Thread(target=recording.mark, args=("in a thread",))
            thread.start()
            thread.join()

    async def main() -> None:
        for number in range(1_000):
            await asyncio.create_task(churn(number), name=f"churn {number}")
        for _ in range(3):  # a sweep at each turn of the history: what the first finds unused, the next forgets
            await enough_to_drop(25_000)

    with asynctrace.record(limit_bytes=MIB) as recording:
        asyncio.run(main())
        tables = recorder().tables
        names = {task: tables.name(task) for task in tables.names}
        codes = [code for _, code in tables.codes.values()]
        threads = tables.threads

    assert not [name for name in names.values() if name.startswith("churn")]
    assert all(isinstance(code, CodeType) for code in codes)
    assert len(tables) < 100 and len(threads) < 10 and len(codes) < 50


def test_the_last_seconds_of_a_program_that_runs_on() -> None:
    traces: list[Trace] = []

    async def naps(is_over: asyncio.Event) -> None:
        while not is_over.is_set():
            await asyncio.sleep(0.005)

    async def main() -> None:
        forever = asyncio.create_task(asyncio.Event().wait(), name="forever")
        is_over = asyncio.Event()
        asyncio.get_running_loop().call_soon(is_over.set)
        await asyncio.create_task(naps(is_over), name="old")
        is_over.clear()
        late = asyncio.create_task(naps(is_over), name="late")
        await asyncio.sleep(0)  # it begins
        await asyncio.sleep(0.05)
        traces.append(recording.snapshot(last_s=0.03))
        is_over.set()
        await late
        forever.cancel()

    with asynctrace.record() as recording:
        asyncio.run(main())

    [trace] = traces
    check(trace)
    assert trace.end_ns - trace.start_ns == 30_000_000 and trace.lost == 0
    tasks = {task.name: task for task in trace.tasks}
    assert tasks.keys() == {"forever", "late", recording.trace.tasks[0].name}
    assert all(task.is_clipped and task.outcome == "unfinished" for task in tasks.values())
    [state] = tasks["forever"].states
    assert (state.kind, state.start_ns, state.end_ns) == ("waiting", trace.start_ns, trace.end_ns)
    # The same stretch of the whole trace says the same.
    [whole] = [task for task in recording.trace.tasks if task.name == "late"]
    inside = [state for state in whole.states if state.start_ns > trace.start_ns and state.end_ns < trace.end_ns]
    got = [state for state in tasks["late"].states if state.start_ns > trace.start_ns and state.end_ns < trace.end_ns]
    assert [(state.kind, state.start_ns, state.end_ns) for state in got] == [
        (state.kind, state.start_ns, state.end_ns) for state in inside
    ]


def test_a_snapshot_of_more_than_there_is_is_of_all() -> None:
    async def main() -> None:
        await asyncio.sleep(0)

    with asynctrace.record() as recording:
        asyncio.run(main())
        snapshot = recording.snapshot(last_s=3600)

    assert [task.name for task in snapshot.tasks] == [task.name for task in recording.trace.tasks]
    assert snapshot.start_ns == recording.trace.start_ns and not snapshot.tasks[0].is_clipped


def test_a_nested_recording_has_lost_only_what_was_dropped_of_its_own_time() -> None:
    async def main() -> tuple[asynctrace.Recording, asynctrace.Recording]:
        await enough_to_drop()
        with asynctrace.record() as short:
            await asyncio.create_task(asyncio.sleep(0), name="inner")
        with asynctrace.record() as long:
            await enough_to_drop()
        return short, long

    with asynctrace.record(limit_bytes=MIB) as outer:
        short, long = asyncio.run(main())

    assert short.trace.lost == 0 or short.trace.notes  # the outer one may have dropped it since
    assert 0 < long.trace.lost < outer.trace.lost
    for recording in (outer, long):
        check(recording.trace)


@pytest.mark.parametrize("name", ["limit_bytes", "limit_disk_bytes"])
def test_a_limit_that_is_too_small_is_refused(name: str) -> None:
    with pytest.raises(asynctrace.UsageError, match=rf"{name}=1000 is too small: the least is 1048576 \(1 MiB\)"):
        asynctrace.record(**{name: 1000})  # type: ignore[arg-type]


@pytest.mark.parametrize("last_s", [0, -1, float("nan")])
def test_a_snapshot_of_no_time_is_refused(last_s: float) -> None:
    with asynctrace.record() as recording, pytest.raises(asynctrace.UsageError, match="more than 0 seconds"):
        recording.snapshot(last_s=last_s)
