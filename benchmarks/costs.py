"""Costs of one core that are no ratios: an event's time and size, drawing, importing.

`python -m benchmarks.costs` prints them as JSON; it is run in a process of its own. What grows with the number of
events is in benchmarks/growth.py.
"""

from __future__ import annotations

import asyncio
import gc
import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import asynctrace
from benchmarks import workloads
from benchmarks.storms import recorded, seconds

INTERVALS = 100_000


def event_ns() -> float:
    """Return what one event adds to the CPU time of the storm, every coroutine recorded."""
    added = []
    for _ in range(5):
        gc.collect()
        main = workloads.storm(workloads.yields)
        untraced = asyncio.run(main()).cpu
        with asynctrace.record() as recording:
            traced = asyncio.run(main()).cpu
        added.append((traced - untraced) / recording.event_count * 1e9)
        del recording
    return statistics.median(added)


def bytes_on_disk(main: workloads.Main) -> float:
    """Return the size of the file of a workload's recording, per event."""
    with tempfile.TemporaryDirectory() as folder, asynctrace.record() as recording:
        asyncio.run(main())
        recording.stop()
        path = Path(folder) / "workload.pftrace"
        recording.trace.save(path)
        return path.stat().st_size / recording.event_count


def gantt_s() -> float:
    """Return the seconds to draw a Gantt chart of 100,000 intervals to a PNG."""
    per_yield = sum(len(task.states) for task in recorded(50, 20).trace.tasks) / (50 * 20)
    trace = recorded(200, round(INTERVALS / 200 / per_yield)).trace
    with tempfile.TemporaryDirectory() as folder:
        recorded(1, 1).trace.gantt(Path(folder) / "first.png")  # matplotlib is imported, its fonts are found
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
        "storm_bytes_on_disk": bytes_on_disk(workloads.storm(workloads.yields)),
        "http_bytes_on_disk": bytes_on_disk(workloads.http()),
        "gantt_s": gantt_s(),
        "import_ms": import_ms("import asynctrace"),
        "import_record_ms": import_ms("from asynctrace import record, traced"),
    }


if __name__ == "__main__":
    print(json.dumps(costs()))
