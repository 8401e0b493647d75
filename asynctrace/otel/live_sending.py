"""Build the real spans of what has ended, and flush them: on a thread of its own, for to send may take its time."""

from __future__ import annotations

import _thread
import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from opentelemetry.trace import Status, StatusCode

from asynctrace import clock
from asynctrace.otel.emitting import chunk_size
from asynctrace.otel.live_reading import EndedRun
from asynctrace.otel.replay import Decision, SpanReplay

if TYPE_CHECKING:
    from opentelemetry.trace import Span

logger = logging.getLogger("asynctrace")

_INTERVAL_S = 0.05
_IDLE_NS = 1_000_000_000
_GONE_WITHIN_S = 1.0
_SENT_WITHIN_S = 30.0  # as long as the SDK gives a flush
_AT_ONCE = 16  # spans, about a millisecond: then the program has its turn
_BREATH_S = 0.0005
_MOST = 4_000  # runs that wait; with all that is said of them they take some 3 kB each
_MANY = 1_000  # spans that wait: now there is no breath


class LiveSender:
    """Takes runs that have ended, and ends their real spans.

    Its thread is none of `threading`'s, for the program to see none; it comes when there is something to send, and goes
    when there is nothing, or the process is about to fork.

    Args:
        replay: What starts spans of the SDK's, once there is a provider.
        flush: The provider's `force_flush`, or None where it has none.
    """

    def __init__(self, replay: SpanReplay | None = None, flush: Callable[[], object] | None = None) -> None:
        self.replay = replay
        self.flush = flush
        self._waiting: deque[EndedRun] = deque()
        self._measured: deque[Callable[[], None]] = deque()  # what is to be recorded in metrics
        self._chunk = chunk_size()
        self._unflushed = 0
        self._lock = threading.RLock()  # of whoever sends
        self._gone = _thread.allocate_lock()  # held while the thread runs
        self._is_wanted = False
        self._has_failed = False

    def give(self, run: EndedRun) -> None:
        """Take a run that has ended, to be sent soon."""
        self._waiting.append(run)
        self._start()

    def is_full(self) -> bool:
        """Tell whether so many runs wait that no more are wanted for now: their receiver may not answer."""
        return len(self._waiting) > _MOST

    def measure(self, record: Callable[[], None]) -> None:
        """Take what records a measurement, to be called soon."""
        self._measured.append(record)
        self._start()

    def _start(self) -> None:
        if self._gone.acquire(False):  # else it runs
            self._is_wanted = True
            try:
                _thread.start_new_thread(self._run, ())
            except RuntimeError:  # at the end of the program: `stop` sends the rest
                self._gone.release()

    def leave(self) -> None:
        """End the thread; it comes back when there is something to send."""
        self._is_wanted = False
        if self._gone.acquire(True, _GONE_WITHIN_S):
            self._gone.release()

    def send_all(self, timeout_s: float = _SENT_WITHIN_S) -> None:
        """Send what waits now, on this thread."""
        if self._lock.acquire(timeout=timeout_s):  # else another one is at it, and its receiver does not answer
            try:
                self._send(is_in_a_hurry=True)
                self._flush()
            finally:
                self._lock.release()

    def _run(self) -> None:
        idle_until_ns = 0
        try:
            while self._is_wanted:
                if self._waiting or self._measured:
                    self._send(is_in_a_hurry=False)
                    idle_until_ns = clock.now_ns() + _IDLE_NS
                elif clock.now_ns() > idle_until_ns:
                    return
                time.sleep(_INTERVAL_S)
        finally:
            self._gone.release()

    def _send(self, *, is_in_a_hurry: bool) -> None:
        while (self._waiting or self._measured) and (self._is_wanted or is_in_a_hurry):
            with self._lock:
                for _ in range(_AT_ONCE):
                    self._record_one()
                    if not self._send_one():
                        break
                if self._unflushed >= self._chunk:
                    self._flush()
            if not is_in_a_hurry and len(self._waiting) < _MANY:
                time.sleep(_BREATH_S)

    def _record_one(self) -> None:
        try:
            record = self._measured.popleft()
        except IndexError:
            return
        try:
            record()
        except Exception as error:
            self._fail(error)

    def _send_one(self) -> bool:
        try:
            run = self._waiting.popleft()
        except IndexError:
            return bool(self._measured)
        try:
            span = self._real(run)
            if span is not None:
                self._end(span, run)
                self._unflushed += 1
        except Exception as error:  # of a processor of the user's
            self._fail(error)
        return True

    def _real(self, run: EndedRun) -> Span | None:
        live = run.live
        if live.real is not None:
            for key, value in run.attributes.items():
                live.real.set_attribute(key, value)
            for link in live.links or ():
                live.real.add_link(link.context, link.attributes)
            return live.real
        if self.replay is None:
            return None
        decision = Decision(live.get_span_context(), live.result)
        return self.replay.start(
            decision, live.described.name, live.around, run.attributes, live.links or (), start_ns=run.start_ns
        )

    def _end(self, span: Span, run: EndedRun) -> None:
        live = run.live
        for event in run.events:
            span.add_event(event.name, event.attributes, event.time_ns)
        for method, args in live.operations or ():
            getattr(span, method)(*args)
        error = live.error
        if error is not None:
            span.add_event("exception", error.attributes, run.end_ns)
        if run.is_error:
            span.set_status(Status(StatusCode.ERROR, error.description if error is not None else None))
        span.end(run.end_ns)

    def _flush(self) -> None:
        if self._unflushed and self.flush is not None:
            try:
                if self.flush() is False:
                    self._warn("the provider could not be flushed: spans may be lost", None)
            except Exception as error:
                self._fail(error)
        self._unflushed = 0

    def _fail(self, error: Exception) -> None:
        self._warn("a span could not be handed on, and others may not be: the program goes on", error)

    def _warn(self, text: str, error: Exception | None) -> None:
        if not self._has_failed:
            self._has_failed = True
            logger.warning(text, exc_info=error)


class Flusher:
    """The first of a provider's processors: who flushes or shuts down the provider has our spans as well.

    Every other processor gets them before its own turn.
    """

    def __init__(self, drain: Callable[[], None]) -> None:
        self._drain = drain
        self._is_draining = threading.local()

    def on_start(self, span: Any, parent_context: Any = None) -> None:
        """Do nothing."""

    def _on_ending(self, span: Any) -> None:
        """Do nothing."""

    def on_end(self, span: Any) -> None:
        """Do nothing."""

    def without_us(self, flush: Callable[[], object]) -> Callable[[], object]:
        """Return what flushes the provider, from inside, without asking us again."""

        def flush_others() -> object:
            was_draining = getattr(self._is_draining, "now", False)
            self._is_draining.now = True
            try:
                return flush()
            finally:
                self._is_draining.now = was_draining

        return flush_others

    def shutdown(self) -> None:
        """Hand on what has ended."""
        self.force_flush()

    def force_flush(self, timeout_millis: int = 30000) -> bool:
        """Hand on what has ended."""
        if not getattr(self._is_draining, "now", False):
            self._is_draining.now = True
            try:
                self._drain()
            finally:
                self._is_draining.now = False
        return True
