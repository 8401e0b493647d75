"""Where the time of each coroutine went: running, ready, and waiting for what."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from asynctrace.analysis.figures import Figures, add_call, add_coroutine, add_task, blocked_times
from asynctrace.analysis.overview import Overview, overview
from asynctrace.model.trace import Call, Coroutine, Task, Trace


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
    rows: dict[tuple[str, str, int], Figures] = {}
    library: dict[tuple[str, str, int], Figures] = {}
    coroutines: Iterable[Coroutine] = trace.coroutines
    if not trace.sees_coroutines:
        for task in trace.tasks:
            if not task.is_internal:
                add_task(_figures(rows if task.is_user else library, task.label, task), task)
        coroutines = _not_told_by_task(trace)
    for coroutine in coroutines:
        if coroutine.task is not None and coroutine.task.is_internal:
            continue
        if coroutine.is_user or coroutine.is_traced:
            add_coroutine(_figures(rows, coroutine.name, coroutine), coroutine)
        elif trace.sees_coroutines and coroutine.awaiter is None:
            # What a library's coroutine did inside another one is part of that one's figures.
            add_coroutine(_figures(library, coroutine.name, coroutine), coroutine)
    shown_calls = [call for call in trace.calls if call.kind == "traced" or (not rows and call.is_user)]
    if shown_calls:
        blocked = blocked_times(trace.calls)
        for call in shown_calls:
            add_call(_figures(rows, call.name, call), call, blocked)
    return Summary(
        overview(trace),
        tuple(sorted((_row(*key, figures) for key, figures in rows.items()), key=lambda row: -row.total_ns)),
        _library_row(library) if library else None,
    )


def _figures(rows: dict[tuple[str, str, int], Figures], name: str, run: Task | Coroutine | Call) -> Figures:
    key = (name, run.file, run.line)
    if key not in rows:
        rows[key] = Figures()
    return rows[key]


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


def _row(name: str, file: str, line: int, figures: Figures) -> SummaryRow:
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


def _library_row(library: dict[tuple[str, str, int], Figures]) -> SummaryRow:
    together = Figures()
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
