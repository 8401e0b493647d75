"""Tasks as Chrome trace JSON: a track each, with the coroutines that it is in, and innermost what it waits for."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import lru_cache

from asynctrace.analysis.await_stacks import await_stacks, coroutine_frames, coroutines_by_task, joint
from asynctrace.formats.chrome_names import Names, microseconds
from asynctrace.formats.json_text import attributes, members, quoted
from asynctrace.model.trace import Coroutine, State, Task, Trace

_DEEPEST = 500  # coroutines in each other: the trace processor drops what is deeper than 512, what is innermost first
_OFTEN = 2000  # states between two reports of progress


def task_events(trace: Trace, names: Names, on_progress: Callable[[int], None] | None) -> Iterator[str]:
    """Yield the events of all tasks, those of a task in the order in which they open and close."""
    coroutines = coroutines_by_task(trace)
    done = told = 0
    for task in trace.tasks:
        yield from _track(task, coroutines.get(task, []), names, trace.start_ns)
        done += len(task.states)
        if on_progress is not None and done - told >= _OFTEN:
            on_progress(done)
            told = done


def _track(task: Task, coroutines: list[Coroutine], names: Names, base_ns: int) -> Iterator[str]:
    # By a number of ours: viewers take tracks of the same process and number for one, whatever the name.
    track = f'{names.at_task(task)},"cat":"task","id2":{{"local":"{task.id:#x}"}},"ts":'
    begin, end = f'{{"ph":"b",{track}', f'{{"ph":"e",{track}'
    created, label = microseconds(task.created_ns - base_ns), quoted(task.label)
    yield f'{begin}{created},"name":{label},"args":{{{_task(task, names)}}}}}'
    open_names: list[str] = []
    stack: tuple[Coroutine, ...] = ()
    shown: State | None = None  # the state whose slice is open
    last = task.states[-1] if task.states and task.finished_ns is None else None
    for start_ns, _, state, now in await_stacks(task, coroutine_frames(task, coroutines)):
        time = microseconds(start_ns - base_ns)
        if shown is not None:
            yield f'{end}{time},"name":{open_names.pop()}}}'
        if now is not stack:
            now = now[:_DEEPEST]
            same = joint(stack, now)
            for _ in stack[same:]:
                yield f'{end}{time},"name":{open_names.pop()}}}'
            for coroutine in now[same:]:
                open_names.append(quoted(coroutine.name))
                yield f'{begin}{time},"name":{open_names[-1]},"args":{{{_coroutine(coroutine)}}}}}'
            stack = now
        shown = None
        if state.kind != "running":
            shown = state
            name, arguments = names.wait(state.wait) if state.kind == "waiting" else ("ready", names.cause(state.cause))
            if state is last:
                arguments += ',"outcome":"unfinished"'
            open_names.append(quoted(name))
            yield f'{begin}{time},"name":{open_names[-1]},"args":{{{arguments}}}}}'
    time = microseconds(task.end_ns - base_ns)
    while open_names:
        yield f'{end}{time},"name":{open_names.pop()}}}'
    yield f'{end}{time},"name":{label}}}'


def _task(task: Task, names: Names) -> str:
    about = members(
        file=task.file or None,
        line=task.line or None,
        outcome=task.outcome,
        error=task.error,
        creator=None if task.creator is None else task.creator.name or task.creator.label,
        eager=True if task.is_eager else None,
        began_before=True if task.is_clipped else None,
    )
    return f"{names.task(task)},{about}"


def _coroutine(coroutine: Coroutine) -> str:
    about = _code(coroutine.file, coroutine.line, coroutine.outcome, coroutine.error, coroutine.is_clipped)
    return about + attributes(coroutine.attributes)


@lru_cache(10_000)
def _code(file: str, line: int, outcome: str, error: str | None, is_clipped: bool) -> str:
    began_before = True if is_clipped else None
    return members(file=file or None, line=line or None, outcome=outcome, error=error, began_before=began_before)
