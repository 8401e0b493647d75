import asyncio
import concurrent.futures
import functools
import pickle
import threading
import traceback
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from contextvars import copy_context

import pytest

import asynctrace
from asynctrace.events import (
    CALL_FINISHED,
    CALL_JOB,
    CALL_STARTED,
    JOB_FORGOTTEN,
    JOB_OTHER,
    JOB_PROCESS,
    JOB_SUBMITTED,
    JOB_THREAD,
    RAISED,
    STEP_FINISHED,
)
from asynctrace.probes.failure import Guard
from asynctrace.probes.jobs import JobCall, JobProbe
from asynctrace.probes.loop import LoopProbe
from asynctrace.probes.tasks import TaskTable
from asynctrace.recorder import Recorder

SUBMITS = ThreadPoolExecutor.submit, ProcessPoolExecutor.submit


@pytest.fixture
def recorder():
    return Recorder()


@pytest.fixture
def probe(recorder):
    probe = JobProbe(recorder, Guard(lambda: None))
    probe.install()
    yield probe
    probe.remove()
    assert (ThreadPoolExecutor.submit, ProcessPoolExecutor.submit) == SUBMITS


def double(number):
    return number * 2


def fail():
    raise LookupError("on purpose")


def jobs(recorder):
    """Return (name, kind) of the jobs submitted; each has run as a call once."""
    part = recorder.freeze(2**62)
    submitted = {event[3]: event for event in part.events if event[2] == JOB_SUBMITTED}
    ran = {event[4]: event for event in part.events if event[2] == CALL_STARTED and event[6] == CALL_JOB}
    assert set(submitted) == set(ran)
    assert len(ran) == len([event for event in part.events if event[2] == CALL_STARTED])
    for job, event in submitted.items():
        assert event[0] <= ran[job][0]
        assert event[5] == ran[job][5]
    return [(part.sites[event[5]].name, event[6]) for event in submitted.values()]


def test_submit_and_map_without_a_loop(probe, recorder):
    with ThreadPoolExecutor(2) as pool:
        assert pool.submit(double, 4).result() == 8
        assert pool.submit(double, number=5).result() == 10
        assert list(pool.map(double, [1, 2])) == [2, 4]
    assert jobs(recorder) == [("double", JOB_THREAD)] * 4


def test_tracebacks_of_jobs_are_the_same(recorder):
    def errors():
        found = []
        with ThreadPoolExecutor(1) as pool:
            for job in (fail, double, functools.partial(fail)):
                try:
                    pool.submit(job).result()
                except (LookupError, TypeError) as error:
                    found.append(traceback.format_exception(error))
        return found

    expected = errors()
    probe = JobProbe(recorder, Guard(lambda: None))
    probe.install()
    try:
        assert errors() == expected
    finally:
        probe.remove()
    assert [event[6] for event in recorder.events if event[2] == CALL_FINISHED] == [RAISED] * 3


def test_a_job_that_is_refused_has_not_happened(probe, recorder):
    pool = ThreadPoolExecutor(1)
    pool.shutdown()
    with pytest.raises(RuntimeError, match="after shutdown") as caught:
        pool.submit(double, 1)
    assert len(caught.traceback) == 2  # ours, the test, is one; the executor's the other
    assert recorder.events == []


def test_a_subclass_that_wraps_what_it_submits(probe, recorder):
    class InContext(ThreadPoolExecutor):
        def submit(self, fn, /, *args, **kwargs):
            return super().submit(copy_context().run, fn, *args, **kwargs)

    with InContext(1) as pool:
        assert pool.submit(double, 4).result() == 8

        async def main():
            loop = asyncio.get_running_loop()
            wrapped, job = probe.wrap_job(pool, double)
            assert job
            return await loop.run_in_executor(pool, wrapped, 5)

        assert asyncio.run(main()) == 10
    assert jobs(recorder) == [("double", JOB_THREAD)] * 2


def test_an_executor_of_the_user_s_own(probe, recorder):
    seen = []

    class AtOnce(Executor):
        def submit(self, fn, /, *args, **kwargs):
            seen.append((fn.__name__, isinstance(fn, type(double)), fn == double, hash(fn) == hash(double)))
            future = Future()
            future.set_result(fn(*args, **kwargs))
            return future

    work, job = probe.wrap_job(AtOnce(), double)
    assert job
    assert AtOnce().submit(work, 2).result() == 4
    assert seen == [("double", True, True, True)]
    assert jobs(recorder) == [("double", JOB_OTHER)]


