"""Write a recording to its file while the program runs."""

from __future__ import annotations

import logging
import os
import threading
from array import array
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from asynctrace import clock
from asynctrace.events import Event, Part
from asynctrace.formats.perfetto_stream import StreamFile
from asynctrace.recorder import Recorder
from asynctrace.recorder.chunks import FIELDS, Follower
from asynctrace.recorder.describing import Describer

logger = logging.getLogger("asynctrace")

_AT_ONCE = 400  # events of a snapshot, in one piece of work
_NO_LIMIT = 1 << 60


class FileSink:
    """Writes what the keeper has settled; a failure ends the writing, with one warning, and never the program.

    Args:
        recorder: Whose events.
        path: The file; what is there is replaced.
        limit_bytes: What it may take on disk.

    Raises:
        OSError: If the file cannot be opened.
    """

    def __init__(self, recorder: Recorder, path: Path, limit_bytes: int) -> None:
        self.error: str | None = None  # why the file is not whole
        self.is_open = True
        self._recorder = recorder
        self._path = path
        self._file = StreamFile(path, limit_bytes)
        self._lock = threading.Lock()  # of the keeper and of whoever finishes
        self._describer = Describer(recorder.tables)
        self._follower = self._follow()
        self.position = self._follower.position  # the number of the next event to write

    def begin(self) -> None:
        """Write who the process is; from here on the file is there."""
        self._guarded(self._file.begin, self._part([], self._recorder.start_ns))

    def abandon(self) -> None:
        """Leave the file as it is: one that never began goes."""
        self.is_open = False
        self._file.abandon()

    def finish(self, end_ns: int, cpu_ns: int, children: Iterable[Part]) -> None:
        """Write the rest and the end of the file."""
        while self.take(_AT_ONCE):
            pass
        with self._lock:
            if self.is_open:
                self.is_open = False
                why = self._file.why_displaced()
                self._guarded(self._file.finish, end_ns, cpu_ns, children)
                if why and self.error is None:
                    self.error = f"could not be saved: {why}"

    def take(self, at_once: int) -> bool:
        """Write at most so many of the events that are there; return whether there may be more."""
        with self._lock:
            if not self.is_open:
                return False
            fields = self._follower.read(at_once)
            if fields is None:  # before it was written: what is in the file has nothing to do with what follows
                self._follower = self._follow()
                self._begin_segment(drop_earlier=True)
                return True
            if not fields:
                return False
            self._guarded(self._file.write, self._delta(fields), fields)
            self.position = self._follower.position
            if self.is_open and self._file.wants_segment:
                self._begin_segment()
            return True

    def _follow(self) -> Follower:
        """Return what folds the events as they are written: so the base of a segment is there when one is due."""
        history = self._recorder.history
        with history.lock:
            return history.follow()

    def _begin_segment(self, drop_earlier: bool = False) -> None:
        follower = self._follower
        time_ns, base = follower.base()
        self.position = follower.position
        self._describer = Describer(self._recorder.tables)
        part = self._part(base, time_ns, follower.cpu_ns)
        self._guarded(self._file.begin_segment, part, drop_earlier=drop_earlier)

    def _delta(self, fields: array[int]) -> Part:
        entries = self._describer.describe(fields)
        return self._recorder.part([], entries, fields[0], fields[0])

    def _part(self, events: list[Event], start_ns: int, cpu_ns: int = 0) -> Part:
        return self._recorder.part(events, self._describer.describe(events), start_ns, start_ns, cpu_ns)

    def _guarded(self, write: Callable[..., None], *args: object, **keywords: object) -> None:
        try:
            write(*args, **keywords)
        except OSError as error:
            reason = error.strerror or str(error)
            self.error = f"ends early: {reason}"
            self.abandon()
            logger.warning("%s: %s: the trace ends here, the program goes on", self._path, reason)


def write_snapshot(
    recorder: Recorder, path: Path, cpu_ns: int, children: Callable[[int], Iterable[Part]]
) -> Iterator[None]:
    """Write all that a recorder holds now to a file of its own, a piece for each step; the recording goes on.

    Args:
        recorder: Whose events.
        path: The file, which is there when it is complete.
        cpu_ns: The CPU time of the process since the recorder's start.
        children: Returns what the child processes have recorded until a time.

    Raises:
        OSError: If it cannot be written.
    """
    child_parts = children(clock.now_ns())  # first: it notes what of them was lost
    recorder.settle()
    end_ns = clock.now_ns()
    history = recorder.history
    with history.lock:
        follower = history.follow()
        pieces: deque[array[int]] = deque(fields for _, fields in history.pieces(history.first))
    base: list[Event] = []
    start_ns = recorder.start_ns
    if follower.position:
        start_ns, base = follower.base()
    temporary = path.with_name(f".{path.name[:100]}.{os.urandom(4).hex()}")
    # A copy: what is written here may be dropped by the recorder meanwhile, and forgotten.
    describer = Describer(recorder.tables.copy())
    file = StreamFile(temporary, _NO_LIMIT)
    try:
        file.begin(recorder.part(base, describer.describe(base), start_ns, start_ns))
        yield
        while pieces:
            fields = pieces.popleft()  # so that what the recorder drops meanwhile goes
            for position in range(0, len(fields), _AT_ONCE * FIELDS):
                some = fields[position : position + _AT_ONCE * FIELDS]
                entries = describer.describe(some)
                file.write(recorder.part([], entries, start_ns, start_ns), some)
                yield
        file.finish(end_ns, max(0, cpu_ns - follower.cpu_ns), child_parts)
        temporary.replace(path)
    except BaseException:
        file.abandon()
        temporary.unlink(missing_ok=True)
        raise
