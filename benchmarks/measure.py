"""One measurement, in a process of its own.

`python -m benchmarks.measure storm viztracer 3` prints wall-clock and CPU seconds, the medians of three runs.
"""

from __future__ import annotations

import asyncio
import gc
import json
import statistics
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from benchmarks import workloads
from benchmarks.peers import PEERS

# What of the program asynctrace is asked to see. "idle" decorates, and nobody records.
OURS = ("every", "decorated", "idle")


def around(tool: str) -> AbstractContextManager[Any]:
    """Return what traces the program that runs inside with `tool`, but for tools that are started on its loop."""
    if tool in ("every", "decorated"):
        import asynctrace

        # "decorated" sees the decorated coroutine alone: its file's, and none of asyncio's own.
        return asynctrace.record(include=[workloads.__file__] if tool == "decorated" else [])
    return PEERS[tool].before() if tool in PEERS else nullcontext()


def main_of(workload: str, tool: str) -> workloads.Main:
    if workload == "storm":
        tracked = workloads.yields
        if tool in ("decorated", "idle"):
            import asynctrace

            tracked = asynctrace.traced(tracked)
        return workloads.storm(tracked)
    if workload == "spawn":
        return workloads.spawn()
    return workloads.http()


def loop_factory(workload: str) -> Callable[[], asyncio.AbstractEventLoop] | None:
    if workload != "http-uvloop":
        return None
    import uvloop

    factory: Callable[[], asyncio.AbstractEventLoop] = uvloop.new_event_loop
    return factory


async def traced_inside(tool: str, main: workloads.Main) -> workloads.Took:
    async with PEERS[tool].inside():
        return await main()


def measure(workload: str, tool: str, times: int) -> workloads.Took:
    """Return the medians of several runs, after one that warms up."""
    took = []
    for _ in range(times + 1):
        main = main_of(workload, tool)
        gc.collect()
        with around(tool), asyncio.Runner(loop_factory=loop_factory(workload)) as runner:
            took.append(runner.run(traced_inside(tool, main) if tool in PEERS else main()))
    return workloads.Took(*map(statistics.median, zip(*took[1:], strict=True)))


if __name__ == "__main__":
    print(json.dumps(measure(sys.argv[1], sys.argv[2], times=int(sys.argv[3]))))
