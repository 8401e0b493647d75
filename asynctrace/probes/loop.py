"""The loop probe: shims on a loop instance that wrap each queued callback in a run, on any Python and any loop.

The shims are attributes of the instance, so that other loops and the classes stay as they are. They reach the loop by
a weak reference only: a closed loop is freed by its reference count as before.
"""

from __future__ import annotations

import asyncio
import selectors
import sys
import weakref
from asyncio import base_events as _base_events
from asyncio import events as _events
from asyncio.selector_events import BaseSelectorEventLoop
from collections.abc import Callable
from types import BuiltinFunctionType, FrameType, FunctionType, MethodType, ModuleType
from typing import Any

from asynctrace.clock import now_ns
from asynctrace.events import (
    CAUSE_IO,
    CAUSE_THREAD,
    CAUSE_TIMER,
    CAUSE_UNKNOWN,
    LOOP_GONE,
    LOOP_IDLE_FINISHED,
    LOOP_IDLE_STARTED,
    LOOP_SEEN,
    STEP_FINISHED,
    TASK_READY,
)
from asynctrace.probes.attributes import inherited, own, remove_own, set_own
from asynctrace.probes.causes import completed_from
from asynctrace.probes.failure import Guard
from asynctrace.probes.jobs import JobId
from asynctrace.probes.runs import CallbackRun, Run, StepRun, is_run
from asynctrace.probes.tasks import PyTask, TaskEntry, TaskTable, is_task_type
from asynctrace.probes.tracebacks import drop_our_frame
from asynctrace.recorder import Recorder, ThreadState
from asynctrace.recorder.reference import Cause

_MARK = "_asynctrace"  # of the shims that are functions
_PY_STEPS = tuple(
    function for name in ("__step", "__wakeup") if (function := vars(PyTask).get(f"_Task{name}")) is not None
)
_Handle = asyncio.Handle
TIMER: Cause = (CAUSE_TIMER, 0, 0, 0)
_NEVER_S = 9e9  # of the clock, which counts from boot: anyio sets timers at infinity
UNKNOWN: Cause = (CAUSE_UNKNOWN, 0, 0, 0)
IO: Cause = (CAUSE_IO, 0, 0, 0)
_step_types: set[type] = set()
# In the order in which they are put on a loop.
_SHIMMED = ("call_soon", "call_soon_threadsafe", "call_at", "call_later", "run_in_executor")
_READERS = ("add_reader", "add_writer")
_INNER_READERS = ("_add_reader", "_add_writer")  # what they go on to, and transports begin with
# (how the two are called, where the handle lies in what the second one registers)
_ADDING = {
    (f"BaseSelectorEventLoop.{outer}", f"BaseSelectorEventLoop.{inner}"): place
    for place, (outer, inner) in enumerate(zip(_READERS, _INNER_READERS, strict=True))
}
_SELECTOR_SHIMMED = ("select", "register", "modify")
# The probes of loops, by the loop's address, which may be that of a loop that is gone: see `probe_of`. An attribute of
# the loop would do as well, but each one more may be one too many: see asynctrace/probes/attributes.py.
_probes: weakref.WeakValueDictionary[int, LoopProbe] = weakref.WeakValueDictionary()
_claims: dict[int, LoopProbe] = {}  # the same, while a thread is about to put them there
shim_types: set[type] = set()  # of the native core, once it is there; the reference's are functions with a mark


def stepped_task(callback: Any) -> Any:
    """Return the task that this callback steps, or None. Told by exact types: no user object is asked."""
    kind = type(callback)
    if kind in _step_types:
        return callback.__self__
    if kind is BuiltinFunctionType:
        task = callback.__self__
        return task if is_task_type(type(task)) and callback.__name__ == "task_wakeup" else None
    if kind is MethodType:
        return callback.__self__ if callback.__func__ in _PY_STEPS else None
    if kind.__name__ == "TaskStepMethWrapper" and kind.__module__ in ("builtins", "_asyncio"):
        _step_types.add(kind)
        return callback.__self__
    return None


