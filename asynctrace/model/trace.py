"""The values of a Trace: what happened, as plain objects. Built from events by `asynctrace.model.build`.

All times are monotonic nanoseconds (`*_ns`). Intervals are half-open, [start_ns, end_ns). Objects refer to each other
(a task to its creator, a wait to the task awaited), so they compare by identity, and show nothing of each other when
printed; two traces compare by content.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from datetime import datetime
from os import PathLike
from typing import TYPE_CHECKING, Any, Literal

from asynctrace.events import Part

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from opentelemetry.trace import TracerProvider

StateKind = Literal["ready", "running", "waiting"]
WaitKind = Literal["sleep", "io", "lock", "queue", "event", "task", "gather", "thread", "process", "timer", "future"]
CauseKind = Literal["task", "timer", "io", "thread", "unknown"]
Outcome = Literal["returned", "raised", "cancelled", "closed", "unfinished"]
CallKind = Literal["traced", "function", "thread", "job", "process"]
JobKind = Literal["thread", "process", "other"]

_PICTURES = (".png", ".svg", ".pdf")
_PAGE = ".html"


@dataclass(slots=True, eq=False)
class Process:
    """One process of the recording. `started_ns`: when its parent began to start it, or its own first event.

    `is_root`: it was the first of its recording. A trace with several was merged of as many recordings.
    """

    pid: int
    name: str
    parent_pid: int
    python: str
    started_ns: int
    first_event_ns: int
    finished_ns: int
    cpu_ns: int
    is_main: bool
    is_root: bool = False
    program: str = ""


@dataclass(slots=True, eq=False)
class Thread:
    """One thread of a process. `native_id` is the operating system's, 0 when unknown."""

    id: int
    name: str
    process: Process = field(repr=False)
    is_main: bool
    native_id: int = 0


@dataclass(slots=True, eq=False)
class Loop:
    """One event loop: its thread, when it was idle, and the plain callbacks that held it for 1 ms or longer."""

    id: int
    type: str
    thread: Thread | None = field(repr=False)
    idle: tuple[tuple[int, int], ...] = field(default=(), repr=False)
    callbacks: tuple[Callback, ...] = field(default=(), repr=False)


@dataclass(frozen=True, slots=True)
class Callback:
    """A plain callback that held its loop for 1 ms or longer."""

    name: str
    file: str
    line: int
    start_ns: int
    end_ns: int


@dataclass(slots=True, eq=False)
class Cause:
    """What woke a task. `task` or `thread` is set when that is the kind; `code` names what completed the future."""

    kind: CauseKind
    task: Task | None = field(default=None, repr=False)
    thread: Thread | None = field(default=None, repr=False)
    code: str | None = None


@dataclass(slots=True, eq=False)
class Wait:
    """What a task waited for: the innermost `await` of the user's own code, and the task or job when it is one."""

    kind: WaitKind
    expression: str | None = None
    file: str | None = None
    line: int | None = None
    awaited: Task | None = field(default=None, repr=False)
    job: Job | None = field(default=None, repr=False)


@dataclass(slots=True, eq=False)
class State:
    """A stretch of a task's life. `wait` is set when waiting; `cause`, when ready: what made it so."""

    kind: StateKind
    start_ns: int
    end_ns: int
    wait: Wait | None = field(default=None, repr=False)
    cause: Cause | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Blocking:
    """Time inside a call that blocks the thread: `primitive` is such as "time.sleep"."""

    primitive: str
    start_ns: int
    end_ns: int
    expression: str | None = None
    file: str | None = None
    line: int | None = None


