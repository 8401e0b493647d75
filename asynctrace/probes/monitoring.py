"""The coroutine probe on CPython 3.12 and later: callbacks of `sys.monitoring`, no wrapper and no changed object.

What the callbacks rely on (checked on 3.12 to 3.15): a step resumes the outermost coroutine first and suspends the
innermost first; an exception that is thrown in goes the other way round and resumes only the coroutines that it passes
through; a coroutine that never began gives PY_THROW and PY_UNWIND without PY_START.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from types import CodeType, FrameType
from typing import Any, Protocol

from asynctrace.clock import now_ns
from asynctrace.events import (
    CANCELLED,
    CLOSED,
    COROUTINE_FINISHED,
    COROUTINE_RESUMED,
    COROUTINE_STARTED,
    COROUTINE_SUSPENDED,
    NOT_STARTED,
    RAISED,
    RETURNED,
    SUSPENDED,
    THROWN,
    YIELDED,
)
from asynctrace.probes.coroutines import (
    CO_ASYNC_GENERATOR,
    CO_COROUTINES,
    CO_GENERATOR,
    CO_ITERABLE_COROUTINE,
    SEND,
    CoroutineTable,
    first_resume,
    is_awaiting,
)
from asynctrace.probes.failure import Guard
from asynctrace.probes.scope import Scope
from asynctrace.probes.tasks import TaskEntry, TaskTable
from asynctrace.recorder import Recorder, native_core
from asynctrace.recorder.reference import traced_codes

_monitoring: Any = getattr(sys, "monitoring", None)  # from 3.12 on
if _monitoring is not None:
    _EVENTS = _monitoring.events
    DISABLE = _monitoring.DISABLE

_EVENT_NAMES = ("PY_START", "PY_RESUME", "PY_YIELD", "PY_RETURN", "PY_THROW", "PY_UNWIND")
# Before 3.15 returning DISABLE from PY_THROW and PY_UNWIND replaces the program's exception by a ValueError.
_CAN_DISABLE_UNWIND = sys.version_info >= (3, 15)

Callback = Callable[..., Any]


class FunctionHooks(Protocol):
    """What this probe tells of plain functions (see `asynctrace.probes.functions`)."""

    opened: dict[int, Any]
    wants_any: bool  # else decorated ones only

    def wants(self, code: CodeType) -> bool: ...
    def started(self, code: CodeType, frame: FrameType) -> bool: ...
    def finished(self, code: CodeType, frame: FrameType, error: BaseException | None) -> bool: ...


class MonitoringProbe:
    """Holds a tool id of `sys.monitoring` and the callbacks registered under it."""

    def __init__(
        self,
        scope: Scope | None,
        functions: FunctionHooks,
        meet_loop: Callable[[asyncio.AbstractEventLoop], None],
        *,
        only_traced: bool = False,
    ) -> None:
        self.only_traced = only_traced  # no undecorated coroutine is recorded
        self._scope = scope
        self._functions = _PlainFunctions(functions)
        self._meet_loop = meet_loop
        self._tool_id = -1
        self._table: CoroutineTable
        self._guard: Guard

    def bind(self, recorder: Recorder, tasks: TaskTable, guard: Guard) -> None:
        """Append to this recorder from now on."""
        self._table = CoroutineTable(recorder, tasks, self._scope, self._meet_loop, self.only_traced)
        self._guard = guard
        if self._tool_id >= 0:
            self._register()

    def widen(self) -> None:
        """Record undecorated coroutines, too, from now on; those that have begun are met when they go on."""
        self.only_traced = self._table.only_traced = False
        self._register()
        self.ask_again()

    def ask_again(self) -> None:
        """Have all code report again that was told not to."""
        if self._tool_id >= 0:
            _monitoring.restart_events()

    def hook_start(self, function: Any, hook: Callable[[FrameType], None]) -> None:
        """Call `hook` with the frame when this Python function starts."""
        self._functions.on_start[id(function.__code__)] = function.__code__, hook

    def hook_return(self, function: Any, hook: Callable[[FrameType, Any], None]) -> None:
        """Call `hook` with the frame and the returned value when this Python function returns."""
        self._functions.on_return[id(function.__code__)] = function.__code__, hook

    def meet_suspended(self, time_ns: int, task: Any) -> None:
        """Make known the coroutines of a task that waits already."""
        self._table.meet_suspended(time_ns, task)

    def meet_running(self, entry: TaskEntry, task: Any) -> None:
        """Make known the coroutines of the task in whose step the recording begins."""
        self._table.meet_running(entry, task)

    def install(self) -> bool:
        """Claim the first free tool id; return whether there was one. No other tool is ever evicted."""
        for tool_id in (*range(3, 6), *range(3)):
            if _monitoring.get_tool(tool_id) is not None:
                continue
            self._tool_id = tool_id  # first: what is noted is given back, whatever fails next
            try:
                _monitoring.use_tool_id(tool_id, "asynctrace")
            except ValueError:  # taken meanwhile
                self._tool_id = -1
                continue
            break
        else:
            return False
        self._register()
        every = 0
        for name in _EVENT_NAMES:
            every |= getattr(_EVENTS, name)
        _monitoring.set_events(self._tool_id, every)
        # Code that an earlier recording of another scope disabled has to be asked again.
        _monitoring.restart_events()
        return True

    def _register(self) -> None:
        table = self._table
        callbacks = _make_callbacks(table, self._scope, self._functions, self._guard)
        native = native_core(table.recorder)
        if native is not None and native.FRAMES_ARE_KNOWN:
            made = native.CoroutineCallbacks(
                core=table.recorder.native_core,  # type: ignore[attr-defined]  # of that core
                ids=table.ids,
                bare_steps=table.bare_steps,
                opened=self._functions.opened,
                plain=(self._functions.on_start, self._functions.on_return, traced_codes),
                wants_any=self._functions.wants_any,
                only_traced=self.only_traced,
                scope=None if self._scope is None else self._scope.known,
                guard=self._guard,
                references=callbacks,
                send=SEND,
                disable=DISABLE,
            )
            callbacks = made.started, made.resumed, made.yielded, made.returned, made.thrown, made.unwound
        for name, callback in zip(_EVENT_NAMES, callbacks, strict=True):
            _monitoring.register_callback(self._tool_id, getattr(_EVENTS, name), callback)

    def remove(self) -> None:
        """Give the tool id back."""
        if self._tool_id < 0 or _monitoring.get_tool(self._tool_id) != "asynctrace":
            return
        _monitoring.set_events(self._tool_id, 0)
        for name in _EVENT_NAMES:
            _monitoring.register_callback(self._tool_id, getattr(_EVENTS, name), None)
        # Else what we disabled stays so for the next tool that takes the id.
        _monitoring.restart_events()
        _monitoring.free_tool_id(self._tool_id)
        self._tool_id = -1


def _make_callbacks(
    table: CoroutineTable, scope: Scope | None, functions: _PlainFunctions, guard: Guard
) -> tuple[Callback, ...]:
    """Return the callbacks, in the order of `_EVENT_NAMES`.

    Closures, for a name of an enclosing function is the quickest to read. Each guards itself. DISABLE makes a place in
    the code cost nothing from then on.
    """
    recorder = table.recorder
    append, new_id, local, known_sites = recorder.append, recorder.new_id, recorder.local, recorder.codes
    ids, bare_steps = table.ids, table.bare_steps
    has_scope, is_in_scope = scope is not None or table.only_traced, table.is_in_scope
    get_id = ids.get
    get_frame, key_of = sys._getframe, table.key

    def started(code: CodeType, offset: int) -> Any:
        try:
            flags = code.co_flags
            if not flags & CO_COROUTINES:
                return functions.started(code, get_frame(1))
            if (has_scope or flags & CO_ITERABLE_COROUTINE) and not is_in_scope(code):
                return DISABLE
            frame = get_frame(1)
            state = local.state
            above = frame.f_back
            awaiter = get_id(key_of(above))
            if awaiter is None or not is_awaiting(above):  # type: ignore[arg-type]  # None has no id in the table
                awaiter = table.awaiter_of(frame, state)
            site = known_sites.get(id(code))
            key = key_of(frame)
            if key in ids or flags & CO_ASYNC_GENERATOR or site is None:
                coroutine = table.begin(frame, awaiter, state, 0)
            else:
                time_ns = now_ns()
                coroutine = ids[key] = new_id()
                append((time_ns, state.id, COROUTINE_STARTED, coroutine, awaiter, site[0], 0))
            hooks = recorder.traced_hooks
            if hooks is not None and id(code) in traced_codes:
                hooks.started(coroutine, code, awaiter, flags & CO_ASYNC_GENERATOR != 0)
        except BaseException as error:
            guard.check(error)
        return None

    def resumed(code: CodeType, offset: int) -> Any:
        try:
            frame = get_frame(1)
            coroutine = get_id(key_of(frame))
            if coroutine is None:
                if not code.co_flags & CO_COROUTINES or not is_in_scope(code):
                    return DISABLE
                coroutine = table.meet_late(frame, local.state)
            elif code.co_flags & CO_ASYNC_GENERATOR:
                table.awaiter_of(frame, local.state)  # an eager task's root can be a generator's step: it begins here
            append((now_ns(), local.state.id, COROUTINE_RESUMED, coroutine, 0, 0, 0))
            hooks = recorder.traced_hooks
            if hooks is not None and coroutine in hooks.driven:
                hooks.resumed(coroutine)
        except BaseException as error:
            guard.check(error)
        return None

    def yielded(code: CodeType, offset: int, value: Any) -> Any:
        try:
            time_ns = now_ns()
            frame = get_frame(1)
            coroutine = get_id(key_of(frame))
            if coroutine is None:
                if not code.co_flags & CO_COROUTINES or not is_in_scope(code):
                    return DISABLE
                coroutine = table.meet_late(frame, local.state)
                time_ns = now_ns()  # after the moment in which it was met
            flags = 0
            if code.co_flags & CO_ASYNC_GENERATOR and type(value).__name__ == "async_generator_wrapped_value":
                flags = YIELDED
            append((time_ns, local.state.id, COROUTINE_SUSPENDED, coroutine, 0, offset, flags))
            hooks = recorder.traced_hooks
            if hooks is not None and coroutine in hooks.driven and (flags or not code.co_flags & CO_ASYNC_GENERATOR):
                hooks.suspended(coroutine)
            if bare_steps:
                table.end_bare_step(frame, local.state, RETURNED if flags else SUSPENDED, value)
        except BaseException as error:
            guard.check(error)
        return None

    def returned(code: CodeType, offset: int, value: Any) -> Any:
        try:
            if not code.co_flags & CO_COROUTINES:
                return functions.returned(code, get_frame(1), value)
            time_ns = now_ns()
            frame = get_frame(1)
            coroutine = ids.pop(key_of(frame), None)
            if coroutine is None:
                return None if is_in_scope(code) else DISABLE
            hooks = recorder.traced_hooks
            if hooks is not None and coroutine in hooks.open:
                hooks.finished(coroutine, RETURNED, None)
            append((time_ns, local.state.id, COROUTINE_FINISHED, coroutine, 0, 0, RETURNED))
            if bare_steps:
                table.end_bare_step(frame, local.state, RETURNED, None)
        except BaseException as error:
            guard.check(error)
        return None

    def thrown(code: CodeType, offset: int, exception: BaseException) -> Any:
        try:
            if not code.co_flags & CO_COROUTINES or not is_in_scope(code):
                return DISABLE if _CAN_DISABLE_UNWIND else None
            frame = get_frame(1)
            state = local.state
            if offset < first_resume(code):
                # Its address can still be that of one that was closed without an event.
                awaiter = table.awaiter_of(frame, state)
                begun = table.begin(frame, awaiter, state, NOT_STARTED | THROWN)
                hooks = recorder.traced_hooks
                if hooks is not None and id(code) in traced_codes:
                    hooks.started(begun, code, awaiter, code.co_flags & CO_ASYNC_GENERATOR != 0)
                return None
            coroutine = get_id(key_of(frame))
            if coroutine is None:
                coroutine = table.meet_late(frame, state)
            elif code.co_flags & CO_ASYNC_GENERATOR:
                table.awaiter_of(frame, state)
            append((now_ns(), state.id, COROUTINE_RESUMED, coroutine, 0, 0, THROWN))
            hooks = recorder.traced_hooks
            if hooks is not None and coroutine in hooks.driven:
                hooks.resumed(coroutine)
        except BaseException as error:
            guard.check(error)
        return None

    def unwound(code: CodeType, offset: int, exception: BaseException) -> Any:
        try:
            if not code.co_flags & CO_COROUTINES:
                return functions.unwound(code, get_frame(1), exception)
            time_ns = now_ns()
            frame = get_frame(1)
            coroutine = ids.pop(key_of(frame), None)
            if coroutine is None:
                return None
            outcome, site = RAISED, 0
            if isinstance(exception, asyncio.CancelledError):
                outcome = CANCELLED
            elif isinstance(exception, GeneratorExit):
                outcome = CLOSED
            else:
                site = recorder.text(type(exception).__qualname__)
            hooks = recorder.traced_hooks
            if hooks is not None and coroutine in hooks.open:
                hooks.finished(coroutine, outcome, exception)
            append((time_ns, local.state.id, COROUTINE_FINISHED, coroutine, 0, site, outcome))
            if bare_steps:
                table.end_bare_step(frame, local.state, outcome, None, site)
        except BaseException as error:
            guard.check(error)
        return None

    return started, resumed, yielded, returned, thrown, unwound


class _PlainFunctions:
    """Plain functions: those that are recorded as calls, and the places where a new loop comes to be."""

    def __init__(self, hooks: FunctionHooks) -> None:
        self._hooks = hooks
        self.opened = hooks.opened  # the calls that are open
        self.wants_any = hooks.wants_any
        # Address of a code -> (the code, kept so that its address stays its own; what to do).
        self.on_start: dict[int, tuple[CodeType, Callable[[FrameType], None]]] = {}
        self.on_return: dict[int, tuple[CodeType, Callable[[FrameType, Any], None]]] = {}

    def started(self, code: CodeType, frame: FrameType) -> Any:
        hook = self.on_start.get(id(code))
        if hook is not None:
            hook[1](frame)
            return None
        if code.co_flags & CO_GENERATOR or not self._hooks.wants(code):
            return DISABLE
        return None if self._hooks.started(code, frame) else DISABLE

    def returned(self, code: CodeType, frame: FrameType, value: Any) -> Any:
        hook = self.on_return.get(id(code))
        if hook is not None:
            hook[1](frame, value)
            return None
        if code.co_flags & CO_GENERATOR or not self._hooks.wants(code):
            return DISABLE
        return None if self._hooks.finished(code, frame, None) else DISABLE

    def unwound(self, code: CodeType, frame: FrameType, error: BaseException) -> Any:
        if not code.co_flags & CO_GENERATOR and self._hooks.wants(code):
            self._hooks.finished(code, frame, error)
            return None
        return DISABLE if _CAN_DISABLE_UNWIND else None