class LoopProbe:
    """The shims on one loop. Without a recorder they pass everything through."""

    is_native = False

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop_ref = weakref.ref(loop)
        self.recorder: Recorder | None = None
        self.table: TaskTable | None = None
        self.guard: Guard
        self.loop_id = 0
        self.idle_until_ns = 0  # the end of the loop's last idle time
        self.note_stack: Callable[[int, int, TaskEntry, Any], None] | None = None
        # What the next step or idle moment has to see to first: the step in which the recording began, or nothing but
        # `on_first_step`.
        self.open_step: tuple[TaskEntry | None, Callable[[], Any]] | None = None
        self.on_first_step: Callable[[], None] | None = None
        self.wrap_job: Callable[..., tuple[Any, JobId | None]] | None = None
        self.is_permanent = False  # a loop that we made keeps its shims
        self._is_on = False
        self.waking: Any = None  # the task, or the other callback, whose being queued has the loop met
        self._meet: Callable[[asyncio.AbstractEventLoop], None] | None = None  # see `await_thread`
        self._is_uvloop = any(kind.__module__ == "uvloop.loop" for kind in type(loop).__mro__)
        self._shims: dict[str, tuple[Any, Any]] = {}  # name -> (ours, what the loop had there as its own, or None)
        self._selector_ref: Callable[[], Any] | None = None  # None: its selector has no shims
        self._selector_shims: dict[str, tuple[Any, Any]] = {}  # the same as of the loop

    def install(self, loop: asyncio.AbstractEventLoop) -> None:
        """Put the shims on the loop."""
        self.prepare(loop)
        self.claim(loop)
        self.put_on(loop)

    def prepare(self, loop: asyncio.AbstractEventLoop) -> None:
        """Make the shims, for one loop."""
        names = list(_SHIMMED)
        selector: Any = getattr(loop, "_selector", None)
        kind = type(selector)
        if issubclass(kind, selectors.BaseSelector) and kind.__dictoffset__ and kind.__weakrefoffset__:
            ref = self._selector_ref = weakref.ref(selector)
            for name in _SELECTOR_SHIMMED:
                self._selector_shims[name] = self._make_shim(name, selector, ref), _own_but_ours(selector, name)
        if self._selector_ref is None or not is_asyncios(loop, BaseSelectorEventLoop, *_READERS, *_INNER_READERS):
            names.extend(_READERS)
        for name in self._instead_of(names, loop):
            if name == "call_later" and is_asyncios(loop, _base_events.BaseEventLoop, name):
                continue  # it goes on to call_at, which knows when the timer is due
            self._shims[name] = self._make_shim(name, loop, self.loop_ref), _own_but_ours(loop, name)

    def _instead_of(self, names: list[str], loop: asyncio.AbstractEventLoop) -> list[str]:
        """Return the methods of a loop that get shims where these would do."""
        return names

    def _make_shim(self, name: str, owner: Any, owner_ref: Callable[[], Any]) -> Any:
        """Return what stands in the place of a method, of the loop or of its selector."""
        makers = {
            "call_soon": self._make_call_soon,
            "call_soon_threadsafe": self._make_call_soon_threadsafe,
            "call_at": self._make_call_at,
            "call_later": self._make_call_later,
            "run_in_executor": self._make_run_in_executor,
            "add_reader": self._make_add_reader,
            "add_writer": self._make_add_reader,
            "select": self._make_select,
            "register": self._make_register,
            "modify": self._make_register,
        }
        shim = makers[name](_original(owner, name))
        shim.__name__ = name
        shim.__qualname__ = qualified_name(owner, name)
        setattr(shim, _MARK, True)
        return shim

    def callback_run(self, callback: Any, cause: Cause) -> Any:
        """Return what stands in for a plain callback."""
        return CallbackRun(callback, self, cause)

    def step_run(self, callback: Any, entry: TaskEntry) -> Any:
        """Return what stands in for a task's step."""
        return StepRun(callback, self, entry)

    def claim(self, loop: asyncio.AbstractEventLoop) -> LoopProbe:
        """Become the probe of the loop, and return it; another one where another thread was first."""
        address = id(loop)
        try:
            claimed = _claims.setdefault(address, self)
            if claimed is not self and claimed.loop_ref() is loop:
                return claimed
            probe = probe_of(loop)
            if probe is None:
                probe = _probes[address] = self
            return probe
        finally:
            if _claims.get(address) is self:
                del _claims[address]

    def put_on(self, loop: asyncio.AbstractEventLoop) -> None:
        """Put the shims on the loop, if they have not been yet: one thread may have claimed it, and another meet it."""
        if self._is_on:
            return
        for name, (shim, _) in self._shims.items():
            set_own(loop, name, shim)
        selector = self._selector_ref() if self._selector_ref is not None else None
        if selector is not None:
            for name, (shim, _) in self._selector_shims.items():
                set_own(selector, name, shim)
        self._is_on = True

    @property
    def sees_idle(self) -> bool:
        """Whether the loop's idle time, and so the end of what it does before, is seen."""
        return self._selector_ref is not None

    def remove(self) -> None:
        """Take the shims off where they are still ours; another tool's shim above one of ours goes on through it."""
        loop = self.loop_ref()
        if loop is not None:
            if _probes.get(id(loop)) is self:
                _probes.pop(id(loop), None)
            for name, (shim, earlier) in self._shims.items():
                _put_back(loop, name, shim, earlier)
        selector = self._selector_ref() if self._selector_ref is not None else None
        if selector is not None:
            for name, (shim, earlier) in self._selector_shims.items():
                _put_back(selector, name, shim, earlier)

    def await_thread(self, meet: Callable[[asyncio.AbstractEventLoop], None], guard: Guard) -> None:
        """Have the first shim that is called on the loop's own thread call `meet(loop)`: now it runs on another."""
        self.guard, self._meet = guard, meet

    def _meet_for(self, callback: Any) -> Recorder | None:
        """Meet the loop, if this is its thread, because something is queued; return the recorder, if it has one."""
        task = stepped_task(callback)
        self.waking = callback if task is None else task
        recorder = self._met()
        self.waking = None
        return recorder

    def _met(self) -> Recorder | None:
        """Meet the loop if this is its thread; return the recorder, if it has one then."""
        meet, loop = self._meet, self.loop_ref()
        if meet is not None and loop is not None and _events._get_running_loop() is loop:
            self._meet = None
            self.guard(meet, loop)
        return self.recorder

    def begin(self, recorder: Recorder, table: TaskTable, guard: Guard, time_ns: int) -> None:
        """Record this loop from now on."""
        self.table, self.guard, self._meet = table, guard, None
        self.loop_id = recorder.new_id()
        self.open_step = None
        loop = self.loop_ref()
        kind = f"{type(loop).__module__}.{type(loop).__qualname__}"
        recorder.append((time_ns, recorder.local.state.id, LOOP_SEEN, self.loop_id, 0, recorder.text(kind), 0))
        # Kept by the table, for this probe goes with its loop.
        ref = table.loops[self.loop_id] = _LoopRef(loop, _loop_gone)
        ref.id, ref.table = self.loop_id, table
        self.recorder = recorder

    def end(self) -> None:
        """Record no more; the shims pass through."""
        self._meet = None
        self.recorder = None
        self.table = None
        self.open_step = None

    # Each shim calls the original first and records after it: a call that the loop refuses has not happened. Its time
    # is read before, for the woken step may begin on another thread meanwhile.

    def _make_call_soon(self, original: Callable[..., Any]) -> Callable[..., Any]:
        get_loop = self.loop_ref

        def call_soon(callback: Any, *args: Any, context: Any = None) -> Any:
            recorder = self.recorder
            if recorder is None and self._meet is not None:
                try:
                    recorder = self._meet_for(callback)
                except BaseException:  # a signal's: what is to be woken must not be lost in it
                    original(get_loop(), callback, *args, **_keywords(context))
                    raise
            kind = type(callback)
            if recorder is None or (kind not in _step_types and (not callable(callback) or issubclass(kind, Run))):
                try:
                    return _without_our_frame(original(get_loop(), callback, *args, **_keywords(context)))
                except BaseException as error:
                    drop_our_frame(error)
                    raise
            run = callback
            entry = None
            try:
                time_ns = now_ns()
                state = recorder.local.state
                cause = state.cause or completed_from(recorder)
                task = callback.__self__ if kind in _step_types else stepped_task(callback)
                due_ns = cause[3]
                if due_ns:  # it holds for what the timer wakes itself, not for what is queued on the way there
                    cause = cause[0], cause[1], cause[2], 0
                if task is None:
                    run = CallbackRun(callback, self, cause)
                else:
                    table = self.table
                    entry = table.get(id(task)) or table.meet(task, time_ns, state)  # type: ignore[union-attr]
                    if entry.yielded:
                        entry.yielded = False
                        cause = entry.cause
                    if due_ns < time_ns and due_ns:
                        # Ready since the timer was due, or since it began to wait: the loop was late to look. But not
                        # while the loop was idle: a selector counts milliseconds, and sleeps on when the timer is due.
                        time_ns = max(due_ns, entry.stepped_ns, self.idle_until_ns)
                    run = StepRun(callback, self, entry)
            except BaseException as error:
                run, entry = callback, None
                try:
                    self.guard.check(error)
                except BaseException:  # a signal's: what is to be woken must not be lost in it
                    original(get_loop(), callback, *args, **_keywords(context))
                    raise
            try:
                if context is None:  # another tool's shim below ours may not know the keyword
                    handle = original(get_loop(), run, *args)
                else:
                    handle = original(get_loop(), run, *args, context=context)
            except BaseException as error:
                drop_our_frame(error)
                raise
            if entry is not None:
                try:
                    recorder.append((time_ns, state.id, TASK_READY, entry.id, cause[1], cause[2], cause[0]))
                except BaseException as error:
                    self.guard.check(error)
            if type(handle) is not _Handle or handle._source_traceback:  # type: ignore[attr-defined]
                return _without_our_frame(handle)
            return handle

        return call_soon

    def _make_call_soon_threadsafe(self, original: Callable[..., Any]) -> Callable[..., Any]:
        get_loop = self.loop_ref

        def call_soon_threadsafe(callback: Any, *args: Any, context: Any = None) -> Any:
            recorder = self.recorder
            if recorder is None or not callable(callback) or issubclass(type(callback), Run):
                try:
                    return _without_our_frame(original(get_loop(), callback, *args, **_keywords(context)))
                except BaseException as error:
                    drop_our_frame(error)
                    raise
            run, task, entry = callback, None, None
            try:
                time_ns = now_ns()
                state = recorder.local.state
                cause = state.cause or self._cause_from_thread(recorder, state)
                cause = cause[0], cause[1], cause[2], 0  # a due time holds for what the timer wakes itself
                task = stepped_task(callback)
                if task is None:
                    run = CallbackRun(callback, self, cause)
                else:
                    entry = self.table.meet(task, time_ns, state)  # type: ignore[union-attr]
                    run = StepRun(callback, self, entry)
            except BaseException as error:
                run, entry = callback, None
                try:
                    self.guard.check(error)
                except BaseException:  # a signal's: what is to be woken must not be lost in it
                    original(get_loop(), callback, *args, **_keywords(context))
                    raise
            try:
                if context is None:  # another tool's shim below ours may not know the keyword
                    handle = original(get_loop(), run, *args)
                else:
                    handle = original(get_loop(), run, *args, context=context)
            except BaseException as error:
                drop_our_frame(error)
                raise
            if entry is not None:
                try:
                    recorder.append((time_ns, state.id, TASK_READY, entry.id, cause[1], cause[2], cause[0]))
                except BaseException as error:
                    self.guard.check(error)
            return _without_our_frame(handle)

        return call_soon_threadsafe

    def _cause_from_thread(self, recorder: Recorder, state: ThreadState) -> Cause:
        loop = self.loop_ref()
        if _events._get_running_loop() is loop:
            # On the loop's own thread, outside of any run: a signal's handler, or a transport's callback.
            return completed_from(recorder, depth=3)
        return (CAUSE_THREAD, state.id, 0, 0)

    def _make_call_at(self, original: Callable[..., Any]) -> Callable[..., Any]:
        get_loop = self.loop_ref

        def call_at(when: Any, callback: Any, *args: Any, context: Any = None) -> Any:
            if self.recorder is not None and callable(callback) and not issubclass(type(callback), Run):
                try:
                    callback = CallbackRun(callback, self, self.timer(when))
                except BaseException as error:
                    self.guard.check(error)
            try:
                return _without_our_frame(original(get_loop(), when, callback, *args, **_keywords(context)))
            except BaseException as error:
                drop_our_frame(error)
                raise

        return call_at

    def _make_call_later(self, original: Callable[..., Any]) -> Callable[..., Any]:
        get_loop = self.loop_ref

        def call_later(delay: Any, callback: Any, *args: Any, context: Any = None) -> Any:
            if self.recorder is not None and callable(callback) and not issubclass(type(callback), Run):
                try:
                    callback = CallbackRun(callback, self, self.timer_after(delay))
                except BaseException as error:
                    self.guard.check(error)
            try:
                return _without_our_frame(original(get_loop(), delay, callback, *args, **_keywords(context)))
            except BaseException as error:
                drop_our_frame(error)
                raise

        return call_later

    def timer(self, when: Any) -> Cause:
        """Return the cause that a timer is: with its due time, where the loop's clock is the machine's."""
        loop: Any = self.loop_ref()
        if (
            type(loop).time is _base_events.BaseEventLoop.time
            and own(loop, "time") is None
            and type(when) is float
            and abs(when) < _NEVER_S  # not nan either
        ):
            return CAUSE_TIMER, 0, 0, int(when * 1e9)
        return TIMER

    def timer_after(self, delay: Any) -> Cause:
        """Return the cause that a timer of `call_later` is: with its due time, where the loop is uvloop's."""
        if self._is_uvloop and (type(delay) is float or type(delay) is int) and 0 <= delay < 1e9:
            return CAUSE_TIMER, 0, 0, now_ns() + round(delay * 1000) * 1_000_000  # libuv counts milliseconds
        return TIMER

    def _make_add_reader(self, original: Callable[..., Any]) -> Callable[..., Any]:
        get_loop = self.loop_ref

        def add_reader(fd: Any, callback: Any, *args: Any) -> Any:
            if self.recorder is not None and callable(callback) and not issubclass(type(callback), Run):
                try:
                    callback = CallbackRun(callback, self, IO)
                except BaseException as error:
                    self.guard.check(error)
            try:
                return _without_our_frame(original(get_loop(), fd, callback, *args))
            except BaseException as error:
                drop_our_frame(error)
                raise

        return add_reader

    def _make_run_in_executor(self, original: Callable[..., Any]) -> Callable[..., Any]:
        get_loop = self.loop_ref

        def run_in_executor(executor: Any, func: Any, *args: Any) -> Any:
            recorder, wrap_job = self.recorder, self.wrap_job
            job = None
            work = func
            if recorder is not None and wrap_job is not None and callable(func):
                try:
                    work, job = wrap_job(executor, func)
                except BaseException as error:
                    self.guard.check(error)
                    work = func
            try:
                future = original(get_loop(), executor, work, *args)
            except BaseException as error:
                drop_our_frame(error)
                raise
            if job is not None and self.table is not None:
                self.guard(self.table.add_job_future, future, job)
            return future

        return run_in_executor

    def _make_select(self, original: Callable[..., Any]) -> Callable[..., Any]:

        def select(timeout: float | None = None) -> Any:
            selector = self._selector_ref() if self._selector_ref is not None else None
            recorder = self.recorder
            if recorder is None and self._meet is not None:
                recorder = self._met()
            thread = 0
            try:
                if recorder is not None and self.open_step is not None:
                    self.close_late_step()
                if recorder is not None and (timeout is None or timeout > 0):
                    state = recorder.local.state
                    recorder.append((now_ns(), state.id, LOOP_IDLE_STARTED, self.loop_id, 0, 0, 0))
                    thread = state.id
            except BaseException as error:
                self.guard.check(error)
            try:
                return original(selector, timeout)
            except BaseException as error:
                drop_our_frame(error)
                raise
            finally:
                if recorder is not None and thread:
                    try:
                        self.idle_until_ns = now_ns()
                        recorder.append((self.idle_until_ns, thread, LOOP_IDLE_FINISHED, self.loop_id, 0, 0, 0))
                    except BaseException as error:
                        self.guard.check(error)

        return select

    def _make_register(self, original: Callable[..., Any]) -> Callable[..., Any]:

        def register(*args: Any, **keywords: Any) -> Any:
            if self.recorder is not None and len(args) == 3:
                try:
                    self._wrap_added(args[2], sys._getframe(1))
                except BaseException as error:
                    self.guard.check(error)
            try:
                selector = self._selector_ref() if self._selector_ref is not None else None
                return original(selector, *args, **keywords)
            except BaseException as error:
                drop_our_frame(error)
                raise

        return register

    def _wrap_added(self, handles: Any, frame: FrameType) -> None:
        """Wrap the callback of a handle that asyncio's own `add_reader` or `add_writer` is about to register.

        Transports and the `sock_` methods go the same way; they are not what the program has put there.
        """
        caller = frame.f_back
        place = _ADDING.get((caller.f_code.co_qualname, frame.f_code.co_qualname)) if caller is not None else None
        if place is None:
            return
        handle: Any = handles[place]
        callback = handle._callback
        if type(handle) is _Handle and callable(callback) and not is_run(callback):
            handle._callback = self.callback_run(callback, IO)  # type: ignore[attr-defined]  # typeshed leaves it out

    def close_late_step(self) -> None:
        """End the step in which the recording began: the loop has gone on to something else."""
        if self.open_step is None or self.recorder is None or self.table is None:
            return
        entry, ref = self.open_step
        self.open_step = None
        on_first_step, self.on_first_step = self.on_first_step, None
        if on_first_step is not None:
            on_first_step()
        if entry is None:
            return
        state = self.recorder.local.state
        state.task, state.cause = 0, None
        task = ref()
        if task is None:
            return
        time_ns = now_ns()
        awaited, site, flags = self.table.step_end(entry, task)
        if self.note_stack is not None and not flags & 7:
            self.note_stack(time_ns, state.id, entry, task)
        self.recorder.append((time_ns, state.id, STEP_FINISHED, entry.id, awaited, site, flags))


