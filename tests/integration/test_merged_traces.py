"""What is in a merged trace is what was in its parts, on one clock: of made-up, of generated and of real programs."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from integration import trace_rules as rules
from integration.merged_parts import is_union, merged, moved
from integration.test_convert import START_NS, part_of

import asynctrace
from asynctrace import events as kinds
from asynctrace.cli import main
from asynctrace.events import Part
from asynctrace.formats import load, load_parts, save_parts
from asynctrace.formats.merging import merge_recordings
from tests.strategies_parts import example_part, program_parts
from tests.trace_processor import ERRORS, ask

_SETTINGS = settings(
    max_examples=30,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
SECOND = 10**9


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@_SETTINGS
@given(program_parts(), program_parts(pid=200), program_parts(pid=300), st.integers(0, SECOND), st.integers(0, SECOND))
def test_the_merged_trace_is_the_union_of_its_parts(
    folder: Path, one: Part, two: Part, three: Part, later: int, latest: int
) -> None:
    whole = merged(one, moved(two, later), moved(three, latest))
    is_union(whole, [load(f"{number}.pftrace") for number in range(3)])


@_SETTINGS
@given(program_parts(), program_parts(), st.integers(0, SECOND))
def test_so_it_is_of_two_processes_that_have_one_pid(folder: Path, one: Part, two: Part, later: int) -> None:
    whole = merged(one, moved(two, 1000 * SECOND + later))
    is_union(whole, [load("0.pftrace"), load("1.pftrace")])
    assert [process.pid for process in whole.processes] == [100, 1 << 22]
    (note,) = whole.notes
    assert note.endswith(": its own number is 100, which a process of another recording has, too")


@_SETTINGS
@given(program_parts(), program_parts(pid=200))
def test_what_is_written_is_what_is_read(folder: Path, one: Part, two: Part) -> None:
    save_parts((one,), "a.pftrace")
    save_parts((two,), "b.pftrace")
    parts, window, _ = merge_recordings(["a.pftrace", "b.pftrace"])
    save_parts(parts, "c.pftrace", window)
    assert load_parts("c.pftrace") == list(parts)
    assert asynctrace.load("c.pftrace") == asynctrace.model.build.build_trace(parts, window=window)


def test_of_three_containers_each_gets_a_number(folder: Path) -> None:
    parts = [example_part(seed=seed, pid=1) for seed in (1, 2, 3)]
    whole = merged(*parts)
    is_union(whole, [load(f"{number}.pftrace") for number in range(3)])
    assert [process.pid for process in whole.processes] == [1, 1 << 22, (1 << 22) + 1]


def test_a_merged_one_can_be_merged_again(folder: Path) -> None:
    at_once = merged(part_of(3, 100, "a.py"), part_of(3, 200, "b.py"), moved(part_of(3, 200, "c.py"), 7))
    save_parts((part_of(3, 100, "a.py"), part_of(1, 101, "a.py")), "a.pftrace")
    save_parts((part_of(3, 200, "b.py"),), "b.pftrace")
    save_parts((moved(part_of(3, 200, "c.py"), 7),), "c.pftrace")
    assert main(["merge", "a.pftrace", "b.pftrace", "-o", "ab.pftrace.gz"]) == 0
    assert main(["merge", "ab.pftrace.gz", "c.pftrace", "-o", "abc.pftrace"]) == 0
    again = load("abc.pftrace")
    assert [process.name for process in again.processes] == ["a", "a MainProcess", "b", "c"]
    assert [process.is_root for process in again.processes] == [True, False, True, True]
    assert len(again.tasks) == len(at_once.tasks) + 1


def test_another_boot_is_placed_by_the_wall_clock_and_says_so(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    there = moved(part_of(2, 200, "there.py"), -500_000 * SECOND, 3 * SECOND)  # by the wall clock 3 s later
    whole = merged(there, part_of(2, 100, "here.py"))
    here, moved_there = whole.processes
    assert (here.pid, moved_there.pid) == (100, 200)
    assert moved_there.started_ns - here.started_ns == 3 * SECOND
    sentence = (
        "not of one boot of one machine with 1.pftrace, or the clock was set between them: placed by the wall clock,"
        " so what is before what is only as sure as that"
    )
    assert whole.notes == (f"process 200 (there): {sentence}",)
    assert capsys.readouterr().err == f"note: 0.pftrace: {sentence}\n"
    assert whole.end_ns - whole.start_ns == 3 * SECOND + there.end_ns - there.start_ns


def test_two_of_another_boot_keep_their_own_order_exactly(folder: Path) -> None:
    away = -500_000 * SECOND
    two = moved(part_of(2, 200), away, 3 * SECOND)
    three = moved(part_of(2, 300), away + 5, 3 * SECOND + 1_000_000)  # a wall clock that was a millisecond off
    whole = merged(part_of(2, 100), two, three)
    assert [process.started_ns - START_NS for process in whole.processes] == [0, 3 * SECOND, 3 * SECOND + 5]


def test_a_wall_clock_that_was_corrected_a_little_moves_nothing(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = merged(part_of(2, 100), moved(part_of(2, 200), 10, SECOND))
    assert [process.started_ns - START_NS for process in whole.processes] == [0, 10]
    assert capsys.readouterr().err == ""


def test_losses_and_cuts_are_told_with_their_process(folder: Path) -> None:
    lost = (START_NS + 50, 1, kinds.LOST, 0, 17, 0, 0)
    part = part_of(3, 100, "api.py")
    save_parts((replace(part, events=sorted([*part.events, lost])),), "a.pftrace")
    begin = (START_NS + 3000, 1, kinds.LOST, 0, 4, 0, 0)
    late = moved(part_of(3, 200, "worker.py"), 3000)
    save_parts((replace(late, events=[begin, *late.events]),), "b.pftrace")
    save_parts((part_of(300, 300, "cron.py"),), "c.pftrace")
    content = Path("c.pftrace").read_bytes()
    Path("c.pftrace").write_bytes(content[: len(content) // 2])

    assert main(["merge", "a.pftrace", "b.pftrace", "c.pftrace", "-o", "out.pftrace.gz"]) == 0
    whole = load("out.pftrace.gz")
    assert sorted(whole.notes) == [
        "process 100 (api): 17 events were lost",
        f"process 200 (worker): showing its last {(late.end_ns - late.start_ns) / 1e6:.3g} ms;"
        " 4 earlier events were dropped",
        "process 300 (cron): the file was cut short: what was recorded after the cut is missing",
    ]
    assert whole.lost == 21
    assert sum(process.pid == 300 for process in whole.processes) == 1


def test_what_one_process_dropped_hides_nothing_of_another(folder: Path) -> None:
    # The one that began first has only its end: the window begins with the other.
    begin = (START_NS + 10 * SECOND, 1, kinds.LOST, 0, 4, 0, 0)
    part = part_of(3, 100, "api.py")
    kept = [(time_ns + 10 * SECOND, *rest) for time_ns, *rest in part.events]
    bounded = replace(part, events=[begin, *kept], end_ns=part.end_ns + 10 * SECOND)
    whole_one = moved(part_of(3, 200, "worker.py"), SECOND)
    trace = merged(bounded, whole_one)
    assert (trace.start_ns, trace.end_ns) == (START_NS + SECOND, bounded.end_ns)
    assert [process.pid for process in trace.processes] == [200, 100]
    is_union(trace, [load("0.pftrace"), load("1.pftrace")])


def test_the_real_trace_processor_tells_the_processes_apart(ui_directory: Path, folder: Path) -> None:
    # The second two are containers: one pid, and one number of a thread.
    parts = [example_part(seed=1, pid=100), *(example_part(seed=seed, pid=1) for seed in (2, 3))]
    parts[1:] = [replace(part, program=name) for part, name in zip(parts[1:], ("b.py", "c.py"), strict=True)]
    merged(*parts)
    counts = "select process.name as name, count(*) as steps from thread_track"
    counts += " join slice on slice.track_id = thread_track.id"
    counts += " join thread using (utid) join process using (upid) group by upid order by name"
    errors, together = ask(ui_directory, Path("merged.pftrace"), ERRORS, counts)
    assert errors == []
    alone = []
    for number in range(3):
        wrong, found = ask(ui_directory, Path(f"{number}.pftrace"), ERRORS, counts)
        assert wrong == []
        alone.append(found[0]["steps"])
    assert together == [{"name": name, "steps": steps} for name, steps in zip(("app", "b", "c"), alone, strict=True)]


PROGRAM = """
import asyncio, concurrent.futures, sys, time

