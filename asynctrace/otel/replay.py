"""Make spans of a provider's own, of which the ids and whether they are sampled were decided before.

A span is decided on when it begins, and built when all is known of it. Whatever the user has set up applies as if it
had been started then: the provider's resource, limits and processors, its sampler and its generator of ids.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from opentelemetry.context import Context
from opentelemetry.sdk.trace import Tracer as SdkTracer
from opentelemetry.sdk.trace.id_generator import IdGenerator
from opentelemetry.sdk.trace.sampling import Decision as Verdict
from opentelemetry.sdk.trace.sampling import Sampler, SamplingResult
from opentelemetry.trace import (
    NonRecordingSpan,
    SpanContext,
    SpanKind,
    TraceFlags,
    set_span_in_context,
)

from asynctrace import __version__

if TYPE_CHECKING:
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.trace import Link, Span, Tracer, TracerProvider, TraceState
    from opentelemetry.util.types import Attributes

    from asynctrace.otel.spans import Value

SCOPE = "asynctrace"


@dataclass(frozen=True, slots=True)
class Decision:
    """The context that a span will have, and what the sampler said of it."""

    context: SpanContext
    result: SamplingResult

    @property
    def is_recording(self) -> bool:
        return self.result.decision is not Verdict.DROP


class SpanReplay:
    """Decides on spans as the user's provider would, and later starts them as decided. Not for several threads at once.

    Example:
        >>> decision = replay.decide("count", None, {})
        >>> span = replay.start(decision, "count", None, {}, start_ns=1_700_000_000_000_000_000)
        >>> span.end(end_time=1_700_000_001_000_000_000)

    Args:
        tracer: A tracer of the SDK's. It stays as it is: others may have it, too.
    """

    def __init__(self, tracer: SdkTracer) -> None:
        self._sampler = tracer.sampler
        self._ids = tracer.id_generator
        self._next_ids = _NextIds()
        self._next_result = _NextResult()
        self._tracer = copy.copy(tracer)
        self._tracer.id_generator = self._next_ids
        self._tracer.sampler = self._next_result

    @property
    def resource(self) -> Resource:
        """The resource of the spans; the provider's, unless another is set."""
        return self._tracer.resource

    @resource.setter
    def resource(self, resource: Resource) -> None:
        self._tracer.resource = resource

    def decide(
        self, name: str, parent: SpanContext | None, attributes: Mapping[str, Value], links: Sequence[Link] = ()
    ) -> Decision:
        """Give a span its ids, and ask the user's sampler for it."""
        around = set_span_in_context(NonRecordingSpan(parent), Context()) if parent is not None else Context()
        if parent is not None and parent.is_valid:
            trace_id = parent.trace_id
            flags = parent.trace_flags & ~TraceFlags.SAMPLED
        else:
            trace_id = self._ids.generate_trace_id()
            is_random = getattr(self._ids, "is_trace_id_random", bool)()  # since 1.4x
            flags = getattr(TraceFlags, "RANDOM_TRACE_ID", 0) if is_random else TraceFlags.DEFAULT
        result = self._sampler.should_sample(around, trace_id, name, SpanKind.INTERNAL, attributes, links)
        if result.decision is Verdict.RECORD_AND_SAMPLE:
            flags |= TraceFlags.SAMPLED
        span_id = self._ids.generate_span_id()
        context = SpanContext(
            trace_id, span_id, is_remote=False, trace_flags=TraceFlags(flags), trace_state=result.trace_state
        )
        return Decision(context, result)

    def start(
        self,
        decision: Decision,
        name: str,
        parent: Span | None,
        attributes: Mapping[str, Value],
        links: Sequence[Link] = (),
        *,
        start_ns: int,
    ) -> Span:
        """Start the real span; the processors of the user see it now.

        Args:
            decision: From `decide`, with the context of `parent` and the same name and attributes.
            name: Its name.
            parent: Its parent, None for the root of a trace.
            attributes: What it has.
            links: Its links.
            start_ns: Wall clock.
        """
        self._next_ids.context = decision.context
        result = decision.result
        if result.attributes != attributes:
            # Those of the sampler beside what is known by now.
            result = SamplingResult(
                result.decision, {**attributes, **dict(result.attributes or {})}, result.trace_state
            )
        self._next_result.result = result
        return self._tracer.start_span(
            name,
            context=set_span_in_context(parent, Context()) if parent is not None else Context(),
            attributes=attributes,
            links=links,
            start_time=start_ns,
            record_exception=False,
            set_status_on_exception=False,
        )


class _NextIds(IdGenerator):
    """Generates the ids of a context."""

    context: SpanContext

    def generate_span_id(self) -> int:
        return self.context.span_id

    def generate_trace_id(self) -> int:
        return self.context.trace_id

    def is_trace_id_random(self) -> bool:
        return bool(self.context.trace_flags & getattr(TraceFlags, "RANDOM_TRACE_ID", 0))


class _NextResult(Sampler):
    """Says again what another sampler has said."""

    result: SamplingResult

    def should_sample(
        self,
        parent_context: Context | None,
        trace_id: int,
        name: str,
        kind: SpanKind | None = None,
        attributes: Attributes = None,
        links: Sequence[Link] | None = None,
        trace_state: TraceState | None = None,
    ) -> SamplingResult:
        return self.result

    def get_description(self) -> str:
        return "asynctrace's replay"


def own_tracer(provider: TracerProvider) -> Tracer:
    """Return the tracer whose spans are named as ours."""
    return provider.get_tracer(SCOPE, __version__)
