"""Append events, and keep them within a bound."""

from asynctrace.recorder.keeper import Keeper
from asynctrace.recorder.reference import DEFAULT_LIMIT_BYTES, Recorder, Sink, ThreadState

__all__ = ["DEFAULT_LIMIT_BYTES", "Keeper", "Recorder", "Sink", "ThreadState"]
