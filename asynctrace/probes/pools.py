"""Workers of a pool: the jobs that one takes from its queue run as calls, in a child process or in a `ThreadPool`.

A worker gets its queue as the first argument; it is handed one that exchanges each job's function as it arrives. What
the parent queues, and how that is pickled, stays as it is.
"""

from __future__ import annotations

import functools
from typing import Any

from asynctrace.probes.jobs import JOB_ATTRIBUTE, JobCall, JobId, JobSource

_WORKERS = frozenset({("concurrent.futures.process", "_process_worker"), ("multiprocessing.pool", "worker")})


def is_pool_worker(function: Any) -> bool:
    """Tell whether a function of the standard library is what a pool's worker runs."""
    return (function.__module__, function.__name__) in _WORKERS


class JobQueue:
    """Stands for a worker's queue."""

    def __init__(self, queue: Any, source: JobSource) -> None:
        self._asynctrace_queue = queue
        self._asynctrace_source = source

    def get(self, *args: Any, **kwargs: Any) -> Any:
        item = self._asynctrace_queue.get(*args, **kwargs)
        source = self._asynctrace_source
        if item is None or source.recorder is None:
            return item
        return source.guard(_exchange, item, source) or item

    def __getattr__(self, name: str) -> Any:
        return getattr(self._asynctrace_queue, name)


def _exchange(item: Any, source: JobSource) -> Any:
    if type(item) is not tuple:  # concurrent.futures.process._CallItem
        item.fn = _received_job(item.fn, item.args, source)
        return item
    number, index, func, args, kwargs = item
    if getattr(func, "__name__", "") == "_helper_reraises_exception":
        return item  # the pool's own; its worker compares it by identity
    return number, index, _received_job(func, args, source), args, kwargs


def _received_job(func: Any, args: tuple[Any, ...], source: JobSource) -> Any:
    recorder = source.recorder
    if recorder is None:
        return func
    job = 0
    if type(func) is functools.partial:
        job = vars(func).get(JOB_ATTRIBUTE, 0)
        if job:
            func = func.func
    return JobCall(func, args, source, JobId(source, recorder, job))
