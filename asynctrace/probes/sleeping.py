"""`time.sleep`, recorded exactly, also where it was imported by name before us."""

from __future__ import annotations

from asynctrace.probes.failure import Guard
from asynctrace.recorder import Recorder


class SleepProbe:
    """Stands in for `time.sleep` while it is installed. `recorder` may be set anew in a forked child."""

    def __init__(self, recorder: Recorder, guard: Guard) -> None: ...

    def install(self) -> None:
        """Replace `time.sleep` and every module global that is it."""

    def remove(self) -> None:
        """Record no more; put the real one back wherever ours still is."""
