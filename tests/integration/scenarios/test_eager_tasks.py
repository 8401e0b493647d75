"""Eager tasks: their first step runs inside their creator's, and is seen there."""

from __future__ import annotations

import asyncio
import contextvars
import sys
from typing import Any

import pytest
from integration.both_ways import (
    Run,
    both_ways,
    coroutine_of,
    kinds,
    label_of,
    needs_eager_tasks,
    outcomes,
    task_of,
    waits,
    wakers,
)
from integration.trace_rules import check


def use_eager_tasks() -> None:
    loop = asyncio.get_running_loop()
    loop.set_task_factory(eager_factory(loop))


def eager_factory(loop: asyncio.AbstractEventLoop) -> Any:
    """Return asyncio's factory, or one like it where uvloop hands on what that one does not take (CPython 3.13.0)."""
    if type(loop).__module__ != "uvloop":
        return asyncio.eager_task_factory  # type: ignore[attr-defined]

    def factory(loop: Any, coroutine: Any, *, eager_start: bool | None = None, **given: Any) -> Any:
        return asyncio.Task(coroutine, loop=loop, eager_start=True, **given)  # type: ignore[call-arg]

    return factory


@needs_eager_tasks
def test_eager_tasks_run_inside_their_creators_step(run: Run) -> None:
    async def at_once() -> int:
        return 1

    async def suspends() -> None:
        await asyncio.sleep(0.001)

    async def fails() -> None:
        raise ValueError("no")

    async def yields() -> None:
        await asyncio.sleep(0)

    async def cancels_itself() -> int:
        asyncio.current_task().cancel()  # type: ignore[union-attr]
        return 5

    async def main() -> list[Any]:
        use_eager_tasks()
        made = [at_once(), suspends(), fails(), yields(), cancels_itself()]
        return await asyncio.gather(*made, return_exceptions=True)

    trace = both_ways(lambda: [str(each) for each in run(main())])

    check(trace)
    outcomes = {label: task_of(trace, label).outcome for label in ("at_once", "suspends", "yields")}
    assert set(outcomes.values()) == {"returned"}
    assert task_of(trace, "fails").outcome == "raised" and task_of(trace, "fails").error == "ValueError"
    assert task_of(trace, "cancels_itself").outcome == "cancelled"
    assert kinds(task_of(trace, "suspends"))[-3:] == ["waiting sleep", "ready timer", "running"]
    assert kinds(task_of(trace, "yields"))[-3:] == ["running", "ready task", "running"]
    assert all(task_of(trace, label).is_eager for label in ("at_once", "fails", "yields"))
    assert all(task_of(trace, label).creator is task_of(trace, "main") for label in ("at_once", "fails", "yields"))


@needs_eager_tasks
def test_a_task_factory_may_name_an_eager_task_after_its_end(run: Run) -> None:
    async def at_once() -> None:
        pass

    async def main() -> None:
        use_eager_tasks()
        task = asyncio.create_task(at_once(), name="mine")
        await task

    trace = both_ways(lambda: run(main()))

    assert task_of(trace, "at_once").name == "mine"


@needs_eager_tasks
def test_eager_tasks_inside_eager_tasks_nest_with_their_creators(run: Run) -> None:
    order: list[str] = []

    async def inner() -> str:
        order.append("inner")
        return asyncio.current_task().get_name()  # type: ignore[union-attr]

    async def middle() -> str:
        order.append("middle begins")
        task = asyncio.create_task(inner(), name="inner")
        order.append("middle goes on")
        return f"{await task} in {asyncio.current_task().get_name()}"  # type: ignore[union-attr]

    async def main() -> list[Any]:
        order.clear()
        use_eager_tasks()
        task = asyncio.create_task(middle(), name="middle")
        order.append("main goes on")
        return [task.done(), await task, *order]

    trace = both_ways(lambda: run(main()))

    check(trace)
    root, middle_task, inner_task = (task_of(trace, label) for label in ("main", "middle", "inner"))
    assert middle_task.creator is root and inner_task.creator is middle_task
    assert middle_task.is_eager and inner_task.is_eager and not root.is_eager
    assert kinds(inner_task)[-1:] == kinds(middle_task)[-1:] == ["running"]
    outer, own, innermost = (each.states[-1] for each in (root, middle_task, inner_task))
    assert outer.start_ns < own.start_ns < innermost.start_ns < innermost.end_ns < own.end_ns < outer.end_ns
    assert coroutine_of(trace, "inner").task is inner_task and coroutine_of(trace, "middle").task is middle_task
    assert coroutine_of(trace, "main").suspensions == ()


