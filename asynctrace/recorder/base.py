"""The events that say who is alive and in what state: what a reader of later events has to know first.

They are such as a program could have made, flagged SEEN_LATE: a task that waits is a step that begins and ends at
once, with the starts of its coroutines inside, as in `asynctrace.probes.running`. What is suspended comes first, then,
thread by thread, what runs.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from asynctrace.events import (
    ASYNC_GENERATOR,
    AWAIT_STACK,
    BLOCKING_STARTED,
    CALL_FINISHED,
    CALL_STARTED,
    COROUTINE_RESUMED,
    COROUTINE_STARTED,
    COROUTINE_SUSPENDED,
    EAGER,
    FUNCTION_DROPPED,
    JOB_SUBMITTED,
    LOOP_IDLE_STARTED,
    LOOP_SEEN,
    PROCESS_STARTED,
    SEEN_LATE,
    STEP_FINISHED,
    STEP_STARTED,
    TASK_CREATED,
    TASK_READY,
    THROWN,
    YIELDED,
    Event,
)
from asynctrace.recorder.living import UNKNOWN, WAITING, CoroutineLife, TaskLife, ThreadLife

if TYPE_CHECKING:
    from asynctrace.recorder.fold import Fold


def base_events(fold: Fold, time_ns: int) -> list[Event]:
    """Return the events, all at `time_ns`, that lead to the state of a fold."""
    return _Base(fold, time_ns).events


class _Base:
    def __init__(self, fold: Fold, time_ns: int) -> None:
        self.events: list[Event] = []
        self._time_ns = time_ns
        self._fold = fold
        self._tasks, self._coroutines = fold.tasks, fold.coroutines
        self._told: set[int] = set()  # coroutines
        self._members: dict[int, list[int]] = {}  # task, or 0 -> the coroutines that began in its steps
        for id in sorted(fold.coroutines):
            self._members.setdefault(self._home(id), []).append(id)
        # Generators that went on after a value, perhaps for another than who awaited the first one.
        self._undriven = {
            id for id, life in fold.coroutines.items() if life.is_moved and not (life.is_suspended and life.yields)
        }
        self._tangled = self._find_tangled()
        self._add_all()

    def _add(self, thread: int, kind: int, subject: int, other: int = 0, site: int = 0, flags: int = SEEN_LATE) -> None:
        self.events.append((self._time_ns, thread, kind, subject, other, site, flags))

    def _home(self, id: int) -> int:
        """Return the task in whose step a coroutine began, 0 where there is none or it has ended."""
        task = self._coroutines[id].task
        return task if task in self._tasks else 0

    def _find_tangled(self) -> set[int]:
        """Return the tasks whose coroutines cannot simply be told inside one step of their task, awaiters first."""
        tangled = {0}
        for id, life in self._coroutines.items():
            home = self._home(id)
            if life.awaiter in self._coroutines and self._home(life.awaiter) != home:
                tangled |= {home, self._home(life.awaiter)}
        for id in self._undriven:
            life = self._coroutines[id]
            tangled |= {self._home(id), life.driver}
            if life.parent in self._coroutines:
                tangled.add(self._home(life.parent))
        tangled.update(self._home(id) for id in self._fold.passed)
        for thread in self._fold.threads.values():
            for task, running in [(0, thread.bare), *thread.steps]:
                homes = {self._home(id) for id in running if id in self._coroutines}
                if homes - {task}:
                    tangled |= {task, *homes}
        return tangled

    def _add_all(self) -> None:
        fold, tasks = self._fold, self._tasks
        for site, thread in fold.functions_dropped.items():
            self._add(thread, FUNCTION_DROPPED, 0, 0, site)
        for thread, pid in fold.processes:
            self._add(thread, PROCESS_STARTED, 0, pid)
        for id, loop in sorted(fold.loops.items()):
            is_known = loop.thread != 0
            self._add(loop.thread or loop.seen_by, LOOP_SEEN, id, 0, loop.site, SEEN_LATE if is_known else 0)
        for id, task in sorted(tasks.items()):
            creator = task.creator if task.creator in tasks else 0
            self._add(task.thread, TASK_CREATED, id, creator, task.site)
        self._add_jobs()
        self._add_suspended()
        for thread, life in sorted(fold.threads.items()):
            self._add_running(thread, life)
        for id, task in sorted(tasks.items()):
            if task.cause is not None:
                thread, other, site, flags = task.cause
                self._add(thread, TASK_READY, id, other, site, flags | SEEN_LATE)
        for id, loop in sorted(fold.loops.items()):
            if loop.idle_thread:
                self._add(loop.idle_thread, LOOP_IDLE_STARTED, id)
        for (thread, id), (code, primitive, offset) in fold.blockings.items():
            self._add(thread, BLOCKING_STARTED, id, code, primitive, offset)

    def _add_jobs(self) -> None:
        # Those whose call is over, too: a task may wait for one, and the end of a step that runs still may name one.
        for id, job in sorted(self._fold.jobs.items()):
            task = job.task if job.task in self._tasks else 0
            self._add(job.thread, JOB_SUBMITTED, id, task, job.site, job.flags | SEEN_LATE)
            if job.end is not None:
                site, flags = job.end
                self._add(job.thread, CALL_FINISHED, id, 0, site, flags | SEEN_LATE)

    # What is suspended.

    def _add_suspended(self) -> None:
        running = {id for thread in self._fold.threads.values() for id, _ in thread.steps}
        homes = {
            home: self._root_first(home)
            for home in (*sorted(self._tasks), 0)
            if home in self._tangled or home not in running
        }
        is_first = True
        while is_first or any(homes.values()) or self._undriven:
            undriven, told = len(self._undriven), len(self._told)
            for home, members in homes.items():
                now, homes[home] = self._tellable(members)
                if now or (is_first and home not in self._tangled):
                    self._add_step(home, now)
            for id in sorted(self._undriven & self._told):
                if self._is_settled(self._coroutines[id].parent):
                    self._drive(id)
            if not is_first and (undriven, told) == (len(self._undriven), len(self._told)):
                self._drive(min(self._undriven))  # two that await each other, as no program's do
            is_first = False
        for home in sorted(self._tangled & self._tasks.keys() - running):
            self._add_step(home, [], is_last=True)

    def _root_first(self, task: int) -> list[int]:
        members = self._members.get(task, [])
        root = self._tasks[task].root if task else 0
        return sorted(members, key=lambda id: (id != root, id))

    def _tellable(self, members: Sequence[int]) -> tuple[list[int], list[int]]:
        """Part coroutines into those that can be told now, after who awaits them, and the others."""
        now: list[int] = []
        later: list[int] = []
        for id in members:
            if self._is_settled(self._coroutines[id].awaiter):
                self._told.add(id)
                now.append(id)
            else:
                later.append(id)
        return now, later

    def _is_settled(self, id: int) -> bool:
        """Tell whether a coroutine has ended, or is told together with who awaits it."""
        return id not in self._coroutines or (id in self._told and id not in self._undriven)

    def _add_step(self, task: int, coroutines: Sequence[int], is_last: bool = False) -> None:
        """Tell coroutines, and suspend them, inside a step of their task that begins and ends at once."""
        if task:
            life = self._tasks[task]
            if not coroutines and not life.loop and (life.kind == UNKNOWN or life.cause is not None):
                return  # it has had no step yet, and its wake says that it is ready
            self._add(life.thread, STEP_STARTED, task, life.loop, 0, _step_flags(life))
        self._start(task, coroutines)
        for id in reversed(coroutines):
            self._suspend(id)
        if task:
            self._end_step(task, is_intermediate=task in self._tangled and not is_last)

    def _end_step(self, id: int, is_intermediate: bool) -> None:
        task = self._tasks[id]
        if not is_intermediate and task.stack:
            self._add(task.thread, AWAIT_STACK, id, 0, task.stack)
        if task.kind == WAITING and not is_intermediate:
            self._add(task.thread, STEP_FINISHED, id, task.awaited, task.future_type)
        else:
            self._add(task.thread, STEP_FINISHED, id, 0, 0, SEEN_LATE | YIELDED)

    def _start(self, task: int, coroutines: Iterable[int]) -> None:
        thread = self._tasks[task].thread if task else 0
        for id in coroutines:
            life = self._coroutines[id]
            awaiter = life.awaiter if life.awaiter in self._coroutines else 0
            flags = SEEN_LATE | (ASYNC_GENERATOR if life.is_generator else 0)
            self._add(thread, COROUTINE_STARTED, id, awaiter, life.site, flags)

    def _suspend(self, id: int) -> None:
        life = self._coroutines[id]
        # One that went on after a value stands at that value until who drives it is told.
        yields = YIELDED if life.is_moved else life.yields if life.is_suspended else 0
        self._add(self._thread_of(life), COROUTINE_SUSPENDED, id, 0, life.offset, SEEN_LATE | yields)

    def _thread_of(self, life: CoroutineLife) -> int:
        task = self._tasks.get(life.task)
        return task.thread if task is not None else 0

    def _drive(self, id: int) -> None:
        """Make the one that awaits a generator's next value its awaiter."""
        self._undriven.discard(id)
        life = self._coroutines[id]
        task = life.driver if life.driver in self._tasks else 0
        thread = self._tasks[task].thread if task else 0
        parent = life.parent if life.parent in self._coroutines else 0
        if task:
            self._add(thread, STEP_STARTED, task, self._tasks[task].loop, 0, _step_flags(self._tasks[task]))
        if parent:
            self._add(thread, COROUTINE_RESUMED, parent)
        self._add(thread, COROUTINE_RESUMED, id)
        self._add(thread, COROUTINE_SUSPENDED, id, 0, life.offset)
        if parent:
            above = self._coroutines[parent]
            self._add(thread, COROUTINE_SUSPENDED, parent, 0, above.offset, SEEN_LATE | above.yields)
        if task:
            self._add(thread, STEP_FINISHED, task, 0, 0, SEEN_LATE | YIELDED)

    # What runs.

    def _add_running(self, thread: int, life: ThreadLife) -> None:
        for id in life.bare:
            self._resume(thread, id)
        self._add_calls(thread, life, 0)
        for depth, (task, running) in enumerate(life.steps, 1):
            open_step = self._tasks.get(task)
            if open_step is not None:
                self._add(thread, STEP_STARTED, task, open_step.loop, 0, _step_flags(open_step))
                if task in self._tangled:
                    self._resume_all(thread, task, running)
                else:
                    self._start_running(thread, task, running)
                if open_step.stack:
                    self._add(thread, AWAIT_STACK, task, 0, open_step.stack)
            self._add_calls(thread, life, depth)

    def _add_calls(self, thread: int, life: ThreadLife, depth: int) -> None:
        for id in life.calls:
            call = self._fold.calls[id]
            # One whose step is not known any more is told outside of any.
            if call.depth == depth or (depth == 0 and call.depth > len(life.steps)):
                self._add(thread, CALL_STARTED, id, call.job, call.site, call.flags | SEEN_LATE)

    def _start_running(self, thread: int, task: int, running: list[int]) -> None:
        members = self._root_first(task)
        self._start(task, members)
        left = [id for id in members if not self._coroutines[id].is_suspended]
        # Where one stood last is only told by its being suspended.
        is_plain = left == running and not any(self._coroutines[id].offset for id in left)
        for id in reversed(members):
            if self._coroutines[id].is_suspended or not is_plain:
                self._suspend(id)
        if not is_plain:
            for id in running:
                self._resume(thread, id)

    def _resume_all(self, thread: int, task: int, running: list[int]) -> None:
        passed = {id for id in self._fold.passed if self._home(id) == task}
        for id in running:
            awaiter = self._coroutines[id].parent if id in self._coroutines else 0
            while awaiter in passed:
                passed.discard(awaiter)
                awaiter = self._coroutines[awaiter].parent
        for id in running:
            self._resume(thread, id)
        # What was thrown into has ended, and those above go on next.
        awaiters = {self._coroutines[id].parent for id in passed}
        for id in sorted(passed - awaiters):
            self._add(thread, COROUTINE_RESUMED, id, 0, 0, SEEN_LATE | THROWN)

    def _resume(self, thread: int, id: int) -> None:
        life = self._coroutines.get(id)
        if life is not None:
            flags = SEEN_LATE | (THROWN if life.parent in self._fold.passed else 0)
            self._add(thread, COROUTINE_RESUMED, id, 0, 0, flags)


def _step_flags(task: TaskLife) -> int:
    return SEEN_LATE | (EAGER if task.is_eager else 0)
