"""Recordings that start and stop again and again in one process leave nothing behind: no object, no memory, no hook."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import threading
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

import asynctrace
from asynctrace.recording import Recording

with contextlib.suppress(ImportError):
    import resource

LOOPS: list[Any] = [asyncio.new_event_loop]
with contextlib.suppress(ImportError):
    import uvloop

    LOOPS.append(uvloop.new_event_loop)

each_loop = pytest.mark.parametrize("make_loop", LOOPS, ids=lambda make: make.__module__.partition(".")[0])


def how_often(most: int) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("count", [40, pytest.param(most, marks=pytest.mark.slow)])


@asynctrace.traced
async def _child(number: int) -> int:
    await asyncio.sleep(0)
    if number < 0:
        raise ValueError(number)
    return number


async def _program() -> None:
    loop = asyncio.get_running_loop()
    await asyncio.gather(*map(_child, range(-1, 3)), return_exceptions=True)
    loop.call_later(0, int)
    loop.call_soon_threadsafe(int)
    waiting = asyncio.ensure_future(asyncio.Event().wait())
    await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.wait([waiting])


def _run(make_loop: Callable[[], Any]) -> None:
    with asyncio.Runner(loop_factory=make_loop) as runner:
        runner.run(_program())


def _ours() -> Counter[str]:
    """Return how many objects there are of each class of ours that a recording makes."""
    gc.collect()
    kinds = (type(each) for each in gc.get_objects())
    named = (f"{kind.__module__}.{kind.__qualname__}" for kind in kinds)
    made = ("asynctrace.recorder", "asynctrace.probes", "asynctrace.stream", "asynctrace.recording")
    return Counter(name for name in named if name.startswith(made))


def _resident_bytes() -> int:
    try:
        with open("/proc/self/statm") as file:
            return int(file.read().split()[1]) * resource.getpagesize()
    except (OSError, NameError):
        return 0


def _assert_flat(action: Callable[[], None], count: int) -> None:
    """Assert that doing it again and again makes no more objects, and takes no more memory."""
    for _ in range(max(20, count // 10)):  # what is made once is there then
        action()
    ours, objects = _ours(), len(gc.get_objects())
    growth: list[int] = []
    for _ in range(5):
        memory = _resident_bytes()
        for _ in range(count // 5):
            action()
        growth.append(_resident_bytes() - memory)
    more = _ours()
    more.subtract(ours)
    assert {name: number for name, number in more.items() if number > 0} == {}
    assert len(gc.get_objects()) - objects < 200
    # The allocator takes a piece at times, for what other tests have left, too; what is kept shows in each fifth.
    assert min(growth) < (256 << 10), growth


@each_loop
@how_often(10_000)
def test_recordings_around_a_program_leave_nothing(make_loop: Any, count: int) -> None:
    def record() -> None:
        with Recording():
            _run(make_loop)

    _assert_flat(record, count)


@how_often(2_000)
def test_recordings_inside_a_loop_that_stays_leave_nothing(count: int) -> None:
    async def record() -> None:
        waiting = asyncio.create_task(_child(1))
        with Recording():
            await _program()
        await waiting

    with asyncio.Runner() as runner:
        _assert_flat(lambda: runner.run(record()), count)


@how_often(2_000)
def test_loops_with_shims_that_stay_are_freed(count: int) -> None:
    def make_and_close() -> None:
        with Recording():
            _run(asynctrace.new_event_loop)
        _run(asynctrace.new_event_loop)

    _assert_flat(make_and_close, count // 2)


@pytest.mark.parametrize("count", [100, pytest.param(5_000, marks=pytest.mark.slow)])
def test_threads_that_end_while_a_recording_goes_on_leave_no_state(count: int) -> None:
    from asynctrace import stream

    def work() -> None:
        thread = threading.Thread(target=lambda: asyncio.run(_child(1)))
        thread.start()
        thread.join()

    with Recording():
        for _ in range(count):
            work()
        running: Any = stream.current
        states = [state for state, _ in running.recorder.tables._threads.values()]
        assert len(states) >= count
        # This one, the keeper, and the last that may not be gone.
        assert sum(state() is not None for state in states) <= 3
        assert len(running.table._entries) <= 1


@pytest.mark.slow
@pytest.mark.parametrize("seconds", [8])
def test_threads_with_loops_record_while_recordings_come_and_go(seconds: int) -> None:
    """As many hooks as can be, on several threads at once; the program's results are its own."""
    until = time.monotonic() + seconds
    told: list[str] = []
    loops: list[Any] = []

    async def hammer(number: int) -> int:
        others = [loop for loop in loops if loop.is_running()]
        for other in others:
            with contextlib.suppress(RuntimeError):  # it is closed meanwhile
                other.call_soon_threadsafe(int)
        assert await asyncio.gather(*map(_child, range(number))) == list(range(number))
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(asyncio.Event().wait(), 0.0005)
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(_child(each)) for each in range(5)]
        assert await asyncio.to_thread(int) == 0
        return sum(task.result() for task in tasks)

    def work(make_loop: Callable[[], Any]) -> None:
        try:
            while time.monotonic() < until:
                with asyncio.Runner(loop_factory=make_loop) as runner:
                    loops.append(runner.get_loop())
                    for number in range(10):
                        assert runner.run(hammer(number)) == 10
                    loops.remove(runner.get_loop())
        except BaseException as error:
            told.append(repr(error))

    makers = [*LOOPS, asynctrace.new_event_loop]
    threads = [threading.Thread(target=work, args=(make_loop,)) for make_loop in (*makers, *makers)]
    for thread in threads:
        thread.start()
    count = 0
    while time.monotonic() < until:
        with asynctrace.record() as recording:
            time.sleep(0.001 * (count % 40))
        count += 1
        if count % 5 == 0:
            assert recording.trace  # what it has to be like: test_recording_from_threads.py
    for thread in threads:
        thread.join()
    assert told == []
    assert count > 10
