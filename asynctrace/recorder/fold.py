"""Who is alive, and in what state, after the events so far: what stays of events that are dropped.

It follows the rules of the model's readers (`asynctrace.model`), and keeps nothing of what has ended.
"""

from __future__ import annotations

from array import array
from collections import deque
from collections.abc import Sequence
from typing import Protocol

from asynctrace.events import (
    ASYNC_GENERATOR,
    AWAIT_STACK,
    BLOCKING_FINISHED,
    BLOCKING_STARTED,
    CALL_FINISHED,
    CALL_STARTED,
    COROUTINE_FINISHED,
    COROUTINE_RESUMED,
    COROUTINE_STARTED,
    COROUTINE_SUSPENDED,
    EAGER,
    FUNCTION_DROPPED,
    JOB_FORGOTTEN,
    JOB_SUBMITTED,
    LOOP_GONE,
    LOOP_IDLE_FINISHED,
    LOOP_IDLE_STARTED,
    LOOP_SEEN,
    LOST,
    OUTCOME_MASK,
    PROCESS_STARTED,
    SEEN_LATE,
    STEP_FINISHED,
    STEP_STARTED,
    TASK_COLLECTED,
    TASK_CREATED,
    TASK_READY,
    THROWN,
    YIELDED,
    Event,
)
from asynctrace.recorder.base import base_events
from asynctrace.recorder.living import (
    READY,
    RUNNING,
    UNKNOWN,
    WAITING,
    CallLife,
    CoroutineLife,
    JobLife,
    LoopLife,
    TaskLife,
    ThreadLife,
)

_FIELDS = 7
_MOST_PROCESSES = 1000


class AnyFold(Protocol):
    """A fold of either core."""

    @property
    def count(self) -> int:
        """How many events were folded."""
        ...

    def advance(self, fields: array[int], /) -> None:
        """Fold further events, flat ones, in order of time."""
        ...

    def copy(self) -> AnyFold:
        """Return a fold that goes its own way from here."""
        ...

    def take_ended_tasks(self) -> list[int]:
        """Return the ids of the tasks that ended since the last call."""
        ...

    def base(self, time_ns: int) -> list[Event]:
        """Return events, all at `time_ns`, that lead a reader to the present state. The fold stays as it is."""
        ...


