"""Which of the coroutines inside a task are its pieces of work."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence, Set

from asynctrace.analysis.intervals import length, merged
from asynctrace.analysis.row_names import short_name
from asynctrace.model.trace import Coroutine, Task, Trace

_NEXT_TO_ALL = 0.9  # of a coroutine's life, spent inside those that it awaits


def nested_coroutines(trace: Trace) -> dict[Coroutine, list[Coroutine]]:
    """Return, by coroutine of the user's, those of the user's that it awaited, directly or through a library's."""
    nested: dict[Coroutine, list[Coroutine]] = defaultdict(list)
    for coroutine in trace.coroutines:
        if not coroutine.is_user or coroutine.is_generator:
            continue
        awaiter = coroutine.awaiter
        while awaiter is not None and not awaiter.is_user:
            awaiter = awaiter.awaiter
        if awaiter is not None:
            nested[awaiter].append(coroutine)
    return nested


def work_inside(task: Task, nested: Mapping[Coroutine, Sequence[Coroutine]], names: Set[str]) -> list[Coroutine]:
    """Return the coroutines that are the task's pieces of work, empty when it is the task as a whole.

    The main task of a loop (which nobody created) often only awaits others, one after the other: those do the work. A
    task that was created is a piece of work itself, unless the other versions know what is inside it.

    Args:
        task: A task with a row of its own.
        nested: From `nested_coroutines`.
        names: What the pieces of work are called in the other versions.
    """
    root = task.coroutine
    if root is None or short_name(task.label) in names:
        return []
    chosen: list[Coroutine] = []
    waiting = list(reversed(nested.get(root, ())))
    has_descended = task.creator is None and _delegates(root, nested)
    while waiting:
        coroutine = waiting.pop()
        if short_name(coroutine.name) in names:
            chosen.append(coroutine)
        elif _knows(coroutine, nested, names) or (has_descended and _delegates(coroutine, nested)):
            waiting.extend(reversed(nested[coroutine]))
        elif has_descended:
            chosen.append(coroutine)
    return chosen


def _delegates(coroutine: Coroutine, nested: Mapping[Coroutine, Sequence[Coroutine]]) -> bool:
    """Return whether `coroutine` spent next to all of its life inside those that it awaited."""
    inside = length(merged((one.started_ns, one.end_ns) for one in nested.get(coroutine, ())))
    return inside > 0 and inside >= _NEXT_TO_ALL * (coroutine.end_ns - coroutine.started_ns)


def _knows(coroutine: Coroutine, nested: Mapping[Coroutine, Sequence[Coroutine]], names: Set[str]) -> bool:
    """Return whether something inside `coroutine` has one of `names`."""
    waiting = list(nested.get(coroutine, ()))
    while waiting:
        one = waiting.pop()
        if short_name(one.name) in names:
            return True
        waiting.extend(nested.get(one, ()))
    return False
