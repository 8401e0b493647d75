"""Programs that reach the hooks of a recording, each quick and with the same result every time."""

from __future__ import annotations

import asyncio
import concurrent.futures
import concurrent.futures.process
import contextlib
import gc
import importlib.util
import multiprocessing
import multiprocessing.pool
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import asynctrace
from asynctrace.recording import Recording

Recorded = Callable[..., contextlib.AbstractContextManager[Any]]
Program = Callable[[Recorded], Any]

loops: list[asyncio.AbstractEventLoop] = []  # of the programs that ran: for what is left on them


class InThisThread(concurrent.futures.Executor):
    """An executor of the program's own."""

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Any:
        future: concurrent.futures.Future[Any] = concurrent.futures.Future()
        future.set_result(fn(*args, **kwargs))
        return future


async def _steps(told: list[Any]) -> None:
    """Everything that a loop of any kind can do."""
    loop = asyncio.get_running_loop()

    @asynctrace.traced
    def plain(value: int) -> int:
        if value < 0:
            raise ValueError(value)
        return value

    @asynctrace.traced
    async def child(value: int, *, delay: float = 0.0) -> int:
        await asyncio.sleep(delay)
        return plain(value)

    @asynctrace.traced
    async def numbers() -> AsyncIterator[int]:
        try:
            yield 1
            await asyncio.sleep(0)
            yield 2
        finally:
            await asyncio.sleep(0)

    async def forever() -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            told.append("cancelled")
            await asyncio.sleep(0)
            raise

    told.append(await asyncio.gather(child(1), child(2, delay=0.001), child(-3), return_exceptions=True))
    told.append([number async for number in numbers()])
    dropped = numbers()
    told.append(await anext(dropped))
    await dropped.aclose()
    thrown = numbers()
    await anext(thrown)
    with contextlib.suppress(KeyError):
        await thrown.athrow(KeyError("thrown"))
    by_hand = child(5)
    by_hand.send(None)
    by_hand.close()
    unstarted = loop.create_task(child(6))
    unstarted.cancel()
    told.append(await asyncio.gather(unstarted, return_exceptions=True))
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(child(number), name=f"child {number}") for number in range(2)]
    told.append([task.result() for task in tasks])
    try:
        await asyncio.wait_for(forever(), 0.001)
    except TimeoutError:
        told.append("timeout")
    lost = asyncio.ensure_future(asyncio.Event().wait())
    await asyncio.sleep(0)
    lost.cancel()
    await asyncio.wait([lost])

    # Callbacks, timers and wakes from a thread and from the system.
    loop.call_soon(time.sleep, 0.0011)
    loop.call_later(0, told.append, "later")
    loop.call_at(loop.time(), told.append, "at")
    event = asyncio.Event()
    thread = threading.Thread(target=lambda: loop.call_soon_threadsafe(event.set))
    thread.start()
    await event.wait()
    thread.join()
    told.append(await asyncio.to_thread(plain, 7))
    told.append(await loop.run_in_executor(InThisThread(), plain, 8))
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        told.append(list(pool.map(plain, [9, 10])))
        told.append(str(pool.submit(plain, -11).exception()))
    left, right = socket.socketpair()
    with left, right:
        left.setblocking(False)
        right.send(b"byte")
        told.append(await loop.sock_recv(left, 4))
        readable = asyncio.Event()
        loop.add_reader(left, readable.set)
        right.send(b"more")
        await readable.wait()
        loop.remove_reader(left)
    if threading.current_thread() is threading.main_thread():
        loop.add_signal_handler(signal.SIGUSR1, told.append, "signal")
        signal.raise_signal(signal.SIGUSR1)
        for _ in range(1_000):  # one is enough, but where uvloop finds the timer due at once
            await asyncio.sleep(0.001)
            if told[-1] == "signal":
                break
        loop.remove_signal_handler(signal.SIGUSR1)
    if sys.version_info >= (3, 12) and isinstance(loop, asyncio.BaseEventLoop):  # uvloop has its own idea of factories
        loop.set_task_factory(asyncio.eager_task_factory)
        told.append(await asyncio.gather(child(12), asyncio.create_task(asyncio.sleep(0, 13), name="eager")))
        told.append(await asyncio.create_task(_returns(14)))
        loop.set_task_factory(None)
    time.sleep(0)


async def _returns(value: int) -> int:
    return value


def _run(loop_factory: Any = None, debug: bool = False, keeps_shims: bool = False) -> list[Any]:
    told: list[Any] = []
    with asyncio.Runner(loop_factory=loop_factory, debug=debug) as runner:
        runner.get_loop().slow_callback_duration = 60  # what is slow on a busy machine is not to be logged
        if not keeps_shims:
            loops.append(runner.get_loop())
        runner.run(_steps(told))
    return told


