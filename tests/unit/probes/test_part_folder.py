"""What children leave on disk is bounded: in each part, and in the folder of all."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from asynctrace import clock
from asynctrace import events as ev
from asynctrace.probes.part_folder import FolderBound
from asynctrace.probes.parts import PartWriter, count_events, files_of, read_parts
from asynctrace.recorder import Recorder

LIMIT_BYTES = 1 << 20


def recorder_of(pid: int) -> Recorder:
    recorder = Recorder(LIMIT_BYTES)
    recorder.pid = pid
    recorder.begin()
    return recorder


def add_events(recorder: Recorder, count: int) -> None:
    thread = recorder.local.state.id
    for _ in range(count):
        recorder.append((clock.now_ns(), thread, ev.MARK, 0, 0, recorder.text("mark"), 0))


def leave_part(folder: Path, pid: int, count: int) -> int:
    """Write a part of that many events; return its size."""
    writer = PartWriter(recorder_of(pid), str(folder))
    add_events(writer.recorder, count)
    writer.flush()
    return os.path.getsize(writer.path)


@pytest.fixture
def ended_pids() -> list[int]:
    pids = []
    for _ in range(3):
        process = subprocess.Popen([sys.executable, "-S", "-c", ""])
        process.wait()
        pids.append(process.pid)
    return pids


def test_a_part_that_is_written_for_long_keeps_its_newest_events_and_counts_the_others(tmp_path: Path) -> None:
    writer = PartWriter(recorder_of(77), str(tmp_path))
    recorder, total = writer.recorder, 0
    for _ in range(60):
        add_events(recorder, 2_000)
        total += 2_000
        writer.flush()
        for _ in writer.make_room():
            pass
        while recorder.drop_oldest():
            pass

        assert sum(path.stat().st_size for path in tmp_path.iterdir()) < LIMIT_BYTES
        assert count_events(files_of(str(tmp_path))[77, recorder.start_ns]) == total

    ((part, _),) = read_parts(str(tmp_path))
    assert part.events[0][2] == ev.LOST
    marks = [event for event in part.events if event[2] == ev.MARK]
    assert part.events[0][4] + len(marks) == total
    assert [event[0] for event in marks] == sorted(event[0] for event in marks)
    assert min(event[0] for event in marks) >= part.start_ns


def test_events_that_memory_could_not_keep_until_they_were_written_are_counted(tmp_path: Path) -> None:
    writer = PartWriter(recorder_of(77), str(tmp_path))
    recorder = writer.recorder
    add_events(recorder, 10)
    writer.flush()
    add_events(recorder, 100_000)
    recorder.settle()
    while recorder.drop_oldest():
        pass
    add_events(recorder, 5)
    writer.flush()

    ((part, _),) = read_parts(str(tmp_path))
    marks = [event for event in part.events if event[2] == ev.MARK]
    assert part.events[0][2] == ev.LOST and part.events[0][4] + len(marks) == 100_015
    assert count_events(files_of(str(tmp_path))[77, recorder.start_ns]) == 100_015


def test_parts_of_processes_that_have_ended_go_the_oldest_first(tmp_path: Path, ended_pids: list[int]) -> None:
    sizes = [leave_part(tmp_path, pid, 1_000) for pid in ended_pids]
    bound = FolderBound(str(tmp_path), sizes[1] + sizes[2])

    assert bound.drop_oldest() == 1_000
    assert [part.pid for part, _ in read_parts(str(tmp_path))] == ended_pids[1:]
    assert bound.drop_oldest(at_once=True) == 0


def test_the_part_of_a_process_that_runs_stays(tmp_path: Path, ended_pids: list[int]) -> None:
    leave_part(tmp_path, os.getpid(), 1_000)
    leave_part(tmp_path, ended_pids[0], 700)
    leave_part(tmp_path, ended_pids[1], 200)

    assert FolderBound(str(tmp_path), 100).drop_oldest() == 700
    assert [part.pid for part, _ in read_parts(str(tmp_path))] == [os.getpid(), ended_pids[1]]  # and the newest


def test_a_process_that_nobody_has_waited_for_has_ended(tmp_path: Path) -> None:
    if not os.path.exists("/proc/self/stat"):
        pytest.skip("needs /proc")
    process = subprocess.Popen([sys.executable, "-S", "-c", ""])
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    leave_part(tmp_path, process.pid, 300)
    leave_part(tmp_path, os.getpid(), 1)

    assert FolderBound(str(tmp_path), 100).drop_oldest() == 300
    process.wait()


def test_the_folder_is_looked_at_from_time_to_time(tmp_path: Path, ended_pids: list[int]) -> None:
    bound = FolderBound(str(tmp_path), 100)
    assert bound.drop_oldest() == 0
    leave_part(tmp_path, ended_pids[0], 300)
    leave_part(tmp_path, ended_pids[1], 1)

    assert bound.drop_oldest() == 0
    assert bound.drop_oldest(at_once=True) == 300
