"""The Python reference of the recorder: what an event is and how it is appended, written to be read.

It must be callable from anywhere, also from a signal handler or a weak reference's callback in the middle of another
append: it takes no lock, and every write is one atomic operation of a list or a dict.
"""

from __future__ import annotations

import itertools
import os
import platform
import sys
import threading
from types import CodeType
from typing import TYPE_CHECKING

from asynctrace import clock
from asynctrace.events import Event, Expression, Part, Site, ThreadInfo
from asynctrace.recorder.places import describe_code, expression_at

if TYPE_CHECKING:
    from collections.abc import Callable

# What queued a callback: (CAUSE_*, id of the task or thread or 0, site of the code that completed the future or 0,
# when the timer was due or 0).
Cause = tuple[int, int, int, int]

_FIELDS = 7

_Attributes = tuple[tuple[str, "str | int | float | bool"], ...]

# What @traced said of a function: code -> (name, attributes). By address, for code objects compare by content; the
# code is kept alive beside it, so that the address stays its own.
traced_codes: dict[int, tuple[CodeType, str | None, _Attributes]] = {}


class ThreadState:
    """What one thread is doing: its id, and the cause, task and call that now run on it."""

    __slots__ = ("call", "cause", "coroutine", "depth", "id", "task")

    def __init__(self, id: int) -> None:
        self.id = id
        self.cause: Cause | None = None  # of the run in progress; None outside of any
        self.task = 0  # the task whose step runs; 0 outside of any
        self.call = 0  # the innermost recorded call; 0 outside of any
        self.coroutine = 0  # the innermost decorated coroutine that runs, where stand-ins note them
        self.depth = 0  # how many recorded calls are open


class _Local(threading.local):
    """The state of the current thread. A thread-local, since the system's thread ids are used again."""

    def __init__(self, recorder: Recorder) -> None:
        self.state = recorder.meet_thread()


