"""Saving and loading: what comes back is what was saved, and a file that is not whole says so."""

from __future__ import annotations

import gzip
import os
import random
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from asynctrace.errors import AsynctraceError, FormatError, UsageError
from asynctrace.events import Part
from asynctrace.formats import is_our_trace, load_parts, save_parts
from asynctrace.formats.perfetto_layout import HEADER, MAGIC
from asynctrace.formats.perfetto_reader import read_parts
from asynctrace.formats.perfetto_tables import record
from asynctrace.formats.wire import WireError
from tests import sampling
from tests.strategies_parts import any_parts, example_part, program_parts

one_directory = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=50)


def types_of(part: Part) -> list[object]:
    """Return the types of the values that compare equal to values of other types: True to 1, 1 to 1.0."""
    attributes = [type(value) for key in sorted(part.sites) for _, value in part.sites[key].attributes]
    return [type(part.sees_coroutines), attributes]


@given(st.lists(any_parts, max_size=3))
@one_directory
def test_what_is_loaded_is_what_was_saved(tmp_path: Path, parts: list[Part]) -> None:
    path = tmp_path / "any.pftrace"
    save_parts(tuple(parts), path)
    assert load_parts(path) == parts
    assert [types_of(part) for part in load_parts(path)] == [types_of(part) for part in parts]
    assert read_parts(path)[1:] == (None, None, False, [])


@given(program_parts(pid=100), program_parts(pid=200))
@one_directory
def test_programs_of_two_processes_share_a_file(tmp_path: Path, first: Part, second: Part) -> None:
    path = tmp_path / "two.pftrace"
    save_parts((first, second), path)
    assert load_parts(path) == [first, second]


def test_the_window_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "window.pftrace"
    part = example_part()
    save_parts((part,), path, window=(part.start_ns + 5, part.end_ns - 5))
    assert read_parts(path) == ([part], part.start_ns + 5, part.end_ns - 5, False, [])


def test_events_are_saved_in_order_of_time(tmp_path: Path) -> None:
    path = tmp_path / "sorted.pftrace"
    part = example_part()
    shuffled = list(part.events)
    random.Random(1).shuffle(shuffled)
    save_parts((replace(part, events=shuffled),), path)
    assert load_parts(path)[0].events == sorted(shuffled, key=lambda event: event[0])


@pytest.mark.parametrize("field", range(7))
@pytest.mark.parametrize("value", [-1, 1 << 63])
def test_a_number_that_could_not_be_read_back_is_refused(tmp_path: Path, field: int, value: int) -> None:
    event = [1] * 7
    event[field] = value
    path = tmp_path / "refused.pftrace"
    with pytest.raises(WireError):
        save_parts((replace(example_part(), events=[tuple(event)]),), path)  # type: ignore[list-item]
    assert list(tmp_path.iterdir()) == []


def test_a_compressed_file_loads(tmp_path: Path) -> None:
    path, part = tmp_path / "packed.pftrace.gz", example_part()
    save_parts((part,), path)
    assert path.read_bytes()[:2] == b"\x1f\x8b"
    assert load_parts(path) == [part]
    assert is_our_trace(path)
    path.write_bytes(path.read_bytes()[:-200])
    parts, _, _, truncated, _ = read_parts(path)
    assert truncated
    assert parts[0].events == part.events[: len(parts[0].events)]


@pytest.mark.sampled
def test_a_file_cut_anywhere_loads_up_to_the_cut(tmp_path: Path) -> None:
    path, cut_path = tmp_path / "whole.pftrace", tmp_path / "cut.pftrace"
    first, second = example_part(3, seed=3), example_part(2, seed=4, pid=200)
    window = first.start_ns, first.end_ns + 10**12
    save_parts((first, second), path, window=window)
    content = path.read_bytes()
    whole = first.events + second.events
    header_size = 2 + content[1]
    counts = []
    for size in sampling.some(range(len(content))):
        cut_path.write_bytes(content[:size])
        if size < header_size:
            with pytest.raises(FormatError):
                read_parts(cut_path)
            continue
        parts, start_ns, end_ns, truncated, notes = read_parts(cut_path)
        assert truncated
        assert notes
        events = [event for part in parts for event in part.events]
        assert events == whole[: len(events)]
        counts.append(len(events))
        for part, original in zip(parts, (first, second), strict=False):
            assert part.names.items() <= original.names.items()
            assert part.sites.items() <= original.sites.items()
            if part.events:
                # Tables come before the events that need them.
                assert part.names == original.names
                assert part.sites == original.sites
            assert part.end_ns in (original.end_ns, max(original.start_ns, *(event[0] for event in part.events), 0))
        assert start_ns == window[0]
        assert end_ns == window[1] if not parts else end_ns == max(part.end_ns for part in parts)
    assert counts == sorted(counts)
    assert set(counts) == set(range(len(whole) + 1))  # not one whole event is lost


