"""Build a Trace of the parts of a recording."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from operator import attrgetter
from typing import Any, TypeVar

from asynctrace import events as ev
from asynctrace.events import Event, Part
from asynctrace.model.calls import CallReader
from asynctrace.model.collection import collection_paused
from asynctrace.model.coroutines import CoroutineReader, Running
from asynctrace.model.tasks import TaskReader
from asynctrace.model.trace import Call, Callback, Coroutine, Job, Loop, Mark, Process, Task, Thread, Trace
from asynctrace.model.window import clip

_Item = TypeVar("_Item", Task, Coroutine, Call)


class PartReader:
    """Reads one part's events, in order of time, and sends each to the reader of its subject.

    Also as they come, piece by piece: the tables of the part then grow, and what is over has to be taken out again.
    """

    def __init__(self, part: Part, process: Process, jobs: dict[int, Job]) -> None:
        self.part = part
        self.process = process
        self.threads: dict[int, Thread] = {}
        self.loops: dict[int, Loop] = {}
        self.marks: list[Mark] = []
        # Where the oldest events were dropped: when what is kept begins, and how many they were.
        self.kept_from_ns, self.dropped = dropped_before(part)
        self.lost = 0
        self.losses: dict[str, int] = {}  # what of them a note tells -> how many
        self.children: dict[int, int | None] = {}  # pid -> when its parent began to start it, None: before the part
        self.coroutines = CoroutineReader(part)
        self.tasks = TaskReader(part, self.coroutines, self.loops.get, self.thread, jobs)
        self.calls = CallReader(part, self.thread, self.tasks.get, self.tasks.blocked, jobs)
        # thread -> (task, coroutines running): those outside of any step, of no task, then those of the steps, nested
        self._steps: dict[int, list[tuple[int, Running]]] = {}
        self._idle: dict[int, list[tuple[int, int]]] = {}
        self._idle_since: dict[int, int] = {}
        self._callbacks: dict[int, list[Callback]] = {}

    def thread(self, id: int) -> Thread:
        thread = self.threads.get(id)
        if thread is None:
            info = self.part.threads.get(id)
            name = info.name if info is not None else f"thread {id}"
            is_main = info is not None and info.is_main
            native_id = info.native_id if info is not None else 0
            thread = self.threads[id] = Thread(id, name, self.process, is_main, native_id)
        return thread

    def _steps_on(self, thread: int) -> list[tuple[int, Running]]:
        steps = self._steps.get(thread)
        if steps is None:
            steps = self._steps[thread] = [(0, {})]
        return steps

    def read(self, events: Iterable[Event], end_ns: int) -> None:
        """Read events up to `end_ns`."""
        tasks, coroutines, calls = self.tasks, self.coroutines, self.calls
        last_thread, steps = 0, self._steps_on(0)
        # The commonest kinds first: of a large recording, most of the time goes by here.
        for time_ns, thread, kind, subject, other, site, flags in events:
            if time_ns > end_ns:
                break
            if thread != last_thread:
                last_thread, steps = thread, self._steps_on(thread)
            if kind == ev.COROUTINE_SUSPENDED:
                coroutines.suspended(time_ns, subject, site, flags, steps[-1][1])
            elif kind == ev.COROUTINE_RESUMED:
                task, running = steps[-1]
                root = coroutines.resumed(time_ns, subject, flags, task, running)
                if root is not None:
                    tasks.name_by(task, root)
            elif kind == ev.COROUTINE_STARTED:
                task, running = steps[-1]
                described = coroutines.started(time_ns, subject, other, site, flags, task, tasks.get(task), running)
                if described is not None:
                    tasks.name_by(task, described)
            elif kind == ev.COROUTINE_FINISHED:
                coroutines.finished(time_ns, subject, site, flags, steps[-1][1])
            elif kind == ev.TASK_READY:
                tasks.ready(time_ns, subject, other, site, flags)
            elif kind == ev.STEP_STARTED:
                steps.append((subject, {}))
                tasks.step_started(time_ns, subject, other, flags)
                loop = self.loops.get(other)
                if loop is not None and loop.thread is None:
                    loop.thread = self.thread(thread)
            elif kind == ev.STEP_FINISHED:
                tasks.step_finished(time_ns, subject, other, site, flags)
                for index in range(len(steps) - 1, 0, -1):
                    if steps[index][0] == subject:
                        del steps[index:]
                        break
            elif kind == ev.TASK_CREATED:
                tasks.created(time_ns, subject, other, site, flags)
            elif kind == ev.AWAIT_STACK:
                tasks.await_stack(subject, site)
            elif kind == ev.TASK_COLLECTED:
                tasks.collected(time_ns, subject)
            elif kind == ev.CALL_STARTED:
                calls.started(time_ns, thread, subject, other, site, flags, steps[-1][0])
            elif kind == ev.CALL_FINISHED:
                calls.finished(time_ns, thread, subject, other, site, flags)
            else:
                self._read_rare(time_ns, thread, kind, subject, other, site, flags)

    def finish(self, end_ns: int) -> list[str]:
        """Close what is open at the end of the recording; return the notes."""
        self.tasks.finish(end_ns)
        self.coroutines.finish(end_ns)
        for id, since in self._idle_since.items():
            self._idle.setdefault(id, []).append((since, end_ns))
        for id, loop in self.loops.items():
            loop.idle = tuple(self._idle.get(id, ()))
            loop.callbacks = tuple(self._callbacks.get(id, ()))
        return self.calls.finish(end_ns)

    def forget_ended(self, tasks: Iterable[int]) -> None:
        """Forget what is over of a program that is read as it runs, of which there is no end; and some ended tasks."""
        self.tasks.forget(tasks)
        self.coroutines.forget(tasks)
        self.calls.forget_ended()
        self._idle.clear()
        self._callbacks.clear()
        self.marks.clear()

    def _read_rare(self, time_ns: int, thread: int, kind: int, subject: int, other: int, site: int, flags: int) -> None:
        if kind == ev.LOOP_IDLE_STARTED:
            self._idle_since[subject] = time_ns
        elif kind == ev.LOOP_IDLE_FINISHED:
            since = self._idle_since.pop(subject, None)
            if since is not None and since < time_ns:
                self._idle.setdefault(subject, []).append((since, time_ns))
        elif kind == ev.LOOP_SEEN:
            # In a base its thread is known; else it may be another than that on which the loop will run.
            known = self.thread(thread) if flags & ev.SEEN_LATE else None
            self.loops.setdefault(subject, Loop(subject, self._text(site), known))
        elif kind == ev.CALLBACK_RAN:
            described = self.part.sites.get(site)
            if described is not None and time_ns > self.part.start_ns:
                start_ns = min(time_ns, max(time_ns - other, self.part.start_ns))
                callback = Callback(described.name, described.file, described.line, start_ns, time_ns)
                self._callbacks.setdefault(subject, []).append(callback)
        elif kind == ev.JOB_SUBMITTED:
            self.calls.submitted(time_ns, thread, subject, other, site, flags)
        elif kind == ev.BLOCKING_STARTED:
            self.calls.blocking_started(time_ns, thread, subject, other, site, flags)
        elif kind == ev.BLOCKING_FINISHED:
            self.calls.blocking_finished(time_ns, thread, subject)
        elif kind == ev.PROCESS_STARTED:
            self.children[other] = None if flags & ev.SEEN_LATE else time_ns
        elif kind == ev.FUNCTION_DROPPED:
            self.calls.drop(site)
        elif kind == ev.MARK:
            self.marks.append(Mark(time_ns, self._text(site)))
        elif kind == ev.LOST:
            self.lost += other
            if site:
                text = self._text(site)
                self.losses[text] = self.losses.get(text, 0) + other

    def _text(self, site: int) -> str:
        described = self.part.sites.get(site)
        return described.name if described is not None else "?"


def build_trace(
    parts: Sequence[Part],
    *,
    window: tuple[int, int] | None = None,
    source: str = "",
    notes: Iterable[str] = (),
) -> Trace:
    """Return the Trace of a recording.

    Args:
        parts: What each process recorded; the first is the recording's own process.
        window: The recording's (start_ns, end_ns) when it is a window on longer parts: lifetimes are clipped to it.
        source: What was run, or the file's path.
        notes: What a reader of the trace must know.

    Returns:
        The trace; ids are numbered from 1 in order of time.
    """
    with collection_paused():
        return _build(parts, window, source, notes)


def _build(parts: Sequence[Part], window: tuple[int, int] | None, source: str, notes: Iterable[str]) -> Trace:
    whole = (parts[0].start_ns, parts[0].end_ns) if parts else (0, 0)
    start_ns, end_ns = window or whole
    jobs: dict[int, Job] = {}
    readers: list[PartReader] = []
    kept_from_ns, _ = dropped_before(parts[0]) if parts else (0, 0)
    start_ns = min(max(start_ns, kept_from_ns), end_ns)
    read_notes: list[list[str]] = []
    for index, part in enumerate(parts):
        process = Process(
            pid=part.pid,
            name=part.process_name,
            parent_pid=part.parent_pid,
            python=part.python,
            started_ns=part.start_ns,
            first_event_ns=part.events[0][0] if part.events else part.start_ns,
            finished_ns=min(part.end_ns, end_ns),
            cpu_ns=part.cpu_ns,
            is_main=index == 0,
            is_root=part.is_root or index == 0,
            program=part.program,
        )
        reader = PartReader(part, process, jobs)
        readers.append(reader)
        reader.read(part.events, min(part.end_ns, end_ns))
        read_notes.append(reader.finish(min(part.end_ns, end_ns)))
        if reader.kept_from_ns < start_ns:  # the window begins later than what is kept: nothing of it was dropped
            reader.lost, reader.dropped = reader.lost - reader.dropped, 0
    starts = {pid: (time_ns, reader.process) for reader in readers for pid, time_ns in reader.children.items()}
    for reader in readers:
        process = reader.process
        if process.pid in starts:
            # Who started it: to the system its parent can be a fork server.
            started_ns, starter = starts[process.pid]
            process.parent_pid = starter.pid
            if started_ns is not None:
                process.started_ns = started_ns
        process.started_ns = min(process.started_ns, process.finished_ns)
        for call, id in reader.calls.job_links():
            _link(call, jobs.get(id))
    _drop_jobs_ended_before(readers, jobs)
    is_merged = any(part.is_root for part in parts)
    all_notes = list(notes)
    for reader, found in zip(readers, read_notes, strict=True):
        all_notes += _notes_of_part(reader, found, is_merged)
    trace = Trace(
        tasks=_ordered((task for reader in readers for task in reader.tasks.tasks), "created_ns"),
        coroutines=_ordered((each for reader in readers for each in reader.coroutines.coroutines), "started_ns"),
        calls=_ordered((call for reader in readers for call in reader.calls.calls), "started_ns"),
        jobs=tuple(sorted(jobs.values(), key=lambda job: job.submitted_ns)),
        loops=tuple(loop for reader in readers for loop in reader.loops.values()),
        threads=tuple(thread for reader in readers for thread in reader.threads.values()),
        processes=tuple(reader.process for reader in readers),
        marks=tuple(sorted((mark for reader in readers for mark in reader.marks), key=lambda mark: mark.time_ns)),
        lost=sum(reader.lost for reader in readers),
        dropped=sum(reader.dropped + sum(reader.losses.values()) for reader in readers),
        notes=tuple(all_notes),
        start_ns=start_ns,
        end_ns=end_ns,
        started_at=_started_at(parts, start_ns),
        cpu_ns=parts[0].cpu_ns if parts else 0,
        sees_coroutines=all(part.sees_coroutines for part in parts),
        source=source or (parts[0].program if parts else ""),
        parts=tuple(parts),
    )
    for reader in readers:
        for task in reader.tasks.tasks:
            task.coroutine = reader.coroutines.first_roots.get(task.id)
    if (start_ns, end_ns) != whole or any(part.events and part.events[0][0] < start_ns for part in parts):
        clip(trace, start_ns, end_ns)
    _number(trace)
    return trace


def _drop_jobs_ended_before(readers: list[PartReader], jobs: dict[int, Job]) -> None:
    """Leave out the jobs that were over before what is kept begins, but for those that a task waits for in it."""
    ended = {id for reader in readers for id in reader.calls.jobs_ended_before}
    if ended:
        tasks = (task for reader in readers for task in reader.tasks.tasks)
        awaited = {state.wait.job for task in tasks for state in task.states if state.wait is not None}
        for id in ended:
            if jobs[id] not in awaited:
                del jobs[id]


def dropped_before(part: Part) -> tuple[int, int]:
    """Return when the events that are kept begin, and how many earlier ones were dropped: a part's LOST at its head."""
    if not part.events or part.events[0][2] != ev.LOST:
        return 0, 0
    time_ns, _, _, _, count, _, _ = part.events[0]
    return time_ns, count


