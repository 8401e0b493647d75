"""Stacks as speedscope has them: numbers of frames, outermost first, with what a task waits for as the innermost."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from asynctrace.analysis.await_stacks import Frame, await_stacks, coroutine_frames, stack_changes
from asynctrace.formats.json_text import members
from asynctrace.formats.shown_names import wait_name
from asynctrace.model.trace import Blocking, Call, Coroutine, State, StateKind, Task, Thread

Stack = tuple[int, ...]
Piece = tuple[int, int, StateKind, Stack]
"""From when to when, in which state, and where."""

_Run = Coroutine | Call | Blocking


class Frames:
    """The table of frames of a file: each has a number, in the order in which they were first asked for."""

    def __init__(self) -> None:
        self._numbers: dict[tuple[str, str | None, int | None], int] = {}

    def number(self, name: str, file: str | None = None, line: int | None = None) -> int:
        key = name, file or None, line or None
        return self._numbers.setdefault(key, len(self._numbers))

    def of_run(self, run: _Run) -> int:
        if isinstance(run, Blocking):
            return self.number(run.primitive, run.file, run.line)
        return self.number(run.name, run.file, run.line)

    def of_state(self, state: State) -> Stack:
        """Return what is innermost in a state: nothing when running, for then the code itself is."""
        if state.kind == "running":
            return ()
        if state.kind == "ready" or state.wait is None:
            return (self.number("ready" if state.kind == "ready" else wait_name(None)),)
        name = wait_name(state.wait)
        # An expression need not tell what it is: `async with places` may be a lock.
        if state.wait.expression and state.wait.kind not in state.wait.expression.lower():
            name += f" ({state.wait.kind})"
        return (self.number(name, state.wait.file, state.wait.line),)

    def written(self) -> Iterator[str]:
        """Yield the JSON of each."""
        for name, file, line in self._numbers:
            yield f"{{{members(name=name, file=file, line=line)}}}"


def task_pieces(task: Task, coroutines: Iterable[Coroutine], calls: Iterable[Call], frames: Frames) -> Iterator[Piece]:
    """Yield where a task stood from its creation to its end, in pieces that each take some time.

    Outermost is the code that the task is called by; where its outermost coroutine is just that, it is there once.
    """
    runs: list[Frame[_Run]] = [Frame(*frame) for frame in coroutine_frames(task, coroutines)]
    seen: set[Blocking] = set()
    for call in calls:
        runs.append(Frame(call.started_ns, call.end_ns, call))
        runs += (Frame(each.start_ns, each.end_ns, each) for each in call.blockings)
        seen.update(call.blockings)
    runs += (Frame(each.start_ns, each.end_ns, each) for each in task.blockings if each not in seen)
    label = frames.number(task.label, task.file, task.line)
    outer: Stack = (label,)
    last: tuple[_Run, ...] = ()
    for start_ns, end_ns, state, stack in await_stacks(task, runs):
        if start_ns == end_ns:
            continue
        if stack is not last:
            last = stack
            inner = stack[1:] if stack and _is_called_by(task, stack[0]) else stack
            outer = (label, *_numbers(inner, frames))
        yield start_ns, end_ns, state.kind, outer + frames.of_state(state)


def _is_called_by(task: Task, run: _Run) -> bool:
    if not isinstance(run, Coroutine):
        return False
    return run.file == task.file and run.line == task.line and run.name.rsplit("<locals>.", 1)[-1] == task.label


def thread_pieces(thread: Thread, calls: Sequence[Call], frames: Frames) -> Iterator[Piece]:
    """Yield what a thread did outside of any task's step; in a call that blocks it waits, in any other it runs."""
    runs: list[Frame[_Run]] = []
    for call in calls:
        runs.append(Frame(call.started_ns, call.end_ns, call))
        runs += (Frame(each.start_ns, each.end_ns, each) for each in call.blockings)
    changes = stack_changes(runs)
    outer = (frames.number(thread.name),)
    for index, (start_ns, stack) in enumerate(changes):
        if stack:
            kind: StateKind = "waiting" if isinstance(stack[-1], Blocking) else "running"
            yield start_ns, changes[index + 1][0], kind, outer + _numbers(stack, frames)


def _numbers(stack: Iterable[_Run], frames: Frames) -> Stack:
    return tuple(frames.of_run(run) for run in stack)
