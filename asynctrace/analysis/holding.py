"""Who held the loop while others were ready, or were due."""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, replace
from itertools import accumulate

from asynctrace.analysis.intervals import Interval, intersect, length, merged, subtract
from asynctrace.model.trace import Coroutine, Loop, Task, Trace

LONG_NS = 50_000_000
_RIGHT_AFTER_NS = 1_000_000


@dataclass(frozen=True, slots=True)
class Holding:
    """A step (or a plain callback) that held its loop while other tasks of it were ready.

    `name`, `file` and `line` are those of the coroutine that ran for most of it, the user's where there is one; of a
    library's step without known coroutines, those of the user's call that blocked for most of it.
    `kept_ready` counts the tasks that were ready at some time during it. `woken_after` counts those that waited through
    all of it for I/O or a thread and were woken within 1 ms of its end: the loop looks for these only between steps, so
    when they could have been woken is not known. (A timer's task is ready since the timer was due.)
    """

    start_ns: int
    end_ns: int
    name: str
    file: str
    line: int
    kept_ready: int
    woken_after: int
    task: Task | None

    @property
    def consequence(self) -> str:
        """What it did to others: "48 kept waiting", "3 woken right after", or both."""
        parts = [f"{self.kept_ready:,} kept waiting"] if self.kept_ready or not self.woken_after else []
        if self.woken_after:
            parts.append(f"{self.woken_after:,} woken right after")
        return ", ".join(parts)


def holding_steps(
    trace: Trace, *, at_least_ns: int = LONG_NS, most: int | None = None, with_woken: bool = False
) -> list[Holding]:
    """Return the steps that kept another task ready for `at_least_ns` or longer, the longest step first.

    Args:
        trace: Any trace.
        at_least_ns: How long at least one other task must have been ready meanwhile.
        most: How many to return; None for all.
        with_woken: Whether to return those of `at_least_ns`, too, that kept nobody ready but after which somebody was
            woken at once.
    """
    holders: dict[Loop, list[tuple[int, int, Task | None, str, str, int]]] = defaultdict(list)
    for each in trace.tasks:
        if each.loop is None:
            continue
        for state in each.states:
            if state.end_ns - state.start_ns >= at_least_ns and state.kind == "running":
                holders[each.loop].append((state.start_ns, state.end_ns, each, each.label, each.file, each.line))
    for loop in trace.loops:
        for ran in loop.callbacks:
            if ran.end_ns - ran.start_ns >= at_least_ns:
                holders[loop].append((ran.start_ns, ran.end_ns, None, ran.name, ran.file, ran.line))
    ready: dict[Loop, list[tuple[int, int, Task]]] = defaultdict(list)
    woken: dict[Loop, list[tuple[int, int]]] = defaultdict(list)  # (when, since when it had waited)
    for each in trace.tasks:
        if each.loop not in holders:
            continue  # most programs never hold their loop so long
        waiting_since: int | None = None
        for state in each.states:
            if state.kind == "ready":
                ready[each.loop].append((state.start_ns, state.end_ns, each))
                if waiting_since is not None and (state.cause is None or state.cause.kind not in ("task", "timer")):
                    woken[each.loop].append((state.start_ns, waiting_since))
            waiting_since = state.start_ns if state.kind == "waiting" else None
    found: list[Holding] = []
    for loop, steps in holders.items():
        queue = sorted(ready[loop], key=lambda entry: entry[0])
        begins = [start for start, _, _ in queue]
        alarms = sorted(woken[loop])
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
            after = alarms[bisect_left(alarms, (end, 0)) : bisect_left(alarms, (end + _RIGHT_AFTER_NS, 0))]
            late = sum(since <= start for _, since in after)
            if longest_ns >= at_least_ns or (with_woken and late):
                found.append(Holding(start, end, name, file, line, len(kept), late, task))
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
    # The first step of an eager task runs inside its creator's.
    inside = {held.task}
    for task in trace.tasks:
        if task.is_eager and task.creator in inside and held.start_ns <= task.created_ns < held.end_ns:
            inside.add(task)
    active: dict[Coroutine, list[Interval]] = {}
    for coroutine in trace.coroutines:
        if coroutine.task in inside and coroutine.started_ns < held.end_ns and coroutine.end_ns > held.start_ns:
            pauses = [(pause.start_ns, pause.end_ns) for pause in coroutine.suspensions]
            active[coroutine] = intersect(subtract([(coroutine.started_ns, coroutine.end_ns)], pauses), step)
    inner: dict[Coroutine, list[Interval]] = defaultdict(list)
    eager: dict[Task, list[Interval]] = defaultdict(list)  # by creator
    for coroutine, intervals in active.items():
        if coroutine.awaiter is not None:
            inner[coroutine.awaiter] += intervals
        elif coroutine.task is not None and coroutine.task is not held.task and coroutine.task.creator is not None:
            eager[coroutine.task.creator] += intervals
    own_ns: dict[Coroutine, int] = defaultdict(int)
    for coroutine, intervals in active.items():
        # What a library's coroutine ran is told under the user's coroutine that awaited it.
        owner: Coroutine | None = coroutine
        while owner is not None and not owner.is_user:
            owner = owner.awaiter
        within = inner[coroutine] + (eager[coroutine.task] if coroutine.task is not None else [])
        own_ns[owner or coroutine] += length(subtract(intervals, merged(within)))
    if not own_ns:
        return held if held.task.is_user else _named_by_blocking(held, held.task)
    most = max(own_ns, key=lambda coroutine: (own_ns[coroutine], -coroutine.id))
    return replace(held, name=most.name, file=most.file, line=most.line)


def _named_by_blocking(held: Holding, task: Task) -> Holding:
    """Return `held` under the name of the longest call that blocked, where that was most of it."""
    calls = [one for one in task.blockings if one.file and held.start_ns <= one.start_ns < held.end_ns]
    longest = max(calls, key=lambda one: one.end_ns - one.start_ns, default=None)
    if longest is None or 2 * (longest.end_ns - longest.start_ns) < held.end_ns - held.start_ns:
        return held
    return replace(
        held, name=longest.expression or longest.primitive, file=longest.file or held.file, line=longest.line or 0
    )
