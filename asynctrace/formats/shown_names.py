"""What formats for other tools say alike: the names of waits, tasks and programs, what is missing."""

from __future__ import annotations

from collections.abc import Iterator

from asynctrace.analysis.row_names import source_name
from asynctrace.model.trace import Task, Trace, Wait

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


def program_name(trace: Trace) -> str:
    """Return the name of the program that was recorded, without its folder; "" when unknown."""
    return source_name(trace.parts[0].program if trace.parts else trace.source)


def notes(trace: Trace) -> Iterator[str]:
    """Yield what whoever looks at the trace must know: what is missing."""
    yield from trace.notes
    unsaid = trace.lost - trace.dropped
    if unsaid > 0:
        yield f"{unsaid:,} event{'s were' if unsaid > 1 else ' was'} lost"
