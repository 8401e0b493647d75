"""What the runs of a task, a coroutine or a plain function add up to: running, ready, and waiting for what."""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from asynctrace.model.trace import Call, Coroutine, State, Suspension, Task

# What the primitives that block a thread wait for, in the words that tasks' waits have.
_KIND_OF_PRIMITIVE = {"sleep": "sleep", "join": "thread", "result": "thread", "acquire": "lock", "get": "queue"}


@dataclass(slots=True)
class Figures:
    """Adds up what the runs of one coroutine did; times in nanoseconds."""

    count: int = 0
    total_ns: int = 0
    running_ns: int = 0
    ready_ns: int = 0
    waiting_ns: Counter[str] = field(default_factory=Counter)
    steps: int = 0
    longest_step_ns: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)
    errors: Counter[str] = field(default_factory=Counter)

    def add_end(self, run: Task | Coroutine | Call, total_ns: int) -> None:
        self.count += 1
        self.total_ns += total_ns
        self.outcomes[run.outcome] += 1
        if run.outcome == "raised" and run.error:
            self.errors[run.error] += 1

    def add_state(self, state: State, duration_ns: int) -> None:
        if state.kind == "ready":
            self.ready_ns += duration_ns
        elif state.kind == "waiting":
            self.waiting_ns[state.wait.kind if state.wait else "future"] += duration_ns

    def add_step(self, duration_ns: int) -> None:
        self.running_ns += duration_ns
        self.steps += duration_ns > 0
        self.longest_step_ns = max(self.longest_step_ns, duration_ns)


def add_task(figures: Figures, task: Task) -> None:
    """Add one task, from its creation to its end."""
    figures.add_end(task, task.end_ns - task.created_ns)
    for state in task.states:
        add_state(figures, state)


def add_state(figures: Figures, state: State) -> None:
    """Add one state of a task."""
    duration_ns = state.end_ns - state.start_ns
    if state.kind == "running":
        figures.add_step(duration_ns)
    else:
        figures.add_state(state, duration_ns)


def begins_with_task(coroutine: Coroutine) -> bool:
    """Tell whether a coroutine is its task's root.

    The first one that was recorded need not be: what awaits it may be out of the recording's scope, or not decorated
    where only decorated coroutines are seen. A root begins in the first step.
    """
    task = coroutine.task
    if task is None or coroutine.awaiter is not None or task.coroutine is not coroutine:
        return False
    first = next((state for state in task.states if state.kind == "running"), None)
    return first is None or coroutine.started_ns <= first.end_ns


def add_coroutine(figures: Figures, coroutine: Coroutine) -> None:
    """Add one run of a coroutine; a task's root begins with its task: the delay of the first step counts as ready."""
    task = coroutine.task
    states: Sequence[State] = task.states if task is not None else ()
    first_delay_ns = 0
    if task is not None and begins_with_task(coroutine):
        first_delay_ns = max(0, coroutine.started_ns - task.created_ns)
    progress = Progress(coroutine.started_ns)
    add_suspensions(figures, coroutine.suspensions, states, progress)
    add_coroutine_end(figures, coroutine, first_delay_ns, progress)


@dataclass(slots=True)
class Progress:
    """How far the figures of one coroutine are added up."""

    step_start_ns: int  # where the step begins that is to be added next
    dormant_ns: int = 0  # that a generator stood at values that it yields: no wait, and not its time


def add_suspensions(
    figures: Figures, suspensions: Sequence[Suspension], states: Sequence[State], progress: Progress
) -> None:
    """Add the steps of a coroutine up to the last of some suspensions, and these, by its task's states.

    Args:
        figures: Where to.
        suspensions: Those that follow what was added before, all of them over.
        states: All states of the task that are in them.
        progress: What was added before; it goes on.
    """
    step_start_ns, dormant_ns = progress.step_start_ns, progress.dormant_ns
    running_ns, longest_step_ns, steps = 0, figures.longest_step_ns, 0
    # Suspensions and states are both ascending: where the last look ended, the next one begins.
    index = bisect_right(states, step_start_ns, key=_end_ns) if len(states) > 1 else 0
    for pause in suspensions:
        start_ns, end_ns = pause.start_ns, pause.end_ns
        step_ns = start_ns - step_start_ns
        running_ns += step_ns
        steps += step_ns > 0
        if step_ns > longest_step_ns:
            longest_step_ns = step_ns
        step_start_ns = end_ns
        if pause.is_yield:
            dormant_ns += end_ns - start_ns
            continue
        while index < len(states):
            state = states[index]
            state_start_ns, state_end_ns = state.start_ns, state.end_ns
            if state_start_ns >= end_ns:
                break
            if state.kind != "running":
                overlap_ns = min(state_end_ns, end_ns) - max(state_start_ns, start_ns)
                if overlap_ns > 0:
                    figures.add_state(state, overlap_ns)
            if state_end_ns > end_ns:
                break  # the next suspension may lie in it, too
            index += 1
    figures.running_ns += running_ns
    figures.steps += steps
    figures.longest_step_ns = longest_step_ns
    progress.step_start_ns, progress.dormant_ns = step_start_ns, dormant_ns


def add_coroutine_end(figures: Figures, coroutine: Coroutine, first_delay_ns: int, progress: Progress) -> None:
    """Add the last step of a coroutine, all of whose suspensions were added, and how it ended."""
    figures.add_step(coroutine.end_ns - progress.step_start_ns)
    figures.ready_ns += first_delay_ns
    figures.add_end(coroutine, first_delay_ns + coroutine.end_ns - coroutine.started_ns - progress.dormant_ns)


def _end_ns(state: State) -> int:
    return state.end_ns


def blocked_times(calls: Iterable[Call]) -> dict[Call, Counter[str]]:
    """Return how long each call was blocked and by what, in itself and in the calls inside it."""
    blocked: dict[Call, Counter[str]] = {}
    # Inner calls begin after outer ones: in reverse, a call's nested calls have been seen before it.
    for call in sorted(calls, key=lambda call: (call.started_ns, call.id), reverse=True):
        add_blocked_time(call, blocked)
    return blocked


def add_blocked_time(call: Call, blocked: dict[Call, Counter[str]]) -> None:
    """Add how long a call was blocked, after the calls inside it, to what is known of it and of the one around it."""
    waiting = blocked.setdefault(call, Counter())
    if call.task is None:  # in a task's step, blocking is running
        for blocking in call.blockings:
            primitive = blocking.primitive.rpartition(".")[2]
            kind = _KIND_OF_PRIMITIVE.get(primitive, blocking.primitive)
            waiting[kind] += blocking.end_ns - blocking.start_ns
    if call.parent is not None:
        blocked.setdefault(call.parent, Counter()).update(waiting)


def add_call(figures: Figures, call: Call, blocked: dict[Call, Counter[str]]) -> None:
    """Add one run of a plain function; `blocked` is from `blocked_times`, of all calls."""
    total_ns = call.end_ns - call.started_ns
    figures.add_end(call, total_ns)
    figures.waiting_ns.update(blocked[call])
    # In a damaged file a call may have been blocked for longer than it lasted.
    figures.running_ns += max(0, total_ns - blocked[call].total())
    if call.task is not None:
        figures.longest_step_ns = max(figures.longest_step_ns, total_ns)
