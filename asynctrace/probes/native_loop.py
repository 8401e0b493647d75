"""The loop probe whose shims and runs are the native core's. What they leave to Python is the reference's."""

from __future__ import annotations

import asyncio
from asyncio import base_events as _base_events
from collections.abc import Callable
from typing import Any

from asynctrace.probes import causes, loop, runs
from asynctrace.probes.loop import LoopProbe, _original, qualified_name
from asynctrace.recorder import _native

_native.set_class_of_code(causes.class_of)
loop.shim_types.add(_native.Shim)
runs.run_types.append(_native.Run)


class NativeLoopProbe(_native.LoopState, LoopProbe):
    """The shims on one loop, in C: they read what is in `_native.LoopState`, which hides the other's attributes."""

    is_native = True

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(loop)
        clock = _base_events.BaseEventLoop.time
        self.machine_clock = clock if type(loop).time is clock else None

    def _make_shim(self, name: str, owner: Any, owner_ref: Callable[[], Any]) -> Any:
        original = _original(owner, name)
        if name == "run_in_executor":
            return super()._make_shim(name, owner, owner_ref)  # seldom called
        return _native.Shim(name, self, owner_ref, original, qualified_name(owner, name))
