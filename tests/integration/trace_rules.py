"""What holds for every trace, each rule a function that asserts it."""

from __future__ import annotations

import bisect
from collections import defaultdict

from integration.generated_programs import Log

from asynctrace import events as ev
from asynctrace.model.trace import Coroutine, State, Task, Trace


def states_add_up(trace: Trace) -> None:
    """Ready, running and waiting follow each other without a gap and make up the lifetime of each task."""
    for task in trace.tasks:
        assert trace.start_ns <= task.created_ns <= task.end_ns <= trace.end_ns, _show(task)
        assert (task.finished_ns is None) == (task.outcome == "unfinished"), _show(task)
        assert task.end_ns in ([task.finished_ns] if task.finished_ns is not None else _ends(trace, task)), _show(task)
        at_ns = task.created_ns
        for state in task.states:
            assert state.start_ns == at_ns and state.start_ns <= state.end_ns, _show(task)
            assert state.kind in ("ready", "running", "waiting"), _show(task)
            assert (state.wait is not None) == (state.kind == "waiting"), _show(task)
            assert state.cause is None or state.kind == "ready", _show(task)
            at_ns = state.end_ns
        assert at_ns == task.end_ns, _show(task)
        assert sum(state.end_ns - state.start_ns for state in task.states) == task.end_ns - task.created_ns
        for earlier, later in zip(task.states, task.states[1:], strict=False):
            assert (earlier.kind, later.kind) in (
                ("ready", "running"),
                ("running", "ready"),
                ("running", "waiting"),
                ("waiting", "ready"),
                *([("waiting", "running")] if earlier.start_ns <= trace.start_ns else []),
            ), _show(task)


def _ends(trace: Trace, task: Task) -> list[int]:
    """Return until when a task that is unfinished may be known: its process can have ended before the recording."""
    if task.loop is not None and task.loop.thread is not None:
        return [task.loop.thread.process.finished_ns]
    return [trace.end_ns, *(process.finished_ns for process in trace.processes)]


def steps_exclude_each_other(trace: Trace) -> None:
    """Steps of one loop overlap only where one lies inside the other: an eager task's in its creator's."""
    steps_of = defaultdict(list)
    for task in trace.tasks:
        for state in task.states:
            if state.kind == "running":
                assert task.loop is not None, _show(task)
                steps_of[task.loop.id].append((state.start_ns, -state.end_ns, task))
    for steps in steps_of.values():
        open_steps: list[tuple[int, Task]] = []
        for start_ns, minus_end_ns, task in sorted(steps, key=lambda step: step[:2]):
            while open_steps and open_steps[-1][0] <= start_ns:
                open_steps.pop()
            if open_steps:
                assert -minus_end_ns <= open_steps[-1][0], f"{_show(task)} overlaps {_show(open_steps[-1][1])}"
                assert task.is_eager, f"{_show(task)} runs inside {_show(open_steps[-1][1])}"
            open_steps.append((-minus_end_ns, task))


def events_pair(trace: Trace) -> None:
    """Every wake is at or before the step that it caused; what starts finishes once, or is unfinished."""
    for part in trace.parts:
        started: dict[int, int] = {}
        ended: set[int] = set()
        stepping: set[int] = set()
        woken: set[int] = set()
        for time_ns, _, kind, subject, _, _, flags in part.events:
            if kind in (ev.TASK_CREATED, ev.COROUTINE_STARTED):
                assert subject not in started, f"{subject} began twice"
                started[subject] = time_ns
            elif kind in (ev.COROUTINE_FINISHED, ev.TASK_COLLECTED):
                assert subject in started and subject not in ended
                ended.add(subject)
            elif kind == ev.TASK_READY:
                assert subject in started
                if subject not in ended:
                    woken.add(subject)
            elif kind == ev.STEP_STARTED:
                assert subject not in stepping and subject not in ended
                if not flags & (ev.EAGER | ev.SEEN_LATE):
                    assert subject in woken, f"a step of {subject} that nothing woke"
                woken.discard(subject)
                stepping.add(subject)
            elif kind == ev.STEP_FINISHED:
                if not flags & ev.SEEN_LATE:
                    assert subject in stepping, f"a step of {subject} ended that had not begun"
                stepping.discard(subject)
                if flags & ev.OUTCOME_MASK != ev.SUSPENDED:
                    assert subject not in ended
                    ended.add(subject)
            elif kind in (ev.COROUTINE_SUSPENDED, ev.COROUTINE_RESUMED):
                assert subject in started and subject not in ended


