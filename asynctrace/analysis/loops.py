"""How busy the loops were."""

from __future__ import annotations

from collections import defaultdict
from operator import attrgetter

from asynctrace.model.trace import Callback, Loop, State, Trace


def busy_shares(trace: Trace) -> dict[Loop, float]:
    """Return for each loop the share of the recording, 0 to 1, in which a step or a long callback held it.

    Plain callbacks under 1 ms are not recorded, so the share is a lower bound. A loop that did nothing is left out.
    """
    held: dict[Loop, list[State | Callback]] = defaultdict(list)
    for task in trace.tasks:
        if task.loop is not None:
            held[task.loop] += [state for state in task.states if state.kind == "running"]
    for loop in trace.loops:
        if loop.callbacks:
            held[loop] += loop.callbacks
    wall_ns = trace.end_ns - trace.start_ns
    if wall_ns <= 0:
        return {}
    return {loop: _covered_ns(runs, trace.start_ns, trace.end_ns) / wall_ns for loop, runs in held.items() if runs}


def _covered_ns(runs: list[State | Callback], start_ns: int, end_ns: int) -> int:
    """Return how much of a window is inside at least one of `runs`: an eager task's step is inside another."""
    covered_ns = 0
    latest_ns = start_ns  # where what is counted ends
    for run in sorted(runs, key=attrgetter("start_ns")):
        run_end_ns = min(run.end_ns, end_ns)
        if run_end_ns > latest_ns:
            covered_ns += run_end_ns - max(run.start_ns, latest_ns)
            latest_ns = run_end_ns
    return covered_ns
