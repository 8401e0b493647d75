"""asynctrace shows what an asyncio program really does.

Example:
    >>> import asynctrace
    >>> with asynctrace.record() as recording:
    ...     asyncio.run(main())
    >>> recording.trace.gantt("gantt.png")
"""

__version__ = "0.1.0"

# TYPE_CHECKING without importing typing: a program that is started with us should not wait for us.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from asynctrace import otel as otel
    from asynctrace.comparison import Comparison as Comparison
    from asynctrace.comparison import compare as compare
    from asynctrace.cores import core as core
    from asynctrace.decorator import traced as traced
    from asynctrace.errors import AsynctraceError as AsynctraceError
    from asynctrace.errors import FormatError as FormatError
    from asynctrace.errors import MissingPackageError as MissingPackageError
    from asynctrace.errors import RecordingError as RecordingError
    from asynctrace.errors import UsageError as UsageError
    from asynctrace.formats import load as load
    from asynctrace.jupyter import load_ipython_extension as load_ipython_extension
    from asynctrace.jupyter import unload_ipython_extension as unload_ipython_extension
    from asynctrace.model.trace import Trace as Trace
    from asynctrace.recording import Recording as Recording
    from asynctrace.recording import record as record
    from asynctrace.runner import EventLoopPolicy as EventLoopPolicy
    from asynctrace.runner import new_event_loop as new_event_loop
    from asynctrace.runner import run as run

# Where each public name lives. It is imported on first use, so that `import asynctrace` costs next to nothing.
_HOMES = {
    "AsynctraceError": "asynctrace.errors",
    "Comparison": "asynctrace.comparison",
    "EventLoopPolicy": "asynctrace.runner",
    "FormatError": "asynctrace.errors",
    "MissingPackageError": "asynctrace.errors",
    "Recording": "asynctrace.recording",
    "RecordingError": "asynctrace.errors",
    "Trace": "asynctrace.model.trace",
    "UsageError": "asynctrace.errors",
    "compare": "asynctrace.comparison",
    "core": "asynctrace.cores",
    "load": "asynctrace.formats",
    "load_ipython_extension": "asynctrace.jupyter",
    "new_event_loop": "asynctrace.runner",
    "record": "asynctrace.recording",
    "run": "asynctrace.runner",
    "traced": "asynctrace.decorator",
    "unload_ipython_extension": "asynctrace.jupyter",
}

__all__ = [
    "AsynctraceError",
    "Comparison",
    "FormatError",
    "MissingPackageError",
    "Recording",
    "RecordingError",
    "Trace",
    "UsageError",
    "__version__",
    "compare",
    "core",
    "load",
    "new_event_loop",
    "record",
    "run",
    "traced",
]
# `EventLoopPolicy` is public too, but a name that some Pythons lack would break `from asynctrace import *` there.


def __getattr__(name: str) -> object:
    home = _HOMES.get(name)
    if name == "otel":  # a package, imported by who says its name
        import importlib

        return importlib.import_module("asynctrace.otel")
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib

    module = importlib.import_module(home)
    if name == "EventLoopPolicy" and getattr(module, name, None) is None:
        raise AttributeError(
            "this Python has no event loop policies, so asynctrace.EventLoopPolicy does not exist: "
            "use asyncio.Runner(loop_factory=asynctrace.new_event_loop) or asynctrace.run"
        )
    value: object = getattr(module, name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
