"""Who held the loop while others were ready."""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import accumulate

from asynctrace.analysis.intervals import Interval, intersect, length, merged, subtract
from asynctrace.model.trace import Coroutine, Loop, Task, Trace

LONG_NS = 50_000_000


@dataclass(frozen=True, slots=True)
class Holding:
    """A step (or a plain callback) that held its loop while other tasks of it were ready.

    `name`, `file` and `line` are those of the coroutine that ran for most of it, the user's where there is one.
    `kept_ready` counts the tasks that were ready at some time during it.
    """

    start_ns: int
    end_ns: int
    name: str
    file: str
    line: int
    kept_ready: int
    task: Task | None


def holding_steps(trace: Trace, *, at_least_ns: int = LONG_NS, most: int | None = None) -> list[Holding]:
    """Return the steps that kept another task ready for `at_least_ns` or longer, the longest step first.

    Args:
        trace: Any trace.
        at_least_ns: How long at least one other task must have been ready meanwhile.
        most: How many to return; None for all.
    """
    ready: dict[Loop, list[tuple[int, int, Task]]] = defaultdict(list)
    holders: dict[Loop, list[tuple[int, int, Task | None, str, str, int]]] = defaultdict(list)
    for each in trace.tasks:
        if each.loop is None:
            continue
        for state in each.states:
            if state.kind == "ready":
                ready[each.loop].append((state.start_ns, state.end_ns, each))
            elif state.kind == "running" and state.end_ns - state.start_ns >= at_least_ns:
                holders[each.loop].append((state.start_ns, state.end_ns, each, each.label, each.file, each.line))
    for loop in trace.loops:
        for ran in loop.callbacks:
            if ran.end_ns - ran.start_ns >= at_least_ns:
                holders[loop].append((ran.start_ns, ran.end_ns, None, ran.name, ran.file, ran.line))
    found: list[Holding] = []
    for loop, steps in holders.items():
        queue = sorted(ready[loop], key=lambda entry: entry[0])
        begins = [start for start, _, _ in queue]
        latest_ends = list(accumulate((end for _, end, _ in queue), max))
        for start, end, task, name, file, line in _outermost(steps):
            kept: set[Task] = set()
            longest_ns = 0
            # To the left until everything had ended before the step: most queues are first in, first out, so soon.
            index = bisect_left(begins, end) - 1
            while index >= 0 and latest_ends[index] > start:
                first, last, other = queue[index]
                if last > start and other is not task:
                    kept.add(other)
                    longest_ns = max(longest_ns, min(last, end) - max(first, start))
                index -= 1
            if longest_ns >= at_least_ns:
                found.append(Holding(start, end, name, file, line, len(kept), task))
    found.sort(key=lambda held: (held.start_ns - held.end_ns, held.start_ns))
    return [_named(held, trace) for held in found[:most]]


def _outermost(
    steps: Iterable[tuple[int, int, Task | None, str, str, int]],
) -> list[tuple[int, int, Task | None, str, str, int]]:
    """Leave out steps inside another one (an eager task's first): the outer one holds the loop."""
    result: list[tuple[int, int, Task | None, str, str, int]] = []
    for step in sorted(steps, key=lambda step: (step[0], -step[1])):
        if not result or step[1] > result[-1][1]:
            result.append(step)
    return result


def _named(held: Holding, trace: Trace) -> Holding:
    """Return `held` under the name of the coroutine that ran longest in it, instead of its task's."""
    if held.task is None:
        return held
    step = [(held.start_ns, held.end_ns)]
    active: dict[Coroutine, list[Interval]] = {}
    for coroutine in trace.coroutines:
        if coroutine.task is held.task and coroutine.started_ns < held.end_ns and coroutine.end_ns > held.start_ns:
            pauses = [(pause.start_ns, pause.end_ns) for pause in coroutine.suspensions]
            active[coroutine] = intersect(subtract([(coroutine.started_ns, coroutine.end_ns)], pauses), step)
    inner: dict[Coroutine, list[Interval]] = defaultdict(list)
    for coroutine, intervals in active.items():
        if coroutine.awaiter is not None:
            inner[coroutine.awaiter] += intervals
    own_ns: dict[Coroutine, int] = defaultdict(int)
    for coroutine, intervals in active.items():
        # What a library's coroutine ran is told under the user's coroutine that awaited it.
        owner: Coroutine | None = coroutine
        while owner is not None and not owner.is_user:
            owner = owner.awaiter
        own_ns[owner or coroutine] += length(subtract(intervals, merged(inner[coroutine])))
    if not own_ns:
        return held
    most = max(own_ns, key=lambda coroutine: (own_ns[coroutine], -coroutine.id))
    return Holding(held.start_ns, held.end_ns, most.name, most.file, most.line, held.kept_ready, held.task)
