"""The rows of one version's panel in a comparison: who did the work, and what each of them did when.

A row is a thread, a worker process or a task that worked. What merely waits for other rows has none: the `main` that
joins threads, the task that awaits a gather, the call that runs the loop.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence, Set
from dataclasses import dataclass, replace
from typing import Literal

from asynctrace.analysis.at_work import call_work, is_machinery, own_cpu_ns, own_stretches, task_work
from asynctrace.analysis.coroutine_work import nested_coroutines, work_inside
from asynctrace.analysis.intervals import Interval, length, subtract
from asynctrace.analysis.row_names import name_order, short_name, thread_name, worker_names
from asynctrace.analysis.stretches import task_blockings
from asynctrace.model.trace import Call, Process, Task, Thread, Trace

BarState = Literal["running", "waiting", "ready", "blocking", "starting"]

MOST_ROWS = 24
_NEXT_TO_NOTHING = 0.1  # of a lifetime: less work than this, and the rest was a wait for other rows
_RUNNING = 2 / 3  # of a stretch without a recorded wait: with less CPU time it was not one run
_HANDED_OVER = ("thread", "process", "job")
_SHORT_NS = 1_000_000  # between two waits: below it the CPU's share is not worth asking


@dataclass(frozen=True, slots=True)
class Bar:
    """A stretch of a row; `text` is what it waited for (or was blocked in), such as "time.sleep(1)"."""

    state: BarState
    start_ns: int
    end_ns: int
    text: str | None = None


@dataclass(frozen=True, slots=True)
class Unit:
    """One piece of work in a row: a task, or the call that did it."""

    name: str
    start_ns: int
    end_ns: int
    outcome: str
    is_named: bool = True  # the program handed it to somebody, as a task, a job or a target: no choice of level


@dataclass(frozen=True, slots=True)
class Row:
    """One row: its label, its bars in order of time, and the pieces of work in it."""

    label: str
    bars: tuple[Bar, ...]
    units: tuple[Unit, ...]
    thread: Thread | None = None
    is_task: bool = False

    @property
    def start_ns(self) -> int:
        """When its first bar begins."""
        return min((bar.start_ns for bar in self.bars), default=0)

    @property
    def end_ns(self) -> int:
        """When its last bar ends."""
        return max((bar.end_ns for bar in self.bars), default=0)


@dataclass(frozen=True, slots=True)
class Panel:
    """The rows of one version. `note` says what was packed or folded; `all_rows` are the rows before that."""

    rows: tuple[Row, ...]
    all_rows: tuple[Row, ...]
    note: str | None
    is_packed: bool


def panel(trace: Trace, names: Set[str] = frozenset(), most: int = MOST_ROWS) -> Panel:
    """Return the rows that show what one version did.

    Args:
        trace: The version's trace.
        names: What the pieces of work are called in the other versions: a call of such a name is shown itself, not the
            calls inside it.
        most: Over so many rows, rows that do not overlap share a lane; those that find none are left out, and counted.

    Returns:
        Rows in this order: the main thread, other threads, worker processes, tasks in order of creation.
    """
    rows = _rows(trace, names, users=True) or _rows(trace, names, users=False)
    rows = _with_starts(trace, _worth_seeing(trace, rows))
    if len(rows) <= most:
        return Panel(tuple(rows), tuple(rows), None, is_packed=False)
    lanes, note = _packed(rows, most)
    return Panel(lanes, tuple(rows), note, is_packed=True)


def panels(traces: Sequence[Trace | None], most: int = MOST_ROWS) -> list[Panel | None]:
    """Return each version's panel, None where there is no trace; the versions learn names of work from each other."""
    alone = [panel(trace, most=most) if trace is not None else None for trace in traces]
    names = [
        {unit.name for row in one.all_rows for unit in row.units if unit.is_named} if one is not None else set()
        for one in alone
    ]
    result: list[Panel | None] = []
    for index, trace in enumerate(traces):
        others: set[str] = set().union(*names[:index], *names[index + 1 :])
        has_news = not others <= names[index]
        result.append(panel(trace, others, most) if trace is not None and has_news else alone[index])
    return result


def _rows(trace: Trace, names: Set[str], *, users: bool) -> list[Row]:
    calls = _call_rows(trace, names, users=users)
    tasks = [task for task in trace.tasks if not task.is_internal and task.states and (task.is_user or not users)]
    shown = set(tasks)
    workers = [task for task in tasks if not _merely_waits(task, shown, users)]
    # Where all wait for each other and nothing else is seen, the waiting is what there is to show.
    return [*calls, *_task_rows(trace, names, workers if workers or calls else tasks)]


