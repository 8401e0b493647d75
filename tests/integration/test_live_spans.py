"""Spans while the program runs: which is current where, what each says when it has ended, and that nothing leaks."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import logging
import os
import random
import sys
import threading
import time
import weakref
from collections import Counter
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import pytest
from opentelemetry import trace as otel
from opentelemetry.context import attach, detach, get_current, set_value
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, Span, SpanLimits, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SimpleSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.id_generator import IdGenerator, RandomIdGenerator
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ParentBased, Sampler, TraceIdRatioBased
from opentelemetry.trace import INVALID_SPAN, NoOpTracerProvider, StatusCode

import asynctrace
import asynctrace.otel

SCALE_S = 0.02
HAS_EAGER_TASKS = sys.version_info >= (3, 12)

Program = Callable[[], Coroutine[Any, Any, object]]


class Spans:
    """The spans that a provider exported, and the provider."""

    def __init__(self, **options: Any) -> None:
        self.exporter = InMemorySpanExporter()
        self.provider = TracerProvider(shutdown_on_exit=False, **options)
        self.provider.add_span_processor(SimpleSpanProcessor(self.exporter))
        self.tracer = self.provider.get_tracer("the user's")

    @property
    def all(self) -> list[ReadableSpan]:
        return list(self.exporter.get_finished_spans())

    def named(self, name: str) -> list[ReadableSpan]:
        return [span for span in self.all if short(span) == name]

    def the(self, name: str) -> ReadableSpan:
        (span,) = self.named(name)
        return span

    def parents(self) -> list[tuple[str, str | None]]:
        """Return (name, name of the parent) of all spans, sorted."""
        names = {context_of(span).span_id: short(span) for span in self.all}
        pairs = [(short(span), names[span.parent.span_id] if span.parent else None) for span in self.all]
        return sorted(pairs, key=str)

    def links(self, name: str) -> list[tuple[str, str]]:
        names = {context_of(span).span_id: short(span) for span in self.all}
        return [
            (names[link.context.span_id], str((link.attributes or {})["asynctrace.link"]))
            for link in self.the(name).links
        ]


def short(span: ReadableSpan) -> str:
    return span.name.rpartition("<locals>.")[2]


def context_of(span: ReadableSpan) -> otel.SpanContext:
    assert span.context is not None
    return span.context


@contextmanager
def instrumented(spans: Spans, **options: Any) -> Iterator[None]:
    asynctrace.otel.instrument(tracer_provider=spans.provider, metrics=False, **options)
    try:
        yield
    finally:
        asynctrace.otel.uninstrument()


def run(program: Program, **options: Any) -> Spans:
    spans = Spans()
    with instrumented(spans, **options):
        asyncio.run(program())
    return spans


@pytest.fixture(autouse=True)
def no_complaint(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """OpenTelemetry logs what goes wrong with contexts and spans; so do we."""
    yield
    allowed = getattr(caplog, "allowed", ())
    told = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert [text for text in told if not text.startswith(allowed)] == []


@asynctrace.traced
async def count() -> None:
    await asyncio.sleep(SCALE_S)


@asynctrace.traced
async def quick() -> otel.Span:
    await asyncio.sleep(0)
    return otel.get_current_span()


@asynctrace.traced
def compute() -> otel.Span:
    return otel.get_current_span()


# What is current, and whose child what is.


def test_gather_demo() -> None:
    @asynctrace.traced
    async def main() -> None:
        await asyncio.gather(count(), count(), count())

    before_ns = time.time_ns()
    spans = run(main)
    after_ns = time.time_ns()

    assert spans.parents() == [*[("count", "main")] * 3, ("main", None)]
    counts = spans.named("count")
    assert max(span.start_time or 0 for span in counts) < min(span.end_time or 0 for span in counts), "they overlap"
    for span in counts:
        assert span.attributes is not None
        assert span.attributes["asynctrace.waiting.sleep_s"] == pytest.approx(SCALE_S, rel=0.5)
        assert span.attributes["asynctrace.outcome"] == "returned"
        assert span.attributes["code.function.name"] == "count"
        assert span.status.status_code is StatusCode.UNSET
    slack_ns = 1_000_000  # between the two clocks
    assert all(
        before_ns - slack_ns <= (span.start_time or 0) <= (span.end_time or 0) <= after_ns + slack_ns
        for span in spans.all
    )
    assert spans.links("main") == [("count", "woken_by")]


async def in_a_group() -> None:
    async with asyncio.TaskGroup() as group:
        group.create_task(count())
        group.create_task(quick())


async def waiting_for() -> None:
    await asyncio.wait_for(count(), 60)


async def awaiting() -> None:
    await count()
    await asyncio.create_task(quick())


async def on_another_thread() -> None:
    await asyncio.to_thread(compute)


async def from_another_thread() -> None:
    loop = asyncio.get_running_loop()
    context = contextvars.copy_context()

    def submit() -> None:
        context.run(asyncio.run_coroutine_threadsafe, count(), loop).result()

    await loop.run_in_executor(None, submit)


async def in_a_shared_context() -> None:
    context = contextvars.copy_context()
    first = asyncio.create_task(count(), context=context)
    second = asyncio.create_task(quick(), context=context)
    await asyncio.gather(first, second)


@pytest.mark.parametrize(
    ("body", "children"),
    [
        (in_a_group, ["count", "quick"]),
        (waiting_for, ["count"]),
        (awaiting, ["count", "quick"]),
        (on_another_thread, ["compute"]),
        (from_another_thread, ["count"]),
        (in_a_shared_context, ["count", "quick"]),
    ],
)
def test_child_of_what_was_current_where_it_was_made(body: Program, children: list[str]) -> None:
    @asynctrace.traced
    async def main() -> None:
        await body()

    assert run(main).parents() == sorted([*[(child, "main") for child in children], ("main", None)], key=str)


@pytest.mark.skipif(not HAS_EAGER_TASKS, reason="eager tasks are of Python 3.12")
def test_eager_tasks() -> None:
    @asynctrace.traced
    async def main() -> None:
        asyncio.get_running_loop().set_task_factory(asyncio.eager_task_factory)
        tasks = [asyncio.create_task(quick()), asyncio.create_task(count())]
        assert short_of_current() == "main", "an eager task's first step leaves nothing behind"
        await asyncio.gather(*tasks)

    spans = run(main)

    assert spans.parents() == [("count", "main"), ("main", None), ("quick", "main")]
    assert "asynctrace.waiting.sleep_s" in (spans.the("count").attributes or {})


def short_of_current() -> str:
    current = otel.get_current_span()
    return str(getattr(current, "name", "nothing")).rpartition("<locals>.")[2]


def test_spans_of_the_user_nest_both_ways() -> None:
    spans = Spans()

    async def main() -> None:
        with spans.tracer.start_as_current_span("request"):
            await inner()

    @asynctrace.traced
    async def inner() -> None:
        with spans.tracer.start_as_current_span("query"):
            await count()
        spans.tracer.start_span("later").end()

    with instrumented(spans):
        asyncio.run(main())

    assert spans.parents() == [
        ("count", "query"),
        ("inner", "request"),
        ("later", "inner"),
        ("query", "inner"),
        ("request", None),
    ]
    request, query, inner_span = spans.the("request"), spans.the("query"), spans.the("inner")
    assert len({context_of(span).trace_id for span in spans.all}) == 1
    slack_ns = 1_000_000
    assert (request.start_time or 0) - slack_ns <= (inner_span.start_time or 0) <= (query.start_time or 0) + slack_ns


def test_tasks_on_request_and_one_span_for_a_decorated_root() -> None:
    async def helper() -> None:
        await asyncio.create_task(count())

    async def main() -> None:
        await asyncio.create_task(helper())

    assert run(main, tasks=True).parents() == [("count", "helper"), ("helper", "main"), ("main", None)]
    assert run(main).parents() == [("count", None)]


def test_task_of_a_compiled_coroutine_has_its_name() -> None:
    uvloop = pytest.importorskip("uvloop")

    async def main() -> None:
        loop = asyncio.get_running_loop()
        server = await asyncio.create_task(loop.create_server(asyncio.Protocol, "127.0.0.1", 0))
        server.close()

    spans = Spans()
    with instrumented(spans, tasks=True), asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main())

    assert spans.parents() == [("Loop.create_server", "main"), ("main", None)]


@pytest.mark.parametrize("module", ["asyncio", "uvloop"])
def test_what_a_loop_does_when_it_is_closed_has_no_span_and_is_nobodys_parent(module: str) -> None:
    new_event_loop = pytest.importorskip(module).new_event_loop

    async def numbers() -> AsyncIterator[int]:
        try:
            yield 1
        finally:
            await quick()

    async def main() -> None:
        left.append(numbers())
        await anext(left[0])

    left: list[AsyncIterator[int]] = []
    spans = Spans()
    with instrumented(spans, tasks=True), asyncio.Runner(loop_factory=new_event_loop) as runner:
        runner.run(main())

    assert spans.parents() == [("async_generator_athrow", None), ("main", None), ("quick", "async_generator_athrow")]


def test_recursion_of_decorated_coroutines() -> None:
    @asynctrace.traced
    async def deep(depth: int) -> None:
        if depth:
            await deep(depth - 1)

    spans = run(lambda: deep(100))

    assert len(spans.all) == 101
    by_id = {context_of(span).span_id: span for span in spans.all}
    depth, span = 0, spans.all[0]
    while span.parent is not None:
        depth, span = depth + 1, by_id[span.parent.span_id]
    assert depth == 100


# Contexts.


def test_consumer_of_a_generator_never_sees_its_span() -> None:
    @asynctrace.traced
    async def numbers() -> AsyncIterator[int]:
        for number in range(3):
            await count()
            assert short_of_current() == "numbers"
            yield number

    @asynctrace.traced
    async def main() -> None:
        async for _ in numbers():
            assert short_of_current() == "main"
            await quick()
        assert short_of_current() == "main"

    assert Counter(run(main).parents()) == {
        ("count", "numbers"): 3,
        ("quick", "main"): 3,
        ("numbers", "main"): 1,
        ("main", None): 1,
    }


def test_generator_left_half_way() -> None:
    @asynctrace.traced
    async def numbers() -> AsyncIterator[int]:
        try:
            yield 1
            yield 2
        finally:
            await asyncio.sleep(0)

    async def main() -> None:
        before = get_current()
        async for _ in numbers():
            break
        assert get_current() is before
        gc.collect()
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert get_current() is before

    (span,) = run(main).all
    assert span.attributes is not None
    assert span.attributes["asynctrace.outcome"] in ("closed", "cancelled")


def test_generator_driven_by_two_tasks() -> None:
    @asynctrace.traced
    async def numbers() -> AsyncIterator[str]:
        while True:
            await asyncio.sleep(0)
            yield short_of_current()

    seen: list[str] = []

    async def main() -> None:
        generator = numbers()

        @asynctrace.traced
        async def first() -> None:
            seen.append(await anext(generator))
            seen.append(short_of_current())

        @asynctrace.traced
        async def second() -> None:
            seen.append(await anext(generator))
            seen.append(short_of_current())

        await asyncio.create_task(first())
        await asyncio.create_task(second())
        await generator.aclose()  # type: ignore[attr-defined]
        assert otel.get_current_span() is INVALID_SPAN

    run(main)

    assert seen == ["numbers", "first", "numbers", "second"]


def test_coroutine_driven_by_hand_leaves_its_driver_alone() -> None:
    @asynctrace.traced
    async def driven() -> None:
        await _Bare()
        assert short_of_current() == "driven"

    @asynctrace.traced
    async def main() -> None:
        coroutine = driven()
        coroutine.send(None)
        assert short_of_current() == "main"
        await asyncio.sleep(0)
        assert short_of_current() == "main"
        with pytest.raises(StopIteration):
            coroutine.send(None)
        assert short_of_current() == "main"

    assert run(main).parents() == [("driven", "main"), ("main", None)]


class _Bare:
    def __await__(self) -> Iterator[None]:
        yield


def test_context_that_was_passed_in_is_left_as_it_was() -> None:
    inside: list[str] = []

    async def main() -> None:
        context = contextvars.copy_context()
        task = asyncio.create_task(count(), context=context)
        await asyncio.sleep(SCALE_S / 4)
        inside.append(context.run(short_of_current))
        await task
        inside.append(context.run(short_of_current))

    run(main)

    assert inside == ["nothing", "nothing"]


def test_context_of_a_runner_is_shared_by_its_runs() -> None:
    spans = Spans()
    with instrumented(spans), asyncio.Runner() as runner:
        runner.run(count())
        assert runner.run(current_outside()) == "nothing"
        runner.run(count())

    assert spans.parents() == [("count", None)] * 2
    assert len({context_of(span).trace_id for span in spans.all}) == 2


async def current_outside() -> str:
    return short_of_current()


def test_set_up_and_tear_down_in_different_tasks() -> None:
    @asynccontextmanager
    @asynctrace.traced
    async def resource() -> AsyncIterator[None]:
        await asyncio.sleep(0)
        yield
        await asyncio.sleep(0)

    async def main() -> None:
        manager = resource()
        await asyncio.create_task(manager.__aenter__())  # type: ignore[arg-type]  # a coroutine
        assert otel.get_current_span() is INVALID_SPAN
        await asyncio.create_task(manager.__aexit__(None, None, None))  # type: ignore[arg-type]
        assert otel.get_current_span() is INVALID_SPAN

    assert run(main).parents() == [("resource", None)]


def test_task_that_is_collected_after_its_loop_was_closed() -> None:
    spans = Spans()

    async def main() -> None:
        kept.append(asyncio.get_running_loop().create_task(stuck()))
        await asyncio.sleep(0)

    @asynctrace.traced
    async def stuck() -> None:
        await asyncio.get_running_loop().create_future()

    kept: list[asyncio.Task[None]] = []
    with instrumented(spans):
        loop = asyncio.new_event_loop()
        loop.run_until_complete(main())
        loop.close()
        kept[0]._log_destroy_pending = False  # type: ignore[attr-defined]
        kept.clear()
        gc.collect()

    span = spans.the("stuck")
    assert span.attributes is not None
    assert span.attributes["asynctrace.outcome"] == "closed"


def test_current_while_a_cancel_is_cleaned_up() -> None:
    spans = Spans()

    @asynctrace.traced
    async def cleaning() -> None:
        await helper()

    async def helper() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            with spans.tracer.start_as_current_span("tidy"):
                await asyncio.sleep(0)

    async def main() -> None:
        task = asyncio.create_task(cleaning())
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])

    with instrumented(spans):
        asyncio.run(main())

    assert spans.parents() == [("cleaning", None), ("tidy", "cleaning")]
    assert spans.the("cleaning").status.status_code is StatusCode.UNSET
    assert (spans.the("cleaning").attributes or {})["asynctrace.outcome"] == "cancelled"


def test_what_the_program_attaches_stays() -> None:
    seen: list[object] = []

    @asynctrace.traced
    async def inner() -> None:
        attach(set_value("mine", 1))  # never detached, as programs do

    async def main() -> None:
        token = attach(set_value("outer", 2))
        await inner()
        seen.append(get_current().get("mine"))
        detach(token)
        seen.append(get_current().get("mine"))

    run(main)

    assert seen == [1, None]


# What a span says.


def test_error_with_its_exception() -> None:
    @asynctrace.traced
    async def failing() -> None:
        raise LookupError("no such page")

    async def main() -> None:
        with pytest.raises(LookupError):
            await failing()

    span = run(main).the("failing")

    assert span.status.status_code is StatusCode.ERROR
    assert span.status.description == "LookupError: no such page"
    (event,) = span.events
    assert event.name == "exception"
    assert event.attributes is not None
    assert event.attributes["exception.type"] == "LookupError"
    assert event.attributes["exception.message"] == "no such page"
    assert "in failing" in str(event.attributes["exception.stacktrace"])
    assert (span.attributes or {})["error.type"] == "LookupError"
    assert event.timestamp == span.end_time


def test_exception_is_freed_when_it_was() -> None:
    class MarkedError(Exception):
        pass

    refs: list[weakref.ref[MarkedError]] = []

    @asynctrace.traced
    async def failing() -> None:
        error = MarkedError()
        refs.append(weakref.ref(error))
        try:
            raise error
        finally:
            del error

    async def main() -> None:
        try:
            await failing()
        except MarkedError:
            pass
        assert refs[0]() is None

    run(main)


def test_plain_function_that_raises_is_an_error_too() -> None:
    @asynctrace.traced
    def failing() -> None:
        raise LookupError("no such page")

    async def main() -> None:
        with pytest.raises(LookupError):
            failing()

    span = run(main).the("failing")

    assert (span.status.status_code, span.status.description) == (StatusCode.ERROR, "LookupError: no such page")


def test_what_is_done_to_the_current_span_is_kept() -> None:
    spans = Spans()
    items = ["a"]

    @asynctrace.traced(attributes={"tier": "gold"})
    async def worked() -> None:
        span = otel.get_current_span()
        assert span.is_recording()
        span.set_attribute("items", items)
        items.append("b")
        span.set_attributes({"n": 1, "tier": "silver"})
        span.add_event("half way", {"part": 0.5})
        span.record_exception(ValueError("handled"))
        span.set_status(StatusCode.OK)
        with spans.tracer.start_as_current_span("other") as other:
            pass
        span.add_link(other.get_span_context(), {"why": "because"})
        span.update_name("renamed")
        span.end()
        assert span.is_recording(), "it ends with the coroutine"
        ended.append(span)

    ended: list[otel.Span] = []
    with instrumented(spans):
        asyncio.run(worked())

    span = spans.the("renamed")
    attributes = dict(span.attributes or {})
    assert (attributes["items"], attributes["n"], attributes["tier"]) == (("a",), 1, "silver")
    assert [event.name for event in span.events] == ["half way", "exception"]
    assert (span.start_time or 0) <= span.events[0].timestamp <= (span.end_time or 0)
    assert span.status.status_code is StatusCode.OK
    assert [link.attributes for link in span.links] == [{"why": "because"}]
    assert not ended[0].is_recording()
    ended[0].set_attribute("late", 1)  # as with any span: nothing happens


def test_links_to_what_woke_and_who_awaited() -> None:
    @asynctrace.traced
    async def waiter(event: asyncio.Event) -> None:
        await event.wait()

    @asynctrace.traced
    async def setter(event: asyncio.Event) -> None:
        event.set()

    @asynctrace.traced
    def pause() -> None:
        time.sleep(SCALE_S)  # else it may be over before it is awaited

    @asynctrace.traced
    async def main() -> None:
        event = asyncio.Event()
        task = asyncio.create_task(waiter(event))
        await asyncio.sleep(0)
        await setter(event)
        await task
        await asyncio.to_thread(pause)

    spans = run(main)

    assert spans.links("waiter") == [("setter", "woken_by"), ("main", "awaited_by")]
    assert spans.links("pause") == [("main", "awaited_by")]
    assert spans.links("main") == [("waiter", "woken_by"), ("pause", "woken_by")]


def test_suspensions_as_events_on_request_the_longest_of_many() -> None:
    @asynctrace.traced
    async def busy() -> None:
        for number in range(150):
            await asyncio.sleep(SCALE_S if number == 77 else 0)

    spans = run(busy, events=True)

    span = spans.the("busy")
    events = [event for event in span.events if event.name == "resumed"]
    assert len(span.events) == 120
    assert span.dropped_events == 0
    assert max(float((event.attributes or {})["asynctrace.suspended_s"]) for event in events) > SCALE_S / 2  # type: ignore[arg-type]
    assert (span.attributes or {})["asynctrace.waits_left_out"] == 90
    assert run(busy).the("busy").events == ()


def test_says_the_same_as_the_recording_of_the_program() -> None:
    """Figures, outcomes, times: each span, made while the program ran, has those of the trace made afterwards."""

    @asynctrace.traced
    async def worker(number: int) -> None:
        for _ in range(number):
            await asyncio.sleep(0.001)
            compute()
        if number == 3:
            raise ValueError

    @asynctrace.traced
    async def main() -> None:
        await asyncio.gather(*[worker(number) for number in range(5)], return_exceptions=True)
        task = asyncio.create_task(worker(1000))
        await asyncio.sleep(0.005)
        task.cancel()
        await asyncio.wait([task])
        await asyncio.to_thread(time.sleep, 0.001)

    spans, afterwards = Spans(), Spans()
    with instrumented(spans), asynctrace.record() as recording:
        asyncio.run(main())
    recording.trace.to_otel(afterwards.provider)

    assert sorted(map(comparable, spans.all)) == sorted(map(comparable, afterwards.all))
    assert spans.parents() == afterwards.parents()


def comparable(span: ReadableSpan) -> tuple[str, str, int, str]:
    attributes = {key: value for key, value in (span.attributes or {}).items() if key != "asyncio.task.id"}
    duration_ns = (span.end_time or 0) - (span.start_time or 0)
    return span.name, str(sorted(attributes.items())), duration_ns, str(span.status.status_code)


def test_long_life_is_added_up_as_it_goes(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is over of a task that lives long is forgotten; its figures are whole all the same."""
    from asynctrace.otel import live_reading

    monkeypatch.setattr(live_reading, "_MANY", 5)
    monkeypatch.setattr(live_reading, "_HOUSEKEEPING_EVENTS", 1)

    @asynctrace.traced
    async def numbers() -> AsyncIterator[int]:
        for number in range(40):
            await asyncio.sleep(0.0001)
            yield number

    @asynctrace.traced
    async def main() -> None:
        async for number in numbers():
            if number % 3 == 0:
                await asyncio.sleep(0.0001)
        for _ in range(50):
            await helper()

    async def helper() -> None:
        await asyncio.sleep(0.0001)

    spans, afterwards = Spans(), Spans()
    with instrumented(spans, tasks=True, events=True), asynctrace.record() as recording:
        asyncio.run(main())
    recording.trace.to_otel(afterwards.provider, tasks=True, events=True)

    assert sorted(map(comparable, spans.all)) == sorted(map(comparable, afterwards.all))
    assert [len(span.events) for span in spans.named("main")] == [len(span.events) for span in afterwards.named("main")]


