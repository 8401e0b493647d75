"""What the test suites of asyncio libraries do that no test of ours did: each the smallest program that shows it."""

from __future__ import annotations

import asyncio
import gc
import math
import weakref

import pytest
from integration.both_ways import both_ways, kinds, task_of
from integration.trace_rules import check

import asynctrace


@pytest.mark.parametrize("when", [math.inf, -math.inf, 1e300], ids=str)
def test_a_timer_may_be_due_at_any_time(when: float) -> None:
    # anyio sets a timer at infinity for a cancel scope without a deadline.
    async def main() -> bool:
        loop = asyncio.get_running_loop()
        called = loop.create_future()
        handle = loop.call_at(when, called.set_result, True)
        if when > 0:
            loop.call_soon(called.set_result, False)
        try:
            return await called
        finally:
            handle.cancel()

    trace = both_ways(lambda: asyncio.run(main()))

    check(trace)
    assert task_of(trace, "main").outcome == "returned"


def test_a_task_whose_wait_is_over_when_the_recording_starts_is_ready() -> None:
    # httpx: a server's thread runs its loop when a test's recording starts.
    recording = asynctrace.record()

    async def waits(future: asyncio.Future[None]) -> None:
        await future

    async def main() -> None:
        future = asyncio.get_running_loop().create_future()
        waiting = asyncio.create_task(waits(future))
        await asyncio.sleep(0)
        future.set_result(None)
        recording.start()
        await waiting

    try:
        asyncio.run(main())
    finally:
        recording.stop()

    check(recording.trace)
    assert kinds(task_of(recording.trace, "waits")) == ["ready unknown", "running"]


def test_starting_a_recording_keeps_no_frame_of_the_program_alive() -> None:
    # asgiref looks for reference cycles in its own tests.
    class Held:
        pass

    def starts() -> weakref.ref[Held]:
        held = Held()
        recording.start()
        return weakref.ref(held)

    recording = asynctrace.record()
    gc.collect()
    gc.disable()
    try:
        assert starts()() is None
    finally:
        gc.enable()
        recording.stop()
