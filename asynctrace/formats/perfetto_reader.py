"""Read back what `perfetto_writer` wrote: whole, or up to where the file was cut (see `perfetto_layout`)."""

import stat
import zlib
from array import array
from collections.abc import Callable, Iterator
from pathlib import Path

from asynctrace import cores
from asynctrace.errors import FormatError
from asynctrace.events import Part
from asynctrace.formats import perfetto_layout as layout
from asynctrace.formats.perfetto_encoder import NUMBER_KINDS
from asynctrace.formats.perfetto_tables import PartialPart, Record, is_later_segment
from asynctrace.formats.wire import WireError, bytes_field, int_field, read_fields, read_varint

_ALL_BITS = (1 << 64) - 1
_OUT_OF_RANGE = "an event with a number out of range"
_GZIP_MAGIC = b"\x1f\x8b"
_HEADER_START = int_field(1, layout.HEADER) + bytes_field(2, layout.MAGIC)
_FIRST_BYTES = 4096  # a header has some 30, which gzip gives out only with more behind them
_UNPACKED_AT_ONCE = 1 << 16
# The most that gzip makes of a recording is a fortieth (tables of one text); of nothing at all it makes a thousandth.
_MOST_UNPACKED = 100  # times what is packed
_LITTLE = 1 << 24

Contents = tuple[list[Part], int | None, int | None, bool, list[str]]


def read_parts(path: Path) -> Contents:
    """Read the parts of a recording.

    Returns:
        The parts; the start and end of the recording's window in monotonic nanoseconds, or None where the file has
        none; whether the file was cut short; and notes for whoever reads the trace.

    Raises:
        FormatError: If the file is missing, is none of ours or is damaged.
    """
    content = _content(path)
    if not content:
        raise FormatError(f"{path} is empty: the program that wrote it ended before it could write anything")
    first = _unpacked(content[:_FIRST_BYTES])
    try:
        header = _Reader(first).header()
    except (WireError, IndexError):
        header = None
    if header is None:
        if _begins_a_header(first) if first else _begins_a_gzip(content):
            raise FormatError(f"{path} was cut short before its first event: nothing of the recording is left")
        raise FormatError(f"{path} is not a trace that asynctrace wrote{_guess(first)}")
    _check_version(path, header)
    try:
        content = _unpacked(content)
        reader = _Reader(content)
        reader.header()
    except WireError as error:
        raise FormatError(f"{path} is damaged: {error}") from error
    try:
        reader.read()
        parts = [part.finish() for part in reader.parts]
        window = (header.integer(3), header.integer(4)) if header.has(3) and header.has(4) else None
    except (WireError, IndexError) as error:
        raise FormatError(f"{path} is damaged near byte {reader.position}: {error}") from error
    notes = []
    truncated = not reader.is_whole
    if truncated:
        notes.append("the file was cut short: what was recorded after the cut is missing")
    if window is None:
        return parts, None, None, truncated, notes
    start_ns, end_ns = window
    if truncated and parts:
        # What came after the cut is unknown: nothing may look as if it had gone on until the end.
        end_ns = max(start_ns, min(end_ns, max(part.end_ns for part in parts)))
    return parts, start_ns, end_ns, truncated, notes


def read_unpacked(path: Path) -> bytes:
    """Read a recording as it is when it is not compressed.

    Raises:
        FormatError: If the file is missing or cannot be read.
    """
    try:
        return _unpacked(_content(path))
    except WireError as error:
        raise FormatError(f"{path} is damaged: {error}") from error


def is_our_trace(path: Path) -> bool:
    """Tell from its first bytes whether a file is a trace that asynctrace wrote, of any version."""
    try:
        if not path.is_file():
            return False  # reading a pipe could wait for ever
        with path.open("rb") as file:
            first = file.read(_FIRST_BYTES)
        return _Reader(_unpacked(first)).header() is not None
    except (OSError, ValueError, WireError, IndexError):
        return False