class _LoopRef(weakref.ref[Any]):
    __slots__ = ("id", "table")
    id: int
    table: TaskTable


def _loop_gone(ref: _LoopRef) -> None:
    ref.table.guard(_note_loop_gone, ref)


def _note_loop_gone(ref: _LoopRef) -> None:
    recorder = ref.table.recorder
    if ref.table.loops.pop(ref.id, None) is not None and recorder.is_open:
        recorder.append((now_ns(), recorder.local.state.id, LOOP_GONE, ref.id, 0, 0, 0))


def make_probe(loop: asyncio.AbstractEventLoop, native: ModuleType | None) -> LoopProbe:
    """Return a probe for a loop, of the native core if there is one."""
    if native is None:
        return LoopProbe(loop)
    from asynctrace.probes.native_loop import NativeLoopProbe

    return NativeLoopProbe(loop)


def probe_of(loop: Any) -> LoopProbe | None:
    """Return the probe of a loop, or None."""
    probe = _probes.get(id(loop))
    return probe if probe is not None and probe.loop_ref() is loop else None


def _own_but_ours(owner: Any, name: str) -> Any:
    """Return what the owner has as its own; None for a shim that another thread is about to take off."""
    found = own(owner, name)
    is_ours = type(found) in shim_types or (type(found) is FunctionType and _MARK in vars(found))
    return None if is_ours else found


