"""Turn the events of a part's tasks into states: created, ready, running, waiting, finished."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable

from asynctrace.events import (
    CAUSE_NAMES,
    CAUSE_TASK,
    CAUSE_THREAD,
    CLOSED,
    EAGER,
    OUTCOME_MASK,
    OUTCOME_NAMES,
    SEEN_LATE,
    SUSPENDED,
    YIELDED,
    Part,
    Site,
)
from asynctrace.model.coroutines import CoroutineReader
from asynctrace.model.trace import (
    Blocking,
    Cause,
    CauseKind,
    Job,
    JobKind,
    Loop,
    State,
    StateKind,
    Task,
    Thread,
    Wait,
    WaitKind,
)
from asynctrace.model.waits import user_place, wait_kind

_NO_SITE = Site(name="?")
_CAUSE_MASK = 7

# The coroutines that the task stands in, what ended the wait, whether that is for a task, the kind of job, the future.
_WaitKey = tuple[tuple[tuple[int, int], ...], CauseKind | None, bool, JobKind | None, str]
_WaitPlace = tuple[WaitKind, str | None, str | None, int | None]  # what a Wait begins with
SHUTDOWN = ("shutdown_asyncgens", "shutdown_default_executor")
_OF_KERNEL = re.compile(r"[/\\]ipykernel[/\\][^/\\]+$")


def short_name(name: str) -> str:
    """Return a qualified name without the functions that it is defined in."""
    return name.rsplit("<locals>.", 1)[-1]


class _Life:
    """One task while its events are read."""

    __slots__ = (
        "awaited",
        "blockings",
        "cause",
        "chain",
        "future_type",
        "kind",
        "pending",
        "since",
        "stack",
        "states",
        "task",
    )

    def __init__(self, task: Task) -> None:
        self.task = task
        self.states: list[State] = []
        self.blockings: list[Blocking] = []
        self.kind: StateKind | None = None
        self.since = task.created_ns
        self.cause: Cause | None = None  # of the present ready state
        self.pending: Cause | None = None  # of a wake that came while the task itself ran
        self.chain: tuple[tuple[int, int], ...] = ()
        self.stack: tuple[tuple[int, int], ...] | None = None
        self.awaited = 0
        self.future_type = ""


class TaskReader:
    """Reads the events of the tasks of one part, in order."""

    def __init__(
        self,
        part: Part,
        coroutines: CoroutineReader,
        loop_of: Callable[[int], Loop | None],
        thread_of: Callable[[int], Thread],
        jobs: dict[int, Job],
    ) -> None:
        self._part = part
        self._sites = part.sites
        self._coroutines = coroutines
        self._loop_of = loop_of
        self._thread_of = thread_of
        self._jobs = jobs
        self._lives: dict[int, _Life] = {}
        self._causes: dict[tuple[int, int, int], Cause] = {}
        self._places: dict[_WaitKey, _WaitPlace] = {}
        self.tasks: list[Task] = []
        self.on_end: Callable[[Task], None] | None = None  # called when the end of one was read

    def get(self, id: int) -> Task | None:
        life = self._lives.get(id)
        return life.task if life is not None else None

    def created(self, time_ns: int, id: int, creator: int, site: int, flags: int) -> None:
        if id in self._lives:
            return  # of a damaged file, like other events here that cannot be
        root = self._sites.get(site, _NO_SITE)
        task = Task(
            id=id,
            name=self._part.names.get(id, ""),
            label=short_name(root.name),
            file=root.file,
            line=root.line,
            is_user=root.is_user,
            is_internal=_is_internal(root),
            is_eager=False,
            is_clipped=bool(flags & SEEN_LATE),
            loop=None,
            creator=self.get(creator),
            created_ns=time_ns,
            finished_ns=None,
            outcome="unfinished",
            error=None,
        )
        life = self._lives[id] = _Life(task)
        if not flags & SEEN_LATE:
            life.kind = "ready"
        self.tasks.append(task)

    def ready(self, time_ns: int, id: int, other: int, site: int, flags: int) -> None:
        life = self._lives.get(id)
        if life is None:
            return
        cause = self._cause(other, site, flags)
        if life.kind == "running":
            if life.pending is None:
                life.pending = cause
        elif life.kind == "ready":
            if life.cause is None:
                life.cause = cause
        elif life.task.finished_ns is None:
            self._close(life, time_ns, cause)
            life.kind, life.since, life.cause = "ready", time_ns, cause

    def _cause(self, other: int, site: int, flags: int) -> Cause:
        """Return the cause of a wake: one object for all wakes by the same, of which there can be very many."""
        key = other, site, flags & _CAUSE_MASK
        cause = self._causes.get(key)
        # Without its task it has ended before what is kept of the recording: another could come to have its id.
        if cause is None or (cause.kind == "task" and cause.task is None):
            cause = self._causes[key] = self._new_cause(*key)
        return cause

    def _new_cause(self, other: int, site: int, kind: int) -> Cause:
        if kind == CAUSE_TASK:
            return Cause("task", task=self.get(other))
        if kind == CAUSE_THREAD:
            return Cause("thread", thread=self._thread_of(other))
        described = self._sites.get(site)
        code = described.name if described is not None else None
        return Cause(CAUSE_NAMES.get(kind, "unknown"), code=code)  # type: ignore[arg-type]  # the table holds the literals

    def step_started(self, time_ns: int, id: int, loop: int, flags: int) -> None:
        life = self._lives.get(id)
        if life is None or life.task.finished_ns is not None:
            return
        self._close(life, time_ns, None)
        if life.task.loop is None:
            life.task.loop = self._loop_of(loop)
        if flags & EAGER:
            life.task.is_eager = True
        life.kind, life.since, life.cause, life.pending = "running", time_ns, None, None
        life.stack = None

    def await_stack(self, id: int, key: int) -> None:
        life = self._lives.get(id)
        if life is not None:
            life.stack = self._part.stacks.get(key, ())
            self._label(life, life.stack)

    def step_finished(self, time_ns: int, id: int, awaited: int, site: int, flags: int) -> None:
        life = self._lives.get(id)
        outcome = flags & OUTCOME_MASK
        if life is None or life.task.finished_ns is not None or outcome > CLOSED:
            return
        if flags & SEEN_LATE and life.since == time_ns:
            life.kind = None  # no step: it says what the task was waiting for when the recording came
        self._close(life, time_ns, None)
        if outcome != SUSPENDED:
            task = life.task
            life.kind = None
            task.finished_ns = time_ns
            self._coroutines.task_ended(time_ns, id)
            task.outcome = OUTCOME_NAMES[outcome]  # type: ignore[assignment]  # the table holds the literals
            task.error = self._sites[site].name if outcome == 2 and site in self._sites else None
            task.end_ns = time_ns
            if self.on_end is not None:
                self.on_end(task)
            return
        life.since = time_ns
        if flags & YIELDED or life.pending is not None:
            life.kind, life.cause, life.pending = "ready", life.pending, None
            return
        life.kind = "waiting"
        life.awaited = awaited
        life.future_type = self._sites[site].name if site in self._sites else ""
        life.chain = life.stack if life.stack is not None else self._coroutines.chain(id)

    def collected(self, time_ns: int, id: int) -> None:
        life = self._lives.get(id)
        if life is None or life.task.finished_ns is not None:
            return
        self._close(life, time_ns, None)
        life.kind = None
        life.task.finished_ns = time_ns
        life.task.outcome = "closed"
        self._coroutines.task_ended(time_ns, id)
        life.task.end_ns = time_ns
        if self.on_end is not None:
            self.on_end(life.task)

    def blocked(self, id: int, blocking: Blocking) -> None:
        life = self._lives.get(id)
        if life is not None:
            life.blockings.append(blocking)

    def name_by(self, id: int, site: Site) -> None:
        """Label a task by the outermost coroutine of the user's that it ran."""
        life = self._lives.get(id)
        if life is not None and not life.task.is_user and site.is_user:
            task = life.task
            task.label, task.file, task.line, task.is_user = short_name(site.name), site.file, site.line, True
            task.is_internal = False

    def _label(self, life: _Life, chain: tuple[tuple[int, int], ...]) -> None:
        if life.task.is_user:
            return
        for site, _ in chain:
            described = self._sites.get(site)
            if described is not None and described.is_user:
                self.name_by(life.task.id, described)
                return

    def states(self, id: int) -> list[State]:
        """Return the states of a task that are over, as far as they were not dropped."""
        life = self._lives.get(id)
        return life.states if life is not None else []

    def present(self, id: int) -> tuple[StateKind, int] | None:
        """Return the state that a task is in, and since when."""
        life = self._lives.get(id)
        return (life.kind, life.since) if life is not None and life.kind is not None else None

    def long_lives(self, count: int) -> list[int]:
        """Return the tasks that have more than so many states."""
        return [id for id, life in self._lives.items() if len(life.states) > count]

    def open(self) -> list[Task]:
        """Return those that have begun and not ended."""
        return [life.task for life in self._lives.values() if life.task.finished_ns is None]

    def forget(self, ids: Iterable[int]) -> None:
        """Forget some tasks that have ended, and what was made anew for them."""
        for id in ids:
            self._lives.pop(id, None)
        self._causes.clear()
        self.tasks.clear()

    def finish(self, end_ns: int) -> None:
        """Close what is open at the end of the recording: unfinished."""
        for life in self._lives.values():
            self._close(life, end_ns, None)
            task = life.task
            task.states = tuple(life.states)
            task.blockings = tuple(life.blockings)
            task.end_ns = task.finished_ns if task.finished_ns is not None else end_ns

    def _close(self, life: _Life, time_ns: int, cause: Cause | None) -> None:
        """End the present state; `cause` is what ended it, when it is a wait."""
        kind = life.kind
        if kind is None or (life.task.is_clipped and life.since == time_ns == life.task.created_ns):
            return  # it was over where what is known of the task begins
        wait = self._wait(life, cause) if kind == "waiting" else None
        life.states.append(State(kind, life.since, time_ns, wait, life.cause if kind == "ready" else None))

    def _wait(self, life: _Life, cause: Cause | None) -> Wait:
        awaited = self.get(life.awaited)
        job = self._jobs.get(life.awaited)
        # A program waits in few places, very often: what a place means is looked up once.
        key: _WaitKey = (
            life.chain,
            cause.kind if cause is not None else None,
            awaited is not None,
            job.kind if job is not None else None,
            life.future_type,
        )
        place = self._places.get(key)
        if place is None:
            place = self._places[key] = self._place(*key)
        return Wait(*place, awaited, job)

    def _place(
        self,
        chain: tuple[tuple[int, int], ...],
        cause: CauseKind | None,
        is_task: bool,
        job: JobKind | None,
        future_type: str,
    ) -> _WaitPlace:
        sites = [self._sites.get(site, _NO_SITE) for site, _ in chain]
        return wait_kind(sites, cause, is_task, job, future_type), *user_place(self._part, chain)


def _is_internal(root: Site) -> bool:
    """Tell whether a task is asyncio's own, or that of a notebook's kernel, which runs on the user's loop."""
    if root.is_user:
        return False
    return root.name.rsplit(".", 1)[-1] in SHUTDOWN or _OF_KERNEL.search(root.file) is not None
