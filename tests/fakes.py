"""Traces built by hand, for tests of the analysis and the charts.

Times are in milliseconds on a clock that starts at 0; `FakeTrace(unit_ns=1)` counts nanoseconds instead.

Example:
    >>> fake = FakeTrace(source="gather.py")
    >>> main = fake.task("main", states=[("running", 0, 1), ("waiting", 1, 1000, "gather"), ("running", 1000, 1001)])
    >>> fake.task("count", creator=main, states=[("ready", 0, 1), ("running", 1, 2), ("waiting", 2, 1000, "sleep")])
    >>> trace = fake.build()
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from asynctrace.model.trace import (
    Blocking,
    Call,
    Callback,
    CallKind,
    Cause,
    Coroutine,
    Job,
    JobKind,
    Loop,
    Mark,
    Outcome,
    Process,
    State,
    Suspension,
    Task,
    Thread,
    Trace,
    Wait,
)

STARTED_AT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


class FakeTrace:
    """Collects tasks, calls and jobs, then builds a Trace of them. It starts with a process, its thread and a loop."""

    def __init__(self, *, source: str = "app.py", start: float = 0, unit_ns: int = 1_000_000) -> None:
        self._unit_ns = unit_ns
        self._next_id = 1
        self.source = source
        self.start_ns = self.ns(start)
        self.tasks: list[Task] = []
        self.coroutines: list[Coroutine] = []
        self.calls: list[Call] = []
        self.jobs: list[Job] = []
        self.loops: list[Loop] = []
        self.threads: list[Thread] = []
        self.processes: list[Process] = []
        self.marks: list[Mark] = []
        self.main_process = self.process("MainProcess", pid=100, is_main=True, started=start)
        self.main_thread = self.thread("MainThread", is_main=True)
        self.main_loop = self.loop()

    def ns(self, time: float) -> int:
        """Return a time of this fake in nanoseconds."""
        return round(time * self._unit_ns)

    def _id(self) -> int:
        self._next_id += 1
        return self._next_id - 1

    def process(
        self,
        name: str,
        *,
        pid: int = 0,
        is_main: bool = False,
        started: float = 0,
        first_event: float | None = None,
        finished: float = 0,
        cpu: float = 0,
    ) -> Process:
        """Add a process; `first_event` defaults to `started`."""
        process = Process(
            pid=pid or 100 + len(self.processes),
            name=name,
            parent_pid=1 if is_main else 100,
            python="3.13.0",
            started_ns=self.ns(started),
            first_event_ns=self.ns(started if first_event is None else first_event),
            finished_ns=self.ns(finished),
            cpu_ns=self.ns(cpu),
            is_main=is_main,
            is_root=is_main,
        )
        self.processes.append(process)
        return process

    def thread(self, name: str, *, process: Process | None = None, is_main: bool = False) -> Thread:
        """Add a thread, of the main process unless told otherwise."""
        thread = Thread(self._id(), name, process or self.main_process, is_main)
        self.threads.append(thread)
        return thread

    def loop(self, *, thread: Thread | None = None, idle: Sequence[tuple[float, float]] = ()) -> Loop:
        """Add a loop; the one that every fake has is `main_loop`."""
        loop = Loop(
            self._id(),
            "asyncio.unix_events._UnixSelectorEventLoop",
            thread or self.main_thread,
            idle=tuple((self.ns(start), self.ns(end)) for start, end in idle),
        )
        self.loops.append(loop)
        return loop

    def callback(self, name: str, start: float, end: float, *, loop: Loop | None = None, line: int = 1) -> Callback:
        """Add a plain callback that held the loop."""
        callback = Callback(name, self.source, line, self.ns(start), self.ns(end))
        held = loop or self.main_loop
        held.callbacks = (*held.callbacks, callback)
        return callback

    def task(
        self,
        label: str,
        *,
        states: Sequence[tuple[Any, ...]] = (),
        created: float | None = None,
        finished: float | None = None,
        outcome: Outcome = "returned",
        error: str | None = None,
        creator: Task | None = None,
        loop: Loop | None = None,
        file: str | None = None,
        line: int = 1,
        is_user: bool = True,
        is_internal: bool = False,
        is_eager: bool = False,
        is_clipped: bool = False,
        blockings: Sequence[tuple[Any, ...]] = (),
    ) -> Task:
        """Add a task.

        Args:
            label: Its label; its name is Task-n.
            states: ("running", start, end); ("waiting", start, end[, kind[, expression[, awaited]]]);
                ("ready", start, end[, cause]) where the cause is a kind, a task or a thread.
            created: Defaults to the start of the first state.
            finished: Defaults to the end of the last state; nothing of it when the outcome is "unfinished".
            outcome: How it ended.
            error: The exception's type.
            creator: The task that created it.
            loop: Defaults to `main_loop`.
            file: Defaults to the source.
            line: Of its coroutine.
            is_user: Whether its coroutine is the user's.
            is_internal: Whether it is one of asyncio's own.
            is_eager: Whether its first step ran inside its creator's.
            is_clipped: Whether it was alive before the recording.
            blockings: (primitive, start, end[, expression]).
        """
        built = tuple(self._state(state) for state in states)
        created_ns = self.ns(created) if created is not None else built[0].start_ns if built else self.start_ns
        end_ns = self.ns(finished) if finished is not None else built[-1].end_ns if built else created_ns
        task = Task(
            id=self._id(),
            name=f"Task-{len(self.tasks) + 1}",
            label=label,
            file=self.source if file is None else file,
            line=line,
            is_user=is_user,
            is_internal=is_internal,
            is_eager=is_eager,
            is_clipped=is_clipped,
            loop=loop or self.main_loop,
            creator=creator,
            created_ns=created_ns,
            finished_ns=None if outcome == "unfinished" else end_ns,
            outcome=outcome,
            error=error,
            states=built,
            blockings=self._blockings(blockings),
            end_ns=end_ns,
        )
        self.tasks.append(task)
        return task

    def _state(self, state: tuple[Any, ...]) -> State:
        kind, start, end, *more = state
        wait = cause = None
        if kind == "waiting":
            wait_kind, expression, awaited, *_ = [*more, None, None, None]
            wait = Wait(
                wait_kind or "future",
                expression=expression,
                file=self.source if expression else None,
                line=1 if expression else None,
                awaited=awaited if isinstance(awaited, Task) else None,
                job=awaited if isinstance(awaited, Job) else None,
            )
        elif kind == "ready" and more:
            by = more[0]
            if isinstance(by, Task):
                cause = Cause("task", task=by)
            elif isinstance(by, Thread):
                cause = Cause("thread", thread=by)
            else:
                cause = Cause(by)
        return State(kind, self.ns(start), self.ns(end), wait, cause)

    def _blockings(self, blockings: Sequence[tuple[Any, ...]]) -> tuple[Blocking, ...]:
        return tuple(
            Blocking(primitive, self.ns(start), self.ns(end), more[0] if more else None, self.source, 1)
            for primitive, start, end, *more in blockings
        )

    def coroutine(
        self,
        name: str,
        start: float,
        end: float,
        *,
        task: Task | None = None,
        awaiter: Coroutine | None = None,
        suspensions: Sequence[tuple[Any, ...]] = (),
        outcome: Outcome = "returned",
        error: str | None = None,
        file: str | None = None,
        line: int = 1,
        is_user: bool = True,
        is_traced: bool = False,
        is_generator: bool = False,
        is_clipped: bool = False,
    ) -> Coroutine:
        """Add a coroutine; one without an awaiter becomes its task's. `suspensions`: (start, end[, expression])."""
        coroutine = Coroutine(
            id=self._id(),
            name=name,
            file=self.source if file is None else file,
            line=line,
            is_user=is_user,
            is_traced=is_traced,
            is_generator=is_generator,
            is_clipped=is_clipped,
            attributes={},
            task=task or (awaiter.task if awaiter else None),
            awaiter=awaiter,
            started_ns=self.ns(start),
            finished_ns=None if outcome == "unfinished" else self.ns(end),
            outcome=outcome,
            error=error,
            suspensions=tuple(
                Suspension(self.ns(first), self.ns(last), more[0] if more else None, 1 if more else None)
                for first, last, *more in suspensions
            ),
            end_ns=self.ns(end),
        )
        if task is not None and awaiter is None and task.coroutine is None:
            task.coroutine = coroutine
        self.coroutines.append(coroutine)
        return coroutine

    def call(
        self,
        name: str,
        start: float,
        end: float,
        *,
        kind: CallKind = "function",
        thread: Thread | None = None,
        task: Task | None = None,
        parent: Call | None = None,
        job: Job | None = None,
        outcome: Outcome = "returned",
        error: str | None = None,
        file: str | None = None,
        line: int = 1,
        is_user: bool = True,
        cpu: float = 0,
        blockings: Sequence[tuple[Any, ...]] = (),
    ) -> Call:
        """Add a call, on the main thread unless told otherwise. `blockings`: (primitive, start, end[, expression])."""
        call = Call(
            id=self._id(),
            kind=kind,
            name=name,
            file=self.source if file is None else file,
            line=line,
            is_user=is_user,
            attributes={},
            thread=thread or self.main_thread,
            task=task,
            parent=parent,
            job=job,
            started_ns=self.ns(start),
            finished_ns=None if outcome == "unfinished" else self.ns(end),
            outcome=outcome,
            error=error,
            cpu_ns=self.ns(cpu),
            blockings=self._blockings(blockings),
            end_ns=self.ns(end),
        )
        if job is not None:
            job.call = call
        self.calls.append(call)
        return call

    def job(
        self,
        name: str,
        submitted: float,
        finished: float,
        *,
        kind: JobKind = "thread",
        task: Task | None = None,
        outcome: Outcome = "returned",
        error: str | None = None,
    ) -> Job:
        """Add a job; give it to `call` to say where it ran."""
        job = Job(
            id=self._id(),
            kind=kind,
            name=name,
            task=task,
            submitted_ns=self.ns(submitted),
            finished_ns=None if outcome == "unfinished" else self.ns(finished),
            outcome=outcome,
            error=error,
        )
        self.jobs.append(job)
        return job

    def mark(self, time: float, text: str) -> None:
        """Add the user's own text."""
        self.marks.append(Mark(self.ns(time), text))

    def build(self, *, end: float | None = None, lost: int = 0, notes: Sequence[str] = (), cpu: float = 0) -> Trace:
        """Return the Trace. It ends at `end`, or with what ended last; what has no end yet ends there too."""
        lives: list[Task | Coroutine | Call] = [*self.tasks, *self.coroutines, *self.calls]
        end_ns = self.ns(end) if end is not None else max((life.end_ns for life in lives), default=self.start_ns)
        for process in self.processes:
            process.finished_ns = process.finished_ns or end_ns
        return Trace(
            tasks=tuple(sorted(self.tasks, key=lambda task: task.created_ns)),
            coroutines=tuple(sorted(self.coroutines, key=lambda coroutine: coroutine.started_ns)),
            calls=tuple(sorted(self.calls, key=lambda call: call.started_ns)),
            jobs=tuple(self.jobs),
            loops=tuple(self.loops),
            threads=tuple(self.threads),
            processes=tuple(self.processes),
            marks=tuple(self.marks),
            lost=lost,
            notes=tuple(notes),
            start_ns=self.start_ns,
            end_ns=end_ns,
            started_at=STARTED_AT,
            cpu_ns=self.ns(cpu),
            sees_coroutines=True,
            source=self.source,
        )
