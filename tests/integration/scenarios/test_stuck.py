"""What never comes: tasks that still wait at the end are unfinished, with what they wait for."""

from __future__ import annotations

import asyncio
import gc
from typing import Any

from integration.both_ways import LoopFactory, Run, both_ways, is_uvloop, kinds, sees_coroutines, task_of, waits
from integration.trace_rules import check

import asynctrace
from asynctrace.model.trace import Trace


def test_what_still_waits_at_the_end_is_unfinished(run: Run) -> None:
    recording = asynctrace.record()

    async def stuck() -> None:
        await asyncio.Event().wait()

    async def main() -> None:
        recording.start()
        task = asyncio.create_task(stuck())
        await asyncio.sleep(0)
        recording.stop()
        task.cancel()

    run(main())

    check(recording.trace)
    task = task_of(recording.trace, "stuck")
    assert task.outcome == "unfinished" and task.states[-1].kind == "waiting"
    assert task.states[-1].wait.kind == "event"


def recorded_until_stuck(run: Run, main: Any) -> Trace:
    """Return the trace of a program whose recording stops before the loop cancels what is left."""
    recording = asynctrace.record()

    async def whole() -> None:
        with recording:
            await main()
            for _ in range(3):
                await asyncio.sleep(0)

    run(whole())
    return recording.trace


def test_two_tasks_that_await_each_other_wait_for_ever(loop_factory: LoopFactory) -> None:
    tasks: dict[str, asyncio.Task[None]] = {}

    async def one() -> None:
        await asyncio.sleep(0)
        await tasks["other"]

    async def other() -> None:
        await asyncio.sleep(0)
        await tasks["one"]

    def run(main: Any) -> None:
        # Nobody can cancel such tasks: each hands the cancel on to the other, for ever.
        loop = loop_factory()
        loop.set_exception_handler(lambda *_: None)
        loop.run_until_complete(main)
        loop.close()
        tasks.clear()
        gc.collect()

    async def main() -> None:
        tasks["one"], tasks["other"] = asyncio.create_task(one()), asyncio.create_task(other())

    trace = recorded_until_stuck(run, main)

    check(trace)
    first, second = task_of(trace, "one"), task_of(trace, "other")
    for task, awaited in ((first, second), (second, first)):
        assert task.outcome == "unfinished" and task.finished_ns is None
        assert task.states[-1].kind == "waiting" and task.states[-1].end_ns == trace.end_ns
        assert task.states[-1].wait.kind == "task" and task.states[-1].wait.awaited is awaited  # type: ignore[union-attr]
    assert waits(first) == [("task", 'tasks["other"]', 2)]


def test_a_task_that_awaits_itself_is_refused_the_same(run: Run) -> None:
    async def main() -> str:
        try:
            await asyncio.current_task()  # type: ignore[misc]
        except RuntimeError as error:
            return str(error)
        return ""

    trace = both_ways(lambda: run(main()))

    check(trace)
    assert kinds(task_of(trace, "main"))[:2] == ["ready unknown", "running"]


def test_a_lock_that_is_never_released_is_what_the_others_wait_for(run: Run) -> None:
    async def keeps(lock: asyncio.Lock) -> None:
        await lock.acquire()

    async def wants(lock: asyncio.Lock) -> None:
        async with lock:
            pass

    async def main() -> None:
        lock = asyncio.Lock()
        kept.extend(
            [asyncio.create_task(keeps(lock)), asyncio.create_task(wants(lock)), asyncio.create_task(wants(lock))]
        )

    kept: list[Any] = []
    trace = recorded_until_stuck(run, main)

    check(trace)
    assert task_of(trace, "keeps").outcome == "returned"
    for task in (task for task in trace.tasks if task.label == "wants"):
        assert task.outcome == "unfinished"
        assert kinds(task)[1:] == ["running", "waiting lock"]
        assert [wait[0] for wait in waits(task)] == ["lock"] and waits(task)[0][2] == 1


