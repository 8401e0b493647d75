"""Gathers, groups and tasks that are awaited by several: who waited for what, and who ended it."""

from __future__ import annotations

import asyncio
from asyncio import gather as gather_bound_before
from typing import Any

from integration.both_ways import Run, both_ways, kinds, label_of, outcomes, task_of, waits, wakers
from integration.trace_rules import check


def test_gather_shows_three_overlapping_counts_woken_by_timers_and_main_by_the_last(run: Run) -> None:
    async def count() -> None:
        await asyncio.sleep(0.01)

    async def main() -> None:
        await asyncio.gather(count(), count(), count())

    trace = both_ways(lambda: run(main()))

    check(trace)
    counts = [task for task in trace.tasks if task.label == "count"]
    root = task_of(trace, "main")
    assert len(counts) == 3
    for task in counts:
        assert kinds(task) == ["ready task", "running", "waiting sleep", "ready timer", "running"]
        assert task.outcome == "returned" and task.creator is root
        assert waits(task) == [("sleep", "asyncio.sleep(0.01)", 1)]
    first, *_, last = sorted(counts, key=lambda task: task.end_ns)
    assert all(task.states[2].start_ns < first.states[2].end_ns for task in counts)
    assert kinds(root) == ["ready unknown", "running", "waiting gather", "ready task", "running"]
    assert root.states[3].cause.task is last
    assert waits(root) == [("gather", "asyncio.gather(count(), count(), count())", 1)]


def test_gather_that_was_imported_by_name_before_is_seen(run: Run) -> None:
    async def child() -> None:
        await asyncio.sleep(0)

    async def main() -> None:
        await gather_bound_before(child(), child())

    trace = both_ways(lambda: run(main()))

    assert [task.label for task in trace.tasks if not task.is_internal] == ["main", "child", "child"]


def test_waits_for_one_task_are_ended_by_it_for_all_who_await(run: Run) -> None:
    async def worker() -> int:
        await asyncio.sleep(0.001)
        return 1

    async def first(task: asyncio.Task[int]) -> int:
        return await task

    async def second(task: asyncio.Task[int]) -> int:
        return await task

    async def main() -> list[int]:
        task = asyncio.create_task(worker())
        return await asyncio.gather(first(task), second(task))

    trace = both_ways(lambda: run(main()))

    for label in ("first", "second"):
        task = task_of(trace, label)
        assert waits(task) == [("task", "task", 1)]
        assert wakers(task) == ["worker"]
        assert task.states[2].wait.awaited is task_of(trace, "worker")


def test_nested_gathers_end_from_the_inside(run: Run) -> None:
    async def leaf(number: int) -> int:
        await asyncio.sleep(0.001 * number)
        return number

    async def branch(number: int) -> list[int]:
        return await asyncio.gather(leaf(number), leaf(number + 1))

    async def last(branches: list[asyncio.Task[Any]]) -> None:
        await asyncio.wait(branches)

    async def main() -> list[Any]:
        branches = [asyncio.create_task(branch(1)), asyncio.create_task(branch(5))]
        return await asyncio.gather(*branches, asyncio.gather(leaf(3), last(branches)))

    trace = both_ways(lambda: run(main()))

    check(trace)
    root = task_of(trace, "main")
    branches = [task for task in trace.tasks if task.label == "branch"]
    leaves = {task.creator: [] for task in trace.tasks if task.label == "leaf"}
    for task in trace.tasks:
        if task.label == "leaf":
            leaves[task.creator].append(task)
    assert {label_of(creator): len(found) for creator, found in leaves.items()} == {"branch": 2, "main": 1}
    for task in branches:
        assert kinds(task) == ["ready task", "running", "waiting gather", "ready task", "running"]
        assert task.states[3].cause.task is leaves[task][1]  # type: ignore[union-attr]
        assert task.creator is root
    # The inner gather is a future: the last task of it ends the whole.
    assert wakers(root) == ["last"] and task_of(trace, "last").creator is root


def test_a_gather_of_tasks_futures_and_coroutines_mixed(run: Run) -> None:
    async def child() -> str:
        await asyncio.sleep(0)
        return "child"

    async def sets(future: asyncio.Future[str]) -> None:
        await asyncio.sleep(0.001)
        future.set_result("future")

    async def main() -> list[Any]:
        future = asyncio.get_running_loop().create_future()
        task = asyncio.create_task(child())
        setter = asyncio.create_task(sets(future))
        same = child()
        found = await asyncio.gather(task, future, same, same, child())
        await setter
        return found

    trace = both_ways(lambda: run(main()))

    check(trace)
    root = task_of(trace, "main")
    assert len([task for task in trace.tasks if task.label == "child"]) == 3
    assert wakers(root)[:1] == ["sets"]
    assert waits(root)[0] == ("gather", "asyncio.gather(task, future, same, same, child())", 5)


def test_a_gather_of_what_is_done_already_is_a_wait_that_nobody_ends_late(run: Run) -> None:
    async def child() -> int:
        return 1

    async def main() -> list[Any]:
        tasks = [asyncio.create_task(child()) for _ in range(2)]
        await asyncio.wait(tasks)
        return [await asyncio.gather(*tasks), await asyncio.gather()]

    trace = both_ways(lambda: run(main()))

    check(trace)
    assert waits(task_of(trace, "main"))[0][0] == "task"
    assert set(wakers(task_of(trace, "main"))) <= {"child", "main"}


