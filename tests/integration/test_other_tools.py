"""Coverage, debuggers, profilers and other interpreters beside a recording: each sees what it sees alone."""

from __future__ import annotations

import asyncio
import cProfile
import json
import os
import subprocess
import sys
import threading
from collections import Counter
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
from integration.both_ways import kinds, task_of, trace_of
from integration.trace_rules import check

import asynctrace
from asynctrace.model.trace import Trace

HERE = __file__
ROOT = Path(__file__).parents[2]
sees_coroutines = sys.version_info >= (3, 12)


async def leaf(number: int) -> int:
    await asyncio.sleep(0)
    if number == 1:
        raise ValueError(number)
    return number


async def main() -> list[Any]:
    results = await asyncio.gather(*(leaf(number) for number in range(3)), return_exceptions=True)
    return [repr(result) for result in results]


def program() -> list[Any]:
    return asyncio.run(main())


EXPECTED = ["0", "ValueError(1)", "2"]


def shape(trace: Trace) -> Any:
    """Return what of a trace is the same each time."""
    tasks = sorted((task.label, task.outcome, kinds(task)) for task in trace.tasks)
    return tasks, sorted((each.name, each.outcome, len(each.suspensions)) for each in trace.coroutines)


@pytest.fixture(scope="module")
def alone() -> Any:
    return shape(trace_of(program))


# Trace and profile functions.


class Seen:
    """Counts what a trace or profile function is told of this file."""

    def __init__(self) -> None:
        self.events: Counter[tuple[str, str, int]] = Counter()

    def trace(self, frame: FrameType, event: str, _: Any) -> Any:
        if frame.f_code.co_filename == HERE:
            self.events[event, frame.f_code.co_name, frame.f_lineno if event == "line" else 0] += 1
        return self.trace

    def profile(self, frame: FrameType, event: str, _: Any) -> None:
        if event in ("call", "return"):
            self.trace(frame, event, None)


@pytest.mark.parametrize("kind", ["trace", "profile"])
@pytest.mark.parametrize("is_first", [True, False], ids=["tool first", "recording first"])
def test_a_trace_function_and_a_recording_see_what_each_sees_alone(kind: str, is_first: bool, alone: Any) -> None:
    install = sys.settrace if kind == "trace" else sys.setprofile
    earlier = sys.gettrace() if kind == "trace" else sys.getprofile()

    def seen(run: Any) -> Any:
        found = Seen()
        install(getattr(found, kind))
        try:
            assert run() == EXPECTED
        finally:
            install(earlier)
        return found.events

    expected = seen(program)
    recording = asynctrace.record()
    if is_first:

        def recorded() -> Any:
            recording.start()
            try:
                return program()
            finally:
                recording.stop()

        both = seen(recorded)
        both = Counter({key: count for key, count in both.items() if key[1] != "recorded"})
    else:
        with recording:
            both = seen(program)

    assert both == expected
    check(recording.trace)
    assert shape(recording.trace) == alone
    assert seen(program) == expected


def test_a_profiler_of_the_standard_library_counts_the_same(alone: Any) -> None:
    def counts() -> dict[str, int]:
        profiler = cProfile.Profile()
        profiler.runcall(program)
        return {
            entry.code.co_name: entry.callcount
            for entry in profiler.getstats()
            if not isinstance(entry.code, str) and entry.code.co_filename == HERE
        }

    expected = counts()
    with asynctrace.record() as recording:
        both = counts()

    assert both == expected
    assert shape(recording.trace) == alone


def test_yappi_counts_the_same(alone: Any) -> None:
    yappi = pytest.importorskip("yappi")

    def counts() -> dict[str, int]:
        yappi.start()
        try:
            program()
        finally:
            yappi.stop()
        found = {each.name: each.ncall for each in yappi.get_func_stats() if each.module == HERE}
        yappi.clear_stats()
        return found

    expected = counts()
    with asynctrace.record() as recording:
        both = counts()

    assert both == expected
    assert shape(recording.trace) == alone


