"""What the interactive page holds: every state of every task, or as much of it as a browser can draw."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace

from asynctrace.analysis.processes import TaskOwners
from asynctrace.analysis.rows import number_of, task_labels
from asynctrace.analysis.stretches import Stretch, task_stretches
from asynctrace.charts.mixing import unmixed
from asynctrace.charts.timeline_bars import Bars
from asynctrace.charts.timeline_rows import PageRow, page_rows
from asynctrace.model.trace import Task, Thread, Trace

MOST_BARS = 100_000
_FINEST = (20_000, 5_000, 2_000, 1_000)  # parts of the whole time: what is shorter is mixed
_CROWDED = 300  # parts: what is shorter is a few pixels at first, and slivers would cover it


@dataclass(frozen=True, slots=True)
class Content:
    """The rows, what is drawn in them, the number of each task that is searched, and whether lanes were left out."""

    rows: Sequence[PageRow]
    bars: Bars
    tasks: dict[Task, int]
    is_short: bool


def page_content(trace: Trace) -> Content:
    """Return what to show of a trace, about `MOST_BARS` bars at most.

    Where there are more, the shortest states are mixed first; then the last lanes of the largest groups are left out.
    """
    tasks = [task for task in trace.tasks if not task.is_internal]
    rows = page_rows(trace)
    stretches = [[task_stretches(task) for task in row.tasks] if row.kind in ("single", "lane") else [] for row in rows]
    span_ns = max(trace.end_ns - trace.start_ns, 1000)
    finest_ns = 0.0
    sizes = [sum(map(len, row)) for row in stretches]
    for parts in _FINEST:
        if sum(sizes) <= MOST_BARS:
            break
        finest_ns = span_ns / parts
        sizes = [_size(row, finest_ns) for row in stretches]
    left_out = _left_out(rows, sizes)
    numbers = {task: number for number, task in enumerate(tasks)}
    shown: list[PageRow] = []
    kept: list[int | None] = []  # which of `rows` is shown, None for what stands for several
    for index, row in enumerate(rows):
        if index not in left_out:
            shown.append(row)
            kept.append(index)
        elif index - 1 not in left_out:
            many = sum(other in left_out for other in range(index, len(rows)) if rows[other].group == row.group)
            shown.append(replace(row, label=f"{number_of(many, 'more lane')}, only in the sum above", tasks=()))
            kept.append(None)
    bars = Bars(trace, task_labels(tasks, TaskOwners(trace)), numbers, _places(shown), finest_ns, span_ns / _CROWDED)
    for number, origin in enumerate(kept):
        if origin is not None:
            bars.add_row(number, rows[origin], stretches[origin])
    return Content(shown, bars, numbers, bool(left_out))


def _places(rows: Sequence[PageRow]) -> dict[Task | Thread, int]:
    """Return in which row each task and thread is drawn: that of a lane, else that of all its group."""
    places: dict[Task | Thread, int] = {}
    for number, row in enumerate(rows):
        places.update(dict.fromkeys(row.tasks, number))  # a group's row comes before its lanes
        if row.row is not None and row.row.thread is not None:
            places[row.row.thread] = number
    return places


def _size(stretches: Sequence[Sequence[Stretch]], finest_ns: float) -> int:
    """Return how many bars a row has when what is shorter is mixed."""
    plain, mixes = unmixed([stretch for each in stretches for stretch in each], finest_ns)
    return len(plain) + sum(len(mix.shares) + 1 for mix in mixes)


def _left_out(rows: Sequence[PageRow], sizes: Sequence[int]) -> set[int]:
    """Return the lanes that have to be left out: the last ones of the largest groups."""
    lanes: dict[int, list[int]] = defaultdict(list)
    for index, row in enumerate(rows):
        if row.kind == "lane":
            lanes[row.group].append(index)
    size_of = {group: sum(sizes[index] for index in indices) for group, indices in lanes.items()}
    size = sum(sizes)
    left_out: set[int] = set()
    for group in sorted(size_of, key=lambda group: (-size_of[group], group)):
        while size > MOST_BARS and lanes[group]:
            index = lanes[group].pop()
            size -= sizes[index]
            left_out.add(index)
    return left_out
