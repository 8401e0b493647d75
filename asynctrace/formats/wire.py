"""The protobuf wire format: varints, and messages as a row of tagged fields.

Follows https://protobuf.dev/programming-guides/encoding/. Decoding trusts nothing: every length is checked against the
bytes that are there, so that a damaged file ends in a `WireError`, never in a long loop or a large allocation.
"""

import functools
import struct
from collections.abc import Iterator

VARINT = 0
FIXED64 = 1
LENGTH = 2
FIXED32 = 5

_VARINT_BYTES = 10  # what 64 bits need, 7 bits a byte


class WireError(Exception):
    """The bytes are not what the wire format allows."""


def varint(value: int) -> bytes:
    """Encode an integer of 0 to 2**64 - 1, 7 bits a byte, least significant first.

    Raises:
        WireError: If the value is outside that range.
    """
    return VARINTS[value] if 0 <= value < VARINTS_SIZE else _encoded(value)


def _encoded(value: int) -> bytes:
    if not 0 <= value < 1 << 64:
        raise WireError(f"{value} does not fit in 64 bits without a sign")
    encoded = bytearray()
    while value > 127:
        encoded.append(value & 127 | 128)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)


# Most numbers of a trace are this small: looking one up takes a quarter of the time of encoding it.
VARINTS: tuple[bytes, ...] = tuple(_encoded(value) for value in range(1 << 14))
VARINTS_SIZE = len(VARINTS)


def zigzag(value: int) -> int:
    """Map a signed integer to an unsigned one, small ones to small ones: 0, -1, 1, -2 become 0, 1, 2, 3."""
    return value << 1 if value >= 0 else (-value << 1) - 1


def unzigzag(value: int) -> int:
    """Undo `zigzag`."""
    return -(value >> 1) - 1 if value & 1 else value >> 1


@functools.cache  # a handful of fields
def tag(number: int, wire_type: int) -> bytes:
    """Return the bytes that begin a field."""
    return varint(number << 3 | wire_type)


def int_field(number: int, value: int) -> bytes:
    """Return a varint field."""
    return tag(number, VARINT) + varint(value)


def fixed64_field(number: int, value: int) -> bytes:
    """Return a field of eight bytes."""
    return tag(number, FIXED64) + value.to_bytes(8, "little")


def double_field(number: int, value: float) -> bytes:
    """Return a field of a floating-point number of eight bytes."""
    return tag(number, FIXED64) + struct.pack("<d", value)


def bytes_field(number: int, content: bytes) -> bytes:
    """Return a length-delimited field: bytes, a string's UTF-8, or a message."""
    return tag(number, LENGTH) + varint(len(content)) + content


def read_varint(content: bytes, position: int, end: int) -> tuple[int, int]:
    """Decode the varint at `position`.

    Returns:
        Its value, and the position after it.

    Raises:
        WireError: If it has no end before `end`, or more than 64 bits.
    """
    value = 0
    for index in range(min(_VARINT_BYTES, end - position)):
        byte = content[position + index]
        value |= (byte & 127) << 7 * index
        if byte < 128:
            if value >> 64:
                break
            return value, position + index + 1
    raise WireError(f"no varint at byte {position}")


def read_fields(content: bytes, position: int = 0, end: int | None = None) -> Iterator[tuple[int, int | bytes]]:
    """Yield the fields of a message: the number of each, and an integer or, when length-delimited, its bytes.

    Raises:
        WireError: If the message is damaged.
    """
    if end is None:
        end = len(content)
    while position < end:
        key, position = read_varint(content, position, end)
        number, wire_type = key >> 3, key & 7
        if number == 0:
            raise WireError(f"a field numbered 0 at byte {position}")
        if wire_type == VARINT:
            value, position = read_varint(content, position, end)
            yield number, value
            continue
        if wire_type == LENGTH:
            length, position = read_varint(content, position, end)
        elif wire_type == FIXED64:
            length = 8
        elif wire_type == FIXED32:
            length = 4
        else:
            raise WireError(f"an unknown wire type {wire_type} at byte {position}")
        if length > end - position:
            raise WireError(f"a field of {length} bytes at byte {position} is longer than its message")
        field = content[position : position + length]
        position += length
        yield number, field if wire_type == LENGTH else int.from_bytes(field, "little")
