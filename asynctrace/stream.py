"""The event stream of this process: the recorder and the probes that feed it, there while a recording runs."""

from __future__ import annotations

import asyncio
import logging
import sys
import threading
import weakref
from asyncio import events as _events
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from asynctrace import clock
from asynctrace.cores import tell_if_missing
from asynctrace.events import Part
from asynctrace.probes.failure import Guard, is_ours
from asynctrace.probes.finding import find_loops
from asynctrace.probes.functions import FunctionProbe
from asynctrace.probes.imports import ImportWatch
from asynctrace.probes.jobs import JobProbe
from asynctrace.probes.loop import LoopProbe, make_probe, probe_of
from asynctrace.probes.meeting import LoopWatch, watch_by_monitoring
from asynctrace.probes.monitoring import MonitoringProbe
from asynctrace.probes.processes import ProcessProbe
from asynctrace.probes.running import note_running
from asynctrace.probes.scope import make_scope
from asynctrace.probes.sleeping import SleepProbe
from asynctrace.probes.tasks import TaskTable
from asynctrace.probes.threads import ThreadProbe
from asynctrace.probes.wrapping import stack_notes
from asynctrace.recorder import DEFAULT_LIMIT_BYTES, Keeper, Recorder, make_recorder, native_core

logger = logging.getLogger("asynctrace")

_HAS_MONITORING = sys.version_info >= (3, 12)


@dataclass(frozen=True)
class Options:
    """What is recorded, how much of it is kept, and when a snapshot is taken; for this process and its children."""

    include: tuple[str, ...] = ()  # only code in files that match one of these globs
    exclude: tuple[str, ...] = ()  # no code in files that match one of these
    # Also undecorated ones, where they are seen, and children; else, for spans, of a task that waits its await stack.
    coroutines: bool = True
    functions: bool = False  # also a script's own plain functions
    limit_bytes: int = DEFAULT_LIMIT_BYTES  # what the events may take in memory
    snapshot_signal: int = 0  # on which a snapshot is saved
    blocked_s: float = 0.0  # for how long a step holds its loop until a snapshot is saved; 0: never
    snapshots: str = ""  # where: a path, before whose suffix the pid and a number go


