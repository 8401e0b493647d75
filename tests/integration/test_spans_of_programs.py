"""Programs of all kinds as spans: each is the child of what it runs in."""

from __future__ import annotations

import asyncio
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

import pytest

import asynctrace
from asynctrace.model.trace import Trace
from asynctrace.otel.spans import trace_spans

SCALE_S = 0.05  # a second of the demo


@asynctrace.traced
async def count(started: asyncio.Event | None = None) -> None:
    if started is not None:
        started.set()
    await asyncio.sleep(SCALE_S)


@asynctrace.traced
async def quick() -> None:
    await asyncio.sleep(0)


def recorded(program: Callable[[], Coroutine[Any, Any, object]]) -> Trace:
    with asynctrace.record() as recording:
        asyncio.run(program())
    return recording.trace


def parents(trace: Trace, **options: bool) -> list[tuple[str, str | None]]:
    spans = trace_spans(trace, **options)
    names = [span.name.rpartition("<locals>.")[2] for span in spans]
    return [(name, names[span.parent] if span.parent is not None else None) for name, span in zip(names, spans, strict=True)]  # fmt: skip # noqa: E501


def test_gather_demo() -> None:
    @asynctrace.traced
    async def main() -> None:
        await asyncio.gather(count(), count(), count())

    before_ns = time.time_ns()
    trace = recorded(main)
    after_ns = time.time_ns()

    spans = trace_spans(trace)
    assert parents(trace) == [("main", None), *[("count", "main")] * 3]
    assert max(span.start_ns for span in spans[1:]) < min(span.end_ns for span in spans[1:]), "they overlap"
    for span in spans[1:]:
        assert float(span.attributes["asynctrace.waiting.sleep_s"]) == pytest.approx(SCALE_S, rel=0.5)
    assert all(before_ns <= span.start_ns <= span.end_ns <= after_ns for span in spans)
    woken_by = {spans[link.span].name for link in spans[0].links}
    assert woken_by == {"count"}


async def in_a_group() -> None:
    async with asyncio.TaskGroup() as group:
        group.create_task(count())
        group.create_task(quick())


async def waiting_for() -> None:
    await asyncio.wait_for(count(), 60)


async def awaiting() -> None:
    await count()
    await asyncio.create_task(quick())


async def in_a_shared_context() -> None:
    import contextvars

    context = contextvars.copy_context()
    await asyncio.gather(*(asyncio.create_task(each, context=context) for each in (count(), quick())))


@pytest.mark.parametrize("program", [in_a_group, waiting_for, awaiting, in_a_shared_context])
def test_children_of_a_coroutine(program: Callable[[], Awaitable[None]]) -> None:
    @asynctrace.traced
    async def main() -> None:
        await program()
        await quick()

    found = parents(recorded(main))

    assert found[0] == ("main", None)
    assert {parent for _, parent in found[1:]} == {"main"}
    assert sorted({name for name, _ in found}) == ["count", "main", "quick"]


def test_coroutine_of_another_loop_and_job_on_a_thread() -> None:
    @asynctrace.traced
    def work(loop: asyncio.AbstractEventLoop) -> None:
        asyncio.run_coroutine_threadsafe(count(), loop).result()

    @asynctrace.traced
    async def main() -> None:
        await asyncio.to_thread(work, asyncio.get_running_loop())

    trace = recorded(main)

    assert parents(trace) == [("main", None), ("work", "main"), ("count", "work")]
    spans = trace_spans(trace)
    assert spans[1].attributes["thread.id"] != spans[0].attributes["thread.id"] == threading.get_native_id()
    assert [(link.kind, link.span) for link in spans[0].links] == [("woken_by", 1)]


def test_loop_on_another_thread_is_asked_from_a_task() -> None:
    @asynctrace.traced
    async def main() -> None:
        loop = asyncio.new_event_loop()
        thread = threading.Thread(target=loop.run_forever)
        thread.start()
        try:
            await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(count(), loop))
        finally:
            loop.call_soon_threadsafe(loop.stop)
            thread.join()
            loop.close()

    assert parents(recorded(main)) == [("main", None), ("count", "main")]


@pytest.mark.skipif(sys.version_info < (3, 12), reason="eager tasks are new in 3.12")
def test_eager_tasks() -> None:
    @asynctrace.traced
    async def inner() -> None:
        await asyncio.create_task(quick())

    @asynctrace.traced
    async def main() -> None:
        asyncio.get_running_loop().set_task_factory(asyncio.eager_task_factory)
        await asyncio.create_task(inner())
        await asyncio.create_task(count())

    assert parents(recorded(main)) == [("main", None), ("inner", "main"), ("quick", "inner"), ("count", "main")]


def test_loop_inside_a_plain_function() -> None:
    @asynctrace.traced
    def run() -> None:
        asyncio.run(quick())

    with asynctrace.record() as recording:
        run()

    assert parents(recording.trace) == [("run", None), ("quick", "run")]


def test_plain_function_and_async_generator_inside_a_coroutine() -> None:
    @asynctrace.traced(attributes={"unit": "euro"})
    def price() -> int:
        return 3

    @asynctrace.traced(name="pages")
    async def fetch_pages() -> Any:
        for _ in range(2):
            await quick()
            yield price()

    @asynctrace.traced
    async def main() -> None:
        async for _ in fetch_pages():
            price()

    found = parents(recorded(main))

    assert found[:2] == [("main", None), ("pages", "main")]
    assert sorted(found[2:]) == [("price", "main")] * 2 + [("price", "pages")] * 2 + [("quick", "pages")] * 2


def test_exceptions_and_cancellations() -> None:
    @asynctrace.traced
    async def fail() -> None:
        raise ValueError("not to be recorded")

    @asynctrace.traced
    async def main() -> None:
        started = asyncio.Event()
        task = asyncio.create_task(count(started))
        await started.wait()
        task.cancel()
        await asyncio.gather(task, fail(), return_exceptions=True)

    spans = {span.name.rpartition("<locals>.")[2]: span for span in trace_spans(recorded(main))}

    assert {name: (span.error, span.attributes["asynctrace.outcome"]) for name, span in spans.items()} == {
        "main": (None, "returned"),
        "count": (None, "cancelled"),
        "fail": ("ValueError", "raised"),
    }
    assert "not to be recorded" not in str(spans)


def test_what_goes_on_is_unfinished_and_ends_with_the_trace() -> None:
    async def main() -> Trace:
        with asynctrace.record() as recording:
            started = asyncio.Event()
            task = asyncio.create_task(count(started))
            await started.wait()
            await asyncio.sleep(0)
            trace = recording.snapshot()
        await task
        return trace

    trace = asyncio.run(main())

    (span,) = trace_spans(trace)
    assert (span.name, span.attributes["asynctrace.outcome"]) == ("count", "unfinished")
    part = trace.parts[0]
    assert span.end_ns == part.wall_ns + trace.end_ns - part.start_ns


def test_tasks_of_a_program_that_is_not_decorated() -> None:
    async def child() -> None:
        await asyncio.sleep(0)

    async def main() -> None:
        task = asyncio.create_task(child(), name="a name of its own")
        await task

    spans = trace_spans(recorded(main))

    assert [span.name.rpartition("<locals>.")[2] for span in spans] == ["main", "child"]
    assert "<locals>" in spans[1].name or not recorded(main).sees_coroutines
    assert (spans[1].parent, spans[1].attributes["asyncio.task.name"]) == (0, "a name of its own")
