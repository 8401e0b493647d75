"""Spans through a provider of the user's: all that it has set up applies, and none is lost."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence

import pytest
from fakes import FakeTrace
from opentelemetry import trace as api
from opentelemetry.context import Context
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, Span, SpanLimits, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SimpleSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.id_generator import IdGenerator
from opentelemetry.sdk.trace.sampling import (
    Decision,
    ParentBased,
    Sampler,
    SamplingResult,
    TraceIdRatioBased,
)

from asynctrace.errors import AsynctraceError
from asynctrace.model.trace import Outcome, Trace
from asynctrace.otel.replay import SCOPE


def family(parents: int = 1, children: int = 3, *, error: str | None = None) -> Trace:
    """Return a trace of tasks, each of which makes and awaits others: as many traces as `parents`."""
    fake = FakeTrace()
    for _ in range(parents):
        main = fake.task("main", states=[("running", 0, 1)])
        fake.coroutine("main", 0, 100, task=main, is_traced=True)
        states = [("running", 0, 1)]
        for number in range(children):
            begin = 1 + number
            child = fake.task("child", creator=main, created=1, states=[("running", begin, begin + 1)])
            outcome: Outcome = "raised" if error else "returned"
            fake.coroutine("child", begin, begin + 1, task=child, is_traced=True, outcome=outcome, error=error)
            states += [
                ("waiting", begin, begin + 0.5, "task", "child", child),
                ("ready", begin + 0.5, begin + 1, child),
            ]
        main.states = tuple(fake._state(state) for state in states)
        main.end_ns = main.finished_ns = fake.ns(100)
    return fake.build()


@pytest.fixture
def exporter() -> InMemorySpanExporter:
    return InMemorySpanExporter()


def provider_of(exporter: SpanExporter, **options: object) -> TracerProvider:
    provider = TracerProvider(shutdown_on_exit=False, **options)  # type: ignore[arg-type]
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    return provider


def check_ids(spans: Sequence[ReadableSpan]) -> None:
    """Check that parents and links point at exported spans of the same trace."""
    known = {span.context.span_id: span for span in spans}
    assert len(known) == len(spans)
    for span in spans:
        if span.parent is not None:
            assert known[span.parent.span_id].context.trace_id == span.context.trace_id == span.parent.trace_id
        for link in span.links:
            assert known[link.context.span_id].context.trace_id == link.context.trace_id


def test_spans_have_their_own_times_parents_and_links(exporter: InMemorySpanExporter) -> None:
    assert family().to_otel(provider_of(exporter)) == 4

    spans = exporter.get_finished_spans()
    check_ids(spans)
    (main,) = (span for span in spans if span.parent is None)
    assert [link.attributes for link in main.links] == [{"asynctrace.link": "woken_by"}] * 3
    assert main.end_time - main.start_time == 100_000_000
    assert all(span.kind is api.SpanKind.INTERNAL and span.instrumentation_scope.name == SCOPE for span in spans)
    assert [span.name for span in spans] == ["child"] * 3 + ["main"], "they end in order of time"


def test_exception_is_an_error_with_its_type(exporter: InMemorySpanExporter) -> None:
    family(error="ValueError").to_otel(provider_of(exporter))

    statuses = {span.name: (span.status.status_code, span.status.description) for span in exporter.get_finished_spans()}
    assert statuses == {"main": (api.StatusCode.UNSET, None), "child": (api.StatusCode.ERROR, "ValueError")}


def test_the_users_resource_applies(exporter: InMemorySpanExporter) -> None:
    resource = Resource.create({"service.name": "mine"})

    family().to_otel(provider_of(exporter, resource=resource))

    assert {span.resource for span in exporter.get_finished_spans()} == {resource}


def test_each_process_has_a_resource(exporter: InMemorySpanExporter) -> None:
    fake = FakeTrace()
    fake.call("here", 0, 5, kind="traced").is_traced = True
    there = fake.thread("MainThread", process=fake.process("worker", pid=200))
    fake.call("there", 1, 4, kind="traced", thread=there).is_traced = True

    fake.build().to_otel(provider_of(exporter, resource=Resource.create({"service.name": "mine"})))

    found = {span.name: dict(span.resource.attributes) for span in exporter.get_finished_spans()}
    assert {name: (each["service.name"], each["process.pid"]) for name, each in found.items()} == {
        "here": ("mine", 100),
        "there": ("mine", 200),
    }


def test_the_users_limits_apply(exporter: InMemorySpanExporter) -> None:
    limits = SpanLimits(max_span_attributes=4, max_links=1, max_events=2)

    family().to_otel(provider_of(exporter, span_limits=limits), events=True)

    for span in exporter.get_finished_spans():
        assert len(span.attributes) == 4 and span.dropped_attributes > 0
        assert len(span.links) <= 1


class Numbers(IdGenerator):
    def __init__(self) -> None:
        self.span_ids = itertools.count(1)
        self.trace_ids = itertools.count(1001)

    def generate_span_id(self) -> int:
        return next(self.span_ids)

    def generate_trace_id(self) -> int:
        return next(self.trace_ids)


def test_the_users_id_generator_is_asked(exporter: InMemorySpanExporter) -> None:
    family(parents=2).to_otel(provider_of(exporter, id_generator=Numbers()))

    spans = exporter.get_finished_spans()
    check_ids(spans)
    assert {span.context.span_id for span in spans} == set(range(1, 9))
    assert {span.context.trace_id for span in spans} == {1001, 1002}


class Watching(SpanProcessor):
    """Notes what starts and ends, and adds an attribute."""

    def __init__(self) -> None:
        self.told: list[str] = []
        self.parents: list[bool] = []

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:
        self.told.append(f"{span.name} starts")
        self.parents.append(api.get_current_span(parent_context).is_recording())
        span.set_attribute("mine", True)

    def on_end(self, span: ReadableSpan) -> None:
        self.told.append(f"{span.name} ends")


def test_the_users_processor_sees_each_start_and_end_in_order(exporter: InMemorySpanExporter) -> None:
    provider = TracerProvider(shutdown_on_exit=False)
    watching = Watching()
    provider.add_span_processor(watching)
    provider.add_span_processor(SimpleSpanProcessor(exporter))

    family(children=2).to_otel(provider)

    assert watching.told == ["main starts", "child starts", "child starts", "child ends", "child ends", "main ends"]
    assert watching.parents == [False, True, True]
    assert all(span.attributes["mine"] for span in exporter.get_finished_spans())


@pytest.mark.parametrize("is_parent_based", [True, False])
def test_of_a_ratio_whole_traces_are_kept_or_none(exporter: InMemorySpanExporter, is_parent_based: bool) -> None:
    ratio = TraceIdRatioBased(0.3)
    provider = provider_of(exporter, sampler=ParentBased(ratio) if is_parent_based else ratio)

    emitted = family(parents=200).to_otel(provider)

    spans = exporter.get_finished_spans()
    check_ids(spans)
    traces = [span.context.trace_id for span in spans]
    assert {traces.count(id) for id in traces} == {4}
    assert emitted == len(spans)
    assert 20 < len(set(traces)) < 110


class EveryOther(Sampler):
    """Drops some spans of a trace, only records others, and adds an attribute."""

    def __init__(self) -> None:
        self.decisions = itertools.cycle([Decision.RECORD_AND_SAMPLE, Decision.DROP, Decision.RECORD_ONLY])
        self.names: list[tuple[str, object]] = []

    def should_sample(self, parent_context: object, trace_id: int, name: str, kind: object = None, attributes: object = None, links: object = None, trace_state: object = None) -> SamplingResult:  # fmt: skip # noqa: E501
        self.names.append((name, dict(attributes)["asynctrace.outcome"]))  # type: ignore[call-overload]
        return SamplingResult(next(self.decisions), {"sampled by": "me"})

    def get_description(self) -> str:
        return "every other"


def test_the_users_sampler_is_asked_once_for_each_and_links_go_to_exported_spans_only(
    exporter: InMemorySpanExporter,
) -> None:
    sampler = EveryOther()

    assert family(children=4).to_otel(provider_of(exporter, sampler=sampler)) == 3

    assert sampler.names == [("main", "returned")] + [("child", "returned")] * 4
    spans = exporter.get_finished_spans()
    check_ids(spans)
    assert sorted(span.name for span in spans) == ["child", "main"]
    assert all(span.attributes["sampled by"] == "me" and "asynctrace.steps" in span.attributes for span in spans)
    assert [len(span.links) for span in spans if span.name == "main"] == [1]


class Counting(SpanExporter):
    def __init__(self) -> None:
        self.ids: list[int] = []

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        self.ids += [span.context.span_id for span in spans]
        return SpanExportResult.SUCCESS


@pytest.fixture
def batching() -> Iterator[tuple[TracerProvider, Counting]]:
    counting = Counting()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(counting))
    yield provider, counting
    provider.shutdown()


def test_none_of_20_000_spans_is_lost_in_a_batch_processor(batching: tuple[TracerProvider, Counting]) -> None:
    provider, counting = batching

    assert family(parents=50, children=399).to_otel(provider) == 20_000

    assert len(counting.ids) == len(set(counting.ids)) == 20_000


def test_smaller_queue_of_the_environment_loses_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_BSP_MAX_QUEUE_SIZE", "64")
    monkeypatch.setenv("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "64")
    counting = Counting()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(counting))

    family(children=999).to_otel(provider)

    assert len(set(counting.ids)) == 1000
    provider.shutdown()


def test_provider_that_cannot_be_flushed_is_an_error(exporter: InMemorySpanExporter) -> None:
    class Stuck(SpanProcessor):
        def force_flush(self, timeout_millis: int = 30000) -> bool:
            return False

    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(Stuck())

    with pytest.raises(AsynctraceError, match="could not be flushed: 0 of 1,001 spans had been before"):
        family(children=1000).to_otel(provider)


def test_others_who_have_our_tracer_notice_nothing(exporter: InMemorySpanExporter) -> None:
    provider = provider_of(exporter)
    tracer = provider.get_tracer(SCOPE)
    before = dict(vars(tracer))

    family().to_otel(provider)

    assert vars(tracer) == before
    exporter.clear()
    with tracer.start_as_current_span("mine"):
        pass
    assert [span.parent for span in exporter.get_finished_spans()] == [None]


def test_what_is_current_is_no_parent(exporter: InMemorySpanExporter) -> None:
    provider = provider_of(exporter)
    with provider.get_tracer("mine").start_as_current_span("around"):
        family().to_otel(provider)

    assert {span.name for span in exporter.get_finished_spans() if span.parent is None} == {"main", "around"}


def test_provider_that_is_not_the_sdks_gets_plain_spans(exporter: InMemorySpanExporter) -> None:
    class Foreign(api.TracerProvider):
        def __init__(self) -> None:
            self.inner = provider_of(exporter)

        def get_tracer(self, *args: object, **kwargs: object) -> api.Tracer:
            inner = self.inner.get_tracer(*args, **kwargs)  # type: ignore[arg-type]

            class ForeignTracer(api.Tracer):
                def start_span(self, *args: object, **kwargs: object) -> api.Span:  # type: ignore[override]
                    return inner.start_span(*args, **kwargs)  # type: ignore[arg-type]

                start_as_current_span = None  # type: ignore[assignment]

            return ForeignTracer()

    assert family().to_otel(Foreign()) == 4

    spans = exporter.get_finished_spans()
    check_ids(spans)
    assert sorted(span.name for span in spans) == ["child", "child", "child", "main"]


def test_provider_that_does_nothing_gets_nothing() -> None:
    assert family().to_otel(api.NoOpTracerProvider()) == 0
