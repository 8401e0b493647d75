"""How costs grow with the number of events: time, memory, size on disk, and of what reads it.

`python -m benchmarks.growth record 1000000 FILE` records a storm of so many events, saves it when it is told a file,
and prints what it took as JSON; `python -m benchmarks.growth load FILE` loads and summarises it. Each is run in a
process of its own, for the memory of one would be that of the other.
"""

from __future__ import annotations

import asyncio
import gc
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import asynctrace
from asynctrace import stream
from benchmarks.ratios import output_of
from benchmarks.storms import peak_bytes, recorded, resident_bytes, seconds, storm, yields_for

BATCHES = 20  # of a storm large enough to be looked at while it grows
LARGEST_SAVED = 1_000_000  # above it, the bound on memory is what counts, and a file would take minutes
TIMEOUT_S = 600.0

Figures = dict[str, float]


def growth(largest: int, core: str, progress: Callable[[str], None]) -> Iterator[Figures]:
    """Yield the figures of one core for 1,000 events, 10,000, and so on up to `largest`.

    Raises:
        MeasurementError: If one size fails; the smaller ones have been yielded.
    """
    size = 1_000
    while size <= largest:
        progress(f"{size:,} events, {core} core")
        yield _of_size(size, core)
        size *= 10


def bytes_per_event(rows: list[Figures]) -> float | None:
    """Return what an event more takes in memory, of what two recordings hold, both within the bound."""
    within = [row for row in rows if 100_000 <= row["size"] <= 1_000_000 and not row["dropped"]]
    if len(within) < 2:
        return None
    few, many = within[0], within[-1]
    return (many["held_bytes"] - few["held_bytes"]) / (many["events"] - few["events"])


def _of_size(size: int, core: str) -> Figures:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "storm.pftrace"
        if size > LARGEST_SAVED:
            return _run("record", str(size), core=core)
        return _run("record", str(size), str(path), core=core) | _run("load", str(path), core=core)


def _run(*arguments: str, core: str) -> Figures:
    figures: Figures = json.loads(output_of("benchmarks.growth", *arguments, core=core, timeout_s=TIMEOUT_S))
    return figures


def record(size: int, path: Path | None) -> Figures:
    """Record a storm of about `size` events and save it to `path`, if there is one."""
    tasks = max(1, min(100, size // 100))
    batches = BATCHES if size >= 100_000 else 1
    yields = yields_for(size // batches, tasks)
    figures = held(tasks, yields, batches, path)
    # Last: what other recordings have left free, the one above would have filled without growing.
    return {"size": size, **figures, "event_ns": event_ns(size, tasks, yields * batches)}


def held(tasks: int, yields: int, batches: int, path: Path | None) -> Figures:
    """Return what a recording holds in memory, of storms one after the other, and what it takes to save it."""
    gc.collect()
    before = resident_bytes()
    memory: list[int] = []  # after each storm
    lost = 0

    async def main() -> None:
        nonlocal lost
        for _ in range(batches):
            await storm(tasks, yields)
            memory.append(resident_bytes() - before)
        lost = dropped()

    with asynctrace.record() as recording:
        asyncio.run(main())
    most = max(memory)
    late = memory[-1] - memory[-1 - len(memory) // 10]
    figures: Figures = {
        "events": recording.event_count,
        "held_bytes": most,
        "late_growth": late / most if most else 0.0,  # in the last tenth; about 0.1 where nothing bounds it
        "dropped": lost,
    }
    if path:
        figures["save_s"] = seconds(lambda: recording.trace.save(path))
        figures["save_peak_bytes"] = peak_bytes()
        figures["disk_bytes"] = path.stat().st_size
    return figures


def dropped() -> int:
    """Return how many events the running recording let go, to stay within its bound."""
    assert stream.current is not None
    return stream.current.recorder.history.first


def event_ns(size: int, tasks: int, yields: int) -> float:
    """Return what an event adds to the CPU time of the storm; the median of several where they are short."""
    added = []
    for _ in range(max(1, min(20, 500_000 // size))):
        took = []
        events = 0
        for is_recorded in (False, True):
            gc.collect()
            started = time.process_time()
            if is_recorded:
                events = recorded(tasks, yields).event_count
            else:
                asyncio.run(storm(tasks, yields))
            took.append(time.process_time() - started)
        added.append((took[1] - took[0]) / events * 1e9)
    return statistics.median(added)


def load(path: Path) -> Figures:
    took = seconds(lambda: asynctrace.load(path).summary())
    return {"load_s": took, "load_peak_bytes": peak_bytes()}


if __name__ == "__main__":
    action, what, *rest = sys.argv[1:]
    print(json.dumps(load(Path(what)) if action == "load" else record(int(what), Path(rest[0]) if rest else None)))
