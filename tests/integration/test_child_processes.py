"""Programs that fork, spawn, pool and kill: they do what they did, and their children's work is in the trace."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
import traceback
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

import pytest
from integration import child_programs as programs
from integration.both_ways import both_ways
from integration.trace_rules import check

import asynctrace
from asynctrace import cores, stream
from asynctrace.model.trace import Trace
from asynctrace.recorder import Keeper

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
METHODS = multiprocessing.get_all_start_methods()
ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True, scope="module")
def nothing_of_others_in_a_fork() -> None:
    """Collect what earlier tests left: OpenTelemetry's providers, as long as they live, have threads in every child."""
    gc.collect()


def forked(work: Callable[[], Any]) -> int:
    """Fork a child that does some work and is gone; return its pid."""
    pid = os.fork()
    if pid:
        return pid
    status = 1
    try:
        work()
        status = 0
    except BaseException:
        sys.excepthook(*sys.exc_info())
    finally:
        os._exit(status)


def exit_code(pid: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def tasks_of(trace: Trace, pid: int) -> list[Any]:
    return [task for task in trace.tasks if task.loop is not None and task.loop.thread.process.pid == pid]


# Every way to have a child.

EVERY_WAY = """
import asyncio, multiprocessing, os, subprocess, sys, threading, warnings
warnings.simplefilter("error", DeprecationWarning)
from concurrent.futures import ProcessPoolExecutor
from integration import child_programs as programs

def forked(work):
    pid = os.fork()
    if pid:
        print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)
        return
    work()
    os._exit(7)

def nested():
    forked(programs.run_loop)
    programs.run_loop()

async def subprocesses():
    command = [sys.executable, "-S", "-c", "print(5)"]
    process = await asyncio.create_subprocess_exec(*command, stdout=subprocess.PIPE)
    print((await process.communicate())[0])
    process = await asyncio.create_subprocess_shell("exit 3")
    print(await process.wait(), subprocess.run(command, capture_output=True).stdout)
    print(subprocess.run(command, capture_output=True, preexec_fn=os.getpid).stdout)

async def fork_in_loop():
    await programs.leaf(1)
    forked(lambda: None)
    print(await programs.gather_leaves(3))

if __name__ == "__main__":
    print(programs.run_loop())
    forked(lambda: None)
    forked(lambda: os.execv("/bin/sh", ["sh", "-c", "exit 3"]))
    forked(lambda: sys.exit(programs.run_loop()) if False else programs.run_loop())
    forked(nested)
    print(programs.run_loop())
    context = multiprocessing.get_context("fork")
    process = context.Process(target=programs.run_grandchild, args=("fork",))
    process.start()
    process.join()
    print(process.exitcode)
    with ProcessPoolExecutor(2, mp_context=context) as pool:
        print(programs.results_of(pool))
    asyncio.run(fork_in_loop())
    print(asyncio.run(programs.in_pool("fork")))
    asyncio.run(subprocesses())
    print(threading.active_count(), [thread.name for thread in threading.enumerate()])
    print(programs.run_loop())
"""


def said_by(program: str, folder: Path, *options: str) -> str:
    script = folder / "script.py"
    script.write_text(program)
    done = subprocess.run(
        [sys.executable, *options, str(script)],
        capture_output=True,
        text=True,
        timeout=100,
        cwd=folder,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "tests")])},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


def test_every_way_to_have_a_child_works_without_a_warning(tmp_path: Path) -> None:
    plain = said_by(EVERY_WAY, tmp_path)
    assert said_by(EVERY_WAY, tmp_path, "-m", "asynctrace", "run", "-q", "-o", "out.pftrace") == plain

    trace = asynctrace.load(tmp_path / "out.pftrace")
    check(trace)
    mains = [task for task in trace.tasks if task.label == "gather_leaves"]
    pids = {task.loop.thread.process.pid for task in mains if task.loop is not None and task.loop.thread is not None}
    assert len(pids) >= 8  # the parent, two children and a grandchild of bare forks, a Process and its child, workers
    assert {task.outcome for task in mains} == {"returned"}


