"""In which span others begin: that of the awaiter, of the caller, or the one that was current where a task was made."""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable, Mapping

from asynctrace.analysis.figures import begins_with_task
from asynctrace.analysis.intervals import Interval, subtract
from asynctrace.model.trace import Call, Cause, Coroutine, Job, Suspension, Task, Thread, Trace

Run = Task | Coroutine | Call
"""What a span is of."""


class _Timeline:
    """What was innermost at each time, of things that nest."""

    def __init__(self, stretches: Iterable[tuple[Interval, Run]]) -> None:
        # Those that begin at one time: what comes first encloses the others.
        events = [
            (time_ns, is_start, number if is_start else -number, run)
            for number, ((start_ns, end_ns), run) in enumerate(stretches)
            if start_ns < end_ns
            for is_start, time_ns in ((True, start_ns), (False, end_ns))
        ]
        events.sort(key=lambda event: event[:3])
        self._times: list[int] = []
        self._innermost: list[Run | None] = []
        self._around: dict[Run, Run | None] = {}
        stack: list[Run] = []
        for time_ns, is_start, _, run in events:
            if is_start:
                self._around.setdefault(run, stack[-1] if stack else None)
                stack.append(run)
            elif stack[-1] is run:
                stack.pop()
            else:
                stack.remove(run)
            self._times.append(time_ns)
            self._innermost.append(stack[-1] if stack else None)

    def at(self, time_ns: int) -> Run | None:
        index = bisect_right(self._times, time_ns)
        return self._innermost[index - 1] if index else None

    def around(self, run: Run) -> Run | None:
        """Return what was innermost where `run` began; None also for one that took no time."""
        return self._around.get(run)


