"""A file that is written while its program runs: what is in it at any moment loads, and it stays below its limit."""

from __future__ import annotations

import functools
import os
import random
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from asynctrace import events as kinds
from asynctrace.errors import FormatError
from asynctrace.events import Part
from asynctrace.formats import growing_file, is_our_trace, load, load_parts, save_parts
from asynctrace.formats.perfetto_reader import read_parts
from asynctrace.formats.perfetto_stream import StreamFile
from tests import sampling
from tests.perfetto_view import messages, view
from tests.strategies_parts import any_parts, example_part, program_parts
from tests.unit.formats.streaming import LARGE, Streamed, base_of, stream, without_tables

SMALL = 6000  # bytes: some segments of the examples

pytestmark = pytest.mark.usefixtures("each_core")

one_directory = settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=sampling.examples(50)
)
batches = st.lists(st.integers(0, 40), max_size=12)


@pytest.mark.sampled
@given(program_parts(), batches)
@one_directory
def test_a_part_written_in_batches_and_segments_is_the_part_that_is_saved_at_once(
    tmp_path: Path, part: Part, counts: list[int]
) -> None:
    path = tmp_path / "x.pftrace"
    stream(part, path, counts)
    assert read_parts(path) == ([part], None, None, False, [])


@pytest.mark.sampled
@given(any_parts, batches)
@one_directory
def test_so_it_is_with_senseless_events(tmp_path: Path, part: Part, counts: list[int]) -> None:
    path = tmp_path / "x.pftrace"
    stream(part, path, [count for count in counts if count])
    assert load_parts(path) == [part]


@pytest.mark.sampled
@given(program_parts(max_steps=60), batches)
@one_directory
def test_what_is_left_after_dropping_is_a_base_and_the_events_after_it(
    tmp_path: Path, part: Part, counts: list[int]
) -> None:
    path = tmp_path / "x.pftrace"
    bases = stream(part, path, [*counts, 0, 5, 0], limit_bytes=100)  # room for no segment but the present one
    base = bases[-1]
    (loaded,) = load_parts(path)
    later = part.events[base.events[0][4] :]
    assert loaded == replace(
        part,
        start_ns=base.start_ns,
        wall_ns=base.wall_ns,
        cpu_ns=part.cpu_ns - base.cpu_ns,
        events=[*base.events, *later],
    )
    assert load(path).lost == len(part.events) - len(later)


def test_the_newest_segments_stay_below_the_limit(tmp_path: Path) -> None:
    path, part, limit = tmp_path / "x.pftrace", example_part(400, seed=2), 160_000
    streamed = Streamed(part, path, limit)
    starts = {0: part}
    while streamed.done < len(part.events):
        streamed.write(10)
        if streamed.file.wants_segment:
            streamed.begin_segment()
            starts[streamed.done] = streamed.bases[-1]
        assert path.stat().st_size < limit
    streamed.finish()
    (loaded,) = load_parts(path)
    lost = loaded.events[0][4]
    assert loaded.events == [*starts[lost].events, *part.events[lost:]]
    assert loaded.start_ns == starts[lost].start_ns
    assert loaded.wall_ns == starts[lost].wall_ns
    assert 0 < lost <= list(starts)[-3]  # two whole segments are there at least, and the present one


def test_a_service_writes_twenty_times_its_limit_and_stays_below_it(tmp_path: Path) -> None:
    path, limit = tmp_path / "x.pftrace", 1 << 19
    part = example_part(60)
    names = replace(part, events=[])
    period_ns = part.end_ns - part.start_ns
    peak = written = 0
    original = os.write

    def write(fd: int, content: bytes) -> int:
        nonlocal peak, written
        count = original(fd, content)
        written += count
        peak = max(peak, sum(entry.stat().st_size for entry in os.scandir(tmp_path)))
        return count

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "write", write)
        file = StreamFile(path, limit)
        file.begin(without_tables(replace(part, events=[])))
        file.write(names)
        for turn in range(20 * limit):
            later = [(event[0] + turn * period_ns, *event[1:]) for event in part.events]
            file.write(replace(without_tables(part), events=later))
            if file.wants_segment:
                if written > 20 * limit:
                    break
                base = base_of(part, len(part.events))
                lost = (1 << 40) + turn
                at_ns = base.start_ns + turn * period_ns
                events = [(at_ns, 0, kinds.LOST, 0, lost, 0, 0)]
                events += [(at_ns, *event[1:]) for event in base.events[1:]]
                file.begin_segment(replace(base, start_ns=at_ns, cpu_ns=0, events=events))
        file.finish(at_ns, 0)
    assert limit // 2 < peak < limit
    assert limit // 4 < path.stat().st_size < limit
    assert os.listdir(tmp_path) == ["x.pftrace"]
    assert load(path).lost > 1 << 40


