"""What a program says goes out exactly when it did: warnings, tracebacks, what is printed and in which order."""

from __future__ import annotations

import asyncio
import gc
import inspect
import sys
import traceback
import warnings
from typing import Any

from integration.both_ways import LoopFactory, Run, both_ways, outcomes, task_of
from integration.trace_rules import check


def test_tracebacks_of_tasks_and_callbacks_are_the_same(run: Run) -> None:
    def bad_callback() -> None:
        raise KeyError("in a callback")

    async def inner() -> None:
        await asyncio.sleep(0)
        raise ValueError("deep")

    async def outer() -> None:
        await inner()

    async def main() -> list[str]:
        told: list[str] = []
        loop = asyncio.get_running_loop()

        def handler(_: Any, context: dict[str, Any]) -> None:
            told.append(context["message"] + repr(context.get("handle")))
            told.extend(traceback.format_exception(context["exception"]))

        loop.set_exception_handler(handler)
        loop.call_soon(bad_callback)
        loop.call_later(0.0001, bad_callback)
        loop.call_soon_threadsafe(bad_callback)
        try:
            await asyncio.create_task(outer())
        except ValueError:
            told.append(traceback.format_exc())
        await asyncio.sleep(0.002)
        return told

    both_ways(lambda: run(main()))
    both_ways(lambda: run(main(), debug=True))


def test_an_exception_that_leaves_the_loop_has_the_same_traceback(run: Run) -> None:
    class Stop(BaseException):
        pass

    def interrupts() -> None:
        raise Stop

    async def main(error: BaseException) -> None:
        if isinstance(error, Stop):
            asyncio.get_running_loop().call_soon(interrupts)
            await asyncio.sleep(0.01)
        await asyncio.sleep(0)
        raise error

    for error in (KeyboardInterrupt, SystemExit, ValueError, Stop):
        both_ways(lambda error=error: run(main(error())))  # type: ignore[misc]


def test_never_awaited_and_never_retrieved_are_told_exactly_when_they_were(run: Run) -> None:
    async def fails() -> None:
        raise ValueError("nobody asks")

    async def main() -> None:
        fails()
        task = asyncio.create_task(fails())
        future = asyncio.get_running_loop().create_future()
        future.set_exception(KeyError("nor here"))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        del task, future
        gc.collect()
        forgotten = asyncio.create_task(asyncio.Event().wait())
        await asyncio.sleep(0)
        del forgotten
        gc.collect()

    both_ways(lambda: run(main()))


def test_prints_come_in_the_same_order(run: Run) -> None:
    async def child(number: int) -> None:
        for step in range(3):
            print(number, step)
            await asyncio.sleep(0)
        print(number, "done", file=sys.stderr)

    async def main() -> None:
        loop = asyncio.get_running_loop()
        loop.call_soon(print, "soon")
        loop.call_soon_threadsafe(print, "threadsafe")
        tasks = [asyncio.create_task(child(number)) for number in range(3)]
        for task in tasks:
            task.add_done_callback(lambda task: print("done", tasks.index(task)))
        async with asyncio.TaskGroup() as group:
            group.create_task(child(3)).add_done_callback(lambda _: print("grouped"))
        loop.call_soon(print, "last")
        print(len(asyncio.all_tasks()))
        await asyncio.wait(tasks)

    both_ways(lambda: run(main()))


def test_an_exception_group_and_its_causes_and_notes_have_the_same_tracebacks(run: Run) -> None:
    async def fails(number: int) -> None:
        try:
            await asyncio.sleep(0)
            raise KeyError(number)
        except KeyError as error:
            error.add_note(f"note {number}")
            raise ValueError(number) from error

    async def cleans() -> None:
        try:
            await asyncio.sleep(5)
        except asyncio.CancelledError:
            raise OSError("while cancelled") from None

    async def main() -> str:
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(fails(1))
                group.create_task(fails(2))
                group.create_task(cleans())
        except* ValueError as found:
            told = "".join(traceback.format_exception(found))
        except* OSError as found:
            told += "".join(traceback.format_exception(found))
        return told

    trace = both_ways(lambda: run(main()))

    check(trace)
    assert sorted(str(task.error) for task in trace.tasks if task.outcome == "raised") == [
        "OSError",
        "ValueError",
        "ValueError",
    ]


def test_an_exception_that_is_raised_again_by_each_awaiter_has_the_same_traceback(run: Run) -> None:
    async def fails() -> None:
        await asyncio.sleep(0)
        raise ValueError("once")

    async def awaits(task: asyncio.Task[None]) -> None:
        await task

    async def main() -> list[Any]:
        task = asyncio.create_task(fails())
        awaiters = [asyncio.create_task(awaits(task)) for _ in range(2)]
        errors = await asyncio.gather(*awaiters, task, return_exceptions=True)
        assert errors[0] is errors[1] is errors[2]
        return ["".join(traceback.format_exception(errors[0])), errors[0]]

    both_ways(lambda: run(main()))


def test_a_frozen_exception_and_one_whose_traceback_cannot_be_set_pass_through(run: Run) -> None:
    class StubbornError(Exception):
        def __setattr__(self, name: str, value: Any) -> None:
            raise TypeError(f"{name} cannot be set")

        def with_traceback(self, traceback: Any) -> Any:
            raise TypeError("no")

    async def fails() -> None:
        raise StubbornError("as it is")

    def callback() -> None:
        raise StubbornError("in a callback")

    async def main() -> list[Any]:
        told: list[Any] = []
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, context: told.append((context["message"], context["exception"])))
        loop.call_soon(callback)
        told.extend(await asyncio.gather(fails(), return_exceptions=True))
        return told

    trace = both_ways(lambda: run(main()))

    assert outcomes(trace) == {"main": "returned", "fails": "raised"}


