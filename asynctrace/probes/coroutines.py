"""The coroutines that are alive, by the address of their frame, and the steps that no run of a loop surrounds.

A frame object lives as long as its coroutine. The slow roads are here: a coroutine's beginning in a place that is not
known yet, an eager task, a recording that begins inside a running program. `monitoring` has the fast ones.
"""

from __future__ import annotations

import asyncio
import dis
import sys
from asyncio import events as _events
from collections.abc import Callable
from types import CodeType, CoroutineType, FrameType, GeneratorType
from typing import Any

from asynctrace.clock import now_ns
from asynctrace.events import (
    ASYNC_GENERATOR,
    CANCELLED,
    CLOSED,
    COROUTINE_FINISHED,
    COROUTINE_STARTED,
    COROUTINE_SUSPENDED,
    EAGER,
    RAISED,
    RETURNED,
    SEEN_LATE,
    STEP_FINISHED,
    STEP_STARTED,
    SUSPENDED,
    YIELDED,
)
from asynctrace.probes.loop import probe_of
from asynctrace.probes.tasks import TaskEntry, TaskTable, tell_step_ended, tell_step_started
from asynctrace.recorder import Recorder, ThreadState, native_core
from asynctrace.recorder.reference import Cause, traced_codes

CO_GENERATOR = 0x20
CO_ASYNC_GENERATOR = 0x200
CO_COROUTINES = 0x80 | 0x100 | CO_ASYNC_GENERATOR  # coroutine, iterable coroutine (types.coroutine), async generator
CO_ITERABLE_COROUTINE = 0x100
ANY_FRAME = 16  # a key, and the address of no frame
# What `sleep(0)` yields in: no `async def`, and nothing in it but the one yield at which its awaiter stands as well.
_BARE_YIELD = asyncio.tasks.__dict__["__sleep0"].__code__
SEND = dis.opmap.get("SEND", -1)
_RESUME = dis.opmap.get("RESUME", -1)


class BareStep:
    """A step that no run of a loop surrounds: an eager task's first, or the one in which the recording began."""

    __slots__ = ("earlier_cause", "earlier_task", "entry", "is_late", "is_of_root")

    def __init__(
        self,
        entry: TaskEntry,
        is_of_root: bool,
        earlier_task: int = 0,
        earlier_cause: Cause | None = None,
        is_late: bool = False,
    ) -> None:
        self.entry = entry
        self.is_of_root = is_of_root  # else the task's root is not seen: a compiled coroutine, a generator's step
        self.earlier_task = earlier_task
        self.earlier_cause = earlier_cause
        self.is_late = is_late  # the recording began in it


