"""The native core records what the reference records: event for event, but for the times."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import gc
import re
import socket
import sys
import threading
import types
from collections.abc import Callable, Iterator
from itertools import zip_longest
from typing import Any

import hooked_programs
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from integration import trace_rules as rules
from integration.generated_programs import Body, programs, run_program

from asynctrace import cores, stream
from asynctrace.events import (
    AWAIT_STACK,
    BLOCKING_STARTED,
    CALL_FINISHED,
    CALLBACK_RAN,
    CLOSED,
    COROUTINE_FINISHED,
    COROUTINE_STARTED,
    COROUTINE_SUSPENDED,
    KIND_NAMES,
    Part,
    is_in_time_order,
)
from asynctrace.recording import Recording

pytest.importorskip("asynctrace.recorder._native")

_IDS_FROM = 1 << 32  # an id has the process in its upper half
_Told = list[tuple[Any, ...]]


def tried(examples: int) -> Callable[[Any], Any]:
    return settings(max_examples=examples, suppress_health_check=list(HealthCheck))


@pytest.fixture(autouse=True)
def once(recording_core: str) -> None:
    """Each test runs both cores: there is no need to run it for each."""
    if recording_core == "python":
        pytest.skip("runs with the native core")


@contextlib.contextmanager
def _on(core: str) -> Iterator[list[Part]]:
    """Run what is inside on one core; tell what each recording in it recorded, once it is over."""
    streams: list[stream.Stream] = []
    original = stream.Stream.__init__

    def made(self: Any, *args: Any, **keywords: Any) -> None:
        original(self, *args, **keywords)
        streams.append(self)

    parts: list[Part] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(cores.VARIABLE, core)
        patch.setattr(stream.Stream, "__init__", made)
        gc.collect()
        gc.disable()  # when the collector runs is chance, and some of what it frees is recorded
        try:
            yield parts
        finally:
            gc.enable()
    for each in streams:
        assert (type(each.recorder).__name__ == "NativeRecorder") == (core == "native")
        parts.append(each.recorder.freeze(each.end_ns))


def _told(part: Part) -> _Told:
    """Return the events of a part without times, with ids as they first appear and with sites in words."""
    assert is_in_time_order(part.events)
    ids: dict[int, str] = {}

    def named(number: int) -> Any:
        return ids.setdefault(number, f"#{len(ids) + 1}") if number >= _IDS_FROM else number

    told: _Told = []
    # Thread by thread: between threads the order is chance.
    events = sorted(part.events, key=lambda event: event[1])
    for event, following in zip_longest(events, events[1:]):
        _, thread, kind, subject, other, site, flags = event
        if kind == CALLBACK_RAN:
            continue  # it is told where it took a millisecond
        if kind == COROUTINE_FINISHED and flags == CLOSED and following and following[2] == COROUTINE_STARTED:
            continue  # where one is closed without an event, that shows when its address is another's: by chance
        where: Any = part.sites.get(site, site)
        if kind == COROUTINE_SUSPENDED:
            where = site  # an offset
        elif kind == AWAIT_STACK:
            where = [(part.sites[code], offset) for code, offset in part.stacks[site]]
        elif kind == BLOCKING_STARTED:
            other = part.sites.get(other, other)  # type: ignore[assignment]
        elif kind == CALL_FINISHED:
            other = 0  # CPU time
        told.append(
            (thread, KIND_NAMES[kind], named(subject), named(other) if type(other) is int else other, where, flags)
        )
    told.extend(sorted((f"name of {ids[task]}", _unnumbered(name)) for task, name in part.names.items() if task in ids))
    threads = part.threads.items()
    told.extend(sorted(("thread", number, _unnumbered(info.name), info.is_main) for number, info in threads))
    return told


def _unnumbered(name: str) -> str:
    """Return a name without the number that asyncio or threading gave it: they count on."""
    return re.sub(r"(?<=-)\d+", "N", name)


def _assert_equal(native: _Told, python: _Told) -> None:
    for index, (ours, theirs) in enumerate(zip(native, python, strict=False)):
        if ours != theirs:
            context = "\n".join(map(str, python[max(0, index - 6) : index]))
            raise AssertionError(
                f"event {index}\n{context}\nnative: {ours}\npython: {theirs}\n"
                f"then native: {native[index + 1 : index + 4]}\nthen python: {python[index + 1 : index + 4]}"
            )
    assert len(native) == len(python), (native[len(python) :], python[len(native) :])


def _agree(run: Callable[[], Any]) -> None:
    parts: dict[str, list[Part]] = {}
    for core in ("python", "native"):
        with _on(core) as parts[core]:
            run()
    assert len(parts["native"]) == len(parts["python"])
    for native, python in zip(parts["native"], parts["python"], strict=True):
        _assert_equal(_told(native), _told(python))


def _program_agrees(root: Body, **options: Any) -> None:
    def run() -> None:
        log, trace = run_program(root, **options)
        for each in [*log.windows, *([trace] if trace is not None else [])]:
            rules.check(each)

    _agree(run)


@tried(20)
@given(programs, st.booleans(), st.booleans())
def test_both_cores_record_the_same_events(root: Body, eager: bool, decorate: bool) -> None:
    _program_agrees(root, eager=eager, decorate=decorate)


@tried(10)
@given(programs, st.booleans())
def test_both_cores_record_the_same_events_in_debug_mode(root: Body, eager: bool) -> None:
    _program_agrees(root, eager=eager, debug=True)


@tried(10)
@given(programs, st.booleans())
def test_both_cores_record_the_same_events_from_inside_a_loop(inner: Body, eager: bool) -> None:
    waiting = Body([("sleep", 1), ("yield",), ("event_wait",)])
    beginning = Body([("yield",), ("call", Body([("sleep", 2)]))])
    root = Body([("spawn", waiting, False), ("yield",), ("spawn", beginning, False), ("record", inner)])
    _program_agrees(root, eager=eager, inside=True)


@pytest.mark.slow
@tried(400)
@given(programs, st.booleans(), st.booleans(), st.booleans(), st.booleans())
def test_both_cores_record_the_same_events_of_many_programs(
    root: Body, eager: bool, decorate: bool, debug: bool, inside: bool
) -> None:
    if inside:
        root = Body([("spawn", Body([("sleep", 1), ("event_wait",)]), eager), ("yield",), ("record", root)])
    _program_agrees(root, eager=eager, decorate=decorate, debug=debug, inside=inside)


# What no generated program does. Nothing here waits for two things at once: their order would be chance.


class _Future(asyncio.Future):  # type: ignore[type-arg]
    """A future of the program's own."""


