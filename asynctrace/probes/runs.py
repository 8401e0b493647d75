"""A run stands in for a callback that a loop has queued: it notes begin and end, and carries the cause.

To everything but the loop it is its callback: `==`, hash, `repr`, `isinstance` and attributes are the callback's, so
that asyncio's debug output and handle comparisons stay as they were. An exception leaves no frame of ours behind.
"""

from __future__ import annotations

import asyncio
from asyncio.tasks import _GatheringFuture  # type: ignore[attr-defined]
from types import FunctionType, MethodType
from typing import TYPE_CHECKING, Any

from asynctrace.clock import now_ns
from asynctrace.events import (
    CALLBACK_RAN,
    OUTCOME_MASK,
    STEP_FINISHED,
    STEP_STARTED,
    THROWN,
    YIELDED,
)
from asynctrace.probes.tasks import PyFuture, PyTask, TaskEntry, tell_step_ended, tell_step_started
from asynctrace.probes.tracebacks import drop_our_frame

if TYPE_CHECKING:
    from asynctrace.probes.loop import LoopProbe

LONG_CALLBACK_NS = 1_000_000
_FUTURES = frozenset({asyncio.Future, asyncio.Task, _GatheringFuture, PyFuture, PyTask})


class Run:
    """What both kinds of run have in common: they stand in for their callback.

    `_asynctrace` holds (callback, probe, cause or task's entry): one attribute, for each that is read costs more in a
    class with `__getattr__`.
    """

    __slots__ = ("_asynctrace",)

    def __init__(self, callback: Any, probe: LoopProbe, third: Any) -> None:
        self._asynctrace = callback, probe, third

    def __getattr__(self, name: str) -> Any:
        return getattr(self._asynctrace[0], name)

    @property
    def __wrapped__(self) -> Any:
        return self._asynctrace[0]

    @property  # type: ignore[misc]  # object's can be set, this one cannot
    def __class__(self) -> Any:
        return type(self._asynctrace[0])

    def __eq__(self, other: object) -> Any:
        # type(), for isinstance() is answered by the callback's class.
        if issubclass(type(other), Run):
            other = callback_of(other)
        return self._asynctrace[0] == other

    def __ne__(self, other: object) -> Any:
        if issubclass(type(other), Run):
            other = callback_of(other)
        return self._asynctrace[0] != other

    def __hash__(self) -> int:
        return hash(self._asynctrace[0])

    def __repr__(self) -> str:
        return repr(self._asynctrace[0])

    def __str__(self) -> str:
        return str(self._asynctrace[0])

    def __bool__(self) -> bool:
        return bool(self._asynctrace[0])


class CallbackRun(Run):
    """A plain callback. What it queues is caused by what caused it."""

    __slots__ = ()

    def __call__(self, *args: Any) -> Any:
        callback, probe, cause = self._asynctrace
        recorder = probe.recorder
        if recorder is None:  # the recording has ended since
            try:
                return callback(*args)
            except BaseException as error:
                drop_our_frame(error)
                raise
        state = None
        try:
            state = recorder.local.state
            earlier = state.cause
            begin_ns = now_ns()
            state.cause = cause
        except BaseException as error:
            state = None
            _check_begin(self, probe, error, args)
        try:
            return callback(*args)
        except BaseException as error:
            drop_our_frame(error)
            raise
        finally:
            if state is not None:
                state.cause = earlier
                try:
                    end_ns = now_ns()
                    if end_ns - begin_ns >= LONG_CALLBACK_NS:
                        _note_long_callback(probe, state.id, callback, begin_ns, end_ns)
                except BaseException as error:
                    probe.guard.check(error)
            self = callback = args = None  # type: ignore[assignment]  # see StepRun


