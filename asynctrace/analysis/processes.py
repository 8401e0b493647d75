"""Whose a task is, and what the processes of a merged trace are called."""

from __future__ import annotations

from collections.abc import Iterable

from asynctrace.analysis.row_names import short_name
from asynctrace.model.trace import Process, Task, Trace


def process_of(task: Task, main: Process | None) -> Process | None:
    """Return the process of a task. One that never ran is taken to be where it was created, else in `main`."""
    seen: Task | None = task
    while seen is not None and (seen.loop is None or seen.loop.thread is None):
        # Only in a damaged file a creator is younger than its task.
        seen = seen.creator if seen.creator is not None and seen.creator.id < seen.id else None
    if seen is None or seen.loop is None or seen.loop.thread is None:
        return main
    return seen.loop.thread.process


def is_merged(trace: Trace) -> bool:
    """Tell whether the trace was merged of several recordings: a view then has to say which process a task is of."""
    return sum(process.is_root for process in trace.processes) > 1


class TaskOwners:
    """Which process each task of a merged trace is of; of any other trace nothing, as it goes without saying."""

    def __init__(self, trace: Trace) -> None:
        self._main = trace.processes[0] if is_merged(trace) else None

    def __call__(self, task: Task) -> Process | None:
        """Return the process, None where it goes without saying."""
        return process_of(task, self._main) if self._main is not None else None

    def label(self, task: Task, label: str, depth: int = 0) -> str:
        """Return the label of a row with the process before it; below its creator's row, which has it, as it is."""
        process = self(task)
        return label if process is None or depth else f"{short_name(process.name)}  {label}"


def programs(trace: Trace) -> str:
    """Return the names of the recordings that a trace was merged of: "api, worker"; "" for any other trace."""
    return ", ".join(process.name for process in trace.processes if process.is_root) if is_merged(trace) else ""


def programs_of(processes: Iterable[Process]) -> dict[Process, str]:
    """Return for each process of a trace the program whose recording it is in; "" when unknown."""
    programs: dict[Process, str] = {}
    program = ""
    for process in processes:  # the children of a recording come after its own process
        if process.is_root:
            program = process.program
        programs[process] = program
    return programs