def test_stop_iteration_and_generator_exit_that_leave_a_task_are_what_they_were(run: Run) -> None:
    async def stops() -> None:
        raise StopIteration(1)

    async def exits() -> None:
        raise GeneratorExit

    async def stops_async() -> None:
        raise StopAsyncIteration

    async def main() -> list[Any]:
        tasks = [asyncio.create_task(each()) for each in (stops, exits, stops_async)]
        await asyncio.wait(tasks)
        return [repr(task.exception()) for task in tasks]

    trace = both_ways(lambda: run(main()))

    check(trace)
    assert outcomes(trace) == {"main": "returned", "stops": "raised", "exits": "raised", "stops_async": "raised"}
    assert [task_of(trace, label).error for label in ("stops", "exits", "stops_async")] == [
        "RuntimeError",
        "GeneratorExit",
        "StopAsyncIteration",
    ]


def test_never_retrieved_is_said_once_the_task_is_gone_and_not_before(run: Run) -> None:
    async def fails(number: int) -> None:
        raise ValueError(number)

    async def main() -> list[Any]:
        told: list[Any] = []
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, context: told.append((context["message"], repr(context["exception"]))))
        tasks = [asyncio.create_task(fails(number)) for number in range(3)]
        await asyncio.sleep(0.001)
        told.append("still there")
        tasks[0].exception()
        del tasks[0]
        told.append("retrieved")
        del tasks[0]
        told.append("one gone")
        tasks.clear()
        told.append("all gone")
        return told

    gc.disable()  # reference counts alone say when
    try:
        both_ways(lambda: run(main()))
    finally:
        gc.enable()


def test_a_coroutine_that_is_never_awaited_is_said_where_it_is_dropped(run: Run) -> None:
    async def child() -> None:
        pass

    async def main() -> list[Any]:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            dropped = child()
            del dropped
            closed = child()
            closed.close()
            first = [(str(each.message), each.category.__name__) for each in caught]
        kept = child()
        state = inspect.getcoroutinestate(kept)
        with warnings.catch_warnings(record=True) as caught:
            warnings.filterwarnings("error", r"coroutine '.*\bchild' was never awaited")
            del kept  # as an error it is unraisable
        return [first, state, [str(each.message) for each in caught]]

    trace = both_ways(lambda: run(main()))

    assert [each.name.rsplit(".", 1)[-1] for each in trace.coroutines].count("child") == 0


def test_a_warning_names_the_line_of_the_coroutine(run: Run) -> None:
    async def warns() -> None:
        warnings.warn("here", UserWarning, stacklevel=1)
        await asyncio.sleep(0)
        warnings.warn("its awaiter", UserWarning, stacklevel=2)

    async def main() -> list[Any]:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            await warns()
        return [(str(each.message), each.filename, each.lineno) for each in caught]

    both_ways(lambda: run(main()))


def test_a_callback_that_fails_in_a_done_callback_or_a_timer_is_said_the_same(run: Run) -> None:
    class Odd:
        def __call__(self, *args: Any) -> None:
            raise ValueError("odd")

        def __repr__(self) -> str:
            return "<odd>"

    async def main() -> None:
        loop = asyncio.get_running_loop()
        future = loop.create_future()
        future.add_done_callback(Odd())
        future.set_result(None)
        loop.call_later(0, Odd(), 1)
        loop.call_soon(Odd())
        task = asyncio.create_task(asyncio.sleep(0))
        task.add_done_callback(Odd())
        await asyncio.sleep(0.002)

    both_ways(lambda: run(main()))  # asyncio logs each with the callback's name


def test_asyncgens_and_tasks_left_at_the_end_are_said_the_same(run: Run) -> None:
    async def left() -> None:
        try:
            await asyncio.sleep(5)
        except asyncio.CancelledError:
            raise ValueError("during shutdown") from None

    async def numbers() -> Any:
        try:
            yield 1
        finally:
            raise KeyError("in a generator's clean-up")

    async def main() -> Any:
        asyncio.create_task(left())
        generator = numbers()
        await anext(generator)
        await asyncio.sleep(0)
        return generator

    def program() -> None:
        run(main())

    trace = both_ways(program)

    check(trace)
    assert task_of(trace, "left").error == "ValueError"


def test_what_a_closed_loop_refuses_has_the_same_traceback(loop_factory: LoopFactory) -> None:
    def program() -> list[Any]:
        loop = loop_factory()
        loop.run_until_complete(asyncio.sleep(0))
        loop.close()
        told: list[Any] = []
        for attempt in (
            lambda: loop.call_soon(int),
            lambda: loop.call_soon_threadsafe(int),
            lambda: loop.call_later(1, int),
            lambda: loop.call_at(1, int),
            lambda: loop.add_reader(0, int),
            lambda: loop.add_writer(0, int),
            lambda: loop.run_in_executor(None, int),
            loop.run_forever,
        ):
            try:
                told.append(attempt())
            except Exception as error:
                told.append(error)
        return told

    both_ways(program)
