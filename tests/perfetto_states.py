"""What a Perfetto file says of each task's states, and what the model says: it has to be the same, to the nanosecond.

Of the file it is found twice: in its own messages, and by SQL in the real trace processor.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, cast

from asynctrace.model.trace import State, Task, Trace
from tests.perfetto_view import Slice, View

_TOLD_LAG_NS = 1_000_000


@dataclass
class Sums:
    """One task: when it was created, nanoseconds by state; of states that have ended, kinds of waits and causes."""

    created_ns: int
    running: int = 0
    ready: int = 0
    waiting: int = 0
    waits: Counter[str] = field(default_factory=Counter)
    causes: Counter[str] = field(default_factory=Counter)

    def key(self) -> tuple[Any, ...]:
        """Return what is compared, in an order."""
        counted = (sorted(self.waits.items()), sorted(self.causes.items()))
        return (self.created_ns, self.running, self.ready, self.waiting, *counted)


_SQL = """
with named as (
  select id, name, ts, dur >= 0 as has_end, iif(dur >= 0, dur, {end_ns} - ts) as dur, depth,
    extract_arg(arg_set_id, 'correlation_id') as task,
    track_id in (select id from thread_track) as is_step,
    extract_arg(arg_set_id, 'debug.wait') as wait, extract_arg(arg_set_id, 'debug.cause') as cause
  from slice
),
tasks as (select id, task, ts as created_ns from named where task is not null and not is_step),
states as (
  select (select a.id from ancestor_slice(named.id) a where a.depth = 0) as task_slice,
    sum(iif(name = 'ready', dur, 0)) as ready, sum(iif(name glob 'waiting*', dur, 0)) as waiting,
    group_concat(iif(has_end, wait, null)) as waits, group_concat(iif(has_end, cause, null)) as causes
  from named where not is_step and (name = 'ready' or name glob 'waiting*') group by task_slice
),
steps as (select task, sum(dur) as running from named where is_step and task is not null group by task)
select created_ns, ifnull(running, 0) as running, ifnull(ready, 0) as ready, ifnull(waiting, 0) as waiting,
  ifnull(waits, '') as waits, ifnull(causes, '') as causes
from tasks left join steps using (task) left join states on task_slice = tasks.id
"""


def query(end_ns: int) -> str:
    """Return what to ask the trace processor; what has no end goes on to the end of the recording."""
    return _SQL.format(end_ns=end_ns)


def of_sql(rows: Iterable[dict[str, Any]]) -> list[Sums]:
    """Return the sums that the trace processor answered."""
    return [
        Sums(
            row["created_ns"],
            row["running"],
            row["ready"],
            row["waiting"],
            Counter(filter(None, row["waits"].split(","))),
            Counter(filter(None, row["causes"].split(","))),
        )
        for row in rows
    ]


def of_view(view: View, end_ns: int) -> list[Sums]:
    """Return the sums of the slices; what has no end goes on to the end of the recording."""
    tasks: dict[int, Sums] = {}
    for one in view.slices:
        if one.number and "asyncio tasks" in one.track:
            tasks[one.number] = Sums(one.start_ns)
    for one in view.slices:
        duration_ns = (end_ns if one.end_ns is None else one.end_ns) - one.start_ns
        if "asyncio tasks" not in one.track:
            if one.number:
                tasks[one.number].running += duration_ns
        elif is_state(one):
            sums = tasks[_outermost(one).number]
            if one.name == "ready":
                sums.ready += duration_ns
            else:
                sums.waiting += duration_ns
            if one.end_ns is not None:
                sums.waits.update({str(one.arguments["wait"]): 1} if "wait" in one.arguments else {})
                sums.causes.update({str(one.arguments["cause"]): 1} if "cause" in one.arguments else {})
    return list(tasks.values())


def is_state(one: Slice) -> bool:
    """Return whether a slice of a task's track is a state: coroutines can be called anything, but have a place."""
    return one.name.startswith("waiting") or (one.name == "ready" and "place" not in one.arguments)


def of_model(trace: Trace) -> list[Sums]:
    """Return the sums of the model."""
    return [_of_task(task, trace.end_ns) for task in trace.tasks]


def _of_task(task: Task, end_ns: int) -> Sums:
    sums = Sums(task.created_ns)
    for state in task.states:
        duration_ns = state.end_ns - state.start_ns
        setattr(sums, state.kind, getattr(sums, state.kind) + duration_ns)
        if task.finished_ns is None and state is task.states[-1]:
            continue
        if state.wait is not None:
            sums.waits[state.wait.kind] += 1
        if state.cause is not None:
            sums.causes[state.cause.kind] += 1
    return sums


def same(found: list[Sums], expected: list[Sums]) -> None:
    """Assert that both say the same of all tasks."""
    assert sorted(each.key() for each in found) == sorted(each.key() for each in expected)


def lags(trace: Trace) -> list[tuple[int, int]]:
    """Return (when a step began, how long its task had been ready) of the steps of which that is told."""
    return sorted(
        (after.start_ns, after.start_ns - before.start_ns)
        for task in trace.tasks
        for before, after in zip(task.states, task.states[1:], strict=False)
        if before.kind == "ready" and after.kind == "running" and after.start_ns - before.start_ns >= _TOLD_LAG_NS
    )


def _outermost(one: Slice) -> Slice:
    while one.inside is not None:
        one = one.inside
    return one


def check_expressions(view: View, trace: Trace) -> None:
    """Check what the waits say of the code that waits; one that begins and ends with another is left out."""
    waits: dict[tuple[int, int], list[State]] = defaultdict(list)
    for task in trace.tasks:
        for state in task.states:
            if state.kind == "waiting":
                waits[state.start_ns, state.end_ns].append(state)
    for one in view.slices:
        found = waits.get((one.start_ns, one.end_ns or 0), [])
        if len(found) != 1 or not one.name.startswith("waiting") or not is_state(one):
            continue
        wait = found[0].wait
        assert wait is not None
        if "expression" not in one.arguments:
            # Nobody's, asyncio's own, or a library's that awaits a task, which is named instead.
            assert wait.file is None or "/asyncio/" in wait.file or wait.awaited is not None or wait.expression is None
            continue
        assert one.arguments["expression"] == wait.expression
        file, _, line = cast("tuple[str, str, int]", one.arguments["place"])
        assert (file, line) == (wait.file, wait.line)
