"""Write a recording as a Perfetto trace, one packet after the other (see `perfetto_layout`)."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable
from operator import itemgetter
from types import TracebackType
from typing import Protocol, Self

from asynctrace.events import (
    BLOCKING_STARTED,
    CALL_FINISHED,
    CALLBACK_RAN,
    LOST,
    PROCESS_STARTED,
    Event,
    Part,
)
from asynctrace.formats import perfetto_layout as layout
from asynctrace.formats.perfetto_names import Names
from asynctrace.formats.perfetto_slices import Slices
from asynctrace.formats.perfetto_tables import add_tables, copy_of_tables, part_record, record, table_records
from asynctrace.formats.perfetto_thread_slices import NOTHING, Shown
from asynctrace.formats.perfetto_tracks import ProcessTracks
from asynctrace.formats.wire import VARINTS, VARINTS_SIZE, WireError, int_field, varint

# Of these `other` is a number; of all others it is an id, most often near that of the subject.
NUMBER_KINDS = frozenset((CALL_FINISHED, CALLBACK_RAN, LOST, PROCESS_STARTED, BLOCKING_STARTED))

_BATCH = 1 << 15  # pieces of packets to join and write at once
_HIGHEST = (1 << 63) - 1
_HEADS = tuple(bytes([head]) for head in range(256))
_NOTHING = (b"",)


class Output(Protocol):
    """Where bytes go."""

    def write(self, content: bytes, /) -> object:
        """Take all of them."""
        ...


def header_record(window: tuple[int, int] | None = None) -> bytes:
    """Return the packet that a file begins with."""
    version = (layout.MAGIC, layout.FORMAT_MAJOR, layout.FORMAT_MINOR)
    return record(layout.HEADER, *version, *(window if window is not None else ()))


class PerfettoWriter:
    """Writes parts into one file as they come.

    Args:
        file: Takes the bytes. Closing it is the caller's.
        window: The start and end of the recording, when they are not those of its parts.
        row_each: Whether the UI gives each task a row; else tasks of one name share lanes.

    Example:
        >>> with open("trace.pftrace", "wb") as file, PerfettoWriter(file) as writer:
        ...     writer.write_part(part)
    """

    def __init__(self, file: Output, window: tuple[int, int] | None = None, *, row_each: bool = False) -> None:
        self.file = file
        self.row_each = row_each
        self.new_uuid = itertools.count(1)
        self.new_flow = itertools.count(1)
        self._parts = 0
        file.write(header_record(window))

    def write_part(self, part: Part) -> None:
        """Write what one process recorded: its tables, then its events, stably sorted by time.

        Raises:
            WireError: If a number does not fit in 63 bits (63 and a sign, in the tables).
        """
        self.begin_part(part).finish(part.end_ns, part.cpu_ns)

    def begin_part(self, part: Part) -> EventWriter:
        """Write what there is of a part, as `write_part` does; return the writer of what follows."""
        events = sorted(part.events, key=itemgetter(0))
        clock_ns = min(part.start_ns, events[0][0]) if events else part.start_ns
        self._parts += 1
        writer = EventWriter(self, part, self._parts, max(0, clock_ns))
        writer.write(events)
        return writer

    def close(self) -> None:
        """Write the end of the file, which tells a whole one from one that was cut short between two parts."""
        self.file.write(record(layout.END, self._parts))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if error is None:
            self.close()


class EventWriter:
    """Writes the events of one part, in batches of any size: what is open is kept from one to the next.

    Args:
        writer: That of the file.
        part: Who the process is, and the tables.
        number: The part's, from 1.
        clock_ns: No event is earlier, or it counts as late.
        earlier: The writer of the segment before, when this one begins a further segment of the part.
    """

    def __init__(
        self, writer: PerfettoWriter, part: Part, number: int, clock_ns: int, earlier: EventWriter | None = None
    ) -> None:
        self._part = part = copy_of_tables(part)
        self._writer = writer
        self._file = writer.file
        self._number = number
        self._segment: int = 0 if earlier is None else earlier._segment + 1
        self._out: list[bytes] = []
        self._sequence = layout.sequence_field(number)
        before = None if earlier is None else earlier._tracks
        self._tracks: ProcessTracks = ProcessTracks(part, writer.new_uuid, self._send, writer.row_each, before)
        self._names = Names(part, self._send_on_sequence)
        self._slices = Slices(self._tracks, self._names, writer.new_flow, self._send_begin)
        self._clock_ns = clock_ns
        self._threads: dict[int, int] = {}
        self._thread = -1
        self._subject = 0
        self._send(part_record(part, clock_ns, self._segment))
        self._out.extend(table_records(part))
        wall_ns = part.wall_ns - part.start_ns + clock_ns
        self._send(layout.sequence_start(number, clock_ns, wall_ns, self._tracks.counters))
        self._tracks.describe()

    def begin_segment(self, part: Part, base: list[Event]) -> EventWriter:
        """Begin the part's next segment, to be read on its own, with a base; return its writer."""
        segment = EventWriter(self._writer, part, self._number, max(0, part.start_ns), self)
        # Nothing happens in a base: it leads to what is open after it.
        segment._write(base, {kind: _quiet(handler) for kind, handler in segment._slices.handlers.items()})
        segment._send(layout.plain_events(segment._sequence, 0, segment._slices.open_again()))
        segment._send(record(layout.BASE_END))
        segment._flush()
        return segment

    def end_segment(self, time_ns: int) -> None:
        """Close what is open, for the UI alone: the next segment opens it again."""
        self._slices.finish()
        self._send(layout.plain_events(self._sequence, max(0, time_ns - self._clock_ns), self._slices.close_all()))
        self._flush()

    def missing_note(self, time_ns: int, text: str) -> bytes:
        """Return what shows in the UI that something before a time is missing; it stands before the segments."""
        return self._tracks.recording_packet() + layout.instant(self._number, time_ns, self._tracks.recording, text)

    def write(self, events: Iterable[Event]) -> None:
        """Write events that follow those before, in order of time."""
        self._write(events, self._slices.handlers)

    def add_tables(self, part: Part) -> None:
        """Write entries of tables that the next events need."""
        add_tables(self._part, part)
        self._out.extend(table_records(part))

    def _write(self, events: Iterable[Event], handlers: dict[int, Callable[[Event], Shown]]) -> None:
        # The hot path of saving, hence one long function of local variables: a call costs a tenth of an event.
        out, sequence, threads = self._out, self._sequence, self._threads
        clock_ns, last_thread, last_subject = self._clock_ns, self._thread, self._subject
        packet_tag, event_tag, time_tag = layout.PACKET_TAG, layout.EVENT_TAG, layout.TIMESTAMP_TAG
        has_other, has_site, has_flags = layout.HAS_OTHER, layout.HAS_SITE, layout.HAS_FLAGS
        varints, small, heads, number_kinds = VARINTS, VARINTS_SIZE, _HEADS, NUMBER_KINDS
        late_head = heads[layout.LATE]
        overhead = len(event_tag) + 1 + len(sequence)  # of a packet with an event whose record is below 128 bytes
        at_once = packet_tag, time_tag + b"\0" + sequence  # around the length of a packet of the same time
        for event in events:
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
                self._flush()
        self._clock_ns, self._thread, self._subject = clock_ns, last_thread, last_subject
        self._flush()

    def finish(self, end_ns: int, cpu_ns: int) -> None:
        """Write the end of the part."""
        self._slices.finish()
        self._send(record(layout.PART_END, end_ns, cpu_ns))
        self._flush()

    def _switch(self, thread: int, threads: dict[int, int]) -> bytes:
        number = threads.get(thread)
        head = _HEADS[layout.OTHER_THREAD]
        if number is not None:
            return head + varint(number)
        threads[thread] = number = len(threads)
        return head + varint(number) + varint(thread)

    def _flush(self) -> None:
        self._file.write(b"".join(self._out))
        self._out.clear()

    def _send(self, packet: bytes) -> None:
        self._out.append(packet)

    def _send_on_sequence(self, content: bytes) -> None:
        self._out.append(layout.packet(content + self._sequence))

    def _send_begin(self, time_ns: int, event: bytes) -> None:
        # By the clock of the machine: that of the sequence is already later.
        stamp = layout.TIMESTAMP_TAG + varint(time_ns) + int_field(58, layout.BOOTTIME)
        self._out.append(layout.packet(stamp + self._sequence + event))


def _quiet(handler: Callable[[Event], Shown]) -> Callable[[Event], Shown]:
    def handle(event: Event) -> Shown:
        handler(event)
        return NOTHING

    return handle
