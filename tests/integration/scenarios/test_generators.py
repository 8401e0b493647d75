"""Async generators: a `yield` is no wait, one may be driven by several tasks, and each ends as it did."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import sys
from collections.abc import AsyncIterator
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
    waits,
    wakers,
)
from integration.trace_rules import check


def test_generators_that_are_interleaved_broken_out_of_and_closed_yield_without_waiting(run: Run) -> None:
    async def numbers(count: int) -> Any:
        for number in range(count):
            await asyncio.sleep(0)
            yield number

    async def main() -> list[int]:
        one, other = numbers(3), numbers(3)
        seen = [await anext(one), await anext(other), await anext(one)]
        async for number in numbers(5):
            seen.append(number)
            break
        await one.aclose()
        await other.aclose()
        last = numbers(1)
        seen.append(await asyncio.ensure_future(last.__anext__()))
        await last.aclose()
        return seen

    trace = both_ways(lambda: run(main()))

    check(trace)
    assert not [state for state in task_of(trace, "main").states if state.kind == "waiting"][1:]
    if sees_coroutines:
        generators = [each for each in trace.coroutines if each.is_generator]
        assert len(generators) == 4
        assert [each.outcome for each in generators] == ["closed"] * 4
        assert [sum(each.is_yield for each in one.suspensions) for one in generators] == [2, 1, 1, 1]


def test_two_generators_that_are_interleaved_in_one_task_each_have_their_own_suspensions(run: Run) -> None:
    async def letters() -> AsyncIterator[str]:
        for letter in "ab":
            await asyncio.sleep(0.001)
            yield letter

    async def digits() -> AsyncIterator[int]:
        yield 1
        await asyncio.sleep(0)
        yield 2

    async def main() -> list[Any]:
        one, other = letters(), digits()
        found: list[Any] = []
        for _ in range(2):
            found.extend([await anext(one), await anext(other)])
        with pytest.raises(StopAsyncIteration):
            await anext(one)
        with pytest.raises(StopAsyncIteration):
            await anext(other)
        return found

    trace = both_ways(lambda: run(main()))

    check(trace)
    task = task_of(trace, "main")
    if not sees_coroutines:
        return
    assert [wait[:2] for wait in waits(task)] == [("sleep", "asyncio.sleep(0.001)")] * 2
    letters_seen, digits_seen = coroutine_of(trace, "letters"), coroutine_of(trace, "digits")
    assert [each.is_yield for each in letters_seen.suspensions] == [False, True, False, True]
    assert [each.is_yield for each in digits_seen.suspensions] == [True, False, True]
    assert [each.expression for each in letters_seen.suspensions if not each.is_yield] == ["asyncio.sleep(0.001)"] * 2
    assert {each.outcome for each in (letters_seen, digits_seen)} == {"returned"}
    assert {each.task for each in (letters_seen, digits_seen)} == {task}
    assert {each.awaiter for each in (letters_seen, digits_seen)} == {coroutine_of(trace, "main")}


def test_one_generator_is_driven_by_two_tasks_in_turn(run: Run) -> None:
    async def numbers() -> AsyncIterator[int]:
        for number in range(4):
            await asyncio.sleep(0.001)
            yield number

    async def takes(generator: Any, turn: asyncio.Lock) -> list[int]:
        found = []
        for _ in range(2):
            async with turn:
                found.append(await anext(generator))
            await asyncio.sleep(0)
        return found

    async def main() -> list[Any]:
        generator, turn = numbers(), asyncio.Lock()
        tasks = [asyncio.create_task(takes(generator, turn), name=f"taker {number}") for number in range(2)]
        found = await asyncio.gather(*tasks)
        await generator.aclose()
        return found

    trace = both_ways(lambda: run(main()))

    check(trace)
    takers = [task for task in trace.tasks if task.label == "takes"]
    for task in takers:
        assert task.outcome == "returned"
        if sees_coroutines:
            found = [wait[1] for wait in waits(task) if wait[0] == "sleep"]
            assert found == ["asyncio.sleep(0.001)"] * 2
    if sees_coroutines:
        generator = coroutine_of(trace, "numbers")
        assert generator.outcome == "closed" and generator.task is takers[0]
        assert sum(each.is_yield for each in generator.suspensions) == 4


def test_two_tasks_at_one_generator_at_once_are_refused_the_same(run: Run) -> None:
    async def numbers() -> AsyncIterator[int]:
        await asyncio.sleep(0.001)
        yield 1

    async def main() -> list[str]:
        generator = numbers()
        tasks = [asyncio.ensure_future(generator.__anext__()) for _ in range(2)]
        found = await asyncio.gather(*tasks, return_exceptions=True)
        await generator.aclose()
        return [repr(each) for each in found]

    trace = both_ways(lambda: run(main()))

    check(trace)
    steps = [task for task in trace.tasks if task.label != "main" and not task.is_internal]
    assert sorted(task.outcome for task in steps) == ["raised", "returned"]


def test_a_generator_s_step_may_be_a_task_s_root(run: Run) -> None:
    async def numbers() -> AsyncIterator[int]:
        yield 1
        await asyncio.sleep(0.001)
        yield 2

    async def main() -> list[Any]:
        generator = numbers()
        found: list[Any] = [await asyncio.create_task(generator.__anext__(), name="first")]
        found.append(await asyncio.create_task(generator.asend(None), name="second"))
        task = asyncio.create_task(generator.__anext__(), name="third")
        await asyncio.wait([task])
        found.append(repr(task.exception()))
        last = asyncio.create_task(generator.aclose(), name="last")
        return [*found, await last]

    trace = both_ways(lambda: run(main()))

    check(trace)
    by_name = {task.name: task for task in trace.tasks}
    if sees_coroutines:
        assert {by_name[name].label for name in ("first", "second")} == {"numbers"}
    assert by_name["first"].outcome == by_name["second"].outcome == by_name["last"].outcome == "returned"
    assert by_name["third"].outcome == "raised" and by_name["third"].error == "StopAsyncIteration"
    assert kinds(by_name["first"]) == ["ready task", "running"]
    assert [kind.split()[0] for kind in kinds(by_name["second"])] == ["ready", "running", "waiting", "ready", "running"]
    assert wakers(by_name["second"]) == ["timer"]
    if sees_coroutines:
        assert waits(by_name["second"])[0][:2] == ("sleep", "asyncio.sleep(0.001)")
        assert coroutine_of(trace, "numbers").outcome == "returned"


def test_a_generator_that_is_dropped_half_way_is_closed_by_the_loop(run: Run) -> None:
    async def numbers() -> AsyncIterator[int]:
        try:
            yield 1
            yield 2
        finally:
            print("cleaned up")
            await asyncio.sleep(0)
            print("after its yield")

    async def main() -> int:
        async for number in numbers():  # noqa: B007
            break
        gc.collect()
        for _ in range(6):
            await asyncio.sleep(0)
        return number

    trace = both_ways(lambda: run(main()))

    check(trace)
    assert outcomes(trace)["main"] == "returned"
    if sees_coroutines:
        # Thrown into, it ends with the GeneratorExit.
        assert coroutine_of(trace, "numbers").outcome == "closed"


def test_aclose_athrow_and_asend_end_where_they_did(run: Run) -> None:
    async def echoes() -> Any:
        told = []
        try:
            while True:
                try:
                    told.append((yield len(told)))
                    await asyncio.sleep(0)
                except ValueError as error:
                    told.append(str(error))
        finally:
            await asyncio.sleep(0)
            print(told)

    async def main() -> list[Any]:
        generator = echoes()
        found = [await generator.asend(None), await generator.asend("one"), await generator.athrow(ValueError("two"))]
        await generator.aclose()
        await generator.aclose()
        with pytest.raises(StopAsyncIteration):
            await generator.asend(None)
        never_begun = echoes()
        await never_begun.aclose()
        thrown = echoes()
        with pytest.raises(KeyError) as caught:
            await thrown.athrow(KeyError("before it began"))
        ignores = stubborn()
        await anext(ignores)
        with pytest.raises(RuntimeError) as ignored:
            await ignores.aclose()
        return [*found, str(caught.value), str(ignored.value)]

    async def stubborn() -> AsyncIterator[int]:
        while True:
            with contextlib.suppress(GeneratorExit):
                yield 1

    trace = both_ways(lambda: run(main()))

    check(trace)
    if sees_coroutines:
        found = [each for each in trace.coroutines if each.name.endswith("echoes")]
        assert found[0].outcome == "closed" and sum(each.is_yield for each in found[0].suspensions) == 3
        # One that never began gives no event when it is closed; thrown into, it ends with the error.
        assert [(each.outcome, each.error) for each in found[1:]] in (
            [("raised", "KeyError")],
            [("closed", None), ("raised", "KeyError")],
        )


@needs_coroutines
def test_a_generator_inside_a_generator_hands_its_waits_on(run: Run) -> None:
    async def inner() -> AsyncIterator[int]:
        yield 1
        await asyncio.sleep(0.001)
        yield 2

    async def outer() -> AsyncIterator[int]:
        async for number in inner():
            yield number * 10

    async def main() -> list[int]:
        return [number async for number in outer()]

    trace = both_ways(lambda: run(main()))

    check(trace)
    found = {name: coroutine_of(trace, name) for name in ("main", "outer", "inner")}
    assert found["inner"].awaiter is found["outer"] and found["outer"].awaiter is found["main"]
    assert [each.is_yield for each in found["outer"].suspensions] == [True, False, True]
    assert [each.is_yield for each in found["inner"].suspensions] == [True, False, True]
    assert [each.is_yield for each in found["main"].suspensions] == [False]
    assert kinds(task_of(trace, "main")) == ["ready unknown", "running", "waiting sleep", "ready timer", "running"]


def test_async_comprehensions_and_anext_with_a_default(run: Run) -> None:
    async def numbers(count: int) -> AsyncIterator[int]:
        for number in range(count):
            await asyncio.sleep(0)
            yield number

    async def double(number: int) -> int:
        await asyncio.sleep(0.001)
        return 2 * number

    async def main() -> list[Any]:
        found: list[Any] = [
            [number async for number in numbers(3) if number],
            {number: await double(number) async for number in numbers(2)},
            [await double(number) for number in range(2)],
            [[inner async for inner in numbers(outer)] async for outer in numbers(3)],
        ]
        lazy = (await double(number) async for number in numbers(2))
        found.append([number async for number in lazy])
        generator = numbers(1)
        found.extend([await anext(generator, "none"), await anext(generator, "none")])
        return found

    trace = both_ways(lambda: run(main()))

    check(trace)
    task = task_of(trace, "main")
    assert [wait[0] for wait in waits(task)] == ["sleep"] * 6 or not sees_coroutines
    assert len(waits(task)) == 6 and wakers(task) == ["timer"] * 6
    if sees_coroutines:
        assert [each.outcome for each in trace.coroutines if each.name.endswith("numbers")] == ["returned"] * 8


def test_async_context_managers_enter_and_leave_in_their_places(run: Run) -> None:
    @contextlib.asynccontextmanager
    async def opened(name: str) -> AsyncIterator[str]:
        await asyncio.sleep(0.001)
        print("entered", name)
        try:
            yield name
        finally:
            await asyncio.sleep(0.001)
            print("left", name)

    class Managed:
        async def __aenter__(self) -> str:
            await asyncio.sleep(0.001)
            return "managed"

        async def __aexit__(self, *error: Any) -> bool:
            await asyncio.sleep(0.001)
            return error[0] is KeyError

    async def main() -> list[Any]:
        async with opened("one") as one, Managed() as managed:
            found: list[Any] = [one, managed]
            raise KeyError("suppressed")
        try:
            async with contextlib.AsyncExitStack() as stack:
                found.append(await stack.enter_async_context(opened("two")))
                stack.push_async_callback(asyncio.sleep, 0)
                raise ValueError("passes")
        except ValueError as error:
            found.append(error)
        return found

    trace = both_ways(lambda: run(main()))

    check(trace)
    task = task_of(trace, "main")
    assert wakers(task) == ["timer"] * 6
    if sees_coroutines:
        assert [wait[:2] for wait in waits(task)] == [("sleep", "asyncio.sleep(0.001)")] * 6
        assert [each.outcome for each in trace.coroutines if each.name.endswith("opened")] == ["returned", "raised"]
        names = [each.name.rsplit(".", 1)[-1] for each in trace.coroutines]
        assert names.count("__aenter__") >= 1 and names.count("__aexit__") >= 1


def test_a_task_that_is_cancelled_in_a_generator_ends_it(run: Run) -> None:
    async def numbers() -> AsyncIterator[int]:
        try:
            await asyncio.sleep(5)
            yield 1
        finally:
            print("cleaned up")

    async def iterates() -> None:
        async for _ in numbers():
            pass

    async def main() -> list[Any]:
        task = asyncio.create_task(iterates())
        await asyncio.sleep(0)
        task.cancel()
        return [repr(await asyncio.gather(task, return_exceptions=True))]

    trace = both_ways(lambda: run(main()))

    check(trace)
    assert outcomes(trace) == {"main": "returned", "iterates": "cancelled"}
    if sees_coroutines:
        assert coroutine_of(trace, "numbers").outcome == "cancelled"
        assert waits(task_of(trace, "iterates"))[0][:2] == ("sleep", "asyncio.sleep(5)")


def test_generators_left_at_the_end_are_closed_by_the_shutdown(run: Run) -> None:
    kept: list[Any] = []

    async def numbers(number: int) -> AsyncIterator[int]:
        try:
            yield number
        finally:
            await asyncio.sleep(0)
            print("shut down", number)

    async def main() -> list[int]:
        kept.clear()
        kept.extend(numbers(number) for number in range(1))
        return [await anext(generator) for generator in kept]

    trace = both_ways(lambda: run(main()))

    check(trace)
    internal = [task.label.rsplit(".", 1)[-1] for task in trace.tasks if task.is_internal]
    assert internal == ["shutdown_asyncgens", "shutdown_default_executor"]
    if sees_coroutines:
        assert coroutine_of(trace, "numbers").outcome == "closed"


def test_a_generator_s_hooks_and_running_flags_are_the_same(run: Run) -> None:
    async def numbers() -> AsyncIterator[int]:
        flags.append(generator.ag_running)
        await asyncio.sleep(0)
        yield 1

    flags: list[Any] = []
    generator: Any = None

    async def main() -> list[Any]:
        nonlocal generator
        flags.clear()
        generator = numbers()
        flags.append(generator.ag_running)
        await anext(generator)
        flags.extend([generator.ag_running, generator.ag_await, len(sys.get_asyncgen_hooks())])
        await generator.aclose()
        return flags

    both_ways(lambda: run(main()))
