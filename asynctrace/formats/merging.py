"""Recordings of several processes as one: on one clock, with numbers of their own, and names that tell them apart.

The monotonic clock is one for a machine between two boots, so recordings of one boot merge without guessing. Each part
says what the wall clock was at its start; where the two clocks of two recordings are further apart than a wall clock is
set while a machine runs, they are of two boots or machines. Then only the wall clock is left, and a note says so.
"""

from __future__ import annotations

import os
from array import array
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from asynctrace.analysis.row_names import is_given
from asynctrace.errors import UsageError
from asynctrace.events import FIELDS, PROCESS_STARTED, Events, Part
from asynctrace.formats import read_recording
from asynctrace.formats.perfetto_encoder import NUMBER_KINDS
from asynctrace.formats.same_process import recorded_twice
from asynctrace.model.build import dropped_before

_ONE_BOOT_NS = 2_000_000_000  # what the wall clock may be set by, in all, while the machine runs
_FREE_PIDS = 1 << 22  # Linux has none from here on
_NO_PROGRAMS = ("", "-c", "-m", "__main__.py", "ipykernel_launcher.py")  # which tell nothing of what was run


@dataclass(slots=True)
class _Recording:
    """What one file holds. `start_ns` is where its own view begins."""

    name: str
    parts: list[Part]
    start_ns: int
    end_ns: int

    @property
    def wall_start_ns(self) -> int:
        return self.start_ns + self.wall_offset_ns

    @property
    def wall_offset_ns(self) -> int:
        return self.parts[0].wall_ns - self.parts[0].start_ns

    def note(self, text: str) -> None:
        first = self.parts[0]
        self.parts[0] = replace(first, notes=(*first.notes, text))


def merge_recordings(
    paths: Sequence[str | os.PathLike[str]], on_progress: Callable[[int], None] | None = None
) -> tuple[tuple[Part, ...], tuple[int, int], list[str]]:
    """Return the parts of several recordings as those of one, its window, and what was said about the merging.

    Args:
        paths: The files, in any order.
        on_progress: Called with how many have been read.

    Returns:
        The parts, those of the recording that begins first before the others; from the first start to the last end; the
        notes that the merging added.

    Raises:
        FormatError: If a file is missing, is not ours, is damaged or was written by a newer version.
        UsageError: If two of them hold the same events of a process.
    """
    recordings = []
    for number, path in enumerate(paths, 1):
        recordings.append(_read(Path(path)))
        if on_progress is not None:
            on_progress(number)
    recordings.sort(key=lambda recording: recording.wall_start_ns)
    said = _onto_one_clock(recordings)
    recordings.sort(key=lambda recording: recording.start_ns)
    said += _with_pids_of_their_own(recordings)
    _named(recordings)
    window = min(each.start_ns for each in recordings), max(each.end_ns for each in recordings)
    return tuple(part for recording in recordings for part in recording.parts), window, said


def _read(path: Path) -> _Recording:
    parts, window, notes = read_recording(path)
    first = parts[0]
    start_ns, end_ns = window or (first.start_ns, first.end_ns)
    kept_from_ns, _ = dropped_before(first)
    recording = _Recording(str(path), parts, min(max(start_ns, kept_from_ns), end_ns), end_ns)
    parts[0] = replace(first, is_root=True, notes=(*first.notes, *notes))
    return recording


def _onto_one_clock(recordings: list[_Recording]) -> list[str]:
    """Move recordings of another boot or machine to where the wall clock says; return what is to be told of it."""
    first = recordings[0]
    boots = [(first.wall_offset_ns, 0)]  # what the wall clock is ahead by, and how far what is of it moves
    said = []
    for recording in recordings[1:]:
        offset_ns = recording.wall_offset_ns
        known = [moved for boot, moved in boots if abs(offset_ns - boot) <= _ONE_BOOT_NS]
        if not known:
            known = [offset_ns - first.wall_offset_ns]
            boots.append((offset_ns, known[0]))
        if known[0]:
            recording.parts = [_moved(part, known[0]) for part in recording.parts]
            recording.start_ns += known[0]
            recording.end_ns += known[0]
            text = (
                f"not of one boot of one machine with {Path(first.name).name}, or the clock was set between them:"
                " placed by the wall clock, so what is before what is only as sure as that"
            )
            recording.note(text)
            said.append(f"{recording.name}: {text}")
    return said


