"""Where a task stood at each time: its state, and the coroutines (and calls) that it was in, outermost first."""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from typing import Generic, NamedTuple, TypeVar

from asynctrace.analysis.figures import begins_with_task
from asynctrace.analysis.intervals import Interval, subtract
from asynctrace.model.trace import Coroutine, State, Task, Trace

_Item = TypeVar("_Item")


class Frame(NamedTuple, Generic[_Item]):
    """A stretch of time that something takes up in a stack."""

    start_ns: int
    end_ns: int
    item: _Item


class Stand(NamedTuple, Generic[_Item]):
    """A stretch in which a task was in one state, and stood in the same stack."""

    start_ns: int
    end_ns: int
    state: State
    stack: tuple[_Item, ...]


def nested(frames: Iterable[Frame[_Item]]) -> Iterator[Frame[_Item]]:
    """Yield `frames` so that any two lie one in the other or beside each other, outer ones first.

    Args:
        frames: In any order; of those that are the same stretch, the outer one comes first.

    Yields:
        The frames by their start. One that goes on after the one that it began in is cut there: nothing that ran can
        do that, so there is only a damaged file to blame.
    """
    around: list[int] = []  # the ends of the frames that are open
    for frame in sorted(frames, key=_outer_first):
        while around and around[-1] <= frame.start_ns:
            around.pop()
        if around and around[-1] < frame.end_ns:
            frame = frame._replace(end_ns=around[-1])
        around.append(frame.end_ns)
        yield frame


def _outer_first(frame: Frame[_Item]) -> tuple[int, int]:
    return frame.start_ns, -frame.end_ns


def coroutines_by_task(trace: Trace) -> dict[Task, list[Coroutine]]:
    """Return the coroutines of each task, in the order of their start."""
    found: dict[Task, list[Coroutine]] = defaultdict(list)
    for coroutine in trace.coroutines:
        if coroutine.task is not None:
            found[coroutine.task].append(coroutine)
    return found


def coroutine_frames(task: Task, coroutines: Iterable[Coroutine]) -> list[Frame[Coroutine]]:
    """Return when each coroutine was in the stack of its task.

    An async generator is not while it stands at a value that it yielded, nor is a coroutine that somebody drives by
    hand while it is suspended, nor what either awaits. When they go on, it may be in another task: then it is nobody's
    that is known.

    Args:
        task: The task.
        coroutines: Its coroutines, in the order of their start.
    """
    found: list[Frame[Coroutine]] = []
    away: dict[Coroutine, list[Interval]] = {}  # of the few that are now and then
    root = task.coroutine
    for coroutine in coroutines:
        holes = away.get(coroutine.awaiter, []) if coroutine.awaiter is not None and away else []
        if coroutine.is_generator:
            holes = holes + [(pause.start_ns, pause.end_ns) for pause in coroutine.suspensions if pause.is_yield]
        elif coroutine.awaiter is None and root is not None and _is_by_hand(coroutine, root):
            holes = [(pause.start_ns, pause.end_ns) for pause in coroutine.suspensions]
        if not holes:
            found.append(Frame(coroutine.started_ns, coroutine.end_ns, coroutine))
            continue
        away[coroutine] = holes
        for start_ns, end_ns in subtract([(coroutine.started_ns, coroutine.end_ns)], holes):
            if _runs_at(task, start_ns) or (coroutine.is_clipped and start_ns == coroutine.started_ns):
                found.append(Frame(start_ns, end_ns, coroutine))
    return found


def _is_by_hand(coroutine: Coroutine, root: Coroutine) -> bool:
    """Tell whether a coroutine that nobody awaits began while its task's root was there: a root has none above it."""
    return coroutine is not root and coroutine.started_ns < root.end_ns and begins_with_task(root)


def _runs_at(task: Task, time_ns: int) -> bool:
    states = task.states
    index = bisect_right(states, time_ns, key=_start_ns) - 1
    return any(
        states[near].kind == "running" and states[near].end_ns >= time_ns for near in (index, index - 1) if near >= 0
    )


def _start_ns(state: State) -> int:
    return state.start_ns


def await_stacks(task: Task, frames: Iterable[Frame[_Item]]) -> Iterator[Stand[_Item]]:
    """Yield where a task stood, from its creation to its end: without a gap, a new one at each change.

    Args:
        task: The task.
        frames: When what was in its stack, as `nested` takes them.
    """
    changes = stack_changes(frames)
    stack: tuple[_Item, ...] = ()
    index, count = 0, len(changes)
    for state in task.states:
        start_ns, end_ns = state.start_ns, state.end_ns
        while index < count and changes[index][0] < end_ns:
            time_ns, changed = changes[index]
            index += 1
            if time_ns > start_ns:
                yield Stand(start_ns, time_ns, state, stack)
                start_ns = time_ns
            stack = changed
        yield Stand(start_ns, end_ns, state, stack)


def stack_changes(frames: Iterable[Frame[_Item]]) -> list[tuple[int, tuple[_Item, ...]]]:
    """Return the stack from each time on at which it changes; frames as `nested` takes them."""
    changes: list[tuple[int, tuple[_Item, ...]]] = []
    stack: tuple[_Item, ...] = ()
    ends: list[int] = []

    def change(time_ns: int) -> None:
        if changes and changes[-1][0] == time_ns:
            changes[-1] = time_ns, stack
        else:
            changes.append((time_ns, stack))

    for start_ns, end_ns, item in nested(frames):
        while ends and ends[-1] <= start_ns:
            stack = stack[:-1]
            change(ends.pop())
        if start_ns < end_ns:
            stack = (*stack, item)
            ends.append(end_ns)
            change(start_ns)
    while ends:
        stack = stack[:-1]
        change(ends.pop())
    return changes


def joint(one: Sequence[_Item], other: Sequence[_Item]) -> int:
    """Return how many of two stacks, from the outermost on, are the same."""
    same = 0
    for mine, theirs in zip(one, other, strict=False):
        if mine != theirs:
            break
        same += 1
    return same
