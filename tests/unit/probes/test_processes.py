import concurrent.futures
import multiprocessing
import os
import pickle
import re
import signal
import subprocess
import sys
import time

import pytest

import asynctrace
from asynctrace.events import (
    BLOCKING_STARTED,
    CALL_FINISHED,
    CALL_JOB,
    CALL_PROCESS,
    CALL_STARTED,
    PROCESS_STARTED,
    RAISED,
    RETURNED,
)
from asynctrace.probes.failure import Guard
from asynctrace.probes.jobs import JobProbe
from asynctrace.recorder import Recorder
from tests.unit.probes import process_targets as targets

PACKAGE = os.path.dirname(asynctrace.__file__)
METHODS = [method for method in ("fork", "spawn", "forkserver") if method in multiprocessing.get_all_start_methods()]
pytestmark = pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")


@pytest.fixture
def recorder():
    return Recorder()


@pytest.fixture
def probe(recorder):
    probe = targets.begin(recorder, {"functions": True})
    folder = None
    yield probe
    folder = probe._config["folder"]
    targets.end()
    probe.close()
    assert not folder or not os.path.exists(folder)


@pytest.fixture(params=METHODS)
def context(request):
    return multiprocessing.get_context(request.param)


def calls(part, kind=None):
    """Return (name, outcome) of each call of a part."""
    outcomes = {event[3]: event[6] for event in part.events if event[2] == CALL_FINISHED}
    return [
        (part.sites[event[5]].name, outcomes.get(event[3]))
        for event in part.events
        if event[2] == CALL_STARTED and (kind is None or event[6] == kind)
    ]


def started_pids(recorder):
    return [event[4] for event in recorder.events if event[2] == PROCESS_STARTED]


def test_a_process_records_its_target(probe, recorder, context):
    child = context.Process(target=targets.work, args=(4,))
    before_ns = time.monotonic_ns()
    child.start()
    assert "_asynctrace" not in vars(child)
    child.join()
    assert child.exitcode == 0
    [part] = probe.collect_parts(time.monotonic_ns())
    assert part.pid == child.pid
    assert part.process_name == child.name
    assert calls(part) == [("work", RETURNED)]
    [started] = [event for event in part.events if event[2] == CALL_STARTED]
    assert started[6] == CALL_PROCESS
    [blocked] = [event for event in part.events if event[2] == BLOCKING_STARTED]
    assert blocked[3] == started[3]
    assert part.expressions[blocked[4], blocked[6]].text == "time.sleep(0.001)"
    assert before_ns <= recorder.events[0][0] <= part.start_ns <= started[0] <= part.end_ns
    assert started_pids(recorder) == [child.pid]
    assert part.cpu_ns > 0
    assert started[3] >> 32 == part.pid
    assert part.threads[started[1]].is_main


def test_a_process_with_a_run_of_its_own_is_saved_at_its_end(probe):
    child = targets.Own()
    child.start()
    child.join()
    assert child.exitcode == 0
    [part] = probe.collect_parts(time.monotonic_ns())
    assert calls(part) == [("step", RETURNED)] * 3


def test_a_process_that_raises_says_what_it_said(context, capfd):
    def run():
        child = context.Process(target=targets.fail, name="Child")
        child.start()
        child.join()
        assert child.exitcode == 1
        return capfd.readouterr().err

    unrecorded = run()
    probe = targets.begin(Recorder(), {"functions": True})
    try:
        assert run() == unrecorded
        [part] = probe.collect_parts(time.monotonic_ns())
        assert calls(part) == [("fail", RAISED)]
    finally:
        targets.end()
        probe.close()


@pytest.mark.parametrize(("target", "exitcode", "outcome"), [(targets.leave, 3, RAISED), (targets.die, 4, None)])
def test_a_process_that_exits(probe, context, target, exitcode, outcome):
    child = context.Process(target=target)
    child.start()
    child.join()
    assert child.exitcode == exitcode
    [part] = probe.collect_parts(time.monotonic_ns())
    assert calls(part) == [(target.__name__, outcome)]  # `os._exit` leaves it open


def test_the_process_object_carries_nothing_of_ours(probe, context):
    queue = context.SimpleQueue()
    child = context.Process(target=targets.own_attributes, args=(queue,))
    child.start()
    child.join()
    assert queue.get() == []


def test_a_child_of_a_child_writes_to_the_same_folder(probe, recorder, context):
    child = context.Process(target=targets.parent_of, args=(context.get_start_method(),))
    child.start()
    child.join()
    parts = {part.pid: part for part in probe.collect_parts(time.monotonic_ns())}
    assert sorted(calls(part) for part in parts.values()) == [[("parent_of", RETURNED)], [("work", RETURNED)]]
    [pid] = [event[4] for event in parts[child.pid].events if event[2] == PROCESS_STARTED]
    assert set(parts) == {child.pid, pid}
    assert parts[pid].parent_pid == child.pid or context.get_start_method() == "forkserver"


def test_executor_jobs_run_as_calls_in_the_child(probe, recorder, context):
    jobs = JobProbe(recorder, Guard(targets.stop))
    jobs.install()
    try:
        with concurrent.futures.ProcessPoolExecutor(1, mp_context=context) as pool:
            assert pool.submit(targets.work, 2).result() == 4
            assert list(pool.map(targets.work, [1, 2, 3], chunksize=2)) == [2, 4, 6]
            with pytest.raises(LookupError) as caught:
                pool.submit(targets.fail).result()
    finally:
        jobs.remove()
    assert PACKAGE not in str(caught.value.__cause__)
    [part] = probe.collect_parts(time.monotonic_ns())
    ran = [event for event in part.events if event[2] == CALL_STARTED]
    assert calls(part, CALL_JOB) == [("work", RETURNED)] * 3 + [("fail", RAISED)]
    submitted = [event[3] for event in recorder.events if event[2] == 13]
    assert [event[4] for event in ran] == submitted


