"""What is drawn in a row: stretches of running, ready and waiting, of tasks and of calls off the loop."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from asynctrace.analysis.at_work import call_work
from asynctrace.analysis.intervals import Interval, intersect, length, merged, subtract
from asynctrace.analysis.row_names import short_name
from asynctrace.model.trace import Blocking, Call, StateKind, Task, Thread, Trace

_NEXT_TO_NOTHING = 0.05  # of a thread's calls: less work than this, and the rest was a wait for other rows


@dataclass(slots=True, unsafe_hash=True)  # not frozen: a chart has very many, and that makes each four times slower
class Stretch:
    """A stretch in one state. `texts`: what to write into it, the fullest first, as far as there is room."""

    kind: StateKind
    start_ns: int
    end_ns: int
    texts: tuple[str, ...] = ()


def task_stretches(task: Task) -> list[Stretch]:
    """Return the states of `task`; a waiting one says what it waits for."""
    result: list[Stretch] = []
    for state in task.states:
        start_ns, end_ns, wait = state.start_ns, state.end_ns, state.wait
        if end_ns > start_ns:
            texts: tuple[str, ...] = ()
            if wait is not None:
                texts = (wait.expression, wait.kind) if wait.expression else (wait.kind,)
            result.append(Stretch(state.kind, start_ns, end_ns, texts))
    return result


def task_blockings(trace: Trace) -> dict[Task, list[Interval]]:
    """Return when each task held its loop inside a call that blocks, its own or one of a plain function it called."""
    found: dict[Task, list[Interval]] = defaultdict(list)
    for task in trace.tasks:
        if task.blockings:
            found[task] += _intervals(task.blockings)
    for call in trace.calls:
        if call.task is not None and call.blockings:
            found[call.task] += _intervals(call.blockings)
    return {task: merged(intervals) for task, intervals in found.items()}


def call_stretches(trace: Trace) -> dict[Thread, list[Stretch]]:
    """Return what each thread did off the loop: waiting in calls that block, running in the others.

    Calls inside a task's step, and what merely waited for other recorded work, are left out; so are threads of which
    next to nothing is left, unless there is nothing else.

    Returns:
        By thread, in the order of their first stretch; ascending and disjoint, calls nest and the innermost one counts.
    """
    if not trace.calls:
        return {}
    found: dict[Thread, list[Stretch]] = defaultdict(list)
    for call, intervals in call_work(trace).items():
        blocked: list[Interval] = []
        for blocking in call.blockings:
            texts = (blocking.expression, blocking.primitive) if blocking.expression else (blocking.primitive,)
            for start, end in intersect([(blocking.start_ns, blocking.end_ns)], intervals):
                blocked.append((start, end))
                found[call.thread].append(Stretch("waiting", start, end, texts))
        for start, end in subtract(intervals, blocked):
            found[call.thread].append(Stretch("running", start, end, (short_name(call.name),)))
    if len(found) > 1 or trace.tasks:
        for thread, calls in calls_at_work(trace).items():
            lived_ns = length(merged((call.started_ns, call.end_ns) for call in calls))
            if length((one.start_ns, one.end_ns) for one in found[thread]) < _NEXT_TO_NOTHING * lived_ns:
                del found[thread]
    for stretches in found.values():
        stretches.sort(key=lambda stretch: (stretch.start_ns, stretch.end_ns))
    return dict(sorted(found.items(), key=lambda item: (item[1][0].start_ns, item[0].id)))


def calls_at_work(trace: Trace) -> dict[Thread, list[Call]]:
    """Return the calls behind `call_stretches`, by thread, in the order of their start."""
    if not trace.calls:
        return {}
    found: dict[Thread, list[Call]] = defaultdict(list)
    for call, intervals in call_work(trace).items():
        if intervals:
            found[call.thread].append(call)
    for calls in found.values():
        calls.sort(key=lambda call: (call.started_ns, call.id))
    return dict(found)


def strongest(stretches: Iterable[Sequence[Stretch]]) -> list[Stretch]:
    """Return many rows as one: running where any of them ran, else ready where any was ready, else waiting."""
    by_kind: dict[StateKind, list[Interval]] = {"running": [], "ready": [], "waiting": []}
    for row in stretches:
        for stretch in row:
            by_kind[stretch.kind].append((stretch.start_ns, stretch.end_ns))
    result: list[Stretch] = []
    taken: list[Interval] = []
    for kind, intervals in by_kind.items():
        union = merged(intervals)
        result += [Stretch(kind, start, end) for start, end in subtract(union, taken)]
        taken = merged([*taken, *union])
    return sorted(result, key=lambda stretch: stretch.start_ns)


def _intervals(blockings: Iterable[Blocking]) -> list[Interval]:
    return [(blocking.start_ns, blocking.end_ns) for blocking in blockings]
