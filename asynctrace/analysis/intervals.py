"""Set operations on half-open intervals [start_ns, end_ns), in nanoseconds."""

from __future__ import annotations

from collections.abc import Iterable

Interval = tuple[int, int]


def merged(intervals: Iterable[Interval]) -> list[Interval]:
    """Return the union of `intervals`: disjoint, ascending, none empty, none touching the next."""
    result: list[Interval] = []
    for start, end in sorted(intervals):
        if start >= end:
            continue
        if result and start <= result[-1][1]:
            result[-1] = (result[-1][0], max(end, result[-1][1]))
        else:
            result.append((start, end))
    return result


def subtract(intervals: Iterable[Interval], holes: Iterable[Interval]) -> list[Interval]:
    """Return the parts of the union of `intervals` that lie in none of `holes`; ascending."""
    result: list[Interval] = []
    gaps = merged(holes)
    first = 0
    for start, end in merged(intervals):
        while first < len(gaps) and gaps[first][1] <= start:
            first += 1
        index = first
        while index < len(gaps) and gaps[index][0] < end:
            gap_start, gap_end = gaps[index]
            if start < gap_start:
                result.append((start, gap_start))
            start = max(start, gap_end)
            index += 1
        if start < end:
            result.append((start, end))
    return result


def intersect(intervals: Iterable[Interval], others: Iterable[Interval]) -> list[Interval]:
    """Return the parts of the union of `intervals` that also lie in one of `others`; ascending."""
    intervals = merged(intervals)
    return subtract(intervals, subtract(intervals, others))


def length(intervals: Iterable[Interval]) -> int:
    """Return how long `intervals` last together; they must be disjoint."""
    return sum(end - start for start, end in intervals)
