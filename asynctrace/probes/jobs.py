"""Executor jobs: who submitted what, and the run of a job's function as a call, without a decorator.

`submit` of the standard library's two executors is replaced while a recording runs; `Executor.map` and an event loop's
`run_in_executor` arrive there too. A job for another process is pickled as the very function that was handed in, with
its id beside it: a worker that knows nothing of us runs it as ever.
"""

from __future__ import annotations

import functools
import pickle
import sys
from collections.abc import Callable
from concurrent.futures import Executor
from concurrent.futures.thread import ThreadPoolExecutor
from types import FunctionType
from typing import Any, Protocol

from asynctrace import clock
from asynctrace.events import CALL_JOB, JOB_FORGOTTEN, JOB_OTHER, JOB_PROCESS, JOB_SUBMITTED, JOB_THREAD
from asynctrace.probes.calls import OpenCall, close_call, open_call
from asynctrace.probes.failure import Guard
from asynctrace.probes.imports import ImportWatch
from asynctrace.probes.targets import code_of, innermost, site_of
from asynctrace.probes.tracebacks import drop_our_frame
from asynctrace.recorder import Recorder

_PROCESS_MODULE = "concurrent.futures.process"
JOB_ATTRIBUTE = "_asynctrace_job"  # of the partial that a job for another process is pickled as


class JobSource(Protocol):
    """Whose recording a job is part of."""

    recorder: Recorder | None
    guard: Guard


class JobProbe:
    """Records jobs of executors, with a loop or without. `recorder` may be set anew in a forked child.

    `wrap_job` is what a LoopProbe calls before it hands work to an executor.
    """

    def __init__(self, recorder: Recorder, guard: Guard) -> None:
        self.recorder: Recorder | None = recorder
        self.guard = guard
        self._shims: list[tuple[type, Any, Any]] = []  # (class, ours, the original)
        self._watch = ImportWatch({_PROCESS_MODULE: self._meet_process_module}, guard)

    def install(self) -> None:
        """Replace `submit` of the two executors of the standard library (as soon as they are imported)."""
        self._replace_submit(ThreadPoolExecutor, JOB_THREAD)
        self._watch.install()

    def remove(self) -> None:
        """Record no more; put `submit` back where it is still ours."""
        self.recorder = None
        self._watch.remove()
        for owner, shim, original in self._shims:
            if owner.__dict__.get("submit") is shim:
                owner.submit = original  # type: ignore[attr-defined]
        self._shims.clear()

    def wrap_job(self, executor: Any, func: Callable[..., Any]) -> tuple[Callable[..., Any], JobId | None]:
        """Return (what to hand to the executor instead of `func`, the job's id); (func, None): it is not recorded."""
        kind = _kind_of(executor)
        if self.recorder is None or kind is None:
            return func, None
        job = self._make_job(func, ())
        if job is None:
            return func, None
        if not (executor is None or self._is_seen(type(executor))):
            self._note_submitted(job, kind, clock.now_ns())
        return job, job._asynctrace_id

    def _is_seen(self, kind: type) -> bool:
        """Tell whether what is submitted to such an executor goes straight to a `submit` of ours."""
        for base in kind.__mro__:
            submit = base.__dict__.get("submit")
            if submit is not None:
                return any(submit is shim for _, shim, _ in self._shims)
        return False

    def _meet_process_module(self, module: Any) -> None:
        if self.recorder is not None:
            self.guard(self._replace_submit, module.ProcessPoolExecutor, JOB_PROCESS)

    def _replace_submit(self, owner: Any, kind: int) -> None:
        original = owner.__dict__["submit"]

        @functools.wraps(original)
        def submit(self_: Any, fn: Any, /, *args: Any, **kwargs: Any) -> Any:
            job, time_ns = None, 0
            if self.recorder is not None:
                job, fn, time_ns = self.guard(self._job_to_submit, self_, fn, args) or (None, fn, 0)
            try:
                future = original(self_, fn, *args, **kwargs)
            except BaseException as error:
                drop_our_frame(error)
                raise
            if job is not None and not job._asynctrace_id.is_submitted:
                # Recorded now, for a job that the executor refuses has not happened; its time is that of before.
                self.guard(self._note_submitted, job, kind, time_ns)
            return future

        self._shims.append((owner, submit, original))  # first: what is noted comes off, whatever fails next
        owner.submit = submit

    def _job_to_submit(self, executor: Any, fn: Any, args: tuple[Any, ...]) -> tuple[JobCall | None, Any, int]:
        """Return (the job, what to submit for it, the time)."""
        if _kind_of(executor) is None or not callable(fn):
            return None, fn, 0
        job = innermost_job(fn, args)
        if job is not None:  # from an event loop; perhaps in a wrapping that a subclass of the executor put around it
            return job, fn, clock.now_ns()
        job = self._make_job(fn, args)
        return job, fn if job is None else job, clock.now_ns()

    def _make_job(self, func: Any, args: tuple[Any, ...]) -> JobCall | None:
        recorder = self.recorder
        return JobCall(func, args, self, JobId(self, recorder, recorder.new_id())) if recorder is not None else None

    def _note_submitted(self, job: JobCall, kind: int, time_ns: int) -> None:
        id = job._asynctrace_id
        state = id.recorder.local.state
        id.is_submitted = True
        id.recorder.append((time_ns, state.id, JOB_SUBMITTED, id.number, state.task, job._asynctrace_site, kind))


