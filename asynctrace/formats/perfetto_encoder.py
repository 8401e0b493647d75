"""Events into packets: the reference of the native encoder, and the one place that picks between the two.

The native one, `asynctrace.formats._encoder`, gives the same bytes. It asks the same `Names` and `ProcessTracks`, for
what it has not asked them before; what it does for each event is what is here and in `perfetto_slices`.
"""

from __future__ import annotations

import itertools
from array import array
from collections.abc import Callable, Iterable, Iterator
from types import ModuleType
from typing import Protocol, TypeAlias, cast

from asynctrace.cores import native_module
from asynctrace.events import (
    BLOCKING_STARTED,
    CALL_FINISHED,
    CALLBACK_RAN,
    LOST,
    PROCESS_STARTED,
    Event,
)
from asynctrace.formats import perfetto_layout as layout
from asynctrace.formats.perfetto_names import Names
from asynctrace.formats.perfetto_slices import Slices
from asynctrace.formats.perfetto_thread_slices import NOTHING, Shown
from asynctrace.formats.perfetto_tracks import ProcessTracks
from asynctrace.formats.perfetto_waits import Waits
from asynctrace.formats.wire import VARINTS, VARINTS_SIZE, WireError, int_field, varint

# Of these `other` is a number; of all others it is an id, most often near that of the subject.
NUMBER_KINDS = frozenset((CALL_FINISHED, CALLBACK_RAN, LOST, PROCESS_STARTED, BLOCKING_STARTED))

FIELDS = 7  # of an event

_BATCH = 1 << 15  # pieces of packets to join and write at once
_HIGHEST = (1 << 63) - 1
_HEADS = tuple(bytes([head]) for head in range(256))
_NOTHING = (b"",)

EventStream: TypeAlias = "Iterable[Event] | array[int]"
"""Events one by one, or flat, seven integers each: an `array("q")`, of which the native encoder makes no tuples."""

Write: TypeAlias = Callable[[bytes], object]


class EventEncoder(Protocol):
    """Makes packets of the events of one part, and writes them with those that are handed to it, in order."""

    def connect(self, names: Names, waits: Waits, tracks: ProcessTracks) -> None:
        """Say what names, waits and tracks the part has; they hand their packets to this encoder."""
        ...

    def send(self, packets: bytes, /) -> None:
        """Write packets before those of the next event."""
        ...

    def send_on_sequence(self, content: bytes, /) -> None:
        """Write a packet of the part's sequence, before those of the next event."""
        ...

    def forget_sites(self, keys: Iterable[int], /) -> None:
        """Ask again what these sites are: the tables say something else of them now."""
        ...

    def encode(self, events: EventStream, /) -> None:
        """Write events that follow those before, in order of time.

        Raises:
            WireError: If a number does not fit in 63 bits.
        """
        ...

    def encode_base(self, events: EventStream, /) -> None:
        """Write the events of a base, of which nothing shows but what is open after them."""
        ...

    def label_tracks(self) -> None:
        """Name the tracks of the tasks that are still open."""
        ...

    def close_all(self, time_ns: int, /) -> None:
        """Close what is open, for the UI alone; no event follows."""
        ...

    def flush(self) -> None:
        """Have all that was sent and encoded written."""
        ...


class EncoderMaker:
    """Makes the encoders of one file, all of one core, and counts the file's tracks and arrows."""

    def __init__(self) -> None:
        self._native: ModuleType | None = native_module("asynctrace.formats._encoder")
        self.new_uuid: Iterator[int] = self._counter()
        self.new_flow: Iterator[int] = self._counter()

    def make(self, write: Write, sequence: int, clock_ns: int) -> EventEncoder:
        """Return a new encoder.

        Args:
            write: Takes the bytes.
            sequence: The number of the packets' sequence.
            clock_ns: Where the sequence's clock stands.
        """
        if self._native is None:
            return ReferenceEncoder(write, sequence, clock_ns, self.new_flow)
        return cast("EventEncoder", self._native.Encoder(write, sequence, clock_ns, self.new_flow))

    def _counter(self) -> Iterator[int]:
        return itertools.count(1) if self._native is None else cast("Iterator[int]", self._native.Counter())