class Stream:
    """All that turns this process's execution into events, from `start` to `stop`."""

    def __init__(self, options: Options) -> None:
        self.options = options
        tell_if_missing()
        self.recorder = make_recorder(options.limit_bytes)
        self.guard = Guard(self.stop)
        self.table = TaskTable(self.recorder, self.guard)
        self.is_running = False
        self.end_ns = 0  # when it stopped
        self._stopping = threading.RLock()
        self.recordings: set[object] = set()  # those that are windows on this stream now
        # By address. A dict: unlike a set of weak references it can be listed while other threads add to it.
        self._loops: weakref.WeakValueDictionary[int, LoopProbe] = weakref.WeakValueDictionary()
        self.keeper = Keeper(self.recorder, self.guard.check)
        self.on_loop_runs: Callable[[], None] | None = None  # called on a loop's thread, before its first step
        self.at_end: list[Callable[[], None]] = []
        self.on_fork: list[Callable[[Stream], None]] = []  # called in a forked child, when it has begun there
        self.snapshots: list[Path] = []  # that were saved
        scope = make_scope(options.include, options.exclude)
        self._functions = FunctionProbe(self.recorder, self.guard, options.functions, scope)
        self._jobs = JobProbe(self.recorder, self.guard)
        self._plain = (
            ThreadProbe(self.recorder, self.guard),
            SleepProbe(self.recorder, self.guard),
            self._jobs,
            self._functions,
        )
        self._processes = ProcessProbe(
            self.recorder,
            self.guard,
            "asynctrace.recording:start_child",
            "asynctrace.recording:stop_child",
            asdict(options),
        )
        self._processes.collects = options.coroutines
        self._processes.on_folder = lambda: self.keeper.watches.append(self._processes.bound_folder)
        self._monitoring = (
            MonitoringProbe(scope, self._functions, self.meet_loop, only_traced=not options.coroutines)
            if _HAS_MONITORING
            else None
        )
        self._watch: LoopWatch | None = None
        self._imports: ImportWatch | None = None

    def start(self) -> None:
        """Install the probes; the recording's clock starts before the one that sees all threads at once."""
        with self._stopping:
            self.is_running = True
            try:
                self.guard(self._install)
            except BaseException:  # a signal's
                self.stop()
                raise

    def _install(self) -> None:
        plain = (probe.install for probe in self._plain)
        for install in (
            *plain,
            self._processes.install,
            self.recorder.begin,
            self._install_coroutine_probe,
            self._begin,
        ):
            if self.is_running:  # a hook may have failed as soon as it was in
                install()

    def _begin(self) -> None:
        self.keeper.leave()
        loop = _events._get_running_loop()
        if loop is not None:
            self.meet_loop(loop)
        for other in find_loops():
            self._await_loop(other)

    def _await_loop(self, loop: asyncio.AbstractEventLoop) -> None:
        """Meet a loop that runs already, on another thread, as soon as anything of ours is called on that thread."""
        probe = self._probe(loop)
        if probe.recorder is None:
            probe.await_thread(self.meet_loop, self.guard)
        self._leave_if_stopped(probe)

    def _install_coroutine_probe(self) -> None:
        monitoring = self._monitoring
        if monitoring is not None:
            monitoring.bind(self.recorder, self.table, self.guard)
            imports = watch_by_monitoring(monitoring, self.meet_loop, self.guard)
            if monitoring.install():
                self._imports = imports
                imports.install()
                self.recorder.sees_coroutines = self.options.coroutines
                return
            logger.warning(
                "all tool ids of sys.monitoring are taken: tasks are recorded, the coroutines inside them are not"
            )
            self._monitoring = None
        self._watch = LoopWatch(self.meet_loop, self.guard)
        self._watch.install()

    def stop(self) -> None:
        """Take the probes out; every hook is put back where it is still ours.

        To be called from anywhere: by a failing hook, in a signal's handler, on any thread.
        """
        failures: list[BaseException] = []
        with self._stopping:
            if not self.is_running:
                return
            self.is_running = False
            guard = self.guard
            if not guard.has_failed:
                guard.is_over, guard = True, Guard(_nothing)
            for remove in (self._note_end, self.recorder.end, *self._removals()):
                for _ in range(2):  # once more where a signal got into it
                    try:
                        remove()
                        break
                    except BaseException as error:
                        failures.append(error)
        failures.sort(key=is_ours, reverse=True)
        while failures:
            guard.check(failures.pop(0))  # raises what is not ours

    def _note_end(self) -> None:
        self.end_ns = clock.now_ns()

    def _removals(self) -> list[Callable[[], None]]:
        loops = [probe for ref in self._loops.valuerefs() if (probe := ref()) is not None]
        some = self._monitoring, self._imports, self._watch, *self._plain, self._processes
        probes = [probe for probe in some if probe is not None]
        return [
            *(loop.end for loop in loops),
            *(loop.remove for loop in loops if not loop.is_permanent),
            *(probe.remove for probe in probes),
            *self.at_end,
            self.keeper.stop,
        ]

    def children(self, end_ns: int) -> list[Part]:
        """Return what the child processes have recorded so far, for a trace that ends then."""
        return self._processes.collect_parts(end_ns)

    def close(self) -> None:
        """Give up what is left outside of memory: the folder of the children's parts."""
        self._processes.close()

    def widen(self, limit_bytes: int) -> None:
        """Where this was begun for spans: record and keep from now on what a recording wants that comes beside them."""
        if self.options.coroutines:
            return
        history = self.recorder.history
        history.limit_bytes = max(history.limit_bytes, limit_bytes)
        monitoring = self._monitoring
        self._processes.collects = True
        if monitoring is not None and monitoring.only_traced and self.is_running:
            self.recorder.sees_coroutines = True
            self.guard(monitoring.widen)
            self.table.note_stack = None
            for ref in self._loops.valuerefs():
                probe = ref()
                if probe is not None:
                    probe.note_stack = None

    def ask_again(self) -> None:
        """A function was decorated: its code may have been left alone so far."""
        if self._monitoring is not None and self._monitoring.only_traced and self.is_running:
            self._monitoring.ask_again()

    def meet_loop(self, loop: asyncio.AbstractEventLoop) -> None:
        """Record this loop from now on; called on its own thread."""
        if not issubclass(type(loop), asyncio.AbstractEventLoop) or not self.is_running:
            return  # a test's mock; or a hook that another thread was in when it stopped the recording
        probe = self._probe(loop)
        if probe.recorder is self.recorder:
            return
        if self._monitoring is None or self._monitoring.only_traced:
            probe.note_stack = self.table.note_stack = stack_notes(self.recorder)
        else:
            probe.note_stack = self.table.note_stack = None
        probe.wrap_job = self._jobs.wrap_job
        try:
            self._begin_loop(probe, loop)
        finally:
            self._leave_if_stopped(probe)

    def _leave_if_stopped(self, probe: LoopProbe) -> None:
        if not self.is_running:  # on another thread meanwhile, perhaps before this probe was to be seen there
            probe.end()
            if not probe.is_permanent:
                probe.remove()

    def _probe(self, loop: asyncio.AbstractEventLoop) -> LoopProbe:
        native = native_core(self.recorder)
        probe = probe_of(loop)
        is_permanent = False
        if probe is not None and probe.is_native != (native is not None):  # of an earlier recording, on the other core
            is_permanent = probe.is_permanent
            probe.remove()
            probe = None
        if probe is None:
            new = make_probe(loop, native)
            new.is_permanent = is_permanent
            new.prepare(loop)
            self._loops[id(new)] = new  # first: whatever fails from here on, its shims come off
            probe = new.claim(loop)
        self._loops[id(probe)] = probe
        probe.put_on(loop)
        return probe

    def _begin_loop(self, probe: LoopProbe, loop: asyncio.AbstractEventLoop) -> None:
        time_ns = clock.now_ns()
        is_running = _events._get_running_loop() is loop
        if is_running and self.on_loop_runs is not None:
            self.on_loop_runs()
        probe.on_first_step = None if is_running else self.on_loop_runs
        probe.begin(self.recorder, self.table, self.guard, time_ns)
        monitoring = self._monitoring
        note_running(probe, loop, time_ns, monitoring.meet_suspended if monitoring is not None else None)
        if probe.open_step is None:
            if probe.on_first_step is not None:
                probe.open_step = None, _nothing
            return
        entry, ref = probe.open_step
        task = ref()
        if monitoring is not None and entry is not None and task is not None:
            monitoring.meet_running(entry, task)

    def begin_in_fork(self) -> Recorder:
        """Go on in a forked child, with a recorder of its own: what the parent recorded is the parent's to save."""
        self.recorder.end()
        recorder = self.recorder = type(self.recorder)(self.options.limit_bytes)
        self.table = TaskTable(recorder, self.guard)
        self.keeper = Keeper(recorder, self.guard.check)
        self.keeper.leave()  # until the child does something: many only replace themselves by another program
        self._stopping = threading.RLock()  # another thread of the parent's may hold the old one
        recorder.sees_coroutines = self._monitoring is not None and not self._monitoring.only_traced
        for loop_probe in list(self._loops.values()):
            loop_probe.end()
        for probe in self._plain:
            if probe is not self._functions:
                probe.recorder = recorder
        self._functions.restart(recorder)
        if self._monitoring is not None:
            self._monitoring.bind(recorder, self.table, self.guard)
        return recorder


def _nothing() -> None:
    pass


# The one stream of this process, or None. Starting and stopping hold the lock; while the program runs nothing does.
lock = threading.RLock()
current: Stream | None = None


def current_recorder() -> Recorder | None:
    """Return the recorder that a recording feeds now, or None."""
    stream = current
    return stream.recorder if stream is not None and stream.is_running else None


def check_failure(error: BaseException) -> None:
    """Stop the recording for a failure of a hook of ours; raise again what is the program's."""
    _current_guard().check(error)


class CurrentFailures:
    """What a failure is told to by what outlives recordings: the guard of the one that runs then."""

    check = staticmethod(check_failure)

    def check_own(self, error: BaseException) -> None:
        """Stop the recording for an error that is ours for sure."""
        _current_guard().check_own(error)


def _current_guard() -> Guard:
    stream = current
    return stream.guard if stream is not None else Guard(_nothing)
