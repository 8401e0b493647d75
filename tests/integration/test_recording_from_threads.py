"""Recordings that start and stop on another thread than the loops run on, that overlap, and that stop anywhere."""

from __future__ import annotations

import asyncio
import collections
import contextlib
import itertools
import logging
import random
import selectors
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from integration.both_ways import kinds, task_of, waits
from integration.trace_rules import check

import asynctrace
from asynctrace import stream

uvloop = pytest.importorskip("uvloop") if sys.platform != "win32" else None
sees_coroutines = sys.version_info >= (3, 12)
LOOPS = [pytest.param(asyncio.SelectorEventLoop, id="asyncio")]
if uvloop is not None:
    LOOPS.append(pytest.param(uvloop.new_event_loop, id="uvloop"))
NOWHERE = "/nowhere/*"  # a scope without any code: only the loops themselves tell of their tasks


class LoopThread:
    """A loop that runs a coroutine on a thread of its own, and what came of it."""

    def __init__(self, main: Callable[[], Any], make_loop: Callable[[], Any] = asyncio.SelectorEventLoop) -> None:
        self.result: Any = None
        self._main = main
        self._is_there = threading.Event()
        self._make_loop = make_loop
        self.loop: Any = None
        self._thread = threading.Thread(target=self._run)
        self._thread.start()
        assert self._is_there.wait(60)

    def _run(self) -> None:
        try:
            with asyncio.Runner(loop_factory=self._make_loop) as runner:
                self.loop = runner.get_loop()
                self.loop.call_soon(self._is_there.set)
                self.result = runner.run(self._main())
        except BaseException as error:
            self.result = error

    def wait_until_idle(self, waiter: Waiter) -> None:
        """Wait until the loop has nothing to do but to wait for what may wake it."""
        assert waiter.is_waiting.wait(60)
        innermost = "run" if type(self.loop).__module__ == "uvloop" else "select"  # no Python code runs in uvloop then
        while sys._current_frames()[self._thread.ident].f_code.co_name != innermost:
            time.sleep(0.001)

    def call(self, function: Callable[..., Any], *args: Any) -> None:
        self.loop.call_soon_threadsafe(function, *args)

    def join(self) -> Any:
        self._thread.join(60)
        assert not self._thread.is_alive()
        if isinstance(self.result, BaseException):
            raise self.result
        return self.result


class Waiter:
    """A program whose main task and one other wait until they are told to go on."""

    def __init__(self) -> None:
        self.event = asyncio.Event()
        self.is_waiting = threading.Event()

    async def wait(self) -> str:
        # The main task waits already, and nothing is queued behind this: the next that the loop does is to look for
        # what may wake it.
        asyncio.get_running_loop().call_later(0.001, self.is_waiting.set)
        await self.event.wait()
        return "woken"

    async def main(self) -> str:
        return await asyncio.create_task(self.wait(), name="other")


needs_task_sets = pytest.mark.skipif(
    sys.version_info >= (3, 14),
    reason="asyncio no longer has sets of its tasks: such a loop is met at its next coroutine event",
)


@contextlib.contextmanager
def logged(*names: str) -> Iterator[list[str]]:
    """Collect what loggers are told."""
    told: list[str] = []

    class Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            told.append(logging.Formatter().format(record))

    handler = Handler()
    for name in names:
        logging.getLogger(name).addHandler(handler)
    try:
        yield told
    finally:
        for name in names:
            logging.getLogger(name).removeHandler(handler)


def ours_on(loop: Any) -> list[str]:
    """Return what of ours is on a loop and its selector."""
    owners = [loop] + ([loop._selector] if hasattr(loop, "_selector") else [])
    return [
        name
        for owner in owners
        for name, value in vars(owner).items()
        if "asynctrace" in name or str(getattr(value, "__module__", "")).startswith("asynctrace")
    ]


# Loops that run before the recording starts.


@needs_task_sets
@pytest.mark.parametrize("make_loop", LOOPS)
@pytest.mark.parametrize("scope", [(), (NOWHERE,)], ids=["all code", "no code"])
def test_a_loop_that_waits_on_another_thread_is_met_when_the_program_wakes_it(make_loop: Any, scope: Any) -> None:
    waiter = Waiter()
    thread = LoopThread(waiter.main, make_loop)
    thread.wait_until_idle(waiter)

    with asynctrace.record(include=scope) as recording:
        before = recording.snapshot()
        thread.call(waiter.event.set)
        assert thread.join() == "woken"
    trace = recording.trace

    check(trace)
    assert before.tasks == ()
    tasks = {task.name: task for task in trace.tasks}
    other = tasks["other"]
    assert other.is_clipped and other.outcome == "returned"
    found = [kind for kind in kinds(other) if not kind.startswith("ready")]
    assert found == [
        # What it waits for is told by code that is seen.
        "waiting event" if not (sees_coroutines and scope) else "waiting future",
        "running",
    ]
    assert kinds(task_of(trace, "Waiter.main"))[-3:] == ["waiting task", "ready task", "running"]
    if sees_coroutines and not scope:
        assert waits(other)[0][1] == "self.event.wait()"


