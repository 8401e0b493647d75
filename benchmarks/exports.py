"""What it takes to write a recording for other tools: `python -m benchmarks.exports`, a million events if not said.

Each format is written in a process of its own (`python -m benchmarks.exports write IN OUT`), which prints what it took
as JSON: the CPU seconds, the size, and by how much the most memory that the process ever had grew.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path

import asynctrace
from asynctrace import core
from asynctrace.formats import SAVED_SUFFIXES
from benchmarks.growth import BATCHES, Figures, held
from benchmarks.ratios import MeasurementError, output_of
from benchmarks.storms import MIB, peak_bytes, seconds, yields_for
from benchmarks.tables import NONE, Rows, as_markdown, machine

TASKS = 100
TIMEOUT_S = 600.0


def write(source: Path, target: Path) -> Figures:
    """Load a recording and write it in another format."""
    trace = asynctrace.load(source)
    before = peak_bytes()
    took = seconds(lambda: trace.save(target))
    return {"save_s": took, "bytes": target.stat().st_size, "peak_bytes": peak_bytes() - before}


def exports(events: int) -> Rows:
    """Return a row for each format: of a storm of about so many events."""
    rows = [["", "written in", "size", "an event", "memory grew by"]]
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "storm.pftrace"
        recorded = held(TASKS, yields_for(events // BATCHES, TASKS), BATCHES, source)["events"]
        for suffix in SAVED_SUFFIXES:
            target = Path(folder) / f"written{suffix}"
            try:
                found: Figures = json.loads(
                    output_of("benchmarks.exports", "write", str(source), str(target), core=core(), timeout_s=TIMEOUT_S)
                )
            except MeasurementError:  # a package that is not installed
                rows.append([f"`{suffix}`", NONE, NONE, NONE, NONE])
                continue
            size, grown = found["bytes"], found["peak_bytes"] / MIB
            rows.append(
                [
                    f"`{suffix}`",
                    f"{found['save_s']:.1f} s",
                    f"{size / 1e6:.1f} MB",
                    f"{size / recorded:.1f} bytes",
                    f"{grown:.0f} MiB",
                ]
            )
        rows[0][0] = f"{recorded:,.0f} events"
    return rows


if __name__ == "__main__":
    if sys.argv[1:2] == ["write"]:
        print(json.dumps(write(Path(sys.argv[2]), Path(sys.argv[3]))))
    else:
        print(machine(), as_markdown(exports(int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000)), sep="\n\n")
