"""The columns of our Parquet files, and what each means; the file carries this with it, in its fields' metadata."""

from __future__ import annotations

from typing import NamedTuple


class Column(NamedTuple):
    """A column: `type` is a key of `parquet.arrow_types`; `unit` is that of its numbers."""

    name: str
    type: str
    description: str
    unit: str | None = None


COLUMNS = (
    # Of which trace: the same in every row of a file, so that many can be read as one table.
    Column("record", "text", "what the row is: 'state', a stretch of a task's life, or 'coroutine', one call"),
    Column("program", "text", "the program that was recorded"),
    Column("recording_pid", "integer", "the process that was recorded; of its children there may be rows, too"),
    Column("recording_started_at", "time", "when the recording began, by the wall clock"),
    # Where it ran.
    Column("pid", "integer", "the process that it ran in"),
    Column("process", "text", "the name of that process"),
    Column("thread", "text", "the name of the thread whose loop ran the task; null where no step was seen"),
    Column("task_id", "integer", "the task's number in this file, from 1"),
    Column("task", "text", "the task's own name"),
    Column("label", "text", "the outermost coroutine of the program's own code that the task ran"),
    # A state.
    Column("state", "text", "'ready', 'running' or 'waiting'; a task's states follow each other without a gap"),
    Column("wait", "text", "what a waiting task waits for: sleep, io, lock, queue, event, task, gather, thread, …"),
    Column("expression", "text", "the await that it stands at, in the program's own code"),
    Column("await_file", "text", "the file of that await"),
    Column("await_line", "integer", "the line of that await"),
    Column("awaited_task_id", "integer", "the task that it waits for, when it is one"),
    Column("cause", "text", "what made a ready task so: task, timer, io, thread or unknown"),
    Column("cause_task_id", "integer", "the task that did, when it was one"),
    # A coroutine.
    Column("coroutine_id", "integer", "the coroutine's number in this file, from 1"),
    Column("coroutine", "text", "its qualified name, or the one given to @traced"),
    Column("awaiter_id", "integer", "the coroutine that awaits it"),
    Column("running_ns", "integer", "how long it ran, with all that it awaited", "ns"),
    Column("ready_ns", "integer", "how long it could have run and its loop was busy", "ns"),
    Column("waiting_ns", "integer", "how long it waited", "ns"),
    Column("attributes", "map", "the attributes given to @traced"),
    # Both.
    Column("file", "text", "the file of the coroutine; of a state, of the code that the task is labelled by"),
    Column("line", "integer", "the line where that begins"),
    Column("is_user", "flag", "whether that is outside of the standard library and of site-packages"),
    Column("outcome", "text", "how the coroutine, or of a state its task, ended: returned, raised, cancelled, …"),
    Column("error", "text", "the exception's type, where that is 'raised'"),
    Column("started_at", "time", "when it began, by the wall clock"),
    Column("ended_at", "time", "when it ended; what is unfinished ends with the recording"),
    Column("start_ns", "integer", "when it began, from the start of the recording", "ns"),
    Column("duration_ns", "integer", "how long it took", "ns"),
)
