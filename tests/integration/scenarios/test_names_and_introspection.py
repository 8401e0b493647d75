"""Names, results, reprs, stacks and contexts of tasks are as without us, and the trace has the names."""

from __future__ import annotations

import asyncio
import contextvars
import inspect
import io
from typing import Any

import pytest
from integration.both_ways import Run, both_ways, needs_coroutines, task_of, trace_of
from integration.trace_rules import check


def test_tasks_show_the_same_coroutines_stacks_and_names(run: Run) -> None:
    async def child() -> None:
        await asyncio.sleep(0.001)

    async def main() -> list[Any]:
        task = asyncio.create_task(child(), name="mine")
        await asyncio.sleep(0)
        found = [task.get_name(), repr(task), type(task.get_coro()).__name__, len(task.get_stack())]
        found.append(task.get_coro().__qualname__)  # type: ignore[union-attr]
        found.append(sorted(each.get_name() for each in asyncio.all_tasks()))
        await task
        return [*found, repr(task)]

    both_ways(lambda: run(main()))


def test_names_reach_the_task_and_the_trace(run: Run) -> None:
    async def child() -> str:
        return asyncio.current_task().get_name()  # type: ignore[union-attr]

    names: list[Any] = ["plain", "", 5, "two\nlines", '"quoted" {braces} %s', "emoji 🦊 é", "\ud800 lone", "x" * 1000]

    async def main() -> list[str]:
        tasks = [asyncio.create_task(child(), name=name) for name in names]
        async with asyncio.TaskGroup() as group:
            tasks.append(group.create_task(child(), name="of a group"))
        tasks.append(asyncio.get_running_loop().create_task(child(), name="of a loop"))
        tasks.append(asyncio.Task(child(), name="direct"))
        found = [await task for task in tasks]
        return [*found, *(task.get_name() for task in tasks), *map(repr, tasks)]

    trace = both_ways(lambda: run(main()))

    expected = [str(name) for name in names] + ["of a group", "of a loop", "direct"]
    assert [task.name for task in trace.tasks if task.label == "child"] == expected


def test_a_name_that_asyncio_gave_is_the_one_that_the_program_sees(run: Run) -> None:
    names: list[str] = []

    async def child(number: int) -> None:
        task: asyncio.Task[Any] = asyncio.current_task()  # type: ignore[assignment]
        if number % 3 == 0:
            assert task.get_name()
        await asyncio.sleep(0)
        if number % 7 == 0:
            task.set_name(f"seven {number}")

    async def main() -> None:
        tasks = [asyncio.create_task(child(number), name="five" if number % 5 == 0 else None) for number in range(200)]
        await asyncio.gather(*tasks)
        names[:] = [task.get_name() for task in tasks]

    trace = trace_of(lambda: run(main()))

    assert len(set(names)) > 150
    assert [task.name for task in trace.tasks if task.label == "child"] == names


def test_a_name_that_changes_is_the_last_one(run: Run) -> None:
    async def renames() -> str:
        task = asyncio.current_task()
        assert task is not None
        task.set_name("inside")
        await asyncio.sleep(0)
        return task.get_name()

    async def main() -> list[str]:
        task = asyncio.create_task(renames(), name="first")
        asyncio.current_task().set_name("root")  # type: ignore[union-attr]
        found = [task.get_name(), await task]
        task.set_name("after its end")
        return [*found, task.get_name(), repr(task)]

    trace = both_ways(lambda: run(main()))

    assert task_of(trace, "renames").name == "inside"
    assert task_of(trace, "main").name == "root"


def test_a_task_class_that_overrides_everything_is_not_asked(run: Run) -> None:
    class Own(asyncio.Task):  # type: ignore[type-arg]
        """As hostile as a subclass may be."""

        def get_name(self) -> str:
            raise RuntimeError("asked for its name")

        def done(self) -> bool:
            raise RuntimeError("asked whether it is done")

        def cancelled(self) -> bool:
            raise RuntimeError("asked whether it is cancelled")

        def exception(self) -> Any:
            raise RuntimeError("asked for its exception")

        def result(self) -> Any:
            return "overridden"

        def __repr__(self) -> str:
            return "<own>"

        def __hash__(self) -> int:
            return 1

        def __eq__(self, other: object) -> bool:
            return self is other

    async def child() -> int:
        await asyncio.sleep(0)
        return 1

    async def main() -> list[Any]:
        task = Own(child(), loop=asyncio.get_running_loop(), name="own")
        woken = asyncio.get_running_loop().create_future()
        task.add_done_callback(woken.set_result)
        return [await woken is task, repr(task), task.result(), asyncio.Task.result(task)]

    trace = both_ways(lambda: run(main()))

    check(trace)
    assert task_of(trace, "child").outcome == "returned" and task_of(trace, "child").name == "own"


def test_coroutines_frames_and_awaits_look_the_same(run: Run) -> None:
    async def inner(future: asyncio.Future[None]) -> None:
        local = "seen"  # noqa: F841
        await future

    async def outer(future: asyncio.Future[None]) -> None:
        await inner(future)

    async def main() -> list[Any]:
        future = asyncio.get_running_loop().create_future()
        coroutine = outer(future)
        task = asyncio.create_task(coroutine)
        told: list[Any] = [task.get_coro() is coroutine, inspect.getcoroutinestate(coroutine)]
        await asyncio.sleep(0)
        below = coroutine.cr_await
        told.extend(
            [
                inspect.getcoroutinestate(coroutine),
                below.__qualname__,
                inspect.getcoroutinelocals(below)["local"],
                below.cr_await is future or type(below.cr_await).__name__,
                [frame.f_code.co_qualname for frame in task.get_stack()],
                task._fut_waiter is future,  # type: ignore[attr-defined]
                repr(future).split(" cb=")[1],
            ]
        )
        printed = io.StringIO()
        task.print_stack(file=printed)
        told.append(printed.getvalue())
        future.set_result(None)
        await task
        return [*told, inspect.getcoroutinestate(coroutine), task.get_stack(), coroutine.cr_frame]

    both_ways(lambda: run(main()))


