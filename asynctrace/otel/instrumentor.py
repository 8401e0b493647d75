"""Behind `opentelemetry-instrument`: turns `asynctrace.otel.instrument` on in a program that does not know of it.

OTEL_PYTHON_ASYNCTRACE_TASKS, _EVENTS and _METRICS are its options, "true" or "false" each.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Collection
from typing import Any

from opentelemetry.instrumentation.instrumentor import BaseInstrumentor  # type: ignore[attr-defined]  # has no types

logger = logging.getLogger("asynctrace")

_PREFIX = "OTEL_PYTHON_ASYNCTRACE_"
_DEFAULTS = {"tasks": False, "events": False, "metrics": True}


class AsynctraceInstrumentor(BaseInstrumentor):  # type: ignore[misc]  # the same
    """Spans of decorated functions, and on request of tasks, and metrics of event loops.

    Example:
        >>> AsynctraceInstrumentor().instrument(tasks=True)
    """

    def instrumentation_dependencies(self) -> Collection[str]:
        """Return what has to be installed to be instrumented: asyncio always is."""
        return ()

    def _instrument(self, **options: Any) -> None:
        from asynctrace import otel
        from asynctrace.errors import AsynctraceError

        chosen = {name: bool(options.get(name, _option(name, default))) for name, default in _DEFAULTS.items()}
        try:
            otel.instrument(
                tracer_provider=options.get("tracer_provider"), meter_provider=options.get("meter_provider"), **chosen
            )
        except AsynctraceError as error:
            # Told as other instrumentations tell of conflicts: those that come after one that raises are not loaded.
            logger.warning("asynctrace makes no spans: %s", error)

    def _uninstrument(self, **_: Any) -> None:
        from asynctrace import otel

        otel.uninstrument()


def _option(name: str, default: bool) -> bool:
    variable = _PREFIX + name.upper()
    text = os.environ.get(variable, "").strip().lower()
    if text not in ("", "true", "false", "1", "0"):
        logger.warning("%s=%s is neither true nor false: it is taken for %s", variable, text, str(default).lower())
    return {"true": True, "1": True, "false": False, "0": False}.get(text, default)