def _content(path: Path) -> bytes:
    try:
        mode = path.stat().st_mode
        if stat.S_ISREG(mode):
            return path.read_bytes()
    except FileNotFoundError:
        raise FormatError(f"{path} does not exist: check the path, or make a recording with asynctrace run") from None
    except OSError as error:
        raise FormatError(f"{path} cannot be read: {error.strerror}") from error
    except ValueError as error:  # a NUL, or what the file system cannot name
        raise FormatError(f"{str(path)!r} cannot be the name of a file") from error
    if stat.S_ISDIR(mode):
        raise FormatError(f"{path} is a folder: name a trace in it")
    # What comes out of it may have no end.
    raise FormatError(f"{path} is no file but a pipe or a device: copy what it holds into a file first")


def _unpacked(content: bytes) -> bytes:
    """Return what a gzip file holds, as far as it goes; anything else as it is.

    Raises:
        WireError: If that is far more than a recording could have been.
    """
    if not content.startswith(_GZIP_MAGIC):
        return content
    pieces, size = [], 0
    for piece in _unpacked_pieces(content):
        pieces.append(piece)
        size += len(piece)
        if size > max(_LITTLE, _MOST_UNPACKED * len(content)):
            raise WireError("it holds far more than was packed into it")
    return b"".join(pieces)


def _gunzip() -> Callable[[bytes], bytes]:
    return zlib.decompressobj(wbits=16 + zlib.MAX_WBITS).decompress


def _unpacked_pieces(content: bytes) -> Iterator[bytes]:
    unpack = _gunzip()
    try:
        for start in range(0, len(content), _UNPACKED_AT_ONCE):
            yield unpack(content[start : start + _UNPACKED_AT_ONCE])
    except zlib.error:
        return  # what comes after a damage is lost, as after a cut


def _begins_a_header(content: bytes) -> bool:
    whole = layout.PACKET_TAG + content[1:2] + layout.RECORD_TAG + content[4:5] + _HEADER_START
    return len(content) > 2 and whole.startswith(content[: len(whole)])


def _begins_a_gzip(content: bytes) -> bool:
    try:
        _gunzip()(content)
    except zlib.error:
        return False
    return True


def _guess(content: bytes) -> str:
    try:
        for number, packet in read_fields(content[: 1 << 16]):
            if number != 1 or not isinstance(packet, bytes):
                return ""
            if sum(1 for _ in read_fields(packet)):
                return ", but a Perfetto trace of another tool"
    except WireError:
        pass
    return ""


def _check_version(path: Path, header: Record) -> None:
    try:
        major = header.integer(1)
    except WireError as error:
        raise FormatError(f"{path} is damaged: it does not say the version of its format") from error
    if major > layout.FORMAT_MAJOR:
        raise FormatError(
            f"{path} was written by a newer asynctrace (format {major}; this one reads {layout.FORMAT_MAJOR}):"
            " upgrade asynctrace"
        )