@needs_task_sets
def test_an_idle_loop_is_not_woken_by_a_recording() -> None:
    class Selector(selectors.DefaultSelector):
        calls = 0

        def select(self, timeout: float | None = None) -> Any:
            type(self).calls += 1
            return super().select(timeout)

    waiter = Waiter()
    thread = LoopThread(waiter.main, lambda: asyncio.SelectorEventLoop(Selector()))
    thread.wait_until_idle(waiter)
    before = Selector.calls

    for _ in range(3):
        with asynctrace.record():
            assert ours_on(thread.loop)
        assert ours_on(thread.loop) == []

    assert Selector.calls == before
    thread.call(waiter.event.set)
    assert thread.join() == "woken"


@pytest.mark.parametrize("make_loop", LOOPS)
def test_a_loop_that_is_blocked_is_met_when_it_goes_on(make_loop: Any) -> None:
    is_blocked, may_go_on = threading.Event(), threading.Event()

    async def child() -> int:
        await asyncio.sleep(0)
        return 1

    async def main() -> list[int]:
        children = [asyncio.create_task(child()) for _ in range(3)]
        is_blocked.set()
        may_go_on.wait(60)
        return await asyncio.gather(*children)

    thread = LoopThread(main, make_loop)
    assert is_blocked.wait(60)
    with asynctrace.record() as recording:
        may_go_on.set()
        assert thread.join() == [1, 1, 1]

    check(recording.trace)
    assert task_of(recording.trace, "main").is_clipped
    children = [task for task in recording.trace.tasks if task.label == "child"]
    assert len(children) == 3 and {task.outcome for task in children} == {"returned"}


@needs_task_sets
def test_loops_are_met_without_a_free_tool_id() -> None:
    if not sees_coroutines:
        pytest.skip("3.11 has no tool ids: there it is always so")
    taken = [number for number in range(6) if sys.monitoring.get_tool(number) is None]
    for number in taken:
        sys.monitoring.use_tool_id(number, "another")
    try:
        waiter = Waiter()
        thread = LoopThread(waiter.main)
        thread.wait_until_idle(waiter)
        with asynctrace.record() as recording:
            thread.call(waiter.event.set)
            assert thread.join() == "woken"
    finally:
        for number in taken:
            sys.monitoring.free_tool_id(number)

    check(recording.trace)
    assert {"other"} <= {task.name for task in recording.trace.tasks}
    assert recording.trace.coroutines == ()


# Again and again, at any moment.


class Busy:
    """A program that does a little of everything until it is told to stop, and checks its own results."""

    def __init__(self) -> None:
        self.is_over = False
        self.rounds = 0

    async def leaf(self, number: int) -> int:
        await asyncio.sleep(0)
        await asyncio.sleep(number * 0.001)
        return number

    async def values(self) -> Any:
        for number in range(3):
            yield number
            await asyncio.sleep(0)

    async def main(self) -> str:
        queue: asyncio.Queue[int] = asyncio.Queue(2)

        async def produce() -> None:
            for number in range(4):
                await queue.put(number)

        while not self.is_over:
            async with asyncio.TaskGroup() as group:
                group.create_task(produce())
                group.create_task(self.leaf(1))
                assert [await queue.get() for _ in range(4)] == [0, 1, 2, 3]
            assert [number async for number in self.values()] == [0, 1, 2]
            assert await asyncio.gather(self.leaf(0), self.leaf(1)) == [0, 1]
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(asyncio.sleep(10), 0.001)
            assert await asyncio.to_thread(lambda: 5) == 5
            self.rounds += 1
        return "over"


class Blocked(Busy):
    async def main(self) -> str:
        while not self.is_over:
            time.sleep(0.005)
            await asyncio.sleep(0.001)
            self.rounds += 1
        return "over"