def test_executor_errors_are_the_same(context):
    def errors():
        found = []
        with concurrent.futures.ProcessPoolExecutor(1, mp_context=context) as pool:
            for job in (lambda: 1, targets.fail, targets.unpicklable_result):
                try:
                    pool.submit(job).result()
                except Exception as error:
                    notes = getattr(error, "__notes__", [])
                    texts = str(error), str(error.__cause__), *notes
                    found.append((type(error), [re.sub("0x[0-9a-f]+", "0x", text) for text in texts]))
        return found

    expected = errors()
    recorder = Recorder()
    probe = targets.begin(recorder, {"functions": True})
    jobs = JobProbe(recorder, Guard(targets.stop))
    jobs.install()
    try:
        assert errors() == expected
    finally:
        jobs.remove()
        targets.end()
        probe.close()


def test_a_pool_that_is_terminated_keeps_what_it_has_sent(probe, context):
    pool = context.Pool(1, initializer=targets.initialize)
    try:
        assert pool.map(targets.work, range(4), chunksize=2) == [0, 2, 4, 6]
        assert pool.apply(targets.work, (5,)) == 10
        assert list(pool.imap_unordered(targets.work, [6])) == [12]
    finally:
        pool.terminate()
        pool.join()
    [part] = probe.collect_parts(time.monotonic_ns())
    assert calls(part, CALL_JOB) == [("work", RETURNED)] * 4


def test_a_bare_fork_records_on(probe, recorder):
    if not hasattr(os, "fork"):
        pytest.skip("no fork here")
    pid = os.fork()
    if pid == 0:
        try:
            from asynctrace.probes.calls import close_call, open_call
            from asynctrace.probes.children import current_child

            mine = targets.live[0].recorder
            close_call(open_call(mine, CALL_PROCESS, mine.text("bare")))
            assert targets.live[0].collect_parts(time.monotonic_ns()) == []
            targets.live[0].close()
            assert current_child() is not None
        finally:
            os._exit(0)
    os.waitpid(pid, 0)
    [part] = probe.collect_parts(time.monotonic_ns())
    assert (part.pid, calls(part)) == (pid, [("bare", RETURNED)])
    assert part.parent_pid == os.getpid()
    probe.collect_parts(time.monotonic_ns())
    assert started_pids(recorder) == [pid]
    assert recorder.events[0][0] <= part.start_ns


def test_a_subprocess_costs_no_folder(probe):
    subprocess.run([sys.executable, "-c", "pass"], check=True)
    assert probe._config["folder"] == ""


def test_a_killed_child_leaves_what_it_wrote_and_a_torn_end_is_ignored(probe, recorder):
    context = multiprocessing.get_context(METHODS[0])
    with concurrent.futures.ProcessPoolExecutor(1, mp_context=context) as pool:
        assert pool.submit(targets.work, 2).result() == 4
        [pid] = pool._processes
        os.kill(pid, signal.SIGKILL)
    [name] = os.listdir(probe._config["folder"])
    with open(os.path.join(probe._config["folder"], name), "ab") as file:
        file.write((1000).to_bytes(8, "little") + b"torn")
    [part] = probe.collect_parts(time.monotonic_ns())
    assert calls(part) == [("work", RETURNED)]


def test_a_child_that_outlives_the_recording_goes_on_unrecorded(recorder):
    context = multiprocessing.get_context(METHODS[0])
    probe = targets.begin(recorder, {"functions": True})
    with concurrent.futures.ProcessPoolExecutor(1, mp_context=context) as pool:
        assert pool.submit(targets.work, 2).result() == 4
        folder = probe._config["folder"]
        targets.end()
        probe.close()
        assert pool.submit(targets.work, 3).result() == 6
        assert pool.submit(targets.work, 4).result() == 8
    assert not os.path.exists(folder)


def test_a_child_whose_recording_does_not_begin_runs_as_ever(probe, context):
    probe._config["starter"] = f"{targets.__name__}:fail_to_start"
    child = context.Process(target=targets.work)
    child.start()
    child.join()
    assert child.exitcode == 0
    assert probe.collect_parts(time.monotonic_ns()) == []


def test_without_us_in_the_child_the_passenger_does_nothing(probe):
    from asynctrace.probes.processes import _Passenger

    pickled = pickle.dumps(_Passenger({"folder": "", "starter": "nowhere:f"}))
    code = "import sys, pickle; sys.modules['asynctrace'] = None; print(pickle.loads(sys.stdin.buffer.read()))"
    done = subprocess.run([sys.executable, "-I", "-c", code], input=pickled, capture_output=True, check=True)
    assert (done.stdout.strip(), done.stderr) == (b"None", b"")


def test_a_process_that_cannot_start_is_not_recorded(probe, recorder):
    child = multiprocessing.get_context("spawn").Process(target=lambda: None)
    with pytest.raises((pickle.PicklingError, AttributeError)) as caught:
        child.start()
    assert "_asynctrace" not in vars(child)
    assert started_pids(recorder) == []
    assert all(PACKAGE not in str(entry.path) for entry in caught.traceback[1:])
