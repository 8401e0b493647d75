"""Set operations on half-open intervals [start_ns, end_ns), in nanoseconds."""

from __future__ import annotations

from collections.abc import Iterable

Interval = tuple[int, int]


def merged(intervals: Iterable[Interval]) -> list[Interval]:
    """Return the union of `intervals`: disjoint, ascending, none empty, none touching the next."""
    result: list[Interval] = []
    latest = None  # the end of the last one so far
    for interval in sorted(intervals):
        start, end = interval
        if start >= end:
            continue
        if latest is None or start > latest:
            result.append(interval)
            latest = end
        elif end > latest:
            result[-1] = (result[-1][0], end)
            latest = end
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
    result: list[Interval] = []
    within = merged(others)
    first = 0
    for start, end in merged(intervals):
        while first < len(within) and within[first][1] <= start:
            first += 1
        for index in range(first, len(within)):
            other_start, other_end = within[index]
            if other_start >= end:
                break
            result.append((max(start, other_start), min(end, other_end)))
    return result


def length(intervals: Iterable[Interval]) -> int:
    """Return how long `intervals` last together; they must be disjoint."""
    return sum(end - start for start, end in intervals)