def lifetimes_equal_live_tasks(trace: Trace) -> None:
    """The sum of the tasks' lifetimes is the integral of how many there are in a state."""
    changes: dict[int, int] = defaultdict(int)
    for task in trace.tasks:
        for state in task.states:
            changes[state.start_ns] += 1
            changes[state.end_ns] -= 1
    integral = live = before_ns = 0
    for time_ns in sorted(changes):
        integral += live * (time_ns - before_ns)
        live += changes[time_ns]
        before_ns = time_ns
    assert live == 0
    assert integral == sum(task.end_ns - task.created_ns for task in trace.tasks)


def coroutines_nest(trace: Trace) -> None:
    """A coroutine lives within its task and its awaiter; its suspensions ascend and lie inside its life."""
    for each in trace.coroutines:
        assert trace.start_ns <= each.started_ns <= each.end_ns <= trace.end_ns, _show(each)
        assert (each.finished_ns is None) == (each.outcome == "unfinished"), _show(each)
        at_ns = each.started_ns
        for suspension in each.suspensions:
            assert at_ns <= suspension.start_ns <= suspension.end_ns <= each.end_ns, _show(each)
            at_ns = suspension.end_ns
        if each.is_generator:
            continue  # its steps may be several tasks', and awaited by several coroutines
        if each.task is not None and not _is_in_generator(each):
            assert each.task.created_ns <= each.started_ns, f"{_show(each)} outside of {_show(each.task)}"
            assert each.end_ns <= each.task.end_ns, f"{_show(each)} outside of {_show(each.task)}"
        awaiter = each.awaiter
        if awaiter is not None:
            assert awaiter.started_ns <= each.started_ns, f"{_show(each)} began before {_show(awaiter)}"
            assert each.end_ns <= awaiter.end_ns, f"{_show(each)} outlived {_show(awaiter)}"
            if not awaiter.is_generator:
                assert awaiter.task is each.task, f"{_show(each)} is of another task than {_show(awaiter)}"


def _is_in_generator(each: Coroutine) -> bool:
    # A generator that is left half way can be closed in another task, with what it stands in.
    awaiter = each.awaiter
    return awaiter is not None and (awaiter.is_generator or _is_in_generator(awaiter))


RULES = (states_add_up, steps_exclude_each_other, events_pair, lifetimes_equal_live_tasks, coroutines_nest)


def check(trace: Trace) -> None:
    """Assert all rules."""
    for rule in RULES:
        rule(trace)


# What the program's own log says.


def agrees_with_log(trace: Trace, log: Log, *, is_complete: bool = True) -> None:
    """Whoever wrote to the log ran at that time, and ended as the log says."""
    tasks = tasks_by_name(trace)
    for task in log.tasks:
        if not is_complete and task.get_name() not in tasks:
            continue
        traced = tasks[task.get_name()]
        if traced.end_ns < trace.end_ns or is_complete:
            assert traced.outcome == outcome_of(task), _show(traced)
    for entry in log.entries:
        if entry.task is None or not trace.start_ns <= entry.time_ns <= trace.end_ns:
            continue
        traced_task = tasks.get(entry.task.get_name())
        if traced_task is None:
            assert not is_complete
            continue
        state = state_at(traced_task, entry.time_ns)
        assert state is not None and state.kind == "running", f"{_show(traced_task)} did not run: {entry}"


