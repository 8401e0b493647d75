"""A recording that begins while a loop runs: what is there now, and nothing of how it came to be."""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import Callable
from typing import Any

from asynctrace.events import CAUSE_UNKNOWN, SEEN_LATE, STEP_FINISHED, STEP_STARTED, SUSPENDED, TASK_READY
from asynctrace.probes.loop import TIMER, UNKNOWN, LoopProbe, stepped_task
from asynctrace.probes.runs import callback_of, is_run
from asynctrace.probes.tasks import CFuture, PyFuture, is_task_type


def note_running(
    probe: LoopProbe,
    loop: asyncio.AbstractEventLoop,
    time_ns: int,
    meet_suspended: Callable[[int, Any], None] | None = None,
) -> None:
    """Record the tasks of a loop that are alive, and wrap what the loop has queued already.

    To be called on the loop's own thread. A task that waits is shown by a step that begins and ends at once, marked
    SEEN_LATE: inside it `meet_suspended(time_ns, task)` makes its coroutines known.
    """
    recorder, table = probe.recorder, probe.table
    assert recorder is not None and table is not None
    state = recorder.local.state
    current = asyncio.current_task(loop)
    queued = _wrap_queued(probe, loop, time_ns)
    # A task is queued before asyncio knows it: a signal's handler may start us between the two.
    alive: set[Any] = asyncio.all_tasks(loop) | queued
    tasks = sorted(alive, key=lambda task: (len(task.get_name()), task.get_name()))
    sees_queue = hasattr(loop, "_ready")
    for task in sorted(tasks, key=lambda task: task is current):  # whose step goes on after this comes last
        if not is_task_type(type(task)):
            continue
        waiter = task._fut_waiter
        is_waiting = waiter is not None
        # What else waits for that which is done now is queued right after the callback that has the loop met.
        may_be_queued = not is_waiting or (
            task is not probe.waking and (probe.waking is None or not sees_queue) and _is_done(waiter)
        )
        if may_be_queued and task is not current and task not in queued:
            # Out of our sight (uvloop), or taken out of the queue just now (a signal's handler starts us): it is met in
            # its next step, or at its next wake.
            table.expect(task)
            continue
        entry = table.meet(task, time_ns, state, SEEN_LATE)
        table.read_name(entry, task)
        if task is current:
            recorder.append((time_ns, state.id, STEP_STARTED, entry.id, probe.loop_id, 0, SEEN_LATE))
            state.task = entry.id
            state.cause = entry.cause
            probe.open_step = entry, weakref.ref(task)
            if meet_suspended is None and not probe.sees_idle:
                # Nothing tells when this step ends (uvloop before 3.12). What else the loop had queued runs before its
                # next turn, out of our sight: what wakes a task until then is unknown, not this one.
                state.cause = None
                type(loop).call_soon(loop, probe.guard, probe.close_late_step)
        elif is_waiting:
            recorder.append((time_ns, state.id, STEP_STARTED, entry.id, probe.loop_id, 0, SEEN_LATE))
            if meet_suspended is not None:
                meet_suspended(time_ns, task)
            awaited, site = table.awaited(task._fut_waiter)
            if probe.note_stack is not None:
                probe.note_stack(time_ns, state.id, entry, task)
            recorder.append((time_ns, state.id, STEP_FINISHED, entry.id, awaited, site, SUSPENDED | SEEN_LATE))
        if task in queued:  # also what it waited for may be done by now
            recorder.append((time_ns, state.id, TASK_READY, entry.id, 0, 0, CAUSE_UNKNOWN | SEEN_LATE))


def _is_done(future: Any) -> bool:
    kind = type(future)  # a user's own future-like object is not asked
    if issubclass(kind, CFuture):
        return bool(CFuture.done(future))
    return issubclass(kind, PyFuture) and bool(PyFuture.done(future))


def _wrap_queued(probe: LoopProbe, loop: Any, time_ns: int) -> set[Any]:
    """Wrap the callbacks of handles that were queued before us; return the tasks that they step."""
    stepped: set[Any] = set()
    recorder, table = probe.recorder, probe.table
    assert recorder is not None and table is not None
    state = recorder.local.state
    queues = (list(getattr(loop, "_ready", ())), UNKNOWN), (list(getattr(loop, "_scheduled", ())), TIMER)
    for handles, cause in queues:
        for handle in handles:
            if type(handle) not in (asyncio.Handle, asyncio.TimerHandle) or handle._callback is None:
                continue
            callback = handle._callback
            if is_run(callback):
                callback = callback_of(callback)
            task = stepped_task(callback)
            if task is None:
                by = probe.timer(handle._when) if cause is TIMER else cause
                handle._callback = probe.callback_run(callback, by)
            else:
                stepped.add(task)
                entry = table.meet(task, time_ns, state, SEEN_LATE)
                handle._callback = probe.step_run(callback, entry)
    return stepped
