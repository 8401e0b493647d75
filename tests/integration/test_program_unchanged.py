"""A program does, says and frees the same with and without a recording."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import inspect
import logging
import pickle
import signal
import sys
import traceback
import weakref
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from integration.both_ways import both_ways, task_of, trace_of
from integration.trace_rules import check

import asynctrace

needs_monitoring = pytest.mark.skipif(sys.version_info < (3, 12), reason="sys.monitoring is new in 3.12")


@contextlib.contextmanager
def without_collector() -> Iterator[None]:
    """Only reference counts free what is made in here."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def run(main: Any, **keywords: Any) -> Any:
    return asyncio.run(main, **keywords)


# Cancelling.


def test_cancel_counts_and_nested_timeouts_are_the_same() -> None:
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


def test_cancels_before_the_first_step_in_clean_up_and_of_gathers_are_the_same() -> None:
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


# What a program says.


def test_tracebacks_of_tasks_and_callbacks_are_the_same() -> None:
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


def test_an_exception_that_leaves_the_loop_has_the_same_traceback() -> None:
    class Stop(BaseException):
        pass

    def interrupts() -> None:
        raise Stop

    async def main(error: BaseException) -> None:
        if isinstance(error, Stop):
            asyncio.get_running_loop().call_soon(interrupts)
            await asyncio.sleep(1)
        await asyncio.sleep(0)
        raise error

    for error in (KeyboardInterrupt, SystemExit, ValueError, Stop):
        both_ways(lambda error=error: run(main(error())))  # type: ignore[misc]


def test_debug_mode_says_the_same_and_names_the_same_places() -> None:
    async def child(future: asyncio.Future[None]) -> None:
        await future

    async def main() -> list[Any]:
        loop = asyncio.get_running_loop()
        future = loop.create_future()
        task = loop.create_task(child(future))
        handles = [
            loop.call_soon(int),
            loop.call_later(5, int),
            loop.call_at(loop.time() + 5, int),
            loop.call_soon_threadsafe(int),
        ]
        places = [handle._source_traceback[-1].lineno for handle in handles]  # type: ignore[union-attr]
        told = [repr(handle).split(" at ")[0].split("when=")[0] for handle in handles]
        await asyncio.sleep(0)
        told.append(repr(task).replace(str(id(task)), ""))
        for handle in handles:
            handle.cancel()
        told.append(repr(handles[1]).split("when=")[0])
        future.set_result(None)
        await task
        with pytest.raises(TypeError):
            loop.call_soon(main)
        with pytest.raises(TypeError):
            loop.call_soon("no function")  # type: ignore[arg-type]
        return [told, places]

    both_ways(lambda: run(main(), debug=True))


def test_never_awaited_and_never_retrieved_are_told_exactly_when_they_were() -> None:
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


def test_tasks_show_the_same_coroutines_stacks_and_names() -> None:
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


# Objects of the program's.


class Awkward:
    """A callback that is nobody's friend."""

    def __init__(self) -> None:
        self.calls: list[Any] = []

    def __call__(self, *args: Any) -> None:
        self.calls.append(args)

    def __eq__(self, other: object) -> bool:
        raise RuntimeError("compared")

    __hash__ = None  # type: ignore[assignment]

    def __bool__(self) -> bool:
        raise RuntimeError("asked whether it is true")

    def __getattr__(self, name: str) -> Any:
        raise RuntimeError(f"asked for {name}")


def test_a_callback_with_manners_of_its_own_is_only_called() -> None:
    async def main() -> list[Any]:
        loop = asyncio.get_running_loop()
        awkward = Awkward()
        loop.call_soon(awkward, 1)
        loop.call_later(0, awkward, 2)
        loop.call_soon_threadsafe(awkward, 3)
        future = loop.create_future()
        future.add_done_callback(awkward)
        future.set_result(None)
        await asyncio.sleep(0.002)
        return [args[0] if isinstance(args[0], int) else "future" for args in awkward.calls]

    both_ways(lambda: run(main()))


def test_the_same_done_callback_can_be_removed_and_handles_compare() -> None:
    async def main() -> list[Any]:
        loop = asyncio.get_running_loop()
        called: list[Any] = []
        future = loop.create_future()
        future.add_done_callback(called.append)
        removed = future.remove_done_callback(called.append)
        one, other = loop.call_later(5, called.append), loop.call_later(9, called.append)
        same = one == one, one == other, one < other, hash(one) == hash(one)
        at = loop.call_at(loop.time() + 7, called.append, 1)
        again = asyncio.TimerHandle(at.when(), called.append, (1,), loop)
        equal = at == again, again == at
        for handle in (one, other, at):
            handle.cancel()
        return [removed, same, equal]

    both_ways(lambda: run(main()))