def on_asyncio(recorded: Recorded) -> Any:
    with recorded():
        return _run()


def on_our_loop(recorded: Recorded) -> Any:
    loop = asynctrace.new_event_loop()  # before the recording: its shims are there already, and stay
    with recorded():
        return _run(loop_factory=lambda: loop, keeps_shims=True)


def on_asyncio_in_debug_mode(recorded: Recorded) -> Any:
    with recorded():
        return _run(debug=True)


def on_uvloop(recorded: Recorded) -> Any:
    import uvloop

    with recorded():
        return _run(loop_factory=uvloop.new_event_loop)


def from_inside(recorded: Recorded) -> Any:
    """The recording begins in a loop that runs, and ends there."""
    return _from_inside(recorded, asyncio.new_event_loop())


def from_inside_on_uvloop(recorded: Recorded) -> Any:
    import uvloop

    return _from_inside(recorded, uvloop.new_event_loop())


def _from_inside(recorded: Recorded, loop: asyncio.AbstractEventLoop) -> Any:
    async def inner() -> int:
        await asyncio.sleep(0.001)
        return 1

    async def outer() -> int:
        return await inner()

    async def collected() -> None:
        await asyncio.get_running_loop().create_future()

    async def main() -> list[Any]:
        waiting = asyncio.create_task(outer())
        await asyncio.sleep(0)
        queued = asyncio.create_task(outer())
        loop.call_soon(int)
        loop.call_later(0.001, int)
        told: list[Any] = []
        with recorded():
            told.append(await waiting)
            told.append(await queued)
            pending = asyncio.create_task(collected())
            await asyncio.sleep(0)
            del pending
            gc.collect()
        return told

    loops.append(loop)
    loop.set_exception_handler(lambda *_: None)  # for the task that is collected
    try:
        return loop.run_until_complete(main())
    finally:
        loop.close()


def with_functions(recorded: Recorded) -> Any:
    """A script whose own functions are recorded; one is called too often."""

    def small(value: int) -> int:
        return value + 1

    def outer(value: int) -> int:
        return small(value) + small(value)

    def fails() -> None:
        raise KeyError("expected")

    with recorded(functions=True):
        told: list[Any] = [outer(number) for number in range(3)]
        with contextlib.suppress(KeyError):
            fails()
        with multiprocessing.pool.ThreadPool(1) as pool:
            told.append(pool.map(small, [1, 2]))
        return told


def of_a_scope(recorded: Recorded) -> Any:
    async def main() -> int:
        await asyncio.sleep(0)
        return 1

    with recorded(include=("*/tests/*",), exclude=("*/nothing/*",)):
        return asyncio.run(main())


def with_an_import(recorded: Recorded) -> Any:
    """The process pool's module is imported while the recording runs."""
    name = "concurrent.futures.process"
    module = sys.modules.pop(name)
    try:
        with recorded():
            __import__(name)
            return sorted(sys.modules[name].__name__)
    finally:
        sys.modules[name] = module
        concurrent.futures.process = module  # type: ignore[attr-defined]


def _double(value: int) -> int:
    time.sleep(0)
    return 2 * value


async def _children() -> list[int]:
    return list(await asyncio.gather(asyncio.sleep(0, 1)))


def _in_child() -> None:
    asyncio.run(_children())


def with_children(recorded: Recorded) -> Any:
    """Processes: a fork, a bare fork, a pool's worker."""
    context = multiprocessing.get_context("fork")
    with recorded():
        process = context.Process(target=_in_child)
        process.start()
        process.join()
        told: list[Any] = [process.exitcode]
        pid = os.fork()
        if not pid:
            try:
                asyncio.run(_children())
            finally:
                os._exit(0)
        told.append(os.waitpid(pid, 0)[1])
        # Last: the system may still count its threads when they are joined, and a fork warns of them.
        with concurrent.futures.ProcessPoolExecutor(1, mp_context=context) as pool:
            told.append(pool.submit(_double, 4).result())
        return told


IN_PROCESS: tuple[Program, ...] = (
    on_asyncio,
    from_inside,
    with_functions,
    of_a_scope,
    with_an_import,
    on_our_loop,
    on_asyncio_in_debug_mode,
    *([on_uvloop, from_inside_on_uvloop] if importlib.util.find_spec("uvloop") else []),
)


@contextlib.contextmanager
def nothing(**_: Any) -> Iterator[None]:
    """Stands in for a recording where there is none."""
    yield


__all__ = ["IN_PROCESS", "Program", "Recorded", "Recording", "nothing", "on_uvloop", "with_children"]
