"""The coroutine probe on CPython 3.12 and later: callbacks of `sys.monitoring`, no wrapper and no changed object.

A coroutine is known by the address of its frame object, which lives as long as the coroutine. What the callbacks rely
on (checked on 3.12 to 3.15): a step resumes the outermost coroutine first and suspends the innermost first; an
exception that is thrown in goes the other way round and resumes only the coroutines that it passes through; one that
never began gives PY_THROW and PY_UNWIND without PY_START.
"""

from __future__ import annotations

import asyncio
import dis
import sys
from asyncio import events as _events
from collections.abc import Callable
from types import CodeType, FrameType
from typing import TYPE_CHECKING, Any, Protocol

from asynctrace import clock
from asynctrace.events import (
    ASYNC_GENERATOR,
    CANCELLED,
    CLOSED,
    COROUTINE_FINISHED,
    COROUTINE_RESUMED,
    COROUTINE_STARTED,
    COROUTINE_SUSPENDED,
    EAGER,
    NOT_STARTED,
    RAISED,
    RETURNED,
    SEEN_LATE,
    STEP_FINISHED,
    STEP_STARTED,
    SUSPENDED,
    THROWN,
    YIELDED,
)
from asynctrace.probes.failure import Guard
from asynctrace.probes.loop import probe_of
from asynctrace.probes.tasks import TaskEntry, TaskTable
from asynctrace.recorder import Recorder, ThreadState
from asynctrace.recorder.reference import Cause

if TYPE_CHECKING or sys.version_info >= (3, 12):
    _monitoring = sys.monitoring
    _EVENTS = sys.monitoring.events
    DISABLE = sys.monitoring.DISABLE

_CO_GENERATOR = 0x20
_CO_COROUTINES = 0x80 | 0x100 | 0x200  # coroutine, iterable coroutine (types.coroutine), async generator
_CO_ASYNC_GENERATOR = 0x200
_SEND = dis.opmap.get("SEND", -1)
_RESUME = dis.opmap.get("RESUME", -1)
_CACHE = dis.opmap.get("CACHE", 0)
# Before 3.15 returning DISABLE from these two replaces the program's exception by a ValueError.
_CAN_DISABLE_UNWIND = sys.version_info >= (3, 15)


class FunctionHooks(Protocol):
    """What this probe tells of plain functions (see `asynctrace.probes.functions`)."""

    def wants(self, code: CodeType) -> bool: ...
    def started(self, code: CodeType, frame: FrameType) -> bool: ...
    def finished(self, code: CodeType, frame: FrameType, error: BaseException | None) -> bool: ...


class _EagerStep:
    """A step that no run of a loop surrounds: an eager task's first, or the one in which the recording began."""

    __slots__ = ("earlier_cause", "earlier_task", "entry", "task")

    def __init__(self, entry: TaskEntry, task: Any, earlier_task: int, earlier_cause: Cause | None) -> None:
        self.entry = entry
        self.task = task
        self.earlier_task = earlier_task
        self.earlier_cause = earlier_cause