def test_a_closed_loop_its_tasks_and_callbacks_are_freed_by_reference_count() -> None:
    class Callback:
        def __call__(self) -> None:
            pass

    async def child() -> None:
        await asyncio.sleep(0)

    def program() -> list[bool]:
        loop = asyncio.new_event_loop()
        refs: list[Any] = [weakref.ref(loop)]
        task = loop.create_task(child())
        refs.append(weakref.ref(task))
        callback = Callback()
        loop.call_soon(callback)
        refs.append(weakref.ref(callback))
        loop.run_until_complete(task)
        freed = []
        del task, callback
        freed.extend(ref() is None for ref in refs)
        loop.close()
        del loop
        freed.extend(ref() is None for ref in refs)
        return freed

    with without_collector():
        both_ways(program)
        assert program()[3:] == [True, True, True]


def test_a_future_is_freed_when_it_was_inside_a_running_task() -> None:
    async def main() -> list[bool]:
        freed = []
        for _ in range(3):
            task = asyncio.create_task(asyncio.sleep(0))
            ref = weakref.ref(task)
            await task
            del task
            freed.append(ref() is None)
            await asyncio.sleep(0)
            freed.append(ref() is None)
        return freed

    with without_collector():
        both_ways(lambda: run(main()))


def test_another_tools_shim_put_on_the_loop_after_ours_stays() -> None:
    async def main(loop: asyncio.AbstractEventLoop) -> None:
        await asyncio.sleep(0)

    loop = asyncio.new_event_loop()
    calls = []
    with asynctrace.record() as recording:
        loop.run_until_complete(main(loop))
        original = loop.call_soon

        def call_soon(callback: Any, *args: Any, context: Any = None) -> Any:
            calls.append(callback)
            return original(callback, *args, context=context)

        loop.call_soon = call_soon  # type: ignore[method-assign]
    assert loop.call_soon is call_soon
    loop.run_until_complete(main(loop))
    assert calls
    with asynctrace.record() as second:
        loop.run_until_complete(main(loop))
    assert loop.call_soon is call_soon
    del loop.call_soon  # type: ignore[method-assign]
    loop.run_until_complete(main(loop))
    loop.close()
    check(recording.trace)
    check(second.trace)
    assert task_of(second.trace, "main").outcome == "returned"


def test_a_signals_handler_that_raises_ends_the_program_as_before() -> None:
    async def main() -> None:
        signal.raise_signal(signal.SIGINT)
        await asyncio.sleep(1)

    def program() -> None:
        with pytest.raises(KeyboardInterrupt):
            run(main())

    trace = both_ways(program)

    check(trace)
    assert task_of(trace, "main").outcome in ("cancelled", "raised")


def test_uvloop_runs_the_same() -> None:
    uvloop = pytest.importorskip("uvloop")

    async def child() -> int:
        await asyncio.sleep(0.001)
        return 1

    async def main() -> Any:
        loop = asyncio.get_running_loop()
        server = await loop.create_server(asyncio.Protocol, "127.0.0.1", 0)
        server.close()
        return [await asyncio.gather(child(), child()), await asyncio.to_thread(sum, [1, 2])]

    def program() -> Any:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            return runner.run(main())

    check(both_ways(program))


# When recording cannot go on.


@needs_monitoring
def test_without_a_free_tool_id_tasks_are_still_recorded_and_it_is_said_once(caplog: pytest.LogCaptureFixture) -> None:
    async def child() -> None:
        await asyncio.sleep(0)

    async def main() -> None:
        await asyncio.gather(child(), child())

    taken = [id for id in range(6) if sys.monitoring.get_tool(id) is None]
    for id in taken:
        sys.monitoring.use_tool_id(id, f"other {id}")
    try:
        with caplog.at_level(logging.WARNING, "asynctrace"):
            trace = trace_of(lambda: run(main()))
    finally:
        for id in taken:
            sys.monitoring.free_tool_id(id)

    check(trace)
    assert [task.outcome for task in trace.tasks if task.label == "child"] == ["returned"] * 2
    assert not trace.sees_coroutines and not trace.coroutines
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "tool ids" in caplog.records[0].message