def test_a_gather_that_fails_is_ended_by_the_child_that_failed_and_the_others_go_on(run: Run) -> None:
    async def fails() -> None:
        await asyncio.sleep(0)
        raise ValueError("no")

    async def goes_on(is_caught: asyncio.Event) -> str:
        await is_caught.wait()
        return "went on"

    async def main() -> list[Any]:
        is_caught = asyncio.Event()
        task = asyncio.create_task(goes_on(is_caught))
        try:
            await asyncio.gather(fails(), task)
        except ValueError as error:
            is_caught.set()
            return [error, task.done(), await task]
        return []

    trace = both_ways(lambda: run(main()))

    check(trace)
    assert wakers(task_of(trace, "main")) == ["fails", "goes_on"]
    assert [wait[0] for wait in waits(task_of(trace, "main"))] == ["gather", "task"]
    assert outcomes(trace) == {"main": "returned", "fails": "raised", "goes_on": "returned"}


def test_a_diamond_in_a_task_group_has_two_awaiters_of_one_task(run: Run) -> None:
    async def source() -> int:
        await asyncio.sleep(0.001)
        return 1

    async def left(task: asyncio.Task[int]) -> int:
        return 10 * await task

    async def right(task: asyncio.Task[int]) -> int:
        return 20 * await task

    async def sink(*tasks: asyncio.Task[int]) -> int:
        return sum([await task for task in tasks])

    async def main() -> int:
        async with asyncio.TaskGroup() as group:
            top = group.create_task(source())
            sides = [group.create_task(left(top)), group.create_task(right(top))]
            bottom = group.create_task(sink(*sides))
        return bottom.result()

    trace = both_ways(lambda: run(main()))

    check(trace)
    top = task_of(trace, "source")
    for label in ("left", "right"):
        side = task_of(trace, label)
        assert kinds(side) == ["ready task", "running", "waiting task", "ready task", "running"]
        assert side.states[2].wait.awaited is top and side.states[3].cause.task is top  # type: ignore[union-attr]
    # The right side was done before the sink asked for it.
    assert wakers(task_of(trace, "sink")) == ["left"]
    assert waits(task_of(trace, "sink")) == [("task", "task", 1)]
    assert wakers(task_of(trace, "main")) == ["sink"]
    assert {label_of(task.creator) for task in trace.tasks if task.label not in ("main", "")} <= {"main", None}


def test_two_tasks_that_await_one_future_are_woken_by_whoever_sets_it(run: Run) -> None:
    async def one(future: asyncio.Future[int]) -> int:
        return await future

    async def other(future: asyncio.Future[int]) -> int:
        return await asyncio.wait_for(asyncio.shield(future), 5)

    async def sets(future: asyncio.Future[int]) -> None:
        await asyncio.sleep(0.001)
        future.set_result(7)

    async def main() -> list[int]:
        future = asyncio.get_running_loop().create_future()
        found = await asyncio.gather(one(future), other(future), sets(future))
        return [each for each in found if each is not None]

    trace = both_ways(lambda: run(main()))

    check(trace)
    assert waits(task_of(trace, "one")) == [("future", "future", 1)]
    assert wakers(task_of(trace, "one")) == ["sets"]
    assert wakers(task_of(trace, "other")) == ["sets"]
    assert task_of(trace, "one").states[2].wait.awaited is None  # type: ignore[union-attr]


def test_groups_inside_groups_wait_for_their_own(run: Run) -> None:
    async def inner_child() -> None:
        await asyncio.sleep(0.001)

    async def outer_child() -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(inner_child())

    async def comes_after(task: asyncio.Task[None]) -> None:
        await task

    async def main() -> None:
        async with asyncio.TaskGroup() as outer:
            task = outer.create_task(outer_child())
            async with asyncio.TaskGroup() as inner:
                inner.create_task(comes_after(task))

    trace = both_ways(lambda: run(main()))

    check(trace)
    assert wakers(task_of(trace, "outer_child")) == ["inner_child"]
    assert label_of(task_of(trace, "inner_child").creator) == "outer_child"
    assert [wait[0] for wait in waits(task_of(trace, "main"))] == ["task"]  # the outer child is done by then
    assert wakers(task_of(trace, "main")) == ["comes_after"]


def test_a_group_whose_body_fails_cancels_its_children(run: Run) -> None:
    async def child() -> None:
        await asyncio.sleep(5)

    async def unborn() -> None:
        print("never")

    async def main() -> list[Any]:
        try:
            async with asyncio.TaskGroup() as group:
                task = group.create_task(child())
                await asyncio.sleep(0)
                late = group.create_task(unborn())
                raise KeyError("body")
        except* KeyError as found:
            told = [found.exceptions, task.cancelled(), late.cancelled()]
        return told

    trace = both_ways(lambda: run(main()))

    check(trace)
    assert outcomes(trace) == {"main": "returned", "child": "cancelled", "unborn": "cancelled"}
    assert wakers(task_of(trace, "child")) == ["main"] and wakers(task_of(trace, "main")) == ["child"]


def test_as_completed_with_a_timeout_and_wait_with_one_end_by_the_timer(run: Run) -> None:
    async def slow() -> None:
        await asyncio.sleep(5)

    async def waits_a_while() -> int:
        task = asyncio.create_task(slow())
        done, pending = await asyncio.wait([task], timeout=0.001)
        task.cancel()
        return len(done) + 10 * len(pending)

    async def takes_a_while() -> str:
        task = asyncio.create_task(slow())
        try:
            for each in asyncio.as_completed([task], timeout=0.001):
                await each
        except TimeoutError:
            task.cancel()
            return "timed out"
        return ""

    for main in (waits_a_while, takes_a_while):
        trace = both_ways(lambda main=main: run(main()))  # type: ignore[misc]
        check(trace)
        assert wakers(task_of(trace, main.__name__)) == ["timer"]
        assert [wait[0] for wait in waits(task_of(trace, main.__name__))] == ["task"]
        assert task_of(trace, "slow").outcome == "cancelled"
