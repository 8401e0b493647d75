"""Turn a saved trace into OTLP: who the spans are of, and the way that they take to a file or to an endpoint.

One provider of the SDK's makes all of them, so that a file, an endpoint and `Trace.to_otel` get the same spans.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, TextIO, cast

from opentelemetry.sdk.resources import SERVICE_NAME, Resource
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, Tracer, TracerProvider
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.sampling import ALWAYS_ON

from asynctrace import __version__
from asynctrace.errors import AsynctraceError, MissingPackageError, UsageError
from asynctrace.otel.emitting import emitted
from asynctrace.otel.replay import own_tracer
from asynctrace.otel.spans import Span, Value, encodable

if TYPE_CHECKING:
    from asynctrace.model.trace import Trace

EXTRA = "asynctrace[otel]"
MARK = "telemetry.distro.name"  # what tells a file of ours from any other in OTLP JSON
_CHUNK = 512


class UndeliveredError(AsynctraceError):
    """Spans were not accepted: `reason` says why, `is_unknown` whether their receiver may have them all the same."""

    def __init__(self, reason: str, *, is_unknown: bool = False) -> None:
        super().__init__(reason)
        self.reason = reason
        self.is_unknown = is_unknown


@dataclass(frozen=True, slots=True)
class Rejection:
    """How many spans of a chunk were rejected, and why, where that was said."""

    count: int
    reason: str


class Delivery(SpanProcessor):
    """Takes spans as they end and hands them on in chunks. `accepted` counts those that were taken in good order.

    A receiver that rejects some of them gets the others all the same.
    """

    def __init__(
        self,
        deliver: Callable[[Sequence[ReadableSpan]], Rejection | None],
        on_progress: Callable[[int], None] | None = None,
    ) -> None:
        self._deliver = deliver
        self._on_progress = on_progress
        self._chunk: list[ReadableSpan] = []
        self.accepted = 0
        self.in_flight = 0
        self.rejected = Rejection(0, "")

    def on_end(self, span: ReadableSpan) -> None:
        self._chunk.append(span)
        if len(self._chunk) >= _CHUNK:
            self.force_flush()

    def force_flush(self, timeout_millis: int = 30000) -> bool:
        chunk, self._chunk = self._chunk, []
        if chunk:
            self.in_flight = len(chunk)
            rejected = self._deliver(chunk) or Rejection(0, "")
            self.in_flight = 0
            self.accepted += len(chunk) - rejected.count
            self.rejected = Rejection(self.rejected.count + rejected.count, self.rejected.reason or rejected.reason)
            if self._on_progress is not None:
                self._on_progress(self.accepted + self.rejected.count)
        return True


def convert(trace: Trace, spans: Sequence[Span], delivery: Delivery) -> None:
    """Have `delivery` take the spans of a trace, as those of the program that was recorded.

    Raises:
        UsageError: If the SDK is switched off.
        UndeliveredError: As `delivery` does, and if some spans were rejected.
    """
    provider = TracerProvider(sampler=ALWAYS_ON, resource=program_resource(trace), shutdown_on_exit=False)
    provider.add_span_processor(delivery)
    tracer = own_tracer(provider)
    if not isinstance(tracer, Tracer):
        raise UsageError("OTEL_SDK_DISABLED switches OpenTelemetry off: unset it")
    with _silence():
        for _ in emitted(spans, tracer, trace.processes):
            pass
        provider.force_flush()
    rejected = delivery.rejected
    if rejected.count:
        reason = f" ({rejected.reason})" if rejected.reason else ""
        raise UndeliveredError(f"it rejected {rejected.count:,} spans{reason}")


def program_resource(trace: Trace) -> Resource:
    """Return who the spans are of: the recorded program and its process, under the name that OTEL_SERVICE_NAME says."""
    about: dict[str, Value] = {MARK: "asynctrace", "telemetry.distro.version": __version__}
    if trace.processes:
        about["process.pid"] = trace.processes[0].pid
    resource = Resource.create(about)
    program = trace.parts[0].program if trace.parts else ""
    if program and str(resource.attributes.get(SERVICE_NAME, "")).startswith("unknown_service"):
        resource = resource.merge(Resource({SERVICE_NAME: encodable(program)}))
    return resource


def json_delivery(file: TextIO, on_progress: Callable[[int], None] | None = None) -> Delivery:
    """Return what writes spans to a text file as OTLP JSON lines: each an ExportTraceServiceRequest.

    Raises:
        MissingPackageError: If the exporter is not installed.
    """
    try:
        from opentelemetry.exporter.otlp.json.file import FileSpanExporter
    except ImportError as error:
        raise missing_package("OTLP JSON", "opentelemetry-exporter-otlp-json-file") from error

    watched = _Watched(file)
    exporter: SpanExporter = FileSpanExporter(stream=cast("IO[str]", watched))

    def deliver(chunk: Sequence[ReadableSpan]) -> None:
        _deliver(exporter, chunk)
        if watched.error is not None:
            raise watched.error

    return Delivery(deliver, on_progress)


class _Watched:
    """A text file that keeps the error of a write: the exporter only logs it."""

    closed = False

    def __init__(self, file: TextIO) -> None:
        self._file = file
        self.error: OSError | None = None

    def write(self, text: str) -> int:
        try:
            return self._file.write(text)
        except OSError as error:
            self.error = error
            return 0

    def flush(self) -> None:
        try:
            self._file.flush()
        except OSError as error:
            self.error = error


def _deliver(exporter: SpanExporter, chunk: Sequence[ReadableSpan]) -> None:
    if exporter.export(chunk) is not SpanExportResult.SUCCESS:
        raise UndeliveredError("the exporter could not encode them")


def missing_package(purpose: str, package: str) -> MissingPackageError:
    return MissingPackageError(f"{purpose} needs {package}: install {EXTRA} (pip install '{EXTRA}')")


@contextmanager
def _silence() -> Iterator[None]:
    """Keep to ourselves what the exporter logs of retries and failures: one sentence tells what came of it."""
    loggers = [logging.getLogger(name) for name in ("opentelemetry", "urllib3", "requests")]
    kept = [(logger, logger.disabled, logger.propagate, list(logger.handlers)) for logger in loggers]
    for logger in loggers:
        logger.propagate, logger.handlers = False, [logging.NullHandler()]
    try:
        yield
    finally:
        for logger, is_disabled, propagates, handlers in kept:
            logger.disabled, logger.propagate, logger.handlers = is_disabled, propagates, handlers