@dataclass(slots=True, eq=False)
class Task:
    """One asyncio.Task.

    `states` follow each other without a gap from `created_ns` to `finished_ns` (or the end of the recording).
    `label` is the name of the outermost coroutine of the user's own code that it ran, else of its root; `file` and
    `line` are that coroutine's, `is_user` tells whether it is the user's. `is_clipped`: it was alive before the
    recording (or its window) began, so `created_ns` is the beginning of what is known.
    """

    id: int
    name: str
    label: str
    file: str
    line: int
    is_user: bool
    is_internal: bool  # asyncio's own shutdown tasks, and those of a notebook's kernel that run nothing of the user's
    is_eager: bool
    is_clipped: bool
    loop: Loop | None = field(repr=False)
    creator: Task | None = field(repr=False)
    created_ns: int
    finished_ns: int | None
    outcome: Outcome
    error: str | None  # the exception's type, when outcome is "raised"
    coroutine: Coroutine | None = field(default=None, repr=False)
    states: tuple[State, ...] = field(default=(), repr=False)
    blockings: tuple[Blocking, ...] = field(default=(), repr=False)
    end_ns: int = 0  # finished_ns, or the end of the recording


@dataclass(slots=True, unsafe_hash=True)  # not frozen: that would make it, of which there are most, four times slower
class Suspension:
    """A stretch in which a coroutine stood at an `await`, or (`is_yield`) at a value that it yields."""

    start_ns: int
    end_ns: int
    expression: str | None
    line: int | None
    is_yield: bool = False


@dataclass(slots=True, eq=False)
class Coroutine:
    """One call of an `async def` (a coroutine, or an async generator)."""

    id: int
    name: str
    file: str
    line: int
    is_user: bool
    is_traced: bool
    is_generator: bool
    is_clipped: bool
    attributes: dict[str, str | int | float | bool]
    task: Task | None = field(repr=False)
    awaiter: Coroutine | None = field(repr=False)
    started_ns: int
    finished_ns: int | None
    outcome: Outcome
    error: str | None = None
    suspensions: tuple[Suspension, ...] = field(default=(), repr=False)
    end_ns: int = 0


@dataclass(slots=True, eq=False)
class Call:
    """One run of a plain function: decorated, a script's own, a thread's or process's target, or a job's function.

    `task` is set when it ran inside a step; `parent` is the call, on the same thread, that it ran in. `is_clipped`: it
    ran before the recording (or its window) began; `cpu_ns` is that of the whole call all the same.
    """

    id: int
    kind: CallKind
    name: str
    file: str
    line: int
    is_user: bool
    attributes: dict[str, str | int | float | bool]
    thread: Thread = field(repr=False)
    task: Task | None = field(repr=False)
    parent: Call | None = field(repr=False)
    job: Job | None = field(repr=False)
    started_ns: int
    finished_ns: int | None
    outcome: Outcome
    error: str | None = None
    cpu_ns: int = 0
    blockings: tuple[Blocking, ...] = field(default=(), repr=False)
    end_ns: int = 0
    is_clipped: bool = False
    is_traced: bool = False  # decorated, also where it is the target of a thread or a job's function


@dataclass(slots=True, eq=False)
class Job:
    """Work handed to an executor by a task, or on a thread. `call` is its run, when that was seen."""

    id: int
    kind: JobKind
    name: str
    task: Task | None = field(repr=False)
    submitted_ns: int
    finished_ns: int | None
    outcome: Outcome
    error: str | None = None
    call: Call | None = field(default=None, repr=False)
    thread: Thread | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Mark:
    """The user's own text at a time."""

    time_ns: int
    text: str


