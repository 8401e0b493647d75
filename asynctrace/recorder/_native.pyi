"""The native core of the recorder, in C. What each part does is defined by its reference in Python."""

import asyncio
from array import array
from collections.abc import Callable, Iterable
from types import CodeType, CoroutineType, FrameType
from typing import Any, Self, TypeAlias, final

from asynctrace.events import Event
from asynctrace.probes.coroutines import BareStep as _BareStep
from asynctrace.probes.failure import Failures
from asynctrace.probes.tasks import TaskEntry
from asynctrace.recorder.reference import Cause, TracedHooks
from asynctrace.recorder.reference import ThreadState as _ThreadState
from asynctrace.recorder.tables import Places

FRAMES_ARE_KNOWN: bool  # else coroutines are noted by the callbacks' references

def frame_key(frame: FrameType | None) -> int:
    """Return what stands for a frame's coroutine in the tables; 0 for None."""

def fail_at(number: int | None, /) -> int:
    """Have the place that is reached as the n-th from now fail, 0: none; for tests. None turns it off again.

    Returns:
        How many places were reached since it was told last.
    """

def count(packed: bytes | bytearray) -> int:
    """Return how many events these are."""

def earliest(packed: bytes | bytearray) -> int:
    """Return the earliest of their times."""

def unpack(packed: bytes | bytearray, begin: int, end: int) -> array[int]:
    """Return the fields of some packed events, seven each."""

def slice(packed: bytes | bytearray, begin: int, end: int) -> bytes:
    """Return some of packed events, packed."""

def settle(pending: bytes, taken: bytes, until_ns: int, start_ns: int) -> tuple[bytes, bytes]:
    """Return packed events in order of time, none before the start, parted into those up to a time and those after."""

def set_class_of_code(function: Callable[[CodeType], int]) -> None:
    """Have wakes classed by this: 1 for code of I/O, 2 for the loop's, else 0."""

class Addresses:
    """As much of a dict as the probes use, from addresses to ids, or with `Addresses(True)` to objects."""

    def __init__(self, holds_objects: bool = False) -> None: ...
    def get(self, address: int, missing: Any = None) -> Any: ...
    def pop(self, address: int, missing: Any) -> Any: ...
    def values(self) -> list[Any]: ...
    def __getitem__(self, address: int) -> Any: ...
    def __setitem__(self, address: int, value: Any) -> None: ...
    def __delitem__(self, address: int) -> None: ...
    def __contains__(self, address: int) -> bool: ...
    def __len__(self) -> int: ...

class ThreadState(_ThreadState):
    """What one thread is doing."""

class Core:
    """The native half of a recorder: holds the events that were appended, some 6 bytes each."""

    nbytes: int  # that they take

    attend: Callable[[], None]
    is_open: bool
    attend_ns: int  # when it is past, hooks call that
    state: _ThreadState  # of the current thread
    traced_hooks: TracedHooks | None

    def __init__(
        self,
        local: Any,
        first_id: int,
        codes: dict[int, tuple[int, CodeType]],
        site: Callable[[CodeType], int],
        text: Callable[[str], int],
        names: dict[int, str | int],
    ) -> None: ...
    def append(self, event: Event, /) -> None:
        """Append an event.

        Raises:
            OverflowError: If a number is larger than any of a recording's.
        """

    def new_id(self) -> int: ...
    def take(self) -> list[bytes]:
        """Return the events, packed, a piece for each block; from here they are gone."""

    def copy(self) -> bytes:
        """Return the events, packed."""

    def forget_sites(self) -> None:
        """Look sites up in the tables again: some are about to go."""

    def __len__(self) -> int: ...

class LoopState:
    """The native half of a LoopProbe, and its base."""

    machine_clock: object

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None: ...
    def callback_run(self, callback: Any, cause: Cause) -> Any: ...
    def step_run(self, callback: Any, entry: Any) -> Any: ...

class Run:
    """Stands in for a callback."""

class CallbackRun(Run): ...
class StepRun(Run): ...

class Shim:
    """Stands on a loop, or on its selector, in the place of the method `name`."""

    def __init__(
        self,
        name: str,
        probe: LoopState,
        owner_ref: Callable[[], Any],
        original: Callable[..., Any],
        qualified_name: str,
    ) -> None: ...

