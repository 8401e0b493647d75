"""The nested coroutines inside a task, level by level."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

from asynctrace.analysis.intervals import Interval, subtract
from asynctrace.model.trace import Coroutine, Task, Trace


@dataclass(frozen=True, slots=True)
class Slice:
    """One coroutine of a task, at a level below the task's own coroutine. `active`: when it was not suspended."""

    coroutine: Coroutine
    level: int
    active: tuple[Interval, ...]


def coroutine_slices(trace: Trace) -> dict[Task, list[Slice]]:
    """Return the user's coroutines that each task ran, in the order of their start.

    The outermost one is the task itself and is left out where it is alone at the top. A coroutine is below what awaits
    it, and lower where something else is there at that time (an async generator that is suspended at a value).
    """
    of_task: dict[Task, list[Coroutine]] = defaultdict(list)
    for coroutine in trace.coroutines:
        if coroutine.task is not None and coroutine.is_user:
            of_task[coroutine.task].append(coroutine)
    return {task: found for task, coroutines in of_task.items() if (found := _levels(coroutines))}


def _levels(coroutines: list[Coroutine]) -> list[Slice]:
    own = set(coroutines)
    tops = [coroutine for coroutine in coroutines if _awaiter(coroutine, own) is None]
    level_of: dict[Coroutine, int] = {}
    if len(tops) == 1:
        level_of[tops[0]] = -1
    free_from: list[int] = []  # for each level, when its last coroutine ended
    found: list[Slice] = []
    for coroutine in sorted(coroutines, key=lambda coroutine: (coroutine.started_ns, coroutine.id)):
        if coroutine in level_of:
            continue
        awaiter = _awaiter(coroutine, own)
        level = level_of.get(awaiter, -1) + 1 if awaiter is not None else 0
        while level < len(free_from) and free_from[level] > coroutine.started_ns:
            level += 1
        free_from.extend([0] * (level + 1 - len(free_from)))
        free_from[level] = coroutine.end_ns
        level_of[coroutine] = level
        pauses = [(pause.start_ns, pause.end_ns) for pause in coroutine.suspensions]
        found.append(Slice(coroutine, level, tuple(subtract([(coroutine.started_ns, coroutine.end_ns)], pauses))))
    return found


def _awaiter(coroutine: Coroutine, own: set[Coroutine]) -> Coroutine | None:
    """Return the nearest of `own` that awaits `coroutine`: a library's coroutines between them are passed over."""
    awaiter = coroutine.awaiter
    while awaiter is not None and awaiter not in own:
        awaiter = awaiter.awaiter
    return awaiter