def test_viztracer_sees_the_same(alone: Any, tmp_path: Path) -> None:
    viztracer = pytest.importorskip("viztracer")

    def calls() -> Counter[str]:
        tracer = viztracer.VizTracer(verbose=0, output_file=str(tmp_path / "out.json"))
        tracer.start()
        try:
            program()
        finally:
            tracer.stop()
        tracer.save()
        events = json.loads((tmp_path / "out.json").read_text())["traceEvents"]
        return Counter(each["name"].split(" ")[0] for each in events if HERE in each["name"])

    expected = calls()
    with asynctrace.record() as recording:
        both = calls()

    assert both == expected and expected["leaf"] > 0
    assert shape(recording.trace) == alone


def test_pyinstrument_runs_beside(alone: Any) -> None:
    pyinstrument = pytest.importorskip("pyinstrument")
    profiler = pyinstrument.Profiler(async_mode="enabled")
    with asynctrace.record() as recording:
        profiler.start()
        try:
            assert program() == EXPECTED
        finally:
            profiler.stop()

    assert shape(recording.trace) == alone


# Tool ids.


@pytest.mark.skipif(not sees_coroutines, reason="3.11 has no tool ids")
def test_another_tool_of_sys_monitoring_is_told_the_same(alone: Any) -> None:
    monitoring = sys.monitoring
    events = monitoring.events

    def told() -> Counter[tuple[str, str]]:
        found: Counter[tuple[str, str]] = Counter()
        for name in ("PY_START", "PY_RESUME", "PY_YIELD", "PY_RETURN", "PY_UNWIND", "LINE"):

            def note(code: Any, *_: Any, name: str = name) -> None:
                if code.co_filename == HERE:
                    found[name, code.co_name] += 1

            monitoring.register_callback(tool_id, getattr(events, name), note)
        monitoring.set_events(
            tool_id,
            events.PY_START | events.PY_RESUME | events.PY_YIELD | events.PY_RETURN | events.PY_UNWIND | events.LINE,
        )
        try:
            program()
        finally:
            monitoring.set_events(tool_id, 0)
        return found

    tool_id = next(number for number in (3, 4) if monitoring.get_tool(number) is None)
    monitoring.use_tool_id(tool_id, "another")
    try:
        expected = told()
        with asynctrace.record() as recording:
            both = told()
        assert told() == expected
    finally:
        for name in ("PY_START", "PY_RESUME", "PY_YIELD", "PY_RETURN", "PY_UNWIND", "LINE"):
            monitoring.register_callback(tool_id, getattr(events, name), None)
        monitoring.free_tool_id(tool_id)

    assert both == expected
    assert shape(recording.trace) == alone


@pytest.mark.skipif(not sees_coroutines, reason="3.11 has no tool ids")
def test_ids_that_are_freed_are_used_by_the_next_recording(caplog: pytest.LogCaptureFixture, alone: Any) -> None:
    taken = [number for number in range(6) if sys.monitoring.get_tool(number) is None]
    for number in taken:
        sys.monitoring.use_tool_id(number, "another")
    try:
        recording = asynctrace.record()
        with recording:
            program()
            for number in taken:
                sys.monitoring.free_tool_id(number)
            taken = []
            program()
    finally:
        for number in taken:
            sys.monitoring.free_tool_id(number)

    assert [record.levelname for record in caplog.records if record.name == "asynctrace"] == ["WARNING"]
    assert recording.trace.coroutines == () and not recording.trace.sees_coroutines
    check(recording.trace)
    assert len([task for task in recording.trace.tasks if task.label == "main"]) == 2
    assert shape(trace_of(program)) == alone


# Coverage and a debugger, as one runs them.

SCRIPT = """
import asyncio
async def leaf(number):
    await asyncio.sleep(0)
    if number == 1:
        raise ValueError(number)
    elif number == 7:
        print("never")
    return number
async def main():
    found = await asyncio.gather(*map(leaf, range(3)), return_exceptions=True)
    print(found)
asyncio.run(main())
"""
RECORDED = """
import asynctrace
with asynctrace.record(output="out.pftrace"):
    exec(compile(open("script.py").read(), "script.py", "exec"))
"""
PLAIN = """
exec(compile(open("script.py").read(), "script.py", "exec"))
"""