# @traced.


def plain_decorator(function: Any) -> Any:
    import functools

    @functools.wraps(function)
    def wrapper(*args: Any, **keywords: Any) -> Any:
        return function(*args, **keywords)

    return wrapper


@asynctrace.traced
async def module_level(number: int, *, more: str = "") -> int:
    """Return the number."""
    await asyncio.sleep(0)
    return number


class Service:
    @asynctrace.traced(name="ask", attributes={"tier": "gold"})
    async def method(self, value: int) -> int:
        await asyncio.sleep(0)
        return value

    @classmethod
    @asynctrace.traced
    async def of_class(cls, value: int) -> int:
        return value

    @asynctrace.traced
    @staticmethod
    async def static(value: int) -> int:
        return value

    @asynctrace.traced
    async def stream(self, count: int) -> AsyncIterator[int]:
        for number in range(count):
            yield number

    @asynctrace.traced
    def plain(self, value: int) -> int:
        return value

    @plain_decorator
    @asynctrace.traced
    async def under_another(self) -> str:
        return "under"

    @asynctrace.traced
    @plain_decorator
    async def over_another(self) -> str:
        return "over"


def test_decorated_functions_of_every_kind_run_and_are_recorded() -> None:
    async def main() -> list[Any]:
        service = Service()
        values = [number async for number in service.stream(2)]
        return [
            await module_level(1),
            await service.method(2),
            await Service.of_class(3),
            await Service.static(4),
            values,
            service.plain(5),
            await service.under_another(),
            await service.over_another(),
        ]

    assert run(main()) == [1, 2, 3, 4, [0, 1], 5, "under", "over"]
    trace = both_ways(lambda: run(main()))

    check(trace)
    traced = {each.name.rsplit(".", 1)[-1]: each for each in trace.coroutines if each.is_traced}
    assert {"module_level", "ask", "of_class", "static", "stream", "under_another", "over_another"} <= traced.keys()
    assert traced["ask"].attributes == {"tier": "gold"}
    assert {each.outcome for each in traced.values()} == {"returned"}
    assert [call.name for call in trace.calls if call.kind == "traced"] == ["Service.plain"]


def test_decorated_functions_keep_what_inspect_and_pickle_see() -> None:
    assert inspect.iscoroutinefunction(module_level)
    assert inspect.iscoroutinefunction(Service.method) and inspect.iscoroutinefunction(Service().of_class)
    assert inspect.iscoroutinefunction(Service.static)
    assert inspect.isasyncgenfunction(Service.stream)
    assert not inspect.iscoroutinefunction(Service.plain)
    assert str(inspect.signature(module_level)) == "(number: 'int', *, more: 'str' = '') -> 'int'"
    assert module_level.__name__ == "module_level" and module_level.__doc__ == "Return the number."
    assert pickle.loads(pickle.dumps(module_level)) is module_level


def test_coroutines_of_decorated_functions_pass_for_coroutines_while_recording() -> None:
    def program() -> list[Any]:
        coroutine = module_level(1)
        found = [
            asyncio.iscoroutine(coroutine),
            inspect.iscoroutine(coroutine),
            inspect.isawaitable(coroutine),
            inspect.getcoroutinestate(coroutine),
            coroutine.__qualname__,
            coroutine.cr_code.co_name,
            repr(coroutine),
        ]
        coroutine.close()
        generator = Service().stream(1)
        return [*found, inspect.isasyncgen(generator), hasattr(generator, "aclose")]

    both_ways(program)


def test_errors_of_decorated_functions_have_the_same_tracebacks() -> None:
    @asynctrace.traced
    async def fails() -> None:
        await asyncio.sleep(0)
        raise ValueError("no")

    @asynctrace.traced
    async def generates() -> AsyncIterator[int]:
        yield 1
        raise KeyError("after one")

    @asynctrace.traced
    def plain_failure() -> None:
        raise LookupError("plain")

    async def main() -> list[Any]:
        errors: list[Any] = []
        for attempt in (fails, lambda: anext(generates()), plain_failure):
            try:
                result = attempt()
                if result is not None:
                    await result
            except Exception as error:
                errors.append(error)
        try:
            async for _ in generates():
                pass
        except KeyError as error:
            errors.append(error)
        return errors

    both_ways(lambda: run(main()))
