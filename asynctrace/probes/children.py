"""A child process of a recorded program: how its recording begins, what is recorded as its work, when it is written.

Nothing here may break the child: every failure ends its recording, and only that.
"""

from __future__ import annotations

import atexit
import functools
import importlib
import os
import sys
from collections.abc import Callable, Iterator
from typing import Any

from asynctrace import clock
from asynctrace.events import CALL_JOB, CALL_PROCESS
from asynctrace.probes.calls import OpenCall, close_call, on_outermost_end, open_call
from asynctrace.probes.failure import Guard, warn
from asynctrace.probes.jobs import JobProbe
from asynctrace.probes.parts import PartWriter
from asynctrace.probes.pools import JobQueue, is_pool_worker
from asynctrace.probes.targets import code_of, innermost, site_of
from asynctrace.probes.tracebacks import drop_our_frame
from asynctrace.recorder import Recorder
from asynctrace.recorder.places import is_user_file

ATTRIBUTE = "_asynctrace"  # of a process object, on its way to the child
_EVERY_NS = 250_000_000
_AFTER_CALL_NS = 50_000_000  # how often at most to write after a call that nobody waits for

_current: Child | None = None


def current_child() -> Child | None:
    """Return what this process records as a child, or None."""
    return _current


def start_child(config: dict[str, Any], is_fork: bool = False, forked_ns: int = 0) -> Recorder | None:
    """Begin the recording of a child process; in it, and before its own code runs. Return its recorder.

    Args:
        config: The folder, the starter, the stopper and its options, see `ProcessProbe`.
        is_fork: Whether the parent's state is here too.
        forked_ns: When a bare `os.fork` began; else 0.
    """
    global _current
    try:
        child = _current = Child(config)
        recorder = _resolve(config["starter"])(config["options"], is_fork)
        child.begin(recorder, forked_ns)
    except Exception as error:
        _current = None
        on_outermost_end(None)
        _end_recording(config)  # a forked child has the parent's hooks
        warn("this child process is not recorded", error)
        return None
    return recorder  # type: ignore[no-any-return]  # what the starter promises


def start_alone(config: dict[str, Any]) -> Recorder | None:
    """Begin the recording of a forked child of which nobody collects the part; return its recorder."""
    try:
        return _resolve(config["starter"])(config["options"], True)  # type: ignore[no-any-return]
    except Exception as error:
        _end_recording(config)
        warn("this child process is not recorded", error)
        return None


def _resolve(name: str) -> Callable[..., Any]:
    module, _, function = name.partition(":")
    return getattr(importlib.import_module(module), function)  # type: ignore[no-any-return]


def _end_recording(config: dict[str, Any]) -> None:
    try:
        _resolve(config["stopper"])()
    except Exception as error:
        warn("the recording of a child process did not end well", error)


class Child:
    """The recording of this process as part of its parent's."""

    def __init__(self, config: dict[str, Any]) -> None:
        self.config = config
        self.folder: str = config["folder"]
        self._guard = Guard(self.stop)
        self._writer: PartWriter | None = None
        self._jobs: JobProbe | None = None
        self._making_room: Iterator[None] | None = None
        self._exit: Any = None  # what stands for os._exit

    def begin(self, recorder: Recorder, forked_ns: int) -> None:
        """Record the work of this process, and write it whenever a piece of it is done."""
        self._writer = PartWriter(recorder, self.folder, forked_ns)
        recorder.sinks.append(self)
        self._jobs = JobProbe(recorder, self._guard)  # not installed: only what a pool's worker receives
        on_outermost_end(self._call_ended)
        process_module = sys.modules.get("multiprocessing.process")
        if process_module is not None:
            self._replace_run(process_module.BaseProcess)
        util = sys.modules.get("multiprocessing.util")
        if util is not None:
            # A process that multiprocessing starts forgets its finalizers first, and then calls this.
            util.register_after_fork(self, Child._finish_with_multiprocessing)
        atexit.register(self.flush)
        self._replace_exit()

    def flush(self) -> None:
        """Write what is new. Where that fails, the parent's recording has ended: so does this one."""
        writer = self._writer
        if writer is None or _current is not self:  # ended; or a child of this process, which has its own
            return
        try:
            writer.flush()
        except OSError:
            self.stop()
        except Exception as error:
            self._guard.check(error)

    def take(self, at_once: int) -> bool:
        """Write what is new from time to time: a child can be killed."""
        writer = self._writer
        if self._making_room is None:
            if writer is None or clock.now_ns() - writer.flushed_ns <= _EVERY_NS:
                return False
            if writer.recorder.history.end > writer.position:
                self.flush()
            self._making_room = writer.make_room()
        elif next(self._making_room, self) is self:
            self._making_room = None
        return self._making_room is not None

    def stop(self) -> None:
        """Record no more in this process."""
        writer, self._writer = self._writer, None
        if writer is None:
            return
        on_outermost_end(None)
        if os._exit is self._exit:
            os._exit = vars(self._exit)["__wrapped__"]
        if self._jobs is not None:
            self._jobs.recorder = None
        _end_recording(self.config)

    def _call_ended(self, recorder: Recorder, kind: int) -> None:
        writer = self._writer
        if writer is None or recorder is not writer.recorder:
            return
        # A pool may be terminated as soon as the last result is out: a job is written before its result goes.
        if kind in (CALL_JOB, CALL_PROCESS) or clock.now_ns() - writer.flushed_ns > _AFTER_CALL_NS:
            self.flush()

    def _finish_with_multiprocessing(self) -> None:
        util = sys.modules["multiprocessing.util"]
        util.Finalize(None, self.flush, exitpriority=-1000)  # after all others

    def _replace_exit(self) -> None:
        """Have what is left written before `os._exit`, with which a child of a bare fork ends as a rule."""
        original: Any = os._exit
        if getattr(original, ATTRIBUTE, False):  # forked from a child of ours
            original = original.__wrapped__

        @functools.wraps(original)
        def _exit(*args: Any, **kwargs: Any) -> Any:
            self._guard(self.flush)
            try:
                original(*args, **kwargs)
            except BaseException as error:  # no number
                drop_our_frame(error)
                raise

        setattr(_exit, ATTRIBUTE, True)
        os._exit = self._exit = _exit

    def _replace_run(self, owner: Any) -> None:
        original = vars(owner)["run"]
        if getattr(original, ATTRIBUTE, False):  # forked from a child of ours
            original = original.__wrapped__

        @functools.wraps(original)
        def run(self_: Any) -> None:
            opened = self._guard(self._open, self_)
            try:
                original(self_)
            except BaseException as error:
                drop_our_frame(error)
                if opened is not None:
                    self._guard(close_call, opened, error)
                raise
            if opened is not None:
                self._guard(close_call, opened)

        setattr(run, ATTRIBUTE, True)
        owner.run = run

    def _open(self, process: Any) -> OpenCall | None:
        own = vars(process)
        own.pop(ATTRIBUTE, None)
        writer, target, args = self._writer, own.get("_target"), own.get("_args", ())
        if writer is None or not target:
            return None
        function, _ = innermost(target, args)
        code = code_of(function)
        if code is not None and not is_user_file(code.co_filename):
            if is_pool_worker(function) and args and self._jobs is not None:
                own["_args"] = (JobQueue(args[0], self._jobs), *args[1:])
            return None
        recorder = writer.recorder
        return open_call(recorder, CALL_PROCESS, site_of(recorder, function, code), code=code)
