"""The identity of tasks: which id a task object has, from its first sight to its end.

An address is used again as soon as its object is freed (most of 200 tasks in a row shared theirs), so each entry holds
a weak reference to its task: an entry is found by address and is dropped when its task ends or is collected.
"""

from __future__ import annotations

import functools
import weakref
from asyncio import futures as _futures
from asyncio import tasks as _tasks
from collections.abc import Callable
from types import CoroutineType, GeneratorType, GetSetDescriptorType
from typing import Any

from asynctrace import clock
from asynctrace.events import (
    CANCELLED,
    CAUSE_TASK,
    CLOSED,
    OUTCOME_MASK,
    RAISED,
    RETURNED,
    SEEN_LATE,
    STEP_FINISHED,
    SUSPENDED,
    TASK_COLLECTED,
    TASK_CREATED,
    YIELDED,
)
from asynctrace.probes.failure import Guard
from asynctrace.probes.jobs import JobId
from asynctrace.recorder import Recorder, ThreadState, native_core
from asynctrace.recorder.reference import Cause, TracedHooks

PyTask: Any = _tasks._PyTask  # type: ignore[attr-defined]  # asyncio's own name for its Task in Python
CTask: Any = _tasks.Task if _tasks.Task is not PyTask else PyTask
PyFuture: Any = _futures._PyFuture  # type: ignore[attr-defined]
CFuture: Any = _futures.Future


id_of = id  # `id` is also the word for ours


def is_task_type(kind: type) -> bool:
    """Tell whether objects of this type are asyncio tasks, without asking an object."""
    return issubclass(kind, (CTask, PyTask))


class _TaskRef(weakref.ref[Any]):
    __slots__ = ("entry",)
    entry: TaskEntry


class TaskEntry:
    """One task that is known: its id, and itself as the cause of what its steps queue."""

    __slots__ = (
        "address",
        "cause",
        "future_type",
        "has_name",
        "has_stack",
        "id",
        "ref",
        "stepped_ns",
        "table",
        "task_type",
        "yielded",
    )

    def __init__(self, id: int, task: Any, table: TaskTable) -> None:
        self.id = id
        self.address = id_of(task)
        self.table = table
        # asyncio's own classes under the task: a user's subclass may override done() or get_name().
        self.task_type: Any = PyTask if issubclass(type(task), PyTask) else CTask
        self.future_type: Any = PyFuture if self.task_type is PyTask else CFuture
        self.cause: Cause = (CAUSE_TASK, id, 0, 0)
        self.ref: _TaskRef
        self.has_name = False
        self.has_stack = False
        self.stepped_ns = 0  # when its last step ended, or it was met
        self.yielded = False  # an eager step that ended with a bare yield: the next wake is its own


