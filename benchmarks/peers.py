"""The other tools: how each is started and stopped as its own documentation says, and what it then records.

Most are started before the program; those that ask for a running loop are started on it, by the program. What they
make of their record afterwards is not part of the time. A tool that recorded nothing of the program raises: what it
cost is no cost of recording.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import (
    AbstractAsyncContextManager,
    AbstractContextManager,
    asynccontextmanager,
    contextmanager,
    nullcontext,
)
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

from benchmarks import workloads

COROUTINES = "yields,client"  # what the workloads make tasks of, for tools that want names


class NothingRecordedError(Exception):
    """A tool ran and has nothing of the program."""


def _check(recorded: int) -> None:
    if not recorded:
        raise NothingRecordedError("it recorded nothing of this program")


@contextmanager
def viztracer() -> Iterator[None]:
    from viztracer import VizTracer

    tracer = VizTracer(log_async=True, verbose=0)
    tracer.start()
    yield
    tracer.stop()
    _check(tracer.parse())
    tracer.clear()


@contextmanager
def yappi() -> Iterator[None]:
    import yappi

    yappi.set_clock_type("wall")
    yappi.start()
    yield
    yappi.stop()
    _check(len(yappi.get_func_stats()))
    yappi.clear_stats()


@contextmanager
def pyinstrument() -> Iterator[None]:
    from pyinstrument import Profiler

    profiler = Profiler(async_mode="enabled")
    profiler.start()
    yield
    _check(profiler.stop().sample_count)


@contextmanager
def asyncviz() -> Iterator[None]:
    """Its server runs on a thread of its own, without a page or a browser; nobody is connected."""
    import socket

    import asyncviz as module

    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    logging.disable(logging.CRITICAL)  # else it tells of its server
    running = module.start(port=port, open_browser=False, frontend_mode="api-only")
    try:
        yield
        _check(len(running.services.task_registry))
    finally:
        module.stop()
        logging.disable(logging.NOTSET)


@contextmanager
def opentelemetry() -> Iterator[None]:
    """Spans of the workloads' own coroutines, in batches, to an exporter that counts and drops them."""
    from opentelemetry.instrumentation.asyncio import AsyncioInstrumentor
    from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult

    exported = 0

    class Dropping(SpanExporter):
        def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
            nonlocal exported
            exported += len(spans)
            return SpanExportResult.SUCCESS

    os.environ["OTEL_PYTHON_ASYNCIO_COROUTINE_NAMES_TO_TRACE"] = COROUTINES
    provider = TracerProvider()
    provider.add_span_processor(BatchSpanProcessor(Dropping()))
    instrumentor = AsyncioInstrumentor()
    instrumentor.instrument(tracer_provider=provider)
    yield
    instrumentor.uninstrument()
    provider.shutdown()
    _check(exported)


@asynccontextmanager
async def asyncflow() -> AsyncIterator[None]:
    """The recorder beneath the notebook widget of wigglystuff, which works without it."""
    from wigglystuff.async_flow import AsyncFlowLogger

    async with AsyncFlowLogger([workloads.__file__]) as logger:
        yield
    _check(len(logger.events))


@asynccontextmanager
async def sentry() -> AsyncIterator[None]:
    """One transaction round the program, every trace sampled, and its envelopes dropped."""
    import sentry_sdk
    from sentry_sdk.envelope import Envelope
    from sentry_sdk.integrations.asyncio import enable_asyncio_integration
    from sentry_sdk.transport import Transport

    spans = 0

    class Dropping(Transport):
        def capture_envelope(self, envelope: Envelope) -> None:
            nonlocal spans
            transaction = envelope.get_transaction_event() or {}
            spans += len(transaction.get("spans", ()))

    sentry_sdk.init(
        dsn="https://key@localhost/1", transport=Dropping, traces_sample_rate=1.0, default_integrations=False
    )
    enable_asyncio_integration()  # on each loop: the integration itself patches only the first
    with sentry_sdk.start_transaction(name="benchmark"):
        yield
    _check(spans)


@asynccontextmanager
async def debug() -> AsyncIterator[None]:
    loop = asyncio.get_running_loop()
    loop.set_debug(True)
    await asyncio.sleep(0)  # a running loop sets up the tracking of coroutines at its next turn
    yield
    loop.set_debug(False)


@dataclass(frozen=True)
class Peer:
    """One tool: its name in the tables, the module that it needs, and what it records when it runs as here."""

    title: str
    module: str
    records: str
    before: Callable[[], AbstractContextManager[None]] = nullcontext  # entered before the program
    inside: Callable[[], AbstractAsyncContextManager[Any]] = nullcontext  # entered on its loop

    @property
    def is_installed(self) -> bool:
        try:
            return find_spec(self.module) is not None
        except ModuleNotFoundError:  # of a package above it
            return False


PEERS = {
    "viztracer": Peer("viztracer", "viztracer", "every function call", before=viztracer),
    "yappi": Peer("yappi", "yappi", "function totals", before=yappi),
    "pyinstrument": Peer("pyinstrument", "pyinstrument", "a sample a ms", before=pyinstrument),
    "asyncflow": Peer("AsyncFlow", "wigglystuff", "steps of one file's tasks", inside=asyncflow),
    "asyncviz": Peer("asyncviz", "asyncviz", "tasks' starts and ends", before=asyncviz),
    "opentelemetry": Peer(
        "OpenTelemetry", "opentelemetry.instrumentation.asyncio", "a span a named task", before=opentelemetry
    ),
    "sentry": Peer("sentry", "sentry_sdk", "a span a task, 1000 at most", inside=sentry),
    "debug": Peer("asyncio debug", "asyncio", "origins, slow callbacks", inside=debug),
}
