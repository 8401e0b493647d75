"""Write a recording as a Perfetto trace while its program runs, in a file that stays below a limit.

What has been written loads, and opens in Perfetto, wherever the program is killed. The file consists of *segments*
(see `perfetto_layout`), each of which can be the first: when the file gets large, the newest move to a new file, which
takes the old one's place at once.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from asynctrace.events import LOST, Part
from asynctrace.formats.growing_file import GrowingFile, remove_remains
from asynctrace.formats.perfetto_encoder import EventStream
from asynctrace.formats.perfetto_writer import EventWriter, PerfettoWriter, header_record


@dataclass(frozen=True, slots=True)
class _Segment:
    start: int  # in the file, bytes
    end: int
    start_ns: int
    lost: int  # how many events of the program came before it

    @property
    def size(self) -> int:
        return self.end - self.start


class StreamFile:
    """A `.pftrace` file that is written while the program runs.

    The file takes its place with `begin`: a program that is killed before has left an earlier file as it was. It grows
    to about 5/8 of the limit; then the newest segments, a third of the limit at most, move to a new file, while the
    earlier one is still there: both together stay below the limit.
    A file that somebody moves away stays as it is, and a new one takes its place; where another file has been put, the
    next change of files fails. After any error the file holds all that was written before, and only `abandon` is left
    to be called.

    Args:
        path: The file; an earlier one is replaced.
        limit_bytes: What the file may take on disk.

    Raises:
        OSError: Of this and of every method but `abandon`: the file cannot be written.

    Example:
        >>> file = StreamFile(Path("trace.pftrace"), 1 << 30)
        >>> file.begin(part)
        >>> file.write(later_part)
        >>> file.finish(end_ns, cpu_ns)
    """

    def __init__(self, path: Path, limit_bytes: int) -> None:
        self._path = path.resolve() if path.is_symlink() else path  # the link stays, what it points to is replaced
        self._limit = limit_bytes
        self._earlier: list[_Segment] = []
        self._present = _Segment(0, 0, 0, 0)
        self._full_at = limit_bytes
        self._events: EventWriter
        remove_remains(self._path)
        self._file = GrowingFile(self._path)
        try:
            self._file.check_place()
            self._writer = PerfettoWriter(self._file)
        except BaseException:
            self._file.discard()
            raise

    def begin(self, part: Part) -> None:
        """Write who the process is, and the tables and events that there are already, in any order."""
        with self._whole():
            start = self._file.size
            self._events = self._writer.begin_part(part)
            self._begin_present(start, part)
            self._file.take_place()

    def write(self, delta: Part, events: EventStream | None = None) -> None:
        """Write the events that follow, sorted by time, and the entries of tables that the segment lacks.

        An event may be older than the last one written. What is written has reached the file when this returns.

        Args:
            delta: The entries, and the events.
            events: The events, where they are not in a list: flat, for one.
        """
        with self._whole():
            self._events.add_tables(delta)
            self._events.write(delta.events if events is None else events)

    @property
    def wants_segment(self) -> bool:
        """Whether the present segment is full: a new one should begin before the next events."""
        return self._file.size >= self._full_at

    def begin_segment(self, base: Part, *, drop_earlier: bool = False) -> None:
        """Begin a segment: what is written before it can be dropped from now on, and is, when the file gets large.

        Args:
            base: Its events are the state at `base.start_ns`, which they have as their time: a LOST with the number of
                all events before, then events that are marked SEEN_LATE. Its tables have all that these name. What is
                written next relies on these tables only. Its CPU time is that which the process had used before.
            drop_earlier: The events just before the base were lost: all that is earlier in the file goes now.
        """
        with self._whole():
            self._events.end_segment(base.start_ns)
            self._earlier.append(replace(self._present, end=self._file.size))
            if drop_earlier or not self._has_room():
                self._move(base, [] if drop_earlier else self._newest())
            else:
                self._append_segment(base)

    def finish(self, end_ns: int, cpu_ns: int, children: Iterable[Part] = ()) -> None:
        """Write the end of the part, the parts of the process's children, whole or not at all, and close the file."""
        with self._whole():
            self._events.finish(end_ns, cpu_ns)
        for child in children:
            with self._whole():
                self._writer.write_part(child)
        with self._whole():
            self._writer.close()
        self._file.close()

    def why_displaced(self) -> str:
        """Return why what is at the path now is not this file, "" when it is; before `finish`."""
        return self._file.why_displaced()

    def abandon(self) -> None:
        """Close the file as it is: what is in it loads as a file that was cut short. One that never began goes."""
        self._file.discard()

    @contextmanager
    def _whole(self) -> Iterator[None]:
        file, size = self._file, self._file.size
        try:
            yield
        except BaseException:
            file.cut(size)
            raise

    def _begin_present(self, start: int, part: Part) -> None:
        self._present = _Segment(start, start, part.start_ns, _lost(part))
        self._full_at = self._file.size + self._limit // 8

    def _append_segment(self, base: Part) -> None:
        start = self._file.size
        self._events = self._events.begin_segment(base, list(base.events))
        self._begin_present(start, base)

    def _has_room(self) -> bool:
        """Tell whether, after one more segment such as the last, what is to be kept fits beside the file."""
        next_size = max(self._earlier[-1].size, self._limit // 8)
        return self._file.size + next_size + self._limit // 3 <= self._limit

    def _newest(self) -> list[_Segment]:
        """Return the newest segments that fit into a third of the limit."""
        room = self._limit // 3
        kept: list[_Segment] = []
        for segment in reversed(self._earlier):
            room -= segment.size
            if room < 0:
                break
            kept.insert(0, segment)
        return kept

    def _move(self, base: Part, kept: list[_Segment]) -> None:
        """Go on in a new file, with the segments to be kept and one that begins with a base."""
        old, new = self._file, GrowingFile(self._path)
        try:
            new.check_place(old)
            new.write(header_record())
            first_ns, lost = (kept[0].start_ns, kept[0].lost) if kept else (base.start_ns, _lost(base))
            if lost:
                new.write(self._events.missing_note(first_ns, f"lost {lost} events"))
            self._earlier = []
            for segment in kept:
                self._earlier.append(replace(segment, start=new.size, end=new.size + segment.size))
                new.copy(old, segment.start, segment.end)
            self._file = self._writer.file = new
            self._append_segment(base)
            new.check_place(old)
            new.take_place()
        except BaseException:
            self._file = old
            new.discard()
            raise
        old.close()


def _lost(part: Part) -> int:
    return next((event[4] for event in part.events[:1] if event[2] == LOST), 0)