class _Reader:
    """Goes through the packets of a file once."""

    def __init__(self, content: bytes) -> None:
        self.content = content
        self.position = 0
        self.parts: list[PartialPart] = []
        self.is_whole = False

    def header(self) -> Record | None:
        """Return the record that the file begins with, or None when that is not ours."""
        content = self.content
        if content[:1] != layout.PACKET_TAG:
            return None
        size, start = read_varint(content, 1, len(content))
        packet = content[start : start + size]
        if len(packet) < size or not packet.startswith(layout.RECORD_TAG):
            return None
        for number, value in read_fields(packet):
            if number == layout.RECORD and isinstance(value, bytes) and value.startswith(_HEADER_START):
                self.position = start + size
                return Record(value)
        return None

    def read(self) -> None:
        """Read the packets after the header, until the end or the cut."""
        # The hot path of loading: most numbers are one byte long, and are read here without a call.
        content, end, position = self.content, len(self.content), self.position
        event0, event1 = layout.EVENT_TAG
        record0, record1 = layout.RECORD_TAG
        packet_tag, time_tag = layout.PACKET_TAG[0], layout.TIMESTAMP_TAG[0]
        number_kinds = NUMBER_KINDS
        has_other, has_site, has_flags = layout.HAS_OTHER, layout.HAS_SITE, layout.HAS_FLAGS
        clock_ns = thread = subject = 0
        threads = array("q")
        target: array[int] | None = None  # the fields of the events so far
        late: list[tuple[int, int]] = []
        native = cores.native_module("asynctrace.formats._decoder")
        while position < end:
            if native is not None and target is not None:
                # It stops at whatever is not a whole, common event: to be read here, or to be told what is wrong with.
                position, clock_ns, thread, subject = native.decode_events(
                    content, position, target, threads, clock_ns, thread, subject
                )
                if position == end:
                    break
            self.position = position
            if content[position] != packet_tag:
                raise WireError("not a packet")
            position += 1
            if position == end:
                return
            size = content[position]
            position += 1
            if size > 127:
                read = _read_size(content, position - 1, end)
                if read is None:
                    return
                size, position = read
            packet_end = position + size
            if packet_end > end:
                return
            if size < 3 or content[position + 1] != event1 or content[position] != event0:
                if size > 2 and content[position] == record0 and content[position + 1] == record1:
                    for number, value in read_fields(content, position, packet_end):
                        if number == layout.RECORD and isinstance(value, bytes):
                            entry = Record(value)
                            self._take(entry)
                            if entry.kind == layout.PART or entry.kind == layout.BASE_END:
                                target, late = self.parts[-1].target, self.parts[-1].late
                            if entry.kind == layout.PART:
                                clock_ns, thread, subject, threads = entry.integer(7), 0, 0, array("q")
                    if self.is_whole:
                        return
                position = packet_end
                continue
            if target is None:
                raise WireError("an event outside of a part")
            record_end = position + 3 + content[position + 2]
            position += 3

            head = content[position]
            position += 1
            kind = head & 31
            if kind > 29:
                if kind == 30:
                    number, position = read_varint(content, position, record_end)
                    late.append((len(target), number))
                    head = content[position]
                    position += 1
                    kind = head & 31
                if kind == 31:
                    number, position = read_varint(content, position, record_end)
                    if number == len(threads):
                        thread, position = read_varint(content, position, record_end)
                        if thread >> 63:
                            raise WireError(_OUT_OF_RANGE)
                        threads.append(thread)
                    else:
                        thread = threads[number]
                    head = content[position]
                    position += 1
                    kind = head & 31
            if not kind:
                kind, position = read_varint(content, position, record_end)
            number = content[position]
            position += 1
            if number > 127:
                number, position = read_varint(content, position - 1, record_end)
            subject += -(number >> 1) - 1 if number & 1 else number >> 1
            other = site = flags = 0
            if head & has_other:
                other = content[position]
                position += 1
                if other > 127:
                    other, position = read_varint(content, position - 1, record_end)
                if kind not in number_kinds:
                    other = subject + (-(other >> 1) - 1 if other & 1 else other >> 1)
            if head & has_site:
                site = content[position]
                position += 1
                if site > 127:
                    site, position = read_varint(content, position - 1, record_end)
            if head & has_flags:
                flags = content[position]
                position += 1
                if flags > 127:
                    flags, position = read_varint(content, position - 1, record_end)
            if position > record_end or content[record_end] != time_tag:
                raise WireError("an event that is longer than its record")
            position = record_end + 1
            delay = content[position]
            position += 1
            if delay > 127:
                delay, position = read_varint(content, position - 1, packet_end)
            if position > packet_end:
                raise WireError("an event that is longer than its packet")
            clock_ns = (clock_ns + delay) & _ALL_BITS
            # A number below 0, and one that is too high, leave bits above the 63 that all of them have.
            if (clock_ns | thread | kind | subject | other | site | flags) >> 63:
                raise WireError(_OUT_OF_RANGE)
            target.extend((clock_ns, thread, kind, subject, other, site, flags))
            position = packet_end

    def _take(self, entry: Record) -> None:
        if entry.kind == layout.PART:
            if self.parts and is_later_segment(entry):
                self.parts[-1].begin_segment()
            else:
                self.parts.append(PartialPart(entry))
        elif entry.kind == layout.END:
            self.is_whole = True
        elif not self.parts:
            raise WireError("a table outside of a part")
        elif entry.kind == layout.PART_END:
            self.parts[-1].end = entry
        elif entry.kind == layout.BASE_END:
            self.parts[-1].end_base()
        else:
            self.parts[-1].add(entry)


def _read_size(content: bytes, position: int, end: int) -> tuple[int, int] | None:
    """Read the size of a packet; None where the file ends inside it."""
    try:
        return read_varint(content, position, end)
    except WireError:
        if end - position < 10:
            return None
        raise
