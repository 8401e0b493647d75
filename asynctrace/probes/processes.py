"""Child processes: they record parts of the same recording.

A forked child has all of us and goes on with a recorder of its own. A spawned one knows nothing: the process object
that is pickled for it carries a passenger, whose unpickling begins the recording there. The children write their parts
(`parts.py`) into one private folder, from which the parent collects them.
"""

from __future__ import annotations

import functools
import os
import shutil
import sys
import tempfile
import threading
from collections.abc import Callable
from types import ModuleType
from typing import Any

from asynctrace import clock
from asynctrace.events import LOST, PROCESS_STARTED, Part
from asynctrace.probes.children import ATTRIBUTE, current_child, start_alone, start_child
from asynctrace.probes.failure import Guard
from asynctrace.probes.imports import ImportWatch
from asynctrace.probes.part_folder import FolderBound
from asynctrace.probes.parts import read_parts
from asynctrace.probes.tracebacks import drop_our_frame
from asynctrace.recorder import Recorder

# What the passenger's unpickling runs. By source, for a name of ours that could not be imported there (another
# interpreter, another path) would break the child.
_BOARD = """
try:
    from asynctrace.probes.children import start_child
except Exception:
    pass
else:
    start_child(config)
"""

_TOO_MUCH = "of child processes that have ended: their parts took too much room"

_active: ProcessProbe | None = None
_is_registered = False


class _Folders:
    """The folders of this process that are still there when the interpreter ends.

    It goes with this module, after all exit handlers: one of those may be what stops the recording.
    """

    def __init__(self) -> None:
        self.paths: dict[str, int] = {}  # path -> pid of the process that made it

    def __del__(
        self, getpid: Any = os.getpid, scandir: Any = os.scandir, unlink: Any = os.unlink, rmdir: Any = os.rmdir
    ) -> None:
        for path, pid in self.paths.items():
            try:
                if pid == getpid():
                    for entry in scandir(path):
                        unlink(entry.path)
                    rmdir(path)
            except OSError:
                pass


_folders = _Folders()
# What a thread that never ends refers to is not freed; but the globals of a module that is still there are cleared.
_this_module = sys.modules[__name__]


class _Thread(threading.local):
    """What the current thread is starting; a fork takes it along."""

    process: Any = None
    fork_ns = 0


_thread = _Thread()


