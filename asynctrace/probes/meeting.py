"""Meet each loop before its first task, on whatever road it comes to be.

On 3.12 and later the places where loops are made are watched by `sys.monitoring`, nothing is replaced. Before that,
`Runner._lazy_init`, `BaseEventLoop.run_forever` and uvloop's `Loop.__init__` are wrapped for the time of a recording.
"""

from __future__ import annotations

import asyncio
import functools
from asyncio import base_events as _base_events
from asyncio import events as _events
from collections.abc import Callable
from types import FrameType, ModuleType
from typing import Any

from asynctrace.probes.failure import Guard
from asynctrace.probes.imports import ImportWatch
from asynctrace.probes.monitoring import MonitoringProbe
from asynctrace.probes.tracebacks import drop_our_frame

_MeetLoop = Callable[[asyncio.AbstractEventLoop], None]


def watch_by_monitoring(probe: MonitoringProbe, meet_loop: _MeetLoop, guard: Guard) -> ImportWatch:
    """Have the monitoring probe meet loops where they are made, and at the latest where they begin to run.

    Returns:
        What waits for uvloop to be imported; to be installed, and removed at the end.
    """

    def made_by_runner(frame: FrameType, _: Any) -> None:
        meet_loop(frame.f_locals["self"]._loop)

    def made(_: FrameType, loop: Any) -> None:
        meet_loop(loop)

    def runs(frame: FrameType) -> None:
        meet_loop(frame.f_locals["self"])

    probe.hook_return(asyncio.Runner._lazy_init, made_by_runner)  # type: ignore[attr-defined]
    probe.hook_return(_events.new_event_loop, made)
    probe.hook_start(_base_events.BaseEventLoop.run_forever, runs)
    return ImportWatch({"uvloop": lambda module: probe.hook_return(module.new_event_loop, made)}, guard)


class LoopWatch:
    """Wraps the methods in which loops are made and begin to run; used where no monitoring is."""

    def __init__(self, meet_loop: _MeetLoop, guard: Guard) -> None:
        self._meet_loop = meet_loop
        self._guard = guard
        self._replaced: list[tuple[type, str, Any, Any]] = []
        self._imports = ImportWatch({"uvloop": self._replace_uvloop}, guard)

    def install(self) -> None:
        """Replace the methods on their classes."""
        watch = self

        def after(original: Any) -> Any:
            @functools.wraps(original)
            def _lazy_init(runner: Any) -> Any:
                result = original(runner)
                watch._guard(watch._meet_loop, runner._loop)
                return result

            return _lazy_init

        def before(original: Any) -> Any:
            @functools.wraps(original)
            def run_forever(loop: Any) -> Any:
                watch._guard(watch._meet_loop, loop)
                try:
                    return original(loop)
                except BaseException as error:
                    drop_our_frame(error)
                    raise

            return run_forever

        self._replace(asyncio.Runner, "_lazy_init", after)
        self._replace(_base_events.BaseEventLoop, "run_forever", before)
        self._imports.install()

    def _replace_uvloop(self, module: ModuleType) -> None:
        # What runs a loop of uvloop is compiled: a loop that is made by hand is met where it is made.
        watch = self

        def after(original: Any) -> Any:
            @functools.wraps(original)
            def __init__(loop: Any, *args: Any, **keywords: Any) -> None:  # noqa: N807  # it stands in for that one
                original(loop, *args, **keywords)
                watch._guard(watch._meet_loop, loop)

            return __init__

        self._replace(module.Loop, "__init__", after)

    def _replace(self, owner: type, name: str, make: Callable[[Any], Any]) -> None:
        original = vars(owner).get(name)
        ours = make(getattr(owner, name))
        self._replaced.append((owner, name, original, ours))  # first: what is noted comes off, whatever fails next
        setattr(owner, name, ours)

    def remove(self) -> None:
        """Put back what is still ours."""
        self._imports.remove()
        for owner, name, original, ours in self._replaced:
            if vars(owner).get(name) is not ours:
                continue
            if original is None:
                delattr(owner, name)
            else:
                setattr(owner, name, original)
        self._replaced.clear()