@given(st.data())
@one_directory
def test_a_damaged_file_is_refused_or_still_holds_parts(tmp_path: Path, data: st.DataObject) -> None:
    path = tmp_path / "damaged.pftrace"
    save_parts((example_part(8, seed=5),), path)
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(content)
    parts: list[Part] = []
    refused = ""
    try:
        parts, *_ = read_parts(path)
    except FormatError as error:
        refused = str(error)
    assert refused.count(str(path)) == bool(refused)
    assert "\n" not in refused
    for part in parts:
        assert all(type(number) is int and number >= 0 for event in part.events for number in (event[0], event[2]))
        assert all(len(event) == 7 for event in part.events)


@given(st.binary(max_size=200))
@one_directory
def test_bytes_of_no_trace_are_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "garbage.pftrace"
    path.write_bytes(content)
    with pytest.raises(FormatError):
        read_parts(path)
    assert not is_our_trace(path)


def refusal(path: Path) -> str:
    with pytest.raises(FormatError) as caught:
        load_parts(path)
    return str(caught.value)


def test_each_refusal_is_a_sentence_that_says_why(tmp_path: Path) -> None:
    path = tmp_path / "x.pftrace"
    assert refusal(path) == f"{path} does not exist: check the path, or make a recording with asynctrace run"
    assert refusal(tmp_path) == f"{tmp_path} is a folder: name a trace in it"
    path.write_bytes(b"")
    assert refusal(path) == f"{path} is empty: the program that wrote it ended before it could write anything"
    path.write_bytes(b'{"traceEvents": []}')
    assert refusal(path) == f"{path} is not a trace that asynctrace wrote"
    path.write_bytes(b"\x1f\x8bgarbage")
    assert refusal(path) == f"{path} is not a trace that asynctrace wrote"
    path.write_bytes(gzip.compress(b"")[:8])
    assert refusal(path) == f"{path} was cut short before its first event: nothing of the recording is left"
    # A packet with the id of a process, as another tool may begin.
    path.write_bytes(b"\x0a\x06\x40\x01\x50\x01\x68\x01" * 3)
    assert refusal(path) == f"{path} is not a trace that asynctrace wrote, but a Perfetto trace of another tool"
    path.write_bytes(record(HEADER, MAGIC, 3, 0))
    assert refusal(path) == (
        f"{path} was written by a newer asynctrace (format 3; this one reads 2): upgrade asynctrace"
    )
    assert is_our_trace(path)


def test_what_a_newer_minor_version_adds_is_passed_over(tmp_path: Path) -> None:
    path, part = tmp_path / "newer.pftrace", example_part(5)
    save_parts((part,), path)
    content = path.read_bytes()
    header_size = 2 + content[1]
    part_end = header_size + 2 + content[header_size + 1]
    added = record(99, 1, "something new", b"\xff")
    path.write_bytes(record(HEADER, MAGIC, 2, 7) + content[header_size:part_end] + added + content[part_end:])
    assert load_parts(path) == [part]


def test_only_a_trace_of_ours_is_ours(tmp_path: Path) -> None:
    path = tmp_path / "x.pftrace"
    assert not is_our_trace(path)
    save_parts((example_part(2),), path)
    assert is_our_trace(path)
    path.write_text("my notes")
    assert not is_our_trace(path)
    assert not is_our_trace(tmp_path)


def test_a_failed_save_leaves_the_earlier_trace(tmp_path: Path) -> None:
    path, part = tmp_path / "good.pftrace", example_part(5)
    save_parts((part,), path)
    with pytest.raises(WireError):
        save_parts((replace(part, events=[*part.events, (1 << 63, 0, 0, 0, 0, 0, 0)]),), path)
    assert load_parts(path) == [part]
    assert os.listdir(tmp_path) == ["good.pftrace"]


def test_a_save_where_nothing_can_be_written_says_so(tmp_path: Path) -> None:
    path = tmp_path / "missing" / "x.pftrace"
    with pytest.raises(AsynctraceError, match="cannot be written: No such file or directory"):
        save_parts((example_part(2),), path)


def test_a_suffix_of_no_format_is_refused_with_those_that_are(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"use \.pftrace or \.pftrace\.gz"):
        save_parts((example_part(2),), tmp_path / "x.txt")


@pytest.mark.skipif(os.name != "posix", reason="permissions are POSIX's")
def test_a_replaced_file_keeps_its_permissions_and_links(tmp_path: Path) -> None:
    path, link = tmp_path / "x.pftrace", tmp_path / "link.pftrace"
    save_parts((example_part(2),), path)
    path.chmod(0o640)
    link.symlink_to(path)
    save_parts((example_part(3),), link)
    assert link.is_symlink()
    assert load_parts(path) == [example_part(3)]
    assert path.stat().st_mode & 0o777 == 0o640


def test_gzip_of_another_program_loads(tmp_path: Path) -> None:
    path, part = tmp_path / "x.pftrace", example_part(3)
    save_parts((part,), path)
    packed = tmp_path / "y.pftrace.gz"
    packed.write_bytes(gzip.compress(path.read_bytes()))
    assert load_parts(packed) == [part]