# The user's provider.


def test_whole_traces_or_none() -> None:
    @asynctrace.traced
    async def main() -> None:
        await asyncio.gather(inner(), inner())

    @asynctrace.traced
    async def inner() -> None:
        with spans.tracer.start_as_current_span("query"):
            await quick()

    class Seeded(RandomIdGenerator):
        random = random.Random(5)

        def generate_trace_id(self) -> int:
            return self.random.getrandbits(128) or 1

    spans = Spans(sampler=ParentBased(TraceIdRatioBased(0.5)), id_generator=Seeded())
    with instrumented(spans):
        for _ in range(20):
            asyncio.run(main())

    sizes = Counter(context_of(span).trace_id for span in spans.all)
    assert 3 < len(sizes) < 17
    assert set(sizes.values()) == {7}
    assert all(context_of(span).trace_flags.sampled for span in spans.all)


def test_never_sampled() -> None:
    spans = Spans(sampler=ALWAYS_OFF)
    seen: list[otel.Span] = []

    async def main() -> None:
        seen.append(await quick())

    with instrumented(spans):
        asyncio.run(main())

    assert spans.all == []
    assert seen[0].get_span_context().is_valid
    assert not seen[0].get_span_context().trace_flags.sampled
    assert not seen[0].is_recording()


def test_ids_limits_resource_and_processors_of_the_user() -> None:
    class Counting(IdGenerator):
        last = 0

        def generate_span_id(self) -> int:
            self.last += 1
            return self.last

        def generate_trace_id(self) -> int:
            return 7

    class Noting(SpanProcessor):
        def __init__(self) -> None:
            self.started: list[tuple[str, str | None]] = []

        def on_start(self, span: Span, parent_context: Any = None) -> None:
            parent = otel.get_current_span(parent_context)
            self.started.append((short(span), getattr(parent, "name", None)))
            span.set_attribute("noted", True)

    spans = Spans(
        id_generator=Counting(),
        span_limits=SpanLimits(max_span_attributes=5),
        resource=Resource({"service.name": "shop"}),
    )
    noting = Noting()
    spans.provider.add_span_processor(noting)

    async def main() -> None:
        with spans.tracer.start_as_current_span("request"):
            await quick()

    with instrumented(spans):
        asyncio.run(main())

    span = spans.the("quick")
    assert span.attributes is not None
    assert len(span.attributes) == 5
    assert span.attributes["noted"] is True
    assert context_of(span).trace_id == 7
    assert 0 < context_of(span).span_id < 5
    assert span.resource.attributes["service.name"] == "shop"
    assert noting.started == [("request", None), ("quick", "request")]
    assert span.instrumentation_scope is not None
    assert span.instrumentation_scope.name == "asynctrace"


