"""Describe what events name: for each batch of a recorder's events, the table entries that were not given before."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from types import CodeType

from asynctrace.events import (
    AWAIT_STACK,
    BLOCKING_STARTED,
    COROUTINE_FINISHED,
    COROUTINE_STARTED,
    COROUTINE_SUSPENDED,
    OUTCOME_MASK,
    STEP_FINISHED,
    STEP_STARTED,
    TASK_COLLECTED,
    TASK_CREATED,
    Event,
    Expression,
    Site,
    ThreadInfo,
)
from asynctrace.recorder.places import expression_at
from asynctrace.recorder.tables import Places, Tables

_NAMING = frozenset({TASK_CREATED, STEP_STARTED, STEP_FINISHED, TASK_COLLECTED})  # a task's name is read where it steps
_MOST_NAMELESS = 1_000


@dataclass(slots=True)
class Entries:
    """Entries of the tables of a `Part`, for one batch of events or for all."""

    threads: dict[int, ThreadInfo] = field(default_factory=dict)
    names: dict[int, str] = field(default_factory=dict)
    sites: dict[int, Site] = field(default_factory=dict)
    expressions: dict[tuple[int, int], Expression] = field(default_factory=dict)
    stacks: dict[int, Places] = field(default_factory=dict)


class Describer:
    """Goes along with the events, in order, and gives each entry once. A new one gives all of them anew."""

    def __init__(self, tables: Tables) -> None:
        self._tables = tables
        self._given: set[int] = {0}  # sites and stacks
        self._threads: set[int] = set()
        self._places: set[tuple[int, int]] = set()
        self._names: dict[int, str] = {}  # of tasks that have not ended
        # Tasks that ended without a name: a task factory's caller names an eager one after its end.
        self._nameless: dict[int, None] = {}
        self._code_of_coroutine: dict[int, int] = {}

    def describe(self, events: Iterable[Event]) -> Entries:
        """Return the entries that these events need and that were not given before."""
        entries = Entries()
        names, code_of_coroutine, given = self._tables.names, self._code_of_coroutine, self._given
        places: set[tuple[int, int]] = set()
        numbers: set[int] = set()
        for _, _, kind, subject, other, site, flags in events:
            if kind == COROUTINE_STARTED:
                code_of_coroutine[subject] = site
            elif kind == COROUTINE_SUSPENDED:
                places.add((code_of_coroutine.get(subject, 0), site))
                continue  # its site is an offset
            elif kind == COROUTINE_FINISHED:
                code_of_coroutine.pop(subject, None)
            elif kind == BLOCKING_STARTED:
                if other:
                    places.add((other, flags))
                    numbers.add(other)
            elif kind in _NAMING:
                name = names.get(subject)
                if name is not None and self._names.get(subject) != name:
                    self._names[subject] = entries.names[subject] = name
                has_ended = kind == TASK_COLLECTED or (kind == STEP_FINISHED and flags & OUTCOME_MASK)
                if has_ended and self._names.pop(subject, None) is None and len(self._nameless) < _MOST_NAMELESS:
                    self._nameless[subject] = None
            elif kind == AWAIT_STACK and site not in given:
                stack = self._tables.meaning(site)
                if isinstance(stack, tuple):
                    given.add(site)
                    entries.stacks[site] = stack
                    places.update(stack)
                    numbers.update(number for number, _ in stack)
                continue
            numbers.add(site)
        self._add_sites(numbers, entries)
        self._add_expressions(places, entries)
        entries.threads = {id: info for id, info in self._tables.threads.items() if id not in self._threads}
        self._threads.update(entries.threads)
        self._add_late_names(entries)
        return entries

    def _add_sites(self, numbers: set[int], entries: Entries) -> None:
        for number in sorted(numbers - self._given):
            site = self._tables.described(number)
            if site is not None:
                self._given.add(number)
                entries.sites[number] = site

    def _add_expressions(self, places: set[tuple[int, int]], entries: Entries) -> None:
        for place in sorted(places - self._places):
            self._places.add(place)
            code = self._tables.meaning(place[0])
            expression = expression_at(code, place[1]) if isinstance(code, CodeType) else None
            if expression is not None:
                entries.expressions[place] = expression

    def _add_late_names(self, entries: Entries) -> None:
        for task in list(self._nameless):
            name = self._tables.names.get(task)
            if name is not None:
                entries.names[task] = name
                del self._nameless[task]