class CoroutineTable:
    """The coroutines of one recorder's process."""

    def __init__(
        self,
        recorder: Recorder,
        tasks: TaskTable,
        scope: Callable[[str], bool] | None,
        meet_loop: Callable[[asyncio.AbstractEventLoop], None],
        only_traced: bool = False,
    ) -> None:
        self.only_traced = only_traced  # undecorated ones are out of scope
        self.recorder = recorder
        self.tasks = tasks
        native = native_core(recorder)
        if native is not None and not native.FRAMES_ARE_KNOWN:
            native = None
        # What stands for a coroutine as long as it lives: the address of its frame; of the native core's, where the
        # interpreter has it.
        self.key: Callable[[FrameType | None], int] = id if native is None else native.frame_key
        self.ids: dict[int, int] = {} if native is None else native.Addresses()  # key -> id
        # Key of the outermost coroutine that is seen -> its step.
        self.bare_steps: dict[int, BareStep] = {} if native is None else native.Addresses(True)
        self._step_type: type[BareStep] = BareStep if native is None else native.BareStep
        self._scope = scope
        self._meet_loop = meet_loop

    def is_in_scope(self, code: CodeType) -> bool:
        """Tell whether coroutines of this code are recorded."""
        if code is _BARE_YIELD or (self.only_traced and id(code) not in traced_codes):
            return False
        return self._scope is None or self._scope(code.co_filename)

    def begin(self, frame: FrameType, awaiter: int, state: ThreadState, flags: int, time_ns: int = 0) -> int:
        """Record that a coroutine starts, or is met."""
        recorder = self.recorder
        code = frame.f_code
        earlier = self.ids.get(self.key(frame))
        time_ns = time_ns or now_ns()
        if earlier is not None:
            # Its frame's address is another's now: it was closed without an event.
            hooks = recorder.traced_hooks
            if hooks is not None and earlier in hooks.open:
                hooks.finished(earlier, CLOSED, None)
            recorder.append((time_ns, state.id, COROUTINE_FINISHED, earlier, 0, 0, CLOSED))
        if code.co_flags & CO_ASYNC_GENERATOR:
            flags |= ASYNC_GENERATOR
        coroutine = self.ids[self.key(frame)] = recorder.new_id()
        recorder.append((time_ns, state.id, COROUTINE_STARTED, coroutine, awaiter, recorder.site(code), flags))
        return coroutine

    def awaiter_of(self, frame: FrameType, state: ThreadState) -> int:
        """Return the coroutine that awaits this one; for a root, or one that is driven by hand, find its task and 0."""
        awaiter = self._find_awaiter(frame, state)
        if not awaiter:
            self._find_task(frame, state)
        return awaiter

    def _find_awaiter(self, frame: FrameType, state: ThreadState) -> int:
        above = frame.f_back
        while above is not None:
            code = above.f_code
            flags = code.co_flags
            # The generator of an `__await__` written in Python stands between; it is passed through.
            if not flags & (CO_COROUTINES | CO_GENERATOR) or not is_awaiting(above):
                return 0
            if flags & CO_COROUTINES and self.is_in_scope(code):
                return self.ids.get(self.key(above)) or self.meet_late(above, state)
            above = above.f_back
        return 0

    def meet_late(self, frame: FrameType, state: ThreadState) -> int:
        """Give an id to a coroutine that began before the recording, or before its loop was met."""
        awaiter = self._find_awaiter(frame, state)
        if not awaiter:
            self._find_task(frame, state, is_late=True)
        # Meeting its loop can have met it.
        return self.ids.get(self.key(frame)) or self.begin(frame, awaiter, state, SEEN_LATE)

    def meet_suspended(self, time_ns: int, task: Any) -> None:
        """Give ids to the coroutines of a task that waits: its await chain, outermost first.

        To be called between the beginning and the end of a step of that task, at the time of both.
        """
        state = self.recorder.local.state
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
            if not code.co_flags & CO_COROUTINES or not self.is_in_scope(code):
                continue
            known = self.ids.get(self.key(frame))
            if known is not None:
                awaiter = known
                continue
            if frame.f_lasti < first_resume(code):
                return  # it has not begun
            awaiter = self.begin(frame, awaiter, state, SEEN_LATE, time_ns)
            self.recorder.append((time_ns, state.id, COROUTINE_SUSPENDED, awaiter, 0, frame.f_lasti, 0))

    def meet_running(self, entry: TaskEntry, task: Any) -> None:
        """The recording began inside this task's step: the step ends where the root is suspended next."""
        frame = _root_frame(entry, task)
        if frame is None:
            return
        if self.is_in_scope(frame.f_code):
            self.bare_steps[self.key(frame)] = self._step_type(entry, True, is_late=True)
        state = self.recorder.local.state
        frames = []
        running: FrameType | None = sys._getframe(1)
        while running is not None:
            if running.f_code.co_flags & CO_COROUTINES and self.is_in_scope(running.f_code):
                frames.append(running)
            if running is frame:
                break
            running = running.f_back
        else:
            return  # its step runs on another thread
        awaiter = 0
        for each in reversed(frames):
            awaiter = self.ids.get(self.key(each)) or self.begin(each, awaiter, state, SEEN_LATE)

    def _find_task(self, frame: FrameType, state: ThreadState, is_late: bool = False) -> None:
        """A coroutine without an awaiter begins: where its task's step is not known, the step begins here."""
        if now_ns() >= self.recorder.attend_ns:
            self.recorder.attend()
        loop = _events._get_running_loop()
        if loop is None:
            return
        probe = probe_of(loop)
        if probe is None or probe.recorder is not self.recorder:
            self._meet_loop(loop)
            probe = probe_of(loop)
        task = asyncio.current_task(loop)
        if task is None:
            return
        entry = self.tasks.get(id(task))
        if entry is not None and entry.id == state.task:
            return
        recorder = self.recorder
        time_ns = now_ns()
        if entry is not None and self.tasks.goes_on(entry):
            self.bare_steps[self.key(frame)] = self._step_type(entry, False, state.task, state.cause)
            state.task, state.cause = entry.id, entry.cause
            return
        entry = self.tasks.meet(task, time_ns, state, SEEN_LATE if is_late else 0)
        is_of_root = _root_frame(entry, task) is frame
        self.bare_steps[self.key(frame)] = self._step_type(entry, is_of_root, state.task, state.cause)
        flags = SEEN_LATE if is_late else EAGER
        loop_id = probe.loop_id if probe is not None else 0
        recorder.append((time_ns, state.id, STEP_STARTED, entry.id, loop_id, 0, flags))
        state.task, state.cause = entry.id, entry.cause
        self.tasks.read_name(entry, task)
        hooks = recorder.traced_hooks
        if hooks is not None:
            tell_step_started(hooks, entry, task, not is_late)

    def end_bare_step(self, frame: FrameType, state: ThreadState, outcome: int, value: Any, site: int = 0) -> None:
        """End the bare step whose root this frame is, if it is one.

        Args:
            frame: The frame of a coroutine that is suspended or has finished.
            state: The current thread's.
            outcome: SUSPENDED, or how the coroutine finished.
            value: What it is suspended on: the future that its task will wait for, None for a bare yield.
            site: The exception's type.
        """
        if self.tasks.late_names:
            self.tasks.read_late_names()
            self.bare_steps.pop(ANY_FRAME, None)
        step = self.bare_steps.pop(self.key(frame), None)
        if step is None:
            return
        recorder, entry = self.recorder, step.entry
        probe = probe_of(_events._get_running_loop())
        is_open = probe is not None and probe.open_step is not None and probe.open_step[0] is entry
        if step.is_late and not is_open:
            return  # it ended before the code of its root was watched: this is the end of a later step
        task = entry.ref()
        time_ns = entry.stepped_ns = now_ns()
        state.task, state.cause = step.earlier_task, step.earlier_cause
        # Where its await stack is to be noted, it can be read when all of its coroutines are suspended: a moment later.
        has_stack = outcome == SUSPENDED and value is not None and self.tasks.note_stack is not None and not is_open
        if has_stack or (not step.is_of_root and outcome != SUSPENDED):
            self.tasks.ends.append((entry, time_ns, state.id, outcome, site))
            hooks = recorder.traced_hooks
            if hooks is not None and has_stack:
                tell_step_ended(hooks, entry, task, SUSPENDED)
            return
        if probe is not None and is_open:
            probe.open_step = None
        awaited, flags = 0, outcome
        if outcome == SUSPENDED:
            if value is None:
                flags |= YIELDED
                entry.yielded = True
            else:
                awaited, site = self.tasks.awaited(value)
        else:
            if outcome == RETURNED and task is not None and task._must_cancel:
                flags = CANCELLED  # the root returned, the task is cancelled all the same
            elif outcome == CLOSED:
                flags, site = RAISED, recorder.text("GeneratorExit")  # of a coroutine, an end; of a task, an error
            if task is not None:
                self.tasks.read_name(entry, task)
            self.tasks.late_names.append(entry)
            self.bare_steps[ANY_FRAME] = step  # so that the next event of any coroutine comes by here
            self.tasks.forget(entry)
        recorder.append((time_ns, state.id, STEP_FINISHED, entry.id, awaited, site, flags))
        hooks = recorder.traced_hooks
        if hooks is not None:
            tell_step_ended(hooks, entry, task, flags)


def _root_frame(entry: TaskEntry, task: Any) -> FrameType | None:
    root = entry.task_type.get_coro(task)
    kind = type(root)
    if kind is CoroutineType:
        return root.cr_frame  # type: ignore[no-any-return]
    return root.gi_frame if kind is GeneratorType else None


def is_awaiting(frame: FrameType) -> bool:
    """Tell whether a frame stands at an await (or yield from). At a call it does not: `c.send()` suspends no caller."""
    code, at = frame.f_code.co_code, frame.f_lasti
    # On 3.12 the position is that of SEND's inline cache, the instruction after it.
    return code[at] == SEND or code[at - 2] == SEND


def first_resume(code: CodeType) -> int:
    """Return the offset of a code's first RESUME: before it a coroutine has not begun."""
    instructions = code.co_code[::2]
    return 2 * instructions.index(_RESUME) if _RESUME in instructions else 0