class TaskTable:
    """The tasks of one recorder's process, and the futures that stand for an executor's jobs."""

    def __init__(self, recorder: Recorder, guard: Guard | None = None) -> None:
        self.recorder = recorder
        self.guard = guard or Guard(lambda: None)
        # By address. The native core has an entry and a table of its own, which work the same.
        native = native_core(recorder)
        self._entry_type: type[TaskEntry] = TaskEntry if native is None else native.TaskEntry
        self._entries: dict[int, TaskEntry] = {} if native is None else native.Addresses(True)
        self._job_futures: dict[int, tuple[JobId, weakref.ref[Any]]] = {}
        self.late_names: list[TaskEntry] = []  # that ended in their first step: a task factory names them after it
        # Appends the await stack of a task that is suspended, where those are wanted.
        self.note_stack: Callable[[int, int, TaskEntry, Any], None] | None = None
        # Of eager steps whose roots are not seen, or whose await stacks are wanted, what was seen of them:
        # (task, end, thread, outcome, site).
        self.ends: list[tuple[TaskEntry, int, int, int, int]] = []
        self.loops: dict[int, object] = {}  # id -> weak reference, that tells when the loop is gone
        self._expected: dict[int, weakref.ref[Any]] = {}  # by address
        self.get = self._entries.get  # by address

    def meet(self, task: Any, time_ns: int, state: ThreadState, flags: int = 0) -> TaskEntry:
        """Return the entry of a task; at its first sight record that it was created, by the task whose step runs."""
        entry = self._entries.get(id(task))
        if entry is not None:
            return entry
        if self._expected:
            expected = self._expected.pop(id(task), None)
            if expected is not None and expected() is task:
                flags |= SEEN_LATE
        recorder = self.recorder
        entry = self._entry_type(recorder.new_id(), task, self)
        ref = _TaskRef(task, _collected)
        ref.entry = entry
        entry.ref = ref
        entry.stepped_ns = time_ns
        self._entries[entry.address] = entry
        cause = state.cause
        creator = cause[1] if cause is not None and cause[0] == CAUSE_TASK and not flags & SEEN_LATE else 0
        recorder.append((time_ns, state.id, TASK_CREATED, entry.id, creator, self._root_site(task), flags))
        return entry

    def expect(self, task: Any) -> None:
        """Remember that a task which is not met yet was there before the recording."""
        self._expected[id(task)] = weakref.ref(task)

    def _root_site(self, task: Any) -> int:
        root = task.get_coro()
        kind = type(root)
        if kind is CoroutineType:
            return self.recorder.site(root.cr_code)
        if kind is GeneratorType:
            return self.recorder.site(root.gi_code)
        code = getattr(root, "cr_code", None) if kind.__module__.startswith("asynctrace.") else None
        if code is not None:  # our own stand-in for a decorated coroutine
            return self.recorder.site(code)
        return self.recorder.text(name_of_root(root))

    def finish(self, entry: TaskEntry, task: Any) -> tuple[int, int]:
        """Drop a task that is done; return its outcome and the site of its exception's type."""
        self.read_name(entry, task)
        self.forget(entry)
        # Never task.exception(): it would silence "exception was never retrieved".
        if entry.future_type.cancelled(task):
            return CANCELLED, 0
        if task._exception is not None:
            return RAISED, self.recorder.text(type(task._exception).__qualname__)
        return RETURNED, 0

    def forget(self, entry: TaskEntry) -> None:
        """Drop a task that has come to its end: its address will be another's."""
        self._entries.pop(entry.address, None)

    def read_name(self, entry: TaskEntry, task: Any) -> None:
        entry.has_name = True
        self.recorder.names[entry.id] = str(entry.task_type.get_name(task))

    def goes_on(self, entry: TaskEntry) -> bool:
        """Tell whether the step of an eager task, of whose coroutines one has ended, is still open; it goes on then."""
        for index, end in enumerate(self.ends):
            if end[0] is entry:
                del self.ends[index]
                return True
        return False

    def settle(self) -> None:
        """Record what only shows once the step around it ends: how an eager task's first step ended, and its name."""
        for entry, time_ns, thread, outcome, site in self.ends:
            task = entry.ref()
            awaited = 0
            if task is not None:
                awaited, site, outcome = self.step_end(entry, task)
                if self.note_stack is not None and outcome == SUSPENDED:
                    self.note_stack(time_ns, thread, entry, task)
            self.recorder.append((time_ns, thread, STEP_FINISHED, entry.id, awaited, site, outcome))
        self.ends.clear()
        self.read_late_names()

    def read_late_names(self) -> None:
        """Read the names of tasks that ended before a task factory's caller could name them."""
        for entry in self.late_names:
            task = entry.ref()
            if task is not None:
                self.read_name(entry, task)
        self.late_names.clear()

    def prepare_view(self) -> None:
        """Read what is read late as a rule, and the names of tasks that have had no step yet."""
        self.settle()
        for entry in list(self._entries.values()):
            task = entry.ref() if not entry.has_name else None
            if task is not None:
                self.read_name(entry, task)
                entry.has_name = False  # a task factory's caller may still set it

    def add_job_future(self, future: Any, job: JobId) -> None:
        """Remember that awaiting this future is waiting for that job."""
        address = id(future)
        futures = self._job_futures
        # pop(address, the weak reference): not even a function of ours runs when the future is gone.
        futures[address] = job, weakref.ref(future, functools.partial(futures.pop, address))

    def awaited(self, future: Any) -> tuple[int, int]:
        """Return what a `_fut_waiter` is: (id of the task or job or 0, site of its type's name or 0)."""
        entry = self._entries.get(id(future))
        if entry is not None:
            return entry.id, 0
        job = self._job_futures.get(id(future))
        if job is not None:
            return job[0].number, 0
        kind = type(future)
        if kind is CFuture or kind is PyFuture:
            return 0, 0
        return 0, self.recorder.text(kind.__name__)

    def step_end(self, entry: TaskEntry, task: Any) -> tuple[int, int, int]:
        """Return how a step ended: (awaited id, site, flags) of its STEP_FINISHED."""
        waiter = task._fut_waiter
        if waiter is None:
            if not entry.future_type.done(task):
                return 0, 0, YIELDED | SUSPENDED
            outcome, site = self.finish(entry, task)
            return 0, site, outcome
        awaited, site = self.awaited(waiter)
        return awaited, site, SUSPENDED

    def collected(self, entry: TaskEntry) -> None:
        """Tell that a task is gone; called as the callback of a weak reference."""
        self.guard(_note_collected, entry)