def coroutines_agree_with_log(trace: Trace, log: Log) -> None:
    """Each body that began is one coroutine, of the task that the log names, and ended as the log says."""
    bodies: dict[int, Coroutine] = {}
    for each in trace.coroutines:
        if each.name.startswith("body_"):
            number = int(each.name.removeprefix("body_"))
            assert number not in bodies, f"two coroutines of one call: {_show(each)}"
            bodies[number] = each
    begun = {entry.number: entry for entry in log.entries if entry.what == "began"}
    for number, entry in begun.items():
        each = bodies.pop(number)
        assert each.started_ns <= entry.time_ns, _show(each)
        if number in log.outcomes and not _is_closed_unseen(trace, each):
            assert each.outcome == log.outcomes[number], _show(each)
            ended = next(e for e in reversed(log.entries) if e.number == number)
            assert ended.time_ns <= each.end_ns
        if entry.task is not None:
            assert each.task is not None and each.task.name == entry.task.get_name(), _show(each)
    for each in bodies.values():
        # Cancelled before its first line: the log does not know of it.
        assert each.outcome in ("cancelled", "closed"), _show(each)
        assert not each.suspensions, _show(each)


def _is_closed_unseen(trace: Trace, each: Coroutine) -> bool:
    # Before 3.12 only the consumer of a generator is seen: one that was dropped half way is closed by the loop, with
    # what it stands in.
    if trace.sees_coroutines or each.outcome not in ("closed", "unfinished"):
        return False
    return each.is_generator or _is_in_generator(each)


def runs_where_log_says(trace: Trace, log: Log) -> None:
    """A coroutine that writes to the log is not suspended at that time."""
    bodies = {each.name: each for each in trace.coroutines}
    for entry in log.entries:
        each = bodies.get(f"body_{entry.number}")
        if each is None or not trace.start_ns <= entry.time_ns <= trace.end_ns:
            continue
        if _is_closed_unseen(trace, each):
            continue
        for suspension in each.suspensions:
            assert not suspension.start_ns < entry.time_ns < suspension.end_ns, f"{_show(each)} {entry}"


def wakers_agree_with_log(trace: Trace, log: Log) -> None:
    """Where the log knows who set an event or finished, that task is the cause of the wake."""
    tasks = tasks_by_name(trace)
    for wake in log.wakes:
        task = tasks[wake.task.get_name()]
        index = next(
            index
            for index, state in reversed(list(enumerate(task.states)))
            if state.kind == "running" and state.start_ns <= wake.time_ns
        )
        if index == 0:
            continue
        cause = task.states[index - 1].cause
        assert wake.waker is not None
        assert cause is not None and cause.kind == "task", f"{cause} {_show(task)}"
        assert cause.task is tasks[wake.waker.get_name()], f"{cause} {wake.waker.get_name()} {_show(task)}"


def tasks_by_name(trace: Trace) -> dict[str, Task]:
    names: dict[str, Task] = {}
    for task in trace.tasks:
        assert task.name not in names, f"two tasks of one name: {task.name}"
        names[task.name] = task
    return names


def state_at(task: Task, time_ns: int) -> State | None:
    """Return the state of a task at a time; at the very moment of a change, running is preferred."""
    index = bisect.bisect_left([state.end_ns for state in task.states], time_ns)
    found = [state for state in task.states[index : index + 3] if state.start_ns <= time_ns <= state.end_ns]
    return next((state for state in found if state.kind == "running"), found[0] if found else None)


def outcome_of(task: object) -> str:
    if not task.done():  # type: ignore[attr-defined]
        return "unfinished"
    if task.cancelled():  # type: ignore[attr-defined]
        return "cancelled"
    return "returned" if task.exception() is None else "raised"  # type: ignore[attr-defined]


def _show(item: Task | Coroutine) -> str:
    times = [item.started_ns if isinstance(item, Coroutine) else item.created_ns, item.end_ns]
    if isinstance(item, Coroutine):
        inner = [(each.start_ns - times[0], each.end_ns - times[0], each.expression) for each in item.suspensions]
        awaiter = item.awaiter.name if item.awaiter is not None else None
        return f"{item.name} of {item.task.name if item.task else None} < {awaiter} {item.outcome} {times} {inner}"
    states = [(each.kind, each.start_ns - times[0], each.end_ns - times[0]) for each in item.states]
    return f"{item.name} ({item.label}) {item.outcome} {times} {states}"
