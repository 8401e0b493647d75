"""Long staircases of counts made short enough to draw."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from asynctrace.analysis.counts import Counts

Numbers = npt.NDArray[np.float64]

_MOST_STEPS = 2000  # more cannot be told apart in the width of the picture


def thinned(staircase: Sequence[Counts], end_ns: int, most: int = _MOST_STEPS) -> tuple[Numbers, Numbers, Numbers]:
    """Return `staircase` with at most `most` steps.

    Args:
        staircase: From the start of the trace on.
        end_ns: Where it ends.
        most: A longer one is cut into this many equal stretches.

    Returns:
        The edges of the steps in nanoseconds, one more than there are steps; the mean of each state (rows: running,
        ready, waiting) in each step; the highest total in each step.
    """
    times = np.array([*(counts.time_ns for counts in staircase), max(end_ns, staircase[-1].time_ns + 1)], dtype=float)
    values = np.array([(counts.running, counts.ready, counts.waiting) for counts in staircase], dtype=float).T
    totals = values.sum(axis=0)
    if len(staircase) <= most:
        return times, values, totals
    edges = np.linspace(times[0], times[-1], most + 1)
    areas = np.concatenate([np.zeros((3, 1)), np.cumsum(values * np.diff(times), axis=1)], axis=1)
    means = np.stack([np.diff(np.interp(edges, times, area)) for area in areas]) / (edges[1] - edges[0])
    # What held when a stretch began counts for it too.
    first = np.searchsorted(times, edges[:-1], side="right") - 1
    last = np.maximum(np.searchsorted(times, edges[1:], side="left"), first + 1)
    highest = np.array([totals[begin:end].max() for begin, end in zip(first, last, strict=True)])
    return edges, means, highest
