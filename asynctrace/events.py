"""The vocabulary of a recording: event kinds, their fields, and one process's part of a recording.

An event is a tuple of seven integers: (time_ns, thread, kind, subject, other, site, flags). Ids (`subject`, `other`)
are unique within a recording, across its processes, and never 0; `site` is a key of `Part.sites`; 0 means "none".
Events of one thread are in order; between threads order is by time. See `Part` for the tables beside the events.

Kind by kind, what the last four fields hold ("-" is always 0):

=======================  =========  =====================  =========================  ===============================
kind                     subject    other                  site                       flags
=======================  =========  =====================  =========================  ===============================
TASK_CREATED             task       creating task          code of its root           SEEN_LATE
TASK_READY               task       causing task, thread   code that completed the    a CAUSE_*; SEEN_LATE
                                                           future (outside a run)
STEP_STARTED             task       loop                   -                          THROWN, EAGER, SEEN_LATE
STEP_FINISHED            task       awaited task or job    type of the awaited        an outcome; YIELDED
                                                           object; exception's type
AWAIT_STACK              task       -                      key of `Part.stacks`       -
TASK_COLLECTED           task       -                      -                          -
COROUTINE_STARTED        coroutine  awaiting coroutine     code                       SEEN_LATE, NOT_STARTED,
                                                                                      ASYNC_GENERATOR
COROUTINE_SUSPENDED      coroutine  awaited task or job    offset of the await        YIELDED (a generator's value)
COROUTINE_RESUMED        coroutine  -                      -                          THROWN
COROUTINE_FINISHED       coroutine  -                      exception's type           an outcome
CALL_STARTED             call       job                    code                       a CALL_*; SEEN_LATE
CALL_FINISHED            call       CPU ns of the thread   exception's type           an outcome
JOB_SUBMITTED            job        submitting task        code                       a JOB_*
JOB_FORGOTTEN          job        -                      -                          -  (nothing holds it any more)
BLOCKING_STARTED         task/call  code of the caller     primitive                  offset of the call
BLOCKING_FINISHED        task/call  -                      -                          -
LOOP_SEEN                loop       -                      type of the loop           -
LOOP_GONE              loop       -                      -                          -
LOOP_IDLE_STARTED        loop       -                      -                          -
LOOP_IDLE_FINISHED       loop       -                      -                          -
CALLBACK_RAN             loop       duration ns            code                       -  (its time is the end)
MARK                     -          -                      text                       -
LOST                     -          how many               -                          -
PROCESS_STARTED          -          pid of the child       -                          -  (its time: before the start)
FUNCTION_DROPPED         -          -                      code                       -
=======================  =========  =====================  =========================  ===============================

AWAIT_STACK comes just before the STEP_FINISHED of a step that suspends, where no coroutine probe runs (CPython 3.11).
The clause "awaited task or job" holds an id only where the object is one of the recording's; else it is 0.

Where the oldest events of a part were dropped, it begins with a *base*: events at `Part.start_ns`, marked SEEN_LATE,
that lead to the state of that moment (who is alive, who waits, what runs). A LOST with their number is the first.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain, islice
from operator import eq, le
from typing import overload

Event = tuple[int, int, int, int, int, int, int]
FIELDS = 7  # of an event

TASK_CREATED = 1
TASK_READY = 2
STEP_STARTED = 3
STEP_FINISHED = 4
AWAIT_STACK = 5
TASK_COLLECTED = 6
COROUTINE_STARTED = 7
COROUTINE_SUSPENDED = 8
COROUTINE_RESUMED = 9
COROUTINE_FINISHED = 10
CALL_STARTED = 11
CALL_FINISHED = 12
JOB_SUBMITTED = 13
JOB_FORGOTTEN = 14
BLOCKING_STARTED = 15
BLOCKING_FINISHED = 16
LOOP_SEEN = 17
LOOP_IDLE_STARTED = 18
LOOP_IDLE_FINISHED = 19
CALLBACK_RAN = 20
MARK = 21
LOST = 22
PROCESS_STARTED = 23
FUNCTION_DROPPED = 24
LOOP_GONE = 25

KIND_NAMES = {
    value: name.lower() for name, value in list(globals().items()) if name.isupper() and isinstance(value, int)
}

# Outcomes, in the low three bits of the flags. SUSPENDED: it goes on later.
SUSPENDED = 0
RETURNED = 1
RAISED = 2
CANCELLED = 3
CLOSED = 4
OUTCOME_MASK = 7
OUTCOME_NAMES = {RETURNED: "returned", RAISED: "raised", CANCELLED: "cancelled", CLOSED: "closed"}

# Further bits of the flags.
THROWN = 8  # the step or the resumption began with a CancelledError thrown in
EAGER = 16  # the step runs inside its creator's step
SEEN_LATE = 32  # it was under way when the recording came: its real beginning is unknown
YIELDED = 64  # a bare yield (`sleep(0)`), or a value that an async generator yields: no wait
NOT_STARTED = 128  # a coroutine that an exception ended before its first line
ASYNC_GENERATOR = 256

# TASK_READY: what woke the task.
CAUSE_UNKNOWN = 0
CAUSE_TASK = 1
CAUSE_TIMER = 2
CAUSE_IO = 3
CAUSE_THREAD = 4
CAUSE_NAMES = {
    CAUSE_UNKNOWN: "unknown",
    CAUSE_TASK: "task",
    CAUSE_TIMER: "timer",
    CAUSE_IO: "io",
    CAUSE_THREAD: "thread",
}

# CALL_STARTED: why it is recorded.
CALL_TRACED = 0  # decorated
CALL_FUNCTION = 1  # a plain script's own function
CALL_THREAD = 2  # the target of a thread
CALL_JOB = 3  # the function of an executor's job
CALL_PROCESS = 4  # the target of a process

# JOB_SUBMITTED: where the job runs.
JOB_OTHER = 0
JOB_THREAD = 1
JOB_PROCESS = 2


@dataclass(frozen=True, slots=True)
class Site:
    """A place in the code, or a plain text (an exception's type, a mark), named once beside the events.

    `file` is "" for a plain text. `line` is the first line of the code, 1-based, 0 when unknown. `is_user` tells code
    outside the standard library and site-packages, decided where the recording was made.
    """

    name: str
    file: str = ""
    line: int = 0
    is_user: bool = False
    is_traced: bool = False
    attributes: tuple[tuple[str, str | int | float | bool], ...] = ()


@dataclass(frozen=True, slots=True)
class Expression:
    """The text of an `await` (or of a blocking call) and its line, 1-based."""

    text: str
    line: int


@dataclass(frozen=True, slots=True)
class ThreadInfo:
    """A thread of the program: its name, and the operating system's id (`native_id`, 0 when unknown)."""

    name: str
    native_id: int = 0
    is_main: bool = False


class Events(Sequence[Event]):
    """The events of a part, held flat: 56 bytes each, where tuples take some 170. It reads like a list of the tuples.

    It is equal to a list of the same events. A slice, or a sum with other events, is a list.

    Example:
        >>> events = Events.of([(5, 1, MARK, 0, 0, 3, 0)])
        >>> events[0][2] == MARK
        True

    Args:
        fields: The fields of whole events one after another, which are not changed any more.
    """

    __slots__ = ("fields",)
    __hash__ = None  # type: ignore[assignment]  # like that of a list

    def __init__(self, fields: array[int]) -> None:
        self.fields = fields

    @classmethod
    def of(cls, events: Iterable[Event]) -> Events:
        """Return events as they come.

        Raises:
            OverflowError: If a number does not fit in 63 bits and a sign.
        """
        return cls(array("q", list(chain.from_iterable(events))))

    def __len__(self) -> int:
        return len(self.fields) // FIELDS

    def __iter__(self) -> Iterator[Event]:
        return zip(*[iter(self.fields)] * FIELDS, strict=True)

    @overload
    def __getitem__(self, index: int) -> Event: ...
    @overload
    def __getitem__(self, index: slice) -> list[Event]: ...
    def __getitem__(self, index: int | slice) -> Event | list[Event]:
        if isinstance(index, slice):
            start, stop, step = index.indices(len(self))
            if step == 1:
                return list(Events(self.fields[start * FIELDS : stop * FIELDS]))
            return [self[place] for place in range(start, stop, step)]
        place = range(len(self))[index] * FIELDS
        time_ns, thread, kind, subject, other, site, flags = self.fields[place : place + FIELDS]
        return time_ns, thread, kind, subject, other, site, flags

    def __add__(self, others: Iterable[Event]) -> list[Event]:
        return [*self, *others]

    def __radd__(self, others: Iterable[Event]) -> list[Event]:
        return [*others, *self]

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Events):
            return self.fields == other.fields
        if isinstance(other, list):
            return len(self) == len(other) and all(map(eq, self, other))
        return NotImplemented

    def __repr__(self) -> str:
        return f"Events.of({list(self)})"


