"""One measurement, in a process of its own.

`python -m benchmarks.measure storm viztracer 3` prints wall-clock and CPU seconds, the medians of three runs.
"""

from __future__ import annotations

import asyncio
import gc
import json
import statistics
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from benchmarks import workloads

# What runs under each name: the tool, and what of the program it is asked to see.
TOOLS = ("untraced", "every", "decorated", "idle", "viztracer", "yappi", "pyinstrument", "debug")


@contextmanager
def tool_running(tool: str) -> Iterator[None]:
    """Trace what happens inside with `tool`. Its set-up and what it does with the result are outside of the time."""
    if tool in ("every", "decorated"):
        import asynctrace

        # "decorated" sees the decorated coroutine alone: its file's, and none of asyncio's own.
        with asynctrace.record(include=[workloads.__file__] if tool == "decorated" else []):
            yield
    elif tool == "viztracer":
        from viztracer import VizTracer

        tracer = VizTracer(log_async=True, verbose=0)
        tracer.start()
        yield
        tracer.stop()
        tracer.clear()
    elif tool == "yappi":
        import yappi

        yappi.set_clock_type("wall")
        yappi.start()
        yield
        yappi.stop()
        yappi.clear_stats()
    elif tool == "pyinstrument":
        from pyinstrument import Profiler

        profiler = Profiler(async_mode="enabled")
        profiler.start()
        yield
        profiler.stop()
    else:
        yield


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


def measure(workload: str, tool: str, times: int) -> workloads.Took:
    """Return the medians of several runs, after one that warms up."""
    took = []
    for _ in range(times + 1):
        main = main_of(workload, tool)
        gc.collect()
        with tool_running(tool), asyncio.Runner(debug=tool == "debug", loop_factory=loop_factory(workload)) as runner:
            took.append(runner.run(main()))
    return workloads.Took(*map(statistics.median, zip(*took[1:], strict=True)))


if __name__ == "__main__":
    print(json.dumps(measure(sys.argv[1], sys.argv[2], times=int(sys.argv[3]))))
