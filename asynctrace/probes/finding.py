"""Find loops that run already, on whatever thread, when a recording starts.

A loop can only be met on its own thread (see `LoopProbe.await_thread`); here it is only found. No loop is asked and
none is woken: an idle one is met when the program itself wakes it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator
from typing import Any

from asynctrace.probes.tasks import CTask, PyTask, is_task_type

# asyncio's weak sets of tasks: on 3.11, on 3.12 and 3.13. Later ones only hold tasks that are not written in C.
_REGISTRIES = ("_all_tasks", "_scheduled_tasks", "_eager_tasks")
_TRIES = 1_000  # asyncio's own number: a set that other threads change cannot be listed at once


def find_loops() -> list[asyncio.AbstractEventLoop]:
    """Return the loops of tasks that are not done, as far as asyncio tells of them.

    The stacks of the threads would show every loop that runs, but to walk through frames while their threads go on
    has crashed the interpreter (3.11).
    """
    found: dict[int, Any] = {}
    for loop in _loops_of_tasks():
        if issubclass(type(loop), asyncio.AbstractEventLoop):
            found[id(loop)] = loop
    return list(found.values())


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
