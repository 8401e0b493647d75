"""That a loop or a job is gone is recorded: a recording that runs for ever may forget it then."""

from __future__ import annotations

import asyncio
import concurrent.futures
import functools
import gc
from collections import Counter
from typing import Any

import pytest

import asynctrace
from asynctrace.events import JOB_FORGOTTEN, JOB_SUBMITTED, LOOP_GONE, LOOP_SEEN
from asynctrace.model.trace import Trace


def double(number: int) -> int:
    return 2 * number


async def with_jobs() -> None:
    loop = asyncio.get_running_loop()
    await asyncio.to_thread(double, 1)
    await loop.run_in_executor(None, functools.partial(double, 2))
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        assert list(pool.map(double, range(3))) == [0, 2, 4]
        gate = concurrent.futures.Future[int]()
        first, second = pool.submit(gate.result), pool.submit(double, 1)
        assert second.cancel()
        gate.set_result(1)
        assert first.result() == 1
    with concurrent.futures.ProcessPoolExecutor(1) as pool:
        await loop.run_in_executor(pool, double, 3)


def subjects(trace: Trace, kind: int) -> Counter[Any]:
    return Counter(event[3] for event in trace.parts[0].events if event[2] == kind)


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded")
def test_every_job_and_loop_that_is_gone_is_told_once() -> None:
    with asynctrace.record() as recording:
        asyncio.run(with_jobs())
        gc.collect()
    trace = recording.trace
    jobs = subjects(trace, JOB_SUBMITTED)
    assert len(jobs) == 8
    assert subjects(trace, JOB_FORGOTTEN) == jobs
    loops = subjects(trace, LOOP_SEEN)
    assert len(loops) == 1
    assert subjects(trace, LOOP_GONE) == loops


def test_a_job_that_outlives_the_recording_is_no_event_of_it() -> None:
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        gate = concurrent.futures.Future[int]()
        with asynctrace.record() as recording:
            future = pool.submit(gate.result)
        gate.set_result(1)
        assert future.result() == 1
    trace = recording.trace
    assert len(subjects(trace, JOB_SUBMITTED)) == 1
    assert not subjects(trace, JOB_FORGOTTEN)


def test_a_loop_that_is_still_there_is_not_gone() -> None:
    loop = asyncio.new_event_loop()
    try:
        with asynctrace.record() as recording:
            loop.run_until_complete(asyncio.sleep(0))
        assert len(subjects(recording.trace, LOOP_SEEN)) == 1
        assert not subjects(recording.trace, LOOP_GONE)
    finally:
        loop.close()
