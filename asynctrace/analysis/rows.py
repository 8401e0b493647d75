"""The rows of a Gantt chart: which tasks and threads get one, in which order, and what is folded together."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from heapq import heappop, heappush
from typing import Literal

from asynctrace.analysis.processes import TaskOwners
from asynctrace.analysis.row_names import file_name, short_name, thread_name, worker_names
from asynctrace.analysis.stretches import Stretch, call_stretches, calls_at_work, strongest, task_stretches
from asynctrace.model.trace import Call, Process, Task, Thread, Trace

MOST_ROWS = 60
MOST_LANES = 12  # of one group: more of the same thing tell nothing new


RowKind = Literal["task", "lane", "folded", "thread"]


@dataclass(frozen=True, slots=True)
class Row:
    """One row: a task, a lane of tasks that follow each other, many tasks or threads folded into one, or a thread.

    `place` is "file.py:12", or "". `depth` counts the creators above it. `tasks` are those drawn in it (all those
    folded into it), `stretches` what to draw, `starting` when its process was started up, `ends` the (time, outcome)
    of what ended in it, `thread` the one whose row it is.
    """

    kind: RowKind
    label: str
    place: str = ""
    depth: int = 0
    tasks: tuple[Task, ...] = ()
    stretches: tuple[Stretch, ...] = field(default=(), repr=False)
    starting: tuple[int, int] | None = None
    ends: tuple[tuple[int, str], ...] = ()
    thread: Thread | None = None


def gantt_rows(trace: Trace, *, most: int = MOST_ROWS) -> list[Row]:
    """Return the rows of a Gantt chart, at most `most`.

    Tasks come in order of creation, children indented under their creator; then the threads and worker processes that
    worked off the loop; last, in one row, the libraries' tasks. asyncio's own tasks are left out. Where these are more
    than `most`, tasks of the same coroutine share lanes, and what finds no lane is folded into one row.
    """
    tasks = [task for task in trace.tasks if not task.is_internal]
    shown = [task for task in tasks if task.is_user] or tasks  # only library tasks: then they are the subject
    visible = set(shown)
    library = [task for task in tasks if task not in visible]
    threads = thread_rows(trace)
    owners = TaskOwners(trace)
    last = [_folded(f"library: {number_of(len(library), 'task')}", library)] if library else []
    if len(shown) + len(threads) + len(last) <= most:
        return [*_single_rows(shown, owners), *threads, *last]
    room = most - len(last)
    if threads and len(threads) > max(1, room // 2 if shown else room):
        kept = max(1, room // 2 if shown else room) - 1
        threads = [*threads[:kept], _folded_threads(threads[kept:])]
    return [*_group_rows(shown, owners, room - len(threads)), *threads, *last]


def task_labels(tasks: Iterable[Task], owners: TaskOwners) -> dict[Task, str]:
    """Return the label of each of `tasks`, numbered in their order ("count #1") where it occurs several times.

    Of a merged trace each process counts its own.
    """
    names = {task: (owners(task), short_name(task.label)) for task in tasks}
    total = Counter(names.values())
    seen: Counter[tuple[Process | None, str]] = Counter()
    labels: dict[Task, str] = {}
    for task, name in names.items():
        seen[name] += 1
        labels[task] = f"{name[1]} #{seen[name]}" if total[name] > 1 else name[1]
    return labels


def place_of(file: str, line: int) -> str:
    """Return "file.py:12", or "" when the file is unknown."""
    name = file_name(file)
    return f"{name}:{line}" if name and line else name


def _single_rows(tasks: Sequence[Task], owners: TaskOwners) -> list[Row]:
    tree = creation_tree(tasks, lambda task: task)
    labels = task_labels((group[0] for _, group in tree), owners)
    return [
        Row(
            "task",
            owners.label(group[0], labels[group[0]], depth),
            place_of(group[0].file, group[0].line),
            depth,
            (group[0],),
            tuple(task_stretches(group[0])),
            ends=_ends(group),
        )
        for depth, group in tree
    ]


def _group_rows(tasks: Sequence[Task], owners: TaskOwners, room: int) -> list[Row]:
    """Return at most `room` rows: a group of one is a row, a larger one shares lanes."""
    groups = creation_tree(tasks, lambda task: (owners(task), task.label, task.file, task.line))
    spare: list[Task] = []
    if len(groups) > room:
        # The smallest groups share one last row: that leaves out the least of the picture.
        largest = sorted(range(len(groups)), key=lambda index: (-len(groups[index][1]), index))[: room - 1]
        kept = set(largest)
        spare = [task for index, (_, group) in enumerate(groups) if index not in kept for task in group]
        groups = [groups[index] for index in sorted(kept)]
        room -= 1
    shares = _shares([min(_width(group), MOST_LANES + 1) for _, group in groups], room)
    rows: list[Row] = []
    for (depth, group), share in zip(groups, shares, strict=True):
        rows += _lanes_of(group, owners, depth, share)
    if spare:
        rows.append(_folded(f"{number_of(len(spare), 'other task')}", spare))
    return rows


def _lanes_of(group: Sequence[Task], owners: TaskOwners, depth: int, share: int) -> list[Row]:
    first = group[0]
    place = place_of(first.file, first.line)
    name = owners.label(first, short_name(first.label), depth)
    if len(group) == 1:
        return [Row("task", name, place, depth, (first,), tuple(task_stretches(first)), ends=_ends(group))]
    label = f"{name} ×{len(group):,}"
    if share == 1 and _width(group) > 1:
        return [replace(_folded(label, group), place=place, depth=depth)]
    lanes, rest = packed(group, share)
    if rest:
        lanes, rest = packed(group, share - 1)
    rows = [
        Row(
            "lane",
            label if index == 0 else "",
            place if index == 0 else "",
            depth,
            tuple(lane),
            tuple(stretch for task in lane for stretch in task_stretches(task)),
            ends=_ends(lane),
        )
        for index, lane in enumerate(lanes)
    ]
    if rest:
        rows.append(replace(_folded(f"{number_of(len(lanes), 'lane')}; {len(rest):,} more folded", rest), depth=depth))
    return rows


def packed(tasks: Iterable[Task], most: int) -> tuple[list[list[Task]], list[Task]]:
    """Put each task into the first lane that is free at its creation, at most `most` lanes.

    Returns:
        The lanes, and the tasks that found none free.
    """
    lanes: list[list[Task]] = []
    rest: list[Task] = []
    busy: list[tuple[int, int]] = []  # (end of its last task, lane)
    free: list[int] = []
    for task in sorted(tasks, key=lambda task: task.created_ns):
        while busy and busy[0][0] <= task.created_ns:
            heappush(free, heappop(busy)[1])
        if free:
            lane = heappop(free)
        elif len(lanes) < most:
            lane = len(lanes)
            lanes.append([])
        else:
            rest.append(task)
            continue
        lanes[lane].append(task)
        heappush(busy, (task.end_ns, lane))
    return lanes, rest


def _width(tasks: Iterable[Task]) -> int:
    """Return how many lanes `tasks` need, counting no further than a group may have."""
    lanes, rest = packed(tasks, MOST_LANES)
    return len(lanes) + bool(rest)


def _shares(wanted: Sequence[int], room: int) -> list[int]:
    """Share `room` rows out, one at a time in turn, so that no group gets more than it wants."""
    shares = [1] * len(wanted)
    left = room - len(wanted)
    while left > 0 and any(share < want for share, want in zip(shares, wanted, strict=True)):
        for index, want in enumerate(wanted):
            if left > 0 and shares[index] < want:
                shares[index] += 1
                left -= 1
    return shares


def creation_tree(tasks: Sequence[Task], key: Callable[[Task], Hashable]) -> list[tuple[int, list[Task]]]:
    """Return (depth, tasks of one key) in order of creation, children after their creator.

    A creator that is not among `tasks` stands for its own creator.
    """
    groups: dict[Hashable, list[Task]] = defaultdict(list)
    group_of: dict[Task, Hashable] = {}
    for task in tasks:
        group_of[task] = key(task)
        groups[group_of[task]].append(task)
    children: dict[Hashable | None, list[Hashable]] = defaultdict(list)
    above: dict[Hashable, Hashable | None] = {}
    for name, group in groups.items():
        parent = group[0].creator
        while parent is not None and (parent not in group_of or group_of[parent] == name):
            parent = parent.creator
        above[name] = group_of[parent] if parent is not None else None
        if _leads_to(above, above[name], name):  # coroutines that create each other in turn
            above[name] = None
        children[above[name]].append(name)
    ordered: list[tuple[int, list[Task]]] = []
    waiting = [(0, name) for name in reversed(children[None])]
    while waiting:
        depth, name = waiting.pop()
        ordered.append((depth, groups[name]))
        waiting.extend((depth + 1, child) for child in reversed(children[name]))
    return ordered


def _leads_to(above: dict[Hashable, Hashable | None], start: Hashable | None, target: Hashable) -> bool:
    while start is not None:
        if start == target:
            return True
        start = above.get(start)
    return False


def thread_rows(trace: Trace) -> list[Row]:
    """Return a row for each thread and worker process that worked off the loop."""
    stretches = call_stretches(trace)
    calls = calls_at_work(trace)
    workers = worker_names(trace)
    threads_of: Counter[Process] = Counter(thread.process for thread in stretches)
    rows: list[Row] = []
    for thread, found in stretches.items():
        made = calls[thread]
        names = list(dict.fromkeys(short_name(call.name) for call in made))
        worker = workers.get(thread.process)
        label = worker or thread_name(thread)
        if worker and threads_of[thread.process] > 1:
            label += f"  {thread_name(thread)}"
        if len(names) == 1:
            label += f"  {names[0]}"
        process = thread.process
        starting = None
        if not process.is_root and process.started_ns < found[0].start_ns:
            starting = (process.started_ns, found[0].start_ns)
        rows.append(
            Row(
                "thread",
                label,
                place_of(made[0].file, made[0].line) if len(names) == 1 else "",
                stretches=tuple(found if len(names) > 1 else _without_names(found)),
                starting=starting,
                ends=_ends(made),
                thread=thread,
            )
        )
    return rows


def _without_names(stretches: Iterable[Stretch]) -> Iterable[Stretch]:
    """Leave a call's name off its bars where the row's label has it."""
    return (replace(stretch, texts=()) if stretch.kind == "running" else stretch for stretch in stretches)


def _folded(label: str, tasks: Sequence[Task]) -> Row:
    return Row("folded", label, tasks=tuple(tasks), stretches=tuple(strongest(map(task_stretches, tasks))))


def _folded_threads(rows: Sequence[Row]) -> Row:
    return Row(
        "folded", f"{number_of(len(rows), 'more thread')}", stretches=tuple(strongest(row.stretches for row in rows))
    )


def _ends(ended: Iterable[Task | Call]) -> tuple[tuple[int, str], ...]:
    return tuple((one.end_ns, one.outcome) for one in ended)


def number_of(count: int, noun: str) -> str:
    """Return "1 task", "1,024 tasks"."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"