def said(folder: Path, program: str, *command: str, stdin: str = "", **environment: str) -> str:
    (folder / "run.py").write_text(program)
    done = subprocess.run(
        [sys.executable, *command],
        input=stdin,
        capture_output=True,
        text=True,
        cwd=folder,
        timeout=60,
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize("core", ["ctrace", "sysmon"])
def test_coverage_reports_the_same_lines_and_branches(core: str, tmp_path: Path) -> None:
    pytest.importorskip("coverage")
    if core == "sysmon" and sys.version_info < (3, 12):
        pytest.skip("coverage needs sys.monitoring for it")
    options = ("--include", "script.py") if core == "sysmon" and sys.version_info < (3, 14) else ("--branch",)
    (tmp_path / "script.py").write_text(SCRIPT)

    def report(program: str) -> Any:
        output = said(tmp_path, program, "-m", "coverage", "run", *options, "run.py", COVERAGE_CORE=core)
        said(tmp_path, program, "-m", "coverage", "json", "-q", "-o", "out.json")
        return output, json.loads((tmp_path / "out.json").read_text())["files"]["script.py"]

    expected = report(PLAIN)
    assert report(RECORDED) == expected
    trace = asynctrace.load(tmp_path / "out.pftrace")
    check(trace)
    assert sorted(task.label for task in trace.tasks if not task.is_internal) == ["leaf", "leaf", "leaf", "main"]
    assert bool(trace.coroutines) == sees_coroutines


@pytest.mark.skipif(
    sys.version_info[:2] == (3, 13), reason="beside any tool of sys.monitoring its pdb stops a line later"
)
def test_a_debugger_stops_steps_and_shows_the_same(tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text(SCRIPT.replace("    if number == 1", "    breakpoint()\n    if number == 1"))
    commands = "p number\nn\nn\nw\np number\nc\np number\nn\nn\nn\nn\nc\nr\nc\n"

    def session(program: str) -> list[str]:
        output = said(tmp_path, program, "run.py", stdin=commands)
        return [line for line in output.splitlines() if "run.py" not in line]

    expected, both = session(PLAIN), session(RECORDED)
    frames = [line for line in both if "asynctrace" in line]  # only `w`, which shows all that is on the stack
    assert [line for line in both if line not in frames and "-> " not in line] == [
        line for line in expected if "-> " not in line
    ]
    check(asynctrace.load(tmp_path / "out.pftrace"))


# Other interpreters of this process.


def new_interpreter() -> Any:
    """Return (a function that runs a text there, one that ends it)."""
    if sys.version_info >= (3, 14):
        interpreters = pytest.importorskip("concurrent.interpreters")
        interpreter = interpreters.create()
        return interpreter.exec, interpreter.close
    interpreters = pytest.importorskip("_interpreters" if sys.version_info >= (3, 13) else "_xxsubinterpreters")
    number = interpreters.create()

    def run(text: str) -> None:
        failure = interpreters.exec(number, text) if sys.version_info >= (3, 13) else None
        if sys.version_info < (3, 13):
            interpreters.run_string(number, text)
        assert failure is None, failure

    return run, lambda: interpreters.destroy(number)


@pytest.mark.skipif(sys.version_info < (3, 12), reason="asyncio does not work there before")
def test_other_interpreters_are_left_alone(alone: Any, tmp_path: Path) -> None:
    run, end = new_interpreter()
    text = f"""
import asyncio
async def other():
    await asyncio.sleep(0)
    return [await asyncio.gather(*(asyncio.sleep(0, number) for number in range(3))) for _ in range(20)]
result = asyncio.run(other())
with open({str(tmp_path / "result")!r}, "a") as file:
    file.write(str(result[-1]))
"""
    run(text)
    with asynctrace.record() as recording:
        thread = threading.Thread(target=run, args=(text,))
        thread.start()
        program()
        thread.join()
        run(text)
    run(text)
    end()

    check(recording.trace)
    assert (tmp_path / "result").read_text() == "[0, 1, 2]" * 4
    assert shape(recording.trace) == alone
    assert "other" not in {task.label for task in recording.trace.tasks}
    assert task_of(recording.trace, "main").outcome == "returned"