def tell_step_started(hooks: TracedHooks, entry: TaskEntry, task: Any, is_first: bool) -> None:
    """Tell hooks, where they want to know, that a step of a task begins."""
    if is_first and hooks.wants_tasks:
        hooks.task_started(entry.id, task)
    elif entry.id in hooks.steps:
        hooks.step_started(entry.id)


def tell_step_ended(hooks: TracedHooks, entry: TaskEntry, task: Any, flags: int) -> None:
    """Tell hooks, where they want to know, that a step of a task has ended, and perhaps the task."""
    outcome = flags & OUTCOME_MASK
    if outcome and entry.id in hooks.open:
        hooks.finished(entry.id, outcome, task._exception if outcome == RAISED and task is not None else None)
    elif not outcome and entry.id in hooks.steps:
        hooks.step_ended(entry.id)


def _collected(ref: _TaskRef) -> None:
    ref.entry.table.collected(ref.entry)


def _note_collected(entry: TaskEntry) -> None:
    """A task that was pending is gone: it ends closed, perhaps inside another task's step."""
    table = entry.table
    if table._entries.get(entry.address) is entry:
        del table._entries[entry.address]
        if any(end[0] is entry for end in table.ends):
            return  # it ended in its first step
        recorder = table.recorder
        hooks = recorder.traced_hooks
        if hooks is not None and entry.id in hooks.open:
            hooks.finished(entry.id, CLOSED, None)
        recorder.append((clock.now_ns(), recorder.local.state.id, TASK_COLLECTED, entry.id, 0, 0, 0))


def name_of_root(root: Any) -> str:
    """Name what a task steps and has no code of Python's, without asking what is the program's for an attribute."""
    kind = type(root)
    if type(vars(kind).get("__qualname__")) is GetSetDescriptorType and "cr_await" in vars(kind):
        return str(root.__qualname__)  # a coroutine compiled by Cython
    kind = type(getattr(root, "_step", root)) if kind.__module__.startswith("asynctrace.") else kind
    name = vars(kind).get("__qualname__", kind.__name__) if root is not None else "finished eagerly"
    return name if isinstance(name, str) else kind.__name__


__all__ = [
    "CFuture",
    "CTask",
    "PyFuture",
    "PyTask",
    "TaskEntry",
    "TaskTable",
    "is_task_type",
    "name_of_root",
    "tell_step_ended",
    "tell_step_started",
]
