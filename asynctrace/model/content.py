"""The content of a trace as plain nested tuples: what makes two traces equal."""

from __future__ import annotations

import dataclasses
from typing import Any

from asynctrace.model.trace import Call, Coroutine, Job, Loop, Process, Task, Thread, Trace

_REFERRED = (Call, Coroutine, Job, Loop, Task, Thread)
_LEFT_OUT = {"source", "parts"}  # where it came from, and the same again as events


def content(trace: Trace) -> tuple[Any, ...]:
    """Return all that a trace holds; references to other objects are their kind and number."""
    return tuple(
        (field.name, _top(getattr(trace, field.name)))
        for field in dataclasses.fields(trace)
        if field.name not in _LEFT_OUT
    )


def _top(value: Any) -> Any:
    if isinstance(value, tuple):
        return tuple(_fields(item) if dataclasses.is_dataclass(item) else item for item in value)
    return value


def _fields(item: Any) -> tuple[Any, ...]:
    return tuple(_value(getattr(item, field.name)) for field in dataclasses.fields(item))


def _value(value: Any) -> Any:
    if isinstance(value, _REFERRED):
        return type(value).__name__, value.id
    if isinstance(value, Process):
        return "Process", value.pid
    if isinstance(value, tuple):
        return tuple(_value(item) for item in value)
    if isinstance(value, dict):
        return tuple(sorted(value.items()))
    if dataclasses.is_dataclass(value):
        return _fields(value)
    return value
