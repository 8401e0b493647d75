"""Make spans of a provider's own, of which the ids and whether they are sampled were decided before.

A span is decided on when it begins, and built when all is known of it. Whatever the user has set up applies as if it
had been started then: the provider's resource, limits and processors, its sampler and its generator of ids.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from opentelemetry.sdk.trace import Tracer as SdkTracer
from opentelemetry.sdk.trace.id_generator import IdGenerator
from opentelemetry.sdk.trace.sampling import Decision as Verdict
from opentelemetry.sdk.trace.sampling import ParentBased, Sampler, SamplingResult, StaticSampler
from opentelemetry.trace import SpanContext, SpanKind, TraceFlags, get_current_span

from asynctrace import __version__

if TYPE_CHECKING:
    from opentelemetry.context import Context
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.trace import Link, Span, Tracer, TracerProvider, TraceState
    from opentelemetry.util.types import Attributes

    from asynctrace.otel.spans import Value

SCOPE = "asynctrace"


@dataclass(frozen=True, slots=True)
class Decision:
    """The context that a span will have, and what the sampler said of it; None: it is sampled, as will be said then."""

    context: SpanContext
    result: SamplingResult | None

    @property
    def is_recording(self) -> bool:
        return self.result is None or self.result.decision is not Verdict.DROP


class Foreknowledge:
    """What a sampler is known to say, so that it need not be asked before the span is built.

    Of the SDK's own samplers only, which answer the same always: None where it has to be asked.
    """

    def __init__(self, sampler: Sampler) -> None:
        roots = local = local_dropped = remote = remote_dropped = sampler
        if type(sampler) is ParentBased:
            roots = getattr(sampler, "_root", sampler)
            local = getattr(sampler, "_local_parent_sampled", sampler)
            local_dropped = getattr(sampler, "_local_parent_not_sampled", sampler)
            remote = getattr(sampler, "_remote_parent_sampled", sampler)
            remote_dropped = getattr(sampler, "_remote_parent_not_sampled", sampler)
        self.of_root = _answer(roots)
        self._of_child = {
            (False, True): _answer(local),
            (False, False): _answer(local_dropped),
            (True, True): _answer(remote),
            (True, False): _answer(remote_dropped),
        }

    def of_child(self, is_remote: bool, is_sampled: bool) -> bool | None:
        """Tell whether the child of such a span is sampled."""
        return self._of_child[is_remote, is_sampled]


def _answer(sampler: Sampler) -> bool | None:
    if type(sampler) is not StaticSampler:
        return None
    verdict = getattr(sampler, "_decision", None)
    return {Verdict.RECORD_AND_SAMPLE: True, Verdict.DROP: False}.get(verdict) if verdict is not None else None


class SpanReplay:
    """Decides on spans as the user's provider would, on any thread, and later starts them as decided, on one at a time.

    Example:
        >>> decision = replay.decide("count", Context(), {})
        >>> span = replay.start(decision, "count", Context(), {}, start_ns=1_700_000_000_000_000_000)
        >>> span.end(end_time=1_700_000_001_000_000_000)

    Args:
        tracer: A tracer of the SDK's. It stays as it is: others may have it, too.
    """

    def __init__(self, tracer: SdkTracer) -> None:
        self._sampler = tracer.sampler
        self._ids = tracer.id_generator
        self.foreknowledge = Foreknowledge(tracer.sampler)
        # Whether the local child of a span that is sampled is sampled for sure, and that of another is not.
        self.has_sampled_children = self.foreknowledge.of_child(False, True) is True
        self.has_dropped_children = self.foreknowledge.of_child(False, False) is False
        self.has_sampled_roots = self.foreknowledge.of_root is True
        self.root_flags = _root_flags(self._ids) | TraceFlags.SAMPLED  # of those
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

    def new_trace_id(self) -> int:
        """Return an id of the user's generator."""
        return self._ids.generate_trace_id()

    def new_span_id(self) -> int:
        """Return an id of the user's generator."""
        return self._ids.generate_span_id()

    def decide(
        self, name: str, around: Context, attributes: Mapping[str, Value], links: Sequence[Link] = ()
    ) -> Decision:
        """Give a span its ids, and ask the user's sampler for it.

        Args:
            name: Its name.
            around: The context that it starts in; the current span of that is its parent.
            attributes: What is known of it.
            links: Its links.
        """
        parent = get_current_span(around).get_span_context()
        if parent.is_valid:
            trace_id, trace_state = parent.trace_id, parent.trace_state
            flags = parent.trace_flags & ~TraceFlags.SAMPLED
            is_sampled = self.foreknowledge.of_child(parent.is_remote, parent.trace_flags.sampled)
        else:
            trace_id, trace_state = self._ids.generate_trace_id(), None
            flags = _root_flags(self._ids)
            is_sampled = self.foreknowledge.of_root
        result = None
        if not is_sampled:
            result = self._sampler.should_sample(around, trace_id, name, SpanKind.INTERNAL, attributes, links)
            is_sampled, trace_state = result.decision is Verdict.RECORD_AND_SAMPLE, result.trace_state
        if is_sampled:
            flags |= TraceFlags.SAMPLED
        span_id = self._ids.generate_span_id()
        context = SpanContext(
            trace_id, span_id, is_remote=False, trace_flags=TraceFlags(flags), trace_state=trace_state
        )
        return Decision(context, result)

    def start(
        self,
        decision: Decision,
        name: str,
        around: Context,
        attributes: Mapping[str, Value],
        links: Sequence[Link] = (),
        *,
        start_ns: int,
    ) -> Span:
        """Start the real span; the processors of the user see it now.

        Args:
            decision: From `decide`.
            name: Its name, as then.
            around: As then; the user's processors are given it.
            attributes: What it has.
            links: Its links.
            start_ns: Wall clock.
        """
        self._next_ids.context = decision.context
        result = decision.result
        if result is None:
            trace_id = decision.context.trace_id
            result = self._sampler.should_sample(around, trace_id, name, SpanKind.INTERNAL, attributes, links)
        elif result.attributes != attributes:
            # Those of the sampler beside what is known by now.
            result = SamplingResult(
                result.decision, {**attributes, **dict(result.attributes or {})}, result.trace_state
            )
        self._next_result.result = result
        return self._tracer.start_span(
            name,
            context=around,
            attributes=attributes,
            links=links,
            start_time=start_ns,
            record_exception=False,
            set_status_on_exception=False,
        )


def _root_flags(ids: IdGenerator) -> int:
    is_random = getattr(ids, "is_trace_id_random", bool)()  # since 1.4x
    return getattr(TraceFlags, "RANDOM_TRACE_ID", 0) if is_random else TraceFlags.DEFAULT


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
