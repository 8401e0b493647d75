"""Parts that are merged on the command line, and what must then be in the trace."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from integration import trace_rules as rules

from asynctrace.cli import main
from asynctrace.events import Part
from asynctrace.formats import load, save_parts
from asynctrace.model.trace import Task, Trace


def moved(part: Part, by_ns: int, wall_by_ns: int | None = None) -> Part:
    """Return a part that began later, by the wall clock as much later if nothing else is said."""
    return replace(
        part,
        start_ns=part.start_ns + by_ns,
        end_ns=part.end_ns + by_ns,
        wall_ns=part.wall_ns + (by_ns if wall_by_ns is None else wall_by_ns),
        events=[(time_ns + by_ns, *rest) for time_ns, *rest in part.events],
    )


def merged(*parts: Part) -> Trace:
    """Save each part in a file of its own, merge these on the command line, and load what comes out."""
    names = [f"{number}.pftrace" for number in range(len(parts))]
    for name, part in zip(names, parts, strict=True):
        save_parts((part,), name)
    assert main(["merge", *names, "-o", "merged.pftrace", "--force"]) == 0
    return load("merged.pftrace")


def of_tasks(traces: Sequence[Trace]) -> Counter[Any]:
    """Return what each task is and did, to the nanosecond, without numbers that are those of the trace."""

    def one(task: Task) -> Any:
        states = tuple(
            (state.kind, state.start_ns, state.end_ns, state.wait and (state.wait.kind, state.wait.expression))
            for state in task.states
        )
        creator = task.creator and (task.creator.name, task.creator.created_ns)
        return task.name, task.label, task.created_ns, task.finished_ns, task.outcome, creator, states, task.blockings

    return Counter(one(task) for trace in traces for task in trace.tasks)


def of_coroutines(traces: Sequence[Trace]) -> Counter[Any]:
    return Counter(
        (
            each.name,
            each.started_ns,
            each.finished_ns,
            each.outcome,
            each.suspensions,
            each.awaiter and each.awaiter.name,
        )
        for trace in traces
        for each in trace.coroutines
    )


def is_union(whole: Trace, traces: Sequence[Trace]) -> None:
    """Assert that a merged trace has what the others have, and nothing else."""
    assert of_tasks([whole]) == of_tasks(traces)
    assert of_coroutines([whole]) == of_coroutines(traces)
    for what in ("calls", "jobs", "loops", "threads", "processes", "marks"):
        assert len(getattr(whole, what)) == sum(len(getattr(trace, what)) for trace in traces)
    assert whole.lost == sum(trace.lost for trace in traces)
    assert whole.start_ns == min(trace.start_ns for trace in traces)
    assert whole.end_ns == max(trace.end_ns for trace in traces)
    rules.states_add_up(whole)
