"""Where the time of each coroutine went: running, ready, and waiting for what."""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from asynctrace.analysis.overview import Overview, overview
from asynctrace.model.trace import Call, Coroutine, State, Task, Trace

# What the primitives that block a thread wait for, in the words that tasks' waits have.
_KIND_OF_PRIMITIVE = {"sleep": "sleep", "join": "thread", "result": "thread", "acquire": "lock", "get": "queue"}


@dataclass(slots=True)
class _Figures:
    """Adds up what the runs of one coroutine did; times in nanoseconds."""

    count: int = 0
    total_ns: int = 0
    running_ns: int = 0
    ready_ns: int = 0
    waiting_ns: Counter[str] = field(default_factory=Counter)
    longest_step_ns: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)
    errors: Counter[str] = field(default_factory=Counter)

    def add_end(self, run: Task | Coroutine | Call, total_ns: int) -> None:
        self.count += 1
        self.total_ns += total_ns
        self.outcomes[run.outcome] += 1
        if run.outcome == "raised" and run.error:
            self.errors[run.error] += 1

    def add_state(self, state: State, duration_ns: int) -> None:
        if state.kind == "ready":
            self.ready_ns += duration_ns
        elif state.kind == "waiting":
            self.waiting_ns[state.wait.kind if state.wait else "future"] += duration_ns

    def add_step(self, duration_ns: int) -> None:
        self.running_ns += duration_ns
        self.longest_step_ns = max(self.longest_step_ns, duration_ns)


@dataclass(frozen=True, slots=True)
class SummaryRow:
    """All runs of one coroutine (or plain function) together; times in nanoseconds.

    A run that awaited others includes them: rows do not add up. `waiting_ns` is by kind, `errors` counts the types of
    what was raised.
    """

    name: str
    file: str
    line: int
    count: int
    total_ns: int
    running_ns: int
    ready_ns: int
    waiting_ns: dict[str, int]
    longest_step_ns: int
    outcomes: dict[str, int]
    errors: dict[str, int]

    @property
    def all_waiting_ns(self) -> int:
        return sum(self.waiting_ns.values())

    def as_dict(self) -> dict[str, Any]:
        """Return the row as in `asynctrace summary --json`, times in seconds."""
        return {
            "name": self.name,
            "file": self.file,
            "line": self.line,
            "count": self.count,
            "total_s": self.total_ns / 1e9,
            "running_s": self.running_ns / 1e9,
            "ready_s": self.ready_ns / 1e9,
            "waiting_s": {kind: waited_ns / 1e9 for kind, waited_ns in self.waiting_ns.items()},
            "longest_step_s": self.longest_step_ns / 1e9,
            "outcomes": dict(self.outcomes),
        }


@dataclass(frozen=True, slots=True)
class Summary:
    """A trace's figures: `rows` of the user's code by total, descending; the libraries' in one row, `library`."""

    overview: Overview
    rows: tuple[SummaryRow, ...]
    library: SummaryRow | None

    def as_dict(self) -> dict[str, Any]:
        """Return what `asynctrace summary --json` prints."""
        return {"coroutines": [row.as_dict() for row in self.rows], "lost": self.overview.lost}


def summarize(trace: Trace) -> Summary:
    """Return where the time of each of the user's coroutines went.

    A coroutine that is a task's root begins with its task: the delay of the first step counts as ready. Where only
    tasks were seen (CPython 3.11), they stand for the coroutine that they ran, beside the decorated coroutines. Plain
    functions get rows when they are decorated, or when there is nothing else.
    """
    rows: dict[tuple[str, str, int], _Figures] = {}
    library: dict[tuple[str, str, int], _Figures] = {}
    coroutines: Iterable[Coroutine] = trace.coroutines
    if not trace.sees_coroutines:
        for task in trace.tasks:
            if not task.is_internal:
                _add_task(_figures(rows if task.is_user else library, task.label, task), task)
        coroutines = _not_told_by_task(trace)
    for coroutine in coroutines:
        if coroutine.task is not None and coroutine.task.is_internal:
            continue
        if coroutine.is_user or coroutine.is_traced:
            _add_coroutine(_figures(rows, coroutine.name, coroutine), coroutine)
        elif trace.sees_coroutines and coroutine.awaiter is None:
            # What a library's coroutine did inside another one is part of that one's figures.
            _add_coroutine(_figures(library, coroutine.name, coroutine), coroutine)
    shown_calls = [call for call in trace.calls if call.kind == "traced" or (not rows and call.is_user)]
    if shown_calls:
        _add_calls(rows, shown_calls, _blocked(trace.calls))
    return Summary(
        overview(trace),
        tuple(sorted((_row(*key, figures) for key, figures in rows.items()), key=lambda row: -row.total_ns)),
        _library_row(library) if library else None,
    )


def _figures(rows: dict[tuple[str, str, int], _Figures], name: str, run: Task | Coroutine | Call) -> _Figures:
    key = (name, run.file, run.line)
    if key not in rows:
        rows[key] = _Figures()
    return rows[key]


