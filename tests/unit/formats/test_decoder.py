"""The native decoder reads what its reference reads, and says of damaged files what that says."""

from __future__ import annotations

import os
from array import array
from pathlib import Path
from unittest.mock import patch

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from unit.formats.streaming import stream

from asynctrace import cores
from asynctrace.errors import FormatError
from asynctrace.events import FIELDS, Events, Part
from asynctrace.formats import perfetto_layout as layout
from asynctrace.formats import save_parts
from asynctrace.formats.perfetto_reader import read_parts
from asynctrace.formats.wire import varint
from tests import sampling
from tests.damage import EXTREMES, Damage, damaged, damages, event_packet
from tests.strategies_parts import any_parts, example_part

decoder = pytest.importorskip("asynctrace.formats._decoder")

one_directory = settings(suppress_health_check=list(HealthCheck), deadline=None, max_examples=sampling.examples(150))


def read_by(core: str, path: Path) -> object:
    """Return what a core reads, or what it says about the file."""
    with patch.dict(os.environ, {cores.VARIABLE: core}):
        try:
            return read_parts(path)
        except FormatError as error:
            return str(error)


def assert_read_alike(path: Path) -> None:
    assert read_by("native", path) == read_by("python", path)


@pytest.mark.sampled
@given(st.lists(any_parts, max_size=3))
@one_directory
def test_any_parts_are_read_alike(tmp_path: Path, parts: list[Part]) -> None:
    path = tmp_path / "any.pftrace"
    save_parts(tuple(parts), path)
    assert_read_alike(path)


@pytest.mark.sampled
@given(any_parts, st.lists(st.integers(0, 9), max_size=6))
@one_directory
def test_streamed_parts_with_late_events_and_segments_are_read_alike(
    tmp_path: Path, part: Part, batches: list[int]
) -> None:
    path = tmp_path / "streamed.pftrace"
    stream(part, path, batches)
    assert_read_alike(path)


@pytest.mark.sampled
@given(any_parts | st.builds(example_part, st.integers(1, 30), st.integers(1, 9)), damages())
@one_directory
def test_damaged_files_are_read_alike(tmp_path: Path, part: Part, operations: list[Damage]) -> None:
    path = tmp_path / "damaged.pftrace"
    save_parts((part,), path)
    path.write_bytes(damaged(path.read_bytes(), operations))
    assert_read_alike(path)


@pytest.mark.sampled
def test_a_file_cut_anywhere_is_read_alike(tmp_path: Path) -> None:
    path = tmp_path / "cut.pftrace"
    save_parts((example_part(8),), path)
    whole = path.read_bytes()
    for size in sampling.some(range(len(whole))):
        path.write_bytes(whole[:size])
        assert_read_alike(path)


def test_events_with_extreme_numbers_are_read_alike(tmp_path: Path) -> None:
    path = tmp_path / "extreme.pftrace"
    save_parts((example_part(3),), path)
    whole = path.read_bytes()
    at = whole.index(layout.EVENT_TAG) - 2
    for place in range(5):
        for number in EXTREMES:
            for kind in (1, 12, 40):  # with an id, with a number, and one that has no bits in the head
                fields = [3, 2, 1, 1, 5]
                fields[place] = number
                path.write_bytes(whole[:at] + event_packet(kind, *fields) + whole[at:])
                assert_read_alike(path)


def test_all_common_events_are_read_at_once(tmp_path: Path) -> None:
    path, part = tmp_path / "whole.pftrace", example_part(200)
    save_parts((part,), path)
    found: list[int] = []

    def counted(content: bytes, position: int, target: array[int], *state: object) -> tuple[int, int, int, int]:
        before = len(target)
        result: tuple[int, int, int, int] = native_decode(content, position, target, *state)
        found.append((len(target) - before) // FIELDS)
        return result

    native_decode = decoder.decode_events
    with patch.object(decoder, "decode_events", counted):
        assert read_by("native", path) == ([part], None, None, False, [])
    assert sum(found) == len(part.events) - 1  # that which tells the thread is the reference's


def test_it_stops_where_the_reference_is_to_read_on() -> None:
    event = event_packet(1, 2, 1, 1, 1, delay=3)
    for rest in (
        b"",
        event[:-1],
        layout.packet(layout.RECORD_TAG + b"\x00"),
        event_packet(1, 2, thread=bytes([layout.OTHER_THREAD]) + varint(1)),
        event_packet(1, 2, thread=bytes([layout.LATE]) + varint(1)),
        b"\x0b",
    ):
        target = array("q")
        content = event + layout.packet(b"\x08\x01") + event + rest
        stopped = decoder.decode_events(content, 0, target, array("q", [7]), 100, 7, 0)
        assert stopped == (len(content) - len(rest), 106, 7, 2)
        assert Events(target) == [(103, 7, 1, 1, 0, 1, 1), (106, 7, 1, 2, 1, 1, 1)]


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ((b"", 1, array("q"), array("q"), 0, 0, 0), ValueError),
        ((b"", -1, array("q"), array("q"), 0, 0, 0), ValueError),
        ((b"", 0, array("q"), array("q"), 0, -1, 0), ValueError),
        ((b"", 0, array("q"), array("q"), 0, 0, -1), ValueError),
        ((b"", 0, array("q"), array("q"), 1 << 64, 0, 0), OverflowError),
        (("", 0, array("q"), array("q"), 0, 0, 0), TypeError),
        ((b"", 0, array("q"), [], 0, 0, 0), TypeError),
        ((event_packet(1, 2), 0, [], array("q"), 0, 0, 0), AttributeError),
        ((), TypeError),
    ],
)
def test_what_it_cannot_work_with_is_refused(arguments: tuple[object, ...], error: type[Exception]) -> None:
    with pytest.raises(error):
        decoder.decode_events(*arguments)
