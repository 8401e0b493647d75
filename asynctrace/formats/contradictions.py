"""What a file says that cannot be, though each of its bytes may be read: numbers out of range, time that goes back."""

from __future__ import annotations

from collections.abc import Iterable

from asynctrace.events import Part

_HIGHEST = (1 << 63) - 1


def contradiction(parts: Iterable[Part], window: tuple[int, int] | None) -> str | None:
    """Return the first thing that cannot be in the parts of a recording and its window, None where there is none.

    What one event says of another (a task that goes on after its end) is not looked at here: whoever builds the trace
    passes over an event that does not fit.
    """
    if window is not None and not 0 <= window[0] <= window[1] <= _HIGHEST:
        return "the recording ends before it begins"
    for part in parts:
        if not 0 <= part.start_ns <= part.end_ns <= _HIGHEST:
            return f"process {part.pid} ends before it begins"
        if part.pid < 0 or min(part.wall_ns, part.cpu_ns) < 0:
            return f"process {part.pid} has a number below 0"
        before_ns = 0
        for event in part.events:
            time_ns, thread, kind, subject, other, site, flags = event
            # A negative number, and one that is too high, leave bits above the 63 that all of them have.
            if time_ns < before_ns or (time_ns | thread | kind | subject | other | site | flags) >> 63:
                return f"an event of process {part.pid} has a number out of range"
            before_ns = time_ns
    return None
