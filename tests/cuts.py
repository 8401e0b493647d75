"""Cuts a part in two, as a recording does whose oldest events go; says what is left, and what that has to equal."""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any

from asynctrace import cores
from asynctrace import events as ev
from asynctrace.events import Event, Part
from asynctrace.formats import save_parts
from asynctrace.model.build import build_trace
from asynctrace.model.content import content
from asynctrace.model.tasks import short_name
from asynctrace.model.trace import Trace
from asynctrace.recorder.fold import AnyFold, Fold
from tests.perfetto_view import view

_STEP_NS = 1000
_COMPARED = ("tasks", "coroutines", "calls", "jobs", "marks", "loops")


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


def flat(events: Iterable[Event]) -> array[int]:
    """Return events as a fold takes them."""
    return array("q", list(chain.from_iterable(events)))


def new_fold() -> AnyFold:
    """Return a fold of the core that is tested."""
    if cores.native_module(cores.RECORDER) is None:
        return Fold()
    from asynctrace.recorder.native_fold import NativeFold

    return NativeFold()


def fold_of(events: Iterable[Event]) -> AnyFold:
    """Return the fold of events, of the core that is tested."""
    fold = new_fold()
    fold.advance(flat(events))
    return fold


def kept(fold: AnyFold) -> Fold:
    """Return what a fold keeps, as the reference has it."""
    if isinstance(fold, Fold):
        return fold
    from asynctrace.recorder.native_fold import NativeFold

    assert isinstance(fold, NativeFold)
    return fold.reference()


def folded(part: Part, index: int) -> Part:
    """Return the part without its first `index` events: their base is in their place."""
    time_ns = part.events[index][0]
    base = fold_of(part.events[:index]).base(time_ns)
    assert {event[0] for event in base} <= {time_ns}
    return replace(part, start_ns=time_ns, events=base + part.events[index:])


def assert_shows_the_same(part: Part, index: int) -> Trace:
    """Assert that a part cut there shows what the whole one does from there on; return the trace of what is left."""
    whole = build_trace([part], window=(part.events[index][0], part.end_ns))
    kept, returned = build_trace([folded(part, index)]), build_trace([folded(part, index)])
    assert len(kept.tasks) == len(whole.tasks)
    sites = (part.sites[event[5]] for event in part.events if event[2] == ev.TASK_CREATED)
    users_roots = {short_name(site.name) for site in sites if site.is_user}
    for before, after in zip(whole.tasks, kept.tasks, strict=True):
        if before.label not in users_roots:
            # Named by the first of the user's coroutines that it ran: of those that are known.
            before.label, before.file, before.line, before.is_user = after.label, after.file, after.line, after.is_user
        if before.coroutine is None:
            after.coroutine = None  # its first root has ended, and the next one is the first that is known
    if not kept.loops:
        whole.loops = ()  # it is gone, and with it all that it did
    assert _comparable(kept) == _comparable(whole), f"cut at {index}"
    return returned


def _comparable(trace: Trace) -> dict[str, Any]:
    for thread in trace.threads:
        thread.id = thread.name  # type: ignore[assignment]  # numbered are only those on which something happens
    fields = dict(content(trace))
    return {name: fields[name] for name in _COMPARED}


def slices_from(part: Part, time_ns: int, path: Path) -> Counter[tuple[Any, ...]]:
    """Return what the Perfetto UI shows of a part after a time: (track, name, start, end), clipped to that time."""
    save_parts((part,), path)
    return Counter(
        (one.track, one.name, max(one.start_ns, time_ns), one.end_ns)
        for one in view(path).slices
        if one.end_ns is None or one.end_ns > time_ns
    )