@needs_eager_tasks
def test_eager_start_of_a_task_that_is_made_directly(run: Run) -> None:
    async def at_once() -> int:
        return 1

    async def later() -> int:
        await asyncio.sleep(0.001)
        return 2

    async def main() -> list[Any]:
        loop = asyncio.get_running_loop()
        tasks = [asyncio.Task(each(), loop=loop, eager_start=True, name=each.__name__) for each in (at_once, later)]  # type: ignore[call-arg]
        return [[task.done() for task in tasks], [task.get_name() for task in tasks], await asyncio.gather(*tasks)]

    trace = both_ways(lambda: run(main()))

    check(trace)
    assert all(task_of(trace, label).is_eager for label in ("at_once", "later"))
    assert [task_of(trace, label).name for label in ("at_once", "later")] == ["at_once", "later"]
    assert kinds(task_of(trace, "later"))[-3:] == ["waiting sleep", "ready timer", "running"]
    assert waits(task_of(trace, "later")) == [("sleep", "asyncio.sleep(0.001)", 1)]
    assert wakers(task_of(trace, "main")) == ["later"]


@pytest.mark.skipif(sys.version_info < (3, 14), reason="create_task hands eager_start on since 3.14")
def test_eager_start_and_context_of_create_task_and_of_groups(run: Run) -> None:
    variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="default")

    async def child() -> str:
        earlier = variable.get()
        variable.set("child's")
        return earlier

    async def main() -> list[Any]:
        context = contextvars.copy_context()
        context.run(variable.set, "given")
        tasks = [asyncio.create_task(child(), eager_start=True, context=context, name="eager")]  # type: ignore[call-arg]
        async with asyncio.TaskGroup() as group:
            tasks.append(group.create_task(child(), eager_start=True))  # type: ignore[call-arg]
        tasks.append(asyncio.get_running_loop().create_task(child(), eager_start=False))  # type: ignore[call-arg]
        found = [task.done() for task in tasks]
        return [found, [await task for task in tasks], context[variable], variable.get()]

    trace = both_ways(lambda: run(main()))

    check(trace)
    assert [task.is_eager for task in trace.tasks if task.label == "child"] == [True, True, False]


@needs_eager_tasks
def test_an_eager_task_that_suspends_wakes_those_that_await_it(run: Run) -> None:
    async def sets(event: asyncio.Event) -> None:
        await asyncio.sleep(0)
        event.set()

    async def waits_for_it(event: asyncio.Event) -> None:
        await event.wait()

    async def main() -> None:
        use_eager_tasks()
        event = asyncio.Event()
        async with asyncio.TaskGroup() as group:
            group.create_task(waits_for_it(event))
            group.create_task(sets(event))

    trace = both_ways(lambda: run(main()))

    check(trace)
    assert outcomes(trace) == {"main": "returned", "sets": "returned", "waits_for_it": "returned"}
    assert wakers(task_of(trace, "waits_for_it")) == ["sets"]
    assert waits(task_of(trace, "waits_for_it")) == [("event", "event.wait()", 1)]
    assert wakers(task_of(trace, "main")) == ["waits_for_it"]
    assert label_of(task_of(trace, "sets").creator) == "main"


@needs_eager_tasks
def test_an_eager_task_s_step_inside_a_plain_callback_stands_alone(run: Run) -> None:
    async def child() -> int:
        return 1

    async def main() -> list[Any]:
        loop = asyncio.get_running_loop()
        use_eager_tasks()
        made: list[Any] = []
        loop.call_soon(lambda: made.append(loop.create_task(child())))
        await asyncio.sleep(0)
        return [made[0].done(), await made[0]]

    trace = both_ways(lambda: run(main()))

    check(trace)
    task = task_of(trace, "child")
    assert task.outcome == "returned" and task.is_eager
    # The callback was queued by main: what it makes is main's.
    assert label_of(task.creator) == "main"


