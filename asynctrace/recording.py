"""Start, stop, snapshot: a recording is a window on the event stream of this process and its children."""

from __future__ import annotations

import atexit
import os
import sys
from collections.abc import Sequence
from os import PathLike
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from asynctrace import clock, stream
from asynctrace.errors import RecordingError, UsageError
from asynctrace.events import MARK, Part
from asynctrace.model.build import build_trace
from asynctrace.model.trace import Trace, check_output
from asynctrace.recorder import DEFAULT_LIMIT_BYTES, Recorder
from asynctrace.stream import Options

if TYPE_CHECKING:
    from asynctrace.streaming import FileSink

LEAST_BYTES = 1 << 20
DEFAULT_DISK_BYTES = 2 << 30
STREAMED_SUFFIX = ".pftrace"


def output_path(output: str | PathLike[str]) -> str:
    """Return where an output of this process goes: `{pid}` is replaced."""
    return str(output).replace("{pid}", str(os.getpid()))


class Recording:
    """Records while it runs; `trace` is what it saw.

    Several may run at once, nested or not: each is a window on the same events, whose scope and limits are those of
    the one that was there first.

    Example:
        >>> with Recording() as recording:
        ...     asyncio.run(main())
        >>> recording.trace.tasks
    """

    def __init__(
        self,
        options: Options | None = None,
        *,
        output: str | PathLike[str] | None = None,
        limit_disk_bytes: int = DEFAULT_DISK_BYTES,
    ) -> None:
        self._options = options or Options()
        self._output = output
        self._limit_disk_bytes = limit_disk_bytes
        self._sink: FileSink | None = None
        self._first = 0  # the number of its first event
        self._stream: stream.Stream | None = None
        self._pid = 0
        self._start_ns = 0
        self._end_ns = 0
        self._cpu_before_ns = 0
        self._cpu_ns = 0
        self._is_window = False
        self._children: list[Part] = []
        self._trace: Trace | None = None

    @property
    def source(self) -> stream.Stream | None:
        """What it is a window on, once it has started."""
        return self._stream

    def adopt(self, running: stream.Stream) -> None:
        """Be one of the recordings of a stream that runs already: in a forked child, which has none of its own."""
        running.recordings.add(self)
        self._stream = running
        self._pid = os.getpid()
        self._start_ns = running.recorder.start_ns

    @property
    def is_running(self) -> bool:
        """Whether it has been started and not stopped. False also in a forked child, whose parent it belongs to."""
        return self._stream is not None and not self._end_ns and self._pid == os.getpid()

    def start(self) -> None:
        """Begin to record.

        Raises:
            RecordingError: If it has been started before.
            UsageError: If the output cannot be written, or if Python runs without its global lock.
        """
        if not getattr(sys, "_is_gil_enabled", _has_gil)():
            raise UsageError(
                "a recording relies on Python's global lock, and this process runs without it: set PYTHON_GIL=1 for it"
            )
        if self._stream is not None:
            raise RecordingError("this recording was started before: make a new one with asynctrace.record()")
        if self._output is not None:
            check_output(output_path(self._output))  # not when the program has run
        with stream.lock:
            running = stream.current
            if running is None or not running.is_running:
                running = stream.Stream(self._options)
                sink = self._open_output(running)
                stream.current = running
                _attach_snapshots(running)
                try:
                    running.start()
                except BaseException:  # a signal's
                    if sink is not None:
                        sink.abandon()
                    raise
                self._start_ns = running.recorder.start_ns
                if sink is not None:
                    self._sink = sink
                    sink.begin()
                    running.recorder.sinks.append(sink)
                    running.keeper.attend()
            else:
                self._is_window = True
                self._start_ns = clock.now_ns()
                if self._options.coroutines:
                    running.widen(self._options.limit_bytes)
            running.recordings.add(self)
            self._stream = running
            self._pid = os.getpid()
            if self._is_window:
                self._first = len(running.recorder.history)
                self._cpu_before_ns = running.recorder.cpu_ns()

    def stop(self) -> None:
        """End the recording; the last one that ends takes all hooks out. Stopping twice does nothing."""
        running = self._stream
        if running is None or not self.is_running:
            return
        end_ns = clock.now_ns()
        with stream.lock:
            self._end_ns = min(end_ns, running.end_ns or end_ns)  # earlier, where a hook failed
            self._cpu_ns = running.recorder.cpu_ns()
            running.recordings.discard(self)
            running.guard(running.table.prepare_view)
            self._children = running.guard(running.children, self._end_ns) or []
            if running.recordings:
                self._is_window = True
            else:
                running.stop()
                running.guard(running.close)
                if stream.current is running:
                    stream.current = None
        self._finish_output(running)

    def _open_output(self, running: stream.Stream) -> FileSink | None:
        """Return what writes the output while the program runs, where its format allows that."""
        if self._output is None or not str(self._output).endswith(STREAMED_SUFFIX):
            return None
        from asynctrace.streaming import FileSink

        path = Path(output_path(self._output))
        try:
            return FileSink(running.recorder, path, self._limit_disk_bytes)
        except OSError as error:
            raise UsageError(f"{path} cannot be written: {error.strerror}") from error

    def _finish_output(self, running: stream.Stream) -> None:
        sink = self._sink
        if sink is None:
            return
        if sink in running.recorder.sinks:
            running.recorder.sinks.remove(sink)
        running.recorder.settle()
        running.guard(sink.finish, self._end_ns, self._cpu_ns, self._children)

    def save_output(self) -> None:
        """Save the output at the end, where it was not written while the program ran.

        Raises:
            AsynctraceError: If it cannot be written.
        """
        if self._output is not None and self._sink is None and self._pid == os.getpid():
            self.trace.save(output_path(self._output))

    @property
    def output_error(self) -> str | None:
        """Say in what way the output, which is written while the program runs, is not whole; None when it is."""
        return self._sink.error if self._sink is not None else None

    @property
    def trace(self) -> Trace:
        """The Trace of a recording that has ended.

        Raises:
            RecordingError: While it still records, or before it was started.
        """
        if self._stream is None:
            raise RecordingError("nothing recorded yet: call start(), or use `with asynctrace.record() as recording:`")
        if self._trace is None:
            if not self._end_ns:
                raise RecordingError("still recording: use snapshot()")
            self._trace = self._build(self._end_ns, self._cpu_ns, self._children)
        return self._trace

    def snapshot(self, *, last_s: float | None = None) -> Trace:
        """Return the Trace of what was recorded up to now, while the recording goes on.

        Args:
            last_s: Only of the last so many seconds; what was alive before is clipped to them.
        """
        running = self._stream
        if running is None:
            return self.trace
        if last_s is not None and not last_s > 0:
            raise UsageError(f"last_s={last_s}: a snapshot is of more than 0 seconds")
        end_ns, cpu_ns = self._end_ns or clock.now_ns(), self._cpu_ns or running.recorder.cpu_ns()
        children = self._children
        if not self._end_ns:
            running.guard(running.table.prepare_view)
            children = running.guard(running.children, end_ns) or []
        elif last_s is None:
            return self.trace
        begin_ns = end_ns - round(last_s * 1e9) if last_s is not None else 0
        return self._build(end_ns, cpu_ns, children, begin_ns)

    @property
    def snapshots(self) -> tuple[Path, ...]:
        """The snapshots that this process has saved by itself: on a signal, or when a loop was held."""
        return tuple(self._stream.snapshots) if self._stream is not None else ()

    @property
    def event_count(self) -> int:
        """How many events it has seen, dropped ones and those of child processes not included."""
        return len(self._stream.recorder.history) - self._first if self._stream is not None else 0

    def mark(self, text: str) -> None:
        """Put the user's own text at this moment."""
        if self._stream is not None and self.is_running:
            recorder = self._stream.recorder
            recorder.append((clock.now_ns(), recorder.local.state.id, MARK, 0, 0, recorder.text(text), 0))

    def _build(self, end_ns: int, cpu_ns: int, children: list[Part], begin_ns: int = 0) -> Trace:
        assert self._stream is not None
        part = self._stream.recorder.freeze(
            end_ns, cpu_ns, begin_ns=begin_ns, first=self._first, cpu_before_ns=self._cpu_before_ns
        )
        window = None
        if self._is_window or begin_ns > self._start_ns:
            window = (max(self._start_ns, part.start_ns, begin_ns), end_ns)
        return build_trace([part, *children], window=window)

    def __enter__(self) -> Recording:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()
        self.save_output()

    async def __aenter__(self) -> Recording:
        self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.__exit__(kind, error, traceback)

    def _repr_png_(self) -> bytes | None:
        return None if self.is_running or self._stream is None else self.trace._repr_png_()