def test_what_is_no_executor_is_left_alone(probe, recorder):
    class Duck:
        def submit(self, fn, *args): ...

    assert probe.wrap_job(Duck(), double) == (double, None)


def test_jobs_of_a_loop_are_recorded_once_and_by_the_user_s_name(probe, recorder):
    def setup(loop):
        shims = LoopProbe(loop)
        guard = Guard(lambda: None)
        table = TaskTable(recorder)
        shims.begin(recorder, table, guard, 0)
        shims.wrap_job = probe.wrap_job
        shims.install(loop)
        return shims

    async def main():
        loop = asyncio.get_running_loop()
        shims = setup(loop)
        try:
            assert await asyncio.to_thread(double, 1) == 2
            assert await loop.run_in_executor(None, double, 2) == 4
            with ThreadPoolExecutor(1) as pool:
                assert await loop.run_in_executor(pool, functools.partial(double, number=3)) == 6
        finally:
            shims.remove()

    asyncio.run(main())
    assert jobs(recorder) == [("double", JOB_THREAD)] * 3


def test_a_job_that_a_step_s_end_names_is_not_forgotten_before_it():
    class InThisThread(Executor):
        def submit(self, fn, /, *args, **kwargs):
            future = Future()
            asyncio.get_running_loop().call_soon(future.set_result, fn(*args, **kwargs))
            return future

    async def main():
        future = asyncio.get_running_loop().run_in_executor(InThisThread(), double, 4)  # its function is done, and gone
        return await future

    with asynctrace.record() as recording:
        assert asyncio.run(main()) == 8
    events = recording.trace.parts[0].events
    [submitted] = [event for event in events if event[2] == JOB_SUBMITTED]
    about = [event[2] for event in events if submitted[3] in event[3:5]]
    assert about == [JOB_SUBMITTED, CALL_STARTED, STEP_FINISHED, JOB_FORGOTTEN]
    [wait] = [state.wait for task in recording.trace.tasks for state in task.states if state.wait is not None]
    assert wait.job is not None and wait.job.name.endswith("double")


def test_a_job_of_an_earlier_recording_is_not_in_this_one():
    first, second = Recorder(), Recorder()
    gate = threading.Event()
    with ThreadPoolExecutor(1) as pool:
        probe = JobProbe(first, Guard(lambda: None))
        probe.install()
        pool.submit(gate.wait)
        late = pool.submit(double, 2)
        probe.remove()
        again = JobProbe(second, Guard(lambda: None))
        again.install()
        gate.set()
        assert late.result() == 4
        again.remove()
    assert second.events == []


def test_a_process_s_job_pickles_as_what_it_is(probe, recorder):
    def started(executor, func):
        work, job = probe.wrap_job(executor, func)
        assert type(work) is JobCall
        return pickle.dumps(work), job

    with ProcessPoolExecutor(1) as pool:
        pickled, job = started(pool, double)
        assert b"asynctrace.probes" not in pickled
        loaded = pickle.loads(pickled)
        assert (type(loaded), loaded.func, loaded(2)) == (functools.partial, double, 4)
        assert vars(loaded) == {"_asynctrace_job": job.number}
        work, _ = probe.wrap_job(pool, lambda: 1)
        with pytest.raises((pickle.PicklingError, AttributeError)):
            pickle.dumps(work)
    assert recorder.events == []  # nothing was submitted


def test_process_pools_are_told_from_others(probe, recorder):
    from asynctrace.probes.jobs import _kind_of

    with ProcessPoolExecutor(1) as processes, ThreadPoolExecutor(1) as threads:
        kinds = [_kind_of(executor) for executor in (None, threads, processes)]
    assert kinds == [JOB_THREAD, JOB_THREAD, JOB_PROCESS]


def test_other_interpreters_are_left_alone(probe):
    pool = getattr(concurrent.futures, "InterpreterPoolExecutor", None)
    if pool is None:
        pytest.skip("before 3.14")
    with pool(1) as executor:
        assert executor.submit(len, "abc").result() == 3
        assert probe.wrap_job(executor, double) == (double, None)
