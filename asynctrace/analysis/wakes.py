"""Which task woke which."""

from __future__ import annotations

from dataclasses import dataclass

from asynctrace.model.trace import Task, Trace


@dataclass(frozen=True, slots=True)
class Wake:
    """`waker` made `woken` ready at `time_ns`."""

    time_ns: int
    waker: Task
    woken: Task


def wakes(trace: Trace) -> list[Wake]:
    """Return every wake of a task by another task, ascending by time.

    Being created is no wake; one that was ready when the trace begins was woken before. A task that was woken during
    its own step counts from the end of that step.
    """
    found: list[Wake] = []
    for task in trace.tasks:
        for index, state in enumerate(task.states):
            waker = state.cause.task if state.kind == "ready" and state.cause is not None else None
            if waker is not None and waker is not task and index:
                found.append(Wake(state.start_ns, waker, task))
    return sorted(found, key=lambda wake: wake.time_ns)
