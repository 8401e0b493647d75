"""Find the loops that run already, on whatever thread, when a recording starts.

A loop can only be met on its own thread (see `LoopProbe.await_thread`); here it is only found. No loop is asked and
none is woken: an idle one is met when the program itself wakes it.
"""

from __future__ import annotations

import asyncio
import sys
from asyncio import base_events as _base_events
from collections.abc import Iterable, Iterator
from types import FrameType
from typing import Any

from asynctrace.probes.tasks import CTask, PyTask, is_task_type

_RUN_FOREVER = _base_events.BaseEventLoop.run_forever.__code__
_RUN = asyncio.Runner.run.__code__
# asyncio's weak sets of tasks: on 3.11, on 3.12 and 3.13. Later ones only hold tasks that are not written in C.
_REGISTRIES = ("_all_tasks", "_scheduled_tasks", "_eager_tasks")
_TRIES = 1_000  # asyncio's own number: a set that other threads change cannot be listed at once


def find_loops() -> list[asyncio.AbstractEventLoop]:
    """Return the loops that run in some thread, and those of tasks that are not done."""
    found: dict[int, Any] = {}
    for loop in (*_loops_in_frames(), *_loops_of_tasks()):
        if issubclass(type(loop), asyncio.AbstractEventLoop):
            found[id(loop)] = loop
    return list(found.values())


def _loops_in_frames() -> list[Any]:
    found: list[Any] = []
    frame: FrameType | None = None
    try:
        for frame in sys._current_frames().values():
            while frame is not None:
                if frame.f_code is _RUN_FOREVER:
                    found.append(frame.f_locals.get("self"))
                elif frame.f_code is _RUN:
                    found.append(getattr(frame.f_locals.get("self"), "_loop", None))
                frame = frame.f_back
    finally:
        # One of them is this function's own: it would hold itself, and its caller, and so the program's frames.
        frame = None
    return found


def _loops_of_tasks() -> Iterator[Any]:
    for name in _REGISTRIES:
        for task in _listed(vars(asyncio.tasks).get(name, ())):
            kind = type(task)
            if is_task_type(kind):
                yield (PyTask if issubclass(kind, PyTask) else CTask).get_loop(task)


def _listed(tasks: Iterable[Any]) -> list[Any]:
    for _ in range(_TRIES):
        try:
            return list(tasks)
        except RuntimeError:  # it was changed meanwhile
            continue
    return []
