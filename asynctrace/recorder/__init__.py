"""Append events, and keep them within a bound."""

from types import ModuleType

from asynctrace.cores import RECORDER, native_module
from asynctrace.recorder.keeper import Keeper
from asynctrace.recorder.reference import DEFAULT_LIMIT_BYTES, Recorder, Sink, ThreadState

__all__ = ["DEFAULT_LIMIT_BYTES", "Keeper", "Recorder", "Sink", "ThreadState", "make_recorder", "native_core"]


def make_recorder(limit_bytes: int = DEFAULT_LIMIT_BYTES) -> Recorder:
    """Return a recorder of the core that runs.

    Raises:
        UsageError: If `ASYNCTRACE_CORE` asks for one that is not there.
    """
    if native_module(RECORDER) is None:
        return Recorder(limit_bytes)
    from asynctrace.recorder.native_recorder import NativeRecorder

    return NativeRecorder(limit_bytes)


def native_core(recorder: Recorder) -> ModuleType | None:
    """Return the module of the native core where a recorder is of it, None where it is the reference.

    What feeds a recorder has to be of the same core.
    """
    if type(recorder) is Recorder:
        return None
    from asynctrace.recorder import _native

    return _native
