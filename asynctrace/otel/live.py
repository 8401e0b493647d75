"""Spans and metrics while a program runs: what `asynctrace.otel.instrument` turns on."""

from __future__ import annotations

import atexit
import logging
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from opentelemetry.sdk.trace import Tracer as SdkTracer
from opentelemetry.trace import NoOpTracer, ProxyTracerProvider, get_tracer_provider

from asynctrace import clock
from asynctrace.otel.live_hooks import SpanHooks
from asynctrace.otel.live_reading import LiveReader
from asynctrace.otel.live_sending import Flusher, LiveSender
from asynctrace.otel.replay import SpanReplay, own_tracer
from asynctrace.recording import Recording
from asynctrace.stream import Options, Stream

if TYPE_CHECKING:
    from opentelemetry.metrics import MeterProvider
    from opentelemetry.trace import Tracer, TracerProvider

    from asynctrace.otel.loop_metrics import LoopMetrics

logger = logging.getLogger("asynctrace")

LIMIT_BYTES = 32 << 20  # of events that are not read yet, some seconds of a busy program


@dataclass(frozen=True, slots=True)
class LiveOptions:
    """What is told of a program while it runs."""

    tasks: bool = False
    events: bool = False
    metrics: bool = True


class LiveTracing:
    """Records, reads what is recorded as it comes, and makes spans and measurements of it, from `start` to `stop`."""

    def __init__(
        self, options: LiveOptions, provider: TracerProvider | None, meter_provider: MeterProvider | None
    ) -> None:
        self._options = options
        self._provider = provider
        self._meter_provider = meter_provider
        self._maker: SpanReplay | Tracer | None = None
        self._is_resolved = False
        self._resolving = threading.Lock()
        self._recording = Recording(Options(limit_bytes=LIMIT_BYTES, coroutines=False))
        self._flusher = Flusher(self._drain)
        self._multi: Any = None  # the provider's processor, if it has our flusher
        self._sender = LiveSender()
        self._reader: LiveReader | None = None
        self._metrics: LoopMetrics | None = None

    def start(self) -> None:
        """Turn it on."""
        self._recording.start()  # first: where it cannot, the provider is as it was
        stream = self._recording.source
        assert stream is not None
        self._resolve()
        self._attach(stream)
        stream.on_fork.append(self._begin_in_child)

    def _attach(self, stream: Stream, *, is_forked: bool = False) -> None:
        recorder = stream.recorder
        hooks = SpanHooks(recorder, self._get_maker, tasks=self._options.tasks)
        if self._options.metrics:
            from opentelemetry.metrics import get_meter_provider

            from asynctrace.otel.loop_metrics import metrics_of

            self._metrics = metrics_of(self._meter_provider or get_meter_provider())
            self._metrics.open(self._sender.measure, is_new_process=is_forked)
        reader = self._reader = LiveReader(
            recorder, hooks, self._sender.give, self._sender.is_full, events=self._options.events, metrics=self._metrics
        )
        recorder.sinks.append(reader)
        recorder.traced_hooks = hooks
        recorder.detach = self._leaving(recorder.detach)
        stream.keeper.attend()

    def _leaving(self, detach: Callable[[], None]) -> Callable[[], None]:
        sender = self._sender

        def leave() -> None:
            detach()
            sender.leave()

        return leave

    def stop(self) -> None:
        """Turn it off; what has ended, and what is open still, is handed on."""
        stream = self._recording.source
        if stream is None or self._reader is None:
            return
        atexit.unregister(self.stop)
        recorder, reader = stream.recorder, self._reader
        self._reader = None
        recorder.traced_hooks = None
        end_ns = clock.now_ns()
        if reader in recorder.sinks:
            recorder.sinks.remove(reader)
        stream.on_fork.remove(self._begin_in_child)
        self._recording.stop()
        reader.close(end_ns)
        if self._metrics is not None:
            self._metrics.close()
        if reader.dropped:
            logger.warning("%s spans were left out: too many waited to be sent", f"{reader.dropped:,}")
        self._sender.leave()
        self._sender.send_all()
        self._leave_provider()

    def _drain(self) -> None:
        """Hand on all that has ended so far."""
        if self._reader is not None:
            self._reader.finish()
            self._sender.send_all()

    def _begin_in_child(self, stream: Stream) -> None:
        """Go on in a forked child: with threads of its own, and without what the parent has to send."""
        self._resolving = threading.Lock()  # another thread of the parent's may have held the old one
        multiprocessing_util = sys.modules.get("multiprocessing.util")
        if multiprocessing_util is not None:
            # Its children leave by os._exit, without the exit handlers. This is called before the child's code runs.
            multiprocessing_util.register_after_fork(self, LiveTracing._drain_at_end)
        self._recording = Recording()
        self._recording.adopt(stream)
        self._sender = LiveSender(self._sender.replay, self._sender.flush)
        self._attach(stream, is_forked=True)

    def _drain_at_end(self) -> None:
        sys.modules["multiprocessing.util"].Finalize(None, self._drain, exitpriority=10)

    # The provider.

    def _get_maker(self) -> SpanReplay | Tracer | None:
        return self._maker if self._is_resolved else self._resolve()

    def _resolve(self) -> SpanReplay | Tracer | None:
        """Find the provider, once there is one: programs often set it after they have instrumented everything."""
        with self._resolving:
            if self._is_resolved:
                return self._maker
            provider = self._provider or get_tracer_provider()
            if isinstance(provider, ProxyTracerProvider):
                return None
            tracer = own_tracer(provider)
            flush: Callable[[], object] | None = getattr(provider, "force_flush", None)
            if isinstance(tracer, SdkTracer):
                self._maker = self._sender.replay = SpanReplay(tracer)
                self._join_provider(provider)
            elif not isinstance(tracer, NoOpTracer):
                self._maker = tracer
            if flush is not None:
                self._sender.flush = self._flusher.without_us(flush)
            # Now: so that this comes before what the provider does at exit.
            atexit.register(self.stop)
            self._is_resolved = True
            return self._maker

    def _join_provider(self, provider: TracerProvider) -> None:
        """Be the first of the provider's processors, for who flushes it, or shuts it down, wants our spans as well."""
        multi: Any = getattr(provider, "_active_span_processor", None)
        processors = getattr(multi, "_span_processors", None)
        if isinstance(processors, tuple):
            multi._span_processors = (self._flusher, *processors)
            self._multi = multi

    def _leave_provider(self) -> None:
        if self._multi is not None:
            with suppress(AttributeError):
                self._multi._span_processors = tuple(
                    each for each in self._multi._span_processors if each is not self._flusher
                )
            self._multi = None


_current: LiveTracing | None = None
_lock = threading.Lock()


def start(
    options: LiveOptions, provider: TracerProvider | None = None, meter_provider: MeterProvider | None = None
) -> None:
    """Turn it on for this process; where it is on, it stays as it is, and a warning says so."""
    global _current
    with _lock:
        if _current is not None:
            # No error: who runs a program under opentelemetry-instrument would break one that calls this itself.
            logger.warning("asynctrace.otel.instrument() was called before, and changes nothing now")
            return
        tracing = LiveTracing(options, provider, meter_provider)
        tracing.start()
        _current = tracing


def stop() -> None:
    """Turn it off; nothing where it is not on."""
    global _current
    with _lock:
        tracing, _current = _current, None
    if tracing is not None:
        tracing.stop()
