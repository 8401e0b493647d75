"""A profile function that reports a script's plain functions on CPython 3.11, which has no `sys.monitoring`.

While an event loop runs in a thread it is taken out there: an asyncio program runs at its own speed.
"""

from __future__ import annotations

import asyncio
import functools
import opcode
import sys
import threading
from asyncio import base_events
from collections.abc import Callable
from types import FrameType
from typing import TYPE_CHECKING, Any

from asynctrace.probes.tracebacks import drop_our_frame

if TYPE_CHECKING:
    from asynctrace.probes.functions import FunctionProbe

NEEDS_PROFILING = sys.version_info < (3, 12)

_RETURN = opcode.opmap["RETURN_VALUE"]
# Where an event loop runs: asyncio's own, and any other (uvloop's methods are not Python's to replace) in a Runner.
_LOOP_RUNS: tuple[tuple[Any, str], ...] = ((base_events.BaseEventLoop, "run_forever"), (asyncio.Runner, "run"))


class Profiling:
    """Calls `started` and `finished` of a FunctionProbe for the functions that it wants."""

    def __init__(self, probe: FunctionProbe) -> None:
        self._probe = probe
        self._profile: Callable[[FrameType, str, Any], None] = self._make_profile()
        self._is_installed = False
        self._shims: list[tuple[Any, str, Any, Any]] = []

    def install(self) -> None:
        """Profile this thread and those that start from now on, unless another profiler is there."""
        if sys.getprofile() is not None or threading.getprofile() is not None:
            return
        self._is_installed = True
        for owner, name in _LOOP_RUNS:
            original = vars(owner)[name]
            shim = self._make_loop_run(original)
            self._shims.append((owner, name, shim, original))  # first: what is noted comes off, whatever fails next
            setattr(owner, name, shim)
        threading.setprofile(self._profile)
        sys.setprofile(self._profile)

    def remove(self) -> None:
        """Take out what is still ours. Other threads take theirs out at their next call."""
        if not self._is_installed:
            return
        self._is_installed = False
        if sys.getprofile() is self._profile:
            sys.setprofile(None)
        if threading.getprofile() is self._profile:
            threading.setprofile(None)
        for owner, name, shim, original in self._shims:
            if vars(owner).get(name) is shim:
                setattr(owner, name, original)
        self._shims.clear()

    def _make_profile(self) -> Callable[[FrameType, str, Any], None]:
        probe = self._probe
        known = probe.known
        opened = probe.opened

        def profile(frame: FrameType, event: str, arg: Any) -> None:
            try:
                if event == "call":
                    if probe.recorder is None:  # the recording has ended, and this thread still has us
                        if sys.getprofile() is profile:
                            sys.setprofile(None)
                        return
                    code = frame.f_code
                    function = known.get(id(code)) or probe.meet(code)
                    if function.is_wanted:
                        probe.started(code, frame)
                elif event == "return" and id(frame) in opened:
                    code = frame.f_code
                    # A frame that an exception leaves reports None as well: only its last instruction tells.
                    is_raised = arg is None and code.co_code[frame.f_lasti] != _RETURN
                    probe.finished(code, frame, None, is_raised)
            except BaseException as error:
                probe.guard.check(error)

        return profile

    def _make_loop_run(self, original: Any) -> Any:
        profile = self._profile

        @functools.wraps(original)
        def run(*args: Any, **kwargs: Any) -> Any:
            is_ours = sys.getprofile() is profile
            if is_ours:
                sys.setprofile(None)
            try:
                return original(*args, **kwargs)
            except BaseException as error:
                drop_our_frame(error)
                raise
            finally:
                if is_ours and self._is_installed and sys.getprofile() is None:
                    sys.setprofile(profile)

        return run