def test_provider_that_is_flushed_or_shut_down_has_all_that_ended() -> None:
    for finish in ("force_flush", "shutdown"):
        exporter = InMemorySpanExporter()
        exporter.shutdown = lambda: None  # type: ignore[method-assign]
        provider = TracerProvider(shutdown_on_exit=False)
        provider.add_span_processor(BatchSpanProcessor(exporter))
        asynctrace.otel.instrument(tracer_provider=provider, metrics=False)
        try:
            asyncio.run(count())
            getattr(provider, finish)()
            assert [span.name for span in exporter.get_finished_spans()] == ["count"]
        finally:
            asynctrace.otel.uninstrument()
            provider.shutdown()  # ends its thread


def test_every_span_of_a_burst_exactly_once() -> None:
    class Slow(SpanExporter):
        def __init__(self) -> None:
            self.ids: list[int] = []

        def export(self, spans: Any) -> SpanExportResult:
            time.sleep(0.001)
            self.ids += [context_of(span).span_id for span in spans]
            return SpanExportResult.SUCCESS

    exporter = Slow()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(exporter))

    async def main() -> None:
        for _ in range(100):
            await asyncio.gather(*[quick() for _ in range(100)])

    asynctrace.otel.instrument(tracer_provider=provider, metrics=False)
    try:
        asyncio.run(main())
    finally:
        asynctrace.otel.uninstrument()
    provider.shutdown()

    assert len(exporter.ids) == len(set(exporter.ids)) == 10_000


