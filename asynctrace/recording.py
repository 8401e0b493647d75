"""Start, stop, snapshot: a recording is a window on the event stream of this process and its children."""

from __future__ import annotations

import os
from collections.abc import Sequence
from os import PathLike
from types import TracebackType
from typing import Any

from asynctrace import clock, stream
from asynctrace.errors import RecordingError
from asynctrace.events import MARK, Part
from asynctrace.model.build import build_trace
from asynctrace.model.trace import Trace
from asynctrace.recorder import Recorder


class Recording:
    """Records while it runs; `trace` is what it saw.

    Several may run at once, nested or not: each is a window on the same events. A recording whose scope is narrower
    than that of one already running sees the wider.

    Example:
        >>> with Recording() as recording:
        ...     asyncio.run(main())
        >>> recording.trace.tasks
    """

    def __init__(
        self,
        *,
        include: Sequence[str] = (),
        exclude: Sequence[str] = (),
        functions: bool = False,
        output: str | PathLike[str] | None = None,
    ) -> None:
        self._include = tuple(include)
        self._exclude = tuple(exclude)
        self._functions = functions
        self._output = output
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
    def is_running(self) -> bool:
        """Whether it has been started and not stopped. False also in a forked child, whose parent it belongs to."""
        return self._stream is not None and not self._end_ns and self._pid == os.getpid()

    def start(self) -> None:
        """Begin to record.

        Raises:
            RecordingError: If it has been started before.
        """
        if self._stream is not None:
            raise RecordingError("this recording was started before: make a new one with asynctrace.record()")
        with stream.lock:
            running = stream.current
            if running is None or not running.is_running:
                running = stream.Stream(self._include, self._exclude, self._functions)
                stream.current = running
                running.start()
                self._start_ns = running.recorder.start_ns
            else:
                self._is_window = True
                self._start_ns = clock.now_ns()
            running.recordings.add(self)
            self._stream = running
            self._pid = os.getpid()
            self._cpu_before_ns = running.cpu_ns()

    def stop(self) -> None:
        """End the recording; the last one that ends takes all hooks out. Stopping twice does nothing."""
        running = self._stream
        if running is None or not self.is_running:
            return
        end_ns = clock.now_ns()
        with stream.lock:
            self._end_ns = end_ns
            self._cpu_ns = running.cpu_ns() - self._cpu_before_ns
            running.recordings.discard(self)
            running.table.prepare_view()
            self._children = running.children()
            if running.recordings:
                self._is_window = True
                return
            running.stop()
            running.close()
            if stream.current is running:
                stream.current = None

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

    def snapshot(self) -> Trace:
        """Return the Trace of what was recorded up to now, while the recording goes on."""
        running = self._stream
        if running is None or self._end_ns:
            return self.trace
        cpu_ns = running.cpu_ns() - self._cpu_before_ns
        running.table.prepare_view()
        return self._build(clock.now_ns(), cpu_ns, running.children())

    def mark(self, text: str) -> None:
        """Put the user's own text at this moment."""
        if self._stream is not None and self.is_running:
            recorder = self._stream.recorder
            recorder.append((clock.now_ns(), recorder.local.state.id, MARK, 0, 0, recorder.text(text), 0))

    def _build(self, end_ns: int, cpu_ns: int, children: list[Part]) -> Trace:
        assert self._stream is not None
        part = self._stream.recorder.freeze(end_ns, cpu_ns)
        window = (self._start_ns, end_ns) if self._is_window else None
        return build_trace([part, *children], window=window)

    def __enter__(self) -> Recording:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()
        if self._output is not None and self._pid == os.getpid():
            self.trace.save(str(self._output).replace("{pid}", str(self._pid)))

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
) -> Recording:
    """Return a recording for `with` or `async with`.

    Args:
        include: Record only coroutines of files that match one of these globs.
        exclude: Do not record coroutines of files that match one of these globs.
        output: A file to save the trace to at the end; its suffix tells the format, `{pid}` is replaced.
    """
    return Recording(include=include, exclude=exclude, output=output)


def start_child(options: dict[str, Any], is_fork: bool) -> Recorder:
    """Begin the recording in a child process; called there by the process probe."""
    running = stream.current
    if is_fork and running is not None:
        running.recordings.clear()
        return running.begin_in_fork()
    if running is not None and running.is_running:
        return running.recorder
    running = stream.Stream(options["include"], options["exclude"], options["functions"])
    stream.current = running
    running.start()
    return running.recorder


def stop_child() -> None:
    """End the recording in a child process: its part can no longer be written."""
    running = stream.current
    if running is not None:
        running.stop()
        stream.current = None
