"""The tables of a Part as records, and back: all that a part holds beside its events.

A record is a protobuf message: field 1 is its type, fields 2, 3, … are its values in order. Integers are zigzag
varints; texts are UTF-8, with lone surrogates (file names that are no valid UTF-8 have them) as they are.
"""

from __future__ import annotations

import struct
from array import array
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import TypeAlias

from asynctrace.events import FIELDS, LOST, Events, Expression, Part, Site, ThreadInfo, in_time_order
from asynctrace.formats import perfetto_layout as layout
from asynctrace.formats.wire import (
    WireError,
    bytes_field,
    int_field,
    read_fields,
    read_varint,
    unzigzag,
    varint,
    zigzag,
)

Value: TypeAlias = int | str | bytes
Attribute: TypeAlias = tuple[str, str | int | float | bool]

_TEXT, _INTEGER, _FLOAT, _BOOLEAN = 0, 1, 2, 3
_SEGMENT = 9  # the place of its number in a PART
_CPU_BEFORE = 10  # and of the CPU time that the process had used before the segment


def record(kind: int, *values: Value) -> bytes:
    """Return the packet of one record."""
    content = [int_field(1, kind)]
    for number, value in enumerate(values, 2):
        if isinstance(value, int):
            content.append(int_field(number, zigzag(value)))
        else:
            content.append(bytes_field(number, value if isinstance(value, bytes) else encode_text(value)))
    return layout.packet(bytes_field(layout.RECORD, b"".join(content)))


def copy_of_tables(part: Part) -> Part:
    """Return a part without events, whose tables can be added to."""
    return replace(
        part,
        threads=dict(part.threads),
        names=dict(part.names),
        sites=dict(part.sites),
        expressions=dict(part.expressions),
        stacks=dict(part.stacks),
        events=[],
    )


def add_tables(part: Part, more: Part) -> None:
    """Add to a part's tables those of another."""
    part.threads.update(more.threads)
    part.names.update(more.names)
    part.sites.update(more.sites)
    part.expressions.update(more.expressions)
    part.stacks.update(more.stacks)


def table_records(part: Part) -> Iterator[bytes]:
    """Yield the packets of a part's tables, in the order in which one needs the other."""
    for thread, info in part.threads.items():
        yield record(layout.THREAD, thread, info.name, info.native_id, info.is_main)
    for task, name in part.names.items():
        yield record(layout.NAME, task, name)
    for key, site in part.sites.items():
        attributes = b"".join(bytes_field(1, _encode_attribute(attribute)) for attribute in site.attributes)
        yield record(layout.SITE, key, site.name, site.file, site.line, site.is_user, site.is_traced, attributes)
    for (key, offset), expression in part.expressions.items():
        yield record(layout.EXPRESSION, key, offset, expression.text, expression.line)
    for key, frames in part.stacks.items():
        encoded = b"".join(varint(zigzag(number)) for frame in frames for number in frame)
        yield record(layout.STACK, key, encoded)
    for note in part.notes:
        yield record(layout.NOTE, note)
    if part.is_root:
        yield record(layout.ROOT)


def part_record(part: Part, clock_ns: int, segment: int) -> bytes:
    """Return the packet that begins a part, or a later segment of one; its first timestamp counts from `clock_ns`."""
    return record(
        layout.PART,
        part.pid,
        part.process_name,
        part.parent_pid,
        part.python,
        part.start_ns,
        part.wall_ns,
        part.sees_coroutines,
        clock_ns,
        part.program,
        *((segment, part.cpu_ns) if segment else ()),
    )


def is_later_segment(header: Record) -> bool:
    """Tell whether a PART begins not its part but a further segment of it."""
    return header.has(_SEGMENT) and header.integer(_SEGMENT) > 0


class Record:
    """A record's values, by their place, each asked for with its type.

    Raises:
        WireError: On a value that is missing or of another type, as in a damaged file.
    """

    __slots__ = ("_values", "kind")

    def __init__(self, content: bytes) -> None:
        self._values = dict(read_fields(content))
        kind = self._values.get(1)
        if not isinstance(kind, int):
            raise WireError("a record without a type")
        self.kind = kind

    def has(self, place: int) -> bool:
        """Tell whether there is a value at a place, counted from 0."""
        return place + 2 in self._values

    def integer(self, place: int) -> int:
        """Return the integer at a place."""
        value = self._values.get(place + 2)
        if not isinstance(value, int):
            raise WireError(f"no integer at place {place} of a record of type {self.kind}")
        return unzigzag(value)

    def content(self, place: int) -> bytes:
        """Return the bytes at a place."""
        value = self._values.get(place + 2)
        if not isinstance(value, bytes):
            raise WireError(f"no text at place {place} of a record of type {self.kind}")
        return value

    def text(self, place: int) -> str:
        """Return the text at a place."""
        return decode_text(self.content(place))


def _no_events() -> array[int]:
    return array("q")