@dataclass(slots=True, eq=False)
class Trace:
    """What one recording saw.

    Example:
        >>> with asynctrace.record() as recording:
        ...     asyncio.run(main())
        >>> recording.trace.tasks[0].states
    """

    tasks: tuple[Task, ...] = field(repr=False)  # in order of creation
    coroutines: tuple[Coroutine, ...] = field(repr=False)  # in order of their start
    calls: tuple[Call, ...] = field(repr=False)
    jobs: tuple[Job, ...] = field(repr=False)
    loops: tuple[Loop, ...] = field(repr=False)
    threads: tuple[Thread, ...] = field(repr=False)
    processes: tuple[Process, ...] = field(repr=False)  # the recording's own first
    marks: tuple[Mark, ...] = field(repr=False)
    lost: int
    notes: tuple[str, ...]  # what a reader of the trace must know: functions dropped, a file cut short
    start_ns: int
    end_ns: int
    started_at: datetime  # wall clock at start_ns, with its time zone (UTC)
    cpu_ns: int
    sees_coroutines: bool
    source: str = ""  # where it was loaded from or what was run; for titles
    dropped: int = 0  # of those lost: what a note tells of, such as all that is older than what is kept
    parts: tuple[Part, ...] = field(default=(), repr=False)

    def save(self, path: str | PathLike[str]) -> None:
        """Write the trace to `path`; the suffix tells the format.

        .pftrace is the recording itself, for `asynctrace.load` and Perfetto; .png, .svg and .pdf are a Gantt chart,
        .html is an interactive page; .json is Chrome trace JSON, .speedscope.json is for speedscope; with .gz appended
        these are compressed. .parquet is a table of states and coroutines, for DuckDB and the like.
        """
        if os.fspath(path).lower().endswith(_PICTURES):
            self.gantt(path)
            return
        if os.fspath(path).lower().endswith(_PAGE):
            from asynctrace.charts.timeline import write_timeline

            write_timeline(self, path)
            return
        from asynctrace.formats import save

        save(self, path)

    def gantt(
        self,
        path: str | PathLike[str] | None = None,
        *,
        ax: Axes | None = None,
        coroutines: bool = False,
    ) -> Figure:
        """Draw a Gantt chart of the tasks; write it to `path` (.png, .svg or .pdf) when given.

        Args:
            path: Where to write the picture, or None.
            ax: A matplotlib Axes to draw the rows into instead of a figure of its own.
            coroutines: Whether to draw the nested coroutines inside each task's row.

        Returns:
            The matplotlib Figure; pyplot is never touched.
        """
        from asynctrace.charts.gantt import draw_gantt

        return draw_gantt(self, path, ax=ax, coroutines=coroutines)

    def summary(self) -> dict[str, Any]:
        """Return the figures per coroutine, with the fields of `asynctrace summary --json`."""
        from asynctrace.analysis.summary import summarize

        return summarize(self).as_dict()

    def to_otel(
        self, provider: TracerProvider | None = None, *, tasks: bool | None = None, events: bool = False
    ) -> int:
        """Emit the decorated functions as OpenTelemetry spans, with their own times.

        Args:
            provider: Whose resource, sampler, limits and processors apply; by default the global one.
            tasks: Whether tasks have spans, too; by default only where nothing is decorated.
            events: Whether each span has events that say when it was suspended and resumed.

        Returns:
            How many spans the provider's processors were given, and flushed.

        Raises:
            MissingPackageError: If opentelemetry-sdk is not installed.
            AsynctraceError: If the provider could not be flushed.
        """
        try:
            from asynctrace.otel.emitting import emit_trace
        except ImportError as error:
            from asynctrace.errors import MissingPackageError

            sentence = "to_otel needs opentelemetry-sdk: install it (pip install opentelemetry-sdk)"
            raise MissingPackageError(sentence) from error
        return emit_trace(self, provider, tasks=tasks, events=events)

    def _repr_png_(self) -> bytes | None:
        from asynctrace.charts.gantt import gantt_png

        return gantt_png(self)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Trace):
            return NotImplemented
        from asynctrace.model.content import content

        return content(self) == content(other)

    __hash__ = None  # type: ignore[assignment]  # content can be large and two equal traces are still two objects


def check_output(path: str) -> None:
    """Refuse a path to which `Trace.save` could not write.

    Raises:
        UsageError: If its suffix names no format, its folder does not exist, or no file can have such a name.
    """
    from asynctrace.errors import UsageError
    from asynctrace.formats import checked_suffix

    if not path.lower().endswith((*_PICTURES, _PAGE)):
        checked_suffix(path)
    folder = os.path.dirname(path)
    if "\0" in path:
        raise UsageError(f"{path!r} cannot be the name of a file")
    if folder and not os.path.isdir(folder):
        raise UsageError(f"{path}: the folder {folder} does not exist")