class Nesting:
    """Tells for the runs that have a span what encloses them. What is not recorded is None, never a guess.

    Args:
        trace: The trace.
        spans: The runs that have a span: of a task and its root, one of them.
    """

    def __init__(self, trace: Trace, spans: Mapping[Run, int]) -> None:
        self._trace = trace
        self._spans = spans
        self._inside: dict[Task, list[Coroutine | Call]] = defaultdict(list)
        for coroutine in trace.coroutines:
            if coroutine.task is not None and coroutine in spans:
                self._inside[coroutine.task].append(coroutine)
        self._calls_on: dict[Thread, list[Call]] = defaultdict(list)
        for call in trace.calls:
            if call.task is None:
                self._calls_on[call.thread].append(call)
            elif call in spans:
                self._inside[call.task].append(call)
        self._timelines: dict[Task | Thread, _Timeline] = {}
        self._above: dict[Task, Run | None] = {}
        self.in_job: dict[Job, Run] = {}  # the outermost span of what a job did

    def parent(self, run: Run) -> Run | None:
        """Return the run whose span is the parent of that of `run`, None for the root of a trace."""
        if isinstance(run, Task):
            return self._above_task(run)
        if isinstance(run, Call):
            return self._around_call(run)
        outermost = run
        while outermost.awaiter is not None:
            outermost = outermost.awaiter
            if outermost in self._spans:
                return outermost
        task = run.task
        if task is None:
            return None
        if outermost is task.coroutine:
            return task if task in self._spans else self._above_task(task)
        # The root of nothing: somebody drives it by hand.
        around = self._timeline(task).around(run) if outermost is run else self._current(task, outermost.started_ns)
        return around or self._above_all_in(task)

    def innermost(self, task: Task, time_ns: int) -> Run | None:
        """Return what of a task's own spans was innermost at a time."""
        return self._current(task, time_ns) if task in self._inside or task in self._spans else None

    def whole(self, task: Task) -> Run | None:
        """Return what has the span of a task as a whole: the task, or its root."""
        if task in self._spans:
            return task
        root = task.coroutine
        return root if root is not None and root in self._spans and begins_with_task(root) else None

    def _above_all_in(self, task: Task) -> Run | None:
        return task if task in self._spans else self._above_task(task)

    def _above_task(self, task: Task) -> Run | None:
        # A creator can have one, and so on: without recursion, for such chains may be long.
        chain: list[Task] = []
        step: Task | None = task
        found: Run | None = None
        while step is not None:
            if step in self._above:
                found = self._above[step]
                break
            self._above[step] = None  # only in a damaged file tasks create each other in a ring
            chain.append(step)
            creator = step.creator
            if creator is None:
                found = self._above_first(step)
                break
            inside = None
            if not step.is_clipped:  # else it is not known when it was created
                inside = self._current(creator, step.created_ns)
            # What the creator left to a callback, it may have left when it is no more itself.
            found = inside or self.whole(creator)
            step = None if found is not None else creator
        for each in chain:
            self._above[each] = found
        return found

    def _above_first(self, task: Task) -> Run | None:
        """Return the parent of a task that no task created: a call on a thread did, perhaps on another one."""
        if task.is_clipped:
            return None
        cause: Cause | None = task.states[0].cause if task.states else None
        thread = cause.thread if cause is not None else None
        if thread is None and task.loop is not None:
            thread = task.loop.thread
        return self._current_on(thread, task.created_ns) if thread is not None else None

    def _around_call(self, call: Call) -> Run | None:
        inner: Call | None = call
        while inner is not None:
            if inner is not call and inner in self._spans:
                return inner
            task = inner.task
            if task is not None:
                if inner is call:
                    return self._timeline(task).around(call) or self._above_all_in(task)
                return self._current(task, inner.started_ns) or self._above_all_in(task)
            if inner.job is not None:
                self.in_job.setdefault(inner.job, call)
                return self._above_job(inner.job, inner)
            inner = inner.parent
        return None

    def _above_job(self, job: Job, call: Call) -> Run | None:
        if job.submitted_ns >= call.started_ns:
            return None  # of a damaged file, which could go round in a ring here
        # One that was submitted before what is known of it begins has lost its time, too.
        known_from_ns = self._trace.start_ns
        if job.thread is not None:
            known_from_ns = max(known_from_ns, job.thread.process.first_event_ns)
        is_known = job.submitted_ns > known_from_ns
        if job.task is not None:
            inside = self._current(job.task, job.submitted_ns) if is_known else self.whole(job.task)
            return inside or self._above_all_in(job.task)
        return self._current_on(job.thread, job.submitted_ns) if is_known and job.thread is not None else None

    def _current(self, task: Task, time_ns: int) -> Run | None:
        return self._timeline(task).at(time_ns)

    def _current_on(self, thread: Thread, time_ns: int) -> Run | None:
        """Return the run whose span was current on a thread, outside of any task's step."""
        call = self._timeline(thread).at(time_ns)
        if call is None or call in self._spans:
            return call
        assert isinstance(call, Call)
        return self._around_call_without_span(call)

    def _around_call_without_span(self, call: Call) -> Run | None:
        outer: Call | None = call
        while outer is not None:
            if outer in self._spans:
                return outer
            if outer.job is not None:
                return self._above_job(outer.job, outer)
            outer = outer.parent
        return None

    def _timeline(self, of: Task | Thread) -> _Timeline:
        timeline = self._timelines.get(of)
        if timeline is None:
            timeline = self._timelines[of] = _Timeline(
                self._task_stretches(of)
                if isinstance(of, Task)
                else (((call.started_ns, call.end_ns), call) for call in self._calls_on.get(of, ()))
            )
        return timeline

    def _task_stretches(self, task: Task) -> list[tuple[Interval, Run]]:
        found: list[tuple[Interval, Run]] = []
        if task in self._spans:
            found.append(((task.created_ns, task.end_ns), task))
        for run in self._inside.get(task, ()):
            if isinstance(run, Coroutine):
                start_ns = task.created_ns if begins_with_task(run) else run.started_ns
                found += [(stretch, run) for stretch in _current_stretches(run, start_ns)]
            else:
                found.append(((run.started_ns, run.end_ns), run))
        return sorted(found, key=lambda stretch: stretch[0][0])


def _current_stretches(coroutine: Coroutine, start_ns: int) -> list[Interval]:
    """Return when a coroutine, or what it awaits, was what its task was at."""
    whole = (start_ns, coroutine.end_ns)
    task = coroutine.task
    if coroutine.awaiter is None and task is not None and coroutine is not task.coroutine:
        away: Iterable[Suspension] = coroutine.suspensions  # driven by hand: its task goes on without it
    elif coroutine.is_generator:
        away = (pause for pause in coroutine.suspensions if pause.is_yield)
    else:
        return [whole]
    return subtract([whole], [(pause.start_ns, pause.end_ns) for pause in away])
