"""The file in which a child process leaves its part of a recording, and how the parent reads it.

A sequence of frames, each the length of a pickle (8 bytes, little-endian) and the pickle: what is new since the frame
before. A child that is killed leaves a torn frame at most; what came before it counts.
"""

from __future__ import annotations

import os
import pickle
import threading
import time
from pathlib import Path
from types import CodeType
from typing import Any

from asynctrace import clock
from asynctrace.events import (
    BLOCKING_STARTED,
    COROUTINE_STARTED,
    COROUTINE_SUSPENDED,
    STEP_FINISHED,
    STEP_STARTED,
    TASK_CREATED,
    Event,
    Expression,
    Part,
    Site,
)
from asynctrace.recorder import Recorder
from asynctrace.recorder.places import describe_code, expression_at
from asynctrace.recorder.reference import traced_codes

_LENGTH_BYTES = 8
_NAMING = frozenset({TASK_CREATED, STEP_STARTED, STEP_FINISHED})  # a task's name is read where it steps
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
        self._cpu_start_ns = time.process_time_ns()
        self._lock = threading.RLock()
        self._is_busy = False
        self._has_header = False
        self._events_done = 0
        self._sites_done: dict[int, CodeType | None] = {}
        self._stacks_done: set[int] = set()
        self._places_done: set[tuple[int, int]] = set()
        self._threads_done: set[int] = set()
        self._code_of_coroutine: dict[int, int] = {}

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
        events = recorder.events_from(self._events_done)
        self._events_done += len(events)
        frame: dict[str, Any] = {
            "end_ns": clock.now_ns(),
            "cpu_ns": time.process_time_ns() - self._cpu_start_ns,
            "events": events,
            "names": {
                event[3]: recorder.names[event[3]]
                for event in events
                if event[2] in _NAMING and event[3] in recorder.names
            },
            "sites": self._new_sites(),
            "stacks": self._new_stacks(),
            "threads": {id: info for id, (_, info) in list(recorder._threads.items()) if id not in self._threads_done},
        }
        self._threads_done.update(frame["threads"])
        frame["expressions"] = self._new_expressions(events, frame["stacks"])
        if not self._has_header:
            # The tables of the recorder as they are when it is frozen empty: who this process is.
            frame["header"] = recorder.freeze(0), self._forked_ns
        return frame

    def _new_sites(self) -> dict[int, Site]:
        recorder = self.recorder
        sites: dict[int, Site] = {}
        for address, (site, code) in list(recorder.codes.items()):
            if site not in self._sites_done:
                self._sites_done[site] = code
                sites[site] = describe_code(code, traced_codes.get(address))
        for text, site in list(recorder._texts.items()):
            if site not in self._sites_done:
                self._sites_done[site] = None
                sites[site] = Site(name=text)
        return sites

    def _new_stacks(self) -> dict[int, tuple[tuple[int, int], ...]]:
        stacks = {key: places for places, key in list(self.recorder._stacks.items()) if key not in self._stacks_done}
        self._stacks_done.update(stacks)
        return stacks

    def _new_expressions(
        self, events: list[Event], stacks: dict[int, tuple[tuple[int, int], ...]]
    ) -> dict[tuple[int, int], Expression]:
        places = {place for stack in stacks.values() for place in stack}
        for event in events:
            kind = event[2]
            if kind == COROUTINE_STARTED:
                self._code_of_coroutine[event[3]] = event[5]
            elif kind == COROUTINE_SUSPENDED:
                places.add((self._code_of_coroutine.get(event[3], 0), event[5]))
            elif kind == BLOCKING_STARTED and event[4]:
                places.add((event[4], event[6]))
        found = {}
        for place in places - self._places_done:
            self._places_done.add(place)
            code = self._sites_done.get(place[0])
            expression = expression_at(code, place[1]) if code is not None else None
            if expression is not None:
                found[place] = expression
        return found


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
        events += frame["events"]
        for name, table in tables.items():
            table.update(frame[name])
    if header is None:
        return None
    events.sort(key=lambda event: event[0])  # stable, as in Recorder.freeze
    return replace(header, end_ns=end_ns, cpu_ns=cpu_ns, events=events, **tables), forked_ns
