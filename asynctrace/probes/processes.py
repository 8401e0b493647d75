"""Child processes: they record parts of the same recording."""

from __future__ import annotations

from typing import Any

from asynctrace.events import Part
from asynctrace.probes.failure import Guard
from asynctrace.recorder import Recorder


class ProcessProbe:
    """Brings children (fork, spawn, forkserver, pools, os.fork) into the recording and collects their parts.

    Args:
        recorder: The recorder of this process.
        guard: What a failing hook is told to.
        starter: "module:function", imported and called in each child as `function(options, is_fork) -> Recorder`; it
            begins the recording there and returns the child's own recorder. In a forked child the parent's stream and
            probes are still there (their recorder has to be replaced); in a spawned one nothing is. It must also
            register, through what it begins, how the recording is stopped there: see `stopper`.
        stopper: "module:function", called in a child as `function()` when its part can no longer be written.
        options: Plain values for the starter (functions, include, exclude, …); they are pickled for spawned children.
    """

    def __init__(
        self, recorder: Recorder, guard: Guard, starter: str, stopper: str, options: dict[str, Any]
    ) -> None: ...

    def install(self) -> None:
        """Watch for child processes."""

    def remove(self) -> None:
        """Watch no more. In a child: write what is left of its part."""

    def collect_parts(self) -> list[Part]:
        """Return what the children have recorded so far; to be called before the parent's own `freeze`."""
        return []

    def close(self) -> None:
        """Remove the folder of the parts; in a child nothing. Children that still run stop recording."""
