"""Append events: the recorder, and the one place that picks which one runs."""

from asynctrace.recorder.reference import Recorder, ThreadState

__all__ = ["Recorder", "ThreadState", "core"]


def core() -> str:
    """Return which recorder runs: "python" for the reference."""
    return "python"