def test_where_the_receiver_does_not_answer_memory_is_bounded(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    from asynctrace.otel import live_hooks, live_sending

    caplog.allowed = ("1,", "2,")  # type: ignore[attr-defined]
    monkeypatch.setattr(live_hooks, "MOST_WAITING", 500)
    monkeypatch.setattr(live_sending, "_MOST", 100)
    answers = threading.Event()
    exported: list[int] = []

    class Stuck(SpanExporter):
        def export(self, spans: Any) -> SpanExportResult:
            answers.wait(30)
            exported.append(len(spans))
            return SpanExportResult.SUCCESS

    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(Stuck()))

    async def main() -> None:
        for _ in range(30):
            await asyncio.gather(*[quick() for _ in range(100)])

    asynctrace.otel.instrument(tracer_provider=provider, metrics=False)
    try:
        asyncio.run(main())
    finally:
        answers.set()
        asynctrace.otel.uninstrument()

    (told,) = [record.getMessage() for record in caplog.records if record.name == "asynctrace"]
    dropped = int(told.partition(" spans were left out")[0].replace(",", ""))
    assert sum(exported) + dropped == 3000
    assert dropped > 1000


def test_provider_that_is_not_the_sdks() -> None:
    made: list[_OtherSpan] = []

    class Tracer(otel.Tracer):
        def start_span(self, name: str, context: Any = None, **options: Any) -> Any:
            parent = otel.get_current_span(context)
            made.append(_OtherSpan(name, parent if isinstance(parent, _OtherSpan) else None, options["attributes"]))
            return made[-1]

        def start_as_current_span(self, *args: Any, **options: Any) -> Any:
            raise NotImplementedError

    class Provider(otel.TracerProvider):
        def get_tracer(self, *args: Any, **options: Any) -> otel.Tracer:
            return Tracer()

    @asynctrace.traced
    async def main() -> None:
        assert isinstance(otel.get_current_span(), _OtherSpan)
        await count()

    asynctrace.otel.instrument(tracer_provider=Provider(), metrics=False)
    try:
        asyncio.run(main())
    finally:
        asynctrace.otel.uninstrument()

    outer, inner = made
    assert (outer.name.rpartition(".")[2], inner.name, inner.parent) == ("main", "count", outer)
    assert inner.attributes["asynctrace.waiting.sleep_s"] == pytest.approx(SCALE_S, rel=0.5)
    assert inner.end_ns > 0