class StepRun(Run):
    """A step of a task. What it queues is caused by its task."""

    __slots__ = ()

    def __call__(self, *args: Any) -> Any:
        callback, probe, entry = self._asynctrace
        recorder = probe.recorder
        table = probe.table
        if recorder is None or table is None or entry.table is not table:
            # Queued in an earlier recording, or the recording has ended since.
            try:
                return callback(*args)
            except BaseException as error:
                drop_our_frame(error)
                raise
        task = callback.__self__
        state = None
        try:
            state = recorder.local.state
            earlier_cause, earlier_task = state.cause, state.task
            if probe.open_step is not None:
                probe.close_late_step()
            is_first = not entry.has_name
            if is_first:
                table.read_name(entry, task)
            flags = THROWN if task._must_cancel or (args and _is_cancelled(args[0])) else 0
            state.cause = entry.cause
            state.task = entry.id
            recorder.append((now_ns(), state.id, STEP_STARTED, entry.id, probe.loop_id, 0, flags))
            hooks = recorder.traced_hooks
            if hooks is not None:
                tell_step_started(hooks, entry, task, is_first)
        except BaseException as error:
            if state is not None:
                state.cause, state.task = earlier_cause, earlier_task
                state = None
            _check_begin(self, probe, error, args)
        try:
            return callback(*args)
        except BaseException as error:
            drop_our_frame(error)
            raise
        finally:
            if state is not None:
                state.cause = earlier_cause
                state.task = earlier_task
                try:
                    _end_step(probe, now_ns(), state.id, entry, task)
                except BaseException as error:
                    probe.guard.check(error)
            # An exception's traceback holds the frame of the coroutine, and that holds this one: what is named here
            # would live as long as the exception.
            self = callback = task = entry = args = None  # type: ignore[assignment]


def _check_begin(run: Run, probe: LoopProbe, error: BaseException, args: tuple[Any, ...]) -> None:
    """Tell the guard what went wrong before the callback ran."""
    try:
        probe.guard.check(error)
    except BaseException:
        # A signal's: it ends this turn of the loop, and a step lost in it would leave its task waiting for ever.
        loop: Any = probe.loop_ref()
        if loop is not None:
            loop.call_soon(run, *args)
        del error  # as in Guard.check
        raise


run_types: list[type] = [Run]  # and the native core's, once it is there


def is_run(callback: Any) -> bool:
    """Tell whether this stands in for a callback."""
    return issubclass(type(callback), tuple(run_types))


def callback_of(run: Any) -> Any:
    """Return the callback that a run stands in for."""
    return run._asynctrace[0]


def _end_step(probe: LoopProbe, time_ns: int, thread: int, entry: TaskEntry, task: Any) -> None:
    table = probe.table
    recorder = probe.recorder
    if recorder is None or entry.table is not table:
        return  # the recording stopped inside this step
    if table.late_names or table.ends:
        table.settle()
    entry.stepped_ns = time_ns
    awaited, site, flags = table.step_end(entry, task)
    if probe.note_stack is not None and not flags & OUTCOME_MASK and not (flags & YIELDED and entry.has_stack):
        # At a bare yield a task waits for nothing: its first stack is noted for its label, then only those of waits.
        entry.has_stack = True
        probe.note_stack(time_ns, thread, entry, task)
    recorder.append((time_ns, thread, STEP_FINISHED, entry.id, awaited, site, flags))
    hooks = recorder.traced_hooks
    if hooks is not None:
        tell_step_ended(hooks, entry, task, flags)
    if time_ns >= recorder.attend_ns:
        recorder.attend()


def _is_cancelled(future: Any) -> bool:
    # The argument of task_wakeup is the future; a user's own future-like object is not asked.
    return bool(type(future) in _FUTURES and future.cancelled())


def _note_long_callback(probe: LoopProbe, thread: int, callback: Any, begin_ns: int, end_ns: int) -> None:
    recorder = probe.recorder
    if recorder is None:
        return
    recorder.append(
        (end_ns, thread, CALLBACK_RAN, probe.loop_id, end_ns - begin_ns, _callback_site(probe, callback), 0)
    )


def _callback_site(probe: LoopProbe, callback: Any) -> int:
    """Name a callback by its code where it is a Python function, else by its type: no user object is asked."""
    recorder = probe.recorder
    assert recorder is not None
    function = callback
    if type(function) is MethodType:
        function = function.__func__
    if type(function) is FunctionType:
        return recorder.site(function.__code__)
    return recorder.text(type(function).__name__)