def test_a_write_reaches_the_file_before_it_returns(tmp_path: Path) -> None:
    path, part = tmp_path / "x.pftrace", example_part(20)
    streamed = Streamed(part, path)
    for count in range(len(part.events)):
        (loaded,), _, _, truncated, _ = read_parts(path)
        assert loaded.events == part.events[:count]
        assert truncated
        streamed.write(1)
    streamed.finish()


def test_what_one_thread_brings_late_is_in_order_of_time(tmp_path: Path) -> None:
    path, part = tmp_path / "x.pftrace", example_part(60)
    chance = random.Random(7)
    events = [(event[0], chance.choice((1, 2, 3)), *event[2:]) for event in part.events]
    prompt = [event for event in events if event[1] != 3]
    late = [event for event in events if event[1] == 3]
    file = StreamFile(path, LARGE)
    file.begin(replace(part, events=prompt[:100]))
    file.write(replace(without_tables(part), events=late[:20]))
    file.write(replace(without_tables(part), events=prompt[100:]))
    file.write(replace(without_tables(part), events=late[20:]))
    file.finish(part.end_ns, part.cpu_ns)
    (loaded,) = load_parts(path)
    assert sorted(loaded.events) == sorted(events)
    assert [event[0] for event in loaded.events] == sorted(event[0] for event in events)
    for thread in (1, 2, 3):
        assert [event for event in loaded.events if event[1] == thread] == [
            event for event in events if event[1] == thread
        ]
    view(path)  # no end without a beginning


def test_what_comes_later_than_the_first_base_is_moved_to_its_time(tmp_path: Path) -> None:
    path, part = tmp_path / "x.pftrace", example_part(20)
    streamed = Streamed(part, path)
    streamed.write(40)
    streamed.begin_segment(drop_earlier=True)
    base = streamed.bases[0]
    mark = (base.start_ns - 5, 2, kinds.MARK, 0, 0, 1, 0)
    streamed.file.write(replace(without_tables(part), events=[mark]))
    streamed.finish()
    (loaded,) = load_parts(path)
    assert loaded.events == [*base.events, (base.start_ns, *mark[1:]), *part.events[40:]]


def test_what_was_lost_takes_all_that_is_earlier_with_it(tmp_path: Path) -> None:
    path, part = tmp_path / "x.pftrace", example_part(60)
    streamed = Streamed(part, path)
    streamed.write(50)
    streamed.begin_segment()
    streamed.write(50)
    streamed.begin_segment(drop_earlier=True)
    base = streamed.bases[-1]
    assert load_parts(path)[0].events == base.events
    streamed.write(10)
    streamed.begin_segment()
    streamed.finish()
    assert load_parts(path)[0].events == [*base.events, *part.events[100:]]


def test_parts_of_children_follow(tmp_path: Path) -> None:
    path, part = tmp_path / "x.pftrace", example_part(20)
    children = [example_part(5, seed=pid, pid=pid) for pid in (200, 300)]
    streamed = Streamed(part, path)
    streamed.write(30)
    streamed.begin_segment()
    streamed.finish(iter(children))
    assert read_parts(path) == ([part, *children], None, None, False, [])