class _OtherSpan(otel.NonRecordingSpan):
    def __init__(self, name: str, parent: _OtherSpan | None, attributes: Any) -> None:
        super().__init__(otel.SpanContext(1, 2, False, otel.TraceFlags(1)))
        self.name, self.parent, self.attributes, self.end_ns = name, parent, dict(attributes), 0

    def is_recording(self) -> bool:
        return True

    def set_attribute(self, key: str, value: Any) -> None:
        self.attributes[key] = value

    def end(self, end_time: int | None = None) -> None:
        self.end_ns = end_time or 0


def test_provider_that_makes_no_spans() -> None:
    asynctrace.otel.instrument(tracer_provider=NoOpTracerProvider(), metrics=False)
    try:
        assert asyncio.run(quick()) is INVALID_SPAN
    finally:
        asynctrace.otel.uninstrument()


def test_where_instrumentation_is_suppressed_there_are_no_spans() -> None:
    async def main() -> None:
        token = attach(set_value("suppress_instrumentation", True))
        await quick()
        detach(token)
        await count()

    assert run(main).parents() == [("count", None)]


def test_failing_sampler_is_told_once_and_harms_nothing(caplog: pytest.LogCaptureFixture) -> None:
    caplog.allowed = ("a span could not be made",)  # type: ignore[attr-defined]

    class Failing(Sampler):
        def should_sample(self, *args: Any, **options: Any) -> Any:
            raise ZeroDivisionError

        def get_description(self) -> str:
            return "failing"

    spans = Spans(sampler=Failing())
    with instrumented(spans):
        assert [asyncio.run(quick()), asyncio.run(quick())] == [INVALID_SPAN] * 2

    told = [record.getMessage() for record in caplog.records if record.name == "asynctrace"]
    assert told == ["a span could not be made, and others may not be: the program goes on"]
    assert spans.all == []


