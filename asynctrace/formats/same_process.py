"""Whether two parts hold the same events: a process recorded twice at once, such as a snapshot and the whole."""

from __future__ import annotations

from asynctrace.events import CALL_STARTED, SEEN_LATE, STEP_STARTED, TASK_CREATED, Part

_BEGINNINGS = (TASK_CREATED, STEP_STARTED, CALL_STARTED)


def recorded_twice(one: Part, other: Part) -> bool:
    """Tell whether two parts of one pid are of one process at one time.

    Not so for two processes that have one number, in containers or one after the other. Of one process, both parts have
    whatever begins while both were recorded, to the nanosecond, though one may have a narrower scope.
    """
    start_ns, end_ns = max(one.start_ns, other.start_ns), min(one.end_ns, other.end_ns)
    if start_ns > end_ns:
        return False
    few, many = sorted((_beginnings(one, start_ns, end_ns), _beginnings(other, start_ns, end_ns)), key=len)
    if not few:
        return (one.start_ns, one.wall_ns) == (other.start_ns, other.wall_ns)
    return 2 * len(few & many) >= len(few)  # a few times and numbers can be the same by chance


def _beginnings(part: Part, start_ns: int, end_ns: int) -> set[tuple[int, int, int]]:
    return {
        (time_ns, kind, subject)
        for time_ns, _, kind, subject, _, _, flags in part.events
        if kind in _BEGINNINGS and start_ns <= time_ns <= end_ns and not flags & SEEN_LATE
    }
