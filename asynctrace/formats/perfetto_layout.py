"""What our Perfetto files are made of: the packets that the Perfetto UI shows, and our own record in each.

Follows protos/perfetto/trace/trace_packet.proto and track_event/*.proto of Perfetto v52. Our own records sit in field
`RECORD` or `EVENT` of a TracePacket, in the range for extensions, which the trace processor skips:

- the first packet of a file holds a HEADER; it begins with the same bytes in every version;
- each process's part is a PART, its tables (THREAD to STACK, NOTE, ROOT), its events, and a PART_END; an END closes
  the file;
- an event's record is its fields without the time, which is the packet's own timestamp. One event may show as several
  slices; the packets after its first hold no record and have the same time. An event that comes after younger ones has
  their time, and says how much older it is.

A part that is written while its program runs can have several *segments*, so that the oldest can be dropped. Each
begins with a PART that has a number above 0, and is readable on its own: tables, tracks and interned names anew, then
a base, the events that lead to the state of that moment, closed by a BASE_END. The base of a segment that continues
the one before it repeats what is known; that of the first segment in the file counts.

Timestamps are differences to the packet before, by a clock of the sequence that each part has of its own
(`is_incremental`): two bytes instead of eight. The processor adds them modulo 2**64, and so do we.
"""

import itertools

from asynctrace.formats.wire import LENGTH, VARINT, bytes_field, double_field, fixed64_field, int_field, tag, varint

FORMAT_MAJOR = 2  # a reader refuses a newer one; 1 had no segments and no late events
FORMAT_MINOR = 1  # a reader ignores what a newer one adds; 0 had no NOTE and ROOT
MAGIC = b"asynctrace"

PACKET_TAG = tag(1, LENGTH)
EVENT = 1974
RECORD = 1975
EVENT_TAG = tag(EVENT, LENGTH)
RECORD_TAG = tag(RECORD, LENGTH)
TIMESTAMP_TAG = tag(8, VARINT)

# The records beside the events.
HEADER = 1
PART = 2
THREAD = 3
NAME = 4
SITE = 5
EXPRESSION = 6
STACK = 7
PART_END = 8
END = 9
BASE_END = 10
NOTE = 11
ROOT = 12

# An event's record begins with a byte: its kind, and which fields follow its subject. Those left out are 0.
KIND_MASK = 31
OTHER_KIND = 0  # another kind, as a varint
LATE = 30  # before that byte: the event is older than the one before it, by a varint of nanoseconds
OTHER_THREAD = 31  # before it: the thread is not that of the event before: its number, the next free one for a new one
HAS_OTHER = 32
HAS_SITE = 64
HAS_FLAGS = 128

BOOTTIME = 6
REALTIME = 1
SEQUENCE_CLOCK = 64

BEGIN = 1
END_SLICE = 2
INSTANT = 3

MERGE_BY_NAME = 1
ROW_EACH = 2

UNIT_TIME_NS = 1
UNIT_COUNT = 2

_CHRONOLOGICAL = 2
_LONGEST_NAME = 500


def packet(content: bytes) -> bytes:
    """Return a TracePacket as a field of the file's one Trace message."""
    return PACKET_TAG + varint(len(content)) + content


def visible_text(text: str) -> bytes:
    """Return a text as the valid UTF-8, of a bounded length, that the UI needs; our own records have it exactly."""
    shown = text if len(text) <= _LONGEST_NAME else text[: _LONGEST_NAME - 1] + "…"
    return shown.replace("\0", "␀").encode("utf-8", "replace") or b"(no name)"


def sequence_field(sequence: int) -> bytes:
    """Return the field that puts a packet on a sequence."""
    return int_field(10, sequence)


def sequence_start(sequence: int, clock_ns: int, wall_ns: int, counters: tuple[int, ...]) -> bytes:
    """Return the packets that begin a sequence: its clock, and the tracks of the counters that its events carry."""
    defaults = int_field(58, SEQUENCE_CLOCK) + bytes_field(11, b"".join(int_field(31, uuid) for uuid in counters))
    clocks = b"".join(
        bytes_field(1, clock)
        for clock in (
            int_field(1, SEQUENCE_CLOCK) + int_field(2, clock_ns) + int_field(3, 1),
            int_field(1, BOOTTIME) + int_field(2, clock_ns),
            int_field(1, REALTIME) + int_field(2, max(0, wall_ns)),
        )
    )
    return packet(int_field(13, 1) + bytes_field(59, defaults) + sequence_field(sequence)) + packet(
        bytes_field(6, clocks) + sequence_field(sequence)
    )


def plain_events(sequence: bytes, delay_ns: int, shown: list[bytes]) -> bytes:
    """Return packets of track events that belong to no event of ours, so long after the last packet."""
    delays = itertools.chain((delay_ns,), itertools.repeat(0))
    return b"".join(packet(int_field(8, delay) + sequence + event) for delay, event in zip(delays, shown, strict=False))


