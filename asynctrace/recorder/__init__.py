"""Append events: the recorder, and the one place that picks which one runs."""

from asynctrace.recorder.keeper import Keeper
from asynctrace.recorder.reference import DEFAULT_LIMIT_BYTES, Recorder, Sink, ThreadState

__all__ = ["DEFAULT_LIMIT_BYTES", "Keeper", "Recorder", "Sink", "ThreadState", "core"]


def core() -> str:
    """Return which recorder runs: "python" for the reference."""
    return "python"
