"""The flight recorder: save what a recording holds on a signal, or when a step holds its loop for too long."""

from __future__ import annotations

import faulthandler
import itertools
import logging
import os
import re
import signal
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

from asynctrace import clock
from asynctrace.events import MARK, STEP_FINISHED, STEP_STARTED
from asynctrace.recorder.chunks import FIELDS
from asynctrace.recorder.places import is_user_file

if TYPE_CHECKING:
    from asynctrace.stream import Stream

logger = logging.getLogger("asynctrace")

_FRAME = re.compile(r'  File "(.+)", line (\d+) in (.+)')
_NOT_AGAIN_NS = 60_000_000_000  # for a loop that is held

# signal -> (our handler, the one before it, whose it is); a fork takes it along.
_handlers: dict[int, tuple[Any, Any, Snapshots]] = {}


class Snapshots:
    """Saves snapshots of a stream, by its options; the keeper does the work."""

    def __init__(self, stream: Stream) -> None:
        self._stream = stream
        self._recorder = stream.recorder
        self._new_number = itertools.count(1).__next__
        self._is_asked = False  # by the signal
        self._held: dict[int, tuple[int, int]] = {}  # thread -> (when its outermost step began, how many are open)
        self._seen = 0  # number of the first event that was not looked at yet
        self._saved_ns = 0

    def attach(self) -> None:
        """Watch for the occasions."""
        self._stream.keeper.watches.append(self._watch)
        if self._stream.options.snapshot_signal:
            self._stream.on_loop_runs = self._handle_signal
            self._stream.at_end.append(self._give_signal_back)

    def _handle_signal(self) -> None:
        # When a loop first runs, for a server sets up its handlers before that: gunicorn's workers reset all of them.
        if threading.current_thread() is not threading.main_thread():
            return
        number = self._stream.options.snapshot_signal
        earlier = signal.getsignal(number)
        known = _handlers.get(number)
        if known is not None and earlier is known[0]:
            if known[2] is self:
                return
            earlier = known[1]  # ours of an earlier recording, or of the process that forked this one

        def save_snapshot(number: int, frame: FrameType | None) -> None:
            self._is_asked = True
            self._stream.keeper.wake()
            if callable(earlier):
                earlier(number, frame)

        _handlers[number] = save_snapshot, earlier, self
        signal.signal(number, save_snapshot)

    def _give_signal_back(self) -> None:
        number = self._stream.options.snapshot_signal
        known = _handlers.get(number)
        is_main = threading.current_thread() is threading.main_thread()
        if is_main and known is not None and known[2] is self and signal.getsignal(number) is known[0]:
            del _handlers[number]
            signal.signal(number, known[1] if known[1] is not None else signal.SIG_DFL)

    def _watch(self) -> None:
        if self._is_asked:
            self._is_asked = False
            self._save()
        if self._stream.options.blocked_s:
            self._look_for_held_loops()

    def _look_for_held_loops(self) -> None:
        history = self._recorder.history
        now_ns = clock.now_ns()
        with history.lock:
            pieces = [fields for _, fields in history.pieces(self._seen)]
            self._seen = history.end
            young = history.open_fields()
        for fields in pieces:
            _follow_steps(self._held, fields)
        held = dict(self._held)
        _follow_steps(held, young)
        bound_ns = int(self._stream.options.blocked_s * 1e9)
        for thread, (since_ns, _) in held.items():
            if now_ns - since_ns < bound_ns or (self._saved_ns and now_ns - self._saved_ns < _NOT_AGAIN_NS):
                continue
            self._saved_ns = now_ns
            place = self._place_of(thread)
            text = f"the loop has been held for {(now_ns - since_ns) / 1e9:.2f} s{place}"
            self._recorder.append((now_ns, thread, MARK, 0, 0, self._recorder.text(text), 0))
            self._save()

    def _place_of(self, thread: int) -> str:
        """Say where a thread is: in the innermost line of the user's own code.

        Told by faulthandler, which goes through a stack at once: to walk through frames while their thread goes on is
        not safe.
        """
        info = self._recorder.tables.threads.get(thread)
        heads = tuple(
            f"Thread 0x{ident:016x}"
            for ident, known in threading._active.copy().items()  # type: ignore[attr-defined]
            if info is not None and known.native_id == info.native_id
        )
        with tempfile.TemporaryFile() as file:
            faulthandler.dump_traceback(file)
            file.seek(0)
            lines = file.read().decode("utf-8", "replace").splitlines()
        is_there = False
        for line in lines:
            if "hread 0x" in line:
                is_there = line.startswith(heads)
            frame = _FRAME.fullmatch(line) if is_there else None
            if frame is not None and is_user_file(frame[1]):
                return f" at {os.path.basename(frame[1])}:{frame[2]} ({frame[3]})"
        return ""

    def _save(self) -> None:
        self._stream.keeper.jobs.append(self._saving(self._new_path()))

    def _new_path(self) -> Path:
        path = Path(self._stream.options.snapshots)
        stem = path.name.removesuffix(".gz").rpartition(".")[0] or path.name
        if not stem.endswith(f"-{os.getpid()}"):
            stem += f"-{os.getpid()}"
        while True:
            found = path.with_name(f"{stem}-{self._new_number()}.pftrace")
            if not found.exists():
                return found

    def _saving(self, path: Path) -> Iterator[None]:
        from asynctrace.streaming import write_snapshot

        stream = self._stream
        try:
            stream.guard(stream.table.prepare_view)
            yield from write_snapshot(self._recorder, path, self._recorder.cpu_ns(), stream.children)
        except OSError as error:
            logger.warning("%s: %s: no snapshot was saved", path, error.strerror or error)
        else:
            stream.snapshots.append(path)
            logger.info("saved a snapshot: %s", path)


def _follow_steps(held: dict[int, tuple[int, int]], fields: Any) -> None:
    """Note in `held` which steps of each thread are open after these events, of which only the outermost counts."""
    for index, kind in enumerate(fields[2::FIELDS]):
        if kind == STEP_STARTED:
            time_ns, thread = fields[index * FIELDS], fields[index * FIELDS + 1]
            since_ns, depth = held.get(thread, (time_ns, 0))
            held[thread] = since_ns, depth + 1
        elif kind == STEP_FINISHED:
            thread = fields[index * FIELDS + 1]
            since_ns, depth = held.get(thread, (0, 0))
            if depth > 1:
                held[thread] = since_ns, depth - 1
            else:
                held.pop(thread, None)
