"""How many tasks were running, ready and waiting at each moment."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

from asynctrace.analysis.stretches import Stretch, call_stretches, task_stretches
from asynctrace.model.trace import Trace

_INDEX = {"running": 0, "ready": 1, "waiting": 2}


@dataclass(frozen=True, slots=True)
class Counts:
    """How many were in each state from `time_ns` on."""

    time_ns: int
    running: int
    ready: int
    waiting: int

    @property
    def total(self) -> int:
        return self.running + self.ready + self.waiting


def state_counts(trace: Trace) -> list[Counts]:
    """Return the number of tasks in each state, as a staircase; of calls, when there are no tasks.

    asyncio's own tasks are left out. A call off the loop waits while a call that blocks holds it, and runs else.

    Returns:
        Ascending by time, from `trace.start_ns` on; the counts differ at each time.
    """
    tasks = [task for task in trace.tasks if not task.is_internal]
    if tasks:
        return counted((stretch for task in tasks for stretch in task_stretches(task)), trace.start_ns, trace.end_ns)
    return counted((stretch for stretches in call_stretches(trace).values() for stretch in stretches), trace.start_ns)


def counted(stretches: Iterable[Stretch], start_ns: int, end_ns: int | None = None) -> list[Counts]:
    """Return how many of `stretches` were in each state, as a staircase from `start_ns` on, clipped to `end_ns`."""
    changes: dict[int, list[int]] = defaultdict(lambda: [0, 0, 0])
    changes[start_ns] = [0, 0, 0]
    for stretch in stretches:
        start = max(stretch.start_ns, start_ns)
        end = stretch.end_ns if end_ns is None else min(stretch.end_ns, end_ns)
        if start < end:
            index = _INDEX[stretch.kind]
            changes[start][index] += 1
            changes[end][index] -= 1
    staircase: list[Counts] = []
    running = ready = waiting = 0
    for time_ns in sorted(changes):
        change = changes[time_ns]
        if not any(change) and staircase:
            continue
        running, ready, waiting = running + change[0], ready + change[1], waiting + change[2]
        staircase.append(Counts(time_ns, running, ready, waiting))
    return staircase