def _moved(part: Part, by_ns: int) -> Part:
    fields = _fields(part)
    fields[::FIELDS] = array("q", [time_ns + by_ns for time_ns in fields[::FIELDS]])
    return replace(part, start_ns=part.start_ns + by_ns, end_ns=part.end_ns + by_ns, events=Events(fields))


def _with_pids_of_their_own(recordings: list[_Recording]) -> list[str]:
    """Give processes whose number an earlier recording has another one; return what is to be told of it.

    Containers on one machine each count from 1; a number is used again; a process makes one recording after the other.
    """
    of: dict[int, list[tuple[_Recording, Part]]] = {}
    free = _FREE_PIDS
    said = []
    for recording in recordings:
        pids = {part.pid for part in recording.parts}
        for part in recording.parts:
            for other, same in of.get(part.pid, ()):
                if recorded_twice(part, same):
                    raise UsageError(
                        f"{other.name} and {recording.name} hold the same events of process {part.pid}:"
                        " name the one that has more of them"
                    )
        # A pid that was given before counts as taken, too: a recording can be one that was merged.
        changed: dict[int, int] = {}
        for pid in sorted(pids & of.keys()):
            while free in of or free in pids:
                free += 1
            changed[pid] = free
            free += 1
            text = f"process {pid} is shown as {changed[pid]}: another recording has one of that number, too"
            said.append(f"{recording.name}: {text}")
        for part in recording.parts:
            of.setdefault(changed.get(part.pid, part.pid), []).append((recording, part))
            if part.pid in changed:
                of[part.pid].append((recording, part))  # for the next that has the same
        if changed:
            recording.parts = [_renumbered(part, changed) for part in recording.parts]
    return said


def _renumbered(part: Part, pids: dict[int, int]) -> Part:
    """Return a part with other pids, in its ids, too, of which each has the pid of its process above its lower half."""

    def renumbered(id: int) -> int:
        pid = pids.get(id >> 32)
        return id if pid is None else pid << 32 | id & 0xFFFFFFFF

    fields = _fields(part)
    fields[3::FIELDS] = array("q", map(renumbered, fields[3::FIELDS]))
    kinds, others = fields[2::FIELDS], fields[4::FIELDS]
    fields[4::FIELDS] = array(
        "q",
        [
            pids.get(other, other) if kind == PROCESS_STARTED else other if kind in NUMBER_KINDS else renumbered(other)
            for kind, other in zip(kinds, others, strict=True)
        ],
    )
    note = f"its own number is {part.pid}, which a process of another recording has, too"
    return replace(
        part,
        pid=pids.get(part.pid, part.pid),
        notes=(*part.notes, note) if part.pid in pids else part.notes,
        parent_pid=pids.get(part.parent_pid, part.parent_pid),
        names={renumbered(id): name for id, name in part.names.items()},
        events=Events(fields),
    )


def _fields(part: Part) -> array[int]:
    return array("q", part.events.fields) if isinstance(part.events, Events) else Events.of(part.events).fields


def _named(recordings: list[_Recording]) -> None:
    """Name each process by its program, with the pid where several are alike; and what it started, after it."""
    roots: list[tuple[Part, str]] = []
    for recording in recordings:
        roots += [(part, _shown_name(part, recording)) for part in recording.parts if part.is_root]
    count = Counter(name for _, name in roots)
    names = {part.pid: f"{name} {part.pid}" if count[name] > 1 else name for part, name in roots}
    for recording in recordings:
        root = before = ""
        for index, part in enumerate(recording.parts):
            if part.is_root:
                root = names[part.pid]
                before = part.process_name
            name = root if part.is_root else f"{root} {part.process_name.removeprefix(f'{before} ')}"
            recording.parts[index] = replace(part, process_name=name)


def _shown_name(part: Part, recording: _Recording) -> str:
    if is_given(part.process_name):  # also by an earlier merging
        return part.process_name
    if part.program in _NO_PROGRAMS:
        return Path(recording.name).name.removesuffix(".gz").removesuffix(".pftrace")
    return part.program.removesuffix(".py")