def instant(sequence: int, time_ns: int, uuid: int, name: str) -> bytes:
    """Return the packet of an instant that stands alone: by the clock of the machine, with its name."""
    event = bytes_field(11, event_start(INSTANT, uuid) + bytes_field(23, visible_text(name)))
    return packet(int_field(8, time_ns) + int_field(58, BOOTTIME) + sequence_field(sequence) + event)


def process_track(uuid: int, pid: int, name: str) -> bytes:
    """Return the packet that describes a process."""
    return packet(
        bytes_field(60, int_field(1, uuid) + bytes_field(3, _id(1, pid) + bytes_field(6, visible_text(name))))
    )


def thread_track(uuid: int, parent: int, pid: int, thread_id: int, name: str) -> bytes:
    """Return the packet that describes a thread."""
    thread = _id(1, pid) + _id(2, thread_id) + bytes_field(5, visible_text(name))
    return packet(bytes_field(60, int_field(1, uuid) + int_field(5, parent) + bytes_field(4, thread)))


def group_track(uuid: int, parent: int, name: str) -> bytes:
    """Return the packet that describes a track for other tracks, which it orders by their first slice."""
    track = int_field(1, uuid) + int_field(5, parent) + bytes_field(2, visible_text(name))
    return packet(bytes_field(60, track + int_field(11, _CHRONOLOGICAL)))


def task_track(uuid: int, parent: int, name: bytes | None, merging: int) -> bytes:
    """Return the packet that describes a task's track. It may be sent again with its name, once that is known."""
    track = int_field(1, uuid) + int_field(5, parent) + int_field(15, merging)
    return packet(bytes_field(60, track if name is None else track + bytes_field(2, name)))


def counter_track(uuid: int, parent: int, name: str, unit: int = UNIT_COUNT) -> bytes:
    """Return the packet that describes a counter."""
    track = int_field(1, uuid) + int_field(5, parent) + bytes_field(2, visible_text(name))
    return packet(bytes_field(60, track + bytes_field(8, int_field(3, unit))))


def interned_name(number: int, name: bytes) -> bytes:
    """Return the interned data that give a slice's name a number."""
    return bytes_field(12, bytes_field(2, int_field(1, number) + bytes_field(2, name)))


def interned_place(number: int, file: bytes, function: bytes, line: int) -> bytes:
    """Return the interned data that give a place in the code a number."""
    place = int_field(1, number) + bytes_field(2, file) + bytes_field(3, function) + int_field(4, line)
    return bytes_field(12, bytes_field(4, place))


def interned_argument_key(number: int, key: bytes) -> bytes:
    """Return the interned data that give the key of an argument a number."""
    return bytes_field(12, bytes_field(3, int_field(1, number) + bytes_field(2, key)))


def interned_argument_text(number: int, text: bytes) -> bytes:
    """Return the interned data that give a text that is the value of an argument a number."""
    return bytes_field(12, bytes_field(29, int_field(1, number) + bytes_field(2, text)))


def name_field(number: int) -> bytes:
    """Return the field of a TrackEvent that names its slice."""
    return int_field(10, number)


def place_field(number: int) -> bytes:
    """Return the field of a TrackEvent that says where in the code it is."""
    return int_field(34, number)


def correlation_field(number: int) -> bytes:
    """Return the field of a TrackEvent by which slices belong together: the UI shows them in one colour."""
    return int_field(52, number)


def text_argument(key: int, text: int) -> bytes:
    """Return the field of a TrackEvent that adds an argument to its slice: the numbers of its key and of its text."""
    return bytes_field(4, int_field(1, key) + int_field(17, text))


def value_argument(key: int, value: int | float | bool) -> bytes:
    """Return the field of a TrackEvent that adds an argument, which is no text, to its slice."""
    if isinstance(value, bool):
        content = int_field(2, value)
    elif isinstance(value, int):
        content = int_field(4, value % (1 << 64))
    else:
        content = double_field(5, value)
    return bytes_field(4, int_field(1, key) + content)


def gauge_field(uuid: int, value: float) -> bytes:
    """Return the fields of a TrackEvent that tell the value of a counter that is not among those of its sequence."""
    return int_field(45, uuid) + double_field(46, value)


def arrow_from_field(flow: int) -> bytes:
    """Return the field of a TrackEvent where an arrow begins."""
    return fixed64_field(47, flow)


def arrow_to_field(flow: int) -> bytes:
    """Return the field of a TrackEvent where an arrow ends."""
    return fixed64_field(48, flow)


def event_start(kind: int, uuid: int) -> bytes:
    """Return what a TrackEvent of a track begins with: BEGIN, END_SLICE or INSTANT, and the track."""
    return int_field(9, kind) + int_field(11, uuid)


def _id(number: int, value: int) -> bytes:
    # Ids of the operating system are 31 bits wide in Perfetto; a negative or wider one can only come of a damaged file.
    return int_field(number, value & 0x7FFFFFFF)