def _notes_of_part(reader: PartReader, found: list[str], is_merged: bool) -> Iterator[str]:
    process = reader.process
    whose = f"process {process.pid} ({process.name}): "
    every = whose if is_merged else ""
    for note in reader.part.notes:
        yield f"{every}{note}"
    if reader.dropped:
        duration = _duration_text(max(0, process.finished_ns - reader.kept_from_ns))
        who, last = (whose, "its last") if is_merged or not process.is_main else ("", "the last")
        yield f"{who}showing {last} {duration}; {reader.dropped:,} earlier events were dropped"
    for text, count in reader.losses.items():
        yield f"{every}{count:,} events were dropped {text}"
    if is_merged and (unsaid := reader.lost - reader.dropped - sum(reader.losses.values())) > 0:
        yield f"{whose}{unsaid:,} event{'s were' if unsaid > 1 else ' was'} lost"
    for note in found:
        yield f"{every}{note}"


def _duration_text(duration_ns: int) -> str:
    seconds = duration_ns / 1e9
    if seconds >= 0.1:
        return f"{seconds:,.0f} s" if seconds >= 9.95 else f"{seconds:.1f} s"
    return f"{seconds * 1e3:.3g} ms"


def _ordered(items: Iterable[_Item], time: str) -> tuple[_Item, ...]:
    # At one time, such as that where what is kept begins, in order of their ids: those of a process ascend.
    return tuple(sorted(sorted(items, key=attrgetter("id")), key=attrgetter(time)))


def _link(call: Call, job: Job | None) -> None:
    if job is None:
        return
    call.job, job.call = job, call
    job.finished_ns, job.outcome, job.error = call.finished_ns, call.outcome, call.error


def _started_at(parts: Sequence[Part], start_ns: int) -> datetime:
    epoch = datetime(1970, 1, 1, tzinfo=UTC)
    if not parts:
        return epoch
    # A datetime holds microseconds.
    wall_ns = parts[0].wall_ns + (start_ns - parts[0].start_ns)
    return epoch + timedelta(microseconds=wall_ns // 1000)


def _number(trace: Trace) -> None:
    """Give what is in the trace small numbers, in order: the recorder's ids are unique, not pleasant."""
    every: tuple[tuple[Any, ...], ...] = (
        trace.tasks,
        trace.coroutines,
        trace.calls,
        trace.jobs,
        trace.loops,
        trace.threads,
    )
    for items in every:
        for number, item in enumerate(items, 1):
            item.id = number
