"""What the interactive page draws in its rows, as columns: plain lists, so that nothing here needs Bokeh.

Texts are kept once, in a list; a column of texts holds their numbers in it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

from asynctrace.analysis.counts import counted
from asynctrace.analysis.stretches import Stretch, task_stretches
from asynctrace.charts.looks import END_MARKS, LOOKS, StateName, duration_text, time_unit
from asynctrace.charts.mixing import Mix, unmixed
from asynctrace.charts.thinning import thinned
from asynctrace.charts.timeline_rows import PageRow, all_in_one
from asynctrace.charts.timeline_said import Sayings, Words, waker_of, woken_state
from asynctrace.model.trace import Blocking, State, StateKind, Task, Thread, Trace

BAR_HEIGHT = 0.7  # of a row
FOLDED_HEIGHT = 0.42
THIN_HEIGHT = 0.1  # of the line that any running is, where it is too short to be seen
OUTLINE_HEIGHT = 0.06
_CROWD_STEPS = 600
_MOST_FOLDED = 2_000  # stretches of a row above a group that are drawn one by one, to be told apart when zoomed in
_SHARES: tuple[StateKind, ...] = ("running", "ready", "waiting")

_SAID = ("title", "awaited", "place", "cause", "ended")  # besides the state; each a number of a text

Columns = dict[str, list[float]]


def span_s(trace: Trace) -> float:
    """Return how many seconds the time axis shows."""
    return max(trace.end_ns - trace.start_ns, 1000) / 1e9


class Bars:
    """Collects bars, by state, with what is said of each when the pointer is on it.

    A bar goes from `left` to `right` (in the time axis' unit, since the start), and from `low` to `high` within its
    `row` (0 is the row's upper edge). `is_fine` is 1 where many short ones are side by side: an edge would hide what is
    between. `waker` is the row of what made its task ready, at the time `woken`; -1 where that has none.

    Args:
        trace: What is drawn.
        labels: The tasks' labels.
        numbers: The tasks' numbers in the search.
        places: The row that each task and thread is drawn in.
        finest_ns: What is shorter is mixed, 0 for nothing.
        crowded_ns: What is shorter is `is_fine` where it has others beside it.
    """

    def __init__(
        self,
        trace: Trace,
        labels: Mapping[Task, str],
        numbers: Mapping[Task, int],
        places: Mapping[Task | Thread, int],
        finest_ns: float,
        crowded_ns: float,
    ) -> None:
        self.words = Words()
        self._nothing = self.words("")
        self._sayings = Sayings(self.words, labels)
        self.bars: dict[StateName, Columns] = {state: defaultdict(list) for state in LOOKS}
        self.thin: Columns = defaultdict(list)
        self.outline: Columns = defaultdict(list)
        self.ends: Columns = defaultdict(list)
        self.outcomes: list[str] = []
        self.has_mixes = False
        self.unit, self._per_second = time_unit(span_s(trace))
        self._start_ns = trace.start_ns
        self._numbers = numbers
        self._places = places
        self._finest_ns = finest_ns
        self._crowded_ns = crowded_ns
        self._blockings: dict[Task, list[Blocking]] = defaultdict(list)
        for task in trace.tasks:
            if task.blockings:
                self._blockings[task] += task.blockings
        for call in trace.calls:
            if call.task is not None and call.blockings:
                self._blockings[call.task] += call.blockings

    def x(self, time_ns: float) -> float:
        """Return a time in the axis' unit, since the start of the trace."""
        return (time_ns - self._start_ns) / 1e9 * self._per_second

    @property
    def count(self) -> int:
        return sum(len(columns["row"]) for columns in (*self.bars.values(), self.thin, self.outline) if columns)

    def add_row(self, number: int, row: PageRow, stretches: Sequence[Sequence[Stretch]]) -> None:
        """Add all that is drawn in a row; `number` is the row's, `stretches` are those of each task that is drawn."""
        if row.kind in ("single", "lane"):
            self._add_tasks(number, row.tasks, stretches)
        elif row.row is not None:
            what = self.words(row.row.label)
            if row.row.starting is not None:
                self._add("starting", number, *row.row.starting, state="starting up", said={"title": what})
            self._add_stretches(number, row.row.stretches, what, BAR_HEIGHT)
            self._add_ends(number, row.row.ends)
        else:
            top = row.height - 1
            folded = all_in_one(row)
            self._add_stretches(number, folded.stretches, self.words(row.label), FOLDED_HEIGHT, top, "some of them ")
            self._add_blockings(number, row.tasks, FOLDED_HEIGHT, top)
            if row.kind == "crowd":
                self._add_crowd(number, row)

    def _add_tasks(self, number: int, tasks: Sequence[Task], stretches: Sequence[Sequence[Stretch]]) -> None:
        """Add the states of tasks that follow each other."""
        row = [stretch for each in stretches for stretch in each]
        plain, mixes = unmixed(row, self._finest_ns) if self._finest_ns else (row, [])
        sparse = plain if self._finest_ns else unmixed(row, self._crowded_ns)[0]
        kept, kept_apart = {id(stretch) for stretch in plain}, {id(stretch) for stretch in sparse}
        for task, own in zip(tasks, stretches, strict=True):
            number_of_task = self._numbers.get(task, -1)
            left = iter(own)  # a stretch for each state that lasted
            for index, state in enumerate(task.states):
                stretch = next(left) if state.end_ns > state.start_ns else None
                if stretch is not None and id(stretch) in kept:
                    is_fine = id(stretch) not in kept_apart
                    self._add_state(number, task, index, number_of_task, is_fine=is_fine)
            self._add_blockings(number, [task], BAR_HEIGHT)
            self._add_ends(number, [(task.end_ns, task.outcome)], number_of_task)
        title = self._sayings.of_task(tasks[0])["title"] if len(tasks) == 1 else self.words(f"{len(tasks):,} tasks")
        self._add_mixes(number, mixes, title, BAR_HEIGHT)

    def _add_state(self, number: int, task: Task, index: int, number_of_task: int, *, is_fine: bool) -> None:
        state = task.states[index]
        following = task.states[index + 1] if index + 1 < len(task.states) else None
        said = self._sayings.of_state(state, following, task, is_first=not index)
        self._add(
            state.kind,
            number,
            state.start_ns,
            state.end_ns,
            task=number_of_task,
            is_fine=is_fine,
            said=said,
            wake=self._wake(task, index, following),
        )

    def _wake(self, task: Task, index: int, following: State | None) -> tuple[int, float]:
        """Return the row of what woke a task at the end of its state, or just before it, and when; -1 for no row."""
        state = task.states[index]
        is_first = not index
        woken = woken_state(state, following)
        if state.kind == "running" and index and task.states[index - 1].kind == "ready":
            woken, is_first = task.states[index - 1], index == 1
        if woken is None:
            return -1, 0.0
        waker = waker_of(woken, task, is_first=is_first)
        place = -1 if waker is None or waker is task else self._places.get(waker, -1)
        return place, self.x(woken.start_ns)

    def _add_blockings(self, number: int, tasks: Iterable[Task], height: float, top: float = 0) -> None:
        for task in tasks:
            for one in self._blockings.get(task, ()):
                said = self._sayings.of_blocking(one, task)
                times = one.start_ns, one.end_ns
                # What stands for all of a group is not searched by the tasks in it.
                searched = self._numbers.get(task, -1) if height == BAR_HEIGHT else -1
                self._add("blocking", number, *times, height, top, task=searched, said=said)

    def _add_stretches(
        self, number: int, stretches: Sequence[Stretch], title: int, height: float, top: float = 0, which: str = ""
    ) -> None:
        plain, mixes = unmixed(stretches, self._finest_ns or self._crowded_ns)
        fine: set[int] = set()
        if mixes and len(stretches) <= _MOST_FOLDED and not self._finest_ns:
            fine = set(map(id, stretches)) - set(map(id, plain))
            plain, mixes = list(stretches), []
        for one in plain:
            awaited = self.words(one.texts[0] if one.texts else "")
            state = f"{which}{one.kind}"
            said = {"title": title, "awaited": awaited}
            times = one.start_ns, one.end_ns
            self._add(one.kind, number, *times, height, top, is_fine=id(one) in fine, state=state, said=said)
        self._add_mixes(number, mixes, title, height, top)

    def _add_mixes(self, number: int, mixes: Sequence[Mix], title: int, height: float, top: float = 0) -> None:
        """Add what is too fine to draw one by one: a colour's height is its share of the time."""
        for mix in mixes:
            self.has_mixes = True
            low = top + (1 + height) / 2
            parts = [f"{kind} {mix.shares[kind]:.0%}" for kind in _SHARES if mix.shares.get(kind)]
            for kind in _SHARES:
                share = height * mix.shares.get(kind, 0.0)
                if share:
                    columns = self.bars[kind]
                    self._append(columns, number, mix.start_ns, mix.end_ns, low - share, low, is_fine=True)
                    self._say(columns, f"mixed: {', '.join(parts)}", {"title": title})
                    low -= share
            if mix.shares.get("running"):
                self._add_thin(number, mix.start_ns, mix.end_ns, top, height)

    def _add_crowd(self, number: int, row: PageRow) -> None:
        """Add how many of a group were in each state, stacked."""
        stretches = (stretch for task in row.tasks for stretch in task_stretches(task))
        staircase = counted(stretches, self._start_ns)
        edges, means, highest = thinned(staircase, max(task.end_ns for task in row.tasks), _CROWD_STEPS)
        room, peak = row.height - 1.1, float(highest.max())
        title = self.words(row.label)
        for index in range(len(highest)):
            low = row.height - 0.9
            counts = {kind: float(means[position][index]) for position, kind in enumerate(_SHARES)}
            parts = [f"{kind} {count:,.{0 if count >= 9.95 else 1}f}" for kind, count in counts.items() if count]
            for kind in _SHARES:
                if counts[kind]:
                    columns = self.bars[kind]
                    high = low - room * counts[kind] / peak
                    self._append(columns, number, edges[index], edges[index + 1], high, low, is_fine=True)
                    self._say(columns, f"at a time: {', '.join(parts)}", {"title": title})
                    low = high
            # What waits is too faint on white without an edge.
            if parts:
                self._append(self.outline, number, edges[index], edges[index + 1], low, low + OUTLINE_HEIGHT)

    def _add(
        self,
        kind: StateName,
        number: int,
        start_ns: float,
        end_ns: float,
        height: float = BAR_HEIGHT,
        top: float = 0,
        *,
        task: int = -1,
        is_fine: bool = False,
        state: str = "",
        said: Mapping[str, int],
        wake: tuple[int, float] = (-1, 0.0),
    ) -> None:
        columns = self.bars[kind]
        low, high = top + (1 - height) / 2, top + (1 + height) / 2
        self._append(columns, number, start_ns, end_ns, low, high, task, is_fine=is_fine)
        self._say(columns, f"{state or kind} {duration_text(end_ns - start_ns)}", said, wake)
        if is_fine and kind == "running":
            self._add_thin(number, start_ns, end_ns, top, height, task)

    def _append(
        self,
        columns: Columns,
        number: int,
        start_ns: float,
        end_ns: float,
        low: float,
        high: float,
        task: int = -1,
        *,
        is_fine: bool = False,
    ) -> None:
        columns["left"].append(self.x(start_ns))
        columns["right"].append(self.x(end_ns))
        columns["row"].append(number)
        columns["low"].append(low)
        columns["high"].append(high)
        columns["task"].append(task)
        columns["is_fine"].append(is_fine)

    def _say(self, columns: Columns, state: str, said: Mapping[str, int], wake: tuple[int, float] = (-1, 0.0)) -> None:
        columns["state"].append(self.words(state))
        columns["waker"].append(wake[0])
        columns["woken"].append(wake[1])
        for name in _SAID:
            columns[name].append(said.get(name, self._nothing))

    def _add_thin(self, number: int, start_ns: float, end_ns: float, top: float, height: float, task: int = -1) -> None:
        bottom = top + (1 + height) / 2
        self._append(self.thin, number, start_ns, end_ns, bottom - THIN_HEIGHT, bottom, task)

    def _add_ends(self, number: int, ends: Iterable[tuple[int, str]], task: int = -1) -> None:
        for time_ns, outcome in ends:
            if outcome in END_MARKS:
                self.ends["x"].append(self.x(time_ns))
                self.ends["row"].append(number)
                self.ends["low"].append(0.5)
                self.ends["high"].append(0.5)
                self.ends["task"].append(task)
                self.outcomes.append(outcome)
