"""Describe what events name: for each batch of a recorder's events, the table entries that were not given before."""

from __future__ import annotations

from array import array
from collections.abc import Iterable
from dataclasses import dataclass, field
from types import CodeType
from typing import Protocol, TypeAlias

from asynctrace.cores import native_module
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
    Events,
    Expression,
    Site,
    ThreadInfo,
)
from asynctrace.recorder.chunks import each_event
from asynctrace.recorder.places import expression_at
from asynctrace.recorder.tables import Places, Tables

_NAMING = frozenset({TASK_CREATED, STEP_STARTED, STEP_FINISHED, TASK_COLLECTED})  # a task's name is read where it steps
_MOST_NAMELESS = 1_000

Place: TypeAlias = tuple[int, int]  # the site of the code, and the offset in it


@dataclass(slots=True)
class Entries:
    """Entries of the tables of a `Part`, for one batch of events or for all."""

    threads: dict[int, ThreadInfo] = field(default_factory=dict)
    names: dict[int, str] = field(default_factory=dict)
    sites: dict[int, Site] = field(default_factory=dict)
    expressions: dict[tuple[int, int], Expression] = field(default_factory=dict)
    stacks: dict[int, Places] = field(default_factory=dict)


Mentions: TypeAlias = tuple[Iterable[int], Iterable[Place], Iterable[int], dict[int, bool]]
"""What events mention: sites, places, the keys of stacks in their order, and of each task with a step whether it ended.

All that was not mentioned before is there; what was may be there again.
"""


class Scanner(Protocol):
    """Goes along with the events, in order, and tells what they mention."""

    def scan(self, events: Iterable[Event] | array[int], /) -> Mentions:
        """Return what these events mention."""
        ...


class ReferenceScanner:
    """The scanner in Python."""

    def __init__(self) -> None:
        self._code_of_coroutine: dict[int, int] = {}

    def scan(self, events: Iterable[Event] | array[int], /) -> Mentions:
        """Return what these events mention."""
        code_of_coroutine = self._code_of_coroutine
        places: set[Place] = set()
        numbers: set[int] = set()
        stacks: dict[int, None] = {}
        tasks: dict[int, bool] = {}
        for _, _, kind, subject, other, site, flags in each_event(events) if isinstance(events, array) else events:
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
                has_ended = kind == TASK_COLLECTED or (kind == STEP_FINISHED and flags & OUTCOME_MASK != 0)
                tasks[subject] = has_ended or tasks.get(subject, False)
            elif kind == AWAIT_STACK:
                stacks[site] = None
                continue
            numbers.add(site)
        return numbers, places, stacks, tasks


class Describer:
    """Goes along with the events, in order, and gives each entry once. A new one gives all of them anew."""

    def __init__(self, tables: Tables) -> None:
        self._tables = tables
        self._given: set[int] = {0}  # sites and stacks
        self._threads: set[int] = set()
        self._places: set[Place] = set()
        self._names: dict[int, str] = {}  # of tasks that have not ended
        # Tasks that ended without a name: a task factory's caller names an eager one after its end.
        self._nameless: dict[int, None] = {}
        native = native_module("asynctrace.recorder._native")
        self._scanner: Scanner = ReferenceScanner() if native is None else native.Scanner()

    def describe(self, events: Iterable[Event] | array[int]) -> Entries:
        """Return the entries that these events, flat or not, need and that were not given before."""
        entries = Entries()
        mentions = self._scanner.scan(events.fields if isinstance(events, Events) else events)
        numbers, places, stacks, tasks = set(mentions[0]), set(mentions[1]), mentions[2], mentions[3]
        self._add_names(tasks, entries)
        for key in stacks:
            stack = self._tables.meaning(key) if key not in self._given else None
            if isinstance(stack, tuple):
                self._given.add(key)
                entries.stacks[key] = stack
                places.update(stack)
                numbers.update(number for number, _ in stack)
        self._add_sites(numbers, entries)
        self._add_expressions(places, entries)
        entries.threads = {id: info for id, info in self._tables.threads.items() if id not in self._threads}
        self._threads.update(entries.threads)
        self._add_late_names(entries)
        return entries

    def _add_names(self, tasks: dict[int, bool], entries: Entries) -> None:
        name_of, given = self._tables.name, self._names
        for task, has_ended in tasks.items():
            name = name_of(task)
            if name is not None and given.get(task) != name:
                given[task] = entries.names[task] = name
            if has_ended and given.pop(task, None) is None and len(self._nameless) < _MOST_NAMELESS:
                self._nameless[task] = None

    def _add_sites(self, numbers: set[int], entries: Entries) -> None:
        for number in sorted(numbers - self._given):
            site = self._tables.described(number)
            if site is not None:
                self._given.add(number)
                entries.sites[number] = site

    def _add_expressions(self, places: set[Place], entries: Entries) -> None:
        for place in sorted(places - self._places):
            self._places.add(place)
            code = self._tables.meaning(place[0])
            expression = expression_at(code, place[1]) if isinstance(code, CodeType) else None
            if expression is not None:
                entries.expressions[place] = expression

    def _add_late_names(self, entries: Entries) -> None:
        for task in list(self._nameless):
            name = self._tables.name(task)
            if name is not None:
                entries.names[task] = name
                del self._nameless[task]
