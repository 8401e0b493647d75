"""Of all events, those that have to do with decorated functions; and what the others say of loops and tasks, added up.

Who reads a program's events while it runs needs few of them in full. The native core has its own, of which this is the
definition.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable
from typing import Protocol

from asynctrace.cores import native_module
from asynctrace.events import (
    AWAIT_STACK,
    CALL_STARTED,
    CALLBACK_RAN,
    CLOSED,
    COROUTINE_FINISHED,
    COROUTINE_RESUMED,
    COROUTINE_STARTED,
    COROUTINE_SUSPENDED,
    LOOP_GONE,
    LOOP_IDLE_FINISHED,
    LOOP_IDLE_STARTED,
    MARK,
    OUTCOME_MASK,
    SEEN_LATE,
    STEP_FINISHED,
    STEP_STARTED,
    SUSPENDED,
    TASK_COLLECTED,
    TASK_CREATED,
    TASK_READY,
    YIELDED,
    Event,
)
from asynctrace.recorder.chunks import each_event

LONGEST_TURN_NS = 100_000_000  # of a loop whose turns are not seen, or that never idles: what it is measured by

READY, RUNNING, WAITING = 0, 1, 2

EndedTask = tuple[int, int, int, int, int]
"""A task that has ended: the site of its root, the key of its first await stack or 0, outcome, duration, ready time."""


class AnySieve(Protocol):
    """Goes along with the events, in order."""

    def sift(self, events: array[int], /) -> array[int]:
        """Return those events, flat, that have to do with decorated functions."""
        ...

    def take_delays(self) -> list[int]:
        """Return, of each ended turn of a loop, how long the task sat ready that waited longest, and forget them."""
        ...

    def take_ended(self) -> list[EndedTask]:
        """Return the tasks that have ended, and forget them."""
        ...

    def counts(self) -> tuple[int, int, int]:
        """Return how many tasks are ready, running and waiting."""
        ...

    def loop_times(self) -> tuple[int, int]:
        """Return for how many nanoseconds loops were active, and idle."""
        ...


class _Life:
    """One task."""

    __slots__ = (
        "created",
        "is_known",
        "is_wanted",
        "kind",
        "pending",
        "ready_ns",
        "since_ns",
        "stack",
        "step",
        "steps",
    )

    def __init__(self, created: Event, is_wanted: bool) -> None:
        self.created = created
        self.kind = -1 if created[6] & SEEN_LATE else READY  # -1: not known yet
        self.since_ns = created[0]
        self.ready_ns = 0
        self.pending = False  # a wake has come while it ran
        self.stack = 0
        self.step: Event | None = None  # the beginning of its present step
        self.steps = 0
        self.is_wanted = is_wanted  # all of its events are kept
        self.is_known = is_wanted  # its creation and its end are


class _Loop:
    """One loop."""

    __slots__ = ("delay_ns", "is_idle", "since_ns", "turn_ns")

    def __init__(self, time_ns: int) -> None:
        self.since_ns = self.turn_ns = time_ns
        self.is_idle = False
        self.delay_ns = -1  # no step yet in this turn


class Sieve:
    """See `AnySieve`.

    Args:
        is_traced: Tells of the site of a code whether it is decorated; asked once for each.
        wants_tasks: Whether the events of all tasks are kept.
    """

    def __init__(self, is_traced: Callable[[int], bool], wants_tasks: bool) -> None:
        self._is_traced = is_traced
        self._wants_tasks = wants_tasks
        self._traced: dict[int, bool] = {}
        self._tasks: dict[int, _Life] = {}
        self._coroutines: set[int] = set()  # whose events are kept
        self._loops: dict[int, _Loop] = {}
        self._steps: dict[int, list[int]] = {}  # thread -> the tasks whose steps are open on it
        self._delays: list[int] = []
        self._ended: list[EndedTask] = []
        self._counts = [0, 0, 0]
        self._active_ns = self._idle_ns = 0

    def sift(self, events: array[int], /) -> array[int]:
        kept = array("q")
        for event in each_event(events):
            if self._take(event, kept):
                kept.extend(event)
        return kept

    def take_delays(self) -> list[int]:
        taken, self._delays = self._delays, []
        return taken

    def take_ended(self) -> list[EndedTask]:
        taken, self._ended = self._ended, []
        return taken

    def counts(self) -> tuple[int, int, int]:
        ready, running, waiting = self._counts
        return ready, running, waiting

    def loop_times(self) -> tuple[int, int]:
        return self._active_ns, self._idle_ns

    def _take(self, event: Event, kept: array[int]) -> bool:
        """Take in an event; return whether it is kept, after what was added to `kept` before it."""
        time_ns, thread, kind, subject, _, site, _ = event
        if kind == COROUTINE_STARTED:
            return self._start(thread, subject, site, kept)
        if kind in (COROUTINE_SUSPENDED, COROUTINE_RESUMED):
            return subject in self._coroutines
        if kind == COROUTINE_FINISHED:
            is_kept = subject in self._coroutines
            self._coroutines.discard(subject)
            return is_kept
        if kind == TASK_CREATED:
            return self._create(event)
        if kind in (LOOP_IDLE_STARTED, LOOP_IDLE_FINISHED, LOOP_GONE):
            self._take_loop(time_ns, kind, subject)
            return False
        if kind in (CALLBACK_RAN, MARK):
            return False
        if kind == CALL_STARTED:
            self._want(self._task_on(thread), kept)
            return True
        life = self._tasks.get(subject)
        if life is None:
            return kind not in (TASK_READY, STEP_STARTED, STEP_FINISHED, AWAIT_STACK, TASK_COLLECTED)
        if kind == TASK_READY:
            if life.kind == RUNNING:
                life.pending = True
            elif life.kind != READY:
                self._set(life, READY, time_ns)
        elif kind == STEP_STARTED:
            self._begin_step(event, life)
        elif kind == AWAIT_STACK:
            life.stack = life.stack or site
        elif kind == STEP_FINISHED:
            return self._end_step(event, life, kept)
        elif kind == TASK_COLLECTED:
            self._end(time_ns, subject, life, CLOSED)
            return life.is_known
        return life.is_wanted

    def _create(self, event: Event) -> bool:
        id = event[3]
        if id in self._tasks:
            return False  # as in no program
        life = self._tasks[id] = _Life(event, self._wants_tasks)
        if life.kind >= 0:
            self._counts[life.kind] += 1
        return life.is_wanted

    def _start(self, thread: int, id: int, site: int, kept: array[int]) -> bool:
        """A coroutine starts: it is kept where it is decorated, or its task is wanted, or it is in none."""
        task = self._task_on(thread)
        life = self._tasks.get(task) if task else None
        is_traced = self._traced.get(site)
        if is_traced is None:
            is_traced = self._traced[site] = self._is_traced(site)
        if is_traced:
            self._want(task, kept)
        if is_traced or life is None or life.is_wanted:
            self._coroutines.add(id)
            return True
        return False

    def _task_on(self, thread: int) -> int:
        """Return the task whose step is innermost on a thread, 0 where there is none."""
        steps = self._steps.get(thread)
        return steps[-1] if steps else 0

    def _want(self, task: int, kept: array[int]) -> None:
        """Keep all events of a task from now on, in one of its steps; tell that it is there, and that the step began.

        In a later step than the first it comes as one that is met late: what it did before is not told.
        """
        life = self._tasks.get(task) if task else None
        if life is None or life.is_wanted:
            return
        step = life.step
        if not life.is_known:
            time_ns, thread, kind, id, creator, site, flags = life.created
            if step is not None and life.steps > 1:
                time_ns, thread, flags = step[0], step[1], flags | SEEN_LATE
            kept.extend((time_ns, thread, kind, id, creator, site, flags))
        life.is_wanted = life.is_known = True
        if step is not None:
            kept.extend(step)

    def _begin_step(self, event: Event, life: _Life) -> None:
        time_ns, thread, _, id, loop_id, _, _ = event
        loop = self._loop(loop_id, time_ns)
        if life.kind == READY:
            loop.delay_ns = max(loop.delay_ns, time_ns - life.since_ns)
        self._set(life, RUNNING, time_ns)
        life.pending = False
        life.step = event
        life.steps += 1
        self._steps.setdefault(thread, []).append(id)

    def _end_step(self, event: Event, life: _Life, kept: array[int]) -> bool:
        time_ns, thread, _, id, awaited, _, flags = event
        steps = self._steps.get(thread, [])
        if id in steps:
            del steps[steps.index(id) :]
        if life.step is not None:
            loop = self._loop(life.step[4], time_ns)
            if time_ns - loop.turn_ns > LONGEST_TURN_NS:
                self._end_turn(loop, time_ns)
        life.step = None
        outcome = flags & OUTCOME_MASK
        if outcome != SUSPENDED:
            self._end(time_ns, id, life, outcome)
            return life.is_known
        self._set(life, READY if flags & YIELDED or life.pending else WAITING, time_ns)
        life.pending = False
        if life.is_wanted and awaited:
            other = self._tasks.get(awaited)
            if other is not None and not other.is_known:
                other.is_known = True
                kept.extend(other.created)
        return life.is_wanted

    def _end(self, time_ns: int, id: int, life: _Life, outcome: int) -> None:
        self._leave_state(life, time_ns)
        created_ns, _, _, _, _, site, flags = life.created
        if not flags & SEEN_LATE:  # else it is not known how long it was there
            self._ended.append((site, life.stack, outcome, time_ns - created_ns, life.ready_ns))
        del self._tasks[id]

    def _leave_state(self, life: _Life, time_ns: int) -> None:
        if life.kind >= 0:
            self._counts[life.kind] -= 1
            if life.kind == READY:
                life.ready_ns += time_ns - life.since_ns

    def _set(self, life: _Life, kind: int, time_ns: int) -> None:
        self._leave_state(life, time_ns)
        self._counts[kind] += 1
        life.kind, life.since_ns = kind, time_ns

    def _loop(self, id: int, time_ns: int) -> _Loop:
        loop = self._loops.get(id)
        if loop is None:
            loop = self._loops[id] = _Loop(time_ns)
        return loop

    def _take_loop(self, time_ns: int, kind: int, id: int) -> None:
        loop = self._loop(id, time_ns)
        if kind == LOOP_IDLE_FINISHED:
            self._count(loop, time_ns)
            loop.is_idle = False
            loop.turn_ns = time_ns
        else:
            self._end_turn(loop, time_ns)
            loop.is_idle = kind == LOOP_IDLE_STARTED
        if kind == LOOP_GONE:
            del self._loops[id]

    def _end_turn(self, loop: _Loop, time_ns: int) -> None:
        self._count(loop, time_ns)
        if loop.delay_ns >= 0:
            self._delays.append(loop.delay_ns)
        loop.delay_ns = -1
        loop.turn_ns = time_ns

    def _count(self, loop: _Loop, time_ns: int) -> None:
        passed_ns = max(0, time_ns - loop.since_ns)
        loop.since_ns = max(time_ns, loop.since_ns)
        if loop.is_idle:
            self._idle_ns += passed_ns
        else:
            self._active_ns += passed_ns


def make_sieve(is_traced: Callable[[int], bool], wants_tasks: bool) -> AnySieve:
    """Return a sieve of the core that runs."""
    native = native_module("asynctrace.recorder._native")
    return Sieve(is_traced, wants_tasks) if native is None else native.Sieve(is_traced, wants_tasks)