def _call_rows(trace: Trace, names: Set[str], *, users: bool) -> list[Row]:
    work = call_work(trace)
    by_thread: dict[Thread, list[Call]] = defaultdict(list)
    for call in trace.calls:
        if call.task is None:
            by_thread[call.thread].append(call)
    workers = worker_names(trace)
    rows: list[tuple[tuple[int, bool, list[str | int]], Row]] = []
    for thread, calls in by_thread.items():
        if users and not any(call.is_user for call in calls):
            continue
        stretches = own_stretches(calls)
        cpu_ns = own_cpu_ns(calls)
        life_ns = max(call.end_ns for call in calls) - min(call.started_ns for call in calls)
        worked_ns = sum(length(work.get(call, [])) for call in calls)
        waited_ns = sum(length(stretches[call]) for call in calls if not is_machinery(call)) - worked_ns
        if worked_ns <= _NEXT_TO_NOTHING * life_ns and waited_ns > worked_ns:
            continue
        units = _units(calls, work, names)
        bars = [bar for call in calls for bar in _call_bars(call, stretches[call], work.get(call, []), cpu_ns[call])]
        if not bars:
            continue
        process = thread.process
        named = thread_name(thread)
        worker = workers.get(process, "" if process.is_main else "worker")
        if worker:
            named = worker if thread.is_main else f"{worker} {named}"
        label = "  ".join((named, _joined(unit.name for unit in units)))
        row = Row(label, tuple(sorted(bars, key=lambda bar: bar.start_ns)), tuple(units), thread)
        place = process.started_ns if not process.is_main else -1
        # Names in the order of their numbers: threads that are started at once begin in any order.
        rows.append(((place, not thread.is_main, name_order(thread.name)), row))
    return [row for _, row in sorted(rows, key=lambda entry: entry[0])]


def _units(calls: list[Call], work: dict[Call, list[Interval]], names: Set[str]) -> list[Unit]:
    """Return the calls, on one thread, of the level that does the work.

    It goes down through the machinery of pools and through functions that have next to no time of their own, and stops
    at what was handed to a thread or process, or, before all, at a name that the other versions know.
    """
    children: dict[Call | None, list[Call]] = defaultdict(list)
    known = set(calls)
    for call in sorted(calls, key=lambda call: (call.started_ns, call.id)):
        children[call.parent if call.parent in known else None].append(call)
    above: set[Call] = set()  # calls with one of a known name inside
    for call in calls:
        if short_name(call.name) in names:
            outer = call.parent
            while outer is not None and outer not in above:
                above.add(outer)
                outer = outer.parent
    chosen: list[Call] = []
    waiting = list(reversed(children[None]))
    while waiting:
        call = waiting.pop()
        inner = children[call]
        own_ns = length(work.get(call, []))
        if is_machinery(call):
            waiting.extend(reversed(inner))
        elif short_name(call.name) in names:
            chosen.append(call)
        elif call in above or (
            inner and call.kind not in _HANDED_OVER and own_ns <= _NEXT_TO_NOTHING * (call.end_ns - call.started_ns)
        ):
            waiting.extend(reversed(inner))
        elif own_ns or inner:
            chosen.append(call)
    return [
        Unit(short_name(call.name), call.started_ns, call.end_ns, call.outcome, call.kind in _HANDED_OVER)
        for call in chosen
    ]


def _call_bars(call: Call, own: list[Interval], work: list[Interval], cpu_ns: int) -> list[Bar]:
    """Return what `call` did outside of its nested calls."""
    bars = [
        Bar("waiting", blocking.start_ns, blocking.end_ns, blocking.expression or blocking.primitive)
        for blocking in call.blockings
    ]
    blocked = [(bar.start_ns, bar.end_ns) for bar in bars]
    rest = subtract(work, blocked)
    # A call that holds its thread long but used little CPU stood somewhere that is not recorded: a socket, a lock.
    long_ns = length(interval for interval in rest if interval[1] - interval[0] >= _SHORT_NS)
    # One of several threads that compete for the interpreter looks the same: its share of the CPU is told.
    waits = call.outcome != "unfinished" and cpu_ns < _RUNNING * long_ns
    for start, end in rest:
        if waits and end - start >= _SHORT_NS:
            bars.append(Bar("waiting", start, end, _cpu_share(cpu_ns / long_ns)))
        else:
            bars.append(Bar("running", start, end))
    if work:  # else the whole call is a wait for other rows, and those show it
        joined = subtract(subtract(own, work), blocked)
        bars.extend(Bar("waiting", start, end) for start, end in joined if end - start >= _SHORT_NS)
    return bars


def _cpu_share(share: float) -> str:
    return f"CPU {share * 100:.0f} %" if share >= 0.005 else "CPU under 1 %"


