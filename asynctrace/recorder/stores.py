"""Where hooks append events, and the forms in which those are held: open, settled, and in the chunks of a history."""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from itertools import chain
from operator import itemgetter
from typing import Any, Protocol

from asynctrace.events import FIELDS
from asynctrace.recorder.fold import AnyFold, Fold


class Store(Protocol):
    """Where hooks append, and the form in which events are held: taken out of it, settled, and in chunks (packed)."""

    event_bytes: int  # in a chunk, about
    is_moved_to_grow: bool  # whether it is copied when it gets larger, so that much should not be left in it

    def __len__(self) -> int:
        """Return how many events are in it."""
        ...

    @property
    def open_bytes(self) -> int:
        """What is in it takes so many bytes."""
        ...

    def open_fields(self) -> list[int] | array[int]:
        """Return the fields of what is in it."""
        ...

    def take(self) -> list[Any]:
        """Take all out, in pieces that are settled in about a millisecond."""
        ...

    def none(self) -> Any:
        """Return nothing, in the form of what is taken."""
        ...

    def count(self, taken: Any) -> int:
        """Return how many events were taken."""
        ...

    def bytes_taken(self, taken: Any) -> int:
        """Return how many bytes it takes."""
        ...

    def fields(self, taken: Any) -> list[int] | array[int]:
        """Return the fields of what was taken."""
        ...

    def earliest_ns(self, taken: Any) -> int:
        """Return the earliest time in what was taken."""
        ...

    def settle(self, pending: Any, taken: Any, until_ns: int, start_ns: int) -> tuple[Any, Any]:
        """Return (settled, still pending): all in order of time, none before the start, parted at a time.

        What has the same time stays in the order of its coming: so what one thread did stays in order.
        """
        ...

    def new_chunk(self) -> Any:
        """Return an empty chunk."""
        ...

    def add(self, packed: Any, settled: Any, begin: int, end: int) -> None:
        """Add some settled events to a chunk."""
        ...

    def bytes_of(self, packed: Any) -> int:
        """Return how many bytes a chunk takes."""
        ...

    def unpack(self, packed: Any, begin: int, end: int) -> array[int]:
        """Return the fields of some events of a chunk."""
        ...

    def new_fold(self) -> AnyFold:
        """Return what folds such events."""
        ...


class FlatStore:
    """The store of the Python reference: one list of fields, which hooks extend by seven at a time."""

    event_bytes = 56  # in an array of machine integers
    is_moved_to_grow = True

    _OPEN_EVENT_BYTES = 130  # in the list, as Python's integers
    _PIECE_EVENTS = 4096

    def __init__(self, fields: list[int]) -> None:
        self._fields = fields

    def __len__(self) -> int:
        return len(self._fields) // FIELDS

    def take(self) -> list[list[int]]:
        """Take all out."""
        fields = self._fields
        count = len(self) * FIELDS
        taken = fields[:count]
        del fields[:count]
        at_once = self._PIECE_EVENTS * FIELDS
        return [taken[begin : begin + at_once] for begin in range(0, count, at_once)]

    def none(self) -> list[int]:
        """Return no fields."""
        return []

    def settle(
        self, pending: list[int], taken: list[int], until_ns: int, start_ns: int
    ) -> tuple[array[int], list[int]]:
        """Sort and part; see `Store`."""
        pending += taken
        times = pending[::FIELDS]
        if sorted(times) != times:
            # Of one thread the times never go back, but a wake's time is read before the call that makes it happen, and
            # threads append as they come.
            events = sorted(zip(*[iter(pending)] * FIELDS, strict=True), key=itemgetter(0))
            pending = list(chain.from_iterable(events))
            times.sort()
        early = bisect_left(times, start_ns)
        if early:  # another thread's, stamped while the hooks were put in
            pending[: early * FIELDS : FIELDS] = times[:early] = [start_ns] * early
        ready = bisect_right(times, until_ns) * FIELDS
        return array("q", pending[:ready]), pending[ready:]

    def count(self, taken: list[int]) -> int:
        """Return how many events were taken."""
        return len(taken) // FIELDS

    def fields(self, taken: list[int]) -> list[int]:
        """Return what was taken."""
        return taken

    def earliest_ns(self, taken: list[int]) -> int:
        """Return the earliest time in it."""
        return min(taken[::FIELDS])

    def open_fields(self) -> list[int]:
        """Return what is in it."""
        return self._fields[: len(self) * FIELDS]

    @property
    def open_bytes(self) -> int:
        """What is in it takes so many bytes."""
        return len(self) * self._OPEN_EVENT_BYTES

    def bytes_taken(self, taken: list[int]) -> int:
        """Return how many bytes it takes."""
        return self.count(taken) * self._OPEN_EVENT_BYTES

    def new_chunk(self) -> array[int]:
        """Return an empty array."""
        return array("q")

    def add(self, packed: array[int], settled: array[int], begin: int, end: int) -> None:
        """Add some settled events to a chunk."""
        packed += settled[begin * FIELDS : end * FIELDS]

    def bytes_of(self, packed: array[int]) -> int:
        """Return how many bytes a chunk takes."""
        return packed.itemsize * len(packed)

    def unpack(self, packed: array[int], begin: int, end: int) -> array[int]:
        """Return some of an array."""
        return packed[begin * FIELDS : end * FIELDS]

    def new_fold(self) -> AnyFold:
        """Return the reference of what folds events."""
        return Fold()
