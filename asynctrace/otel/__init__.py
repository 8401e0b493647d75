"""Traces as OpenTelemetry spans: of a recording (`Trace.to_otel`), or while the program runs (`instrument`)."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from opentelemetry.metrics import MeterProvider
    from opentelemetry.trace import TracerProvider

__all__ = ["instrument", "uninstrument"]


def instrument(
    *,
    tracer_provider: TracerProvider | None = None,
    meter_provider: MeterProvider | None = None,
    tasks: bool = False,
    events: bool = False,
    metrics: bool = True,
) -> None:
    """Make a span of each call of a decorated function while the program runs, and measure its event loops.

    Where it was called before, it stays as it is, and a warning says so.

    A span is current from the first step to the last: spans that the program, or an instrumentation of a library, makes
    inside are its children. What it says of running, ready and waiting is found out when it has ended, on a thread of
    ours.

    Args:
        tracer_provider: Whose resource, sampler, limits, ids and processors apply; by default the global one, also if
            it is set later.
        meter_provider: Where the metrics go; by default the global one.
        tasks: Whether each task has a span, too; one whose root is decorated has that.
        events: Whether each span has events that say when it was suspended and resumed, the longest waits first.
        metrics: Whether event loops and tasks are measured.

    Raises:
        MissingPackageError: If opentelemetry-sdk is not installed.
        UsageError: If Python runs without its global lock.

    Example:
        >>> asynctrace.otel.instrument()
        >>> asyncio.run(main())
    """
    try:
        from asynctrace.otel import live
    except ImportError as error:
        if (error.name or "").partition(".")[0] != "opentelemetry":
            raise
        from asynctrace.errors import MissingPackageError

        sentence = "spans need opentelemetry-sdk: install it (pip install opentelemetry-sdk)"
        raise MissingPackageError(sentence) from error
    live.start(live.LiveOptions(tasks=tasks, events=events, metrics=metrics), tracer_provider, meter_provider)


def uninstrument() -> None:
    """Take it all out again; what has ended, and what is open still, is handed on first. Twice does nothing."""
    import sys

    live = sys.modules.get("asynctrace.otel.live")
    if live is not None:
        live.stop()
