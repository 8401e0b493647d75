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
import time
from array import array
from itertools import chain
from typing import TYPE_CHECKING, Any, Protocol

from asynctrace import clock
from asynctrace.events import Event, Events, Part, ThreadInfo
from asynctrace.recorder.chunks import History, events_of, in_order
from asynctrace.recorder.describing import Describer, Entries
from asynctrace.recorder.stores import FlatStore, Store
from asynctrace.recorder.tables import Tables, traced_codes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from types import CodeType

__all__ = ["DEFAULT_LIMIT_BYTES", "ROOT", "Cause", "Recorder", "ThreadState", "TracedHooks", "traced_codes"]

DEFAULT_LIMIT_BYTES = 256 << 20

# What queued a callback: (CAUSE_*, id of the task or thread or 0, site of the code that completed the future or 0,
# when the timer was due or 0).
Cause = tuple[int, int, int, int]


class ThreadState:
    """What one thread is doing: its id, and the cause, task and call that now run on it."""

    __slots__ = ("__weakref__", "call", "cause", "coroutine", "depth", "id", "task")

    def __init__(self, id: int = 0) -> None:
        self.id = id
        self.cause: Cause | None = None  # of the run in progress; None outside of any
        self.task = 0  # the task whose step runs; 0 outside of any
        self.call = 0  # the innermost recorded call; 0 outside of any
        self.coroutine = 0  # the innermost decorated coroutine that runs, where stand-ins note them
        self.depth = 0  # how many recorded calls are open


class Sink(Protocol):
    """Takes settled events as they come."""

    def take(self, at_once: int) -> bool:
        """Take at most so many of the events that are there; return whether there may be more."""
        ...


ROOT = -1  # the awaiter of a coroutine of which it is known that it is its task's root


class TracedHooks(Protocol):
    """Is told, on their own threads, of the coroutines and calls of decorated functions, and of tasks, as they go.

    The dicts say of what, by id: what is not in them is not told. A hook sees to its own failures.
    """

    open: dict[int, Any]  # `finished`
    driven: dict[int, Any]  # coroutines that yield to other code than the loop: `suspended` and `resumed`
    steps: dict[int, Any]  # tasks: `step_started` and `step_ended`
    wants_tasks: bool  # also undecorated ones: `task_started`

    def started(self, id: int, code: CodeType, awaiter: int, is_generator: bool) -> None:
        """A coroutine, or a call, starts; `awaiter` is the coroutine that awaits it, or ROOT; 0: that is not known."""

    def task_started(self, id: int, task: Any) -> None:
        """The first step of a task begins."""

    def suspended(self, id: int) -> None:
        """A coroutine has its driver go on."""

    def resumed(self, id: int) -> None:
        """It goes on itself."""

    def finished(self, id: int, outcome: int, error: BaseException | None) -> None:
        """A coroutine, a call or a task ends; `error` is None also where it is not known."""

    def step_started(self, task: int) -> None:
        """A further step of a task begins."""

    def step_ended(self, task: int) -> None:
        """A step of a task has ended, in which the task has not."""


class _FirstState:
    """Makes a thread's state when it is first asked for; what is then kept on the thread hides this.

    Not in `_Local.__init__`: a collection or a signal in the middle of it may ask for the state, too.
    """

    def __get__(self, local: _Local, _: type) -> ThreadState:
        made = local.recorder.meet_thread()
        return local.__dict__.setdefault("state", made)  # type: ignore[no-any-return]


class _Local(threading.local):
    """The state of the current thread. A thread-local, since the system's thread ids are used again."""

    __slots__ = ("recorder",)  # slots are shared by all threads

    state = _FirstState()

    def __init__(self, recorder: Recorder) -> None:
        self.recorder = recorder