def test_a_stack_of_a_task_that_failed_is_its_traceback(run: Run) -> None:
    async def fails() -> None:
        await asyncio.sleep(0)
        raise ValueError("no")

    async def main() -> list[Any]:
        task = asyncio.create_task(fails())
        await asyncio.wait([task])
        printed = io.StringIO()
        task.print_stack(file=printed)
        return [[frame.f_code.co_qualname for frame in task.get_stack()], printed.getvalue(), repr(task)]

    both_ways(lambda: run(main()))


def test_a_coroutine_that_is_awaited_twice_is_refused_as_before(run: Run) -> None:
    async def child() -> None:
        await asyncio.sleep(0)

    async def main() -> list[str]:
        told = []
        coroutine = child()
        await coroutine
        for attempt in (lambda: coroutine, lambda: asyncio.create_task(coroutine)):
            with pytest.raises(RuntimeError) as caught:
                await attempt()
            told.append(str(caught.value))
        shared = child()
        task = asyncio.create_task(_awaits(shared))
        await asyncio.sleep(0)
        with pytest.raises(RuntimeError) as caught:
            await shared
        told.append(str(caught.value))
        await task
        return told

    async def _awaits(coroutine: Any) -> None:
        await coroutine

    trace = both_ways(lambda: run(main()))

    check(trace)


@needs_coroutines
def test_the_introspection_of_a_suspended_generator_and_coroutine_is_the_same(run: Run) -> None:
    async def numbers() -> Any:
        yield 1
        await asyncio.sleep(0)
        yield 2

    async def main() -> list[Any]:
        generator = numbers()
        states = [inspect.getasyncgenstate(generator)]  # type: ignore[attr-defined]
        await anext(generator)
        states.append(inspect.getasyncgenstate(generator))  # type: ignore[attr-defined]
        states.append(dict(inspect.getasyncgenlocals(generator)))  # type: ignore[attr-defined]
        await generator.aclose()
        return [*states, inspect.getasyncgenstate(generator), generator.ag_frame]  # type: ignore[attr-defined]

    both_ways(lambda: run(main()))


def test_context_and_thread_local_values_reach_tasks_as_before(run: Run) -> None:
    variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable")

    async def child() -> str:
        return variable.get()

    async def main() -> list[str]:
        variable.set("outer")
        context = contextvars.copy_context()
        context.run(variable.set, "given")
        found = [await asyncio.create_task(child(), context=context), await asyncio.create_task(child())]
        loop = asyncio.get_running_loop()
        called = loop.create_future()
        loop.call_soon(lambda: called.set_result(variable.get()), context=context)
        return [*found, await called]

    both_ways(lambda: run(main()))


def test_a_context_given_to_a_task_keeps_what_the_task_sets(run: Run) -> None:
    variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="default")

    async def sets(value: str) -> str:
        earlier = variable.get()
        variable.set(value)
        await asyncio.sleep(0)
        return f"{earlier} then {variable.get()}"

    async def main() -> list[Any]:
        given = contextvars.copy_context()
        told: list[Any] = [await asyncio.create_task(sets("one"), context=given), given[variable]]
        told.append(await asyncio.create_task(sets("two"), context=given))
        async with asyncio.TaskGroup() as group:
            third = group.create_task(sets("three"), context=given)
            group.create_task(sets("own copy"))
        told.extend([third.result(), given[variable], variable.get()])
        seen: list[Any] = []
        loop = asyncio.get_running_loop()
        task = asyncio.create_task(asyncio.sleep(0), context=given)
        task.add_done_callback(lambda _: seen.append(variable.get()), context=given)
        task.add_done_callback(lambda _: variable.set("leaks?"))
        loop.call_later(0, lambda: seen.append(variable.get()), context=given)
        loop.call_soon_threadsafe(lambda: seen.append(variable.get()), context=given)
        await asyncio.sleep(0.002)
        told.extend([sorted(seen), variable.get(), len(list(given))])
        told.append(await asyncio.to_thread(variable.get))
        with asyncio.Runner(debug=False) as other:  # a runner has a context of its own, while no loop of it runs
            told.append(other.get_loop().is_running())
        return told

    both_ways(lambda: run(main()))


def test_a_runner_keeps_one_context_over_its_runs(loop_factory: Any) -> None:
    variable: contextvars.ContextVar[int] = contextvars.ContextVar("variable", default=0)

    async def counts() -> int:
        variable.set(variable.get() + 1)
        await asyncio.sleep(0)
        return variable.get()

    def program() -> list[int]:
        with asyncio.Runner(loop_factory=loop_factory) as runner:
            told = [runner.run(counts()), runner.run(counts())]
            given = contextvars.copy_context()
            told.append(runner.run(counts(), context=given))
            return [*told, runner.run(counts()), given[variable], variable.get()]

    both_ways(program)
    assert program() == [1, 2, 1, 3, 1, 0]