def test_a_queue_that_nobody_fills_and_one_that_nobody_empties(run: Run) -> None:
    async def gets(queue: asyncio.Queue[int]) -> None:
        await queue.get()

    async def puts(queue: asyncio.Queue[int]) -> None:
        await queue.put(1)
        await queue.put(2)

    async def joins(queue: asyncio.Queue[int]) -> None:
        await queue.join()

    async def main() -> None:
        empty: asyncio.Queue[int] = asyncio.Queue()
        full: asyncio.Queue[int] = asyncio.Queue(1)
        kept.extend(asyncio.create_task(each) for each in (gets(empty), puts(full), joins(full)))
        await asyncio.sleep(0)

    kept: list[Any] = []
    trace = recorded_until_stuck(run, main)

    check(trace)
    assert waits(task_of(trace, "gets")) == [("queue", "queue.get()", 1)]
    assert waits(task_of(trace, "puts")) == [("queue", "queue.put(2)", 2)]
    assert waits(task_of(trace, "joins")) == [("queue", "queue.join()", 1)]
    assert {task_of(trace, label).outcome for label in ("gets", "puts", "joins")} == {"unfinished"}


def test_a_deadlock_through_coroutines_shows_the_innermost_await_of_the_user_s(run: Run) -> None:
    async def innermost(future: asyncio.Future[None]) -> None:
        await future

    async def middle(future: asyncio.Future[None]) -> None:
        await innermost(future)

    async def outer(future: asyncio.Future[None]) -> None:
        await asyncio.wait_for(middle(future), None)

    async def main() -> None:
        kept.append(asyncio.create_task(outer(asyncio.get_running_loop().create_future())))
        await asyncio.sleep(0)

    kept: list[Any] = []
    trace = recorded_until_stuck(run, main)

    check(trace)
    wait = task_of(trace, "outer").states[-1].wait
    assert wait is not None and (wait.kind, wait.expression) == ("future", "future")
    assert wait.awaited is None
    if sees_coroutines:
        unfinished = [each for each in trace.coroutines if each.outcome == "unfinished"]
        names = [each.name.rsplit(".", 1)[-1] for each in unfinished]
        assert names == ["whole", "outer", "wait_for", "middle", "innermost"]


def test_a_task_that_never_ends_is_unfinished_in_every_snapshot(run: Run) -> None:
    recording = asynctrace.record()
    snapshots: list[Trace] = []

    async def ticks() -> None:
        while True:
            await asyncio.sleep(0)

    async def main() -> None:
        with recording:
            task = asyncio.create_task(ticks())
            for _ in range(3):
                await asyncio.sleep(0.001)
                snapshots.append(recording.snapshot())
        task.cancel()

    run(main())

    lifetimes = []
    for trace in (*snapshots, recording.trace):
        check(trace)
        task = task_of(trace, "ticks")
        assert task.outcome == "unfinished" and task.finished_ns is None and task.end_ns == trace.end_ns
        assert not waits(task)
        lifetimes.append(len(task.states))
    assert lifetimes == sorted(lifetimes) and lifetimes[0] < lifetimes[-1]


def test_a_loop_that_is_closed_with_tasks_pending_says_the_same(loop_factory: LoopFactory) -> None:
    async def pending() -> None:
        await asyncio.Event().wait()

    def program() -> str:
        loop = loop_factory()
        task = loop.create_task(pending())
        loop.call_soon(loop.stop)
        loop.run_forever()
        loop.close()
        shown = repr(task)
        del task  # "Task was destroyed but it is pending!"
        return shown

    trace = both_ways(program)

    check(trace)
    task = task_of(trace, "pending")
    assert task.outcome == "closed"
    assert [wait[0] for wait in waits(task)] == ["event"]
    assert len(trace.loops) == 1 and is_uvloop(trace) is (loop_factory.__module__ == "uvloop")