class CoroutineCallbacks:
    """The callbacks of `sys.monitoring`; what is unusual they hand on to the references."""

    started: Callable[..., Any]
    resumed: Callable[..., Any]
    yielded: Callable[..., Any]
    returned: Callable[..., Any]
    thrown: Callable[..., Any]
    unwound: Callable[..., Any]

    def __init__(
        self,
        core: Core,
        ids: Addresses,
        bare_steps: Addresses,
        opened: dict[int, Any],
        plain: tuple[dict[int, Any], ...],
        wants_any: bool,
        only_traced: bool,
        scope: dict[str, bool] | None,
        guard: Callable[..., Any],
        references: tuple[Callable[..., Any], ...],
        send: int,
        disable: Any,
    ) -> None: ...

class BareStep(_BareStep):
    """A step that no run of a loop surrounds."""

class StackNotes:
    """Appends the await stack of a task: `wrapping.note_stack`, which is called for what is unusual."""

    def __init__(
        self,
        core: Core,
        stack: Callable[[Places], int],
        reference: Callable[[int, int, TaskEntry, Any], None],
        seen_through: tuple[type, ...],
    ) -> None: ...
    def __call__(self, time_ns: int, thread: int, entry: TaskEntry, task: Any) -> None: ...

@final
class TracedCoroutine:
    """Stands in for one coroutine of a decorated function."""

    _coroutine: CoroutineType[Any, Any, Any]

    def __init__(self, coroutine: CoroutineType[Any, Any, Any], core: Core, guard: Failures) -> None: ...
    def send(self, value: Any) -> Any: ...
    def throw(self, *error: Any) -> Any: ...
    def close(self) -> None: ...
    def __await__(self) -> TracedCoroutine: ...
    def __iter__(self) -> TracedCoroutine: ...
    def __next__(self) -> Any: ...

class Fold:
    """Who is alive, and in what state, after the events so far; its base is that of `native_fold.NativeFold`."""

    def __init__(self) -> None: ...
    @property
    def count(self) -> int:
        """How many events were folded; no more than fit in 63 bits."""

    def advance(self, fields: array[int], /) -> None:
        """Fold further events, flat ones, in order of time.

        After an error those before the event that led to it are folded, the others are not.

        Raises:
            MemoryError: If there is none for what has come to life.
            OverflowError: If a number is negative.
            ValueError: If what is given is not flat events, seven integers of 64 bits each.
        """

    def copy(self) -> Self:
        """Return a fold that goes its own way from here."""

    def take_ended_tasks(self) -> list[int]:
        """Return the ids of the tasks that ended since the last call."""

    def state(self) -> FoldState:
        """Return what it keeps, as plain values."""

_Lives: TypeAlias = dict[int, tuple[Any, ...]]
"""From an id to the attributes of its life, in the order of the `__slots__` of its class."""

FoldState: TypeAlias = tuple[
    _Lives,  # tasks
    _Lives,  # coroutines
    _Lives,  # threads
    _Lives,  # calls
    _Lives,  # jobs
    _Lives,  # loops
    list[int],  # blockings: thread, subject, other, site, flags
    list[int],  # passed
    list[int],  # functions dropped: site, thread
    list[int],  # processes: thread, pid
    list[int],  # forgotten jobs
    list[int],  # ended tasks
]

@final
class Sieve:
    """Keeps the events that have to do with decorated functions: see `sieve.AnySieve`."""

    def __init__(self, is_traced: Callable[[int], bool], wants_tasks: bool) -> None: ...
    def sift(self, events: array[int], /) -> array[int]: ...
    def take_delays(self) -> list[int]: ...
    def take_ended(self) -> list[tuple[int, int, int, int, int]]: ...
    def counts(self) -> tuple[int, int, int]: ...
    def loop_times(self) -> tuple[int, int]: ...

class Scanner:
    """Goes along with the events, in order, and tells what they mention: see `describing.Scanner`."""

    def __init__(self) -> None: ...
    def scan(
        self, events: Iterable[Event] | array[int], /
    ) -> tuple[list[int], list[tuple[int, int]], list[int], dict[int, bool]]:
        """Return the sites, places and keys of stacks that were not told before, and the tasks of these events.

        Raises:
            OverflowError: If a number does not fit in 63 bits.
            ValueError: If what is given is neither tuples nor flat, seven integers of 64 bits each.
        """
