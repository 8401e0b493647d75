import functools
import multiprocessing.pool
import threading
import time
import traceback

import pytest

from asynctrace.events import CALL_FINISHED, CALL_JOB, CALL_STARTED, CALL_THREAD, RAISED, RETURNED
from asynctrace.probes.failure import Guard
from asynctrace.probes.threads import ThreadProbe
from asynctrace.recorder import Recorder

RUN = threading.Thread.run


@pytest.fixture
def recorder():
    return Recorder()


@pytest.fixture
def probe(recorder):
    probe = ThreadProbe(recorder, Guard(lambda: None))
    probe.install()
    yield probe
    probe.remove()
    assert threading.Thread.run is RUN


def run(target, *args, **kwargs):
    thread = threading.Thread(target=target, args=args, kwargs=kwargs, name="mine")
    thread.start()
    thread.join()
    return thread


def calls(recorder):
    part = recorder.freeze(2**62)
    return [
        (part.sites[event[5]].name.rpartition(">.")[2], part.threads[event[1]].name)
        for event in part.events
        if event[2] == CALL_STARTED and event[6] == CALL_THREAD
    ]


class Worker:
    def work(self):
        pass

    def __call__(self):
        pass


@pytest.mark.parametrize(
    ("target", "name"),
    [
        (Worker().work, "Worker.work"),
        (Worker(), "Worker.__call__"),
        (functools.partial(functools.partial(Worker.work), 1), "Worker.work"),
        (functools.partial(time.sleep, 0), "time.sleep"),
        ([].clear, "list.clear"),
        (Worker, f"{__name__}.Worker"),
        (functools.partial(len, ()), "len"),
    ],
)
def test_a_thread_s_target_is_a_call(probe, recorder, target, name):
    run(target)
    assert calls(recorder) == [(name, "mine")]
    assert [event[6] for event in recorder.events if event[2] == CALL_FINISHED] == [RETURNED]


def test_results_and_arguments_go_through(probe):
    seen = []
    run(lambda *args, **kwargs: seen.append((args, kwargs)), 1, b=2)
    assert seen == [((1,), {"b": 2})]


def test_a_thread_without_a_target_or_of_a_library_is_no_call(probe, recorder):
    run(None)
    run(traceback.format_stack)

    class Own(threading.Thread):
        def run(self):
            pass

    own = Own()
    own.start()
    own.join()
    assert recorder.events == []


def test_jobs_of_a_thread_pool_are_calls(probe, recorder):
    seen = []

    def work(number):
        seen.append(number)
        if number == 3:
            raise LookupError
        return number

    def errors():
        try:
            pool.apply(work, (3,))
        except LookupError as error:
            return traceback.format_exception(error)

    with multiprocessing.pool.ThreadPool(1) as pool:
        assert pool.map(work, [1, 2], chunksize=1) == [1, 2]
        assert pool.apply(work, (5,)) == 5
        with_us = errors()
        probe.remove()
        assert errors() == with_us
    part = recorder.freeze(2**62)
    jobs = [event for event in part.events if event[2] == CALL_STARTED]
    assert [(part.sites[event[5]].name.rpartition(">.")[2], event[6]) for event in jobs] == [("work", CALL_JOB)] * 4


def test_an_uncaught_exception_is_reported_with_the_same_traceback(monkeypatch):
    found = []
    monkeypatch.setattr(threading, "excepthook", lambda args: found.append(traceback.format_exception(args.exc_value)))

    def fail():
        raise LookupError

    run(fail)
    recorder = Recorder()
    probe = ThreadProbe(recorder, Guard(lambda: None))
    probe.install()
    try:
        run(fail)
    finally:
        probe.remove()
    run(fail)
    assert found[0] == found[1] == found[2]
    assert [event[6] for event in recorder.events if event[2] == CALL_FINISHED] == [RAISED]


def test_another_tool_s_run_above_ours_stays_and_goes_on(recorder):
    probe = ThreadProbe(recorder, Guard(lambda: None))
    probe.install()
    ours = threading.Thread.run
    seen = []

    def theirs(self):
        seen.append(self.name)
        ours(self)

    threading.Thread.run = theirs
    try:
        probe.remove()
        assert threading.Thread.run is theirs
        run(lambda: seen.append("ran"))
    finally:
        threading.Thread.run = RUN
    assert seen == ["mine", "ran"]
    assert recorder.events == []