def record_again_and_again(make_loop: Any, seed: int, count: int) -> None:
    chance = random.Random(seed)
    programs = [Busy(), Busy(), Blocked()]
    waiter = Waiter()
    earlier_s = sys.getswitchinterval()
    seen: dict[str, int] = {}
    with logged("asynctrace", "asyncio") as told:
        threads = [LoopThread(program.main, make_loop) for program in (*programs, waiter)]
        sys.setswitchinterval(1e-5)
        try:
            for _ in range(count):
                time.sleep(chance.random() * 0.01)
                with asynctrace.record() as recording:
                    time.sleep(chance.random() * 0.03)
                for thread in threads:
                    assert ours_on(thread.loop) == []
                check(recording.trace)
                for task in recording.trace.tasks:
                    seen[task.label] = seen.get(task.label, 0) + 1
        finally:
            sys.setswitchinterval(earlier_s)
            for program in programs:
                program.is_over = True
            threads[-1].call(waiter.event.set)
        assert [thread.join() for thread in threads] == ["over", "over", "over", "woken"]
    assert told == []
    assert all(program.rounds for program in programs)
    assert {"Busy.main", "Blocked.main", "Busy.leaf"} <= seen.keys()


@pytest.mark.parametrize("make_loop", LOOPS)
def test_recordings_that_come_and_go_on_another_thread_leave_every_loop_as_it_was(make_loop: Any) -> None:
    record_again_and_again(make_loop, seed=1, count=12)


@pytest.mark.slow
@pytest.mark.parametrize("make_loop", LOOPS)
@pytest.mark.parametrize("seed", range(3))
def test_many_recordings_that_come_and_go_on_another_thread(make_loop: Any, seed: int) -> None:
    record_again_and_again(make_loop, seed, count=200)


# Overlapping.


@pytest.mark.parametrize("ends", ["first first", "last first"])
def test_recordings_of_several_threads_that_overlap_are_windows(ends: str) -> None:
    program = Busy()
    thread = LoopThread(program.main)
    recordings = [asynctrace.record(), asynctrace.record()]

    def on_a_thread(function: Callable[[], Any]) -> None:
        other = threading.Thread(target=function)
        other.start()
        other.join()

    def wait_for_rounds() -> None:
        until = program.rounds + 2
        while program.rounds < until:
            time.sleep(0.001)

    for recording in recordings:
        on_a_thread(recording.start)
        wait_for_rounds()
    in_order = recordings if ends == "first first" else recordings[::-1]
    for recording in in_order:
        assert ours_on(thread.loop)
        on_a_thread(recording.stop)
        if recording is in_order[0]:
            wait_for_rounds()
    assert ours_on(thread.loop) == []
    program.is_over = True
    assert thread.join() == "over"

    for recording in recordings:
        check(recording.trace)
        assert task_of(recording.trace, "Busy.main").is_clipped
    first, second = (recording.trace for recording in recordings)
    assert first.start_ns < second.start_ns < first.end_ns
    assert (second.end_ns < first.end_ns) == (ends == "last first")