def _add_task(figures: _Figures, task: Task) -> None:
    figures.add_end(task, task.end_ns - task.created_ns)
    for state in task.states:
        duration_ns = state.end_ns - state.start_ns
        if state.kind == "running":
            figures.add_step(duration_ns)
        else:
            figures.add_state(state, duration_ns)


def _add_coroutine(figures: _Figures, coroutine: Coroutine) -> None:
    task = coroutine.task
    states: Sequence[State] = task.states if task is not None else ()
    first_delay_ns = dormant_ns = 0
    if task is not None and coroutine.awaiter is None and task.coroutine is coroutine:
        first_delay_ns = max(0, coroutine.started_ns - task.created_ns)
    step_start_ns = coroutine.started_ns
    running_ns, longest_step_ns = 0, figures.longest_step_ns
    # Suspensions and states are both ascending: where the last look ended, the next one begins.
    index = bisect_right(states, step_start_ns, key=_end_ns) if len(states) > 1 else 0
    for pause in coroutine.suspensions:
        start_ns, end_ns = pause.start_ns, pause.end_ns
        step_ns = start_ns - step_start_ns
        running_ns += step_ns
        if step_ns > longest_step_ns:
            longest_step_ns = step_ns
        step_start_ns = end_ns
        if pause.is_yield:
            # A value that a generator yields is no wait: what it does then is nothing, and not its time.
            dormant_ns += end_ns - start_ns
            continue
        while index < len(states):
            state = states[index]
            state_start_ns, state_end_ns = state.start_ns, state.end_ns
            if state_start_ns >= end_ns:
                break
            if state.kind != "running":
                overlap_ns = min(state_end_ns, end_ns) - max(state_start_ns, start_ns)
                if overlap_ns > 0:
                    figures.add_state(state, overlap_ns)
            if state_end_ns > end_ns:
                break  # the next suspension may lie in it, too
            index += 1
    figures.running_ns += running_ns
    figures.longest_step_ns = longest_step_ns
    figures.add_step(coroutine.end_ns - step_start_ns)
    figures.ready_ns += first_delay_ns
    figures.add_end(coroutine, first_delay_ns + coroutine.end_ns - coroutine.started_ns - dormant_ns)


def _end_ns(state: State) -> int:
    return state.end_ns


def _not_told_by_task(trace: Trace) -> list[Coroutine]:
    """Return the decorated coroutines without those that their task's row stands for."""
    told: set[Task] = set()
    left: list[Coroutine] = []
    for coroutine in trace.coroutines:
        task = coroutine.task
        if (
            task is not None
            and task not in told
            and (task.label, task.file, task.line) == (coroutine.name, coroutine.file, coroutine.line)
        ):
            told.add(task)
        else:
            left.append(coroutine)
    return left


def _blocked(calls: Iterable[Call]) -> dict[Call, Counter[str]]:
    """Return how long each call was blocked and by what, in itself and in the calls inside it."""
    blocked: dict[Call, Counter[str]] = {}
    # Inner calls begin after outer ones: in reverse, a call's nested calls have been seen before it.
    for call in sorted(calls, key=lambda call: (call.started_ns, call.id), reverse=True):
        waiting = blocked.setdefault(call, Counter())
        if call.task is None:  # in a task's step, blocking is running
            for blocking in call.blockings:
                primitive = blocking.primitive.rpartition(".")[2]
                kind = _KIND_OF_PRIMITIVE.get(primitive, blocking.primitive)
                waiting[kind] += blocking.end_ns - blocking.start_ns
        if call.parent is not None:
            blocked.setdefault(call.parent, Counter()).update(waiting)
    return blocked


def _add_calls(
    rows: dict[tuple[str, str, int], _Figures], calls: Iterable[Call], blocked: dict[Call, Counter[str]]
) -> None:
    for call in calls:
        figures = _figures(rows, call.name, call)
        total_ns = call.end_ns - call.started_ns
        figures.add_end(call, total_ns)
        figures.waiting_ns.update(blocked[call])
        # In a damaged file a call may have been blocked for longer than it lasted.
        figures.running_ns += max(0, total_ns - blocked[call].total())
        if call.task is not None:
            figures.longest_step_ns = max(figures.longest_step_ns, total_ns)


def _row(name: str, file: str, line: int, figures: _Figures) -> SummaryRow:
    return SummaryRow(
        name,
        file,
        line,
        figures.count,
        figures.total_ns,
        figures.running_ns,
        figures.ready_ns,
        dict(figures.waiting_ns.most_common()),
        figures.longest_step_ns,
        dict(figures.outcomes.most_common()),
        dict(figures.errors.most_common()),
    )


def _library_row(library: dict[tuple[str, str, int], _Figures]) -> SummaryRow:
    together = _Figures()
    for figures in library.values():
        together.count += figures.count
        together.total_ns += figures.total_ns
        together.running_ns += figures.running_ns
        together.ready_ns += figures.ready_ns
        together.waiting_ns.update(figures.waiting_ns)
        together.longest_step_ns = max(together.longest_step_ns, figures.longest_step_ns)
        together.outcomes.update(figures.outcomes)
        together.errors.update(figures.errors)
    names = len(library)
    return _row(f"library ({names} name{'' if names == 1 else 's'})", "", 0, together)
