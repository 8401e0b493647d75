"""The rows of our Parquet files, collected by column."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from asynctrace.analysis.figures import Figures, add_coroutine
from asynctrace.analysis.processes import is_merged, process_of, programs_of
from asynctrace.analysis.row_names import source_name
from asynctrace.formats.parquet_schema import COLUMNS
from asynctrace.formats.shown_names import program_name
from asynctrace.model.trace import Coroutine, Process, Task, Trace


class Rows:
    """Rows that wait to be written, a list for each column."""

    def __init__(self, trace: Trace) -> None:
        self._start_ns = trace.start_ns
        self._wall_ns = wall_ns(trace)
        self._main = trace.processes[0] if trace.processes else None
        self._program = program_name(trace)
        self._programs = programs_of(trace.processes) if is_merged(trace) else {}
        self._same = {
            "recording_pid": self._main.pid if self._main is not None else None,
            "recording_started_at": self._wall_ns,
        }
        self._columns: dict[str, list[Any]] = {}
        self.count = 0
        self.take()

    def take(self) -> dict[str, list[Any]]:
        """Return what has been collected, and begin anew."""
        taken = self._columns
        for name, value in self._same.items():
            taken[name] = [value] * self.count
        self._columns = {column.name: [] for column in COLUMNS}
        self.count = 0
        return taken

    def add_states(self, task: Task) -> None:
        """Add the states of a task, a row each."""
        states = task.states
        waits = [state.wait for state in states]
        causes = [state.cause for state in states]
        awaited = [wait.awaited if wait is not None else None for wait in waits]
        wakers = [cause.task if cause is not None else None for cause in causes]
        self._add(
            len(states),
            task,
            {
                "state": [state.kind for state in states],
                "wait": [wait and wait.kind for wait in waits],
                "expression": [wait and wait.expression for wait in waits],
                "await_file": [wait and wait.file for wait in waits],
                "await_line": [wait and wait.line for wait in waits],
                "awaited_task_id": [each and each.id for each in awaited],
                "cause": [cause and cause.kind for cause in causes],
                "cause_task_id": [each and each.id for each in wakers],
            },
            [state.start_ns for state in states],
            [state.end_ns for state in states],
            record="state",
            file=task.file,
            line=task.line,
            is_user=task.is_user,
            outcome=task.outcome,
            error=task.error,
        )

    def add_coroutine(self, coroutine: Coroutine) -> None:
        """Add the row of a coroutine."""
        figures = Figures()
        add_coroutine(figures, coroutine)
        self._add(
            1,
            coroutine.task,
            {},
            [coroutine.started_ns],
            [coroutine.end_ns],
            record="coroutine",
            coroutine_id=coroutine.id,
            coroutine=coroutine.name,
            awaiter_id=coroutine.awaiter.id if coroutine.awaiter is not None else None,
            running_ns=figures.running_ns,
            ready_ns=figures.ready_ns,
            waiting_ns=figures.waiting_ns.total(),
            attributes=[(key, str(value)) for key, value in coroutine.attributes.items()],
            file=coroutine.file,
            line=coroutine.line,
            is_user=coroutine.is_user,
            outcome=coroutine.outcome,
            error=coroutine.error,
        )

    def _add(
        self,
        count: int,
        task: Task | None,
        each: dict[str, list[Any]],
        starts_ns: Sequence[int],
        ends_ns: Sequence[int],
        **same: Any,
    ) -> None:
        """Add `count` rows of a task: `each` and the times have a value for each row, `same` has one for all."""
        process: Process | None = self._main
        if task is not None:
            process = process_of(task, self._main)
            thread = task.loop.thread if task.loop is not None else None
            same |= {"task_id": task.id, "task": task.name, "label": task.label}
            same["thread"] = thread.name if thread is not None else None
        if process is not None:
            same |= {"pid": process.pid, "process": process.name}
        program = self._programs.get(process) if process is not None else None
        same["program"] = source_name(program) if program else self._program
        base_ns, offset_ns = self._start_ns, self._wall_ns - self._start_ns
        each["started_at"] = [time_ns + offset_ns for time_ns in starts_ns]
        each["ended_at"] = [time_ns + offset_ns for time_ns in ends_ns]
        each["start_ns"] = [time_ns - base_ns for time_ns in starts_ns]
        each["duration_ns"] = [end_ns - start_ns for start_ns, end_ns in zip(starts_ns, ends_ns, strict=True)]
        for name, column in self._columns.items():
            if name in each:
                column += each[name]
            else:
                column += [same.get(name)] * count
        self.count += count


def wall_ns(trace: Trace) -> int:
    """Return the wall clock at the start of the recording, in nanoseconds since 1970."""
    if trace.parts:
        return trace.parts[0].wall_ns + trace.start_ns - trace.parts[0].start_ns
    return (trace.started_at - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1) * 1000
