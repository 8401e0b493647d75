"""What is the same all over Chrome trace JSON: times, the numbers of processes and threads, names and arguments."""

from __future__ import annotations

from asynctrace.analysis.processes import process_of
from asynctrace.formats.json_text import members
from asynctrace.formats.shown_names import wait_name
from asynctrace.model.trace import Cause, Process, Task, Thread, Trace, Wait

_NUMBERS = 1 << 31  # those of an operating system are below


def microseconds(time_ns: int) -> str:
    """Return nanoseconds from the start of the recording as microseconds, exactly."""
    if time_ns < 0:
        time_ns = 0
    return f"{time_ns // 1000}.{time_ns % 1000:03d}"


class Names:
    """The numbers of processes and threads, and the arguments that events of the same thing share."""

    def __init__(self, trace: Trace) -> None:
        self._main = trace.processes[0] if trace.processes else None
        self._pids: dict[Process | None, int] = {None: 1}
        self._at: dict[Thread, str] = {}
        self._at_process: dict[Process | None, str] = {}
        self._tasks: dict[Task, str] = {}
        self._causes: dict[Cause | None, str] = {}
        self._waits: dict[tuple[str, str | None, str | None, int | None], tuple[str, str]] = {}
        taken: set[int] = set()
        for process in trace.processes:
            self._pids[process] = _distinct(process.pid, taken)
        threads: set[int] = set()
        for thread in trace.threads:
            # One that has ended may have left its number to another: they are two threads all the same.
            tid = _distinct(thread.native_id, threads)
            self._at[thread] = f'"pid":{self.pid(thread.process)},"tid":{tid}'
            if thread.is_main or thread.process not in self._at_process:
                self._at_process[thread.process] = self._at[thread]

    def pid(self, process: Process | None) -> int:
        return self._pids.get(process, 1)

    def at_task(self, task: Task) -> str:
        """Return the members that put an event where a task is: on its loop's thread, for viewers that sort by that."""
        thread = task.loop.thread if task.loop is not None else None
        return self.at_process(process_of(task, self._main)) if thread is None else self._at[thread]

    def at_process(self, process: Process | None) -> str:
        """Return the members that put an event on the main thread of a process."""
        return self._at_process.get(process) or f'"pid":{self.pid(process)},"tid":0'

    def at_thread(self, thread: Thread) -> str:
        """Return the members that put an event on a thread."""
        return self._at[thread]

    def process_of(self, task: Task) -> Process | None:
        return process_of(task, self._main)

    def task(self, task: Task) -> str:
        """Return the arguments that tell which task something is of."""
        found = self._tasks.get(task)
        if found is None:
            found = self._tasks[task] = members(task=task.name or None, task_id=task.id)
        return found

    def wait(self, wait: Wait | None) -> tuple[str, str]:
        """Return the name of a wait, and its arguments."""
        if wait is None:
            return wait_name(None), '"state":"waiting"'
        key = wait.kind, wait.expression, wait.file, wait.line
        found = self._waits.get(key)
        if found is None:
            arguments = members(
                state="waiting", wait=wait.kind, expression=wait.expression, file=wait.file, line=wait.line
            )
            found = self._waits[key] = wait_name(wait), arguments
        name, arguments = found
        if wait.awaited is not None:
            arguments += "," + members(awaited=wait.awaited.name or wait.awaited.label, awaited_id=wait.awaited.id)
        if wait.job is not None:
            arguments += "," + members(job=wait.job.name)
        return name, arguments

    def cause(self, cause: Cause | None) -> str:
        """Return the arguments of a task that is ready: what made it so."""
        found = self._causes.get(cause)
        if found is None:
            found = self._causes[cause] = _cause(cause)
        return found


def _cause(cause: Cause | None) -> str:
    if cause is None:
        return '"state":"ready"'
    task, thread = cause.task, cause.thread
    return members(
        state="ready",
        cause=cause.kind,
        waker=None if task is None else task.name or task.label,
        waker_id=None if task is None else task.id,
        thread=None if thread is None else thread.name,
        code=cause.code,
    )


def _distinct(number: int, taken: set[int]) -> int:
    """Return a number of the operating system's, or another one where it is unknown or has been taken."""
    if not 0 < number < _NUMBERS or number in taken:
        number = max(taken, default=0) + 1
        number = max(number, 1 << 22)  # above the usual ones
    taken.add(number)
    return number