@needs_eager_tasks
def test_eager_tasks_with_a_cancel_before_they_resume(run: Run) -> None:
    async def victim() -> None:
        try:
            await asyncio.sleep(5)
        finally:
            print("cleaned up")

    async def catches() -> str:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            return "caught"
        return "not reached"

    async def main() -> list[Any]:
        use_eager_tasks()
        tasks = [asyncio.create_task(victim()), asyncio.create_task(catches())]
        for task in tasks:
            task.cancel()
        found = await asyncio.gather(*tasks, return_exceptions=True)
        return [repr(each) for each in found]

    trace = both_ways(lambda: run(main()))

    check(trace)
    assert outcomes(trace) == {"main": "returned", "victim": "cancelled", "catches": "returned"}
    assert wakers(task_of(trace, "victim")) == wakers(task_of(trace, "catches")) == ["main"]


@needs_eager_tasks
def test_an_eager_root_that_is_a_generator_s_step(run: Run) -> None:
    async def numbers() -> Any:
        yield 1
        await asyncio.sleep(0.001)
        yield 2

    async def main() -> list[Any]:
        use_eager_tasks()
        generator = numbers()
        tasks = [asyncio.create_task(generator.__anext__())]
        found: list[Any] = [tasks[0].done(), await tasks[0]]
        tasks.append(asyncio.create_task(generator.__anext__()))
        found.extend([tasks[1].done(), await tasks[1]])
        await generator.aclose()
        return found

    trace = both_ways(lambda: run(main()))

    check(trace)
    steps = [task for task in trace.tasks if task is not task_of(trace, "main") and not task.is_internal]
    assert [task.outcome for task in steps] == ["returned", "returned"]
    assert [task.is_eager for task in steps] == [True, True]
    assert wakers(steps[1]) == ["timer"] and wakers(task_of(trace, "main")) == [steps[1].label]
    assert coroutine_of(trace, "numbers").outcome == "closed"


@needs_eager_tasks
def test_a_factory_that_changes_meanwhile_makes_each_kind(run: Run) -> None:
    async def child() -> int:
        return 1

    async def main() -> list[Any]:
        loop = asyncio.get_running_loop()
        tasks = [loop.create_task(child(), name="lazy")]
        use_eager_tasks()
        tasks.append(loop.create_task(child(), name="eager"))
        loop.set_task_factory(lambda loop, coroutine, **given: asyncio.Task(coroutine, loop=loop, **given))
        tasks.append(loop.create_task(child(), name="own"))
        found = [task.done() for task in tasks]
        use_eager_tasks()
        tasks.append(loop.create_task(child(), name="made eager"))
        loop.set_task_factory(None)
        return [found, loop.get_task_factory(), [task.get_name() for task in tasks], await asyncio.gather(*tasks)]

    trace = both_ways(lambda: run(main()))

    check(trace)
    children = [task for task in trace.tasks if task.label == "child"]
    assert [(task.name, task.is_eager) for task in children] == [
        ("lazy", False),
        ("eager", True),
        ("own", False),
        ("made eager", True),
    ]


@needs_eager_tasks
def test_aiohttp_s_own_eager_tasks(run: Run) -> None:
    aiohttp = pytest.importorskip("aiohttp")
    from aiohttp import web

    async def handle(request: Any) -> Any:
        await asyncio.sleep(0.001)
        return web.Response(text=f"hello {request.match_info['name']}")

    async def ask(session: Any, port: int, name: str) -> str:
        async with session.get(f"http://localhost:{port}/{name}") as response:
            return str(await response.text())

    async def main() -> list[str]:
        application = web.Application()
        application.router.add_get("/{name}", handle)
        runner = web.AppRunner(application)
        await runner.setup()
        site = web.TCPSite(runner, "localhost", 0)
        await site.start()
        port = site._server.sockets[0].getsockname()[1]
        async with aiohttp.ClientSession(trust_env=False) as session:
            found = await asyncio.gather(*(ask(session, port, name) for name in ("one", "two", "three")))
        await runner.cleanup()
        return found

    trace = both_ways(lambda: run(main()))

    check(trace)
    asked = [task for task in trace.tasks if task.label == "ask"]
    served = [task for task in trace.tasks if task.label == "handle"]
    assert [task.outcome for task in asked] == ["returned"] * 3
    assert len(served) == 3
    assert [each.outcome for each in trace.coroutines if each.task in served and each.name.endswith(".handle")] == [
        "returned"
    ] * 3
    assert all(task.outcome != "unfinished" for task in trace.tasks)
