"""Loops that are held: the step is long, the others are ready meanwhile; yields and empty coroutines cost no wait."""

from __future__ import annotations

import asyncio
import time
from typing import Any

from integration.both_ways import Run, both_ways, coroutine_of, kinds, sees_coroutines, task_of, trace_of, waits, wakers
from integration.trace_rules import check


def test_a_sleep_that_blocks_makes_the_step_long_and_the_others_ready(run: Run) -> None:
    async def blocks(timer: asyncio.Future[None]) -> None:
        await asyncio.sleep(0)
        asyncio.get_running_loop().call_later(0.01, timer.set_result, None)
        time.sleep(0.03)

    async def other(timer: asyncio.Future[None]) -> None:
        await timer

    async def main() -> None:
        timer = asyncio.get_running_loop().create_future()
        await asyncio.gather(blocks(timer), other(timer))

    trace = both_ways(lambda: run(main()))

    check(trace)
    blocking = task_of(trace, "blocks")
    step = blocking.states[-1]
    assert step.kind == "running" and step.end_ns - step.start_ns >= 30_000_000
    assert [(each.primitive, each.expression, each.line) for each in blocking.blockings] == [
        ("time.sleep", "time.sleep(0.03)", blocking.line + 3)
    ]
    held = blocking.blockings[0]
    assert step.start_ns <= held.start_ns and held.end_ns <= step.end_ns
    # The other's timer was due inside that step: from then on it was ready, and no longer waiting.
    *_, waiting, ready, _ = task_of(trace, "other").states
    assert (waiting.kind, ready.kind) == ("waiting", "ready")
    assert step.start_ns + 9_000_000 < ready.start_ns < step.end_ns - 9_000_000
    assert step.end_ns <= ready.end_ns


def test_no_task_is_ready_while_its_loop_sleeps_on_over_the_time_that_a_timer_is_due(run: Run) -> None:
    async def main() -> None:
        for _ in range(5):
            await asyncio.sleep(0.0003)  # a selector sleeps for whole milliseconds

    trace = both_ways(lambda: run(main()))

    check(trace)
    woken = [
        state for state in task_of(trace, "main").states if state.cause is not None and state.cause.kind == "timer"
    ]
    idle = [moment for loop in trace.loops for moment in loop.idle]
    assert len(woken) == 5
    assert [state for state in woken for start_ns, end_ns in idle if start_ns < state.start_ns < end_ns] == []


def test_a_blocking_call_in_a_nested_coroutine_belongs_to_its_task(run: Run) -> None:
    async def inner() -> None:
        time.sleep(0.002)

    async def outer() -> None:
        await inner()

    async def main() -> None:
        await asyncio.create_task(outer())

    trace = both_ways(lambda: run(main()))

    check(trace)
    assert [each.primitive for each in task_of(trace, "outer").blockings] == ["time.sleep"]
    assert task_of(trace, "main").blockings == ()
    assert kinds(task_of(trace, "outer")) == ["ready task", "running"]


def test_a_ready_task_waits_for_nothing_while_others_run(run: Run) -> None:
    async def busy() -> None:
        end = time.monotonic() + 0.003
        while time.monotonic() < end:
            pass

    async def main() -> None:
        await asyncio.gather(*[busy() for _ in range(3)])

    trace = both_ways(lambda: run(main()))

    check(trace)
    tasks = [task for task in trace.tasks if task.label == "busy"]
    for number, task in enumerate(tasks):
        assert kinds(task) == ["ready task", "running"]
        ready, running = task.states
        assert ready.end_ns - ready.start_ns >= number * 3_000_000
        assert running.end_ns - running.start_ns >= 3_000_000


def test_sleep_0_loops_alternate_and_never_wait(run: Run) -> None:
    order: list[int] = []

    async def spins(number: int) -> None:
        for _ in range(50):
            order.append(number)
            await asyncio.sleep(0)

    async def main() -> list[int]:
        order.clear()
        await asyncio.gather(spins(0), spins(1))
        return order[:]

    trace = both_ways(lambda: run(main()))

    check(trace)
    tasks = [task for task in trace.tasks if task.label == "spins"]
    for task in tasks:
        assert len([state for state in task.states if state.kind == "running"]) == 51
        assert not waits(task)
    steps = sorted((state.start_ns, task.name) for task in tasks for state in task.states if state.kind == "running")
    names = [name for _, name in steps]
    assert names == [tasks[0].name, tasks[1].name] * 51


def test_a_coroutine_of_no_length_is_one_that_returned_at_once(run: Run) -> None:
    async def nothing() -> None:
        pass

    async def main() -> None:
        for _ in range(5):
            await nothing()
        await asyncio.create_task(nothing(), name="of a task")

    trace = both_ways(lambda: run(main()))

    check(trace)
    task = task_of(trace, "nothing")
    assert kinds(task) == ["ready task", "running"] and task.outcome == "returned"
    if sees_coroutines:
        found = [each for each in trace.coroutines if each.name.endswith("nothing")]
        assert [(each.outcome, each.suspensions) for each in found] == [("returned", ())] * 6
        root = coroutine_of(trace, "main")
        assert [each.awaiter for each in found] == [root] * 5 + [None]
        assert len(root.suspensions) == 1  # the awaits of what returns at once suspend nobody


def test_zero_tasks_and_a_loop_that_only_calls_back(run: Run) -> None:
    called: list[Any] = []

    def program() -> None:
        with asyncio.Runner() as runner:
            loop = runner.get_loop()
            loop.call_soon(called.append, 1)
            loop.call_later(0.001, loop.stop)
            loop.run_forever()

    trace = both_ways(program)

    check(trace)
    assert [task.label for task in trace.tasks if not task.is_internal] == []
    assert trace_of(lambda: None).tasks == ()
    assert called == [1, 1, 1]


def test_a_slow_consumer_s_waits_and_steps_add_up_to_its_life(run: Run) -> None:
    async def consumer(queue: asyncio.Queue[int | None]) -> None:
        while await queue.get() is not None:
            time.sleep(0.001)

    async def main() -> None:
        queue: asyncio.Queue[int | None] = asyncio.Queue(1)
        task = asyncio.create_task(consumer(queue))
        for number in range(5):
            await queue.put(number)
        await queue.put(None)
        await task

    trace = both_ways(lambda: run(main()))

    check(trace)
    task = task_of(trace, "consumer")
    assert sum(state.end_ns - state.start_ns for state in task.states) == task.end_ns - task.created_ns
    assert len(task.blockings) == 5
    assert set(wakers(task)) == {"main"} or wakers(task) == []
    assert {wait[0] for wait in waits(task_of(trace, "main"))} <= {"queue", "task"}