def record(
    *,
    include: Sequence[str] = (),
    exclude: Sequence[str] = (),
    output: str | PathLike[str] | None = None,
    limit_bytes: int = DEFAULT_LIMIT_BYTES,
    limit_disk_bytes: int = DEFAULT_DISK_BYTES,
) -> Recording:
    """Return a recording for `with` or `async with`.

    Args:
        include: Record only coroutines of files that match one of these globs.
        exclude: Do not record coroutines of files that match one of these globs.
        output: A file for the trace; its suffix tells the format, `{pid}` is replaced. A .pftrace is written while the
            program runs, and holds what was recorded up to a moment before, should the program be killed; the others
            are saved at the end.
        limit_bytes: What the events may take in memory, of this process and of each child; the oldest go, counted.
        limit_disk_bytes: What a .pftrace that is written while the program runs may take; the oldest events go.

    Raises:
        UsageError: If a limit is below 1 MiB.
    """
    for name, limit in (("limit_bytes", limit_bytes), ("limit_disk_bytes", limit_disk_bytes)):
        if limit < LEAST_BYTES:
            raise UsageError(f"{name}={limit} is too small: the least is {LEAST_BYTES} (1 MiB)")
    options = Options(include=tuple(include), exclude=tuple(exclude), limit_bytes=limit_bytes)
    return Recording(options, output=output, limit_disk_bytes=limit_disk_bytes)


def _has_gil() -> bool:
    return True  # every Python before 3.13


def _attach_snapshots(running: stream.Stream) -> None:
    if running.options.snapshots:
        from asynctrace.snapshots import Snapshots

        Snapshots(running).attach()


def start_child(options: dict[str, Any], is_fork: bool) -> Recorder:
    """Begin the recording in a child process; called there by the process probe."""
    running = stream.current
    if is_fork and running is not None:
        running.recordings.clear()
        recorder = running.begin_in_fork()
        _attach_snapshots(running)
        for begin in list(running.on_fork):
            begin(running)
        return recorder
    if running is not None and running.is_running:
        return running.recorder
    running = stream.Stream(Options(**options))
    stream.current = running
    _attach_snapshots(running)
    running.start()
    return running.recorder


def stop_child() -> None:
    """End the recording in a child process: its part can no longer be written."""
    running = stream.current
    if running is not None:
        running.stop()
        stream.current = None


def _stop_at_exit() -> None:
    """Take every hook out before modules are taken apart: a hook that runs after that finds None for its globals."""
    running = stream.current
    if running is not None:
        for recording in list(running.recordings):
            if isinstance(recording, Recording):
                recording.stop()
        running.stop()


atexit.register(_stop_at_exit)
