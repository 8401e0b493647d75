"""The events that a recorder keeps: in order of time, in chunks, within a bound; the oldest folded into one base.

Hooks append to a store and never come here. What they appended is taken out of it from time to time, by the keeper's
thread, and *settled* when it has to be written, or takes too much memory: sorted and moved to chunks.
"""

from __future__ import annotations

import threading
from array import array
from bisect import bisect_left, bisect_right
from collections import deque
from collections.abc import Callable, Iterator
from itertools import chain
from typing import Any

from asynctrace.events import FIELDS as FIELDS  # others have it from here
from asynctrace.events import LOST, Event, in_time_order
from asynctrace.recorder.fold import AnyFold
from asynctrace.recorder.stores import Store

_ENTRY_BYTES = 200  # of a name, a text, a thread in the tables
_LARGEST_CHUNK = 8192
_SMALLEST_CHUNK = 512


class Chunk:
    """Settled events, next to each other in time."""

    __slots__ = ("_store", "count", "cpu_ns", "packed")

    def __init__(self, store: Store) -> None:
        self._store = store
        self.packed = store.new_chunk()
        self.count = 0
        self.cpu_ns = 0  # of the process, when its last events were settled

    def fields(self, begin: int = 0, end: int | None = None) -> array[int]:
        """Return the fields of its events, seven each, or of some."""
        return self._store.unpack(self.packed, begin, self.count if end is None else end)

    def __len__(self) -> int:
        return self.count