class Recorder:
    """Collects the events of one process.

    The probes read the clock themselves and append tuples (see `asynctrace.events`), for a call less an event.
    """

    def __init__(self) -> None:
        self.pid = os.getpid()
        self.start_ns = clock.now_ns()
        self.wall_ns = clock.wall_ns()
        # The fields of all events, one after another: a tuple kept for each would take half as much again, in time and
        # memory. Extending a list by a tuple is one step that no other thread, signal or collection gets into.
        self._fields: list[int] = []
        self.append: Callable[[Event], None] = self._fields.extend
        # The process is part of each id, so that the parts of several processes never mix up theirs.
        self.new_id: Callable[[], int] = itertools.count((self.pid << 32) + 1).__next__
        self.names: dict[int, str] = {}
        self.sees_coroutines = False
        self.is_open = True  # until the recording stops; what was made to record asks before it does
        self._new_site = itertools.count(1).__next__
        self.codes: dict[int, tuple[int, CodeType]] = {}  # address -> (site, the code, kept so that it stays)
        self._texts: dict[str, int] = {}
        self._stacks: dict[tuple[tuple[int, int], ...], int] = {}
        self._threads: dict[int, tuple[int, ThreadInfo]] = {}  # id -> (the system's ident, what we know)
        self._new_thread = itertools.count(1).__next__
        self.local = _Local(self)

    @property
    def events(self) -> list[Event]:
        """The events so far, in the order in which they were appended."""
        return self.events_from(0)

    def events_from(self, index: int) -> list[Event]:
        """Return the events from the `index`-th on, in the order in which they were appended."""
        fields = iter(self._fields[index * _FIELDS :])
        return list(zip(*[fields] * _FIELDS, strict=True))

    def meet_thread(self) -> ThreadState:
        """Give the current thread an id."""
        state = ThreadState(self._new_thread())
        ident = threading.get_ident()
        # threading.current_thread() would make a dummy for a thread that threading did not start, for all to see.
        thread = threading._active.get(ident)  # type: ignore[attr-defined]
        # Not `thread.name`: a subclass may have made a property of it, whose code would run in the middle of a hook.
        name = getattr(thread, "_name", None) if thread is not None else None
        info = ThreadInfo(
            name=name if isinstance(name, str) else f"thread {threading.get_native_id()}",
            native_id=threading.get_native_id(),
            is_main=thread is threading.main_thread(),
        )
        self._threads[state.id] = (ident, info)
        return state

    def site(self, code: CodeType) -> int:
        """Return the site of a code object."""
        found = self.codes.get(id(code))
        if found is None:
            found = self.codes[id(code)] = (self._new_site(), code)
        return found[0]

    def text(self, text: str) -> int:
        """Return the site of a plain text: an exception's type, a primitive, a mark."""
        found = self._texts.get(text)
        if found is None:
            found = self._texts[text] = self._new_site()
        return found

    def stack(self, places: tuple[tuple[int, int], ...]) -> int:
        """Return the key of an await stack: (site, offset) of each coroutine, outermost first."""
        found = self._stacks.get(places)
        if found is None:
            found = self._stacks[places] = self._new_site()
        return found

    def freeze(self, end_ns: int, cpu_ns: int = 0) -> Part:
        """Return what was recorded up to `end_ns`, as plain values; recording may go on meanwhile."""
        events = [event for event in self.events if event[0] <= end_ns]
        # Of one thread the times never go back, but a wake's time is read before the call that makes it happen, and
        # threads append as they come: the sort is stable, so what one thread did stays in order.
        events.sort(key=_time)
        codes = dict(self.codes)
        code_of = dict(codes.values())
        sites = {site: describe_code(code, traced_codes.get(address)) for address, (site, code) in codes.items()}
        sites.update((site, Site(name=text)) for text, site in dict(self._texts).items())
        stacks = {key: places for places, key in dict(self._stacks).items()}
        return Part(
            pid=self.pid,
            process_name=_process_name(),
            parent_pid=os.getppid(),
            python=f"{platform.python_implementation()} {platform.python_version()}",
            start_ns=self.start_ns,
            end_ns=end_ns,
            wall_ns=self.wall_ns,
            cpu_ns=cpu_ns,
            program=_program(),
            sees_coroutines=self.sees_coroutines,
            threads={id: info for id, (_, info) in dict(self._threads).items()},
            names=dict(self.names),
            sites=sites,
            expressions=_expressions(events, stacks, code_of),
            stacks=stacks,
            events=events,
        )


def _time(event: Event) -> int:
    return event[0]


def _process_name() -> str:
    # Only what the program itself has imported: a name is no reason to load multiprocessing into it.
    multiprocessing = sys.modules.get("multiprocessing.process")
    return multiprocessing.current_process().name if multiprocessing is not None else "MainProcess"


def _program() -> str:
    arguments = getattr(sys, "argv", None) or [""]
    return os.path.basename(str(arguments[0]))


def _expressions(
    events: list[Event], stacks: dict[int, tuple[tuple[int, int], ...]], code_of: dict[int, CodeType]
) -> dict[tuple[int, int], Expression]:
    from asynctrace.events import BLOCKING_STARTED, COROUTINE_STARTED, COROUTINE_SUSPENDED

    places = {place for stack in stacks.values() for place in stack}
    code_of_coroutine: dict[int, int] = {}
    for event in events:
        kind = event[2]
        if kind == COROUTINE_STARTED:
            code_of_coroutine[event[3]] = event[5]
        elif kind == COROUTINE_SUSPENDED:
            places.add((code_of_coroutine.get(event[3], 0), event[5]))
        elif kind == BLOCKING_STARTED and event[4]:
            places.add((event[4], event[6]))
    found = {}
    for site, offset in sorted(places):
        code = code_of.get(site)
        expression = expression_at(code, offset) if code is not None else None
        if expression is not None:
            found[site, offset] = expression
    return found