@pytest.mark.parametrize("method", METHODS)
def test_loops_of_children_are_in_the_trace(method: str) -> None:
    with asynctrace.record() as recording:
        process = multiprocessing.get_context(method).Process(target=programs.run_grandchild, args=(method,))
        process.start()
        process.join()

    trace = recording.trace
    check(trace)
    assert process.exitcode == 0
    tasks = [task for task in trace.tasks if not task.is_internal]
    assert [task.outcome for task in tasks] == ["returned"] * 8
    assert len({task.loop.thread.process.pid for task in trace.tasks}) == 2  # type: ignore[union-attr]
    assert len(trace.processes) == 3


@pytest.mark.parametrize("method", METHODS)
def test_a_pool_that_a_loop_hands_work_to(method: str) -> None:
    with asynctrace.record() as recording:
        results = asyncio.run(programs.in_pool(method))

    assert results == [0, 0, 1, 3]
    check(recording.trace)
    assert len([task for task in recording.trace.tasks if task.label == "gather_leaves"]) == 4
    assert [job.outcome for job in recording.trace.jobs] == ["returned"] * 4


# Children that die, and parents.


def test_a_child_that_is_killed_leaves_what_it_did_up_to_a_second_before() -> None:
    reading, writing = os.pipe()

    async def child() -> None:
        waiter = asyncio.create_task(asyncio.Event().wait(), name="waiter")
        for number in range(100_000):
            await asyncio.create_task(programs.leaf(number), name=f"leaf {number}")
            if time.monotonic_ns() - begun_ns > 1_000_000_000:
                os.write(writing, b".")
        await waiter

    begun_ns = time.monotonic_ns()
    with asynctrace.record() as recording:
        pid = forked(lambda: asyncio.run(child()))
        os.read(reading, 1)
        killed_ns = time.monotonic_ns()
        os.kill(pid, signal.SIGKILL)
        assert exit_code(pid) == -signal.SIGKILL
    os.close(reading)
    os.close(writing)

    trace = recording.trace
    check(trace)
    process = next(process for process in trace.processes if process.pid == pid)
    assert killed_ns - 1_000_000_000 < process.finished_ns < killed_ns
    tasks = {task.name: task for task in tasks_of(trace, pid)}
    assert tasks["waiter"].outcome == "unfinished" and tasks["waiter"].states[-1].kind == "waiting"
    assert len(tasks) > 10
    assert [task.name for task in tasks.values() if task.outcome == "unfinished" and "leaf" in task.name] in (
        [],
        [f"leaf {len(tasks) - 3}"],
    )


def test_a_pool_whose_worker_dies_is_broken_as_before() -> None:
    def program() -> list[str]:
        said = []
        with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("fork")) as pool:
            first = pool.submit(programs.run_loop)
            said.append(repr(first.result()))
            for work in (programs.die, programs.run_loop):
                try:
                    pool.submit(work).result()
                except BrokenProcessPool as error:
                    said.append(str(error))
        return said

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        trace = both_ways(program)

    check(trace)
    outcomes = {job.name: job.outcome for job in trace.jobs}
    assert outcomes["run_loop"] == "returned" and outcomes["die"] == "unfinished"