def test_a_file_without_its_end_counts_the_children_that_it_lacks(tmp_path: Path) -> None:
    path, part = tmp_path / "x.pftrace", example_part(20)
    starts = [(part.start_ns + 1, 1, kinds.PROCESS_STARTED, 0, pid, 0, 0) for pid in (200, 300)]
    part = replace(part, events=sorted([*starts, *part.events]))
    Streamed(part, path).write(10)
    assert "2 child processes are missing: the parts of children come at the end of a file" in load(path).notes
    streamed = Streamed(part, path)
    streamed.finish([example_part(5, pid=200)])
    assert load(path).notes == ()
    content = path.read_bytes()
    path.write_bytes(content[:-3])
    assert any(note.startswith("1 child process is missing: ") for note in load(path).notes)


def _stream_small(path: Path) -> None:
    """Write some events, with segments, one of them dropped, and a child."""
    part = example_part(8, seed=3)
    streamed = Streamed(part, path, SMALL)
    streamed.write(20)
    streamed.begin_segment()
    streamed.write(7)
    streamed.begin_segment()
    streamed.write(11)
    streamed.finish([example_part(2, seed=4, pid=200)])


@pytest.mark.sampled
@pytest.mark.parametrize("is_dropped", [False, True])
def test_a_file_cut_anywhere_loads_up_to_the_cut(tmp_path: Path, is_dropped: bool) -> None:
    path = tmp_path / "x.pftrace"
    part = replace(example_part(2, seed=2), expressions={})
    child = replace(without_tables(example_part(1, pid=200)), events=[])
    streamed = Streamed(part, path)
    streamed.write(8)
    streamed.begin_segment(drop_earlier=is_dropped)
    streamed.write(5)
    streamed.begin_segment()
    streamed.finish([child])
    expected = [*streamed.bases[0].events, *part.events[8:]] if is_dropped else part.events
    counts: list[int] = []
    refused: list[str] = []
    sizes = range(path.stat().st_size)
    for size in reversed(sizes[::3] if is_dropped else sampling.some(sizes)):
        os.truncate(path, size)
        try:
            parts, _, _, truncated, _ = read_parts(path)
            if not parts or size % 64 == 0:
                load(path)
        except FormatError as error:
            refused.append(str(error))
            continue
        assert not refused
        assert truncated
        loaded = parts[0]
        assert loaded.events == expected[: len(loaded.events)]
        counts.append(len(loaded.events))
        if len(parts) == 1 and loaded.events:
            assert loaded.end_ns in (part.end_ns, loaded.events[-1][0])
    assert "nothing of the recording is left" in refused[0]
    assert " is empty: " in refused[-1]
    assert counts == sorted(counts, reverse=True)
    base_size = len(streamed.bases[0].events)
    # Of a first base that is not whole only the count of what is lost is told; else not one whole event is missing.
    assert set(counts) == (
        {0, 1} | set(range(base_size, len(expected) + 1)) if is_dropped else set(range(len(expected) + 1))
    )


def _run_and_die(work: Callable[[], None], calls: int) -> bool:
    """Do it in a forked process that is killed at its n-th system call for files; tell whether it was."""
    pid = os.fork()
    if pid:
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 9
    left = calls

    def dying(original, *arguments, **options):  # type: ignore[no-untyped-def]
        nonlocal left
        if not left:
            os._exit(9)
        left -= 1
        return original(*arguments, **options)

    for name in ("open", "write", "pread", "ftruncate", "replace", "unlink", "chmod"):
        setattr(os, name, functools.partial(dying, getattr(os, name)))
    status = 1
    try:
        work()
        status = 0
    finally:
        os._exit(status)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")
def test_killed_at_any_moment_the_program_leaves_a_file_that_loads(tmp_path: Path) -> None:
    path = tmp_path / "x.pftrace"
    part = example_part(8, seed=3)
    first = example_part(3, seed=9)
    sizes = []
    for calls in range(200):
        save_parts((first,), path)
        if not _run_and_die(lambda: _stream_small(path), calls):
            break
        try:
            loaded = load_parts(path)
        except FormatError as error:  # the header alone
            pytest.fail(str(error))
        if loaded and loaded != [first]:
            own = [event for event in loaded[0].events if event in part.events]
            assert own == part.events[20 if loaded[0].start_ns > part.start_ns else 0 :][: len(own)]
            sizes.append(loaded[0].events[-1][0] if loaded[0].events else 0)
    else:
        pytest.fail("it never ended")
    assert sizes == sorted(sizes)
    assert len(set(sizes)) >= 3
    assert load(path).lost == 20
    assert not read_parts(path)[3]
    assert os.listdir(tmp_path) == ["x.pftrace"]  # what the killed ones left is gone


