"""Cuts a part in two, as a recording does whose oldest events go: what is left, and what has to be equal to it."""

from __future__ import annotations

from dataclasses import replace
from itertools import chain
from typing import Any

from asynctrace import events as ev
from asynctrace.events import Event, Part
from asynctrace.model.build import build_trace
from asynctrace.model.content import content
from asynctrace.model.trace import Trace
from asynctrace.recorder.fold import Fold

_STEP_NS = 1000


def with_distinct_times(part: Part) -> Part:
    """Give each event a time of its own, so that a time is before an event or after it.

    Events that tell what was there before stay together: halfway through them nobody knows it yet.
    """
    events: list[Event] = []
    time_ns, earlier_ns, is_prelude = part.start_ns, 0, False
    for original_ns, *fields in part.events:
        is_prelude = (is_prelude and original_ns == earlier_ns) or bool(fields[5] & ev.SEEN_LATE)
        if not (is_prelude and original_ns == earlier_ns):
            time_ns += _STEP_NS
        earlier_ns = original_ns
        events.append((time_ns, *fields))  # type: ignore[arg-type]
    return replace(part, events=events, end_ns=time_ns + _STEP_NS)


def cuts(part: Part) -> list[int]:
    """Return the indexes of the events before which a part can be cut."""
    return [index for index in range(1, len(part.events)) if part.events[index - 1][0] < part.events[index][0]]


def fold_of(events: list[Event]) -> Fold:
    """Return the fold of events."""
    fold = Fold()
    fold.advance(list(chain.from_iterable(events)))
    return fold


def folded(part: Part, index: int) -> Part:
    """Return the part without its first `index` events: their base is in their place."""
    time_ns = part.events[index][0]
    base = fold_of(part.events[:index]).base(time_ns)
    assert all(event[0] == time_ns for event in base)
    return replace(part, start_ns=time_ns, events=base + part.events[index:])


def clipped(part: Part, index: int) -> Trace:
    """Return the trace of the whole part, clipped to the window that begins where `folded` cuts."""
    return build_trace([part], window=(part.events[index][0], part.end_ns))


def shown(trace: Trace) -> dict[str, Any]:
    """Return what a trace shows, so that two of them compare."""
    for thread in trace.threads:
        thread.id = thread.name  # type: ignore[assignment]  # only those that something happens on are numbered
    for loop in trace.loops:
        loop.id = loop.type  # type: ignore[assignment]
    fields = dict(content(trace))
    return {name: fields[name] for name in ("tasks", "coroutines", "calls", "jobs", "marks")}
