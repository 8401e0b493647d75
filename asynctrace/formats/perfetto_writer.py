"""Write a recording as a Perfetto trace, one packet after the other (see `perfetto_layout`)."""

from __future__ import annotations

from array import array
from operator import itemgetter
from types import TracebackType
from typing import Protocol, Self

from asynctrace.events import Event, Events, Part, in_time_order
from asynctrace.formats import perfetto_layout as layout
from asynctrace.formats.perfetto_encoder import EncoderMaker, EventStream
from asynctrace.formats.perfetto_tables import add_tables, copy_of_tables, part_record, record, table_records
from asynctrace.formats.perfetto_tracks import ProcessTracks
from asynctrace.formats.perfetto_waits import names_and_waits


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
        self.encoders = EncoderMaker()
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
        events: list[Event] | array[int]
        if isinstance(part.events, Events):
            events = in_time_order(part.events.fields)
            first_ns = events[0] if events else part.start_ns
        else:
            events = sorted(part.events, key=itemgetter(0))
            first_ns = events[0][0] if events else part.start_ns
        clock_ns = min(part.start_ns, first_ns)
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
        self._number = number
        self._segment: int = 0 if earlier is None else earlier._segment + 1
        self._encoder = encoder = writer.encoders.make(writer.file.write, number, clock_ns)
        before = None if earlier is None else earlier._tracks
        self._tracks: ProcessTracks = ProcessTracks(
            part, writer.encoders.new_uuid, encoder.send, writer.row_each, before
        )
        encoder.connect(*names_and_waits(part, encoder.send_on_sequence), self._tracks)
        encoder.send(part_record(part, clock_ns, self._segment))
        encoder.send(b"".join(table_records(part)))
        wall_ns = part.wall_ns - part.start_ns + clock_ns
        encoder.send(layout.sequence_start(number, clock_ns, wall_ns, self._tracks.counters))
        self._tracks.describe()

    def begin_segment(self, part: Part, base: list[Event]) -> EventWriter:
        """Begin the part's next segment, to be read on its own, with a base; return its writer."""
        segment = EventWriter(self._writer, part, self._number, max(0, part.start_ns), self)
        segment._encoder.encode_base(base)
        segment._encoder.send(record(layout.BASE_END))
        segment._encoder.flush()
        return segment

    def end_segment(self, time_ns: int) -> None:
        """Close what is open, for the UI alone: the next segment opens it again."""
        self._encoder.label_tracks()
        self._encoder.close_all(time_ns)
        self._encoder.flush()

    def missing_note(self, time_ns: int, text: str) -> bytes:
        """Return what shows in the UI that something before a time is missing; it stands before the segments."""
        return self._tracks.recording_packet() + layout.instant(self._number, time_ns, self._tracks.recording, text)

    def write(self, events: EventStream) -> None:
        """Write events that follow those before, in order of time."""
        self._encoder.encode(events)
        self._encoder.flush()

    def add_tables(self, part: Part) -> None:
        """Write entries of tables that the next events need."""
        add_tables(self._part, part)
        self._encoder.forget_sites(part.sites)
        self._encoder.send(b"".join(table_records(part)))

    def finish(self, end_ns: int, cpu_ns: int) -> None:
        """Write the end of the part."""
        self._encoder.label_tracks()
        self._encoder.send(record(layout.PART_END, end_ns, cpu_ns))
        self._encoder.flush()