def test_a_recording_starts_once_and_stops_as_often_as_it_is_told() -> None:
    recording = asynctrace.record()
    recording.start()
    with pytest.raises(asynctrace.RecordingError, match="started before"):
        recording.start()
    threads = [threading.Thread(target=recording.stop) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    recording.stop()

    assert stream.current is None
    with pytest.raises(asynctrace.RecordingError, match="started before"):
        recording.start()
    check(recording.trace)


# Stopping anywhere.


async def _stop_in_task(recording: Any) -> None:
    recording.stop()


async def _stop_in_callback(recording: Any) -> None:
    done = asyncio.get_running_loop().create_future()
    asyncio.get_running_loop().call_soon(lambda: (recording.stop(), done.set_result(None)))
    await done


async def _stop_in_clean_up(recording: Any) -> None:
    async def values() -> Any:
        try:
            yield 1
        finally:
            await asyncio.sleep(0)
            recording.stop()
            await asyncio.sleep(0)

    async with contextlib.aclosing(values()) as each:
        async for _ in each:
            break


async def _stop_in_done_callback(recording: Any) -> None:
    task = asyncio.create_task(asyncio.sleep(0))
    task.add_done_callback(lambda _: recording.stop())
    await task


async def _stop_in_signal(recording: Any) -> None:
    earlier = signal.signal(signal.SIGUSR1, lambda *_: recording.stop())
    try:
        signal.raise_signal(signal.SIGUSR1)
        await asyncio.sleep(0)
    finally:
        signal.signal(signal.SIGUSR1, earlier)


async def _stop_in_thread(recording: Any) -> None:
    await asyncio.to_thread(recording.stop)


@pytest.mark.parametrize("make_loop", LOOPS)
@pytest.mark.parametrize(
    "stop",
    [_stop_in_task, _stop_in_callback, _stop_in_clean_up, _stop_in_done_callback, _stop_in_signal, _stop_in_thread],
)
def test_a_recording_may_be_stopped_anywhere(stop: Any, make_loop: Any) -> None:
    async def child(number: int) -> int:
        await asyncio.sleep(0.001)
        return number

    async def main() -> Any:
        children = [asyncio.create_task(child(number)) for number in range(3)]
        await asyncio.sleep(0)
        recording = asynctrace.record()
        recording.start()
        await stop(recording)
        assert ours_on(asyncio.get_running_loop()) == []
        return recording, await asyncio.gather(*children)

    with logged("asynctrace", "asyncio") as told, asyncio.Runner(loop_factory=make_loop) as runner:
        recording, results = runner.run(main())

    assert results == [0, 1, 2] and told == []
    check(recording.trace)
    assert task_of(recording.trace, "main").outcome == "unfinished"


def test_a_signals_handler_may_start_and_stop_at_any_instruction() -> None:
    recordings: list[Any] = []

    depth = 0

    def toggle(*_: Any) -> None:
        nonlocal depth
        depth += 1
        try:
            if depth > 1:
                return  # it is in the middle of this
            if recordings and recordings[-1].is_running:
                recordings[-1].stop()
            else:
                recordings.append(asynctrace.record())
                recordings[-1].start()
        finally:
            depth -= 1

    async def main() -> int:
        total = 0
        deadline_s = time.monotonic() + 1
        for number in itertools.count():
            total += await asyncio.sleep(0, 1)
            await asyncio.gather(asyncio.sleep(0), asyncio.sleep(0.0001))
            if time.monotonic() > deadline_s and len(recordings) > 5:
                return total - number
        return 0

    earlier = signal.signal(signal.SIGALRM, toggle)
    with logged("asynctrace", "asyncio") as told:
        try:
            signal.setitimer(signal.ITIMER_REAL, 0.01, 0.0173)
            result = asyncio.run(main())
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, earlier)
            if recordings[-1].is_running:
                recordings[-1].stop()

    assert result == 1 and told == []
    for recording in recordings:
        check(recording.trace)


def test_a_signals_handler_may_start_between_a_step_s_turn_and_the_step() -> None:
    recording = asynctrace.record()

    class Ready(collections.deque[Any]):
        """The loop's queue, and a signal that comes when the awaited is done and its handle has left the queue."""

        awaited: Any = None

        def popleft(self) -> Any:
            handle = super().popleft()
            if self.awaited is not None and self.awaited.done() and getattr(handle._callback, "__self__", None) is task:
                self.awaited = None
                recording.start()
            return handle

    async def child() -> int:
        return await asyncio.sleep(0, 1)

    async def main() -> int:
        ready.awaited = asyncio.gather(child(), child())
        return sum(await ready.awaited) + await child()

    with asyncio.Runner(loop_factory=asyncio.SelectorEventLoop) as runner:
        loop: Any = runner.get_loop()
        ready = loop._ready = Ready(loop._ready)
        task = loop.create_task(main())
        assert loop.run_until_complete(task) == 3
        recording.stop()

    trace = recording.trace
    check(trace)
    found = task_of(trace, "main")
    assert found.is_clipped and found.outcome == "returned"
    if sees_coroutines:
        assert [each.task for each in trace.coroutines] == [found] * 3  # main, child and its sleep


def test_a_signals_handler_may_start_before_asyncio_knows_a_task_that_is_queued() -> None:
    recording = asynctrace.record()

    class Loop(asyncio.SelectorEventLoop):
        """The signal comes when the first step of a new task has been queued, before the task is registered."""

        is_armed = False

        def call_soon(self, *args: Any, **keywords: Any) -> Any:
            handle = super().call_soon(*args, **keywords)
            if self.is_armed:
                self.is_armed = False
                recording.start()
            return handle

    async def child() -> int:
        return await asyncio.sleep(0, 1)

    async def main() -> int:
        loop: Any = asyncio.get_running_loop()
        loop.is_armed = True
        return await loop.create_task(child(), name="new")

    with asyncio.Runner(loop_factory=Loop) as runner:
        assert runner.run(main()) == 1
        recording.stop()

    check(recording.trace)
    [new] = [task for task in recording.trace.tasks if task.name == "new"]
    assert [kind.split()[0] for kind in kinds(new)] == ["ready", "running", "ready", "running"]
