"""What ran on each thread, as Chrome trace JSON: steps, calls, blocking, callbacks and idle loops, and arrows."""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count

from asynctrace.analysis.await_stacks import Frame, nested
from asynctrace.formats.chrome_names import Names, microseconds
from asynctrace.formats.json_text import attributes, members, quoted
from asynctrace.model.trace import Blocking, Call, Callback, Job, State, Task, Thread, Trace


@dataclass(slots=True)
class _Step:
    """The step of a task: which of its states it is."""

    task: Task
    index: int


_Idle = None  # what is said of an idle loop: nothing more
_Run = _Step | Call | Blocking | Callback | None
_Frames = dict[Thread, list[Frame[_Run]]]


def thread_events(trace: Trace, names: Names) -> Iterator[str]:
    """Yield the events of all threads, those of a thread by time, outer ones first."""
    arrows = _Arrows(names, trace.start_ns)
    for thread, frames in _frames(trace).items():
        at = names.at_thread(thread)
        for start_ns, end_ns, run in nested(frames):
            start = microseconds(start_ns - trace.start_ns)
            times = f'"ts":{start},"dur":{microseconds(end_ns - start_ns)}'
            yield f'{{"ph":"X",{at},{times},{_shown(run, names)}}}'
            if start_ns < end_ns:
                # Right after what they end at, so that nothing inner that begins with it takes them.
                if isinstance(run, _Step):
                    yield from arrows.to_step(run, at, start)
                elif isinstance(run, Call) and run.job is not None:
                    yield from arrows.to_job(run.job, run.started_ns, at, start)


def _frames(trace: Trace) -> _Frames:
    found: _Frames = defaultdict(list)
    for task in trace.tasks:
        thread = task.loop.thread if task.loop is not None else None
        if thread is None:
            continue
        frames = found[thread]
        for index, state in enumerate(task.states):
            if state.kind == "running":
                frames.append(Frame(state.start_ns, state.end_ns, _Step(task, index)))
    in_calls: dict[Task, set[Blocking]] = defaultdict(set)  # of a task's own blockings those that a call has, too
    for call in trace.calls:
        found[call.thread].append(Frame(call.started_ns, call.end_ns, call))
        found[call.thread] += (Frame(each.start_ns, each.end_ns, each) for each in call.blockings)
        if call.task is not None:
            in_calls[call.task].update(call.blockings)
    for task in trace.tasks:
        if task.loop is not None and task.loop.thread is not None:
            own = (each for each in task.blockings if each not in in_calls[task])
            found[task.loop.thread] += (Frame(each.start_ns, each.end_ns, each) for each in own)
    for loop in trace.loops:
        if loop.thread is not None:
            found[loop.thread] += (Frame(each.start_ns, each.end_ns, each) for each in loop.callbacks)
            found[loop.thread] += (Frame(start_ns, end_ns, _Idle) for start_ns, end_ns in loop.idle)
    return found


def _shown(run: _Run, names: Names) -> str:
    """Return the members that say what an event is: name, category and arguments."""
    if isinstance(run, _Step):
        task = run.task
        arguments = f'"state":"running",{names.task(task)}'
        if run.index == len(task.states) - 1:
            arguments += "," + members(outcome=task.outcome, error=task.error)
        return f'"name":{quoted(task.label)},"cat":"step","args":{{{arguments}}}'
    if run is None:
        return '"name":"idle","cat":"loop"'
    if isinstance(run, Call):
        arguments = members(
            kind=run.kind, file=run.file or None, line=run.line, outcome=run.outcome, error=run.error, cpu_ns=run.cpu_ns
        ) + attributes(run.attributes)
        return f'"name":{quoted(run.name)},"cat":"call","args":{{{arguments}}}'
    if isinstance(run, Callback):
        arguments = members(file=run.file or None, line=run.line)
        return f'"name":{quoted(run.name)},"cat":"callback","args":{{{arguments}}}'
    arguments = members(expression=run.expression, file=run.file, line=run.line)
    return f'"name":{quoted(run.primitive)},"cat":"blocking","args":{{{arguments}}}'


class _Arrows:
    """Arrows to what runs, from what caused it: each is tied to two slices.

    The trace processor ties the beginning of an arrow to what began last on its thread, though it may be over. So an
    arrow begins just after the beginning of its slice, before anything inside it can have begun.
    """

    def __init__(self, names: Names, start_ns: int) -> None:
        self._names = names
        self._start_ns = start_ns
        self._number = count(1)
        self._steps: dict[Task, tuple[list[int], list[State]]] = {}

    def to_step(self, step: _Step, at: str, start: str) -> Iterator[str]:
        states, index = step.task.states, step.index
        if not index:
            return
        woken = states[index - 1]
        if woken.kind != "ready":
            return
        waker = woken.cause.task if woken.cause is not None else None
        started_ns = states[index].start_ns
        if waker is not None and waker is not step.task:
            kind = "wake" if index > 1 else "create"
            yield from self._from_step(waker, woken.start_ns, started_ns, kind, at, start)
        wait = states[index - 2].wait if index > 1 else None
        call = wait.job.call if wait is not None and wait.job is not None else None
        if call is not None and call.finished_ns is not None:
            yield from self._arrow(call.thread, call.started_ns, call.end_ns, started_ns, "job", at, start)

    def to_job(self, job: Job, started_ns: int, at: str, start: str) -> Iterator[str]:
        if job.task is not None:
            yield from self._from_step(job.task, job.submitted_ns, started_ns, "job", at, start)

    def _from_step(self, task: Task, time_ns: int, until_ns: int, kind: str, at: str, start: str) -> Iterator[str]:
        """Begin in the step of a task that was at a time, or came last before it: its callbacks ran after it."""
        thread = task.loop.thread if task.loop is not None else None
        starts, steps = self._steps_of(task)
        index = bisect_right(starts, time_ns) - 1
        if thread is not None and index >= 0:
            step = steps[index]
            yield from self._arrow(thread, step.start_ns, step.end_ns, until_ns, kind, at, start)

    def _steps_of(self, task: Task) -> tuple[list[int], list[State]]:
        found = self._steps.get(task)
        if found is None:
            steps = [state for state in task.states if state.kind == "running"]
            found = self._steps[task] = [step.start_ns for step in steps], steps
        return found

    def _arrow(
        self, thread: Thread, start_ns: int, end_ns: int, until_ns: int, kind: str, at: str, start: str
    ) -> Iterator[str]:
        time_ns = start_ns + 1
        if time_ns >= min(end_ns, until_ns):
            return  # too short to be told from what is beside it
        flow = f'"name":"{kind}","cat":"{kind}","id":{next(self._number)}'
        time = microseconds(time_ns - self._start_ns)
        yield f'{{"ph":"s",{self._names.at_thread(thread)},"ts":{time},{flow}}}'
        yield f'{{"ph":"f","bp":"e",{at},"ts":{start},{flow}}}'