def _task_rows(trace: Trace, names: Set[str], tasks: list[Task]) -> list[Row]:
    totals = Counter(short_name(task.label) for task in tasks)
    numbers: Counter[str] = Counter()
    nested = nested_coroutines(trace)
    blocked = task_blockings(trace)
    rows: list[Row] = []
    for task in tasks:
        name = short_name(task.label)
        numbers[name] += 1
        label = f"{name} #{numbers[name]}" if totals[name] > 1 else name
        units = [Unit(name, task.created_ns, task.end_ns, task.outcome)]
        inside = work_inside(task, nested, names)
        if inside:
            units = [Unit(short_name(one.name), one.started_ns, one.end_ns, one.outcome, False) for one in inside]
            label = f"{label}  {_joined(unit.name for unit in units)}"
        thread = task.loop.thread if task.loop is not None else None
        rows.append(Row(label, tuple(_task_bars(task, blocked.get(task, ()))), tuple(units), thread, is_task=True))
    return rows


def _merely_waits(task: Task, shown: Set[Task], users: bool) -> bool:
    """Return whether next to all of a task's life is a wait for other rows."""
    waited_ns = 0
    for state in task.states:
        wait = state.wait
        if wait is None:
            continue
        call = wait.job.call if wait.job is not None else None
        if (wait.awaited in shown if wait.awaited is not None else wait.kind in ("task", "gather")) or (
            call is not None and (call.is_user or not users)
        ):
            waited_ns += state.end_ns - state.start_ns
    worked_ns = length(task_work(task))
    return waited_ns > 0 and worked_ns <= _NEXT_TO_NOTHING * (task.end_ns - task.created_ns)


def _task_bars(task: Task, blocked: Sequence[Interval]) -> list[Bar]:
    texts = {blocking.start_ns: blocking.expression or blocking.primitive for blocking in task.blockings}
    bars = [Bar("blocking", start, end, texts.get(start)) for start, end in blocked]
    running = [(state.start_ns, state.end_ns) for state in task.states if state.kind == "running"]
    bars.extend(Bar("running", start, end) for start, end in subtract(running, blocked))
    for state in task.states:
        if state.kind != "running":
            text = (state.wait.expression or state.wait.kind) if state.wait is not None else None
            bars.append(Bar(state.kind, state.start_ns, state.end_ns, text))
    return sorted(bars, key=lambda bar: bar.start_ns)


def _with_starts(trace: Trace, rows: list[Row]) -> list[Row]:
    """Put each worker's start-up before its first bar: from when its parent began to start it."""
    first: dict[Process, int] = {}
    for index, row in enumerate(rows):
        if row.thread is not None and not row.thread.process.is_root:
            best = first.setdefault(row.thread.process, index)
            if row.start_ns < rows[best].start_ns:
                first[row.thread.process] = index
    result = list(rows)
    for process, index in first.items():
        row = result[index]
        start_ns = max(process.started_ns, trace.start_ns)
        if start_ns < row.start_ns:
            result[index] = replace(row, bars=(Bar("starting", start_ns, row.start_ns), *row.bars))
    return result


def _worth_seeing(trace: Trace, rows: list[Row]) -> list[Row]:
    """Leave out threads whose calls together would hardly fill a pixel, such as a `main` that only starts others."""
    least_ns = (trace.end_ns - trace.start_ns) / 500
    kept = [row for row in rows if row.is_task or sum(bar.end_ns - bar.start_ns for bar in row.bars) >= least_ns]
    return kept or rows


def _packed(rows: list[Row], most: int) -> tuple[tuple[Row, ...], str]:
    """Return lanes in which rows that do not overlap follow each other, and a note on what found none."""
    lanes: list[list[Row]] = []
    folded = 0
    for row in sorted(rows, key=lambda row: row.start_ns):
        free = next((lane for lane in lanes if lane[-1].end_ns <= row.start_ns), None)
        if free is not None:
            free.append(row)
        elif len(lanes) < most:
            lanes.append([row])
        else:
            folded += 1
    units = Counter(unit.name for row in rows for unit in row.units)
    label = f"{next(iter(units))} ×{units.total()}" if len(units) == 1 else f"{len(rows)} rows"
    packed = tuple(
        Row(
            label if index == 0 else "",
            tuple(bar for row in lane for bar in row.bars),
            tuple(unit for row in lane for unit in row.units),
            lane[0].thread,
        )
        for index, lane in enumerate(lanes)
    )
    if folded:
        return packed, f"{len(lanes)} lanes; {folded} more folded"
    return packed, f"{len(rows)} rows in {len(lanes)} lanes"


def _joined(names: Iterable[str]) -> str:
    """Return the different names, the most frequent first, two at most."""
    counted = [name for name, _ in Counter(names).most_common(3)]
    return ", ".join(counted[:2]) + (", …" if len(counted) > 2 else "")
