"""Coroutines inside a task: who awaits whom, from when to when, in which task."""

from __future__ import annotations

import asyncio
from typing import Any

from integration.both_ways import (
    Run,
    both_ways,
    coroutine_of,
    kinds,
    needs_coroutines,
    sees_coroutines,
    task_of,
    waits,
)
from integration.trace_rules import check


@needs_coroutines
def test_nested_coroutines_hang_together(run: Run) -> None:
    async def inner() -> int:
        await asyncio.sleep(0.001)
        return 1

    async def middle() -> int:
        return await inner()

    async def main() -> int:
        return await middle()

    trace = both_ways(lambda: run(main()))

    check(trace)
    found = {each.name.rsplit(".", 1)[-1]: each for each in trace.coroutines}
    assert found["inner"].awaiter is found["middle"] and found["middle"].awaiter is found["main"]
    assert found["main"].awaiter is None
    assert waits(task_of(trace, "main"))[0][:2] == ("sleep", "asyncio.sleep(0.001)")
    assert [each.expression for each in found["middle"].suspensions] == ["inner()"]
    assert {found[name].outcome for name in ("inner", "middle", "main")} == {"returned"}
    assert {found[name].task for name in ("inner", "middle", "main")} == {task_of(trace, "main")}


@needs_coroutines
def test_a_coroutine_that_begins_in_one_task_is_awaited_in_another(run: Run) -> None:
    async def handed_on() -> str:
        await asyncio.sleep(0.001)
        return asyncio.current_task().get_name()  # type: ignore[union-attr]

    async def awaits(coroutine: Any) -> str:
        return str(await coroutine)

    async def main() -> str:
        coroutine = handed_on()
        return await asyncio.create_task(awaits(coroutine), name="awaiter")

    trace = both_ways(lambda: run(main()))

    check(trace)
    assert coroutine_of(trace, "handed_on").task is task_of(trace, "awaits")
    assert coroutine_of(trace, "handed_on").awaiter is coroutine_of(trace, "awaits")


@needs_coroutines
def test_a_coroutine_that_is_driven_by_hand_suspends_nobody(run: Run) -> None:
    async def by_hand() -> int:
        await asyncio.sleep(0)
        return 5

    async def main() -> list[Any]:
        coroutine = by_hand()
        found = [coroutine.send(None)]
        try:
            coroutine.send(None)
        except StopIteration as stop:
            found.append(stop.value)
        closed = by_hand()
        closed.send(None)
        closed.close()
        thrown = by_hand()
        thrown.send(None)
        try:
            thrown.throw(ValueError("by hand"))
        except ValueError as error:
            found.append(str(error))
        return found

    trace = both_ways(lambda: run(main()))

    check(trace)
    assert kinds(task_of(trace, "main")) == ["ready unknown", "running"]
    assert coroutine_of(trace, "main").suspensions == ()
    found = [each for each in trace.coroutines if each.name.endswith("by_hand")]
    assert [each.outcome for each in found] == ["returned", "closed", "raised"]
    assert [each.awaiter for each in found] == [None] * 3


@needs_coroutines
def test_an_exception_that_is_caught_half_way_ends_only_what_it_left(run: Run) -> None:
    async def fails() -> None:
        await asyncio.sleep(0)
        raise ValueError("no")

    async def passes_on() -> None:
        await fails()

    async def catches() -> str:
        try:
            await passes_on()
        except ValueError:
            await asyncio.sleep(0.001)
        return "caught"

    async def main() -> str:
        return await catches()

    trace = both_ways(lambda: run(main()))

    check(trace)
    found = {name: coroutine_of(trace, name) for name in ("fails", "passes_on", "catches", "main")}
    assert {name: each.outcome for name, each in found.items()} == {
        "fails": "raised",
        "passes_on": "raised",
        "catches": "returned",
        "main": "returned",
    }
    assert [each.expression for each in found["catches"].suspensions] == ["passes_on()", "asyncio.sleep(0.001)"]
    assert waits(task_of(trace, "main")) == [("sleep", "asyncio.sleep(0.001)", -3)]


def test_synchronous_code_between_coroutines_is_the_coroutine_s_own(run: Run) -> None:
    class Awaitable:
        def __await__(self) -> Any:
            return asyncio.sleep(0.001, "awaited").__await__()

    def makes() -> Any:
        return Awaitable()

    async def main() -> str:
        return str(await makes())

    trace = both_ways(lambda: run(main()))

    check(trace)
    # Before 3.12 the stack ends at what `__await__` returns.
    assert waits(task_of(trace, "main")) == [("sleep" if sees_coroutines else "timer", "makes()", 1)]


@needs_coroutines
def test_many_coroutines_in_a_row_at_one_address_are_each_their_own(run: Run) -> None:
    async def child(number: int) -> int:
        if number % 3 == 0:
            await asyncio.sleep(0)
        return number

    async def main() -> int:
        return sum([await child(number) for number in range(200)])

    trace = both_ways(lambda: run(main()))

    check(trace)
    found = [each for each in trace.coroutines if each.name.endswith("child")]
    assert len(found) == 200 and {each.outcome for each in found} == {"returned"}
    assert [len(each.suspensions) for each in found] == [int(number % 3 == 0) for number in range(200)]
