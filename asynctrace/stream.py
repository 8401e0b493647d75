"""The event stream of this process: the recorder and the probes that feed it, there while a recording runs."""

from __future__ import annotations

import asyncio
import logging
import sys
import threading
import time
import weakref
from asyncio import events as _events
from collections.abc import Sequence
from typing import Any

from asynctrace import clock
from asynctrace.events import Part
from asynctrace.probes.failure import Guard
from asynctrace.probes.functions import FunctionProbe
from asynctrace.probes.jobs import JobProbe
from asynctrace.probes.loop import LoopProbe, probe_of
from asynctrace.probes.meeting import LoopWatch, watch_by_monitoring
from asynctrace.probes.monitoring import MonitoringProbe
from asynctrace.probes.processes import ProcessProbe
from asynctrace.probes.running import note_running
from asynctrace.probes.scope import make_scope
from asynctrace.probes.sleeping import SleepProbe
from asynctrace.probes.tasks import TaskTable
from asynctrace.probes.threads import ThreadProbe
from asynctrace.probes.wrapping import note_stack
from asynctrace.recorder import Recorder

logger = logging.getLogger("asynctrace")

_HAS_MONITORING = sys.version_info >= (3, 12)


class Stream:
    """All that turns this process's execution into events, from `start` to `stop`."""

    def __init__(self, include: Sequence[str], exclude: Sequence[str], functions: bool) -> None:
        self.options: dict[str, Any] = {
            "include": tuple(include),
            "exclude": tuple(exclude),
            "functions": functions,
        }
        self.recorder = Recorder()
        self.table = TaskTable(self.recorder)
        self.guard = Guard(self.stop)
        self.is_running = False
        self.recordings: set[object] = set()  # those that are windows on this stream now
        self._cpu_ns = time.process_time_ns()
        self._loops: weakref.WeakSet[LoopProbe] = weakref.WeakSet()
        scope = make_scope(include, exclude)
        self._functions = FunctionProbe(self.recorder, self.guard, functions, scope)
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
            self.options,
        )
        self._monitoring = MonitoringProbe(scope, self._functions, self.meet_loop) if _HAS_MONITORING else None
        self._watch: LoopWatch | None = None

    def start(self) -> None:
        """Install the probes; the recording's clock starts when all are in place."""
        for probe in self._plain:
            probe.install()
        self._processes.install()
        self.is_running = True
        self._install_coroutine_probe()
        self.recorder.start_ns = clock.now_ns()
        self.recorder.wall_ns = clock.wall_ns()
        self._cpu_ns = time.process_time_ns()
        loop = _events._get_running_loop()
        if loop is not None:
            self.guard(self.meet_loop, loop)

    def _install_coroutine_probe(self) -> None:
        monitoring = self._monitoring
        if monitoring is not None:
            monitoring.bind(self.recorder, self.table, self.guard)
            watch_by_monitoring(monitoring, self.meet_loop)
            if monitoring.install():
                self.recorder.sees_coroutines = True
                return
            logger.warning(
                "all tool ids of sys.monitoring are taken: tasks are recorded, the coroutines inside them are not"
            )
            self._monitoring = None
        self._watch = LoopWatch(self.meet_loop, self.guard)
        self._watch.install()

    def stop(self) -> None:
        """Take the probes out; every hook is put back where it is still ours."""
        if not self.is_running:
            return
        self.is_running = False
        self.recorder.is_open = False
        if self._monitoring is not None:
            self._monitoring.remove()
        if self._watch is not None:
            self._watch.remove()
        for loop_probe in list(self._loops):
            loop_probe.end()
            if not loop_probe.is_permanent:
                loop_probe.remove()
        for probe in self._plain:
            probe.remove()
        self._processes.remove()

    def children(self) -> list[Part]:
        """Return what the child processes have recorded so far."""
        return self._processes.collect_parts()

    def close(self) -> None:
        """Give up what is left outside of memory: the folder of the children's parts."""
        self._processes.close()

    def cpu_ns(self) -> int:
        """Return the CPU time of this process since the start."""
        return time.process_time_ns() - self._cpu_ns

    def meet_loop(self, loop: asyncio.AbstractEventLoop) -> None:
        """Record this loop from now on; called on its own thread."""
        if not issubclass(type(loop), asyncio.AbstractEventLoop):
            return  # a test's mock
        probe = probe_of(loop)
        if probe is None:
            probe = LoopProbe(loop)
            probe.install(loop)
        if probe.recorder is self.recorder:
            return
        self._loops.add(probe)
        if self._monitoring is None:
            recorder = self.recorder
            probe.note_stack = lambda time_ns, thread, entry, task: note_stack(recorder, time_ns, thread, entry, task)
        else:
            probe.note_stack = None
        probe.wrap_job = self._jobs.wrap_job
        time_ns = clock.now_ns()
        probe.begin(self.recorder, self.table, self.guard, time_ns)
        monitoring = self._monitoring
        if monitoring is None:
            note_running(probe, loop, time_ns)
            return
        note_running(probe, loop, time_ns, monitoring.meet_suspended)
        task = probe.open_step[1]() if probe.open_step is not None else None
        if probe.open_step is not None and task is not None:
            monitoring.meet_running(probe.open_step[0], task)

    def begin_in_fork(self) -> Recorder:
        """Go on in a forked child, with a recorder of its own: what the parent recorded is the parent's to save."""
        self.recorder.is_open = False
        recorder = self.recorder = Recorder()
        self.table = TaskTable(recorder)
        self._cpu_ns = time.process_time_ns()
        recorder.sees_coroutines = self._monitoring is not None
        for loop_probe in list(self._loops):
            loop_probe.end()
        for probe in self._plain:
            if probe is not self._functions:
                probe.recorder = recorder
        self._functions.restart(recorder)
        if self._monitoring is not None:
            self._monitoring.bind(recorder, self.table, self.guard)
        return recorder


# The one stream of this process, or None. Starting and stopping hold the lock; while the program runs nothing does.
lock = threading.RLock()
current: Stream | None = None


def current_recorder() -> Recorder | None:
    """Return the recorder that a recording feeds now, or None."""
    stream = current
    return stream.recorder if stream is not None and stream.is_running else None


def check_failure(error: BaseException) -> None:
    """Stop the recording for a failure of a hook of ours; raise again what is the program's."""
    stream = current
    if stream is None:
        raise error
    stream.guard.check(error)
