"""Turn a Trace into spans: plain values, of which `asynctrace.otel.emitting` makes those of OpenTelemetry.

The attributes follow the semantic conventions of OpenTelemetry 1.40 where there are some (`code.*`, `thread.*`,
`error.type`); `asyncio.*` and `asynctrace.*` are ours. Durations are in seconds.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from heapq import nlargest
from typing import Final, Literal

from asynctrace.analysis.figures import Figures, add_call, add_coroutine, add_task, begins_with_task, blocked_times
from asynctrace.analysis.wakes import wakes
from asynctrace.model.collection import collection_paused
from asynctrace.model.tasks import short_name
from asynctrace.model.trace import Call, Coroutine, Process, State, Suspension, Task, Thread, Trace
from asynctrace.otel.nesting import Nesting, Run

Value = str | int | float | bool
LinkKind = Literal["woken_by", "awaited_by"]

MOST_LINKS: Final = 32
MOST_EVENTS: Final = 120  # the SDK keeps 128, and drops the oldest beyond that silently
_INT64: Final = 1 << 63


@dataclass(frozen=True, slots=True)
class Link:
    """A link to another span, the `span`-th of the same trace: it woke this one, or awaited it."""

    span: int
    kind: LinkKind


@dataclass(frozen=True, slots=True)
class SpanEvent:
    """A coroutine was suspended or resumed at `time_ns`, wall clock."""

    name: Literal["suspended", "resumed"]
    time_ns: int
    attributes: dict[str, Value]


@dataclass(frozen=True, slots=True)
class Span:
    """One run of a coroutine, of a plain function, or of a task; times in nanoseconds of the wall clock.

    `parent` is the number of another span, which comes before this one, None for the root of a trace. `error` is None
    unless it raised: then the exception's type, "" where that is unknown.
    """

    name: str
    process: Process
    start_ns: int
    end_ns: int
    parent: int | None
    error: str | None
    attributes: dict[str, Value]
    links: tuple[Link, ...] = ()
    events: tuple[SpanEvent, ...] = ()


def trace_spans(trace: Trace, *, tasks: bool | None = None, events: bool = False) -> tuple[Span, ...]:
    """Return the spans of a trace: one for each call of a decorated function, coroutine or plain.

    A span has the qualified name of the function (or that which the decorator gave it), never a task's name, of which
    there may be any number. A coroutine that is a task's root begins with its task: the delay of the first step counts
    as ready, so that running, ready and waiting add up to the span.

    Args:
        trace: Any trace.
        tasks: Whether each task has a span as well, asyncio's own excepted; a task whose root is decorated has that
            one span. By default only where nothing is decorated; and where there are no tasks either, the calls of the
            user's functions stand for them.
        events: Whether a span has events that say when it was suspended and resumed; of many, the longest waits.

    Returns:
        Parents before their children, else in order of their start.
    """
    with collection_paused():
        return _Reading(trace, tasks=tasks, events=events).spans()


class _Reading:
    """Makes the spans of one trace."""

    def __init__(self, trace: Trace, *, tasks: bool | None, events: bool) -> None:
        self._trace = trace
        self._with_events = events
        self._clock = _Clock(trace)
        self._threads: dict[Task, Thread | None] = {}
        runs = _runs_with_spans(trace, tasks=tasks)
        self._nesting = Nesting(trace, {run: number for number, run in enumerate(runs)})
        parents = {run: self._nesting.parent(run) for run in runs}
        self._runs = _parents_first(runs, parents)
        self._parents = parents
        self._numbers = {run: number for number, run in enumerate(self._runs)}
        self._links = self._find_links()
        has_calls = any(isinstance(run, Call) for run in self._runs)
        self._blocked: dict[Call, Counter[str]] = blocked_times(trace.calls) if has_calls else {}
        has_tasks = any(isinstance(run, Task) for run in self._runs)
        self._names = _full_names(trace.coroutines) if has_tasks else {}

    def spans(self) -> tuple[Span, ...]:
        return tuple(self._span(run) for run in self._runs)

    def _span(self, run: Run) -> Span:
        task = run if isinstance(run, Task) else run.task
        thread = run.thread if isinstance(run, Call) else self._thread(task)
        process = thread.process if thread is not None else self._trace.processes[0]
        offset_ns = self._clock.offset_ns(process)
        start_ns = _start_ns(run)
        parent = self._parents[run]
        name = encodable(self._name(run))
        attributes = run_attributes(run, name, thread, self._figures(run))
        events: tuple[SpanEvent, ...] = ()
        if self._with_events and not isinstance(run, Call):
            events = run_events(run, _start_ns(run), pauses_of(run), offset_ns, attributes)
        return Span(
            name=name,
            process=process,
            start_ns=start_ns + offset_ns,
            end_ns=max(start_ns, run.end_ns) + offset_ns,
            parent=self._numbers[parent] if parent is not None else None,
            error=encodable(run.error or "") if run.outcome == "raised" else None,
            attributes=attributes,
            links=tuple(self._links.get(run, ())),
            events=events,
        )

    def _thread(self, task: Task | None) -> Thread | None:
        """Return the thread of a task; one that never ran is where its creator is."""
        chain: list[Task] = []
        while task is not None and task not in self._threads:
            chain.append(task)
            self._threads[task] = thread = task.loop.thread if task.loop is not None else None
            if thread is not None:
                break
            task = task.creator
        found = self._threads[task] if task is not None else None
        self._threads.update(dict.fromkeys(chain, found))
        return found

    def _name(self, run: Run) -> str:
        if isinstance(run, Task):
            return self._names.get((run.file, run.line, run.label), run.label) or run.name
        return run.name

    def _figures(self, run: Run) -> Figures:
        figures = Figures()
        if isinstance(run, Task):
            add_task(figures, run)
        elif isinstance(run, Coroutine):
            add_coroutine(figures, run)
        else:
            add_call(figures, run, self._blocked)
        return figures

    def _find_links(self) -> dict[Run, list[Link]]:
        """Return what awaited each run, then what woke it, each once, in order of time."""
        found: dict[Run, dict[Link, None]] = defaultdict(dict)
        innermost, whole = self._nesting.innermost, self._nesting.whole
        for task in self._trace.tasks:
            for state in task.states:
                wait = state.wait
                if wait is None:
                    continue
                if wait.awaited is not None:
                    # What a task is as a whole is awaited.
                    self._link(found, whole(wait.awaited), innermost(task, state.start_ns), "awaited_by")
                elif wait.job is not None:
                    inside = self._nesting.in_job.get(wait.job)
                    self._link(found, inside, innermost(task, state.start_ns), "awaited_by")
                    if wait.job.finished_ns is not None:
                        self._link(found, innermost(task, state.end_ns), inside, "woken_by")
        for wake in wakes(self._trace):
            # A task wakes those that await it when its root has finished.
            waker = innermost(wake.waker, wake.time_ns) or whole(wake.waker)
            self._link(found, innermost(wake.woken, wake.time_ns), waker, "woken_by")
        return {run: list(links)[:MOST_LINKS] for run, links in found.items()}

    def _link(self, found: dict[Run, dict[Link, None]], run: Run | None, other: Run | None, kind: LinkKind) -> None:
        if run is not None and other is not None and run is not other and len(found[run]) < MOST_LINKS:
            found[run][Link(self._numbers[other], kind)] = None


class _Clock:
    """Turns monotonic times into those of the wall clock, by what each process read at its start."""

    def __init__(self, trace: Trace) -> None:
        self._offsets = {
            process: part.wall_ns - part.start_ns for process, part in zip(trace.processes, trace.parts, strict=False)
        }
        microseconds = (trace.started_at - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)
        self._default = microseconds * 1000 - trace.start_ns

    def offset_ns(self, process: Process) -> int:
        return self._offsets.get(process, self._default)


def _full_names(coroutines: Iterable[Coroutine]) -> dict[tuple[str, int, str], str]:
    """Return the qualified names behind the labels of tasks."""
    names = {(each.file, each.line, each.name) for each in coroutines}
    return {(file, line, short_name(name)): name for file, line, name in names}


def _runs_with_spans(trace: Trace, *, tasks: bool | None) -> list[Run]:
    coroutines = [each for each in trace.coroutines if each.is_traced]
    calls = [call for call in trace.calls if call.is_traced]
    if tasks is None:
        tasks = not coroutines and not calls
        if tasks and not trace.tasks:
            calls = [call for call in trace.calls if call.is_user]
    runs: list[Run] = [*coroutines, *calls]
    if tasks:
        told = {each.task for each in coroutines if begins_with_task(each)}
        runs += [task for task in trace.tasks if not task.is_internal and task not in told]
    return runs


def _parents_first(runs: list[Run], parents: dict[Run, Run | None]) -> list[Run]:
    """Return `runs` in order of their start, parents first. A ring, only in a damaged file, is cut open."""
    ordered: dict[Run, None] = {}
    for run in sorted(runs, key=_start_ns):
        chain: dict[Run, None] = {}
        step: Run | None = run
        while step is not None and step not in ordered:
            if step in chain:
                parents[next(reversed(chain))] = None
                break
            chain[step] = None
            step = parents[step]
        ordered.update(dict.fromkeys(reversed(chain)))
    return list(ordered)


def _start_ns(run: Run) -> int:
    if isinstance(run, Task):
        return run.created_ns
    if isinstance(run, Coroutine) and run.task is not None and begins_with_task(run):
        return min(run.task.created_ns, run.started_ns)
    return run.started_ns


def code_attributes(name: str, file: str, line: int) -> dict[str, Value]:
    """Return the attributes that say where a function is."""
    attributes: dict[str, Value] = {"code.function.name": name}
    if file:
        attributes["code.file.path"] = encodable(file)
    if line:
        attributes["code.line.number"] = line
    return attributes


def own_attributes(given: Iterable[tuple[str, Value]]) -> dict[str, Value]:
    """Return the attributes that the decorator gave a function, as OpenTelemetry can hold them."""
    return {encodable(key): _sendable(value) for key, value in given if key}  # it has none without a name


def run_attributes(run: Run, name: str, thread: Thread | None, figures: Figures) -> dict[str, Value]:
    """Return all attributes of the span of one run."""
    task = run if isinstance(run, Task) else run.task
    attributes = code_attributes(name, run.file, run.line)
    if thread is not None:
        if thread.native_id:
            attributes["thread.id"] = thread.native_id
        attributes["thread.name"] = encodable(thread.name)
    if task is not None:
        attributes["asyncio.task.name"] = encodable(task.name)
        attributes["asyncio.task.id"] = task.id & 0xFFFFFFFF  # while the program runs, the process is part of it
    attributes["asynctrace.outcome"] = run.outcome
    if run.outcome == "raised" and run.error:
        attributes["error.type"] = encodable(run.error)
    if run.is_clipped:
        attributes["asynctrace.began_before_recording"] = True
    if not isinstance(run, Call):
        attributes["asynctrace.steps"] = figures.steps
    attributes["asynctrace.running_s"] = figures.running_ns / 1e9
    if task is not None:
        attributes["asynctrace.ready_s"] = figures.ready_ns / 1e9
    attributes["asynctrace.waiting_s"] = figures.waiting_ns.total() / 1e9
    for kind, waited_ns in figures.waiting_ns.items():
        attributes[f"asynctrace.waiting.{encodable(kind)}_s"] = waited_ns / 1e9
    if task is not None:
        attributes["asynctrace.longest_step_s"] = figures.longest_step_ns / 1e9
    if not isinstance(run, Task):
        attributes.update(own_attributes(run.attributes.items()))
    return attributes


Pause = tuple[int, int, str | None, int | None]  # start and end, expression and line of the await


def pauses_of(run: Task | Coroutine) -> list[Pause]:
    """Return when a run was suspended."""
    if isinstance(run, Task):
        return wait_pauses(run.states)
    return suspension_pauses(run.suspensions)


def suspension_pauses(suspensions: Iterable[Suspension]) -> list[Pause]:
    """Return the suspensions of a coroutine."""
    return [(each.start_ns, each.end_ns, each.expression, each.line) for each in suspensions]


def wait_pauses(states: Iterable[State]) -> list[Pause]:
    """Return the waits among a task's states."""
    waits = ((state, state.wait) for state in states)
    return [(state.start_ns, state.end_ns, wait.expression, wait.line) for state, wait in waits if wait]


