"""The file that is written while the program runs: whole at the end, and up to a moment before when it is killed."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from integration import trace_rules

import asynctrace
from asynctrace import stream
from asynctrace.model.content import content
from asynctrace.model.trace import Trace

RULES = (trace_rules.states_add_up, trace_rules.steps_exclude_each_other, trace_rules.events_pair)

BUSY = """
import asyncio, threading, time

async def fetch(number):
    await asyncio.sleep(0.001 * (number % 5))
    return number

async def worker(queue):
    while True:
        number = await queue.get()
        await fetch(number)
        queue.task_done()

async def main():
    queue = asyncio.Queue()
    workers = [asyncio.create_task(worker(queue), name=f"worker {n}") for n in range(5)]
    print("up", flush=True)
    round = 0
    while True:
        for number in range(40):
            queue.put_nowait(number)
        await asyncio.gather(*(fetch(number) for number in range(20)), asyncio.to_thread(time.sleep, 0.001))
        await queue.join()
        try:
            async with asyncio.timeout(0.001):
                await asyncio.create_task(asyncio.sleep(1), name=f"round {round}")
        except TimeoutError:
            round += 1

asyncio.run(main())
"""


def check(trace: Trace) -> None:
    for rule in RULES:
        rule(trace)


def start(folder: Path, *options: str, script: str = BUSY) -> subprocess.Popen[bytes]:
    (folder / "busy.py").write_text(script)
    command = [sys.executable, "-m", "asynctrace", "run", "-q", "-o", "out.pftrace", *options, "busy.py"]
    process = subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE)
    assert process.stdout is not None and process.stdout.readline() == b"up\n"
    return process


def kill(process: subprocess.Popen[bytes]) -> int:
    """Kill a process; return when it was alive for sure, in monotonic nanoseconds."""
    alive_ns = time.monotonic_ns()
    process.kill()
    process.wait(timeout=60)
    assert process.stdout is not None
    process.stdout.close()
    return alive_ns


def test_what_is_written_while_the_program_runs_loads_as_the_recordings_own_trace(tmp_path: Path) -> None:
    async def child() -> None:
        for _ in range(20):
            await asyncio.sleep(0.002)

    async def main() -> None:
        async with asyncio.TaskGroup() as group:
            for number in range(10):
                group.create_task(child(), name=f"child {number}")

    path = tmp_path / "out.pftrace"
    with asynctrace.record(output=path) as recording:
        asyncio.run(main())
        deadline = time.monotonic() + 60
        while path.stat().st_size < 10_000:  # of some 40,000: the events come while the recording runs
            assert time.monotonic() < deadline
            time.sleep(0.01)

    assert content(asynctrace.load(path)) == content(recording.trace)
    assert recording.output_error is None and os.listdir(tmp_path) == ["out.pftrace"]


def test_run_with_an_output_streams_it_too(tmp_path: Path) -> None:
    async def main() -> int:
        return len(os.listdir(tmp_path))

    assert asynctrace.run(main(), output=tmp_path / "out.pftrace") == 1
    assert [task.label for task in asynctrace.load(tmp_path / "out.pftrace").tasks if not task.is_internal] == ["main"]


def test_a_program_that_is_killed_leaves_what_it_did_up_to_a_second_before(tmp_path: Path) -> None:
    process = start(tmp_path)
    time.sleep(1.5)

    alive_ns = kill(process)

    trace = asynctrace.load(tmp_path / "out.pftrace")
    check(trace)
    assert trace.end_ns > alive_ns - 1_000_000_000
    assert "the file was cut short: what was recorded after the cut is missing" in trace.notes
    assert {task.name for task in trace.tasks} >= {f"worker {number}" for number in range(5)}
    assert trace.lost == 0


def test_a_program_that_never_idles_is_written_too_while_it_runs(tmp_path: Path) -> None:
    """Its loop lets go of the interpreter at each turn, and has it back before any other thread is awake."""

    async def spin() -> None:
        sink: Any = stream.current.recorder.sinks[0]  # type: ignore[union-attr]
        deadline = time.monotonic() + 15
        for position in (1, 20_000, 40_000):
            while sink.position < position and time.monotonic() < deadline:
                await asyncio.sleep(0)
        positions.append(sink.position)

    async def main() -> None:
        await asyncio.gather(*(spin() for _ in range(20)))

    positions: list[int] = []
    with asynctrace.record(output=tmp_path / "out.pftrace"):
        asyncio.run(main())

    assert min(positions) >= 40_000


def test_a_service_stays_below_its_limit_on_disk_and_tells_what_it_dropped(tmp_path: Path) -> None:
    process = start(tmp_path, "--limit-disk", "1M")
    sizes = []
    begin = time.monotonic()
    while time.monotonic() - begin < 60:
        size = 0
        for path in tmp_path.glob("*out.pftrace*"):
            with contextlib.suppress(FileNotFoundError):  # it went meanwhile
                size += path.stat().st_size
        sizes.append(size)
        if len(sizes) > 100 and any(later < size // 2 for size, later in itertools.pairwise(sizes)):
            break  # the oldest segments went
        time.sleep(0.02)

    kill(process)

    trace = asynctrace.load(tmp_path / "out.pftrace")
    check(trace)
    assert max(sizes) < 1.2 * (1 << 20)
    assert trace.lost > 0
    assert [note for note in trace.notes if f"{trace.lost:,} earlier events were dropped" in note]
    workers = [task for task in trace.tasks if task.name.startswith("worker")]
    assert len(workers) == 5 and all(task.is_clipped and task.created_ns == trace.start_ns for task in workers)


def test_a_full_disk_ends_the_writing_with_one_warning_and_the_program_goes_on(tmp_path: Path) -> None:
    script = (
        "import resource, sys\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))\n"
        "import asyncio\n"
        "async def main():\n"
        "    for number in range(2_000):\n"
        "        await asyncio.sleep(0)\n"
        "    await asyncio.sleep(0.5)\n"
        "    return 7\n"
        "sys.exit(asyncio.run(main()))\n"
    )
    (tmp_path / "script.py").write_text(script)

    done = subprocess.run(
        [sys.executable, "-m", "asynctrace", "run", "-o", "out.pftrace", "script.py"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert done.returncode == 7 and done.stdout == ""
    warned, told = done.stderr.splitlines()
    assert warned.endswith("out.pftrace: File too large: the trace ends here, the program goes on")
    assert told == "asynctrace: out.pftrace ends early: File too large"
    trace = asynctrace.load(tmp_path / "out.pftrace")
    assert (tmp_path / "out.pftrace").stat().st_size <= 20_000
    assert [task.label for task in trace.tasks] == ["main"] and trace.tasks[0].outcome == "unfinished"
    assert any("cut short" in note for note in trace.notes)


def test_a_file_that_cannot_be_opened_is_told_before_the_program_runs(tmp_path: Path) -> None:
    with pytest.raises(asynctrace.UsageError, match=r"the folder .*nowhere does not exist"):
        asynctrace.record(output=tmp_path / "nowhere" / "out.pftrace").start()
    assert stream.current is None


def test_events_that_memory_could_not_hold_until_they_were_written_are_told_as_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from asynctrace.streaming import FileSink

    real = FileSink.take
    is_slow = True
    monkeypatch.setattr(FileSink, "take", lambda sink, at_once: not is_slow and real(sink, at_once))

    async def spin() -> None:
        history = stream.current.recorder.history  # type: ignore[union-attr]
        while not history.first:
            for _ in range(200):
                await asyncio.sleep(0)
            await asyncio.sleep(0.001)

    async def main() -> None:
        nonlocal is_slow
        waits = asyncio.create_task(asyncio.Event().wait(), name="waits")
        await asyncio.create_task(spin())
        is_slow = False
        await asyncio.create_task(asyncio.sleep(0.01), name="after")
        waits.cancel()

    path = tmp_path / "out.pftrace"
    with asynctrace.record(output=path, limit_bytes=1 << 20) as recording:
        asyncio.run(main())

    trace = asynctrace.load(path)
    check(trace)
    assert trace.lost == recording.trace.lost > 0
    assert content(trace) == content(recording.trace)


def test_a_segment_begins_at_the_event_at_which_one_is_due(tmp_path: Path) -> None:
    from asynctrace.events import MARK
    from asynctrace.recorder import make_recorder
    from asynctrace.streaming import FileSink

    recorder = make_recorder()
    recorder.begin()
    thread, site = recorder.local.state.id, recorder.text("mark")
    for number in range(20_000):
        recorder.append((recorder.start_ns + number, thread, MARK, 0, 0, site, 0))
    recorder.settle()
    sink = FileSink(recorder, tmp_path / "out.pftrace", 1 << 19)
    sink.begin()
    while sink.take(100):
        assert not sink._file.wants_segment
    sink.finish(recorder.start_ns + 20_000, recorder.cpu_ns(), [])

    trace = asynctrace.load(tmp_path / "out.pftrace")
    assert trace.lost > 0 and trace.lost + len(trace.marks) == 20_000


@pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning")  # libraries of other tests have threads
def test_a_forked_child_leaves_the_parents_file_alone(tmp_path: Path) -> None:
    path = tmp_path / "out.pftrace"

    async def main() -> None:
        await asyncio.sleep(0.15)
        child = os.fork()
        if not child:
            try:
                for _ in range(5):
                    time.sleep(0.1)
            finally:
                os._exit(0)
        await asyncio.sleep(0.3)
        os.waitpid(child, 0)

    with asynctrace.record(output=path) as recording:
        asyncio.run(main())

    assert content(asynctrace.load(path)) == content(recording.trace)


def test_a_recording_inside_another_saves_its_output_at_its_end(tmp_path: Path) -> None:
    async def main() -> None:
        with asynctrace.record(output=tmp_path / "inner.pftrace"):
            await asyncio.create_task(asyncio.sleep(0), name="inner")
        await asyncio.create_task(asyncio.sleep(0), name="outer")

    with asynctrace.record(output=tmp_path / "outer.pftrace"):
        asyncio.run(main())

    inner, outer = (asynctrace.load(tmp_path / f"{name}.pftrace") for name in ("inner", "outer"))
    assert "outer" not in {task.name for task in inner.tasks} >= {"inner"}
    assert {task.name for task in outer.tasks} >= {"inner", "outer"}


def test_a_failing_hook_leaves_a_whole_file(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> int:
        await asyncio.sleep(0)
        running = stream.current
        assert running is not None
        running.guard(running.recorder.names.pop, "no such task")
        await asyncio.sleep(0)
        return 5

    with (
        caplog.at_level(logging.WARNING, "asynctrace"),
        asynctrace.record(output=tmp_path / "out.pftrace") as recording,
    ):
        assert asyncio.run(main()) == 5

    assert content(asynctrace.load(tmp_path / "out.pftrace")) == content(recording.trace)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("times", "options"), [(50, ()), (20, ("--limit-disk", "1M")), (20, ("--limit", "1M", "--limit-disk", "1M"))]
)
def test_killed_at_fifty_random_moments_it_leaves_a_right_trace_each_time(
    tmp_path: Path, times: int, options: tuple[str, ...]
) -> None:
    moments = random.Random(len(options))
    for number in range(times):
        process = start(tmp_path, *options)
        time.sleep(moments.random() * (4 if number % 5 == 0 else 0.6))
        alive_ns = kill(process)
        trace = asynctrace.load(tmp_path / "out.pftrace")
        check(trace)
        assert trace.end_ns > alive_ns - 1_000_000_000, (number, (alive_ns - trace.end_ns) / 1e9)
        hidden = [name for name in os.listdir(tmp_path) if name.startswith(".")]
        assert len(hidden) <= 1, hidden  # what the next run removes


@pytest.mark.skipif(not hasattr(signal, "SIGUSR2"), reason="there is no such signal here")
def test_a_signal_has_a_snapshot_saved_while_the_program_runs_on(tmp_path: Path) -> None:
    script = BUSY.replace(
        "asyncio.run(main())",
        "import signal\nsignal.signal(signal.SIGUSR2, lambda *_: print('mine', flush=True))\nasyncio.run(main())",
    )
    process = start(tmp_path, "--snapshot-signal", "usr2", script=script)
    assert process.stdout is not None
    for number in (1, 2):
        time.sleep(0.2)
        process.send_signal(signal.SIGUSR2)
        assert process.stdout.readline() == b"mine\n"  # the program's own handler is called as before
        path = tmp_path / f"out-{process.pid}-{number}.pftrace"
        deadline = time.monotonic() + 60
        while not path.exists():
            assert process.poll() is None and time.monotonic() < deadline
            time.sleep(0.02)
        trace = asynctrace.load(path)
        check(trace)
        assert {task.name for task in trace.tasks} >= {f"worker {worker}" for worker in range(5)} and not trace.notes
    kill(process)


def test_a_step_that_holds_its_loop_has_a_snapshot_saved_that_says_where(tmp_path: Path) -> None:
    script = (
        "import asyncio, glob, time\n"
        "def grind():\n"
        "    begin = time.monotonic()\n"
        "    while not glob.glob('out-*.pftrace') and time.monotonic() < begin + 20:\n"
        "        pass\n"
        "async def holds():\n"
        "    grind()\n"
        "async def main():\n"
        "    await asyncio.gather(holds(), asyncio.sleep(0.01))\n"
        "    await asyncio.sleep(0.05)\n"
        "    time.sleep(0.4)\n"  # not again within a minute
        "asyncio.run(main())\n"
    )
    (tmp_path / "script.py").write_text(script)

    subprocess.run(
        [
            sys.executable,
            "-m",
            "asynctrace",
            "run",
            "-o",
            "out.pftrace",
            "--snapshot-when-blocked",
            "0.25",
            "script.py",
        ],
        cwd=tmp_path,
        check=True,
        timeout=60,
    )

    [path] = tmp_path.glob("out-*.pftrace")
    trace = asynctrace.load(path)
    check(trace)
    [mark] = trace.marks
    assert mark.text.startswith("the loop has been held for ") and " at script.py:" in mark.text
    assert mark.text.endswith(" (grind)")
    [holds] = [task for task in trace.tasks if task.label == "holds"]
    assert holds.states[-1].kind == "running" and holds.states[-1].end_ns - holds.states[-1].start_ns >= 250_000_000


@pytest.mark.skipif(not hasattr(signal, "SIGUSR2"), reason="there is no such signal here")
def test_the_environment_asks_for_limits_and_snapshots_of_a_server(tmp_path: Path) -> None:
    script = (
        "import asyncio, glob, os, signal, asynctrace\n"
        "async def serve():\n"
        "    await asyncio.sleep(0.1)\n"
        "    os.kill(os.getpid(), signal.SIGUSR2)\n"
        "    while not glob.glob('out-*-1.pftrace'):\n"
        "        await asyncio.sleep(0.01)\n"
        "    history = __import__('asynctrace.stream').stream.current.recorder.history\n"
        "    print(history.limit_bytes, signal.getsignal(signal.SIGUSR2).__module__)\n"
        "with asyncio.Runner(loop_factory=asynctrace.new_event_loop) as runner:\n"
        "    runner.run(serve())\n"
    )
    environment = {
        **os.environ,
        "ASYNCTRACE_OUTPUT": "out-{pid}.pftrace",
        "ASYNCTRACE_LIMIT": "2M",
        "ASYNCTRACE_LIMIT_DISK": "3M",
        "ASYNCTRACE_SNAPSHOT_SIGNAL": "USR2",
    }

    done = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60
    )

    assert (done.returncode, done.stdout, done.stderr) == (0, f"{2 << 20} asynctrace.snapshots\n", "")
    [snapshot] = tmp_path.glob("out-*-1.pftrace")
    [whole] = set(tmp_path.glob("out-*.pftrace")) - {snapshot}
    tasks = [[task.label for task in asynctrace.load(path).tasks] for path in (snapshot, whole)]
    assert tasks[0] == ["serve"] and tasks[1][0] == "serve"
    assert not asynctrace.load(whole).notes