class Recorder:
    """Collects the events of one process.

    The probes read the clock themselves and append tuples (see `asynctrace.events`), for a call less an event.

    Args:
        limit_bytes: What the events may take in memory; the oldest go when they take more.
    """

    def __init__(self, limit_bytes: int = DEFAULT_LIMIT_BYTES) -> None:
        self.pid = os.getpid()
        self._limit_bytes = limit_bytes
        self.start_ns = clock.now_ns()
        self.wall_ns = clock.wall_ns()
        self._cpu_start_ns = time.process_time_ns()
        self._cpu_end_ns = 0
        self.sees_coroutines = False
        self.is_open = True  # until the recording stops; what was made to record asks before it does
        self.tables = Tables()
        self.names = self.tables.names
        self.codes = self.tables.codes
        self.site, self.text, self.stack = self.tables.site, self.tables.text, self.tables.stack
        self.local: Any = _Local(self)
        self.append: Callable[[Event], None]
        self.new_id: Callable[[], int]
        self.history = History(self._make_store(), limit_bytes, self._count_entries)
        # When whoever appends is to look after the keeper: it is late, or away for a fork.
        self.attend_ns = 1 << 62
        self.attend: Callable[[], None] = _do_nothing
        self.sinks: list[Sink] = []  # that the keeper feeds
        self._swept = 0  # entries that the last sweep left
        self._swept_end = 0  # how many events there had been
        self.detach: Callable[[], None] = _do_nothing  # have the keeper leave
        self.traced_hooks: TracedHooks | None = None

    def _make_store(self) -> Store:
        """Set what hooks append with, and return where that goes."""
        # The fields of all events, one after another: a tuple kept for each would take half as much again, in time and
        # memory. Extending a list by a tuple is one step that no other thread, signal or collection gets into.
        fields: list[int] = []
        self.append = fields.extend
        # The process is part of each id, so that the parts of several processes never mix up theirs.
        self.new_id = itertools.count((self.pid << 32) + 1).__next__
        return FlatStore(fields)

    def new_thread_state(self) -> ThreadState:
        """Return the state of a thread that is none of the program's, and has the id 0."""
        return ThreadState()

    @property
    def events(self) -> list[Event]:
        """The events that are kept, in the order in which they were appended as far as that is known."""
        history = self.history
        with history.lock:
            settled = (fields for _, fields in history.pieces(0))
            return events_of([*chain.from_iterable(settled), *history.open_fields()])

    def meet_thread(self) -> ThreadState:
        """Give the current thread an id."""
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
        state = self.new_thread_state()
        state.id = self.tables.add_thread(state, info)
        return state

    def settle(self, until_ns: int | None = None) -> None:
        """Move what was appended up to a time, or all, to the chunks of the history."""
        if until_ns is None:
            until_ns = clock.now_ns()
        for _ in self.settling(until_ns):
            pass

    def settling(self, until_ns: int) -> Iterator[None]:
        """Do the same, a piece for each step."""
        history = self.history
        is_taken = False
        while True:
            with history.lock:
                if history.is_busy:  # a signal's handler, in the middle of this on the same thread
                    return
                history.is_busy = True
                try:
                    if not is_taken:
                        is_taken = True
                        history.take()
                    if not history.settle(until_ns, self.cpu_ns()):
                        return
                finally:
                    history.is_busy = False
            yield

    def take(self) -> None:
        """Take what was appended off the list that hooks extend, if it is much."""
        history = self.history
        with history.lock:
            if history.has_to_be_taken and history.is_worth_taking() and not history.is_busy:
                history.take()

    def drop_oldest(self) -> bool:
        """Drop the oldest chunk of events if there are too many; return whether there may be more to drop."""
        history = self.history
        with history.lock:
            if history.is_busy or not history.is_over_limit():
                return False
            history.is_busy = True
            try:
                for task in history.drop_oldest():
                    self.names.pop(task, None)
                # Once all that was there at the last sweep is gone, or the tables have doubled.
                if history.first >= self._swept_end or len(self.tables) > 2 * self._swept + 1_000:
                    self._forget_places()
                    self.tables.sweep(*history.used_numbers())
                    self._swept, self._swept_end = len(self.tables), history.end
            finally:
                history.is_busy = False
        return True

    def _forget_places(self) -> None:
        """Forget what was looked up in the tables, for some of it goes."""

    def _count_entries(self) -> int:
        return len(self.tables) + len(self.names)

    def begin(self) -> None:
        """Have the clocks of the recording start now."""
        self.start_ns = self.history.start_ns = clock.now_ns()
        self.wall_ns = clock.wall_ns()
        self._cpu_start_ns = time.process_time_ns()

    def end(self) -> None:
        """Tell what was made to record that the recording has ended."""
        self.is_open = False
        self._cpu_end_ns = time.process_time_ns()

    def cpu_ns(self) -> int:
        """Return the CPU time of this process from the start to now, or to the end."""
        return (self._cpu_end_ns or time.process_time_ns()) - self._cpu_start_ns

    def freeze(
        self, end_ns: int, cpu_ns: int = 0, *, begin_ns: int = 0, first: int = 0, cpu_before_ns: int = 0
    ) -> Part:
        """Return what was recorded up to `end_ns`, as plain values; recording may go on meanwhile.

        Args:
            end_ns: Where the part ends.
            cpu_ns: The CPU time of the process from the recorder's start to then.
            begin_ns: Where it begins: what was before is only told by its base, and not called lost. 0: at the start.
            first: The number of the first event that is wanted: what was dropped before it is not called lost.
            cpu_before_ns: The CPU time of the process from the recorder's start to where the wanted part begins.
        """
        history = self.history
        if begin_ns:
            self.settle()
        with history.lock:
            base: list[Event] = []
            number, start_ns = history.first, self.start_ns
            if begin_ns > start_ns:
                number = max(number, history.number_at(begin_ns))
            if number:
                lost = max(0, number - first) if number == history.first else 0
                follower = history.follow()
                follower.advance(number)
                start_ns, base = follower.base(begin_ns, lost)
                cpu_before_ns = max(cpu_before_ns, follower.cpu_ns)
            fields = array("q")
            for _, piece in history.pieces(number):
                fields += piece
            fields += history.open_fields()
        fields = in_order(fields, start_ns, end_ns)
        fields[:0] = Events.of(base).fields
        events = Events(fields)
        return self.part(events, Describer(self.tables).describe(events), start_ns, end_ns, cpu_ns - cpu_before_ns)

    def part(self, events: Sequence[Event], entries: Entries, start_ns: int, end_ns: int, cpu_ns: int = 0) -> Part:
        """Return a Part of this process."""
        return Part(
            pid=self.pid,
            process_name=_process_name(),
            parent_pid=os.getppid(),
            python=f"{platform.python_implementation()} {platform.python_version()}",
            start_ns=start_ns,
            end_ns=end_ns,
            wall_ns=self.wall_ns + start_ns - self.start_ns,
            cpu_ns=max(0, cpu_ns),
            program=_program(),
            sees_coroutines=self.sees_coroutines,
            threads=entries.threads,
            names=entries.names,
            sites=entries.sites,
            expressions=entries.expressions,
            stacks=entries.stacks,
            events=events,
        )


def _do_nothing() -> None:
    pass


def _process_name() -> str:
    # Only what the program itself has imported: a name is no reason to load multiprocessing into it.
    multiprocessing = sys.modules.get("multiprocessing.process")
    return multiprocessing.current_process().name if multiprocessing is not None else "MainProcess"


def _program() -> str:
    arguments = getattr(sys, "argv", None) or [""]
    return os.path.basename(str(arguments[0]))
