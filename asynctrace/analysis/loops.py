"""How busy the loops were."""

from __future__ import annotations

from collections import defaultdict

from asynctrace.analysis.intervals import Interval, intersect, length
from asynctrace.model.trace import Loop, Trace


def busy_shares(trace: Trace) -> dict[Loop, float]:
    """Return for each loop the share of the recording, 0 to 1, in which a step or a long callback held it.

    Plain callbacks under 1 ms are not recorded, so the share is a lower bound. A loop that did nothing is left out.
    """
    held: dict[Loop, list[Interval]] = defaultdict(list)
    for task in trace.tasks:
        if task.loop is not None:
            held[task.loop] += [(state.start_ns, state.end_ns) for state in task.states if state.kind == "running"]
    for loop in trace.loops:
        if loop.callbacks:
            held[loop] += [(ran.start_ns, ran.end_ns) for ran in loop.callbacks]
    wall_ns = trace.end_ns - trace.start_ns
    if wall_ns <= 0:
        return {}
    window = [(trace.start_ns, trace.end_ns)]
    return {loop: length(intersect(intervals, window)) / wall_ns for loop, intervals in held.items() if intervals}
