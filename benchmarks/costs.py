"""Costs that are no ratios: an event's time and size, saving, loading, drawing, importing.

`python -m benchmarks.costs` prints them as JSON; it is run in a process of its own.
"""

from __future__ import annotations

import asyncio
import gc
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import asynctrace
from asynctrace.model.trace import Trace
from benchmarks import workloads

EVENTS = 1_000_000
INTERVALS = 100_000


def recorded(tasks: int, yields: int) -> Trace:
    """Return the trace of a storm of `tasks` tasks that yield so often each."""

    async def main() -> None:
        await asyncio.gather(*(workloads.yields(yields) for _ in range(tasks)))

    with asynctrace.record() as recording:
        asyncio.run(main())
    return recording.trace


def count_events(trace: Trace) -> int:
    return sum(len(part.events) for part in trace.parts)


def seconds(action: Callable[[], object]) -> float:
    """Return the CPU seconds of one call: like the wall clock's on an idle machine, and steadier on a busy one."""
    gc.collect()
    started = time.process_time()
    action()
    return time.process_time() - started


def event_ns() -> float:
    """Return what one event adds to the time of a storm, every coroutine recorded."""
    added = []
    for _ in range(5):
        gc.collect()
        main = workloads.storm(workloads.yields)
        untraced = asyncio.run(main()).cpu
        with asynctrace.record() as recording:
            traced = asyncio.run(main()).cpu
        added.append((traced - untraced) / count_events(recording.trace) * 1e9)
        del recording
    return statistics.median(added)


def file_costs() -> dict[str, float]:
    """Return an event's bytes on disk, and the seconds to save, and to load and summarise, a million of them."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "million.pftrace"
        events, save_s = saved(path)
        size = path.stat().st_size
        load_s = seconds(lambda: asynctrace.load(path).summary())
    million = events / 1e6
    return {"bytes_on_disk": size / events, "save_s": save_s / million, "load_and_summarise_s": load_s / million}


def saved(path: Path) -> tuple[int, float]:
    """Save about a million events; return how many, and the seconds."""
    per_yield = count_events(recorded(100, 20)) / (100 * 20)
    trace = recorded(100, round(EVENTS / 100 / per_yield))
    return count_events(trace), seconds(lambda: trace.save(path))


def gantt_s() -> float:
    """Return the seconds to draw a Gantt chart of 100,000 intervals to a PNG."""
    per_yield = sum(len(task.states) for task in recorded(50, 20).tasks) / (50 * 20)
    trace = recorded(200, round(INTERVALS / 200 / per_yield))
    with tempfile.TemporaryDirectory() as folder:
        recorded(1, 1).gantt(Path(folder) / "first.png")  # matplotlib is imported, its fonts are found
        return seconds(lambda: trace.gantt(Path(folder) / "large.png"))


def import_ms(statement: str) -> float:
    """Return the CPU milliseconds that `statement` takes in a fresh Python, asyncio imported before."""
    program = f"import asyncio, time; t = time.process_time(); {statement}; print(time.process_time() - t)"
    runs = [
        subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True) for _ in "12345"
    ]
    return statistics.median(float(run.stdout) for run in runs) * 1e3


def costs() -> dict[str, float]:
    return {
        "event_ns": event_ns(),
        **file_costs(),
        "gantt_s": gantt_s(),
        "import_ms": import_ms("import asynctrace"),
        "import_record_ms": import_ms("from asynctrace import record, traced"),
    }


if __name__ == "__main__":
    print(json.dumps(costs()))