def test_failing_processor_is_told_once_and_harms_nothing(caplog: pytest.LogCaptureFixture) -> None:
    caplog.allowed = ("a span could not be handed on",)  # type: ignore[attr-defined]

    class Failing(SpanProcessor):
        def on_end(self, span: ReadableSpan) -> None:
            raise ZeroDivisionError

    spans = Spans()
    spans.provider.add_span_processor(Failing())
    with instrumented(spans):
        asyncio.run(quick())
        asyncio.run(count())

    assert len([record for record in caplog.records if record.name == "asynctrace"]) == 1
    assert spans.parents() == [("count", None), ("quick", None)]


# On and off.


def test_nothing_is_left_behind() -> None:
    spans = Spans()
    processors = spans.provider._active_span_processor._span_processors
    threads = set(threading.enumerate())

    with instrumented(spans):
        asyncio.run(count())
        assert set(threading.enumerate()) == threads, "not even while it is on"

    assert spans.provider._active_span_processor._span_processors == processors
    assert asyncio.run(quick()) is INVALID_SPAN
    assert len(spans.all) == 1
    asynctrace.otel.uninstrument()  # twice does nothing


def test_providers_are_freed_after_it() -> None:
    def program() -> tuple[weakref.ref[TracerProvider], weakref.ref[MeterProvider]]:
        provider = TracerProvider(shutdown_on_exit=False)
        meters = MeterProvider([InMemoryMetricReader()], shutdown_on_exit=False)
        asynctrace.otel.instrument(tracer_provider=provider, meter_provider=meters)
        try:
            asyncio.run(count())
        finally:
            asynctrace.otel.uninstrument()
        return weakref.ref(provider), weakref.ref(meters)

    refs = program()
    gc.collect()

    assert [ref() for ref in refs] == [None, None]


