"""The wire codec: what it encodes it decodes, and nothing makes it run on."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asynctrace.formats.wire import (
    WireError,
    bytes_field,
    fixed64_field,
    int_field,
    read_fields,
    read_varint,
    unzigzag,
    varint,
    zigzag,
)


@pytest.mark.parametrize(
    ("value", "encoded"),
    [(0, b"\0"), (127, b"\x7f"), (128, b"\x80\x01"), (300, b"\xac\x02"), (2**64 - 1, b"\xff" * 9 + b"\x01")],
)
def test_varints_are_those_of_the_specification(value: int, encoded: bytes) -> None:
    assert varint(value) == encoded
    assert read_varint(encoded, 0, len(encoded)) == (value, len(encoded))


@pytest.mark.parametrize("value", [-1, 2**64])
def test_a_number_outside_64_bits_is_refused(value: int) -> None:
    with pytest.raises(WireError):
        varint(value)


@given(st.integers(-(2**63), 2**63 - 1))
def test_zigzag_keeps_signed_numbers(value: int) -> None:
    assert 0 <= zigzag(value) < 2**64
    assert unzigzag(zigzag(value)) == value


def test_a_message_is_read_field_by_field() -> None:
    content = int_field(1, 5) + bytes_field(2, b"name") + fixed64_field(3, 7) + b"\x25\x01\0\0\0"
    assert list(read_fields(content)) == [(1, 5), (2, b"name"), (3, 7), (4, 1)]


@pytest.mark.parametrize(
    "content",
    [
        b"\x80",  # a varint without an end
        b"\x08" + b"\x80" * 11,  # a varint that goes on and on
        b"\x08" + b"\xff" * 9 + b"\x7f",  # more than 64 bits
        b"\x0a\x05abc",  # longer than its message
        b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\x7f",  # a length of half the address space
        b"\x09abc",  # eight bytes of which three are there
        b"\x0b",  # a group, which nobody writes any more
        b"\x00\x00",  # a field numbered 0
    ],
)
def test_a_damaged_message_is_an_error(content: bytes) -> None:
    with pytest.raises(WireError):
        list(read_fields(content))


@given(st.binary(max_size=64))
def test_any_bytes_are_fields_or_an_error(content: bytes) -> None:
    try:
        found = list(read_fields(content))
    except WireError:
        return
    assert len(found) <= len(content)
