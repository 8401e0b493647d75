"""Executor jobs: who submitted what, and the run of a job's function as a call, without a decorator."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from asynctrace.probes.failure import Guard
from asynctrace.recorder import Recorder


class JobProbe:
    """Records jobs of executors, with a loop or without. `recorder` may be set anew in a forked child.

    `wrap_job` is what a LoopProbe calls before it hands work to an executor.
    """

    def __init__(self, recorder: Recorder, guard: Guard) -> None: ...

    def install(self) -> None:
        """Replace `submit` of the two executors of the standard library (as soon as they are imported)."""

    def remove(self) -> None:
        """Record no more; put `submit` back where it is still ours."""

    def wrap_job(self, executor: Any, func: Callable[..., Any]) -> tuple[Callable[..., Any], int]:
        """Return (what to hand to the executor instead of `func`, the job's id); (func, 0) where it is not recorded."""
        return func, 0
