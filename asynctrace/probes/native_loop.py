"""The loop probe whose shims and runs are the native core's. What they leave to Python is the reference's."""

from __future__ import annotations

import asyncio
import sys
from asyncio import base_events as _base_events
from collections.abc import Callable
from types import FunctionType
from typing import Any

from asynctrace.probes import causes, loop, runs
from asynctrace.probes.loop import LoopProbe, _original, is_asyncios, qualified_name
from asynctrace.recorder import _native

_native.set_class_of_code(causes.class_of)
loop.shim_types.add(_native.Shim)
runs.run_types.append(_native.Run)

# asyncio's own call_soon and call_soon_threadsafe go on to a third method. A shim on that one makes each call of them a
# little slower, and takes the room of one attribute where that of the two would be one too many: since CPython 3.13 a
# new loop has room for three (see asynctrace/probes/attributes.py).
_INNER = "_call_soon"
_QUEUEING = ("call_soon", "call_soon_threadsafe", _INNER)


def _is_inner_known() -> bool:
    """Return whether this asyncio has that method, as it has been since 3.11."""
    methods = [vars(_base_events.BaseEventLoop).get(name) for name in _QUEUEING]
    codes = [method.__code__ for method in methods if isinstance(method, FunctionType)]
    if len(codes) < len(_QUEUEING):
        return False
    *outer, inner = codes
    arguments = inner.co_varnames[: inner.co_argcount]
    return arguments == ("self", "callback", "args", "context") and all(_INNER in code.co_names for code in outer)


_IS_INNER_USED = sys.version_info >= (3, 13) and _is_inner_known()


class NativeLoopProbe(_native.LoopState, LoopProbe):
    """The shims on one loop, in C: they read what is in `_native.LoopState`, which hides the other's attributes."""

    is_native = True

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(loop)
        clock = _base_events.BaseEventLoop.time
        self.machine_clock = clock if type(loop).time is clock else None

    def _instead_of(self, names: list[str], loop: asyncio.AbstractEventLoop) -> list[str]:
        if (
            not _IS_INNER_USED
            or self._selector_ref is None
            or not is_asyncios(loop, _base_events.BaseEventLoop, *_QUEUEING)
        ):
            return names
        return [_INNER, *(name for name in names if name not in _QUEUEING)]

    def _make_shim(self, name: str, owner: Any, owner_ref: Callable[[], Any]) -> Any:
        original = _original(owner, name)
        if name in ("run_in_executor", "register", "modify"):
            return super()._make_shim(name, owner, owner_ref)  # seldom called
        return _native.Shim(name, self, owner_ref, original, qualified_name(owner, name))