def longest_pauses(pauses: Iterable[Pause]) -> list[Pause]:
    """Return as many as a span has room for."""
    return nlargest(MOST_EVENTS // 2, pauses, key=lambda pause: pause[1] - pause[0])


def run_events(
    run: Task | Coroutine, run_start_ns: int, pauses: list[Pause], offset_ns: int, attributes: dict[str, Value]
) -> tuple[SpanEvent, ...]:
    """Return when a run was suspended and resumed. Of many, the longest waits: then `attributes` say so."""
    longest = longest_pauses(pauses)
    if len(longest) < len(pauses):
        attributes["asynctrace.waits_left_out"] = len(pauses) - len(longest)
    events: list[SpanEvent] = []
    for start_ns, end_ns, expression, line in longest:
        about: dict[str, Value] = {}
        if expression is not None:
            about["asynctrace.expression"] = encodable(expression)
        if line is not None:
            about["code.line.number"] = line
        if start_ns > run_start_ns or not run.is_clipped:  # else it was suspended before
            events.append(SpanEvent("suspended", start_ns + offset_ns, about))
        if end_ns < run.end_ns or run.outcome not in ("unfinished", "closed"):
            about = {**about, "asynctrace.suspended_s": (end_ns - start_ns) / 1e9}
            events.append(SpanEvent("resumed", end_ns + offset_ns, about))
    return tuple(sorted(events, key=lambda event: event.time_ns))


def encodable(text: str) -> str:
    """Return a text that UTF-8 can encode: lone surrogates, which the names of files may have, are escaped."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode(errors="backslashreplace").decode()
    return text


def _sendable(value: Value) -> Value:
    """Return an attribute's value as OTLP can hold it: numbers that it lacks become texts."""
    if isinstance(value, str):
        return encodable(value)
    if isinstance(value, bool):
        return value
    if isinstance(value, int):
        return value if -_INT64 <= value < _INT64 else str(value)
    return value if math.isfinite(value) else str(value)
