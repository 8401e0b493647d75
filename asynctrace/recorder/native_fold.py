"""The fold of the native core: it goes along with the events in C, and its base is made by the reference."""

from __future__ import annotations

from typing import Any, TypeVar

from asynctrace.events import Event
from asynctrace.recorder import _native
from asynctrace.recorder.fold import Fold
from asynctrace.recorder.living import CallLife, CoroutineLife, JobLife, LoopLife, TaskLife, ThreadLife

_Life = TypeVar("_Life", TaskLife, CoroutineLife, ThreadLife, CallLife, JobLife, LoopLife)


class NativeFold(_native.Fold):
    """A `Fold` in C."""

    __slots__ = ()

    def base(self, time_ns: int) -> list[Event]:
        """Return events, all at `time_ns`, that lead a reader to the present state. The fold stays as it is."""
        return self.reference().base(time_ns)

    def reference(self) -> Fold:
        """Return a fold in Python that is where this one is."""
        tasks, coroutines, threads, calls, jobs, loops, blockings, passed, dropped, processes, forgotten, ended = (
            self.state()
        )
        fold = Fold()
        fold.count = self.count
        fold.tasks = _lives(TaskLife, tasks)
        fold.coroutines = _lives(CoroutineLife, coroutines)
        fold.threads = _lives(ThreadLife, threads)
        fold.calls = _lives(CallLife, calls)
        fold.jobs = _lives(JobLife, jobs)
        fold.loops = _lives(LoopLife, loops)
        for thread, id, code, primitive, offset in zip(*[iter(blockings)] * 5, strict=True):
            fold.blockings[thread, id] = code, primitive, offset
        fold.passed = set(passed)
        fold.functions_dropped = dict(zip(dropped[::2], dropped[1::2], strict=True))
        fold.processes.extend(zip(processes[::2], processes[1::2], strict=True))
        fold.forgotten_jobs = set(forgotten)
        fold.ended_tasks = ended
        return fold


def _lives(kind: type[_Life], values: dict[int, tuple[Any, ...]]) -> dict[int, _Life]:
    return {id: _life(kind, each) for id, each in values.items()}


def _life(kind: type[_Life], values: tuple[Any, ...]) -> _Life:
    life = kind.__new__(kind)
    for name, value in zip(kind.__slots__, values, strict=True):
        setattr(life, name, value)
    return life