@pytest.mark.parametrize("room", range(0, 9000, 450))
def test_a_disk_that_is_full_leaves_the_file_as_it_was_after_the_last_whole_write(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, room: int
) -> None:
    path, part = tmp_path / "x.pftrace", example_part(40, seed=3)
    original = os.write

    def write(fd: int, content: bytes) -> int:
        nonlocal room
        if not room:
            raise OSError(28, "No space left on device")
        count = original(fd, content[:room])
        room -= count
        return count

    monkeypatch.setattr(os, "write", write)
    kept = b""
    streamed = None
    with suppress(OSError):
        streamed = Streamed(part, path, SMALL)
        while True:
            kept = path.read_bytes()
            streamed.write(9)
            kept = path.read_bytes()
            if streamed.file.wants_segment:
                streamed.begin_segment()
    assert not room
    if streamed is not None:
        assert path.read_bytes() == kept
        streamed.file.abandon()
        assert read_parts(path)[3]
    assert [name for name in os.listdir(tmp_path) if name.endswith(".new")] == []


def test_a_file_that_was_moved_away_stays_whole_and_a_new_one_takes_its_place(tmp_path: Path) -> None:
    path, moved, part = tmp_path / "x.pftrace", tmp_path / "moved.pftrace", example_part(20)
    streamed = Streamed(part, path)
    streamed.write(30)
    path.rename(moved)
    streamed.write(20)
    streamed.begin_segment(drop_earlier=True)
    streamed.finish()
    assert load_parts(moved)[0].events == part.events[:50]
    assert load_parts(path)[0].events == [*streamed.bases[0].events, *part.events[50:]]


def test_another_file_in_its_place_is_never_replaced(tmp_path: Path) -> None:
    path, part = tmp_path / "x.pftrace", example_part(20)
    streamed = Streamed(part, path)
    streamed.write(30)
    other = example_part(3, seed=8)
    save_parts((other,), path)
    streamed.write(10)
    with pytest.raises(OSError, match="another file has taken its place"):
        streamed.begin_segment(drop_earlier=True)
    streamed.file.abandon()
    assert load_parts(path) == [other]
    assert os.listdir(tmp_path) == ["x.pftrace"]


def test_what_is_no_plain_file_is_not_replaced(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="it is no plain file"):
        StreamFile(Path("/dev/null"), LARGE) if os.getuid() else StreamFile(_pipe(tmp_path), LARGE)
    with pytest.raises(OSError, match="it is no plain file"):
        StreamFile(tmp_path, LARGE)
    with pytest.raises(FileNotFoundError):
        StreamFile(tmp_path / "missing" / "x.pftrace", LARGE)


def _pipe(folder: Path) -> Path:
    path = folder / "pipe"
    os.mkfifo(path)
    return path


def test_remains_of_a_killed_program_are_removed(tmp_path: Path) -> None:
    path = tmp_path / "x.pftrace"
    (tmp_path / ".x.pftrace.0123abcd.new").write_bytes(b"half a file")
    (tmp_path / ".y.pftrace.0123abcd.new").write_bytes(b"another's")
    (tmp_path / ".x.pftrace.mine.new").write_bytes(b"the user's")
    StreamFile(path, LARGE).abandon()
    assert sorted(os.listdir(tmp_path)) == [".x.pftrace.mine.new", ".y.pftrace.0123abcd.new"]


def test_an_earlier_file_stays_until_there_is_a_part_that_loads(tmp_path: Path) -> None:
    path, part, earlier = tmp_path / "x.pftrace", example_part(3), example_part(2)
    save_parts((earlier,), path)
    file = StreamFile(path, LARGE)
    assert load_parts(path) == [earlier]
    file.begin(without_tables(replace(part, events=[])))
    (loaded,) = load_parts(path)
    assert (loaded.pid, loaded.events) == (part.pid, [])
    assert is_our_trace(path)
    assert os.listdir(tmp_path) == ["x.pftrace"]
    file.abandon()