class JobId:
    """A job's number. It lives as long as anything does that can name the job: its function, the future awaited for it.

    A step's end may name a job that is done long since, and whose function is gone.
    """

    __slots__ = ("is_submitted", "number", "probe", "recorder")

    def __init__(self, probe: JobSource, recorder: Recorder, number: int) -> None:
        self.is_submitted = False
        self.probe = probe
        self.recorder = recorder
        self.number = number

    def __del__(self) -> None:
        # Perhaps on another thread, in a fork, or long after the recording has ended.
        try:
            if self.is_submitted and self.recorder.is_open:
                _note_forgotten(self.recorder, self.number)
        except BaseException as error:
            self.probe.guard.check(error)


class JobCall:
    """The function of a job: its run is a call. To everything else it is the function that it stands for."""

    __slots__ = (
        "__weakref__",
        "_asynctrace_code",
        "_asynctrace_func",
        "_asynctrace_id",
        "_asynctrace_probe",
        "_asynctrace_site",
    )

    def __init__(self, func: Any, args: tuple[Any, ...], probe: JobSource, id: JobId) -> None:
        self._asynctrace_func = func
        function, is_batch = innermost(func, args)
        code = code_of(function)
        self._asynctrace_probe = probe
        self._asynctrace_id = id
        self._asynctrace_code = None if is_batch else code
        self._asynctrace_site = site_of(id.recorder, function, code)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        probe = self._asynctrace_probe
        opened = None
        # A job of an earlier recording, or of the parent of a fork, is none of this one's.
        if probe.recorder is self._asynctrace_id.recorder:
            opened = probe.guard(_open_job, self)
        try:
            result = self._asynctrace_func(*args, **kwargs)
        except BaseException as error:
            drop_our_frame(error)
            if opened is not None:
                probe.guard(close_call, opened, error)
            raise
        if opened is not None:
            probe.guard(close_call, opened)
        return result

    def __getattr__(self, name: str) -> Any:
        return getattr(self._asynctrace_func, name)

    @property  # type: ignore[misc]  # typeshed lets it be assigned to
    def __class__(self) -> Any:
        return type(self._asynctrace_func)

    @property
    def __wrapped__(self) -> Any:
        return self._asynctrace_func

    def __eq__(self, other: object) -> Any:
        return self._asynctrace_func == (other._asynctrace_func if type(other) is JobCall else other)

    def __hash__(self) -> int:
        return hash(self._asynctrace_func)

    def __repr__(self) -> str:
        return repr(self._asynctrace_func)

    def __reduce_ex__(self, protocol: Any) -> Any:
        func = self._asynctrace_func
        if type(func) is FunctionType and sys.version_info >= (3, 14):
            # An error says in notes how deep in what it happened: that must not name the partial.
            try:
                pickle.dumps(func)
            except BaseException as error:
                drop_our_frame(error)
                raise
        # As a partial, which needs nothing of ours to be imported where it is unpickled. Its state has the id.
        return functools.partial, (func,), (func, (), {}, {JOB_ATTRIBUTE: self._asynctrace_id.number})


def _note_forgotten(recorder: Recorder, job: int) -> None:
    recorder.append((clock.now_ns(), recorder.local.state.id, JOB_FORGOTTEN, job, 0, 0, 0))


def _open_job(job: JobCall) -> OpenCall:
    id = job._asynctrace_id
    return open_call(id.recorder, CALL_JOB, job._asynctrace_site, id.number, job._asynctrace_code)


def innermost_job(func: Any, args: tuple[Any, ...]) -> JobCall | None:
    """Return the job that `func` is or leads to, when it is one already (an executor of the user's hands it on)."""
    found, _ = innermost(func, args)
    return found if type(found) is JobCall else None


def _kind_of(executor: Any) -> int | None:
    """Return the JOB_* of an executor (None: a loop's own, threads); None where its jobs are left alone."""
    kind = type(executor)
    if executor is None or (issubclass(kind, ThreadPoolExecutor) and not _crosses_interpreters(kind)):
        return JOB_THREAD
    process_module = sys.modules.get(_PROCESS_MODULE)
    process_pool = getattr(process_module, "ProcessPoolExecutor", None)
    if process_pool is not None and issubclass(kind, process_pool):
        return JOB_PROCESS
    if issubclass(kind, Executor) and not _crosses_interpreters(kind):
        return JOB_OTHER
    return None


def _crosses_interpreters(kind: type) -> bool:
    """Tell an executor that runs its jobs in other interpreters of this process (3.14+): they know nothing of us."""
    module = sys.modules.get("concurrent.futures.interpreter")
    pool = getattr(module, "InterpreterPoolExecutor", None)
    return pool is not None and issubclass(kind, pool)
