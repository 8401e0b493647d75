"""Read a program's events while it runs, for the spans and figures of what has ended: on the keeper's thread.

What is over is handed on and forgotten, so that this needs memory only for what is alive.
"""

from __future__ import annotations

import logging
import threading
from array import array
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from opentelemetry.trace import Link as RealLink

from asynctrace import clock
from asynctrace.analysis.figures import (
    Figures,
    Progress,
    add_blocked_time,
    add_call,
    add_coroutine_end,
    add_state,
    add_suspensions,
)
from asynctrace.events import (
    CALL_STARTED,
    CAUSE_TASK,
    CLOSED,
    FIELDS,
    JOB_FORGOTTEN,
    OUTCOME_MASK,
    OUTCOME_NAMES,
    STEP_FINISHED,
    SUSPENDED,
    TASK_READY,
    YIELDED,
    Event,
    Events,
)
from asynctrace.model.build import PartReader
from asynctrace.model.trace import Call, Coroutine, Job, Process, Suspension, Task
from asynctrace.otel.spans import (
    MOST_LINKS,
    Pause,
    SpanEvent,
    Value,
    longest_pauses,
    pauses_of,
    run_attributes,
    run_events,
    suspension_pauses,
    wait_pauses,
)
from asynctrace.recorder.chunks import Follower, each_event
from asynctrace.recorder.describing import Describer
from asynctrace.recorder.reference import traced_codes
from asynctrace.recorder.sieve import make_sieve

if TYPE_CHECKING:
    from opentelemetry.trace import SpanContext

    from asynctrace.otel.live_hooks import SpanHooks
    from asynctrace.otel.live_span import LiveSpan
    from asynctrace.otel.loop_metrics import LoopMetrics
    from asynctrace.recorder import Recorder

logger = logging.getLogger("asynctrace")

_MANY = 200  # states or suspensions of one task or coroutine, until they are added up
_MOST_WHOLES = 10_000  # ended tasks that are remembered, for what they wake
_HOUSEKEEPING_EVENTS = 20_000
_HOLD_NS = 500_000_000  # that a job's spans wait for who awaits it, whose step may end some time later
_GRACE_NS = 1_000_000_000  # far more than lies between the end of a span and the event of it


@dataclass(slots=True)
class EndedRun:
    """A run that has ended, and all there is to say of it; times in nanoseconds of the wall clock."""

    live: LiveSpan
    start_ns: int
    end_ns: int
    attributes: dict[str, Value]
    is_error: bool
    events: tuple[SpanEvent, ...] = ()


@dataclass(slots=True)
class _Sums:
    """The figures of a run so far, of what is forgotten already."""

    progress: Progress
    figures: Figures = field(default_factory=Figures)
    pauses: list[Pause] = field(default_factory=list)  # the longest
    pause_count: int = 0

    def add_pauses(self, pauses: list[Pause]) -> None:
        """Keep the longest of these and of those before."""
        self.pauses = longest_pauses([*self.pauses, *pauses])
        self.pause_count += len(pauses)


