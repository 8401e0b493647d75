"""The rows of the interactive page: one for each task, lane and thread, and one above each group that can be folded."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from asynctrace.analysis.groups import Group, task_groups
from asynctrace.analysis.intervals import length
from asynctrace.analysis.processes import TaskOwners
from asynctrace.analysis.rows import MOST_LANES, MOST_ROWS, Row, number_of, task_labels, thread_rows
from asynctrace.analysis.stretches import strongest, task_stretches
from asynctrace.charts.looks import duration_text, elided
from asynctrace.model.trace import Task, Trace

CROWD_HEIGHT = 3.0  # rows: of the row above a group that is too large to be seen at a glance
_MOST_LABEL = 60
_DEEPEST = 8
_GIVEN_BY_ASYNCIO = re.compile(r"Task-\d+")

PageRowKind = Literal["single", "head", "crowd", "lane", "thread"]


@dataclass(frozen=True, slots=True)
class PageRow:
    """One row of the page.

    A "head" or "crowd" stands above the lanes of its group and shows all of it in one; the lanes can be folded away.
    `group` numbers the groups, `is_open` tells whether the lanes are shown at first. `search` is what the search looks
    at, of a row that is not searched by its tasks. `row` is the Gantt chart's row of a thread.
    """

    kind: PageRowKind
    group: int
    label: str
    place: str
    depth: int
    tasks: tuple[Task, ...] = field(default=(), repr=False)
    row: Row | None = field(default=None, repr=False)
    is_open: bool = True

    @property
    def height(self) -> float:
        return CROWD_HEIGHT if self.kind == "crowd" else 1.0


def page_rows(trace: Trace) -> list[PageRow]:
    """Return the rows, from the top: tasks by coroutine, in order of creation, then threads."""
    groups = task_groups(trace)
    threads = thread_rows(trace)
    labels = task_labels((task for group in groups for task in group.tasks), TaskOwners(trace))
    opened = _opened(groups, len(threads))
    rows: list[PageRow] = []
    for number, group in enumerate(groups):
        depth = min(group.depth, _DEEPEST)
        label = elided(group.label, _MOST_LABEL)
        if len(group.tasks) == 1:
            name = _with_name(label, group.tasks[0])
            rows.append(PageRow("single", number, name, group.place, depth, group.tasks))
            continue
        kind: PageRowKind = "crowd" if len(group.lanes) > MOST_LANES else "head"
        rows.append(PageRow(kind, number, label, group.place, depth, group.tasks, is_open=number in opened))
        for index, lane in enumerate(group.lanes, 1):
            name = f"lane {index}: {number_of(len(lane), 'task')}"
            if len(lane) == 1:
                name = _with_name(labels[lane[0]], lane[0])
            rows.append(PageRow("lane", number, name, "", depth + 1, lane))
    for number, row in enumerate(threads, len(groups)):
        rows.append(PageRow("thread", number, elided(row.label, _MOST_LABEL), row.place, 0, row=row))
    return rows


def named(task: Task, label: str) -> str:
    """Return a task's label, and its name where somebody gave it one."""
    return label if _GIVEN_BY_ASYNCIO.fullmatch(task.name) or not task.name else f"{label}  {task.name}"


def told(tasks: Sequence[Task]) -> str:
    """Say how many tasks these are, how long they were in each state together, and how they ended."""
    times = {"running": 0, "ready": 0, "waiting": 0}
    outcomes: dict[str, int] = {}
    for task in tasks:
        outcomes[task.outcome] = outcomes.get(task.outcome, 0) + 1
        for state in task.states:
            times[state.kind] += state.end_ns - state.start_ns
    parts = [f"{kind} {duration_text(time_ns)}" for kind, time_ns in times.items() if time_ns]
    ends = [f"{count:,} {outcome}" for outcome, count in sorted(outcomes.items(), key=lambda item: -item[1])]
    return f"{number_of(len(tasks), 'task')}: {', '.join(parts) or 'nothing'}; {', '.join(ends)}"


def told_of_thread(row: Row) -> str:
    """Say how long a thread was at work."""
    times = {
        kind: length((one.start_ns, one.end_ns) for one in row.stretches if one.kind == kind)
        for kind in ("running", "waiting")
    }
    return ", ".join(f"{kind} {duration_text(time_ns)}" for kind, time_ns in times.items() if time_ns) or "nothing"


def all_in_one(row: PageRow) -> Row:
    """Return what a group's tasks did, as one row: running where any of them ran."""
    stretches = tuple(strongest(map(task_stretches, row.tasks)))
    return Row("folded", row.label, tasks=row.tasks, stretches=stretches)


def _with_name(label: str, task: Task) -> str:
    return elided(named(task, label), _MOST_LABEL)


def _opened(groups: Sequence[Group], threads: int) -> set[int]:
    """Return the groups whose lanes are shown at first: those with the fewest, as long as all can be read."""
    room = MOST_ROWS - len(groups) - threads
    opened: set[int] = set()
    for number in sorted(range(len(groups)), key=lambda number: (len(groups[number].lanes), number)):
        group = groups[number]
        room -= len(group.lanes) if len(group.tasks) > 1 else 0
        if room < 0:
            break
        if not group.is_library:
            opened.add(number)
    return opened
