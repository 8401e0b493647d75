"""A recording in a few figures: how long, how many tasks, how much at once, how busy the loop, what held it longest."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from asynctrace.analysis.holding import Holding, holding_steps
from asynctrace.analysis.loops import busy_shares
from asynctrace.analysis.processes import TaskOwners
from asynctrace.analysis.progress import peak_and_mean
from asynctrace.model.trace import Trace


@dataclass(frozen=True, slots=True)
class Overview:
    """The figures above a summary.

    `busy` has the share of time, 0 to 1, of each loop that did anything; `longest_block` is the longest step that
    kept others ready for 50 ms or longer. `processes` has those of a merged trace, with the number of their tasks.
    """

    source: str
    duration_ns: int
    tasks: int
    calls: int
    peak: int
    mean: float
    lost: int
    busy: tuple[float, ...]
    longest_block: Holding | None
    notes: tuple[str, ...]
    processes: tuple[tuple[str, int], ...] = ()


def overview(trace: Trace) -> Overview:
    """Return the figures of `trace` that need no table; asyncio's own tasks are not counted."""
    peak, mean = peak_and_mean(trace)
    blocks = holding_steps(trace, most=1)
    return Overview(
        source=trace.source,
        duration_ns=trace.end_ns - trace.start_ns,
        tasks=sum(not task.is_internal for task in trace.tasks),
        calls=len(trace.calls),
        peak=peak,
        mean=mean,
        lost=trace.lost,
        busy=tuple(busy_shares(trace).values()),
        longest_block=blocks[0] if blocks else None,
        notes=trace.notes,
        processes=_processes(trace),
    )


def _processes(trace: Trace) -> tuple[tuple[str, int], ...]:
    owners = TaskOwners(trace)
    tasks = Counter(owners(task) for task in trace.tasks if not task.is_internal)
    del tasks[None]  # where it goes without saying
    return tuple((process.name, tasks[process]) for process in trace.processes) if tasks else ()
