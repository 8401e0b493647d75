"""Large programs: very many tasks, very many events, very deep recursion."""

from __future__ import annotations

import asyncio
import itertools
import sys
from typing import Any

import pytest
from integration.both_ways import Run, both_ways, label_of, sees_coroutines, task_of, trace_of, waits
from integration.trace_rules import check


@pytest.mark.parametrize("count", [3_000, pytest.param(100_000, marks=pytest.mark.slow)])
def test_very_many_tasks_are_all_seen(run: Run, count: int) -> None:
    async def child() -> None:
        await asyncio.sleep(0)

    async def main() -> None:
        for _ in range(count // 1000):
            await asyncio.gather(*[child() for _ in range(1000)])

    trace = trace_of(lambda: run(main()))

    children = [task for task in trace.tasks if task.label == "child"]
    assert len(children) == count and {task.outcome for task in children} == {"returned"}
    assert {label_of(task.creator) for task in children} == {"main"}
    assert {len(task.states) for task in children} == {4}


@pytest.mark.slow
def test_a_million_events_are_all_there(run: Run) -> None:
    turns = 1_200 if sys.version_info >= (3, 12) else 3_600  # of more or fewer events each

    async def loops() -> None:
        for _ in range(turns):
            await asyncio.sleep(0)

    async def main() -> None:
        await asyncio.gather(*[loops() for _ in range(100)])

    trace = trace_of(lambda: run(main()))

    assert trace.lost == 0
    assert sum(len(part.events) for part in trace.parts) > 1_000_000
    tasks = [task for task in trace.tasks if task.label == "loops"]
    assert len(tasks) == 100
    for task in tasks:
        assert len([state for state in task.states if state.kind == "running"]) == turns + 1
        assert not [state for state in task.states if state.kind == "waiting"]


def test_a_recursion_500_coroutines_deep_is_one_chain(run: Run) -> None:
    async def deep(depth: int) -> int:
        if depth:
            return 1 + await deep(depth - 1)
        await asyncio.sleep(0.001)
        await asyncio.sleep(0)
        return 0

    async def main() -> int:
        return await deep(499)

    trace = both_ways(lambda: run(main()))

    check(trace)
    assert waits(task_of(trace, "main"))[0][:2] == ("sleep", "asyncio.sleep(0.001)")
    assert len(waits(task_of(trace, "main"))) == 1
    if not sees_coroutines:
        return
    bodies = [each for each in trace.coroutines if each.name.endswith("deep")]
    assert len(bodies) == 500
    for awaiter, each in itertools.pairwise(bodies):
        assert each.awaiter is awaiter and each.outcome == "returned"
    assert {len(each.suspensions) for each in bodies} == {2}


def test_an_exception_through_500_coroutines_ends_each(run: Run) -> None:
    async def deep(depth: int) -> None:
        if depth:
            await deep(depth - 1)
        await asyncio.sleep(0)
        raise ValueError("from the bottom")

    async def main() -> str:
        try:
            await deep(499)
        except ValueError as error:
            count, traceback = 0, error.__traceback__
            while traceback is not None:
                count, traceback = count + 1, traceback.tb_next
            return f"{error} through {count}"
        return ""

    trace = both_ways(lambda: run(main()))

    check(trace)
    bodies = [each for each in trace.coroutines if each.name.endswith("deep")]
    assert {(each.outcome, each.error) for each in bodies} == ({("raised", "ValueError")} if sees_coroutines else set())


def test_a_recursion_that_is_too_deep_fails_the_same(run: Run) -> None:
    async def endless() -> None:
        await endless()

    async def main() -> Any:
        try:
            await endless()
        except RecursionError as error:
            return type(error).__name__
        return None

    trace = both_ways(lambda: run(main()))

    check(trace)
    assert task_of(trace, "main").outcome == "returned"


def test_a_long_chain_of_tasks_ends_from_the_last_on(run: Run) -> None:
    async def awaits(other: Any) -> int:
        return 1 + await other

    async def main() -> int:
        last: Any = asyncio.create_task(asyncio.sleep(0.001, 0))
        for _ in range(300):
            last = asyncio.create_task(awaits(last))
        return int(await last)

    trace = both_ways(lambda: run(main()))

    check(trace)
    chain = [task for task in trace.tasks if task.label == "awaits"]
    assert len(chain) == 300
    for earlier, later in itertools.pairwise(chain):
        assert later.states[2].wait.awaited is earlier  # type: ignore[union-attr]
        assert later.states[3].cause.task is earlier  # type: ignore[union-attr]
