"""The real trace processor of the Perfetto UI shows of real programs what the model says of them."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from integration.generated_programs import Body, programs, run_program

import asynctrace
from asynctrace.formats import save
from asynctrace.model.trace import Trace
from tests import perfetto_states
from tests.perfetto_view import view
from tests.trace_processor import ERRORS, ask

pytestmark = pytest.mark.slow

_ROOT = Path(__file__).resolve().parents[2]
_EXAMPLES = {
    "blocking.py": (),
    "chess.py": ("--opponents", "10", "--moves", "3"),
    "decorated.py": (),
    "gather.py": (),
    "processes.py": (),
    "service.py": (),
    "threaded.py": (),
}

_FLOWS = """
select o.ts as out_ts, extract_arg(o.arg_set_id, 'correlation_id') as out_task, i.ts as in_ts
from flow join slice o on o.id = slice_out join slice i on i.id = slice_in
"""
_COUNTERS = """
select t.name, count(*) as n, cast(sum(value) as int) as total
from counter join counter_track t on t.id = track_id where value > 0 group by t.name
"""


def check(ui_directory: Path, path: Path) -> Trace:
    """Compare what the trace processor makes of a file with the model; return that."""
    trace = asynctrace.load(path)
    errors, sums, open_slices, on_threads, flows, counters = ask(
        ui_directory,
        path,
        ERRORS,
        perfetto_states.query(trace.end_ns),
        "select count(*) as n from slice where dur = -1",
        "select ts, dur from slice where track_id in (select id from thread_track) and dur > 0",
        _FLOWS,
        _COUNTERS,
    )
    assert errors == []
    perfetto_states.same(perfetto_states.of_sql(sums), perfetto_states.of_model(trace))
    seen = view(path)
    perfetto_states.check_expressions(seen, trace)
    assert open_slices == [{"n": sum(one.end_ns is None for one in seen.slices)}]
    if all(task.finished_ns is not None for task in trace.tasks):
        assert not any(one.end_ns is None and "asyncio tasks" in one.track for one in seen.slices)

    found = Counter((row["ts"], row["dur"]) for row in on_threads)
    expected, callbacks = _of_threads(trace)
    assert expected - found == Counter()
    assert found - expected - callbacks == Counter()

    arrows = {(row["out_ts"], row["in_ts"]) for row in flows}
    assert _wakes(trace) - arrows == set()
    assert len(flows) == len(set.intersection(*_ends_of_arrows(path)))

    lags = perfetto_states.lags(trace)
    told = {row["name"]: (row["n"], row["total"]) for row in counters}
    assert told.get("loop lag", (0, 0)) == (len(lags), sum(lag for _, lag in lags))
    return trace


def _of_threads(trace: Trace) -> tuple[Counter[tuple[int, int]], Counter[tuple[int, int]]]:
    """Return (start, duration) of what ran on threads and has ended, and of callbacks, of which some are not shown."""
    intervals = [
        (state.start_ns, state.end_ns)
        for task in trace.tasks
        for state in task.states
        if state.kind == "running" and (task.finished_ns is not None or state is not task.states[-1])
    ]
    intervals += ((call.started_ns, call.end_ns) for call in trace.calls if call.finished_ns is not None)
    blockings = {each for call in trace.calls for each in call.blockings}
    blockings |= {each for task in trace.tasks for each in task.blockings}
    intervals += ((each.start_ns, each.end_ns) for each in blockings)
    intervals += (idle for loop in trace.loops for idle in loop.idle)
    callbacks = [(each.start_ns, each.end_ns) for loop in trace.loops for each in loop.callbacks]

    def counted(pairs: list[tuple[int, int]]) -> Counter[tuple[int, int]]:
        return Counter((start_ns, end_ns - start_ns) for start_ns, end_ns in pairs if end_ns > start_ns)

    return counted(intervals), counted(callbacks)


def _wakes(trace: Trace) -> set[tuple[int, int]]:
    """Return where arrows have to begin and end: the step of the waking task, on the same thread, and the woken one."""
    found = set()
    for task in trace.tasks:
        for before, after in zip(task.states, task.states[1:], strict=False):
            waker = before.cause.task if before.cause is not None else None
            if before.kind != "ready" or after.kind != "running" or waker is None or waker is task:
                continue
            if waker.loop is None or task.loop is None or waker.loop is not task.loop:
                continue
            for step in waker.states:
                if step.kind == "running" and step.start_ns < before.start_ns < step.end_ns:
                    found.add((step.start_ns, after.start_ns))
    return found


def _ends_of_arrows(path: Path) -> tuple[set[int], set[int]]:
    slices = view(path).slices
    return (
        {arrow for one in slices for arrow in one.arrows_out},
        {arrow for one in slices for arrow in one.arrows_in},
    )


def _asynctrace(folder: Path, *arguments: str) -> None:
    command = [sys.executable, "-m", "asynctrace", *arguments]
    environment = {**os.environ, "PYTHONPATH": str(_ROOT)}
    ran = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=120)
    assert ran.returncode == 0, ran.stderr


@pytest.mark.parametrize("name", _EXAMPLES)
def test_of_an_example(ui_directory: Path, tmp_path: Path, name: str) -> None:
    _asynctrace(tmp_path, "run", "-q", str(_ROOT / "examples" / name), *_EXAMPLES[name])

    trace = check(ui_directory, tmp_path / "trace.pftrace")

    assert trace.tasks or trace.calls


def test_of_examples_that_were_merged_with_a_row_for_each_task(ui_directory: Path, tmp_path: Path) -> None:
    for name in ("gather", "service"):
        _asynctrace(tmp_path, "run", "-q", "-o", f"{name}.pftrace", str(_ROOT / "examples" / f"{name}.py"))
    _asynctrace(tmp_path, "merge", "gather.pftrace", "service.pftrace", "-o", "both.pftrace", "--rows", "task")

    trace = check(ui_directory, tmp_path / "both.pftrace")

    assert len(trace.processes) == 2


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(programs)
def test_of_generated_programs(ui_directory: Path, tmp_path: Path, root: Body) -> None:
    for eager in (False, True):
        _, trace = run_program(root, eager=eager)
        assert trace is not None
        save(trace, tmp_path / "trace.pftrace")
        check(ui_directory, tmp_path / "trace.pftrace")