class Fold:
    """Who is alive, and in what state, after the events so far: the reference, in Python.

    Example:
        >>> fold = Fold()
        >>> fold.advance(fields)
        >>> part = replace(part, start_ns=time_ns, events=fold.base(time_ns) + later)
    """

    def __init__(self) -> None:
        self.count = 0  # how many events were folded
        self.tasks: dict[int, TaskLife] = {}
        self.coroutines: dict[int, CoroutineLife] = {}
        self.threads: dict[int, ThreadLife] = {}  # those on which something is open
        self.calls: dict[int, CallLife] = {}
        self.jobs: dict[int, JobLife] = {}
        self.loops: dict[int, LoopLife] = {}
        self.blockings: dict[tuple[int, int], tuple[int, int, int]] = {}
        self.passed: set[int] = set()  # coroutines that go on without an event: one that they await was thrown into
        self.functions_dropped: dict[int, int] = {}  # site -> thread
        self.processes: deque[tuple[int, int]] = deque(maxlen=_MOST_PROCESSES)  # (thread, pid)
        self.forgotten_jobs: set[int] = set()  # that stay for as long as they are awaited
        self.ended_tasks: list[int] = []  # since these were asked for last

    def copy(self) -> Fold:
        """Return a fold that goes its own way from here."""
        other = Fold()
        other.count = self.count
        other.tasks = {id: life.copy() for id, life in self.tasks.items()}
        other.coroutines = {id: life.copy() for id, life in self.coroutines.items()}
        other.threads = {id: life.copy() for id, life in self.threads.items()}
        other.calls = dict(self.calls)
        other.jobs = {id: life.copy() for id, life in self.jobs.items()}
        other.loops = {id: life.copy() for id, life in self.loops.items()}
        other.blockings = dict(self.blockings)
        other.passed = set(self.passed)
        other.functions_dropped = dict(self.functions_dropped)
        other.processes = self.processes.copy()
        other.forgotten_jobs = set(self.forgotten_jobs)
        other.ended_tasks = list(self.ended_tasks)
        return other

    def take_ended_tasks(self) -> list[int]:
        """Return the ids of the tasks that ended since the last call."""
        ended, self.ended_tasks = self.ended_tasks, []
        return ended

    def base(self, time_ns: int) -> list[Event]:
        """Return events, all at `time_ns`, that lead a reader to the present state. The fold stays as it is."""
        return base_events(self, time_ns)

    def advance(self, fields: Sequence[int]) -> None:
        """Fold further events.

        Args:
            fields: The fields of whole events one after another, in order of time.
        """
        # One loop over plain local variables, the commonest kinds first: it keeps up with the program that it follows.
        tasks, coroutines, threads = self.tasks, self.coroutines, self.threads
        get_task, get_coroutine, passed = tasks.get, coroutines.get, self.passed
        here, task = -1, 0
        life: CoroutineLife | None
        thread_life = ThreadLife()
        steps, running = thread_life.steps, thread_life.bare
        values = iter(fields)
        for _, thread, kind, subject, other, site, flags in zip(*[values] * _FIELDS, strict=True):
            if thread != here:
                here = thread
                thread_life = threads.get(thread) or threads.setdefault(thread, ThreadLife())
                steps = thread_life.steps
                task, running = steps[-1] if steps else (0, thread_life.bare)

            if kind == COROUTINE_RESUMED:
                life = get_coroutine(subject)
                if life is None:
                    continue
                if life.is_generator and life.yields:
                    # Whoever asks for the next value awaits it now.
                    life.driver = task
                    life.is_moved = True
                    life.parent = running[-1] if running else 0
                    if life.parent in coroutines:
                        coroutines[life.parent].awaits = subject
                    life.yields = 0
                life.is_suspended = False
                if passed or flags & THROWN:
                    self._pass(subject, life, flags)
                if not running or running[-1] != subject:
                    running.append(subject)

            elif kind == COROUTINE_SUSPENDED:
                life = get_coroutine(subject)
                if life is None:
                    continue
                life.is_suspended = True
                life.offset = site
                life.yields = flags & YIELDED
                if life.yields and life.is_generator:
                    parent = get_coroutine(life.parent)
                    if parent is not None and parent.awaits == subject:
                        parent.awaits = 0  # a value for its consumer, who goes on
                if passed:
                    self._suspend_passed(subject, life)
                if running and running[-1] == subject:
                    running.pop()
                else:
                    _leave(running, subject)

            elif kind == STEP_STARTED:
                running = []
                task = subject
                steps.append((subject, running))
                step = get_task(subject)
                if step is not None:
                    step.kind = RUNNING
                    step.cause = None
                    step.stack = step.awaited = 0
                    step.thread = thread
                    if flags & EAGER:
                        step.is_eager = True
                    if not step.loop:
                        step.loop = other
                        loop = self.loops.get(other)
                        if loop is not None and not loop.thread:
                            loop.thread = thread

            elif kind == STEP_FINISHED:
                if steps and steps[-1][0] == subject:
                    steps.pop()
                else:
                    _leave_step(steps, subject)
                task, running = steps[-1] if steps else (0, thread_life.bare)
                step = get_task(subject)
                if step is None:
                    pass
                elif flags & OUTCOME_MASK:
                    self._end_task(subject)
                elif flags & YIELDED or step.cause is not None:
                    step.kind = READY
                else:
                    step.kind = WAITING
                    step.awaited = other
                    step.future_type = site

            elif kind == TASK_READY:
                step = get_task(subject)
                if step is not None:
                    if step.cause is None:
                        step.cause = thread, other, site, flags
                    if step.kind == WAITING or step.kind == UNKNOWN:
                        step.kind = READY

            elif kind == COROUTINE_STARTED:
                life = coroutines[subject] = CoroutineLife(site, other, task, bool(flags & ASYNC_GENERATOR))
                parent = get_coroutine(other)
                if parent is not None:
                    parent.awaits = subject
                elif task:
                    step = get_task(task)
                    if step is not None and step.root not in coroutines:
                        step.root = subject
                running.append(subject)

            elif kind == COROUTINE_FINISHED:
                life = get_coroutine(subject)
                if life is not None:
                    if life.awaits:
                        self._end_coroutine(subject, life)
                    else:
                        del coroutines[subject]
                        passed.discard(subject)
                        parent = get_coroutine(life.parent)
                        if parent is not None and parent.awaits == subject:
                            parent.awaits = 0
                    if running and running[-1] == subject:
                        running.pop()
                    else:
                        _leave(running, subject)

            elif kind == TASK_CREATED:
                tasks[subject] = TaskLife(thread, other, site, UNKNOWN if flags & SEEN_LATE else READY)

            elif kind == AWAIT_STACK:
                step = get_task(subject)
                if step is not None:
                    step.stack = site

            elif kind == CALL_STARTED:
                self.calls[subject] = CallLife(other, site, flags, len(steps))
                thread_life.calls.append(subject)

            elif kind == CALL_FINISHED:
                self._end_call(subject, site, flags, thread_life.calls)

            elif kind in (LOOP_IDLE_STARTED, LOOP_IDLE_FINISHED):
                loop = self.loops.get(subject)
                if loop is not None:
                    loop.idle_thread = thread if kind == LOOP_IDLE_STARTED else 0

            elif kind == LOST:
                self.count += other - 1

            else:
                self._advance_rare(thread, kind, subject, other, site, flags)

        self.count += len(fields) // _FIELDS
        for thread in [thread for thread, life in threads.items() if life.is_empty()]:
            del threads[thread]
        if self.forgotten_jobs:
            self._drop_jobs()

    def _advance_rare(self, thread: int, kind: int, subject: int, other: int, site: int, flags: int) -> None:
        if kind == BLOCKING_STARTED:
            self.blockings[thread, subject] = other, site, flags
        elif kind == BLOCKING_FINISHED:
            self.blockings.pop((thread, subject), None)
        elif kind == TASK_COLLECTED:
            if subject in self.tasks:
                self._end_task(subject)
        elif kind == JOB_SUBMITTED:
            self.jobs[subject] = JobLife(thread, other, site, flags)
        elif kind == JOB_FORGOTTEN:
            if subject in self.jobs:
                self.forgotten_jobs.add(subject)
        elif kind == LOOP_SEEN:
            self.loops[subject] = LoopLife(thread, site, thread if flags & SEEN_LATE else 0)
        elif kind == LOOP_GONE:
            self.loops.pop(subject, None)
        elif kind == PROCESS_STARTED:
            self.processes.append((thread, other))
        elif kind == FUNCTION_DROPPED:
            self.functions_dropped[site] = thread

    def _pass(self, id: int, life: CoroutineLife, flags: int) -> None:
        """A coroutine is resumed; when an exception is thrown into it, those that await it go on without an event."""
        passed, get = self.passed, self.coroutines.get
        passed.discard(id)
        if flags & THROWN:
            key = life.parent
            awaiter = get(key)
            while awaiter is not None and awaiter.is_suspended and not awaiter.yields:
                awaiter.is_suspended = False
                passed.add(key)
                key = awaiter.parent
                awaiter = get(key)

    def _suspend_passed(self, id: int, life: CoroutineLife) -> None:
        passed, get = self.passed, self.coroutines.get
        passed.discard(id)
        if not life.yields:
            key = life.parent
            awaiter = get(key)
            for _ in range(len(self.coroutines)):  # two that await each other, as no program's do, have no end
                if awaiter is None:
                    break
                if key in passed:
                    passed.discard(key)
                    awaiter.is_suspended = True
                key = awaiter.parent
                awaiter = get(key)

    def _end_coroutine(self, id: int, life: CoroutineLife) -> None:
        """End a coroutine, and what it stands in: CPython closes that without an event at times."""
        coroutines = self.coroutines
        ended: CoroutineLife | None = life
        parent = coroutines.get(life.parent)
        if parent is not None and parent.awaits == id:
            parent.awaits = 0
        while ended is not None:
            del coroutines[id]
            self.passed.discard(id)
            id = ended.awaits
            ended = coroutines.get(id)
            if ended is not None and ended.is_generator:
                return

    def _end_task(self, id: int) -> None:
        root = self.tasks.pop(id).root
        self.ended_tasks.append(id)
        life = self.coroutines.get(root)
        if life is not None and not life.is_generator:
            self._end_coroutine(root, life)

    def _end_call(self, id: int, site: int, flags: int, open_calls: list[int]) -> None:
        if flags & SEEN_LATE:  # of a base: the job's call is over
            if id in self.jobs:
                self.jobs[id].end = site, flags
            return
        call = self.calls.pop(id, None)
        if call is None:
            return
        if open_calls and open_calls[-1] == id:
            open_calls.pop()
        elif id in open_calls:
            index = open_calls.index(id)
            for inner in open_calls[index + 1 :]:  # of a function that is called too often: they get no end
                self.calls.pop(inner, None)
            del open_calls[index:]
        job = self.jobs.get(call.job)
        if job is not None:
            job.end = site, flags

    def _drop_jobs(self) -> None:
        """Drop the jobs that nothing holds: their call is over, and nobody awaits it still."""
        wanted = {life.awaited for life in self.tasks.values() if life.kind == WAITING}
        wanted.update(call.job for call in self.calls.values())
        for id in self.forgotten_jobs - wanted:
            del self.jobs[id]
        self.forgotten_jobs &= wanted


def _leave(running: list[int], id: int) -> None:
    # A throw and a coroutine driven by hand leave from further down.
    for index in range(len(running) - 1, -1, -1):
        if running[index] == id:
            del running[index]
            return


def _leave_step(steps: list[tuple[int, list[int]]], task: int) -> None:
    for index in range(len(steps) - 1, -1, -1):
        if steps[index][0] == task:
            del steps[index:]
            return
