"""How much was in progress at each moment: started, unfinished, and not merely waiting for other recorded work."""

from __future__ import annotations

from collections import defaultdict
from itertools import pairwise

from asynctrace.analysis.at_work import call_work, task_work
from asynctrace.analysis.intervals import Interval
from asynctrace.model.trace import Trace


def in_progress(trace: Trace) -> list[tuple[int, int]]:
    """Return how many tasks and calls were in progress, as a staircase.

    A thread counts once, for its innermost call at work; a task from its first step to its end. A task that awaits
    another one, a call that joins threads, and a call that runs an event loop leave the counting to what they wait for.

    Args:
        trace: Any trace, of one process or several.

    Returns:
        (time_ns, count from then on), ascending, from `trace.start_ns` on; the count differs at each time.
    """
    intervals: list[Interval] = []
    for task in trace.tasks:
        if not task.is_internal:
            intervals += task_work(task)
    for stretches in call_work(trace).values():
        intervals += stretches
    changes: dict[int, int] = defaultdict(int)
    for start, end in intervals:
        start, end = max(start, trace.start_ns), min(end, trace.end_ns)
        if start < end:
            changes[start] += 1
            changes[end] -= 1
    count = changes.pop(trace.start_ns, 0)
    staircase = [(trace.start_ns, count)]
    for time_ns, change in sorted(changes.items()):
        if change:
            count += change
            staircase.append((time_ns, count))
    return staircase


def peak_and_mean(trace: Trace) -> tuple[int, float]:
    """Return the highest number in progress, and the mean over the whole recording (its integral / wall time)."""
    staircase = in_progress(trace)
    integral = sum(count * (end - start) for (start, count), (end, _) in pairwise([*staircase, (trace.end_ns, 0)]))
    wall_ns = trace.end_ns - trace.start_ns
    return max(count for _, count in staircase), integral / wall_ns if wall_ns > 0 else 0.0
