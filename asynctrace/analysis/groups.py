"""Tasks by coroutine, in lanes: what a view can fold and unfold."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from asynctrace.analysis.processes import TaskOwners
from asynctrace.analysis.row_names import short_name
from asynctrace.analysis.rows import creation_tree, number_of, packed, place_of
from asynctrace.model.trace import Task, Trace


@dataclass(frozen=True, slots=True)
class Group:
    """All tasks of one coroutine, or those of the libraries.

    `place` is "file.py:12", or "". `depth` counts the groups above it that created it. In a lane tasks follow each
    other, so that none covers another.
    """

    label: str
    place: str
    depth: int
    tasks: tuple[Task, ...] = field(repr=False)
    lanes: tuple[tuple[Task, ...], ...] = field(repr=False)
    is_library: bool = False


def task_groups(trace: Trace) -> list[Group]:
    """Return the tasks by coroutine, children after their creator, the libraries' last; asyncio's own are left out."""
    tasks = [task for task in trace.tasks if not task.is_internal]
    shown = [task for task in tasks if task.is_user] or tasks  # only library tasks: then they are the subject
    visible = set(shown)
    library = [task for task in tasks if task not in visible]
    owners = TaskOwners(trace)
    groups = []
    for depth, group in creation_tree(shown, lambda task: (owners(task), task.label, task.file, task.line)):
        first = group[0]
        label = owners.label(first, short_name(first.label), depth) + (f" ×{len(group):,}" if len(group) > 1 else "")
        groups.append(_group(label, place_of(first.file, first.line), depth, group))
    if library:
        groups.append(_group(f"library: {number_of(len(library), 'task')}", "", 0, library, is_library=True))
    return groups


def _group(label: str, place: str, depth: int, tasks: Sequence[Task], *, is_library: bool = False) -> Group:
    lanes, _ = packed(tasks, len(tasks))
    return Group(label, place, depth, tuple(tasks), tuple(map(tuple, lanes)), is_library)
