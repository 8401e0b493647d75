"""Clip a trace to a window of its recording: what lies outside goes, what reaches over its edges is cut there."""

from __future__ import annotations

from dataclasses import replace

from asynctrace.model.trace import Call, Coroutine, State, Task, Trace


def clip(trace: Trace, start_ns: int, end_ns: int) -> None:
    """Clip a trace in place to [start_ns, end_ns)."""
    tasks = [task for task in trace.tasks if task.end_ns >= start_ns and task.created_ns <= end_ns]
    coroutines = [each for each in trace.coroutines if each.end_ns >= start_ns and each.started_ns <= end_ns]
    calls = [call for call in trace.calls if call.end_ns >= start_ns and call.started_ns <= end_ns]
    # A task can still wait for a job whose call is over.
    awaited = {
        state.wait.job for task in tasks for state in task.states if state.wait is not None and state.end_ns > start_ns
    }
    for task in tasks:
        _clip_task(task, start_ns)
    for coroutine in coroutines:
        _clip_coroutine(coroutine, start_ns)
    for call in calls:
        _clip_call(call, start_ns)
    kept_tasks, kept_coroutines, kept_calls = set(tasks), set(coroutines), set(calls)
    for task in tasks:
        if task.creator not in kept_tasks:
            task.creator = None
        if task.coroutine not in kept_coroutines:
            task.coroutine = None
        for state in task.states:
            if state.wait is not None and state.wait.awaited not in kept_tasks:
                state.wait.awaited = None
            if state.cause is not None and state.cause.task not in kept_tasks:
                state.cause.task = None
    for coroutine in coroutines:
        if coroutine.awaiter not in kept_coroutines:
            coroutine.awaiter = None
        if coroutine.task not in kept_tasks:
            coroutine.task = None
    for call in calls:
        if call.parent not in kept_calls:
            call.parent = None
        if call.task not in kept_tasks:
            call.task = None
    for job in trace.jobs:
        if job.call not in kept_calls:
            job.call = None
        if job.task not in kept_tasks:
            job.task = None
    trace.tasks, trace.coroutines, trace.calls = tuple(tasks), tuple(coroutines), tuple(calls)
    trace.jobs = tuple(
        job
        for job in trace.jobs
        if job.submitted_ns <= end_ns and (job.finished_ns is None or job.finished_ns >= start_ns or job in awaited)
    )
    for job in trace.jobs:
        job.submitted_ns = max(job.submitted_ns, start_ns)
        if job.finished_ns is not None:
            job.finished_ns = max(job.finished_ns, start_ns)
    trace.marks = tuple(mark for mark in trace.marks if start_ns <= mark.time_ns <= end_ns)
    for loop in trace.loops:
        loop.idle = tuple((max(begin, start_ns), end) for begin, end in loop.idle if end > start_ns)
        loop.callbacks = tuple(
            replace(each, start_ns=max(each.start_ns, start_ns)) for each in loop.callbacks if each.end_ns > start_ns
        )


def _clip_task(task: Task, start_ns: int) -> None:
    if task.created_ns >= start_ns:
        return
    task.created_ns = start_ns
    task.is_clipped = True
    task.states = tuple(_clip_state(state, start_ns) for state in task.states if state.end_ns > start_ns)
    task.blockings = tuple(
        replace(each, start_ns=max(each.start_ns, start_ns)) for each in task.blockings if each.end_ns > start_ns
    )


def _clip_state(state: State, start_ns: int) -> State:
    state.start_ns = max(state.start_ns, start_ns)
    return state


def _clip_coroutine(coroutine: Coroutine, start_ns: int) -> None:
    if coroutine.started_ns >= start_ns:
        return
    coroutine.started_ns = start_ns
    coroutine.is_clipped = True
    coroutine.suspensions = tuple(
        replace(each, start_ns=max(each.start_ns, start_ns)) for each in coroutine.suspensions if each.end_ns > start_ns
    )


def _clip_call(call: Call, start_ns: int) -> None:
    if call.started_ns >= start_ns:
        return
    call.started_ns = start_ns
    call.is_clipped = True
    call.blockings = tuple(
        replace(each, start_ns=max(each.start_ns, start_ns)) for each in call.blockings if each.end_ns > start_ns
    )
