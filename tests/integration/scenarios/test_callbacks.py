"""Callbacks are called as they were, in the order in which they were, whatever kind of object they are."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import itertools
import os
import signal
import socket
import threading
import time
from typing import Any

import pytest
from integration.both_ways import LoopFactory, Run, both_ways, kinds, task_of, waits, wakers
from integration.trace_rules import check

import asynctrace


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


def test_a_callback_with_manners_of_its_own_is_only_called(run: Run) -> None:
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


def test_the_same_done_callback_can_be_removed_and_handles_compare(run: Run) -> None:
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


def test_a_signals_handler_that_raises_ends_the_program_as_before(run: Run) -> None:
    async def main() -> None:
        signal.raise_signal(signal.SIGINT)
        await asyncio.sleep(1)

    def program() -> None:
        with pytest.raises(KeyboardInterrupt):
            run(main())

    trace = both_ways(program)

    check(trace)
    assert task_of(trace, "main").outcome in ("cancelled", "raised")


def test_long_callbacks_are_shown_and_time_in_others_steps_is_ready(run: Run) -> None:
    async def blocked() -> None:
        await asyncio.sleep(0.001)

    def callback() -> None:
        time.sleep(0.004)

    async def main() -> None:
        task = asyncio.create_task(blocked())
        asyncio.get_running_loop().call_soon(callback)
        await task

    trace = both_ways(lambda: run(main()))

    callbacks = list(itertools.chain.from_iterable(loop.callbacks for loop in trace.loops))
    # On a busy machine another one can have been long as well.
    assert [each.name.rsplit(".", 1)[-1] for each in callbacks].count("callback") == 1
    task = task_of(trace, "blocked")
    ready = [state for state in task.states if state.kind == "ready"][-1]
    assert ready.end_ns - ready.start_ns > 2_000_000


def test_callbacks_of_every_kind_run_in_the_same_order(run: Run) -> None:
    class Named:
        def method(self, *args: Any) -> None:
            print("method", *args)

        @classmethod
        def of_class(cls, *args: Any) -> None:
            print("of class", *args)

        @staticmethod
        def static(*args: Any) -> None:
            print("static", *args)

    class Constructed:
        def __init__(self, *args: Any) -> None:
            print("constructed", *args)

    async def main() -> None:
        loop = asyncio.get_running_loop()
        kinds = [
            print,
            functools.partial(print, "partial"),
            Named().method,
            Named.of_class,
            Named.static,
            Constructed,
            lambda *args: print("lambda", *args),
            functools.lru_cache(print),
            functools.singledispatch(print),
        ]
        for number, callback in enumerate(kinds):
            loop.call_soon(callback, "soon", number)
            loop.call_soon_threadsafe(callback, "threadsafe", number)
            loop.call_at(loop.time() - 1, callback, "at once", number)
            loop.call_later(-5, callback, "negative", number)
        for _ in range(3):
            await asyncio.sleep(0)
        for number, callback in enumerate(kinds):
            loop.call_later(0.001 * (number + 1), callback, "later", number)
        await asyncio.sleep(0.02)

    both_ways(lambda: run(main()))


def test_call_soon_of_a_task_s_cancel_is_no_step_of_it(run: Run) -> None:
    async def victim() -> None:
        await asyncio.sleep(5)

    async def main() -> list[Any]:
        loop = asyncio.get_running_loop()
        tasks = [asyncio.create_task(victim(), name=str(number)) for number in range(4)]
        await asyncio.sleep(0)
        loop.call_soon(tasks[0].cancel)
        loop.call_later(0, tasks[1].cancel, "why")
        loop.call_soon_threadsafe(tasks[2].cancel)
        loop.call_soon(functools.partial(tasks[3].cancel, "partial"))
        await asyncio.wait(tasks)
        return [(task.cancelled(), task.cancelling()) for task in tasks]

    trace = both_ways(lambda: run(main()))

    check(trace)
    victims = [task for task in trace.tasks if task.label == "victim"]
    for task in victims:
        assert kinds(task)[:3] == ["ready task", "running", "waiting sleep"]
        assert len(task.states) == 5 and task.outcome == "cancelled"
    assert [wakers(task) for task in victims] == [["main"], ["timer"], ["main"], ["main"]]


def test_handles_can_be_cancelled_by_others_and_by_themselves(run: Run) -> None:
    async def main() -> list[Any]:
        loop = asyncio.get_running_loop()
        told: list[Any] = []
        late = loop.call_later(5, told.append, "never")
        soon = loop.call_soon(told.append, "never")
        soon.cancel()

        def cancels() -> None:
            late.cancel()
            itself.cancel()
            told.append("ran")

        itself = loop.call_soon(cancels)
        await asyncio.sleep(0)
        once = loop.call_later(0.001, told.append, "once")
        await asyncio.sleep(0.003)
        once.cancel()  # after it ran
        told.extend([late.cancelled(), soon.cancelled(), itself.cancelled(), once.cancelled()])
        return [*told, repr(late).split(" created")[0], repr(soon).split(" created")[0]]

    both_ways(lambda: run(main()))
    both_ways(lambda: run(main(), debug=True))


def test_a_callback_that_is_asked_what_it_is_answers_as_itself(loop_factory: LoopFactory) -> None:
    class Service:
        def method(self) -> None:
            pass

    def program() -> list[Any]:
        loop = loop_factory()
        try:
            service = Service()
            told: list[Any] = []
            for callback in (service.method, int, functools.partial(int, "5"), print):
                handle: Any = loop.call_soon(callback)
                if not hasattr(handle, "_callback"):
                    continue  # uvloop's handle does not say
                held = handle._callback
                told.extend(
                    [
                        held == callback,
                        callback == held,
                        hash(held) == hash(callback),
                        repr(held) == repr(callback),
                        isinstance(held, type(callback)),
                        getattr(held, "__self__", None) is getattr(callback, "__self__", None),
                        getattr(held, "__name__", None),
                        getattr(held, "func", None) is getattr(callback, "func", None),
                        bool(held),
                        callable(held),
                        {callback: 1}.get(held),
                    ]
                )
                handle.cancel()
            return told
        finally:
            loop.close()

    both_ways(program)


def test_a_loop_that_is_stopped_by_a_callback_goes_on_where_it_was(loop_factory: LoopFactory) -> None:
    async def child(told: list[str]) -> None:
        for number in range(4):
            told.append(f"child {number}")
            await asyncio.sleep(0)

    def program() -> list[str]:
        told: list[str] = []
        loop = loop_factory()
        try:
            task = loop.create_task(child(told))
            for _ in range(3):
                loop.call_soon(loop.stop)
                loop.run_forever()
                told.append("stopped")
            loop.run_until_complete(task)
            with pytest.raises(RuntimeError):
                loop.run_until_complete(asyncio.Future(loop=_stopping(loop)))
        finally:
            loop.close()
        for attempt in (lambda: loop.call_soon(int), lambda: loop.call_later(1, int), loop.run_forever):
            with pytest.raises(RuntimeError) as caught:
                attempt()
            told.append(str(caught.value))
        return told

    def _stopping(loop: Any) -> Any:
        loop.call_soon(loop.stop)
        return loop

    trace = both_ways(program)

    check(trace)
    assert task_of(trace, "child").outcome == "returned"


def test_readers_and_writers_are_called_as_before_and_wake_as_themselves(run: Run) -> None:
    async def reads(future: asyncio.Future[bytes]) -> bytes:
        return await future

    async def main() -> list[Any]:
        loop = asyncio.get_running_loop()
        reading, writing = os.pipe()
        future = loop.create_future()
        told: list[Any] = []

        def readable(number: int) -> None:
            told.append(number)
            future.set_result(os.read(reading, 1))
            told.append(loop.remove_reader(reading))

        loop.add_reader(reading, readable, 7)
        task = asyncio.create_task(reads(future))
        await asyncio.sleep(0)
        loop.call_soon(os.write, writing, b"x")
        told.append(await task)
        told.append(loop.remove_reader(reading))
        os.close(reading)
        os.close(writing)
        return told

    trace = both_ways(lambda: run(main()))

    check(trace)
    task = task_of(trace, "reads")
    assert wakers(task) == ["io"] and waits(task) == [("io", "future", 1)]


def _sets(future: asyncio.Future[None], loop: asyncio.AbstractEventLoop, ends: tuple[socket.socket, ...]) -> None:
    for end in ends:
        loop.remove_reader(end)
        loop.remove_writer(end)
    time.sleep(0.002)
    future.set_result(None)


@pytest.mark.parametrize("way", ["plain", "overridden", "passing on", "on the instance", "inner overridden"])
def test_who_adds_a_reader_in_a_way_of_its_own_is_seen_as_well(way: str) -> None:
    class Overriding(asyncio.SelectorEventLoop):
        def add_reader(self, fd: Any, callback: Any, *args: Any) -> Any:
            return self._add_reader(fd, callback, *args)  # type: ignore[attr-defined]

        def add_writer(self, fd: Any, callback: Any, *args: Any) -> Any:
            return self._add_writer(fd, callback, *args)  # type: ignore[attr-defined]

    class PassingOn(asyncio.SelectorEventLoop):
        def add_reader(self, fd: Any, callback: Any, *args: Any) -> Any:
            return super().add_reader(fd, callback, *args)

        def add_writer(self, fd: Any, callback: Any, *args: Any) -> Any:
            return super().add_writer(fd, callback, *args)

    class InnerOverriding(asyncio.SelectorEventLoop):
        def _add_reader(self, fd: Any, callback: Any, *args: Any) -> Any:
            return super()._add_reader(fd, callback, *args)  # type: ignore[misc]

    def on_the_instance() -> asyncio.AbstractEventLoop:
        loop = asyncio.SelectorEventLoop()
        for name in ("add_reader", "add_writer"):
            setattr(loop, name, getattr(loop, f"_{name}"))
        return loop

    makers: dict[str, Any] = {
        "plain": asyncio.SelectorEventLoop,
        "overridden": Overriding,
        "passing on": PassingOn,
        "on the instance": on_the_instance,
        "inner overridden": InnerOverriding,
    }

    async def waits_for(future: asyncio.Future[None]) -> None:
        await future

    async def main() -> None:
        loop = asyncio.get_running_loop()
        with contextlib.ExitStack() as closing:
            ends = tuple(map(closing.enter_context, socket.socketpair()))
            for add in (loop.add_reader, loop.add_writer):
                future: asyncio.Future[None] = loop.create_future()
                task = asyncio.create_task(waits_for(future))
                await asyncio.sleep(0)
                loop.add_writer(ends[0], int)  # so that what follows changes a registration as well
                add(ends[0], _sets, future, loop, ends)
                ends[1].send(b"x")
                await task

    with asynctrace.record() as recording, asyncio.Runner(loop_factory=makers[way]) as runner:
        runner.run(main())

    trace = recording.trace
    check(trace)
    assert [wakers(task) for task in trace.tasks if task.label.endswith("waits_for")] == [["io"], ["io"]]
    callbacks = itertools.chain.from_iterable(loop.callbacks for loop in trace.loops)
    assert [each.name.rsplit(".", 1)[-1] for each in callbacks].count("_sets") == 2


def test_signal_handlers_of_the_loop_and_of_python_run_the_same(run: Run) -> None:
    async def waits(event: asyncio.Event) -> None:
        await event.wait()

    async def main() -> list[Any]:
        loop = asyncio.get_running_loop()
        told: list[Any] = []
        events = [asyncio.Event(), asyncio.Event()]
        tasks = [asyncio.create_task(waits(event)) for event in events]
        await asyncio.sleep(0)

        def handled(number: int) -> None:
            told.append(number)
            events[0].set()

        loop.add_signal_handler(signal.SIGUSR1, handled, 5)
        earlier = signal.signal(signal.SIGUSR2, lambda *_: loop.call_soon_threadsafe(events[1].set))
        try:
            os.kill(os.getpid(), signal.SIGUSR1)
            await tasks[0]
            os.kill(os.getpid(), signal.SIGUSR2)
            await tasks[1]
        finally:
            told.append(loop.remove_signal_handler(signal.SIGUSR1))
            signal.signal(signal.SIGUSR2, earlier)
        return told

    trace = both_ways(lambda: run(main()))

    check(trace)
    assert [task.outcome for task in trace.tasks if task.label == "waits"] == ["returned"] * 2


def test_a_signal_s_handler_that_raises_in_a_step_reaches_the_task(run: Run) -> None:
    class AlarmError(Exception):
        pass

    def raises(*_: Any) -> None:
        raise AlarmError("out of nowhere")

    async def busy() -> str:
        try:
            for _ in range(3):
                signal.raise_signal(signal.SIGUSR1)
                await asyncio.sleep(0)
        except AlarmError:
            await asyncio.sleep(0.001)
            return "caught"
        return "not raised"

    async def fails() -> None:
        await asyncio.sleep(0)
        signal.raise_signal(signal.SIGUSR1)

    async def main() -> list[Any]:
        earlier = signal.signal(signal.SIGUSR1, raises)
        try:
            return await asyncio.gather(busy(), fails(), return_exceptions=True)
        finally:
            signal.signal(signal.SIGUSR1, earlier)

    trace = both_ways(lambda: run(main()))

    check(trace)
    assert task_of(trace, "busy").outcome == "returned"
    assert task_of(trace, "fails").error is not None and task_of(trace, "fails").error.endswith("AlarmError")


def test_done_callbacks_are_called_in_order_and_may_add_others(run: Run) -> None:
    async def main() -> list[Any]:
        loop = asyncio.get_running_loop()
        told: list[Any] = []
        future = loop.create_future()

        def adds(future: Any) -> None:
            told.append("first")
            future.add_done_callback(lambda _: told.append("added"))

        future.add_done_callback(adds)
        future.add_done_callback(lambda _: told.append("second"))
        for _ in range(3):
            future.add_done_callback(told.append)
        told.append(future.remove_done_callback(told.append))
        future.set_result(1)
        future.add_done_callback(lambda _: told.append("late"))
        told.append("set")
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        return told

    both_ways(lambda: run(main()))


def test_a_name_of_call_soon_that_was_bound_before_goes_on(loop_factory: LoopFactory) -> None:
    async def child() -> None:
        await asyncio.sleep(0)

    loop = loop_factory()
    bound = loop.call_soon, loop.call_later, loop.call_soon_threadsafe
    called: list[int] = []
    with asynctrace.record() as recording:
        for number, call in enumerate(bound):
            call(*([0] if number == 1 else []), called.append, number)
        loop.run_until_complete(child())
        during = loop.call_soon
    bound[0](called.append, 3)
    during(called.append, 4)
    loop.run_until_complete(child())
    loop.close()

    check(recording.trace)
    assert sorted(called) == [0, 1, 2, 3, 4]


def test_the_thread_of_a_callback_that_another_thread_queued_is_the_cause(run: Run) -> None:
    async def waits(future: asyncio.Future[int]) -> int:
        return await future

    async def main() -> int:
        loop = asyncio.get_running_loop()
        future = loop.create_future()
        task = asyncio.create_task(waits(future))
        await asyncio.sleep(0)
        # It sets the future two callbacks later: what it queues is caused by what caused it.
        thread = threading.Thread(
            target=loop.call_soon_threadsafe, args=(loop.call_soon, future.set_result, 3), name="outside"
        )
        thread.start()
        thread.join()
        return await task

    trace = both_ways(lambda: run(main()))

    ready = task_of(trace, "waits").states[3]
    assert ready.cause is not None and ready.cause.kind == "thread"
    assert ready.cause.thread is not None and ready.cause.thread.name == "outside"
