"""Threads: the run of a thread's target is a call, without a decorator.

A Thread subclass with a `run` of its own is not seen here; where a script's functions are recorded it is one of them.
"""

from __future__ import annotations

import functools
import threading
from typing import Any

from asynctrace.events import CALL_THREAD
from asynctrace.probes.calls import OpenCall, close_call, open_call
from asynctrace.probes.failure import Guard
from asynctrace.probes.pools import JobQueue, is_pool_worker
from asynctrace.probes.targets import code_of, innermost, site_of
from asynctrace.probes.tracebacks import drop_our_frame
from asynctrace.recorder import Recorder
from asynctrace.recorder.places import is_user_file


class ThreadProbe:
    """Stands in for `threading.Thread.run` while it is installed. `recorder` may be set anew in a forked child."""

    def __init__(self, recorder: Recorder, guard: Guard) -> None:
        self.recorder: Recorder | None = recorder
        self.guard = guard
        self._shim: Any = None
        self._original: Any = None

    def install(self) -> None:
        """Replace `threading.Thread.run`."""
        self._original = threading.Thread.run
        self._shim = self._make_run(self._original)
        threading.Thread.run = self._shim  # type: ignore[method-assign]

    def remove(self) -> None:
        """Record no more; put `Thread.run` back where it is still ours."""
        self.recorder = None
        if self._shim is not None and threading.Thread.__dict__["run"] is self._shim:
            threading.Thread.run = self._original  # type: ignore[method-assign]
        self._shim = None

    def _make_run(self, original: Any) -> Any:

        @functools.wraps(original)
        def run(self_: threading.Thread) -> None:
            # Another tool may have put its own `run` above ours, and it stays there when the recording ends.
            opened = None if self.recorder is None else self.guard(self._open, self_)
            try:
                original(self_)
            except BaseException as error:
                drop_our_frame(error)
                if opened is not None:
                    self.guard(close_call, opened, error)
                raise
            if opened is not None:
                self.guard(close_call, opened)

        return run

    def _open(self, thread: Any) -> OpenCall | None:
        target = vars(thread).get("_target")
        recorder = self.recorder
        if target is None or recorder is None:
            return None
        args = vars(thread).get("_args", ())
        function, _ = innermost(target, args)
        code = code_of(function)
        if code is not None and not is_user_file(code.co_filename):
            # A queue's feeder, an executor's worker: no call of the user's. A ThreadPool's worker runs some.
            if is_pool_worker(function) and args:
                vars(thread)["_args"] = (JobQueue(args[0], self), *args[1:])
            return None
        return open_call(recorder, CALL_THREAD, site_of(recorder, function, code), code=code)