def test_a_replaced_file_keeps_its_permissions_and_links(tmp_path: Path) -> None:
    path, link, part = tmp_path / "x.pftrace", tmp_path / "link.pftrace", example_part(20)
    save_parts((example_part(2),), path)
    path.chmod(0o640)
    link.symlink_to(path)
    streamed = Streamed(part, link)
    streamed.write(10)
    streamed.begin_segment(drop_earlier=True)
    streamed.finish()
    assert link.is_symlink()
    assert load_parts(path)[0].events[-1] == part.events[-1]
    assert path.stat().st_mode & 0o777 == 0o640


def test_segments_show_as_one_process_with_its_threads(tmp_path: Path) -> None:
    whole, path, part = tmp_path / "whole.pftrace", tmp_path / "x.pftrace", example_part(60)
    save_parts((part,), whole)
    stream(part, path, [40, 0, 60, 0, 30])
    described = [packet.track_descriptor for packet in messages(path).packet if packet.HasField("track_descriptor")]
    assert len({one.uuid for one in described if one.HasField("process")}) == 1
    assert len({one.uuid for one in described if one.HasField("thread")}) == 1
    assert len({one.uuid for one in described if one.HasField("counter")}) == 3
    cuts = {base_of(part, count).start_ns for count in (40, 100)}
    one, several = view(whole), view(path)
    # A slice that is open where a segment begins is closed there and goes on as another; all else is the same.
    joined = {
        (each.track, each.name, each.start_ns, each.end_ns)
        for each in several.slices
        if each.start_ns not in cuts and each.end_ns not in cuts
    }
    expected = {(each.track, each.name, each.start_ns, each.end_ns) for each in one.slices}
    assert joined <= expected
    for each in one.slices:
        end_ns = each.end_ns if each.end_ns is not None else part.end_ns
        if not any(each.start_ns <= cut <= end_ns for cut in cuts):
            assert (each.track, each.name, each.start_ns, each.end_ns) in joined


def test_a_segment_opens_what_is_open_and_shows_nothing_that_did_not_happen(tmp_path: Path) -> None:
    path, part = tmp_path / "x.pftrace", example_part(60)
    for count in range(10, 150, 7):
        streamed = Streamed(part, path)
        streamed.write(count)
        streamed.begin_segment()
        streamed.file.finish(part.end_ns, 0)
        cut_ns = streamed.bases[0].start_ns
        seen = view(path)
        assert sorted((one.track, one.depth, one.name) for one in seen.slices if one.end_ns is None) == sorted(
            (one.track, one.depth, one.name) for one in open_at_the_end(part, count, tmp_path / "y.pftrace")
        )
        assert all(one.start_ns == cut_ns for one in seen.slices if one.end_ns is None)
        assert not [one for one in seen.slices if one.name.startswith("lost")]
        for values in seen.counters.values():
            assert [value for time_ns, value in values if time_ns >= cut_ns][-1] == values[-1][1]


def open_at_the_end(part: Part, count: int, path: Path) -> list[object]:
    save_parts((replace(part, events=part.events[:count]),), path)
    return [one for one in view(path).slices if one.end_ns is None]


def test_what_was_dropped_shows_as_a_note(tmp_path: Path) -> None:
    path, part = tmp_path / "x.pftrace", example_part(60)
    streamed = Streamed(part, path)
    streamed.write(50)
    streamed.begin_segment(drop_earlier=True)
    streamed.finish()
    notes = [one for one in view(path).slices if one.name.startswith("lost")]
    assert [(one.name, one.start_ns, one.track) for one in notes] == [
        ("lost 50 events", streamed.bases[0].start_ns, ("MainProcess", "recording"))
    ]


def test_a_block_is_copied_whole_when_the_file_is_larger_than_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(growing_file, "_BLOCK", 100)
    path, part = tmp_path / "x.pftrace", example_part(60)
    streamed = Streamed(part, path, SMALL)
    for _ in range(8):
        streamed.write(20)
        streamed.begin_segment()
    streamed.finish()
    (loaded,) = load_parts(path)
    assert loaded.events[-20:] == part.events[-20:]
    assert loaded.events[0][2] == kinds.LOST
