"""Turn the events of a part's plain functions, executor jobs and blocking calls into calls and jobs."""

from __future__ import annotations

from collections.abc import Callable

from asynctrace.events import (
    CALL_FUNCTION,
    JOB_PROCESS,
    JOB_THREAD,
    OUTCOME_MASK,
    OUTCOME_NAMES,
    SEEN_LATE,
    Part,
    Site,
)
from asynctrace.model.trace import Blocking, Call, CallKind, Job, JobKind, Task, Thread

_NO_SITE = Site(name="?")
_CALL_KINDS: tuple[CallKind, ...] = ("traced", "function", "thread", "job", "process")
_JOB_KINDS: dict[int, JobKind] = {JOB_THREAD: "thread", JOB_PROCESS: "process"}


class CallReader:
    """Reads the calls of one part, in order. Calls of one thread nest."""

    def __init__(
        self,
        part: Part,
        thread_of: Callable[[int], Thread],
        task_of: Callable[[int], Task | None],
        blocked_task: Callable[[int, Blocking], None],
        jobs: dict[int, Job],
    ) -> None:
        self._part = part
        self._thread_of = thread_of
        self._task_of = task_of
        self._blocked_task = blocked_task
        self._jobs = jobs
        self._open: dict[int, Call] = {}
        self._stacks: dict[int, list[Call]] = {}
        self._places: dict[Call, tuple[list[Call], int]] = {}  # the stack that a call is on, and where
        self._blockings: dict[Call, list[Blocking]] = {}
        self._blocked_since: dict[tuple[int, int], tuple[int, int, int, int]] = {}
        self._dropped: set[int] = set()
        self._sites: dict[Call, int] = {}
        self._job_of_call: list[tuple[Call, int]] = []
        self.jobs_ended_before: set[int] = set()  # the recording, or what is kept of it
        self.calls: list[Call] = []
        self.on_end: Callable[[Call], None] | None = None  # called when the end of one was read

    def started(self, time_ns: int, thread: int, id: int, job: int, site: int, flags: int, task: int) -> None:
        if id in self._open or flags & 7 >= len(_CALL_KINDS):
            return  # of a damaged file
        described = self._part.sites.get(site, _NO_SITE)
        stack = self._stacks.setdefault(thread, [])
        call = Call(
            id=id,
            kind=_CALL_KINDS[flags & 7],
            name=described.name,
            file=described.file,
            line=described.line,
            is_user=described.is_user,
            attributes=dict(described.attributes),
            thread=self._thread_of(thread),
            task=self._task_of(task),
            parent=stack[-1] if stack else None,
            job=None,
            started_ns=time_ns,
            finished_ns=None,
            outcome="unfinished",
            is_clipped=bool(flags & SEEN_LATE),
            is_traced=described.is_traced,
        )
        if call.task is not None and call.is_user:
            call.task.is_internal = False  # a notebook's kernel runs a cell without an await in a task of its own
        self._places[call] = stack, len(stack)
        stack.append(call)
        self._open[id] = call
        if flags & 7 == CALL_FUNCTION:
            self._sites[call] = site
        if job:
            self._job_of_call.append((call, job))
        self.calls.append(call)

    def finished(self, time_ns: int, thread: int, id: int, cpu_ns: int, site: int, flags: int) -> None:
        outcome = flags & OUTCOME_MASK
        if outcome not in OUTCOME_NAMES:
            return  # of a damaged file
        if flags & SEEN_LATE:
            self._job_ended_before(time_ns, id, site, flags)
            return
        call = self._open.pop(id, None)
        if call is None:
            return
        stack, place = self._places.pop(call)
        if stack[place : place + 1] == [call]:
            del stack[place:]
        call.finished_ns = call.end_ns = time_ns
        call.cpu_ns = cpu_ns
        call.outcome = OUTCOME_NAMES[outcome]  # type: ignore[assignment]  # the table holds the literals
        if outcome == 2 and site in self._part.sites:
            call.error = self._part.sites[site].name
        if self.on_end is not None:
            call.blockings = tuple(self._blockings.pop(call, ()))
            self.on_end(call)

    def _job_ended_before(self, time_ns: int, id: int, site: int, flags: int) -> None:
        """A job that a task may still wait for: its call was over where what is kept of the recording begins."""
        job = self._jobs.get(id)
        if job is not None:
            self.jobs_ended_before.add(id)
            outcome = flags & OUTCOME_MASK
            job.finished_ns = time_ns
            job.outcome = OUTCOME_NAMES[outcome]  # type: ignore[assignment]  # the table holds the literals
            job.error = self._part.sites[site].name if outcome == 2 and site in self._part.sites else None

    def submitted(self, time_ns: int, thread: int, id: int, task: int, site: int, flags: int) -> None:
        self._jobs[id] = Job(
            id=id,
            kind=_JOB_KINDS.get(flags & 7, "other"),
            name=self._part.sites.get(site, _NO_SITE).name,
            task=self._task_of(task),
            submitted_ns=time_ns,
            finished_ns=None,
            outcome="unfinished",
            thread=self._thread_of(thread),
        )

    def blocking_started(self, time_ns: int, thread: int, id: int, code: int, primitive: int, offset: int) -> None:
        self._blocked_since[thread, id] = time_ns, code, primitive, offset

    def blocking_finished(self, time_ns: int, thread: int, id: int) -> None:
        begun = self._blocked_since.pop((thread, id), None)
        if begun is not None:
            self._add_blocking(thread, id, begun, time_ns)

    def _add_blocking(self, thread: int, id: int, begun: tuple[int, int, int, int], end_ns: int) -> None:
        since, code, primitive, offset = begun
        if since == end_ns == self._part.start_ns:
            return  # it was over where what is kept of the recording begins
        call = self._open.get(id)
        if call is not None:
            since = max(since, call.started_ns)
        expression = self._part.expressions.get((code, offset))
        site = self._part.sites.get(code)
        blocking = Blocking(
            primitive=self._part.sites.get(primitive, _NO_SITE).name,
            start_ns=since,
            end_ns=end_ns,
            expression=expression.text if expression is not None else None,
            file=site.file if site is not None else None,
            line=expression.line if expression is not None else None,
        )
        if call is None:
            self._blocked_task(id, blocking)
            return
        self._blockings.setdefault(call, []).append(blocking)
        if call.task is not None:
            self._blocked_task(call.task.id, blocking)

    def drop(self, site: int) -> None:
        """A function is called too often to be shown: all of its calls go, whole."""
        self._dropped.add(site)

    def is_open(self, id: int) -> bool:
        """Tell whether a call has begun and not ended."""
        return id in self._open

    def open(self) -> list[Call]:
        """Return those that have begun and not ended."""
        return list(self._open.values())

    def forget_ended(self) -> None:
        """Forget the calls that have ended."""
        self._sites = {call: site for call, site in self._sites.items() if call.id in self._open}
        self._job_of_call.clear()
        self.jobs_ended_before.clear()
        self.calls.clear()

    def finish(self, end_ns: int) -> list[str]:
        """Close what is open at the end of the recording, and drop what is to be dropped; return the notes on it."""
        for (thread, id), begun in list(self._blocked_since.items()):
            self._add_blocking(thread, id, begun, end_ns)
        for call in self._open.values():
            call.end_ns = end_ns
        for call in self.calls:
            call.blockings = tuple(self._blockings.get(call, ()))
        if not self._dropped:
            return []
        gone = {call for call in self.calls if self._sites.get(call) in self._dropped}
        inside: dict[Call, list[Blocking]] = {}
        for call in self.calls:  # what a call ran in comes before it
            while call.parent in gone and call.parent is not None:
                call.parent = call.parent.parent
            if call in gone and call.parent is not None and call.blockings:
                inside.setdefault(call.parent, []).extend(call.blockings)
        for call, blockings in inside.items():  # the blocking was real, and inside the call that stays
            call.blockings = tuple(sorted((*call.blockings, *blockings), key=lambda each: each.start_ns))
        self.calls = [call for call in self.calls if call not in gone]
        names = sorted(self._part.sites[site].name for site in self._dropped if site in self._part.sites)
        return [f"{name} was called over 1,000 times: its calls are left out" for name in names]

    def job_links(self) -> list[tuple[Call, int]]:
        """Return which call ran which job (by id): the job may be of another process."""
        return self._job_of_call
