"""Turn the events of a part's coroutines into lifetimes, suspensions and await chains."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator

from asynctrace.events import (
    ASYNC_GENERATOR,
    CLOSED,
    OUTCOME_MASK,
    OUTCOME_NAMES,
    RAISED,
    SEEN_LATE,
    THROWN,
    YIELDED,
    Part,
    Site,
)
from asynctrace.model.trace import Coroutine, Suspension, Task

_NO_SITE = Site(name="?")

Running = dict[int, None]  # the coroutines that run in a step, in the order in which they began or went on


class _Life:
    """One coroutine while its events are read."""

    __slots__ = (
        "awaits",
        "coroutine",
        "is_passed",
        "offset",
        "parent",
        "since",
        "site",
        "suspensions",
        "task",
        "yields",
    )

    def __init__(self, coroutine: Coroutine, site: int, task: int) -> None:
        self.coroutine = coroutine
        self.site = site
        self.task = task
        self.parent: _Life | None = None
        self.awaits: _Life | None = None  # the coroutine that this one now awaits
        self.suspensions: list[Suspension] = []
        self.since: int | None = None  # when the present suspension began
        self.offset = 0
        self.yields = False
        self.is_passed = False  # one that it awaits runs, and this one was resumed without an event of its own


class CoroutineReader:
    """Reads the events of the coroutines of one part, in order.

    An exception that is thrown into a task resumes the innermost coroutine first. When that one catches it and awaits
    again, those that await it have no event in the whole step: so the await chain follows who awaits whom, never the
    order of events, and the awaiters of a coroutine that is thrown into go on, and stop, with it.
    """

    def __init__(self, part: Part) -> None:
        self._sites = part.sites
        self._expressions = part.expressions
        self._lives: dict[int, _Life] = {}
        self._roots: dict[int, _Life] = {}  # task -> its outermost coroutine that is open
        self._passed = 0  # how many have `is_passed`: nearly always none, and then nobody looks for them
        self.coroutines: list[Coroutine] = []
        self.on_end: Callable[[Coroutine], None] | None = None  # called when the end of one was read
        self.first_roots: dict[int, Coroutine] = {}

    def started(
        self,
        time_ns: int,
        id: int,
        awaiter: int,
        site: int,
        flags: int,
        task: int,
        of_task: Task | None,
        running: Running,
    ) -> Site | None:
        """Note a coroutine; return its code, or None for one that began before: the event is a damaged file's."""
        if id in self._lives:
            return None
        described = self._sites.get(site, _NO_SITE)
        parent = self._lives.get(awaiter)
        coroutine = Coroutine(  # without names, which cost as much as all the rest
            id,
            described.name,
            described.file,
            described.line,
            described.is_user,
            described.is_traced,
            flags & ASYNC_GENERATOR != 0,
            flags & SEEN_LATE != 0,
            dict(described.attributes),
            of_task,
            parent.coroutine if parent is not None else None,
            time_ns,
            None,
            "unfinished",
        )
        life = self._lives[id] = _Life(coroutine, site, task)
        life.parent = parent
        if parent is not None:
            parent.awaits = life
        elif task and self._needs_root(task):
            self._roots[task] = life
            self.first_roots.setdefault(task, coroutine)
        self.coroutines.append(coroutine)
        running[id] = None
        return described

    def suspended(self, time_ns: int, id: int, offset: int, flags: int, running: Running) -> None:
        life = self._lives.get(id)
        if life is None:
            return
        life.since, life.offset, life.yields = time_ns, offset, flags & YIELDED != 0
        if life.is_passed:
            self._set_passed(life, False)
        if self._passed and not life.yields:
            inner, awaiter = life, life.parent
            while awaiter is not None and awaiter.awaits is inner:
                if awaiter.is_passed:
                    self._set_passed(awaiter, False)
                    awaiter.since = time_ns
                inner, awaiter = awaiter, awaiter.parent
        if life.yields and life.coroutine.is_generator and life.parent is not None and life.parent.awaits is life:
            life.parent.awaits = None  # a value for its consumer, who goes on
        running.pop(id, None)  # the last one, unless an exception is thrown or it is driven by hand

    def resumed(self, time_ns: int, id: int, flags: int, task: int, running: Running) -> Site | None:
        """Read that a coroutine goes on; return its code where it is now the root of another task."""
        life = self._lives.get(id)
        if life is None:
            return None
        described = None
        if life.yields and life.coroutine.is_generator:
            # Whoever asks for the next value awaits it now: perhaps another coroutine, of another task.
            life.task = task
            parent = self._lives.get(next(reversed(running), 0))
            if parent is not None and _awaits(life, parent):
                parent = None  # only a damaged file has who awaits whom go round in a ring
            life.parent = parent
            if parent is not None:
                parent.awaits = life
            elif task and self._needs_root(task):
                self._roots[task] = life
                described = self._sites.get(life.site)
        self._close_suspension(life, time_ns)
        if life.is_passed:
            self._set_passed(life, False)
        if flags & THROWN:
            awaiter = life.parent
            while awaiter is not None and awaiter.since is not None and not awaiter.yields:
                self._close_suspension(awaiter, time_ns)
                self._set_passed(awaiter, True)
                awaiter = awaiter.parent
        running.pop(id, None)
        running[id] = None
        return described

    def _needs_root(self, task: int) -> bool:
        """Tell whether a task has no root, or one that has finished."""
        return task not in self._roots or self._roots[task].coroutine.finished_ns is not None

    def finished(self, time_ns: int, id: int, site: int, flags: int, running: Running) -> None:
        life = self._lives.get(id)
        outcome = flags & OUTCOME_MASK
        if life is None or outcome not in OUTCOME_NAMES:
            return
        self._end(life, time_ns, outcome, site)
        running.pop(id, None)

    def task_ended(self, time_ns: int, task: int) -> None:
        """End what a task that has ended, or is gone, leaves open: a coroutine is closed without an event at times."""
        life = self._roots.pop(task, None)
        if life is not None and life.coroutine.finished_ns is None and not life.coroutine.is_generator:
            self._end(life, time_ns, CLOSED)

    def _end(self, life: _Life, time_ns: int, outcome: int, site: int = 0) -> None:
        inner = life.awaits
        if inner is not None:
            left: list[_Life] = []
            while inner is not None and inner.coroutine.finished_ns is None and not inner.coroutine.is_generator:
                left.append(inner)
                inner = inner.awaits
            for inner in reversed(left):
                # It stood at its first await with nothing to clean up: then CPython closes it without an event.
                self._end_one(inner, time_ns, CLOSED)
        self._end_one(life, time_ns, outcome, site)

    def _end_one(self, life: _Life, time_ns: int, outcome: int, site: int = 0) -> None:
        if life.is_passed:
            self._set_passed(life, False)
        if life.since is not None:
            self._close_suspension(life, time_ns)
        coroutine = life.coroutine
        coroutine.finished_ns = coroutine.end_ns = time_ns
        coroutine.outcome = OUTCOME_NAMES[outcome]  # type: ignore[assignment]  # the table holds the literals
        if outcome == RAISED and site in self._sites:
            coroutine.error = self._sites[site].name
        coroutine.suspensions = tuple(life.suspensions)
        if life.parent is not None and life.parent.awaits is life:
            life.parent.awaits = None
        self._lives.pop(coroutine.id, None)
        if self.on_end is not None:
            self.on_end(coroutine)

    def _set_passed(self, life: _Life, is_passed: bool) -> None:
        self._passed += is_passed - life.is_passed
        life.is_passed = is_passed

    def _close_suspension(self, life: _Life, end_ns: int) -> None:
        since, life.since = life.since, None
        if since is None or (since == end_ns and life.coroutine.is_clipped and since == life.coroutine.started_ns):
            return  # in the second case it was over where what is known of the coroutine begins
        expression = self._expressions.get((life.site, life.offset))
        if expression is not None:
            suspension = Suspension(since, end_ns, expression.text, expression.line, life.yields)
        else:
            suspension = Suspension(since, end_ns, None, None, life.yields)
        life.suspensions.append(suspension)

    def chain(self, task: int) -> tuple[tuple[int, int], ...]:
        """Return where a task stands: (site, offset) of each coroutine, outermost first."""
        places = []
        life = self._roots.get(task)
        if life is not None and life.coroutine.finished_ns is not None:
            life = None
        while life is not None:
            places.append((life.site, life.offset))
            life = life.awaits
        return tuple(places)

    def chain_coroutines(self, task: int) -> Iterator[Coroutine]:
        """Yield the coroutines that a task stands in, outermost first."""
        life = self._roots.get(task)
        if life is not None and life.coroutine.finished_ns is not None:
            life = None
        while life is not None:
            yield life.coroutine
            life = life.awaits

    def is_open(self, id: int) -> bool:
        """Tell whether a coroutine has begun and not ended."""
        return id in self._lives

    def open(self) -> list[Coroutine]:
        """Return those that have begun and not ended."""
        return [life.coroutine for life in self._lives.values()]

    def take_suspensions(self, count: int, tasks: Collection[int]) -> list[tuple[Coroutine, list[Suspension]]]:
        """Return, and forget, what is over of the suspensions of some coroutines.

        Args:
            count: Of those that have more than so many.
            tasks: And of all that began in these, also where there are none.
        """
        taken = []
        for life in self._lives.values():
            if len(life.suspensions) > count or life.task in tasks:
                taken.append((life.coroutine, life.suspensions))
                life.suspensions = []
        return taken

    def suspended_since(self, tasks: Collection[int]) -> dict[int, int]:
        """Return, of some tasks, since when the first of those that began in it is suspended, where one is."""
        since: dict[int, int] = {}
        for life in self._lives.values():
            if life.since is not None and life.task in tasks:
                since[life.task] = min(life.since, since.get(life.task, life.since))
        return since

    def forget(self, tasks: Iterable[int]) -> None:
        """Forget the coroutines that have ended, and what was known of some tasks."""
        for task in tasks:
            self.first_roots.pop(task, None)
            self._roots.pop(task, None)
        self.coroutines.clear()

    def finish(self, end_ns: int) -> None:
        """Close what is open at the end of the recording: unfinished."""
        for life in self._lives.values():
            self._close_suspension(life, end_ns)
            life.coroutine.suspensions = tuple(life.suspensions)
            life.coroutine.end_ns = end_ns


def _awaits(life: _Life, other: _Life) -> bool:
    """Return whether `life` is `other`, or awaits it directly or through others."""
    inner: _Life | None = life
    while inner is not None and inner is not other:
        inner = inner.awaits
    return inner is other
