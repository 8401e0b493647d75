"""How many tasks were running, ready and waiting at each moment."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

from asynctrace.analysis.stretches import Stretch, call_stretches, task_stretches
from asynctrace.model.trace import StateKind, Trace


@dataclass(slots=True, unsafe_hash=True)  # not frozen: a large trace has very many, and that makes each slower
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
    # By time, for each state: a list for each time would be very many objects.
    changes: dict[StateKind, dict[int, int]] = {kind: defaultdict(int) for kind in ("running", "ready", "waiting")}
    for stretch in stretches:
        start = max(stretch.start_ns, start_ns)
        end = stretch.end_ns if end_ns is None else min(stretch.end_ns, end_ns)
        if start < end:
            change = changes[stretch.kind]
            change[start] += 1
            change[end] -= 1
    staircase: list[Counts] = []
    running = ready = waiting = 0
    runs, gets_ready, waits = (change.get for change in changes.values())
    for time_ns in sorted({start_ns}.union(*changes.values())):
        more_running, more_ready, more_waiting = runs(time_ns, 0), gets_ready(time_ns, 0), waits(time_ns, 0)
        if more_running or more_ready or more_waiting or not staircase:
            running, ready, waiting = running + more_running, ready + more_ready, waiting + more_waiting
            staircase.append(Counts(time_ns, running, ready, waiting))
    return staircase