class History:
    """The events of one recorder, from the oldest that is kept to the newest that is settled.

    Events are numbered from 0 in the order of their settling; `first` is the oldest kept, so as many were dropped.

    Args:
        store: Where hooks append.
        limit_bytes: What the events may take, with the tables beside them.
        table_entries: Tells how many entries the tables have.
    """

    def __init__(self, store: Store, limit_bytes: int, table_entries: Callable[[], int]) -> None:
        self.limit_bytes = limit_bytes
        self.lock = threading.RLock()  # of those who read and settle; hooks never wait for it
        self.is_busy = False  # a signal's handler can get in the middle, on the thread that holds the lock
        self.start_ns = 0  # when the recording's clock started
        self.first = 0
        self.end = 0  # the number of the next event to be settled
        self._store = store
        self._taken: deque[Any] = deque()  # pieces that were taken out of the store
        self._pending = store.none()  # of these, what is so young that an older one may still come
        self._table_entries = table_entries
        self._chunks: deque[Chunk] = deque()
        self._chunk_events = max(_SMALLEST_CHUNK, min(_LARGEST_CHUNK, limit_bytes // store.event_bytes // 16))
        self._fold = store.new_fold()
        self._kept_bytes = 0  # of the chunks
        self._base_ns = 0  # the time of the newest event that was dropped
        self._base_cpu_ns = 0

    def __len__(self) -> int:
        """Return how many events there have been, dropped ones included."""
        return self.end + self.open_count

    def take(self) -> None:
        """Take what hooks have appended out of the store: quick, so that it can be done often."""
        self._taken.extend(self._store.take())

    def settle(self, until_ns: int, cpu_ns: int) -> bool:
        """Settle the oldest of what was taken, with times up to `until_ns`; return whether there may be more.

        To be called with the lock held, as `take`.
        """
        store, taken = self._store, self._store.none()
        is_more = bool(self._taken) and store.earliest_ns(self._taken[0]) <= until_ns
        if is_more:
            taken = self._taken.popleft()
            if self._taken:
                until_ns = min(until_ns, store.earliest_ns(self._taken[0]))
        count = store.count(self._pending) + store.count(taken)
        settled, self._pending = store.settle(self._pending, taken, until_ns, self.start_ns)
        count -= store.count(self._pending)
        position = 0
        while position < count:
            if not self._chunks or len(self._chunks[-1]) >= self._chunk_events:
                self._chunks.append(Chunk(store))
            chunk = self._chunks[-1]
            end = min(count, position + self._chunk_events - len(chunk))
            self._kept_bytes -= store.bytes_of(chunk.packed)
            store.add(chunk.packed, settled, position, end)
            self._kept_bytes += store.bytes_of(chunk.packed)
            chunk.count += end - position
            chunk.cpu_ns = cpu_ns
            position = end
        self.end += count
        return is_more and bool(self._taken)

    def _unsettled(self) -> list[Any]:
        """Return what was taken out of the store and is not settled, in the order of its coming."""
        return [self._pending, *self._taken]

    @property
    def open_count(self) -> int:
        """How many events are not settled."""
        return sum(map(self._store.count, self._unsettled())) + len(self._store)

    @property
    def used_bytes(self) -> int:
        """What the events and tables take, about."""
        entries = self._table_entries()
        return self._kept_bytes + self.open_bytes + entries * _ENTRY_BYTES

    @property
    def open_bytes(self) -> int:
        """What is not settled takes so many bytes, about."""
        return sum(map(self._store.bytes_taken, self._unsettled())) + self._store.open_bytes

    def is_worth_taking(self) -> bool:
        """Tell whether so much was appended that somebody should look after it."""
        return len(self._store) > self._chunk_events

    @property
    def has_to_be_taken(self) -> bool:
        """Whether what is appended is better taken out of the store before it is settled."""
        return self._store.is_moved_to_grow

    def is_worth_settling(self) -> bool:
        """Tell whether settling, which takes time, is called for."""
        if self.open_bytes > self.limit_bytes // 2:
            return True
        # Where the oldest has to go before long, only what is settled can.
        return self.open_count > self._chunk_events and self.used_bytes > self.limit_bytes * 3 // 4

    def is_over_limit(self) -> bool:
        """Tell whether the oldest chunk has to go."""
        # The keeper looks from time to time: there has to be room for what comes meanwhile.
        return len(self._chunks) > 1 and self.used_bytes > self.limit_bytes - self.limit_bytes // 8

    def is_far_over_limit(self) -> bool:
        """Tell whether the keeper does not come after the program: there is much to settle, or to drop."""
        can_be_less = len(self._chunks) > 1 or self.open_bytes > self.limit_bytes // 2
        return can_be_less and self.used_bytes > self.limit_bytes

    def drop_oldest(self) -> list[int]:
        """Fold the oldest chunk into the base; return the tasks that ended in it. To be called with the lock held."""
        chunk = self._chunks[0]
        fields = chunk.fields()
        self._chunks.popleft()
        self.first += len(chunk)
        self._kept_bytes -= self._store.bytes_of(chunk.packed)
        self._base_ns = max(self._base_ns, fields[-FIELDS])
        self._base_cpu_ns = chunk.cpu_ns
        self._fold.advance(fields)
        return self._fold.take_ended_tasks()

    def pieces(
        self, begin: int, end: int | None = None, at_most: int | None = None
    ) -> Iterator[tuple[Chunk, array[int]]]:
        """Yield the fields of the settled events from one to before another, or `at_most` so many, chunk by chunk."""
        end = self.end if end is None else end
        if at_most is not None:
            end = min(end, begin + at_most)
        first = self.first
        for chunk in list(self._chunks):
            last = first + len(chunk)
            if last > begin and first < end:
                yield chunk, chunk.fields(max(0, begin - first), min(len(chunk), end - first))
            first = last

    def open_fields(self) -> array[int]:
        """Return the fields of what is not settled yet, in the order of its coming."""
        fields = array("q")
        for taken in self._unsettled():
            fields.extend(self._store.fields(taken))
        fields.extend(self._store.open_fields())
        return fields

    def follow(self) -> Follower:
        """Return a fold of its own that stands at the oldest kept event. To be called with the lock held."""
        return Follower(self, self._fold.copy(), self.first, self._base_ns, self._base_cpu_ns)

    def number_at(self, time_ns: int) -> int:
        """Return the number of the first settled event that is not before a time."""
        first = self.first
        for chunk in list(self._chunks):
            if chunk.fields(len(chunk) - 1)[0] >= time_ns:
                return first + bisect_left(chunk.fields()[::FIELDS], time_ns)
            first += len(chunk)
        return first

    def used_numbers(self) -> tuple[set[int], set[int]]:
        """Return (sites and stacks, threads) that the kept events name; some more, too: any `other` may be either."""
        numbers: set[int] = set()
        threads: set[int] = set()
        every = (chunk.fields() for chunk in list(self._chunks))
        base = list(chain.from_iterable(self._fold.base(0)))
        for fields in chain(every, (self.open_fields(), base)):
            others = {other for other in fields[4::FIELDS] if other < 1 << 32}
            numbers.update(fields[5::FIELDS], others)
            threads.update(fields[1::FIELDS], others)
        return numbers, threads


class Follower:
    """A fold that goes along with a history, and gives the base at where it stands."""

    def __init__(self, history: History, fold: AnyFold, position: int, time_ns: int, cpu_ns: int) -> None:
        self.position = position  # the number of the event that it would fold next
        self.cpu_ns = cpu_ns  # of the process, about there
        self._history = history
        self._fold = fold
        self._time_ns = time_ns

    def advance(self, number: int, at_most: int | None = None) -> bool:
        """Go on to an event, or by so many; return whether it is there. False, too, when its events were dropped."""
        history = self._history
        with history.lock:
            if self.position < history.first:
                return False
            for chunk, fields in history.pieces(self.position, number, at_most):
                self._fold_piece(chunk, fields)
        return self.position >= number

    def read(self, at_most: int) -> array[int] | None:
        """Go on by as many events as there are, up to so many, and return their fields; None if they were dropped."""
        history = self._history
        read = array("q")
        with history.lock:
            if self.position < history.first:
                return None
            for chunk, fields in history.pieces(self.position, at_most=at_most):
                self._fold_piece(chunk, fields)
                read += fields
        return read

    def _fold_piece(self, chunk: Chunk, fields: array[int]) -> None:
        self._fold.advance(fields)
        self._fold.take_ended_tasks()  # the history's own fold tells those
        self._time_ns = max(self._time_ns, fields[-FIELDS])
        self.cpu_ns = chunk.cpu_ns
        self.position += len(fields) // FIELDS

    def base(self, time_ns: int = 0, lost: int | None = None) -> tuple[int, list[Event]]:
        """Return the time of the base, and its events: they lead to the state that the next event finds.

        Args:
            time_ns: The base's time at the earliest.
            lost: How many events to call lost: by default all before.
        """
        time_ns = max(time_ns, self._time_ns)
        events = self._fold.base(time_ns)
        count = self._fold.count if lost is None else lost
        if count:
            events.insert(0, (time_ns, 0, LOST, 0, count, 0, 0))
        return time_ns, events


def each_event(fields: list[int] | array[int]) -> Iterator[Event]:
    """Yield the events that flat fields are.

    The keeper goes through them like this: many tuples at once would have Python's garbage collection run on its
    thread, and with it the finalizers of the program.
    """
    return zip(*[iter(fields)] * FIELDS, strict=True)


def in_order(fields: array[int], start_ns: int, end_ns: int = (1 << 63) - 1) -> array[int]:
    """Return flat events by their time, those of one thread as they came, none after `end_ns` or before `start_ns`.

    One that is earlier came late, and is a matter of the base; or while the hooks were put in, on another thread. What
    is returned may be `fields`, changed: there can be so many that a copy is felt.
    """
    ordered = in_time_order(fields)
    times = ordered[::FIELDS]
    del ordered[bisect_right(times, end_ns) * FIELDS :]
    early = min(bisect_left(times, start_ns), len(ordered) // FIELDS)
    ordered[: early * FIELDS : FIELDS] = array("q", [start_ns]) * early
    return ordered


def events_of(fields: list[int] | array[int]) -> list[Event]:
    """Return the events that flat fields are."""
    return list(each_event(fields))