class ReferenceEncoder:
    """The encoder in Python."""

    def __init__(self, write: Write, sequence: int, clock_ns: int, new_flow: Iterator[int]) -> None:
        self._file_write = write
        self._out: list[bytes] = []
        self._sequence = layout.sequence_field(sequence)
        self._new_flow = new_flow
        self._slices: Slices
        self._clock_ns = clock_ns
        self._threads: dict[int, int] = {}
        self._thread = -1
        self._subject = 0

    def connect(self, names: Names, waits: Waits, tracks: ProcessTracks) -> None:
        """Say what names, waits and tracks the part has."""
        self._slices = Slices(tracks, names, waits, self._new_flow, self._send_begin)

    def send(self, packets: bytes, /) -> None:
        """Write packets before those of the next event."""
        self._out.append(packets)

    def send_on_sequence(self, content: bytes, /) -> None:
        """Write a packet of the part's sequence."""
        self._out.append(layout.packet(content + self._sequence))

    def forget_sites(self, keys: Iterable[int], /) -> None:
        """Do nothing: what a site is, is asked each time."""

    def encode(self, events: EventStream, /) -> None:
        """Write events that follow those before."""
        self._encode(events, self._slices.handlers)

    def encode_base(self, events: EventStream, /) -> None:
        """Write the events of a base, and open what is open after them."""
        # Nothing happens in a base: it leads to what is open after it.
        self._encode(events, {kind: _quiet(handler) for kind, handler in self._slices.handlers.items()})
        self.send(layout.plain_events(self._sequence, 0, self._slices.open_again()))

    def label_tracks(self) -> None:
        """Name the tracks of the tasks that are still open."""
        self._slices.finish()

    def close_all(self, time_ns: int, /) -> None:
        """Close what is open."""
        self.send(layout.plain_events(self._sequence, max(0, time_ns - self._clock_ns), self._slices.close_all()))

    def flush(self) -> None:
        """Have all that was sent and encoded written."""
        self._file_write(b"".join(self._out))
        self._out.clear()

    def _encode(self, events: EventStream, handlers: dict[int, Callable[[Event], Shown]]) -> None:
        # The hot path of saving, hence one long function of local variables: a call costs a tenth of an event.
        out, sequence, threads = self._out, self._sequence, self._threads
        clock_ns, last_thread, last_subject = self._clock_ns, self._thread, self._subject
        packet_tag, event_tag, time_tag = layout.PACKET_TAG, layout.EVENT_TAG, layout.TIMESTAMP_TAG
        has_other, has_site, has_flags = layout.HAS_OTHER, layout.HAS_SITE, layout.HAS_FLAGS
        varints, small, heads, number_kinds = VARINTS, VARINTS_SIZE, _HEADS, NUMBER_KINDS
        late_head = heads[layout.LATE]
        overhead = len(event_tag) + 1 + len(sequence)  # of a packet with an event whose record is below 128 bytes
        at_once = packet_tag, time_tag + b"\0" + sequence  # around the length of a packet of the same time
        for event in _one_by_one(events):
            time_ns, thread, kind, subject, other, site, flags = event
            if (time_ns | thread | kind | subject | other | site | flags) & ~_HIGHEST:
                raise WireError(f"an event with a number that does not fit in 63 bits: {event}")
            handler = handlers.get(kind)
            shown = handler(event) if handler is not None else _NOTHING

            head = kind if 0 < kind < 30 else 0
            if other:
                head |= has_other
            if site:
                head |= has_site
            if flags:
                head |= has_flags
            content = heads[head]
            if not head & 31:
                content += varint(kind)
            if thread != last_thread:
                last_thread = thread
                content = self._switch(thread, threads) + content
            difference = subject - last_subject
            last_subject = subject
            number = difference << 1 if difference >= 0 else (-difference << 1) - 1
            content += varints[number] if number < small else varint(number)
            if other:
                if kind not in number_kinds:
                    other -= subject
                    other = other << 1 if other >= 0 else (-other << 1) - 1
                content += varints[other] if other < small else varint(other)
            if site:
                content += varints[site] if site < small else varint(site)
            if flags:
                content += varints[flags] if flags < small else varint(flags)

            delay = time_ns - clock_ns
            if delay >= 0:
                clock_ns = time_ns
            else:
                # The tracks have been drawn up to the clock: that is when it shows.
                content = late_head + varint(-delay) + content
                delay = 0
            stamp = time_tag + (varints[delay] if delay < small else varint(delay)) + sequence
            first = shown[0] if shown else b""
            size = len(content)
            total = size + overhead - len(sequence) + len(stamp) + len(first)
            out += (
                packet_tag,
                varints[total] if total < small else varint(total),
                event_tag,
                varints[size],
                content,
                stamp,
                first,
            )
            for more in shown[1:]:
                total = len(more) + len(at_once[1])
                out += (packet_tag, varints[total] if total < small else varint(total), at_once[1], more)
            if len(out) > _BATCH:
                self.flush()
        self._clock_ns, self._thread, self._subject = clock_ns, last_thread, last_subject

    def _switch(self, thread: int, threads: dict[int, int]) -> bytes:
        number = threads.get(thread)
        head = _HEADS[layout.OTHER_THREAD]
        if number is not None:
            return head + varint(number)
        threads[thread] = number = len(threads)
        return head + varint(number) + varint(thread)

    def _send_begin(self, time_ns: int, event: bytes) -> None:
        # By the clock of the machine: that of the sequence is already later.
        stamp = layout.TIMESTAMP_TAG + varint(time_ns) + int_field(58, layout.BOOTTIME)
        self._out.append(layout.packet(stamp + self._sequence + event))


def _one_by_one(events: EventStream) -> Iterable[Event]:
    if isinstance(events, array):
        return zip(*[iter(events)] * FIELDS, strict=True)
    return events


def _quiet(handler: Callable[[Event], Shown]) -> Callable[[Event], Shown]:
    def handle(event: Event) -> Shown:
        handler(event)
        return NOTHING

    return handle
