"""Calls of plain functions: how their events are appended, and the wrapper of a decorated one where nothing monitors."""

from __future__ import annotations

from collections.abc import Callable
from typing import ParamSpec, TypeVar

from asynctrace.recorder import Recorder, ThreadState

_P = ParamSpec("_P")
_R = TypeVar("_R")

# What `close_call` needs: recorder, thread, call, the call around it, the thread's CPU time at the start, CALL_*.
OpenCall = tuple[Recorder, ThreadState, int, int, int, int]


def open_call(recorder: Recorder, kind: int, site: int, job: int = 0) -> OpenCall:
    """Record that a call starts on the current thread; `kind` is a CALL_*."""
    raise NotImplementedError


def close_call(call: OpenCall, error: BaseException | None = None) -> None:
    """Record that a call ends, on its own thread; `error` is what it raised."""
    raise NotImplementedError


def trace_function(function: Callable[_P, _R], get_recorder: Callable[[], Recorder | None]) -> Callable[_P, _R]:
    """Return a function that records each call of `function` (CPython 3.11, where no monitoring can)."""
    raise NotImplementedError