def is_asyncios(loop: asyncio.AbstractEventLoop, base: type, *names: str) -> bool:
    """Return whether methods of a loop are asyncio's own, those of this class of asyncio's."""
    for name in names:
        method = inherited(loop, name)
        if method is None or not (
            method is vars(base).get(name)
            and type(method) is FunctionType
            and method.__code__.co_qualname == f"{base.__qualname__}.{name}"
            and _own_but_ours(loop, name) is None
        ):
            return False
    return True


def qualified_name(owner: Any, name: str) -> str:
    """Return what errors call a method."""
    return str(getattr(getattr(type(owner), name), "__qualname__", name))


def _original(owner: Any, name: str) -> Callable[..., Any]:
    """Return what a shim calls, as a function of the owner: a bound method would keep the owner alive."""
    found = _own_but_ours(owner, name)
    if found is not None:  # another tool's shim, which the owner holds anyway

        def through(_: Any, *args: Any, **keywords: Any) -> Any:
            return found(*args, **keywords)

        return through
    return getattr(type(owner), name)  # type: ignore[no-any-return]


def _keywords(context: Any) -> dict[str, Any]:
    # Another tool's shim below ours may not know the keyword.
    return {} if context is None else {"context": context}


def _put_back(owner: Any, name: str, shim: Any, earlier: Any) -> None:
    if own(owner, name) is not shim:
        return
    if earlier is None:
        remove_own(owner, name)
    else:
        set_own(owner, name, earlier)


def _without_our_frame(handle: Any) -> Any:
    """In debug mode a handle notes where it was created: our shim is not the place."""
    created_at = getattr(handle, "_source_traceback", None)
    if created_at:
        del created_at[-1]
    return handle
