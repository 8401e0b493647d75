"""Damage to a saved trace, as a list of small operations that always give the same bytes: so hypothesis can shrink it.

Some of it is blind (bytes), some keeps the packets whole (one goes, comes twice, changes places), some keeps every
length right and makes a number of an event senseless: that is the damage that a reader cannot see.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from hypothesis import strategies as st

from asynctrace.formats import perfetto_layout as layout
from asynctrace.formats.wire import WireError, bytes_field, int_field, read_fields, read_varint, varint

EXTREMES = (0, 1, 5, 127, 128, 255, (1 << 31) - 1, 1 << 32, (1 << 63) - 1, 1 << 63, (1 << 64) - 1)


class Damage(NamedTuple):
    """One operation: its name, where (modulo the size), how much or where else, and a number to put there."""

    name: str
    place: int
    other: int
    number: int


numbers = st.sampled_from(EXTREMES) | st.integers(0, 300)


def damages(most: int = 6) -> st.SearchStrategy[list[Damage]]:
    """Lists of operations."""
    place = st.integers(0, 1 << 16)
    return st.lists(st.builds(Damage, st.sampled_from(sorted(_OPERATIONS)), place, place, numbers), max_size=most)


def damaged(content: bytes, operations: Sequence[Damage]) -> bytes:
    """Return `content` after all operations."""
    for operation in operations:
        if content:
            content = _OPERATIONS[operation.name](content, operation)
    return content


def packets(content: bytes) -> list[bytes]:
    """Return the packets of a file, tags and lengths included; what is no packet is one piece at the end."""
    found: list[bytes] = []
    position = 0
    while position < len(content):
        try:
            size, start = read_varint(content, position + 1, len(content))
        except WireError:
            size, start = len(content), position
        found.append(content[position : start + size])
        position = start + size
    return found


def event_packet(
    kind: int, subject: int, other: int = 0, site: int = 0, flags: int = 0, delay: int = 0, thread: bytes = b""
) -> bytes:
    """Return the packet of an event from the numbers as they stand in a file: `subject` is zigzag, a difference."""
    head = layout.HAS_OTHER | layout.HAS_SITE | layout.HAS_FLAGS | (kind if 0 < kind < 31 else 0)
    record = thread + bytes([head]) + (b"" if 0 < kind < 31 else varint(kind))
    record += b"".join(map(varint, (subject, other, site, flags)))
    if len(record) > 127:
        raise ValueError("longer than an event's record can be")
    return layout.packet(layout.EVENT_TAG + bytes([len(record)]) + record + int_field(8, delay))


def _flip(content: bytes, damage: Damage) -> bytes:
    place = damage.place % len(content)
    return content[:place] + bytes([content[place] ^ (1 << damage.other % 8)]) + content[place + 1 :]


def _replace(content: bytes, damage: Damage) -> bytes:
    place = damage.place % len(content)
    return content[:place] + bytes([damage.number & 255]) + content[place + 1 :]


def _insert(content: bytes, damage: Damage) -> bytes:
    place = damage.place % len(content)
    return content[:place] + varint(damage.number) + content[place:]


def _delete(content: bytes, damage: Damage) -> bytes:
    place = damage.place % len(content)
    return content[:place] + content[place + 1 + damage.other % 40 :]


def _cut(content: bytes, damage: Damage) -> bytes:
    return content[: damage.place % len(content)]


def _drop_packet(content: bytes, damage: Damage) -> bytes:
    found = packets(content)
    del found[damage.place % len(found)]
    return b"".join(found)


def _repeat_packet(content: bytes, damage: Damage) -> bytes:
    found = packets(content)
    found.insert(damage.other % len(found), found[damage.place % len(found)])
    return b"".join(found)


def _swap_packets(content: bytes, damage: Damage) -> bytes:
    found = packets(content)
    one, other = damage.place % len(found), damage.other % len(found)
    found[one], found[other] = found[other], found[one]
    return b"".join(found)


def _resize_packet(content: bytes, damage: Damage) -> bytes:
    found = packets(content)
    place = damage.place % len(found)
    try:
        _, start = read_varint(found[place], 1, len(found[place]))
    except WireError:
        return content
    found[place] = found[place][:1] + varint(damage.number) + found[place][start:]
    return b"".join(found)


def _change_event(content: bytes, damage: Damage) -> bytes:
    """Put a number into one field of an event, or write another event in its place; all lengths are right."""
    found = packets(content)
    events = [index for index, packet in enumerate(found) if layout.EVENT_TAG in packet[2:5]]
    if not events:
        return content
    fields = [1 + damage.other % 25, damage.other % 9, damage.other % 7, damage.other % 5, damage.other % 512, 3]
    fields[damage.place % 6] = damage.number
    found[events[damage.place % len(events)]] = event_packet(*fields)
    return b"".join(found)


def _change_record(content: bytes, damage: Damage) -> bytes:
    """Put a number into one integer of a table's record, the header and the beginning of a part among them."""
    found = packets(content)
    records = [index for index, packet in enumerate(found) if layout.RECORD_TAG in packet[2:6]]
    if not records:
        return content
    index = records[damage.place % len(records)]
    try:
        _, start = read_varint(found[index], 1, len(found[index]))
        (packet_fields,) = [value for number, value in read_fields(found[index][start:]) if number == layout.RECORD]
        assert isinstance(packet_fields, bytes)
        fields = list(read_fields(packet_fields))
    except (WireError, ValueError):
        return content
    place = damage.other % len(fields) if fields else 0
    changed = b"".join(
        int_field(number, damage.number if position == place else value)
        if isinstance(value, int)
        else bytes_field(number, value)
        for position, (number, value) in enumerate(fields)
    )
    found[index] = layout.packet(bytes_field(layout.RECORD, changed))
    return b"".join(found)


_OPERATIONS: dict[str, Callable[[bytes, Damage], bytes]] = {
    "flip a bit": _flip,
    "replace a byte": _replace,
    "insert a number": _insert,
    "delete bytes": _delete,
    "cut": _cut,
    "drop a packet": _drop_packet,
    "repeat a packet": _repeat_packet,
    "swap packets": _swap_packets,
    "resize a packet": _resize_packet,
    "change an event": _change_event,
    "change a record": _change_record,
}
