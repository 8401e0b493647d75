"""Threads: the run of a thread's target is a call, without a decorator."""

from __future__ import annotations

from asynctrace.probes.failure import Guard
from asynctrace.recorder import Recorder


class ThreadProbe:
    """Stands in for `threading.Thread.run` while it is installed. `recorder` may be set anew in a forked child."""

    def __init__(self, recorder: Recorder, guard: Guard) -> None: ...

    def install(self) -> None:
        """Replace `threading.Thread.run`."""

    def remove(self) -> None:
        """Record no more; put `Thread.run` back where it is still ours."""
