"""Tell which stretches of a task or call are work in progress, and which merely wait for other recorded work.

What is recorded decides, never a guess from names: a task's wait names the task or job awaited; a call on a main thread
that neither uses CPU nor sits in a recorded primitive, while other threads or child processes have work in progress,
waits for that work (it joins threads, or asks a pool for results).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

from asynctrace.analysis.intervals import Interval, intersect, length, merged, subtract
from asynctrace.model.trace import Call, Process, Task, Thread, Trace

# The targets of pool threads and pool processes: a place where jobs run, not work of the program.
_MACHINERY = ("concurrent/futures/", "multiprocessing/", "asyncio/")

_HANDOVER_NS = 10_000_000  # twice what a thread may keep the interpreter for; a longer step does work of its own
_SHUTDOWN_NS = 500_000_000  # a worker that lives on for longer was idle, and nobody waited for it to end


def is_machinery(call: Call) -> bool:
    """Return whether `call` is the loop of a pool's worker (or its like), which only carries jobs."""
    if call.is_user or call.kind not in ("thread", "process"):
        return False
    file = call.file.replace("\\", "/")
    return any(f"/{place}" in f"/{file}" for place in _MACHINERY)


def own_stretches(calls: Iterable[Call]) -> dict[Call, list[Interval]]:
    """Return, for each call of one thread, when it was the innermost open one; calls nest or follow each other."""
    result: dict[Call, list[Interval]] = {}
    children: dict[Call, list[Interval]] = defaultdict(list)
    stack: list[Call] = []
    ordered = sorted(calls, key=lambda call: (call.started_ns, -call.end_ns, call.id))
    for call in ordered:
        while stack and stack[-1].end_ns <= call.started_ns:
            stack.pop()
        if stack:
            children[stack[-1]].append((call.started_ns, call.end_ns))
        stack.append(call)
    for call in ordered:
        result[call] = subtract([(call.started_ns, call.end_ns)], children[call])
    return result


def own_cpu_ns(calls: Iterable[Call]) -> dict[Call, int]:
    """Return the CPU time that each of `calls` used outside of its nested calls."""
    result = {call: call.cpu_ns for call in calls}
    for call in list(result):
        if call.parent in result:
            result[call.parent] -= call.cpu_ns
    return {call: max(0, cpu_ns) for call, cpu_ns in result.items()}


def task_work(task: Task) -> list[Interval]:
    """Return when `task` was in progress: begun, not finished, and not waiting for other recorded work."""
    started = next((state.start_ns for state in task.states if state.kind == "running"), None)
    if started is None:
        return []
    waits: list[Interval] = []
    states = task.states
    for index, state in enumerate(states, 1):
        wait = state.wait
        if wait is None or not (
            wait.awaited is not None
            or wait.kind in ("task", "gather")
            or (wait.job is not None and wait.job.call is not None)
        ):
            continue
        start, end = state.start_ns, state.end_ns
        if wait.job is not None and start - wait.job.submitted_ns <= _HANDOVER_NS:
            start = max(started, wait.job.submitted_ns)  # the job may begin before the step that hands it over ends
        following = states[index] if index < len(states) else None
        if following is not None and following.cause is not None and following.cause.task is not None:
            # A task wakes its awaiter just before its own last step ends: the two would count at once.
            end = max(end, min(following.end_ns, following.cause.task.end_ns))
        waits.append((start, end))
    return subtract([(started, task.end_ns)], waits)


def call_work(trace: Trace) -> dict[Call, list[Interval]]:
    """Return when each call of `trace` was in progress itself: at work outside of its nested calls.

    Calls inside a task's step and the machinery of pools are left out; the time in which a call ran an event loop is
    its tasks' time.

    Args:
        trace: Any trace, of one process or several.

    Returns:
        For each remaining call its intervals [start_ns, end_ns), disjoint and ascending, empty for one that only waits.
    """
    return _CallWork(trace).intervals if trace.calls else {}


