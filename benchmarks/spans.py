"""What an OpenTelemetry span costs: `python -m benchmarks.spans`, from the checkout.

100,000 coroutines that each suspend once and have a span, through a BatchSpanProcessor as it is by default, with an
exporter that drops all. They are a task each, 100 at once; or awaited one after the other, in 100 tasks that have a
span as well. The loop's share is the CPU time of its thread, less that of the same program without spans.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import os
import statistics
import sys
import time
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

from benchmarks import tables
from benchmarks.ratios import MeasurementError, output_of

SPANS = 100_000
AT_ONCE = 100
TOOLS = {
    "none": "",
    "asynctrace": "asynctrace.otel.instrument()",
    "asynctrace, python core": "asynctrace.otel.instrument(), Python core",
    "sdk": "the SDK, tracer.start_as_current_span()",
    "asyncio": "opentelemetry-instrumentation-asyncio",
}
TIMEOUT_S = 300.0

Work = Callable[[], Coroutine[Any, Any, None]]


async def work() -> None:
    await asyncio.sleep(0)


KINDS = ("tasks", "awaited")


def measure(tool: str, kind: str) -> dict[str, float]:
    """Return the seconds of the loop's thread, of the process, and how many spans were exported."""
    from opentelemetry import trace
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult

    class Counting(SpanExporter):
        count = 0

        def export(self, spans: Any) -> SpanExportResult:
            self.count += len(spans)
            return SpanExportResult.SUCCESS

    exporter = Counting()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(exporter))
    trace.set_tracer_provider(provider)
    body, around, end = _begin(tool, provider)

    async def main() -> float:
        gc.collect()
        begin_s = time.thread_time()
        if kind == "tasks":
            for _ in range(SPANS // AT_ONCE):
                await asyncio.gather(*[body() for _ in range(AT_ONCE)])
        else:
            await asyncio.gather(*[around(body) for _ in range(AT_ONCE)])
        return time.thread_time() - begin_s

    begin_s = time.process_time()
    loop_s = asyncio.run(main())
    end()
    provider.force_flush()
    process_s = time.process_time() - begin_s
    provider.shutdown()
    return {"loop_s": loop_s, "process_s": process_s, "exported": exporter.count}


async def awaits(body: Work) -> None:
    for _ in range(SPANS // AT_ONCE):
        await body()


def _begin(tool: str, provider: Any) -> tuple[Work, Callable[[Work], Coroutine[Any, Any, None]], Callable[[], None]]:
    """Turn a tool on; return what runs with a span each, what awaits that, with a span, too, and what turns it off."""
    if tool.startswith("asynctrace"):
        import asynctrace
        import asynctrace.otel

        traced = asynctrace.traced(work), asynctrace.traced(awaits)
        asynctrace.otel.instrument(metrics=False)
        return *traced, asynctrace.otel.uninstrument
    if tool == "asyncio":
        os.environ["OTEL_PYTHON_ASYNCIO_COROUTINE_NAMES_TO_TRACE"] = "work"
        from opentelemetry.instrumentation.asyncio import AsyncioInstrumentor

        instrumentor = AsyncioInstrumentor()
        instrumentor.instrument()
        return work, awaits, instrumentor.uninstrument
    if tool == "sdk":
        tracer = provider.get_tracer("benchmarks")

        async def with_a_span() -> None:
            with tracer.start_as_current_span("work"):
                await work()

        async def around(body: Work) -> None:
            with tracer.start_as_current_span("awaits"):
                await awaits(body)

        return with_a_span, around, _nothing
    return work, awaits, _nothing


def _nothing() -> None:
    pass


def table(turns: int) -> tuple[tables.Rows, list[str]]:
    """Measure all tools, which take turns; return the table, and sentences on what could not be measured."""
    found: dict[tuple[str, str], list[dict[str, float]]] = {(tool, kind): [] for tool in TOOLS for kind in KINDS}
    reasons: dict[str, str] = {}
    for _ in range(turns):
        for tool, kind in found:
            if (tool, kind) == ("asyncio", "awaited"):  # it has no spans for what is awaited
                continue
            core = "python" if tool.endswith("python core") else "native"
            try:
                output = output_of("benchmarks.spans", "--tool", tool, "--kind", kind, core=core, timeout_s=TIMEOUT_S)
                found[tool, kind].append(json.loads(output))
            except MeasurementError as error:
                reasons[tool] = f"{tables.NONE} {TOOLS[tool] or 'the program without spans'}: {error}."
    rows = [
        [
            "µs a span",
            *(f"{what}, {kind}" for what in ("on the loop", "all threads") for kind in KINDS),
            "lost of 100,000",
        ]
    ]
    for tool, title in TOOLS.items():
        if title:
            cells = [
                _cell(found[tool, kind], found["none", kind], f"{of}_s") for of in ("loop", "process") for kind in KINDS
            ]
            lost = max((SPANS - one["exported"] for one in found[tool, "tasks"]), default=None)
            rows.append([title, *cells, tables.NONE if lost is None else f"{max(0, lost):,.0f}"])
    return rows, list(reasons.values())


def _cell(found: Sequence[dict[str, float]], without: Sequence[dict[str, float]], key: str) -> str:
    values = [(one[key] - none[key]) / SPANS * 1e6 for one, none in zip(found, without, strict=False)]
    if not values:
        return tables.NONE
    return f"{statistics.median(values):.1f} ({min(values):.1f}–{max(values):.1f})"


def main(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.spans", description="Measure what a span costs.")
    parser.add_argument("--turns", type=int, default=3, help="how often all tools take turns (default: %(default)s)")
    parser.add_argument("--tool", choices=TOOLS, help=argparse.SUPPRESS)  # one measurement, as JSON
    parser.add_argument("--kind", choices=KINDS, default="tasks", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.tool:
        print(json.dumps(measure(options.tool, options.kind)))
        return
    rows, reasons = table(options.turns)
    print(tables.machine(), tables.as_markdown(rows), *reasons, sep="\n\n")


if __name__ == "__main__":
    main(sys.argv[1:])