async def work(number):
    await asyncio.sleep(0.001 * number)
    return await asyncio.to_thread(time.sleep, 0.002)

async def main():
    await asyncio.gather(*(work(number) for number in range(5)))
    print("up", flush=True)
    await asyncio.to_thread(sys.stdin.readline)
    await asyncio.sleep(0.01)

asyncio.run(main())
"""


def test_two_services_that_ran_at_once(folder: Path) -> None:
    for name in ("api", "worker"):
        Path(f"{name}.py").write_text(PROGRAM, encoding="utf-8")
    command = [sys.executable, "-m", "asynctrace", "run", "-q", "-o"]
    running = [
        subprocess.Popen(
            [*command, f"{name}.pftrace", f"{name}.py"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        )
        for name in ("api", "worker")
    ]
    for process in running:
        assert process.stdout is not None and process.stdout.readline() == "up\n"
    for process in running:
        process.communicate("go\n", timeout=60)
        assert process.returncode == 0
    assert main(["merge", "api.pftrace", "worker.pftrace", "-o", "out.pftrace"]) == 0
    whole = load("out.pftrace")
    is_union(whole, [load("api.pftrace"), load("worker.pftrace")])
    assert {process.pid: process.name for process in whole.processes} == {
        running[0].pid: "api",
        running[1].pid: "worker",
    }
    starts = {task.label: task for task in whole.tasks if task.label == "main"}
    assert starts and whole.notes == ()
    mains = [task for task in whole.tasks if task.label == "main"]
    assert max(task.created_ns for task in mains) < min(task.end_ns for task in mains)  # they did run at once


RECORDER = """
import itertools, sys
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st
from integration.generated_programs import programs, run_program

numbers = itertools.count()

@seed(int(sys.argv[1]))
@settings(max_examples=6, database=None, deadline=None, suppress_health_check=list(HealthCheck))
@given(programs, st.booleans())
def record(root, eager):
    _, trace = run_program(root, eager=eager)
    trace.save(f"{sys.argv[1]}-{next(numbers)}.pftrace")

record()
"""


def test_generated_programs_of_two_processes_that_each_make_many_recordings(folder: Path) -> None:
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    running = [
        subprocess.Popen([sys.executable, "-c", RECORDER, number], stderr=subprocess.PIPE, text=True, env=environment)
        for number in ("1", "2")
    ]
    for process in running:
        _, said = process.communicate(timeout=120)
        assert process.returncode == 0, said
    names = sorted(path.name for path in folder.glob("*.pftrace"))
    assert main(["merge", *names, "-o", "out.pftrace"]) == 0
    whole = load("out.pftrace")
    is_union(whole, [load(name) for name in names])
    rules.steps_exclude_each_other(whole)
    rules.events_pair(whole)
    rules.coroutines_nest(whole)
    assert len({process.pid for process in whole.processes}) == len(names)
    assert len(whole.notes) >= len(names) - 2  # all but one of each process have another number
