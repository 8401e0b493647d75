"""Cancelling: counts, clean-up, shields, gathers and chains do as before; who cancelled is seen."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest
from integration.both_ways import (
    Run,
    both_ways,
    coroutine_of,
    kinds,
    needs_coroutines,
    outcomes,
    sees_coroutines,
    task_of,
    trace_of,
    waits,
    wakers,
)
from integration.trace_rules import check


def test_cancel_counts_and_nested_timeouts_are_the_same(run: Run) -> None:
    async def nested() -> list[Any]:
        told: list[Any] = []
        task = asyncio.current_task()
        assert task is not None
        try:
            async with asyncio.timeout(0.001):
                try:
                    async with asyncio.timeout(10):
                        await asyncio.sleep(5)
                finally:
                    told.append(("inside", task.cancelling()))
        except TimeoutError:
            told.append(("outside", task.cancelling()))
        task.cancel("message")
        task.cancel()
        told.append((task.cancelling(), task.uncancel(), task.uncancel()))
        try:
            await asyncio.sleep(0)
            told.append("went on")
        except asyncio.CancelledError as error:
            told.append(error.args)
        return told

    both_ways(lambda: run(nested()))


def test_cancels_before_the_first_step_in_clean_up_and_of_gathers_are_the_same(run: Run) -> None:
    async def sleeper(told: list[Any]) -> None:
        told.append("began")
        try:
            await asyncio.sleep(5)
        finally:
            told.append("cleaned")
            raise ValueError("in the clean-up")

    async def returns_cancelled() -> int:
        asyncio.current_task().cancel()  # type: ignore[union-attr]
        return 5

    async def main() -> list[Any]:
        told: list[Any] = []
        unborn = asyncio.create_task(sleeper(told))
        unborn.cancel()
        done = asyncio.create_task(returns_cancelled())
        gathered = asyncio.gather(sleeper(told), sleeper(told), return_exceptions=True)
        shielded = asyncio.ensure_future(asyncio.shield(asyncio.sleep(0.001, "shielded")))
        await asyncio.sleep(0)
        gathered.cancel()
        shielded.cancel()
        asyncio.get_running_loop().call_soon(asyncio.create_task(asyncio.sleep(5)).cancel)
        everything = await asyncio.gather(unborn, done, gathered, shielded, return_exceptions=True)
        return [told, [repr(each) for each in everything], done.cancelled(), unborn.cancelled()]

    trace = both_ways(lambda: run(main()))

    check(trace)
    assert task_of(trace, "returns_cancelled").outcome == "cancelled"
    assert [task.outcome for task in trace.tasks if task.label == "sleeper"] == ["cancelled", "raised", "raised"]


@needs_coroutines
def test_awaiters_of_a_coroutine_that_catches_a_cancel_are_not_suspended_while_it_goes_on(run: Run) -> None:
    clock: list[int] = []

    async def stubborn() -> None:
        try:
            await asyncio.sleep(9)
        except asyncio.CancelledError:
            clock.append(time.monotonic_ns())
            await asyncio.sleep(0.001)

    async def outer() -> None:
        await stubborn()

    async def main() -> None:
        task = asyncio.create_task(outer())
        await asyncio.sleep(0)
        task.cancel()
        await task

    trace = trace_of(lambda: run(main()))

    check(trace)
    awaiter = next(each for each in trace.coroutines if each.name.endswith("outer"))
    assert len(awaiter.suspensions) == 2
    assert not any(each.start_ns < clock[0] < each.end_ns for each in awaiter.suspensions)
    assert [wait[1] for wait in waits(task_of(trace, "outer"))] == ["asyncio.sleep(9)", "asyncio.sleep(0.001)"]


def test_wait_for_raises_timeout_error_and_a_cancel_stays_a_cancelled_error(run: Run) -> None:
    async def forever() -> None:
        await asyncio.Event().wait()

    async def late() -> str:
        try:
            await asyncio.sleep(5)
        except asyncio.CancelledError:
            return "swallowed"
        return "slept"

    async def waits_for() -> None:
        await asyncio.wait_for(forever(), 5)

    async def main() -> list[Any]:
        told: list[Any] = []
        for awaitable in (forever(), late(), asyncio.get_running_loop().create_future()):
            try:
                told.append(await asyncio.wait_for(awaitable, 0.001))
            except TimeoutError as error:
                told.append(("timed out", error))
        told.append(await asyncio.wait_for(asyncio.sleep(0, "in time"), 5))
        task = asyncio.create_task(waits_for())
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        task.cancel("why")
        try:
            await task
        except asyncio.CancelledError as error:
            told.append(("cancelled", error.args, task.cancelled(), task.cancelling()))
        return told

    trace = both_ways(lambda: run(main()))

    check(trace)
    assert task_of(trace, "waits_for").outcome == "cancelled"
    if sees_coroutines:  # before 3.12 wait_for makes a task of what it waits for
        assert wakers(task_of(trace, "waits_for")) == ["main"]
        assert [each.outcome for each in trace.coroutines if each.name.endswith("forever")] == ["cancelled"] * 2
        assert coroutine_of(trace, "late").outcome == "returned"


def test_a_task_cancelled_before_its_first_step_has_one_step_in_which_nothing_of_it_ran(run: Run) -> None:
    async def unborn() -> None:
        print("never printed")

    async def main() -> list[Any]:
        task = asyncio.create_task(unborn())
        task.cancel()
        result = await asyncio.gather(task, return_exceptions=True)
        return [repr(result), task.cancelled()]

    trace = both_ways(lambda: run(main()))

    check(trace)
    task = task_of(trace, "unborn")
    assert kinds(task) == ["ready task", "running"] and task.outcome == "cancelled"
    if sees_coroutines:
        each = coroutine_of(trace, "unborn")
        assert each.outcome == "cancelled" and each.suspensions == () and each.task is task


def test_an_exception_inside_the_clean_up_of_a_cancel_replaces_it(run: Run) -> None:
    async def inner() -> None:
        try:
            await asyncio.sleep(5)
        finally:
            await asyncio.sleep(0.001)
            raise ValueError("in the clean-up")

    async def cleans() -> None:
        await inner()

    async def main() -> list[Any]:
        task = asyncio.create_task(cleans())
        await asyncio.sleep(0)
        task.cancel()
        try:
            await task
        except ValueError as error:
            return [error, repr(error.__context__), task.cancelled(), task.cancelling()]
        return []

    trace = both_ways(lambda: run(main()))

    check(trace)
    task = task_of(trace, "cleans")
    assert task.outcome == "raised" and task.error == "ValueError"
    assert wakers(task) == ["main", "timer"]
    assert [wait[0] for wait in waits(task)] == ["sleep", "sleep"]
    if sees_coroutines:
        # The awaiter is resumed with the first throw, and suspended again by the clean-up.
        assert [each.expression for each in coroutine_of(trace, "cleans").suspensions] == ["inner()"] * 2
        assert coroutine_of(trace, "inner").error == "ValueError"


def test_a_shield_that_is_cancelled_leaves_what_it_shields_alone(run: Run) -> None:
    async def precious() -> str:
        await asyncio.sleep(0.05)
        return "kept"

    async def guards(task: asyncio.Task[str]) -> str:
        return await asyncio.shield(task)

    async def main() -> list[Any]:
        task = asyncio.create_task(precious())
        outer = asyncio.create_task(guards(task))
        await asyncio.sleep(0)
        outer.cancel()
        told = await asyncio.gather(outer, return_exceptions=True)
        return [repr(told), outer.cancelled(), await task]

    trace = both_ways(lambda: run(main()))

    check(trace)
    assert kinds(task_of(trace, "precious")) == ["ready task", "running", "waiting sleep", "ready timer", "running"]
    assert task_of(trace, "precious").outcome == "returned"
    assert task_of(trace, "guards").outcome == "cancelled"
    assert waits(task_of(trace, "guards")) == [("future", "asyncio.shield(task)", 1)]
    assert wakers(task_of(trace, "guards")) == ["main"]
    assert wakers(task_of(trace, "main"))[-1:] == ["precious"]


def test_a_shield_that_is_not_cancelled_passes_the_end_on(run: Run) -> None:
    async def precious() -> str:
        await asyncio.sleep(0.001)
        return "kept"

    async def main() -> str:
        return await asyncio.shield(precious())

    trace = both_ways(lambda: run(main()))

    assert wakers(task_of(trace, "main")) == ["precious"]
    assert task_of(trace, "precious").creator is task_of(trace, "main")


def test_cancel_of_a_gather_cancels_the_children_and_of_one_child_ends_the_gather(run: Run) -> None:
    async def one() -> None:
        await asyncio.sleep(5)

    async def other() -> None:
        await asyncio.sleep(5)

    async def gathers() -> None:
        await asyncio.gather(one(), other())

    async def whole() -> list[Any]:
        task = asyncio.create_task(gathers())
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        task.cancel()
        return [repr(await asyncio.gather(task, return_exceptions=True)), task.cancelled()]

    async def single() -> list[Any]:
        children = [asyncio.create_task(one()), asyncio.create_task(other())]
        gathered = asyncio.gather(*children)
        await asyncio.sleep(0)
        children[0].cancel("this one")
        try:
            await gathered
        except asyncio.CancelledError as error:
            told = [error.args, [each.done() for each in children]]
        children[1].cancel()
        await asyncio.wait(children)
        return told

    trace = both_ways(lambda: run(whole()))

    check(trace)
    assert outcomes(trace) == {"whole": "returned", "gathers": "cancelled", "one": "cancelled", "other": "cancelled"}
    assert wakers(task_of(trace, "one")) == wakers(task_of(trace, "other")) == ["whole"]
    assert wakers(task_of(trace, "gathers")) == ["one"]
    assert wakers(task_of(trace, "whole")) == ["gathers"]

    trace = both_ways(lambda: run(single()))

    check(trace)
    assert outcomes(trace) == {"single": "returned", "one": "cancelled", "other": "cancelled"}
    assert wakers(task_of(trace, "one")) == wakers(task_of(trace, "other")) == ["single"]
    assert wakers(task_of(trace, "single")) == ["one", "other"]
    assert [wait[0] for wait in waits(task_of(trace, "single"))] == ["gather", "task"]


def test_a_root_that_cancels_itself_and_returns_ends_cancelled_only_as_a_task(run: Run) -> None:
    async def returns() -> int:
        asyncio.current_task().cancel()  # type: ignore[union-attr]
        return 5

    async def returns_later() -> int:
        await asyncio.sleep(0)
        asyncio.current_task().cancel("late")  # type: ignore[union-attr]
        return 6

    async def raises() -> int:
        asyncio.current_task().cancel()  # type: ignore[union-attr]
        raise ValueError("no")

    async def main() -> list[Any]:
        tasks = [asyncio.create_task(each()) for each in (returns, returns_later, raises)]
        told = await asyncio.gather(*tasks, return_exceptions=True)
        return [[repr(each) for each in told], [task.cancelled() for task in tasks], [t.cancelling() for t in tasks]]

    trace = both_ways(lambda: run(main()))

    check(trace)
    assert outcomes(trace) == {
        "main": "returned",
        "returns": "cancelled",
        "returns_later": "cancelled",
        "raises": "raised",
    }
    if sees_coroutines:
        found = {name: coroutine_of(trace, name).outcome for name in ("returns", "returns_later", "raises")}
        assert found == {"returns": "returned", "returns_later": "returned", "raises": "raised"}


def test_a_cancel_is_caught_and_more_awaits_follow(run: Run) -> None:
    async def stubborn(is_about_to_sleep: asyncio.Event) -> list[str]:
        told = []
        for _ in range(3):
            is_about_to_sleep.set()
            try:
                await asyncio.sleep(5)
            except asyncio.CancelledError as error:
                told.append(error.args[0])
                await asyncio.sleep(0.001)
        await asyncio.sleep(0.001)
        return told

    async def main() -> list[Any]:
        is_about_to_sleep = asyncio.Event()
        task = asyncio.create_task(stubborn(is_about_to_sleep))
        for number in range(3):
            await is_about_to_sleep.wait()
            is_about_to_sleep.clear()
            task.cancel(f"try {number}")
        told: list[Any] = await task
        return [*told, task.cancelling(), task.cancelled()]

    trace = both_ways(lambda: run(main()))

    check(trace)
    task = task_of(trace, "stubborn")
    assert task.outcome == "returned"
    assert wakers(task) == ["main", "timer"] * 3 + ["timer"]
    assert [wait[1:] for wait in waits(task)] == [
        ("asyncio.sleep(5)", 5),
        ("asyncio.sleep(0.001)", 8),
    ] * 3 + [("asyncio.sleep(0.001)", 9)]


def test_a_cancel_goes_through_a_chain_of_awaiting_tasks_from_the_innermost_out(run: Run) -> None:
    order: list[str] = []

    async def innermost() -> None:
        try:
            await asyncio.sleep(5)
        finally:
            order.append("innermost")

    async def middle(task: asyncio.Task[None]) -> None:
        try:
            await task
        finally:
            order.append("middle")

    async def outermost(task: asyncio.Task[None]) -> None:
        try:
            await task
        finally:
            order.append("outermost")

    async def main() -> list[Any]:
        order.clear()
        one = asyncio.create_task(innermost())
        two = asyncio.create_task(middle(one))
        three = asyncio.create_task(outermost(two))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        three.cancel("chain")
        try:
            await three
        except asyncio.CancelledError as error:
            return [*order, error.args, one.cancelling(), two.cancelling(), three.cancelling()]
        return []

    trace = both_ways(lambda: run(main()))

    check(trace)
    assert set(outcomes(trace).values()) == {"cancelled", "returned"} and task_of(trace, "main").outcome == "returned"
    assert wakers(task_of(trace, "innermost")) == ["main"]
    assert wakers(task_of(trace, "middle")) == ["innermost"]
    assert wakers(task_of(trace, "outermost")) == ["middle"]
    assert wakers(task_of(trace, "main")) == ["outermost"]
    assert waits(task_of(trace, "middle")) == [("task", "task", 2)]


def test_a_cancel_that_meets_the_end_of_the_awaited_changes_nothing(run: Run) -> None:
    async def quick() -> int:
        return 1

    async def awaits(task: asyncio.Task[int]) -> str:
        try:
            return f"got {await task}"
        except asyncio.CancelledError:
            return "cancelled"

    async def main() -> list[Any]:
        task = asyncio.create_task(quick())
        other = asyncio.create_task(awaits(task))
        await task
        told: list[Any] = [task.cancel(), other.cancel(), other.cancel()]  # it has been woken already
        told.append(await other)
        told.extend([task.cancelled(), other.cancelled(), other.cancelling(), other.cancel()])
        return told

    trace = both_ways(lambda: run(main()))

    check(trace)
    assert outcomes(trace) == {"main": "returned", "quick": "returned", "awaits": "returned"}


def test_a_task_group_that_is_cancelled_from_outside_cancels_its_children(run: Run) -> None:
    async def child() -> None:
        try:
            await asyncio.sleep(5)
        finally:
            await asyncio.sleep(0)

    async def groups() -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(child())

    async def main() -> list[Any]:
        task = asyncio.create_task(groups())
        await asyncio.sleep(0.001)
        task.cancel("outside")
        try:
            await task
        except asyncio.CancelledError as error:
            return [error.args, task.cancelling(), task.cancelled()]
        return []

    trace = both_ways(lambda: run(main()))

    check(trace)
    assert outcomes(trace) == {"main": "returned", "groups": "cancelled", "child": "cancelled"}
    # The group, woken by the cancel, passes it on and goes on waiting.
    assert wakers(task_of(trace, "groups")) == ["main", "child"]
    assert wakers(task_of(trace, "child")) == ["groups"]
    assert kinds(task_of(trace, "child"))[-2:] == ["ready task", "running"]  # its clean-up yields, it does not wait


def test_timeouts_that_are_moved_and_expire_late_count_the_same(run: Run) -> None:
    async def main() -> list[Any]:
        loop = asyncio.get_running_loop()
        told: list[Any] = []
        async with asyncio.timeout(0.001) as moved:
            moved.reschedule(loop.time() + 5)
            await asyncio.sleep(0.003)
        told.append(moved.expired())
        try:
            async with asyncio.timeout_at(loop.time() - 1) as past:
                await asyncio.sleep(5)
        except TimeoutError as error:
            told.extend([past.expired(), type(error.__cause__).__name__])
        with pytest.raises(RuntimeError):
            past.reschedule(None)
        try:
            async with asyncio.timeout(None) as unlimited:
                unlimited.reschedule(loop.time())
                await asyncio.Event().wait()
        except TimeoutError:
            told.append(asyncio.current_task().cancelling())  # type: ignore[union-attr]
        return told

    trace = both_ways(lambda: run(main()))

    check(trace)
    # A timeout that has passed already is queued at once, by the task itself.
    assert wakers(task_of(trace, "main")) == ["timer", "main", "main"]
    assert [wait[0] for wait in waits(task_of(trace, "main"))] == ["sleep", "sleep", "event"]
