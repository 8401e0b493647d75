"""Hand a trace's spans to an OpenTelemetry provider, with their own times."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from heapq import heappop, heappush
from typing import TYPE_CHECKING

from opentelemetry.context import Context
from opentelemetry.sdk.resources import SERVICE_NAME, Resource
from opentelemetry.sdk.trace import Tracer as SdkTracer
from opentelemetry.trace import (
    Link,
    NonRecordingSpan,
    Status,
    StatusCode,
    get_tracer_provider,
    set_span_in_context,
)

from asynctrace.analysis.processes import programs_of
from asynctrace.errors import AsynctraceError
from asynctrace.otel.replay import Decision, SpanReplay, own_tracer
from asynctrace.otel.spans import Span, encodable, trace_spans

if TYPE_CHECKING:
    from opentelemetry.trace import Span as RealSpan
    from opentelemetry.trace import Tracer, TracerProvider

    from asynctrace.model.trace import Process, Trace

_CHUNK = 512  # what a BatchSpanProcessor sends at a time; its queue has room for 2,048


def emit_trace(
    trace: Trace, provider: TracerProvider | None = None, *, tasks: bool | None = None, events: bool = False
) -> int:
    """Start and end the spans of a trace through a provider, which is flushed as often as needed for none to be lost.

    Args:
        trace: The trace.
        provider: The user's; by default the global one.
        tasks: As in `asynctrace.otel.spans.trace_spans`.
        events: The same.

    Returns:
        How many spans were handed to the provider's processors, and flushed: those that its sampler took.

    Raises:
        AsynctraceError: If the provider could not be flushed; the sentence says how many spans had been before.
    """
    provider = provider if provider is not None else get_tracer_provider()
    spans = trace_spans(trace, tasks=tasks, events=events)
    flush = getattr(provider, "force_flush", None)  # not of the API, but every provider that exports has it
    chunk = chunk_size()
    flushed = ended = 0
    for ended in emitted(spans, own_tracer(provider), trace.processes):
        if flush is not None and ended - flushed >= chunk:
            _flush(flush(), flushed, len(spans))
            flushed = ended
    if flush is not None and ended > flushed:
        _flush(flush(), flushed, len(spans))
    return ended


def emitted(spans: Sequence[Span], tracer: Tracer, processes: Sequence[Process] = ()) -> Iterator[int]:
    """Start and end `spans`, in order of time, as they did in the program.

    Args:
        spans: From `trace_spans`.
        tracer: One of the SDK's is asked for ids and sampling beforehand, so that links can point at spans that begin
            later; from another one links go to earlier spans only.
        processes: Those of the trace; of several each has its `process.pid` in the resource.

    Yields:
        How many spans have ended, after each that did and is recorded.
    """
    builder = _Replayed(spans, tracer, processes) if isinstance(tracer, SdkTracer) else _Plain(spans, tracer)
    open_spans: list[tuple[int, int, RealSpan]] = []
    ended = 0
    for number, span in enumerate(spans):
        while open_spans and open_spans[0][0] <= span.start_ns:
            _end(spans, open_spans)
            ended += 1
            yield ended
        real = builder.start(number)
        if real is not None:
            # Of those that end at one time, what began last ends first: children before their parents.
            heappush(open_spans, (span.end_ns, -number, real))
    while open_spans:
        _end(spans, open_spans)
        ended += 1
        yield ended


def _end(spans: Sequence[Span], open_spans: list[tuple[int, int, RealSpan]]) -> None:
    end_ns, number, real = heappop(open_spans)
    span = spans[-number]
    for event in span.events:
        real.add_event(event.name, event.attributes, event.time_ns)
    if span.error is not None:
        real.set_status(Status(StatusCode.ERROR, span.error or None))
    real.end(end_ns)


class _Replayed:
    """Starts spans of the SDK, all of which are decided on beforehand."""

    def __init__(self, spans: Sequence[Span], tracer: SdkTracer, processes: Sequence[Process]) -> None:
        self._spans = spans
        self._replays: dict[Process, SpanReplay] = {}
        default = SpanReplay(tracer)
        programs = programs_of(processes)
        for process in processes if len(processes) > 1 else ():
            replay = self._replays[process] = SpanReplay(tracer)
            about: dict[str, str | int] = {"process.pid": process.pid}
            if replay.resource.attributes.get(SERVICE_NAME) == programs[processes[0]] and programs[process]:
                about[SERVICE_NAME] = encodable(programs[process])  # of a merged trace: nobody gave the service a name
            replay.resource = replay.resource.merge(Resource(about))
        self._default = default
        self._decisions: list[Decision] = []
        for span in spans:
            around = Context()
            if span.parent is not None:
                around = set_span_in_context(NonRecordingSpan(self._decisions[span.parent].context), around)
            links = self._real_links(span, len(self._decisions))
            self._decisions.append(default.decide(span.name, around, span.attributes, links))
        self._real: dict[int, RealSpan] = {}
        self._children = _children(spans)

    def start(self, number: int) -> RealSpan | None:
        span, decision = self._spans[number], self._decisions[number]
        around = Context()
        if span.parent is not None:
            parent = self._real.get(span.parent) or NonRecordingSpan(self._decisions[span.parent].context)
            around = set_span_in_context(parent, around)
            self._children[span.parent] -= 1
            if not self._children[span.parent]:
                self._real.pop(span.parent, None)
        if not decision.is_recording:
            return None
        replay = self._replays.get(span.process, self._default)
        links = self._real_links(span, len(self._decisions))
        real = replay.start(decision, span.name, around, span.attributes, links, start_ns=span.start_ns)
        if not real.is_recording():
            return None
        if self._children[number]:
            self._real[number] = real
        return real

    def _real_links(self, span: Span, decided: int) -> list[Link]:
        """Return the links of `span` to those of the first `decided` spans that are exported."""
        return [
            Link(context, {"asynctrace.link": link.kind})
            for link in span.links
            if link.span < decided and (context := self._decisions[link.span].context).trace_flags.sampled
        ]


class _Plain:
    """Starts spans of a provider that is not the SDK's, by what every tracer can do."""

    def __init__(self, spans: Sequence[Span], tracer: Tracer) -> None:
        self._spans = spans
        self._tracer = tracer
        self._started: list[RealSpan] = []

    def start(self, number: int) -> RealSpan | None:
        span = self._spans[number]
        parent = self._started[span.parent] if span.parent is not None else None
        real = self._tracer.start_span(
            span.name,
            context=set_span_in_context(parent, Context()) if parent is not None else Context(),
            attributes=span.attributes,
            links=[
                Link(self._started[link.span].get_span_context(), {"asynctrace.link": link.kind})
                for link in span.links
                if link.span < number
            ],
            start_time=span.start_ns,
        )
        self._started.append(real)
        return real if real.is_recording() else None


def _children(spans: Iterable[Span]) -> list[int]:
    counts: list[int] = []
    for span in spans:
        counts.append(0)
        if span.parent is not None:
            counts[span.parent] += 1
    return counts


def chunk_size() -> int:
    """Return how many spans may end between two flushes: what the queue of a BatchSpanProcessor has room for."""
    with suppress(ValueError):
        return max(1, min(_CHUNK, int(os.environ.get("OTEL_BSP_MAX_QUEUE_SIZE", ""))))
    return _CHUNK


def _flush(is_flushed: object, flushed: int, total: int) -> None:
    if is_flushed is False:
        raise AsynctraceError(
            f"the provider could not be flushed: {flushed:,} of {total:,} spans had been before; "
            "see what its exporter logged"
        )