class MonitoringProbe:
    """The callbacks and what they know of the coroutines that are alive."""

    def __init__(
        self,
        scope: Callable[[str], bool] | None,
        functions: FunctionHooks,
        meet_loop: Callable[[asyncio.AbstractEventLoop], None],
    ) -> None:
        self._is_in_scope = scope or _everything
        self._functions = functions
        self._meet_loop = meet_loop
        self._tool_id = -1
        self._coroutines: dict[int, int] = {}  # address of the frame -> id
        self._eager: dict[int, _EagerStep] = {}  # address of the root's frame -> its step
        self._on_start: dict[int, Callable[[FrameType], None]] = {}  # address of a code -> what to do
        self._on_return: dict[int, Callable[[FrameType, Any], None]] = {}
        self._hooked_codes: list[CodeType] = []

    def bind(self, recorder: Recorder, table: TaskTable, guard: Guard) -> None:
        """Append to this recorder from now on."""
        self._recorder, self._table, self._guard = recorder, table, guard
        self._coroutines.clear()
        self._eager.clear()

    def hook_start(self, function: Any, hook: Callable[[FrameType], None]) -> None:
        """Call `hook` with the frame when this Python function starts."""
        self._hooked_codes.append(function.__code__)
        self._on_start[id(function.__code__)] = hook

    def hook_return(self, function: Any, hook: Callable[[FrameType, Any], None]) -> None:
        """Call `hook` with the frame and the returned value when this Python function returns."""
        self._hooked_codes.append(function.__code__)
        self._on_return[id(function.__code__)] = hook

    def install(self) -> bool:
        """Claim the first free tool id; return whether there was one. No other tool is ever evicted."""
        for tool_id in (*range(3, 6), *range(3)):
            if _monitoring.get_tool(tool_id) is not None:
                continue
            try:
                _monitoring.use_tool_id(tool_id, "asynctrace")
            except ValueError:
                continue
            self._tool_id = tool_id
            break
        else:
            return False
        callbacks: dict[int, Callable[..., Any]] = {
            _EVENTS.PY_START: self._started,
            _EVENTS.PY_RESUME: self._resumed,
            _EVENTS.PY_YIELD: self._yielded,
            _EVENTS.PY_RETURN: self._returned,
            _EVENTS.PY_THROW: self._thrown,
            _EVENTS.PY_UNWIND: self._unwound,
        }
        every = 0
        for event, callback in callbacks.items():
            _monitoring.register_callback(self._tool_id, event, callback)
            every |= event
        _monitoring.set_events(self._tool_id, every)
        # Code that an earlier recording of another scope disabled has to be asked again.
        _monitoring.restart_events()
        return True

    def rescope(self) -> None:
        """Ask every code again whether it is in scope."""
        if self._tool_id >= 0:
            _monitoring.restart_events()

    def remove(self) -> None:
        """Give the tool id back."""
        if self._tool_id < 0:
            return
        _monitoring.set_events(self._tool_id, 0)
        for name in ("PY_START", "PY_RESUME", "PY_YIELD", "PY_RETURN", "PY_THROW", "PY_UNWIND"):
            _monitoring.register_callback(self._tool_id, getattr(_EVENTS, name), None)
        _monitoring.free_tool_id(self._tool_id)
        self._tool_id = -1

    # The callbacks. Each guards itself; DISABLE makes a code location cost nothing from then on.

    def _started(self, code: CodeType, offset: int) -> Any:
        try:
            if not code.co_flags & _CO_COROUTINES:
                return self._function_started(code)
            if not self._is_in_scope(code.co_filename):
                return DISABLE
            frame = sys._getframe(1)
            recorder = self._recorder
            state = recorder.local.state
            awaiter = self._awaiter_of(frame, state)
            if not awaiter:
                self._find_task(frame, state)
            self._begin(frame, awaiter, state, 0)
        except BaseException as error:
            self._guard.check(error)
        return None

    def _resumed(self, code: CodeType, offset: int) -> Any:
        try:
            if not code.co_flags & _CO_COROUTINES or not self._is_in_scope(code.co_filename):
                return DISABLE
            frame = sys._getframe(1)
            recorder = self._recorder
            state = recorder.local.state
            coroutine = self._coroutines.get(id(frame)) or self._meet_late(frame, state)
            recorder.append((clock.now_ns(), state.id, COROUTINE_RESUMED, coroutine, 0, 0, 0))
        except BaseException as error:
            self._guard.check(error)
        return None

    def _yielded(self, code: CodeType, offset: int, value: Any) -> Any:
        try:
            if not code.co_flags & _CO_COROUTINES or not self._is_in_scope(code.co_filename):
                return DISABLE
            frame = sys._getframe(1)
            recorder = self._recorder
            time_ns = clock.now_ns()
            state = recorder.local.state
            coroutine = self._coroutines.get(id(frame)) or self._meet_late(frame, state)
            flags = 0
            if code.co_flags & _CO_ASYNC_GENERATOR and type(value).__name__ == "async_generator_wrapped_value":
                flags = YIELDED
            recorder.append((time_ns, state.id, COROUTINE_SUSPENDED, coroutine, 0, offset, flags))
            if self._eager:
                self._end_eager(frame, state, SUSPENDED if not flags else RETURNED, value)
        except BaseException as error:
            self._guard.check(error)
        return None

    def _returned(self, code: CodeType, offset: int, value: Any) -> Any:
        try:
            if not code.co_flags & _CO_COROUTINES:
                return self._function_returned(code, value)
            if not self._is_in_scope(code.co_filename):
                return DISABLE
            self._finish(sys._getframe(1), RETURNED, 0)
        except BaseException as error:
            self._guard.check(error)
        return None

    def _thrown(self, code: CodeType, offset: int, error: BaseException) -> Any:
        try:
            if not code.co_flags & _CO_COROUTINES or not self._is_in_scope(code.co_filename):
                return DISABLE if _CAN_DISABLE_UNWIND and not code.co_flags & _CO_GENERATOR else None
            frame = sys._getframe(1)
            recorder = self._recorder
            state = recorder.local.state
            coroutine = self._coroutines.get(id(frame))
            if coroutine is None:
                if offset < _first_resume(code):
                    awaiter = self._awaiter_of(frame, state)
                    if not awaiter:
                        self._find_task(frame, state)
                    self._begin(frame, awaiter, state, NOT_STARTED | THROWN)
                    return None
                coroutine = self._meet_late(frame, state)
            recorder.append((clock.now_ns(), state.id, COROUTINE_RESUMED, coroutine, 0, 0, THROWN))
        except BaseException as failure:
            self._guard.check(failure)
        return None

    def _unwound(self, code: CodeType, offset: int, error: BaseException) -> Any:
        try:
            if not code.co_flags & _CO_COROUTINES:
                return self._function_unwound(code, error)
            if not self._is_in_scope(code.co_filename):
                return DISABLE if _CAN_DISABLE_UNWIND else None
            if isinstance(error, asyncio.CancelledError):
                outcome, site = CANCELLED, 0
            elif isinstance(error, GeneratorExit):
                outcome, site = CLOSED, 0
            else:
                outcome, site = RAISED, self._recorder.text(type(error).__qualname__)
            self._finish(sys._getframe(1), outcome, site)
        except BaseException as failure:
            self._guard.check(failure)
        return None

    # Coroutines.

    def _begin(self, frame: FrameType, awaiter: int, state: ThreadState, flags: int) -> int:
        recorder = self._recorder
        code = frame.f_code
        earlier = self._coroutines.get(id(frame))
        time_ns = clock.now_ns()
        if earlier is not None:
            # Its frame's address is taken by another: it was closed without an event.
            recorder.append((time_ns, state.id, COROUTINE_FINISHED, earlier, 0, 0, CLOSED))
        if code.co_flags & _CO_ASYNC_GENERATOR:
            flags |= ASYNC_GENERATOR
        coroutine = self._coroutines[id(frame)] = recorder.new_id()
        site = recorder.site(code)
        recorder.append((time_ns, state.id, COROUTINE_STARTED, coroutine, awaiter, site, flags))
        return coroutine

    def _finish(self, frame: FrameType, outcome: int, site: int) -> None:
        recorder = self._recorder
        state = recorder.local.state
        coroutine = self._coroutines.pop(id(frame), None)
        if coroutine is None:
            return
        recorder.append((clock.now_ns(), state.id, COROUTINE_FINISHED, coroutine, 0, site, outcome))
        if self._eager:
            self._end_eager(frame, state, outcome, None, site)

    def _awaiter_of(self, frame: FrameType, state: ThreadState) -> int:
        """Return the coroutine that awaits this one, 0 for a root or one that is driven by hand."""
        above = frame.f_back
        while above is not None:
            code = above.f_code
            flags = code.co_flags
            # The generator of an `__await__` written in Python stands between; it is passed through.
            if not flags & (_CO_COROUTINES | _CO_GENERATOR) or not _is_awaiting(above):
                return 0
            if flags & _CO_COROUTINES and self._is_in_scope(code.co_filename):
                return self._coroutines.get(id(above)) or self._meet_late(above, state)
            above = above.f_back
        return 0

    def _meet_late(self, frame: FrameType, state: ThreadState) -> int:
        """Give an id to a coroutine that began before the recording, or before its loop was met."""
        awaiter = self._awaiter_of(frame, state)
        found = self._coroutines.get(id(frame))
        if not awaiter and found is None:
            self._find_task(frame, state, late=True)
            found = self._coroutines.get(id(frame))
        return found or self._begin(frame, awaiter, state, SEEN_LATE)

    def meet_suspended(self, task: Any) -> None:
        """Give ids to the coroutines of a task that waits: its await chain, outermost first."""
        state = self._recorder.local.state
        link, awaiter = task.get_coro(), 0
        while True:
            kind = type(link).__name__
            if kind == "coroutine":
                frame, link = link.cr_frame, link.cr_await
            elif kind == "generator":
                frame, link = link.gi_frame, link.gi_yieldfrom
            else:
                return
            if frame is None:
                return
            code = frame.f_code
            if not code.co_flags & _CO_COROUTINES or not self._is_in_scope(code.co_filename):
                continue
            if id(frame) in self._coroutines:
                awaiter = self._coroutines[id(frame)]
                continue
            if frame.f_lasti < _first_resume(code):
                return  # it has not begun
            awaiter = self._begin(frame, awaiter, state, SEEN_LATE)
            self._recorder.append(
                (clock.now_ns(), state.id, COROUTINE_SUSPENDED, awaiter, 0, frame.f_lasti, 0)
            )

    def meet_running(self, entry: TaskEntry, task: Any) -> None:
        """The recording began inside this task's step: its end is the next suspension of its root."""
        root = task.get_coro()
        frame = getattr(root, "cr_frame", None) if type(root).__name__ == "coroutine" else None
        if frame is not None:
            self._eager[id(frame)] = _EagerStep(entry, task, 0, None)
            self._meet_stack(frame)

    def _meet_stack(self, root: FrameType) -> None:
        state = self._recorder.local.state
        frames = []
        frame: FrameType | None = sys._getframe(1)
        while frame is not None:
            if frame.f_code.co_flags & _CO_COROUTINES and self._is_in_scope(frame.f_code.co_filename):
                frames.append(frame)
            if frame is root:
                break
            frame = frame.f_back
        else:
            return  # seen from another thread
        awaiter = 0
        for frame in reversed(frames):
            known = self._coroutines.get(id(frame))
            awaiter = known or self._begin(frame, awaiter, state, SEEN_LATE)

    # Eager tasks: their first step runs inside their creator's.

    def _find_task(self, frame: FrameType, state: ThreadState, late: bool = False) -> None:
        """A coroutine without an awaiter begins: when its task's step is not known, it begins here."""
        loop = _events._get_running_loop()
        if loop is None:
            return
        probe = probe_of(loop)
        if probe is None or probe.recorder is not self._recorder:
            self._meet_loop(loop)
        task = asyncio.current_task(loop)
        if task is None:
            return
        table = self._table
        entry = table.get(id(task))
        if entry is not None and entry.id == state.task:
            return
        time_ns = clock.now_ns()
        entry = table.meet(task, time_ns, state, SEEN_LATE if late else 0)
        self._eager[id(frame)] = _EagerStep(entry, task, state.task, state.cause)
        probe = probe_of(loop)
        loop_id = probe.loop_id if probe is not None else 0
        recorder = self._recorder
        flags = SEEN_LATE if late else EAGER
        recorder.append((time_ns, state.id, STEP_STARTED, entry.id, loop_id, 0, flags))
        state.task, state.cause = entry.id, entry.cause
        table.read_name(entry, task)

    def _end_eager(self, frame: FrameType, state: ThreadState, outcome: int, value: Any, site: int = 0) -> None:
        step = self._eager.pop(id(frame), None)
        if step is None:
            return
        recorder, table, entry = self._recorder, self._table, step.entry
        time_ns = clock.now_ns()
        state.task, state.cause = step.earlier_task, step.earlier_cause
        awaited, flags = 0, outcome
        probe = probe_of(_events._get_running_loop())
        if probe is not None and probe.open_step is not None and probe.open_step[0] is entry:
            probe.open_step = None
        if outcome == SUSPENDED:
            if value is None:
                flags |= YIELDED
                entry.yielded = True
            else:
                awaited, site = table.awaited(value)
        else:
            if outcome == RETURNED and step.task._must_cancel:
                flags = CANCELLED  # the root returned, the task is cancelled all the same
            table.read_name(entry, step.task)
            table.forget(entry)
        recorder.append((time_ns, state.id, STEP_FINISHED, entry.id, awaited, site, flags))

    # Plain functions, and the places where a new loop comes to be.

    def _function_started(self, code: CodeType) -> Any:
        hook = self._on_start.get(id(code))
        if hook is not None:
            hook(sys._getframe(2))
            return None
        if code.co_flags & _CO_GENERATOR or not self._functions.wants(code):
            return DISABLE
        return None if self._functions.started(code, sys._getframe(2)) else DISABLE

    def _function_returned(self, code: CodeType, value: Any) -> Any:
        hook = self._on_return.get(id(code))
        if hook is not None:
            hook(sys._getframe(2), value)
            return None
        if code.co_flags & _CO_GENERATOR or not self._functions.wants(code):
            return DISABLE
        return None if self._functions.finished(code, sys._getframe(2), None) else DISABLE

    def _function_unwound(self, code: CodeType, error: BaseException) -> Any:
        if not code.co_flags & _CO_GENERATOR and self._functions.wants(code):
            self._functions.finished(code, sys._getframe(2), error)
            return None
        return DISABLE if _CAN_DISABLE_UNWIND else None


def _everything(_: str) -> bool:
    return True


def _is_awaiting(frame: FrameType) -> bool:
    """Tell whether a frame stands at an await (or yield from), not at a call: `c.send()` does not suspend its caller."""
    code, at = frame.f_code.co_code, frame.f_lasti
    # On 3.12 the position is that of SEND's inline cache.
    return at >= 0 and (code[at] == _SEND or (code[at] == _CACHE and at >= 2 and code[at - 2] == _SEND))


def _first_resume(code: CodeType) -> int:
    """Return the offset of a code's first RESUME: before it a coroutine has not begun."""
    instructions = code.co_code[::2]
    return 2 * instructions.index(_RESUME) if _RESUME in instructions else 0
