"""The file in which a child process leaves its part of a recording, and how the parent reads it.

A sequence of frames, each the length of a pickle (8 bytes, little-endian) and the pickle: what is new since the frame
before. A child that is killed leaves a torn frame at most; what came before it counts.
"""

from __future__ import annotations

import os
import pickle
import threading
from array import array
from pathlib import Path
from typing import Any

from asynctrace import clock
from asynctrace.events import Event, Part
from asynctrace.recorder import Recorder
from asynctrace.recorder.chunks import events_of
from asynctrace.recorder.describing import Describer, Entries

_LENGTH_BYTES = 8
_TABLES = ("threads", "names", "sites", "expressions", "stacks")


class PartWriter:
    """Appends what a recorder has recorded since the last time to this process's file.

    Args:
        recorder: The child's own recorder.
        folder: Where the parts are gathered.
        forked_ns: When a bare `os.fork` began, of which the parent could not note the pid; else 0.
    """

    def __init__(self, recorder: Recorder, folder: str, forked_ns: int = 0) -> None:
        self.recorder = recorder
        self.path = os.path.join(folder, f"part-{recorder.pid}-{recorder.start_ns}.bin")
        self.flushed_ns = recorder.start_ns
        self._forked_ns = forked_ns
        self._lock = threading.RLock()
        self._is_busy = False
        self._has_header = False
        self._position = 0  # the number of the next event to write
        self._describer = Describer(recorder.tables)

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
                frame = pickle.dumps(self._next_frame(), protocol=5)
                content = len(frame).to_bytes(_LENGTH_BYTES, "little") + frame
                # Without O_CREAT once it exists: a file in a folder that is gone must not come back.
                flags = os.O_WRONLY | os.O_APPEND | (0 if self._has_header else os.O_CREAT)
                file = os.open(self.path, flags | getattr(os, "O_BINARY", 0), 0o600)
                try:
                    if os.write(file, content) < len(content):
                        raise OSError(f"{self.path}: no room")  # a frame after a torn one could not be read
                finally:
                    os.close(file)
                self._has_header = True
                self.flushed_ns = clock.now_ns()
            finally:
                self._is_busy = False

    def _next_frame(self) -> dict[str, Any]:
        recorder = self.recorder
        end_ns = clock.now_ns()
        recorder.settle(end_ns)
        history = recorder.history
        with history.lock:
            fields = array("q")
            for _, piece in history.pieces(self._position):
                fields += piece
            self._position = history.end
        entries = self._describer.describe(events_of(fields))
        frame: dict[str, Any] = {"end_ns": end_ns, "cpu_ns": recorder.cpu_ns(), "fields": fields}
        frame.update((name, getattr(entries, name)) for name in _TABLES)
        if not self._has_header:
            # Who this process is.
            frame["header"] = recorder.part([], Entries(), recorder.start_ns, recorder.start_ns), self._forked_ns
        return frame


def read_parts(folder: str) -> list[tuple[Part, int]]:
    """Return (part, when its bare fork began or 0) of every process that wrote into the folder, oldest first."""
    found: dict[int, tuple[Part, int]] = {}
    for path in Path(folder).glob("part-*.bin"):
        part = _read_part(path)
        if part is None:
            continue
        earlier = found.get(part[0].pid)
        # The pid is in the ids: of two processes that had the same, one after the other, only one can be told apart.
        if earlier is None or part[0].start_ns < earlier[0].start_ns:
            found[part[0].pid] = part
    return sorted(found.values(), key=lambda part: part[0].start_ns)


def _read_part(path: Path) -> tuple[Part, int] | None:
    from dataclasses import replace

    content = path.read_bytes()
    position = 0
    header: Part | None = None
    forked_ns = end_ns = cpu_ns = 0
    events: list[Event] = []
    tables: dict[str, Any] = {name: {} for name in _TABLES}
    while position + _LENGTH_BYTES <= len(content):
        start = position + _LENGTH_BYTES
        position = start + int.from_bytes(content[position:start], "little")
        if position > len(content):
            break  # torn
        frame = pickle.loads(content[start:position])
        if "header" in frame:
            header, forked_ns = frame["header"]
        end_ns, cpu_ns = frame["end_ns"], frame["cpu_ns"]
        events += events_of(frame["fields"])
        for name, table in tables.items():
            table.update(frame[name])
    if header is None:
        return None
    events.sort(key=lambda event: event[0])  # stable, as in Recorder.freeze
    return replace(header, end_ns=end_ns, cpu_ns=cpu_ns, events=events, **tables), forked_ns