def test_twice_is_once_and_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    caplog.allowed = ("asynctrace.otel.instrument() was called before",)  # type: ignore[attr-defined]
    spans = Spans()
    with instrumented(spans):
        asynctrace.otel.instrument(tracer_provider=spans.provider)
        asyncio.run(count())
    assert len(caplog.records) == 1
    assert len(spans.all) == 1


def test_what_is_open_when_it_is_turned_off_is_unfinished() -> None:
    spans = Spans()

    async def main() -> None:
        task = asyncio.create_task(count())
        await asyncio.sleep(SCALE_S / 10)
        asynctrace.otel.uninstrument()
        await task
        assert otel.get_current_span() is INVALID_SPAN

    with instrumented(spans):
        asyncio.run(main())

    span = spans.the("count")
    assert (span.attributes or {})["asynctrace.outcome"] == "unfinished"
    assert (span.attributes or {})["asynctrace.waiting_s"] > 0  # type: ignore[operator]


def test_turned_on_inside_a_running_program() -> None:
    spans = Spans()

    @asynctrace.traced
    async def main() -> None:
        asynctrace.otel.instrument(tracer_provider=spans.provider, metrics=False)
        await count()

    asyncio.run(main())
    asynctrace.otel.uninstrument()

    assert spans.parents() == [("count", None)]