def is_in_time_order(events: Sequence[Event]) -> bool:
    """Tell whether no event is earlier than the one before it."""
    times = events.fields[::FIELDS] if isinstance(events, Events) else [event[0] for event in events]
    return all(map(le, times, islice(times, 1, None)))


def in_time_order(fields: array[int]) -> array[int]:
    """Return flat events by their time; those of one time stay in order. It is `fields` itself if that is in order."""
    if is_in_time_order(Events(fields)):
        return fields
    times = fields[::FIELDS]
    order = sorted(range(len(times)), key=times.__getitem__)
    # Field by field: a million tuples, only to be sorted, would take more memory than all the rest.
    ordered = array("q", fields)
    for place in range(FIELDS):
        ordered[place::FIELDS] = array("q", map(fields[place::FIELDS].__getitem__, order))
    return ordered


@dataclass(frozen=True, slots=True)
class Part:
    """What one process recorded: its events and the tables that the events point into. Plain values only.

    Times are monotonic nanoseconds of the machine; `wall_ns` is the wall clock, nanoseconds since the epoch, at
    `start_ns`. `cpu_ns` is the CPU time that the process used between `start_ns` and `end_ns`.
    """

    pid: int
    process_name: str
    parent_pid: int
    python: str
    start_ns: int
    end_ns: int
    wall_ns: int
    cpu_ns: int
    program: str  # the name of the script, for titles
    sees_coroutines: bool  # whether the coroutine probe saw every coroutine in scope, not only tasks and decorated ones
    threads: dict[int, ThreadInfo] = field(default_factory=dict)
    names: dict[int, str] = field(default_factory=dict)  # task id -> its name
    sites: dict[int, Site] = field(default_factory=dict)
    expressions: dict[tuple[int, int], Expression] = field(default_factory=dict)  # (site of the code, offset)
    stacks: dict[int, tuple[tuple[int, int], ...]] = field(default_factory=dict)  # (site, offset), outermost first
    events: Sequence[Event] = field(default_factory=list)
    notes: tuple[str, ...] = ()  # what a reader must know that the events do not tell
    is_root: bool = False  # of recordings that were merged: whether the process was the first of its own