class _FutureLike:
    """Looks like a future to a task."""

    _asyncio_future_blocking = False

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop

    def get_loop(self) -> asyncio.AbstractEventLoop:
        return self._loop

    def add_done_callback(self, callback: Any, *, context: Any = None) -> None:
        self._loop.call_soon(callback, self, context=context)

    def result(self) -> int:
        return 5

    def cancel(self, msg: Any = None) -> bool:
        return False

    def __await__(self) -> Iterator[Any]:
        self._asyncio_future_blocking = True
        yield self
        return self.result()


class _Task(asyncio.Task):  # type: ignore[type-arg]
    """A task of the program's own."""

    def get_name(self) -> str:
        raise AssertionError("nobody asked")


class _Awaitable:
    def __await__(self) -> Iterator[Any]:
        yield


async def _sleeper(value: Any) -> Any:
    await asyncio.sleep(0)
    if isinstance(value, BaseException):
        raise value
    return value


@types.coroutine
def _generator_based() -> Any:
    yield
    return 1


async def _futures(loop: Any) -> None:
    for kind in (_Future, asyncio.futures._PyFuture, asyncio.Future):  # type: ignore[attr-defined]
        future = kind(loop=loop)
        loop.call_soon(future.set_result, 1)
        await future
    assert await _FutureLike(loop) == 5
    await _Awaitable()
    shielded = asyncio.shield(_sleeper(1))
    await shielded


async def _tasks(loop: Any) -> None:
    task: Any
    for kind in (_Task, asyncio.tasks._PyTask, asyncio.Task):  # type: ignore[attr-defined]
        for value in (1, KeyError(2), asyncio.CancelledError()):
            task = kind(_sleeper(value), loop=loop)
            await asyncio.wait([task])
            if not task.cancelled():
                task.exception()
    await loop.create_task(_await(_generator_based()))
    task = loop.create_task(_sleeper(1), name="before")
    task.set_name("between")
    await asyncio.sleep(0)
    task.set_name("after")
    await task
    unstarted = loop.create_task(_sleeper(1))
    unstarted.cancel()
    await asyncio.wait([unstarted])
    loop.call_soon(loop.create_task, _sleeper(2))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    await asyncio.gather(*map(_sleeper, range(3)), return_exceptions=True)


async def _from_outside(loop: Any) -> None:
    future = loop.create_future()
    thread = threading.Thread(target=lambda: loop.call_soon_threadsafe(future.set_result, 1))
    thread.start()
    await future
    thread.join()
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        await loop.run_in_executor(pool, int)
    left, right = socket.socketpair()
    with left, right:
        left.setblocking(False)
        read = loop.create_future()
        loop.add_reader(left, lambda: (loop.remove_reader(left), read.set_result(1)))
        right.send(b"byte")
        await read
        await loop.sock_recv(left, 4)
    loop.call_later(0, future.cancel)
    await asyncio.sleep(0.001)
    await asyncio.wait_for(_sleeper(1), 10)


async def _eager(loop: Any) -> None:
    if sys.version_info < (3, 12) or not isinstance(loop, asyncio.BaseEventLoop):
        return
    loop.set_task_factory(asyncio.eager_task_factory)
    await loop.create_task(_sleeper(1), name="eager")
    done = loop.create_task(_await(asyncio.Future()))
    done.cancel()
    await asyncio.wait([done])
    await asyncio.gather(*map(_sleeper, range(2)))
    loop.set_task_factory(None)


async def _await(awaitable: Any) -> Any:
    return await awaitable


_LOOPS = [asyncio.new_event_loop]
with contextlib.suppress(ImportError):
    import uvloop

    _LOOPS.append(uvloop.new_event_loop)


@pytest.mark.parametrize("make_loop", _LOOPS, ids=lambda make_loop: make_loop.__module__.partition(".")[0])
@pytest.mark.parametrize("program", [_futures, _tasks, _from_outside, _eager], ids=lambda program: program.__name__[1:])
def test_both_cores_record_the_same_events_of_what_is_seldom_done(program: Any, make_loop: Any) -> None:
    async def main() -> None:
        await program(asyncio.get_running_loop())

    def run() -> None:
        with Recording(), asyncio.Runner(loop_factory=make_loop) as runner:
            runner.run(main())

    _agree(run)


@pytest.mark.parametrize("program", [hooked_programs.with_functions, hooked_programs.of_a_scope])
def test_both_cores_record_the_same_events_of_functions_and_of_a_scope(program: hooked_programs.Program) -> None:
    def run() -> None:
        program(lambda **options: Recording(stream.Options(**options)))

    _agree(run)
