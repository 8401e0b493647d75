"""What formats for other tools say alike: the names of waits, tasks and programs, whose a task is, what is missing."""

from __future__ import annotations

from collections.abc import Iterator

from asynctrace.analysis.row_names import source_name
from asynctrace.model.trace import Process, Task, Trace, Wait

_LONGEST = 100  # characters of an expression


def wait_name(wait: Wait | None) -> str:
    """Return what a wait is called: by the user's own await, else by its kind."""
    if wait is None:
        return "waiting"
    shown = " ".join((wait.expression or wait.kind).removeprefix("await ").split())
    if len(shown) > _LONGEST:
        shown = shown[: _LONGEST - 1] + "…"
    return f"waiting {shown}"


def task_name(task: Task) -> str:
    """Return a task's label, with the task's own name."""
    return f"{task.label} ({task.name})" if task.name and task.name != task.label else task.label


def process_of(task: Task, main: Process | None) -> Process | None:
    """Return the process of a task. One that never ran is taken to be where it was created, else in `main`."""
    seen: Task | None = task
    while seen is not None and (seen.loop is None or seen.loop.thread is None):
        # Only in a damaged file a creator is younger than its task.
        seen = seen.creator if seen.creator is not None and seen.creator.id < seen.id else None
    if seen is None or seen.loop is None or seen.loop.thread is None:
        return main
    return seen.loop.thread.process


def program_name(trace: Trace) -> str:
    """Return the name of the program that was recorded, without its folder; "" when unknown."""
    return source_name(trace.parts[0].program if trace.parts else trace.source)


def notes(trace: Trace) -> Iterator[str]:
    """Yield what whoever looks at the trace must know: what is missing."""
    yield from trace.notes
    unsaid = trace.lost - trace.dropped
    if unsaid > 0:
        yield f"{unsaid:,} event{'s were' if unsaid > 1 else ' was'} lost"