class _CallWork:
    """The sweep over all processes. Children first: whether a main thread waits depends on the work of the others."""

    def __init__(self, trace: Trace) -> None:
        self.intervals: dict[Call, list[Interval]] = {}
        self._calls: dict[Thread, list[Call]] = defaultdict(list)
        self._tasks: dict[Thread, list[Task]] = defaultdict(list)
        self._threads: dict[Process, list[Thread]] = defaultdict(list)
        for call in trace.calls:
            self._calls[call.thread].append(call)
        for task in trace.tasks:
            if task.loop is not None and task.loop.thread is not None and not task.is_internal:
                self._tasks[task.loop.thread].append(task)
        for thread in {*self._calls, *self._tasks}:
            self._threads[thread.process].append(thread)
        processes = list({*trace.processes, *self._threads})
        pids = {process.pid for process in processes}
        self._children: dict[int, list[Process]] = defaultdict(list)
        for process in processes:
            self._children[process.parent_pid].append(process)
        self._done: set[Process] = set()
        for process in sorted(processes, key=lambda process: (process.parent_pid in pids, process.started_ns)):
            self._process_work(process)

    def _process_work(self, process: Process) -> list[Interval]:
        """Return when anything was in progress in `process` or below it, and note it call by call."""
        if process in self._done:  # a pid that was used twice, or a parent that was never recorded
            return []
        self._done.add(process)
        elsewhere: list[Interval] = []
        edges: list[Interval] = []  # children that start or shut down: not work, but waited for like it
        for child in self._children[process.pid]:
            if child is not process:
                elsewhere += self._process_work(child)
                begin_ns, end_ns = self._working_life(child)
                edges.append((child.started_ns, begin_ns))
                if child.finished_ns - end_ns <= _SHUTDOWN_NS:
                    edges.append((end_ns, child.finished_ns))
        main = [thread for thread in self._threads[process] if thread.is_main]
        for thread in self._threads[process]:
            if not thread.is_main:
                elsewhere += self._thread_work(thread, None)
        elsewhere = merged(elsewhere)
        awaited = merged(elsewhere + edges)
        own = [interval for thread in main for interval in self._thread_work(thread, awaited)]
        return merged(elsewhere + own)

    def _working_life(self, process: Process) -> Interval:
        """Return when `process` began its first work and ended its last; when it was first seen, if it had none."""
        lives: list[Interval] = []
        for thread in self._threads[process]:
            lives += [(call.started_ns, call.end_ns) for call in self._calls[thread] if not is_machinery(call)]
            lives += [(task.created_ns, task.end_ns) for task in self._tasks[thread]]
        if not lives:
            return process.first_event_ns, process.first_event_ns
        return min(start for start, _ in lives), max(end for _, end in lives)

    def _thread_work(self, thread: Thread, elsewhere: list[Interval] | None) -> list[Interval]:
        """Return when `thread` was at work. Only a main thread, which began the others, is held to wait for them."""
        calls = self._calls[thread]
        stretches = own_stretches(calls)
        spans: dict[int, Interval] = {}
        for task in self._tasks[thread]:
            start, end = spans.get(id(task.loop), (task.created_ns, task.end_ns))
            spans[id(task.loop)] = (min(start, task.created_ns), max(end, task.end_ns))
        loops = merged(spans.values())
        cpu_ns = own_cpu_ns(calls)
        work = [interval for task in self._tasks[thread] for interval in task_work(task)]
        for call in calls:
            if call.task is not None or is_machinery(call):
                continue
            own = subtract(stretches[call], loops)
            if elsewhere:
                # The CPU of a call that ran a loop went to the tasks.
                ran_loop = bool(intersect(stretches[call], loops))
                own = _without_waits(call, own, elsewhere, 0 if ran_loop else cpu_ns[call])
            self.intervals[call] = own
            work += own
        return merged(work)


def _without_waits(call: Call, own: list[Interval], elsewhere: list[Interval], cpu_ns: int) -> list[Interval]:
    """Return `own` without what was a wait for the work done `elsewhere`.

    The CPU time of a call is one figure: it is held to have been used first where nothing else was in progress. What
    is left of it must fill half of the time in question, or that time was a wait.
    """
    blocked = [(blocking.start_ns, blocking.end_ns) for blocking in call.blockings]
    unblocked = subtract(own, blocked)
    in_question = intersect(unblocked, elsewhere)
    alone_ns = length(unblocked) - length(in_question)
    if 2 * (cpu_ns - alone_ns) >= length(in_question):
        return own
    return subtract(own, in_question)
