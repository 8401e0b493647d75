"""Recorded programs of a wanted size, and their time and memory, for the costs that are no ratios."""

from __future__ import annotations

import asyncio
import gc
import os
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path

import asynctrace
from benchmarks import workloads

MIB = 2**20


async def storm(tasks: int, yields: int) -> None:
    await asyncio.gather(*(workloads.yields(yields) for _ in range(tasks)))


def recorded(tasks: int, yields: int) -> asynctrace.Recording:
    """Record a storm of `tasks` tasks that yield so often each; the loop's own start and end are recorded, too."""
    with asynctrace.record() as recording:
        asyncio.run(storm(tasks, yields))
    return recording


def yields_for(events: int, tasks: int) -> int:
    """Return how often each of so many tasks has to yield for about so many events."""
    few, more = (recorded(tasks, yields).event_count for yields in (2, 12))
    per_round = (more - few) / 10
    return max(1, round(2 + (events - few) / per_round))


def seconds(action: Callable[[], object]) -> float:
    """Return the CPU seconds of one call: like the wall clock's on an idle machine, and steadier on a busy one."""
    gc.collect()
    started = time.process_time()
    action()
    return time.process_time() - started


def resident_bytes() -> int:
    """Return the memory that the process has now; where the system does not tell, the most that it ever had."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE")
    except OSError:
        return peak_bytes()


def peak_bytes() -> int:
    """Return the most memory that the process ever had."""
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most * 1024