@dataclass(slots=True)
class PartialPart:
    """A part while it is read: the header of its first segment, the tables so far, the events so far.

    Events are held flat, field after field. The next go to `target`: the part's own, or those of a base. `late` notes
    which of them are older than their packets say: where its time stands, and by how many nanoseconds.
    """

    header: Record
    threads: dict[int, ThreadInfo] = field(default_factory=dict)
    names: dict[int, str] = field(default_factory=dict)
    sites: dict[int, Site] = field(default_factory=dict)
    expressions: dict[tuple[int, int], Expression] = field(default_factory=dict)
    stacks: dict[int, tuple[tuple[int, int], ...]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    is_root: bool = False
    events: array[int] = field(default_factory=_no_events)
    target: array[int] = field(default_factory=_no_events)
    late: list[tuple[int, int]] = field(default_factory=list)
    is_sorted: bool = True
    is_continued: bool = False
    end: Record | None = None

    def __post_init__(self) -> None:
        if not is_later_segment(self.header):
            self.target = self.events

    def begin_segment(self) -> None:
        """Go on with a further segment: its base repeats what is known."""
        self._settle()
        self.is_sorted, self.is_continued = False, True
        self.target = _no_events()

    def end_base(self) -> None:
        """Go on with the events that follow a base."""
        self._settle()
        if self.target is not self.events and not self.is_continued:
            self.events += self.target
        self.target = self.events

    def _settle(self) -> None:
        for place, older_ns in self.late:
            self.target[place] = max(0, self.target[place] - older_ns)
            self.is_sorted = False
        self.late.clear()

    def add(self, entry: Record) -> None:
        """Add an entry of a table; one of a type that a newer minor version added is passed over."""
        integer, text = entry.integer, entry.text
        if entry.kind == layout.THREAD:
            self.threads[integer(0)] = ThreadInfo(text(1), integer(2), bool(integer(3)))
        elif entry.kind == layout.NAME:
            self.names[integer(0)] = text(1)
        elif entry.kind == layout.SITE:
            attributes = tuple(_decode_attribute(content) for content in _messages(entry.content(6)))
            self.sites[integer(0)] = Site(text(1), text(2), integer(3), bool(integer(4)), bool(integer(5)), attributes)
        elif entry.kind == layout.EXPRESSION:
            self.expressions[integer(0), integer(1)] = Expression(text(2), integer(3))
        elif entry.kind == layout.STACK:
            self.stacks[integer(0)] = _decode_frames(entry.content(1))
        elif entry.kind == layout.NOTE and text(0) not in self.notes:  # a later segment repeats the tables
            self.notes.append(text(0))
        elif entry.kind == layout.ROOT:
            self.is_root = True

    def finish(self) -> Part:
        """Return the part. Without its end (the file was cut short) it ends with the last event that is there."""
        header, end = self.header, self.end
        start_ns = header.integer(4)
        self._settle()
        if is_later_segment(header):
            if self.target is not self.events and not self.is_continued:
                # Cut inside its base: half a state is none, but how much is missing stays.
                self.events += Events.of(event for event in Events(self.target) if event[2] == LOST).fields
            # What was appended late belongs to the state at the start.
            times = self.events[::FIELDS]
            self.events[::FIELDS] = array("q", [max(start_ns, time_ns) for time_ns in times])
        if not self.is_sorted:
            self.events = in_time_order(self.events)
        if end is not None:
            end_ns, cpu_ns = end.integer(0), end.integer(1)
            if header.has(_CPU_BEFORE):
                cpu_ns -= header.integer(_CPU_BEFORE)
        else:
            end_ns, cpu_ns = max(start_ns, self.events[-FIELDS]) if self.events else start_ns, 0
        return Part(
            pid=header.integer(0),
            process_name=header.text(1),
            parent_pid=header.integer(2),
            python=header.text(3),
            start_ns=start_ns,
            end_ns=end_ns,
            wall_ns=header.integer(5),
            cpu_ns=cpu_ns,
            program=header.text(8),
            sees_coroutines=bool(header.integer(6)),
            threads=self.threads,
            names=self.names,
            sites=self.sites,
            expressions=self.expressions,
            stacks=self.stacks,
            events=Events(self.events),
            notes=tuple(self.notes),
            is_root=self.is_root,
        )


def encode_text(text: str) -> bytes:
    """Return a text's exact bytes."""
    return text.encode("utf-8", "surrogatepass")


def decode_text(content: bytes) -> str:
    """Undo `encode_text`.

    Raises:
        WireError: If the bytes are no UTF-8.
    """
    try:
        return content.decode("utf-8", "surrogatepass")
    except UnicodeDecodeError as error:
        raise WireError("a text that is not UTF-8") from error


def _messages(content: bytes) -> Iterator[bytes]:
    for _, message in read_fields(content):
        if isinstance(message, bytes):
            yield message


def _encode_attribute(attribute: Attribute) -> bytes:
    key, value = attribute
    if isinstance(value, bool):
        kind, content = _BOOLEAN, bytes([value])
    elif isinstance(value, int):
        kind, content = _INTEGER, value.to_bytes(value.bit_length() // 8 + 1, "little", signed=True)
    elif isinstance(value, float):
        kind, content = _FLOAT, struct.pack("<d", value)
    else:
        kind, content = _TEXT, encode_text(value)
    return bytes_field(1, encode_text(key)) + int_field(2, kind) + bytes_field(3, content)


def _decode_attribute(message: bytes) -> Attribute:
    fields = dict(read_fields(message))
    key, kind, content = fields.get(1), fields.get(2), fields.get(3)
    if not isinstance(key, bytes) or not isinstance(content, bytes):
        raise WireError("an attribute without its name or value")
    name = decode_text(key)
    if kind == _TEXT:
        return name, decode_text(content)
    if kind == _INTEGER:
        return name, int.from_bytes(content, "little", signed=True)
    if kind == _FLOAT and len(content) == 8:
        (number,) = struct.unpack("<d", content)
        return name, float(number)
    if kind == _BOOLEAN:
        return name, content != b"\0"
    raise WireError(f"an attribute of an unknown type {kind!r}")


def _decode_frames(content: bytes) -> tuple[tuple[int, int], ...]:
    numbers = []
    position, end = 0, len(content)
    while position < end:
        number, position = read_varint(content, position, end)
        numbers.append(unzigzag(number))
    if len(numbers) % 2:
        raise WireError("a stack with half a frame")
    return tuple(zip(numbers[::2], numbers[1::2], strict=True))