class ProcessProbe:
    """Brings children (fork, spawn, forkserver, pools, os.fork) into the recording and collects their parts.

    Args:
        recorder: The recorder of this process; the attribute is set anew in a forked child.
        guard: What a failing hook is told to.
        starter: "module:function", imported and called in each child as `function(options, is_fork) -> Recorder`: it
            begins the recording there and returns the child's own recorder. In a forked child the parent's stream and
            probes are still there (each needs the new recorder); in a spawned one nothing is.
        stopper: "module:function", called in a child as `function()` when its part can no longer be written.
        options: Plain values for the starter (functions, include, exclude, …); they are pickled for spawned children.
    """

    def __init__(self, recorder: Recorder, guard: Guard, starter: str, stopper: str, options: dict[str, Any]) -> None:
        self.recorder: Recorder | None = recorder
        self._guard = guard
        self._config = {"folder": "", "starter": starter, "stopper": stopper, "options": options}
        self._owner_pid = 0  # of the process that made the folder
        self._noted: set[int] = set()  # the bare forks whose start is recorded
        self._lock = threading.RLock()  # of those who make the folder; in a child it is there
        self._bound: FolderBound | None = None
        self.on_folder: Callable[[], None] | None = None  # called when there is a folder, to be bounded
        self.collects = True  # else children are nobody's to collect; a forked one goes on for itself
        self._shim: tuple[Any, Any, Any] | None = None  # (class, ours, the original)
        self._watch = ImportWatch({"multiprocessing.process": self._meet_process_module}, guard)
        child = current_child()
        if child is not None:  # a child's children write into the same folder
            self._config["folder"] = child.folder

    def install(self) -> None:
        """Watch for child processes."""
        global _active, _is_registered
        _active = self
        if not _is_registered and hasattr(os, "register_at_fork"):
            # There is no way to take these out again; without an active probe they do nothing.
            _is_registered = True
            os.register_at_fork(before=_before_fork, after_in_child=_after_fork_in_child)
        self._watch.install()

    def remove(self) -> None:
        """Watch no more. In a child: write what is left of its part."""
        global _active
        self.recorder = None
        if _active is self:
            _active = None
        self._watch.remove()
        if self._shim is not None:
            owner, shim, original = self._shim
            if owner.__dict__.get("start") is shim:
                owner.start = original
            self._shim = None
        child = current_child()
        if child is not None:
            child.flush()

    def collect_parts(self, end_ns: int) -> list[Part]:
        """Return what the children have recorded so far; to be called before the parent's own `freeze` at `end_ns`."""
        recorder = self.recorder
        if not self._config["folder"] or self._owner_pid != os.getpid():
            return []
        self.bound_folder(end_ns)
        found = read_parts(str(self._config["folder"]))
        if recorder is not None:
            # multiprocessing's starts were noted when they were made, with the pid; those of a bare fork come here.
            thread = recorder.local.state.id
            for part, forked_ns in found:
                if forked_ns and part.pid not in self._noted:
                    self._noted.add(part.pid)
                    recorder.append((forked_ns, thread, PROCESS_STARTED, 0, part.pid, 0, 0))
        return [part for part, _ in found]

    def close(self) -> None:
        """Remove the folder of the parts; in a child nothing. Children that still run stop recording."""
        if self._config["folder"] and self._owner_pid == os.getpid():
            shutil.rmtree(str(self._config["folder"]), ignore_errors=True)
            _folders.paths.pop(str(self._config["folder"]), None)
            self._config["folder"] = ""

    def bound_folder(self, end_ns: int = 0) -> None:
        """Drop what is too much of the parts; to be called from time to time, and at the end of a trace (`end_ns`)."""
        recorder, bound = self.recorder, self._bound
        if recorder is None or bound is None or self._owner_pid != os.getpid():
            return
        count = bound.drop_oldest(at_once=bool(end_ns))
        if count:
            # Not after the end: the trace would not say what was lost.
            recorder.append((end_ns or clock.now_ns(), 0, LOST, 0, count, recorder.text(_TOO_MUCH), 0))

    def open_folder(self) -> None:
        """Make the folder of the parts, once."""
        if self._config["folder"]:
            return
        with self._lock:  # two threads may fork at once
            if self._config["folder"]:
                return
            folder = tempfile.mkdtemp(prefix="asynctrace-")
            self._owner_pid = _folders.paths[folder] = os.getpid()
            if self.recorder is not None:
                self._bound = FolderBound(folder, self.recorder.history.limit_bytes)
            self._config["folder"] = folder  # last: another thread's fork goes by it
            if self.on_folder is not None:
                self.on_folder()

    def prepare_fork(self) -> None:
        """Have ready what a forked child needs: its parent is about to fork."""
        _thread.fork_ns = clock.now_ns()
        if self.collects:
            self.open_folder()
        if self.recorder is not None:
            self.recorder.detach()

    def start_forked(self) -> None:
        """Go on in a forked child."""
        process, _thread.process = _thread.process, None
        if process is not None:
            vars(process).pop(ATTRIBUTE, None)
        if not self.collects:
            self.recorder = start_alone(self._config)
            return
        forked_ns = _thread.fork_ns if process is None else 0
        self.recorder = start_child(self._config, is_fork=True, forked_ns=forked_ns)

    def _meet_process_module(self, module: ModuleType) -> None:
        self._guard(self._replace_start, module.BaseProcess)

    def _replace_start(self, owner: Any) -> None:
        original = vars(owner)["start"]

        @functools.wraps(original)
        def start(self_: Any) -> None:
            recorder = self.recorder
            time_ns = 0
            if recorder is not None and self.collects:
                time_ns = self._guard(self._board, self_)
            try:
                original(self_)
            except BaseException as error:
                drop_our_frame(error)
                raise
            finally:
                _thread.process = None
                vars(self_).pop(ATTRIBUTE, None)
            if recorder is not None and time_ns:
                self._guard(self._note_started, recorder, time_ns, self_)

        self._shim = owner, start, original  # first: what is noted comes off, whatever fails next
        owner.start = start

    def _board(self, process: Any) -> int:
        """Have the child's recording begin with the child; return the time."""
        time_ns = clock.now_ns()
        self.open_folder()
        passenger = _Passenger(self._config)
        vars(process)[ATTRIBUTE] = passenger
        _thread.process = process
        return time_ns

    def _note_started(self, recorder: Recorder, time_ns: int, process: Any) -> None:
        state = recorder.local.state
        recorder.append((time_ns, state.id, PROCESS_STARTED, 0, process.pid, 0, 0))
        if time_ns >= recorder.attend_ns:
            recorder.attend()


class _Passenger:
    """Pickled with a process object: unpickled in the child it begins the recording there."""

    def __init__(self, config: dict[str, Any]) -> None:
        self._config = config

    def __reduce__(self) -> Any:
        return exec, (_BOARD, {"config": self._config})


def _before_fork() -> None:
    probe = _active
    if probe is not None and probe.recorder is not None:
        probe._guard(probe.prepare_fork)


def _after_fork_in_child() -> None:
    probe = _active
    if probe is None or probe.recorder is None:
        return
    probe._guard(probe.start_forked)
