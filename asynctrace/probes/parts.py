"""The files in which a child process leaves its part of a recording, and how the parent reads them.

A file is a sequence of frames. A frame is a head and a pickle: what is new since the frame before. The head is the
length of the pickle, how many events are in it, and how many were dropped before it (8 bytes each, little-endian). A
child that is killed leaves a torn frame at most; what came before it counts. When a file is large the child goes on in
the next, which begins with a base, and keeps the newest two.
"""

from __future__ import annotations

import os
import pickle
import struct
import threading
from array import array
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any

from asynctrace import clock
from asynctrace.events import LOST, Event, Events, Part
from asynctrace.recorder import Recorder
from asynctrace.recorder.chunks import FIELDS, Follower, each_event, in_order
from asynctrace.recorder.describing import Describer, Entries

_HEAD = struct.Struct("<qqq")
_TABLES = ("threads", "names", "sites", "expressions", "stacks")
_FOLLOW_AT_ONCE = 1_600  # events, in one piece of work
_LEAST_FILE_BYTES = 1 << 18


class PartWriter:
    """Appends what a recorder has recorded since the last time to this process's file.

    Args:
        recorder: The child's own recorder.
        folder: Where the parts are gathered.
        forked_ns: When a bare `os.fork` began, of which the parent could not note the pid; else 0.
    """

    def __init__(self, recorder: Recorder, folder: str, forked_ns: int = 0) -> None:
        self.recorder = recorder
        self.flushed_ns = recorder.start_ns
        self.position = 0  # the number of the next event to write
        self._stem = os.path.join(folder, f"part-{recorder.pid}-{recorder.start_ns}")
        self._number = 1
        # Part files live on disk, and the parent reads them whole: a quarter of what the events may take in memory.
        self._file_bytes = max(_LEAST_FILE_BYTES, recorder.history.limit_bytes // 8)
        self._size = 0
        self._forked_ns = forked_ns
        self._lock = threading.RLock()
        self._is_busy = False
        self._has_header = False
        self._base: tuple[int, list[Event]] = recorder.start_ns, []
        self._cpu_before_ns = 0  # the base
        self._describer = Describer(recorder.tables)
        with recorder.history.lock:
            self._follower = recorder.history.follow()  # some way behind `position`, until there is time for it

    @property
    def path(self) -> str:
        """The file that is being written."""
        return self._path(self._number)

    def _path(self, number: int) -> str:
        return f"{self._stem}-{number}.bin"

    def flush(self) -> None:
        """Write what is new.

        Raises:
            OSError: If it cannot be written: the folder is gone, because the parent's recording has ended.
        """
        with self._lock:
            if self._is_busy:  # a signal's handler, in the middle of a flush on this thread
                return
            self._is_busy = True
            try:
                next_frame = self._next_frame()
                frame = pickle.dumps(next_frame, protocol=5)
                header, _ = next_frame.get("header", (None, 0))
                dropped = sum(event[4] for event in header.events if event[2] == LOST) if header is not None else 0
                content = _HEAD.pack(len(frame), len(next_frame["fields"]) // FIELDS, dropped) + frame
                # Without O_CREAT once it exists: a file in a folder that is gone must not come back.
                flags = os.O_WRONLY | os.O_APPEND | (0 if self._has_header else os.O_CREAT)
                file = os.open(self.path, flags | getattr(os, "O_BINARY", 0), 0o600)
                try:
                    if os.write(file, content) < len(content):
                        raise OSError(f"{self.path}: no room")  # a frame after a torn one could not be read
                finally:
                    os.close(file)
                self._has_header = True
                self._size += len(content)
                self.flushed_ns = clock.now_ns()
            finally:
                self._is_busy = False

    def _next_frame(self) -> dict[str, Any]:
        recorder = self.recorder
        end_ns = clock.now_ns()
        recorder.settle(end_ns)
        while recorder.drop_oldest():  # what came since the keeper's last look must not go to disk
            pass
        history = recorder.history
        with history.lock:
            if self.position < history.first:  # dropped before it was written: what was written does not lead there
                self._follower = history.follow()
                self.position = self._follower.position
                self._next_file(self._follower, kept=0)
            fields = array("q")
            for _, piece in history.pieces(self.position):
                fields += piece
            self.position = history.end
        base_ns, base = self._base
        entries = self._describer.describe(chain(() if self._has_header else base, each_event(fields)))
        frame: dict[str, Any] = {"end_ns": end_ns, "cpu_ns": recorder.cpu_ns(), "fields": fields}
        frame.update((name, getattr(entries, name)) for name in _TABLES)
        if not self._has_header:
            # Who this process is.
            frame["header"] = recorder.part(base, Entries(), base_ns, base_ns, self._cpu_before_ns), self._forked_ns
            self._base = base_ns, []
        return frame

    def make_room(self) -> Iterator[None]:
        """Go on in a new file where this one is large; a piece of work for each step.

        The base of the next file is folded with what is written to this one: all of it at once would take seconds.
        """
        history = self.recorder.history
        while True:
            follower = self._follower
            is_there = follower.advance(self.position, _FOLLOW_AT_ONCE)
            yield
            with self._lock:
                if self.position < history.first or self._is_busy:
                    return
                if is_there and follower.position == self.position:
                    if self._size >= self._file_bytes:
                        self._next_file(follower, kept=1)
                    return
            with history.lock:
                if self._follower.position < history.first:
                    self._follower = history.follow()

    def _next_file(self, follower: Follower, kept: int) -> None:
        self._number += 1
        self._has_header = False
        self._size = 0
        self._base, self._cpu_before_ns = follower.base(), follower.cpu_ns
        self._describer = Describer(self.recorder.tables)
        for number in range(max(1, self._number - 2), self._number - kept):
            with suppress(OSError):
                os.unlink(self._path(number))


def files_of(folder: str) -> dict[tuple[int, int], list[Path]]:
    """Return the files of each process that wrote into the folder, by (its pid, when its part began)."""
    numbered: dict[tuple[int, int], list[tuple[int, Path]]] = {}
    for path in Path(folder).glob("part-*.bin"):
        pid, start_ns, number = map(int, path.stem.split("-")[1:])
        numbered.setdefault((pid, start_ns), []).append((number, path))
    return {process: [path for _, path in sorted(files)] for process, files in sorted(numbered.items())}


def read_parts(folder: str) -> list[tuple[Part, int]]:
    """Return (part, when its bare fork began or 0) of every process that wrote into the folder, oldest first."""
    found: dict[int, tuple[Part, int]] = {}
    for (pid, _), paths in files_of(folder).items():
        # The pid is in the ids: of two processes that had the same, one after the other, only one can be told apart.
        part = _read_part(paths) if pid not in found else None
        if part is not None:
            found[pid] = part
    return sorted(found.values(), key=lambda part: part[0].start_ns)


def count_events(paths: list[Path]) -> int:
    """Return how many events a process has recorded, by its files: those in them, and those dropped before."""
    count = 0
    for number, path in enumerate(paths):
        with path.open("rb") as file:
            while len(head := file.read(_HEAD.size)) == _HEAD.size:
                length, events, dropped = _HEAD.unpack(head)
                count += events + (dropped if number == 0 else 0)
                file.seek(length, os.SEEK_CUR)
    return count


def _read_part(paths: list[Path]) -> tuple[Part, int] | None:
    header: Part | None = None
    forked_ns = end_ns = cpu_ns = 0
    fields = array("q")
    tables: dict[str, Any] = {name: {} for name in _TABLES}
    for path in paths:
        for frame in _frames(path):
            if "header" in frame and header is None:  # the base of a later file is where the one before ends
                header, forked_ns = frame["header"]
            end_ns, cpu_ns = frame["end_ns"], frame["cpu_ns"]
            fields += frame["fields"]
            for name, table in tables.items():
                table.update(frame[name])
    if header is None:
        return None
    fields = in_order(fields, header.start_ns)
    fields[:0] = Events.of(header.events).fields
    return replace(header, end_ns=end_ns, cpu_ns=cpu_ns - header.cpu_ns, events=Events(fields), **tables), forked_ns


def _frames(path: Path) -> Iterator[dict[str, Any]]:
    try:
        content = path.read_bytes()
    except FileNotFoundError:  # the child has just gone on in the next
        return
    position = 0
    while position + _HEAD.size <= len(content):
        start = position + _HEAD.size
        position = start + _HEAD.unpack_from(content, position)[0]
        if position > len(content):
            return  # torn
        yield pickle.loads(content[start:position])