def test_beside_a_recording_that_comes_and_goes() -> None:
    spans = Spans()
    with instrumented(spans):
        with asynctrace.record() as recording:
            asyncio.run(count())
        asyncio.run(count())
    assert len(spans.all) == 2
    assert [task.label for task in recording.trace.tasks if task.is_user] == ["count"]


def test_events_that_are_lost_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """With no room for the events of a burst, each span is there all the same, some without figures: and says so."""
    from asynctrace.otel import live
    from asynctrace.otel.live_reading import LiveReader

    monkeypatch.setattr(live, "LIMIT_BYTES", 1 << 20)
    is_held = True
    take = LiveReader.take

    def held(self: LiveReader, at_once: int) -> bool:
        return not is_held and take(self, at_once)

    monkeypatch.setattr(LiveReader, "take", held)
    spans = Spans()

    @asynctrace.traced
    async def around() -> None:
        nonlocal is_held
        for _ in range(300):
            await asyncio.gather(*[quick() for _ in range(100)])
        is_held = False
        await quick()

    with instrumented(spans):
        asyncio.run(around())

    assert len(spans.named("quick")) == 30_001
    assert len(spans.named("around")) == 1
    lost = sum(bool((span.attributes or {}).get("asynctrace.events_lost")) for span in spans.all)
    assert 0 < lost < 30_001
    assert len({context_of(span).span_id for span in spans.all}) == 30_002


@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks")
def test_a_forked_child_has_spans_of_its_own(tmp_path: Path) -> None:
    spans = Spans()
    with instrumented(spans):
        asyncio.run(count())
        pid = os.fork()
        if pid == 0:
            status = 1
            try:
                asyncio.run(quick())
                spans.provider.force_flush()
                (tmp_path / "child").write_text(str(spans.parents()), encoding="utf-8")
                status = 0
            finally:
                os._exit(status)
        assert os.waitpid(pid, 0)[1] == 0
        asyncio.run(count())

    assert (tmp_path / "child").read_text(encoding="utf-8") == "[('quick', None)]"
    assert spans.parents() == [("count", None)] * 2


@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks")
def test_a_child_of_multiprocessing_hands_on_its_spans_before_it_leaves(tmp_path: Path) -> None:
    import multiprocessing

    spans = Spans()
    spans.provider.add_span_processor(_ToFile(tmp_path / "spans"))

    with instrumented(spans):
        process = multiprocessing.get_context("fork").Process(target=_count_once)
        process.start()
        process.join()

    assert (tmp_path / "spans").read_text(encoding="utf-8") == "count\n"


def _count_once() -> None:
    asyncio.run(count())


class _ToFile(SpanProcessor):
    def __init__(self, path: Path) -> None:
        self.path = path

    def on_end(self, span: ReadableSpan) -> None:
        with self.path.open("a", encoding="utf-8") as file:
            file.write(f"{span.name}\n")


def test_children_are_not_recorded_for_spans_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import multiprocessing
    import tempfile

    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))  # where the folder of their parts would be
    with instrumented(Spans()):
        process = multiprocessing.get_context("spawn").Process(target=os.getpid)
        process.start()
        process.join()
        assert list(tmp_path.glob("asynctrace-*")) == []


def test_a_reader_that_fails_stops_the_spans_and_nothing_else(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    from asynctrace.otel.live_reading import LiveReader

    caplog.allowed = ("events could not be read",)  # type: ignore[attr-defined]

    def failing(self: LiveReader, fields: object) -> None:
        raise ZeroDivisionError

    spans = Spans()
    with instrumented(spans):
        monkeypatch.setattr(LiveReader, "_read", failing)
        assert asyncio.run(after_a_while()) == "done"
        monkeypatch.undo()
        assert asyncio.run(quick()) is INVALID_SPAN

    assert len(spans.all) < 20


async def after_a_while() -> str:
    for _ in range(20):
        await count()
    return "done"


def test_a_function_that_is_decorated_late_has_spans() -> None:
    made: dict[str, Any] = {"asyncio": asyncio}
    exec("async def late(): await asyncio.sleep(0)", made)  # a code that was never decorated
    late = made["late"]

    async def main() -> None:
        await late()
        asynctrace.traced(late)
        await late()

    assert run(main).parents() == ([("late", None)] if HAS_EAGER_TASKS else []), "on 3.11 the wrapper has to be called"