class LiveReader:
    """A sink of the recorder that reads each event once.

    Args:
        recorder: Whose events.
        hooks: Who knows the spans that are open.
        on_end: Is given each run that has ended; called on the keeper's thread.
        is_full: Tells whether so many of these wait to be sent that no more are wanted: their events are the smaller.
        events: Whether spans have events that say when they were suspended and resumed.
        metrics: Is told of tasks and loops, or None.
    """

    def __init__(
        self,
        recorder: Recorder,
        hooks: SpanHooks,
        on_end: Callable[[EndedRun], None],
        is_full: Callable[[], bool],
        *,
        events: bool,
        metrics: LoopMetrics | None,
    ) -> None:
        self._recorder = recorder
        self._hooks = hooks
        self._on_end = on_end
        self._is_full = is_full
        self._with_events = events
        self._metrics = metrics
        self._lock = threading.RLock()  # of the keeper, and of whoever wants all that there is
        self._wholes: dict[int, SpanContext] = {}  # of tasks that have one span as a whole, also ended ones
        self._awaited_by: dict[int, list[SpanContext]] = {}  # of tasks that have not begun
        self._has_failed = False
        self._read_ns = 0  # the time of the last event that was read
        self._lost_ns = 0  # what was before this was lost, and perhaps ends of spans with it; 0: that was seen to
        self._begin(self._follow(), [], recorder.start_ns)

    def _follow(self) -> Follower:
        history = self._recorder.history
        with history.lock:
            return history.follow()

    def _begin(self, follower: Follower, base: list[Event], time_ns: int) -> None:
        self._follower = follower
        self._describer = Describer(self._recorder.tables)
        self._part = part = self._recorder.part([], self._describer.describe([]), time_ns, time_ns)
        process = Process(part.pid, part.process_name, part.parent_pid, part.python, time_ns, time_ns, 0, 0, True)
        self._jobs: dict[int, Job] = {}
        self._reader = reader = PartReader(part, process, self._jobs)
        self._sums: dict[int, _Sums] = {}
        self._blocked: dict[Call, Counter[str]] = {}
        self._job_of_call: dict[int, int] = {}
        self._job_awaiters: dict[int, LiveSpan] = {}
        self._held: dict[int, tuple[int, list[EndedRun]]] = {}  # what a job did that nobody awaits yet, and since when
        self._ended_tasks: list[int] = []
        self._ended_before: list[int] = []  # of the last housekeeping: what they wake may come a little later
        self._read_since = 0
        self._sieve = make_sieve(self._is_traced_site, self._hooks.wants_tasks)
        reader.tasks.on_end = self._task_ended
        reader.coroutines.on_end = self._coroutine_ended
        reader.calls.on_end = self._call_ended
        self._read(Events.of(base).fields)
        if self._metrics is not None:
            self._metrics.sieve = self._sieve

    def take(self, at_once: int) -> bool:
        """Read at most so many of the events that are there; return whether there may be more.

        A failure of ours, or of OpenTelemetry, ends the spans, with one warning, and never the program.
        """
        try:
            return not self._is_full() and self._read_some(at_once)
        except Exception as error:
            self._recorder.traced_hooks = None
            with suppress(ValueError):
                self._recorder.sinks.remove(self)
            if not self._has_failed:
                self._has_failed = True
                logger.warning("events could not be read: there are no more spans, the program goes on", exc_info=error)
            return False

    def _read_some(self, at_once: int) -> bool:
        with self._lock:
            fields = self._follower.read(at_once)
            if fields is None:
                self._skip_lost()
                return True
            if not fields:
                # The system sets the wall's clock right from time to time; spans of others go by it.
                self._hooks.offset_ns = clock.wall_ns() - clock.now_ns()
                self._tidy()
                self._let_go_of_old(clock.now_ns() - _HOLD_NS)
                if self._lost_ns:
                    self._tell_lost(self._read_ns - _GRACE_NS)
                return False
            self._read_ns = fields[-FIELDS]
            self._read(fields)
            if self._metrics is not None:
                self._metrics.take(self._sieve, self._label_of)
            if self._read_since > _HOUSEKEEPING_EVENTS:
                self._tidy()
            return True

    def _read(self, fields: array[int]) -> None:
        kept = self._sieve.sift(fields)
        if not kept:
            return
        entries = self._describer.describe(kept)
        part = self._part
        part.threads.update(entries.threads)
        part.sites.update(entries.sites)
        part.expressions.update(entries.expressions)
        part.stacks.update(entries.stacks)
        self._reader.read(self._watched(kept), 1 << 62)
        self._read_since += len(kept)

    def _is_traced_site(self, site: int) -> bool:
        return id(self._recorder.tables.meaning(site)) in traced_codes

    def _label_of(self, site: int, stack: int) -> str:
        """Return what a task is called: by its root, or the outermost of the user's that it stood in first."""
        tables = self._recorder.tables
        root = tables.described(site)
        places = tables.meaning(stack) if stack and root is not None and not root.is_user else ()
        for place in places if isinstance(places, tuple) else ():
            described = tables.described(place[0])
            if described is not None and described.is_user:
                return described.name
        return root.name if root is not None else "?"

    def finish(self) -> None:
        """Read all that was recorded so far."""
        is_full, self._is_full = self._is_full, _never
        try:
            self._recorder.settle()
            while self.take(4_000):
                pass
            with self._lock:
                self._let_go_of_old(clock.now_ns())
        finally:
            self._is_full = is_full

    @property
    def dropped(self) -> int:
        """How many runs have no span, for too many waited to be sent."""
        return self._hooks.dropped

    def close(self, end_ns: int) -> None:
        """Read the rest, and hand on what is open still: unfinished."""
        with self._lock:
            self.finish()
            if self._has_failed:
                return
            reader = self._reader
            reader.finish(end_ns)
            for coroutine in reader.coroutines.open():
                self._coroutine_ended(coroutine)
            for call in reversed(reader.calls.open()):
                self._call_ended(call)
            for task in reader.tasks.open():
                if self._live(task.id) is not None:
                    self._task_ended(task)
            self._let_go_of_old(clock.now_ns())
            self._tell_lost(end_ns)
            for id in list(self._hooks.open):
                self._hooks.close(id)

    # Events.

    def _watched(self, fields: array[int]) -> Iterator[Event]:
        for event in each_event(fields):
            yield event  # and once it was read:
            kind = event[2]
            if kind == TASK_READY:
                if event[6] & 7 == CAUSE_TASK:
                    self._link_waker(event[3], event[4])
            elif kind == STEP_FINISHED:
                if event[4] and event[6] & OUTCOME_MASK == SUSPENDED and not event[6] & YIELDED:
                    self._link_awaiter(event[3], event[4])
            elif kind == CALL_STARTED:
                if event[4]:
                    self._job_of_call[event[3]] = event[4]
            elif kind == JOB_FORGOTTEN:
                self._jobs.pop(event[3], None)
                self._job_awaiters.pop(event[3], None)
                self._let_go(event[3])

    def _link_waker(self, woken: int, waker: int) -> None:
        live = self._innermost(woken)
        if live is None:
            return
        by = self._innermost(waker)
        context = by.get_span_context() if by is not None else self._wholes.get(waker)
        if context is not None:
            _link(live, context, "woken_by")

    def _link_awaiter(self, task: int, awaited: int) -> None:
        awaiter = self._innermost(task)
        if awaiter is None:
            return
        if awaited in self._jobs:
            self._job_awaiters[awaited] = awaiter
            self._let_go(awaited)
            return
        if self._reader.tasks.get(awaited) is None:
            return
        whole = self._whole(awaited)
        if whole is not None:
            _link(whole, awaiter.get_span_context(), "awaited_by")
        elif self._reader.tasks.present(awaited) is not None:
            waiting = self._awaited_by.setdefault(awaited, [])
            if len(waiting) < MOST_LINKS:
                waiting.append(awaiter.get_span_context())

    def _live(self, id: int) -> LiveSpan | None:
        live = self._hooks.open.get(id) or self._hooks.ended.get(id)
        return live if live is not None and live.is_sampled else None

    def _innermost(self, task: int) -> LiveSpan | None:
        innermost = self._live(task)
        for coroutine in self._reader.coroutines.chain_coroutines(task):
            if coroutine.is_traced:
                innermost = self._live(coroutine.id) or innermost
        return innermost

    def _whole(self, task: int) -> LiveSpan | None:
        """Return the span of a task as a whole: its own, or that of its root."""
        live = self._live(task)
        if live is None:
            root = self._reader.coroutines.first_roots.get(task)
            live = self._live(root.id) if root is not None and root.is_traced else None
            if live is not None and not live.is_root:
                live = None
        if live is not None:
            self._note_whole(task, live)
        return live

    def _note_whole(self, task: int, live: LiveSpan) -> None:
        if task in self._wholes:
            return
        while len(self._wholes) >= _MOST_WHOLES:
            del self._wholes[next(iter(self._wholes))]
        self._wholes[task] = live.get_span_context()
        for context in self._awaited_by.pop(task, ()):
            _link(live, context, "awaited_by")

    # Ends.

    def _coroutine_ended(self, coroutine: Coroutine) -> None:
        sums = self._sums.pop(coroutine.id, None)
        live = self._take(coroutine.id)
        if live is None:
            return
        task = coroutine.task
        start_ns, delay_ns = coroutine.started_ns, 0
        if task is not None and live.is_root and not task.is_clipped:
            start_ns = min(task.created_ns, start_ns)
            delay_ns = coroutine.started_ns - start_ns
            self._note_whole(task.id, live)
        if sums is None:
            sums = _Sums(Progress(coroutine.started_ns))
        states = self._reader.tasks.states(task.id) if task is not None else []
        add_suspensions(sums.figures, coroutine.suspensions, states, sums.progress)
        add_coroutine_end(sums.figures, coroutine, delay_ns, sums.progress)
        self._hand_on(live, coroutine, start_ns, sums, pauses_of(coroutine) if self._with_events else [])

    def _task_ended(self, task: Task) -> None:
        self._ended_tasks.append(task.id)
        known = self._sums.pop(task.id, None)
        live = self._take(task.id)
        if live is not None:
            self._note_whole(task.id, live)
        self._awaited_by.pop(task.id, None)
        if live is None or task.is_internal:
            return
        states = self._reader.tasks.states(task.id)
        sums = known if known is not None else _Sums(Progress(task.created_ns))
        for state in states:
            add_state(sums.figures, state)
        sums.figures.add_end(task, task.end_ns - task.created_ns)
        self._hand_on(live, task, task.created_ns, sums, wait_pauses(states) if self._with_events else [])

    def _call_ended(self, call: Call) -> None:
        add_blocked_time(call, self._blocked)
        live = self._take(call.id)
        if live is not None:
            sums = _Sums(Progress(call.started_ns))
            add_call(sums.figures, call, self._blocked)
            run = self._ended(live, call, call.started_ns, sums, [])
            job = self._job_with_span(call)
            if job:
                self._held.setdefault(job, (clock.now_ns(), []))[1].append(run)
                if job in self._job_awaiters:
                    self._let_go(job)
            else:
                self._on_end(run)
        del self._blocked[call]
        self._job_of_call.pop(call.id, None)

    def _job_with_span(self, call: Call) -> int:
        """Return the job of which a call has the outermost span, 0 where it has none."""
        outermost = call
        while outermost.parent is not None:
            outermost = outermost.parent
            if self._live(outermost.id) is not None:
                return 0
        return self._job_of_call.get(outermost.id, 0)

    def _let_go_of_old(self, until_ns: int) -> None:
        """Hand on what is held since then, or longer: nobody awaits it."""
        for job in [job for job, (since_ns, _) in self._held.items() if since_ns <= until_ns]:
            self._let_go(job)

    def _let_go(self, job: int) -> None:
        """Hand on what a job did, linked with who awaits it.

        A job can be over before the step has ended in which it was handed to its executor.
        """
        awaiter = self._job_awaiters.get(job)
        _, runs = self._held.pop(job, (0, []))
        for run in runs:
            if awaiter is not None:
                _link(run.live, awaiter.get_span_context(), "awaited_by")
                _link(awaiter, run.live.get_span_context(), "woken_by")
            self._on_end(run)

    def _take(self, id: int) -> LiveSpan | None:
        """Return the span of a run that has ended, which is no more open."""
        live = self._hooks.ended.pop(id, None)
        if live is None:
            live = self._hooks.open.get(id)
            if live is not None:
                self._hooks.close(id)
        return live if live is not None and live.is_sampled else None

    def _hand_on(self, live: LiveSpan, run: Coroutine | Task, start_ns: int, sums: _Sums, pauses: list[Pause]) -> None:
        self._on_end(self._ended(live, run, start_ns, sums, pauses))

    def _ended(
        self, live: LiveSpan, run: Coroutine | Task | Call, start_ns: int, sums: _Sums, pauses: list[Pause]
    ) -> EndedRun:
        thread = self._reader.thread(live.thread) if live.thread else None
        task = run if isinstance(run, Task) else run.task
        if task is not None:
            task.name = self._recorder.tables.name(task.id) or task.name
        attributes = run_attributes(run, live.described.name, thread, sums.figures)
        events: tuple[SpanEvent, ...] = ()
        if self._with_events and not isinstance(run, Call):
            longest = longest_pauses([*sums.pauses, *pauses])
            events = run_events(run, start_ns, longest, live.offset_ns, attributes)
            left_out = sums.pause_count + len(pauses) - len(longest)
            if left_out:
                attributes["asynctrace.waits_left_out"] = left_out
        return EndedRun(
            live,
            start_ns + live.offset_ns,
            max(run.end_ns, start_ns) + live.offset_ns,
            attributes,
            run.outcome == "raised",
            events,
        )

    # What is forgotten.

    def _tidy(self) -> None:
        """Add up what has grown long, and forget what is over."""
        if not self._read_since:
            return
        self._read_since = 0
        reader = self._reader
        long_tasks = set(reader.tasks.long_lives(_MANY))
        for coroutine, suspensions in reader.coroutines.take_suspensions(_MANY, long_tasks):
            self._add_up(coroutine, suspensions)
        if long_tasks:
            since = reader.coroutines.suspended_since(long_tasks)
            for task in long_tasks:
                self._add_up_task(task, since.get(task))
        reader.forget_ended(self._ended_before)
        self._ended_before, self._ended_tasks = self._ended_tasks, []

    def _add_up(self, coroutine: Coroutine, suspensions: list[Suspension]) -> None:
        if self._live(coroutine.id) is None:
            return
        sums = self._sums_of(coroutine.id, coroutine.started_ns)
        states = self._reader.tasks.states(coroutine.task.id) if coroutine.task is not None else []
        add_suspensions(sums.figures, suspensions, states, sums.progress)
        if self._with_events:
            sums.add_pauses(suspension_pauses(suspensions))

    def _sums_of(self, id: int, start_ns: int) -> _Sums:
        sums = self._sums.get(id)
        if sums is None:
            sums = self._sums[id] = _Sums(Progress(start_ns))
        return sums

    def _add_up_task(self, id: int, kept_from_ns: int | None) -> None:
        """Drop the states of a task that its coroutines have added up: not those of a suspension that goes on."""
        task = self._reader.tasks.get(id)
        if task is None:
            return
        states = self._reader.tasks.states(id)
        dropped = [state for state in states if kept_from_ns is None or state.end_ns <= kept_from_ns]
        sums = self._sums_of(id, task.created_ns)
        for state in dropped:
            add_state(sums.figures, state)
        if self._with_events and self._live(id) is not None:
            sums.add_pauses(wait_pauses(dropped))
        del states[: len(dropped)]

    # Loss.

    def _skip_lost(self) -> None:
        """Events were dropped before they were read: go on after them."""
        self._let_go_of_old(clock.now_ns())
        follower = self._follow()
        time_ns, base = follower.base()
        if self._metrics is not None:
            self._metrics.forget(self._sieve)
        self._begin(follower, base, time_ns)
        self._lost_ns = time_ns

    def _tell_lost(self, until_ns: int) -> None:
        """Hand on, without figures, what ended by then and whose end was not read: all events since were."""
        hooks = self._hooks
        for id, live in list(hooks.ended.items()):
            if live.end_ns <= until_ns and not self._is_alive(id) and hooks.ended.pop(id, None) is not None:
                self._on_end(_without_figures(live, live.end_ns, live.outcome))
        if until_ns < self._lost_ns:
            return
        for id, live in list(hooks.open.items()):
            if live.start_ns < self._lost_ns and not self._is_alive(id):
                hooks.close(id)
                if live.is_sampled:
                    self._on_end(_without_figures(live, self._lost_ns, CLOSED))
        self._lost_ns = 0

    def _is_alive(self, id: int) -> bool:
        reader = self._reader
        return reader.coroutines.is_open(id) or reader.calls.is_open(id) or reader.tasks.present(id) is not None


def _never() -> bool:
    return False


def _without_figures(live: LiveSpan, end_ns: int, outcome: int) -> EndedRun:
    attributes = {
        **live.described.attributes,
        "asynctrace.outcome": OUTCOME_NAMES.get(outcome, "unfinished"),
        "asynctrace.events_lost": True,
    }
    start_ns = live.start_ns
    return EndedRun(
        live, start_ns + live.offset_ns, max(start_ns, end_ns) + live.offset_ns, attributes, live.error is not None
    )


def _link(live: LiveSpan, context: SpanContext, kind: str) -> None:
    if context.span_id == live.get_span_context().span_id:
        return
    if live.links is None:
        live.links = []
    if len(live.links) >= MOST_LINKS:
        return
    for link in live.links:
        if link.context.span_id == context.span_id and (link.attributes or {}).get("asynctrace.link") == kind:
            return
    live.links.append(RealLink(context, {"asynctrace.link": kind}))