def test_a_parent_that_is_killed_leaves_a_trace_and_its_children_alone(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text("""
import asyncio, os, sys, time
from integration import child_programs as programs
import asynctrace

asynctrace.record(output="out.pftrace").start()
parent = os.getpid()
if not os.fork():
    print("up", flush=True)
    while os.getppid() == parent:
        programs.run_loop()
    print(programs.run_loop(), flush=True)
    os._exit(0)
asyncio.run(programs.yield_often(10**9))
""")
    process = subprocess.Popen(
        [sys.executable, str(script)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=tmp_path,
        env={
            **os.environ,
            "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "tests")]),
            "TMPDIR": str(tmp_path),
        },
    )
    assert process.stdout is not None
    process.stdout.readline()
    deadline_s = time.monotonic() + 60
    while time.monotonic() < deadline_s:
        files = list(tmp_path.glob("*.pftrace")) + list(tmp_path.glob(".*.new"))
        if any(file.stat().st_size > 10_000 for file in files):
            break
        time.sleep(0.01)
    process.kill()
    said, complained = process.communicate(timeout=60)  # the child has written its last word by then

    assert (said, complained) == (b"3\n", b"")
    check(asynctrace.load(tmp_path / "out.pftrace"))


# The keeper, and what a fork takes along.


def threads_of_system() -> set[str]:
    return set(os.listdir("/proc/self/task"))


def is_a_keeper_there() -> bool:
    """Tell whether a keeper runs Python code: the one of the test before may be about to end."""
    stacks = (traceback.walk_stack(frame) for frame in sys._current_frames().values())
    return any(frame.f_code is Keeper._run.__code__ for stack in stacks for frame, _ in stack)


needs_proc = pytest.mark.skipif(not os.path.exists("/proc/self/task"), reason="needs /proc")


def wait_until(is_so: Callable[[], bool]) -> None:
    deadline_s = time.monotonic() + 60
    while not is_so():
        assert time.monotonic() < deadline_s
        time.sleep(0.005)


@needs_proc
def test_the_recordings_own_thread_is_seen_by_none_of_threadings_functions() -> None:
    def view() -> tuple[Any, ...]:
        return (
            threading.active_count(),
            [(thread.name, thread.ident) for thread in threading.enumerate()],
            threading.current_thread(),
        )

    wait_until(lambda: not is_a_keeper_there())
    before, earlier = view(), threads_of_system()
    others = len(sys._current_frames()) - threading.active_count()  # of those who run the tests
    with asynctrace.record(limit_bytes=1 << 20):
        programs.run_many_steps(20_000)
        wait_until(lambda: len(threads_of_system() - earlier) == 1)
        programs.run_loop()

        assert view() == before
        assert len(sys._current_frames()) == threading.active_count() + others + 1  # the only place where it shows
    wait_until(lambda: threads_of_system() <= earlier)  # for the system it is there a moment longer
    assert len(sys._current_frames()) == threading.active_count() + others


@needs_proc
def test_after_a_fork_memory_is_bounded_again_and_a_child_has_a_thread_only_if_it_does_something() -> None:
    def idle_child() -> None:
        time.sleep(0.15)
        assert len(threads_of_system()) == 1

    def busy_child() -> None:
        assert len(threads_of_system()) == 1
        programs.run_loop()
        wait_until(lambda: len(threads_of_system()) == 2)
        assert exit_code(forked(idle_child)) == 0

    earlier = threads_of_system()
    with asynctrace.record(limit_bytes=1 << 20) as recording:
        history = stream.current.recorder.history  # type: ignore[union-attr]
        programs.run_many_steps(20_000)
        wait_until(lambda: len(threads_of_system() - earlier) == 1)
        with warnings.catch_warnings():
            # Whoever runs the tests may have a thread of their own.
            warnings.simplefilter("error" if len(earlier) == 1 else "ignore", DeprecationWarning)
            codes = [exit_code(forked(child)) for child in (idle_child, busy_child)]
        assert codes == [0, 0]
        for _ in range(3):
            programs.run_many_steps(20_000)
            wait_until(lambda: not history.is_over_limit())
        assert len(threads_of_system() - earlier) == 1
        wait_until(lambda: history.first > 0)
        assert history.used_bytes <= 1 << 20

    check(recording.trace)
    assert recording.trace.lost == recording.trace.dropped > 0


def test_a_program_that_is_started_is_no_fork(monkeypatch: pytest.MonkeyPatch) -> None:
    left: list[Keeper] = []
    command = [sys.executable, "-S", "-c", ""]

    async def main() -> None:
        process = await asyncio.create_subprocess_exec(*command)
        assert await process.wait() == 0
        await asyncio.to_thread(subprocess.run, command, check=True)

    with asynctrace.record() as recording:
        monkeypatch.setattr(stream.current.recorder, "detach", lambda: left.append(True))  # type: ignore
        asyncio.run(main())
        assert stream.current._processes._config["folder"] == ""  # type: ignore[union-attr]

    assert left == []
    check(recording.trace)


# Forks in the middle of everything.


@contextlib.contextmanager
def busy_threads(count: int) -> Iterator[None]:
    """Loops and plain calls on several threads, which record as much as they can."""
    is_over = threading.Event()

    async def run_on() -> None:
        while not is_over.is_set():
            await programs.gather_leaves(5)
            await asyncio.to_thread(int)

    threads = [threading.Thread(target=lambda: asyncio.run(run_on())) for _ in range(count)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        is_over.set()
        for thread in threads:
            thread.join()


def fork_in_the_middle(count: int, tmp_path: Path) -> None:
    codes: list[int] = []

    def fork_often() -> None:
        for _ in range(count):
            pid = forked(programs.run_loop)
            deadline_s = time.monotonic() + 60
            while True:
                found, status = os.waitpid(pid, os.WNOHANG)
                if found:
                    codes.append(os.waitstatus_to_exitcode(status))
                    break
                if time.monotonic() > deadline_s:
                    os.kill(pid, signal.SIGKILL)
                time.sleep(0.001)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of the program's own threads
        recording = asynctrace.record(output=tmp_path / "out.pftrace", limit_bytes=4 << 20)  # enough for all parts
        with recording, busy_threads(2):
            thread = threading.Thread(target=fork_often)
            thread.start()
            fork_often()
            thread.join()

    assert codes == [0] * 2 * count
    for trace in (recording.trace, asynctrace.load(tmp_path / "out.pftrace")):
        check(trace)
        assert len(trace.processes) == 2 * count + 1


def test_forks_in_the_middle_of_recording_threads_hang_nowhere(tmp_path: Path) -> None:
    fork_in_the_middle(8, tmp_path)


@pytest.mark.slow
def test_two_hundred_forks_in_the_middle_of_recording_threads_hang_nowhere(tmp_path: Path) -> None:
    fork_in_the_middle(100, tmp_path)


# What children leave is bounded.


def test_a_busy_child_keeps_its_newest_events_whole_and_says_what_it_dropped() -> None:
    with asynctrace.record(limit_bytes=1 << 20) as recording:
        rounds = 4 if cores.core() == "python" else 30  # whose events are smaller
        assert exit_code(forked(lambda: [programs.run_many_steps(10_000) for _ in range(rounds)])) == 0

    trace = recording.trace
    check(trace)
    process = next(each for each in trace.processes if not each.is_main)
    assert trace.lost == trace.dropped > 10_000
    assert [note for note in trace.notes if note.startswith(f"process {process.pid} ")]
    tasks = tasks_of(trace, process.pid)
    assert tasks[-1].outcome == "returned"
    assert len(trace.parts[1].events) > 3_000


def size_of_files(folder: str) -> int:
    size = 0
    for entry in os.scandir(folder):
        with contextlib.suppress(FileNotFoundError):  # it went meanwhile
            size += entry.stat().st_size
    return size


def leave_many_children(count: int, steps: int) -> tuple[Trace, int]:
    """Run children one after the other; return the trace, and how much they had on disk at most."""
    most = 0
    with asynctrace.record(limit_bytes=1 << 20) as recording:
        for _ in range(count):
            assert exit_code(forked(lambda: programs.run_many_steps(steps))) == 0
            programs.run_loop()  # the parent does something in between
            folder = stream.current._processes._config["folder"]  # type: ignore[union-attr]
            most = max(most, size_of_files(folder))
    return recording.trace, most


def test_of_many_short_children_the_newest_are_kept_and_a_note_counts_the_events_of_the_others() -> None:
    trace, _ = leave_many_children(30, 1_000 if sys.version_info >= (3, 12) else 3_000)

    check(trace)
    assert 2 < len(trace.processes) < 31
    assert trace.lost == trace.dropped > 1_000
    assert [note for note in trace.notes if note.endswith("their parts took too much room")]
    assert [process.started_ns for process in trace.processes] == sorted(
        process.started_ns for process in trace.processes
    )
    assert tasks_of(trace, trace.processes[-1].pid)


def test_what_is_dropped_only_when_the_recording_ends_is_told_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("asynctrace.probes.part_folder._EVERY_NS", 1 << 62)

    trace, _ = leave_many_children(8, 3_000)

    check(trace)
    assert len(trace.processes) < 9
    assert trace.lost == trace.dropped > 1_000
    assert [note for note in trace.notes if note.endswith("their parts took too much room")]


@pytest.mark.slow
def test_two_hundred_children_one_after_the_other_do_not_fill_the_disk() -> None:
    trace, most = leave_many_children(200, 1_500)

    check(trace)
    assert most < 30 << 20  # of 80; what comes between two looks is above the limit
    assert len(trace.processes) < 15
