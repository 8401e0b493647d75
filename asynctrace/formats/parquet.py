"""Parquet, for DuckDB, pandas, Polars and what else asks many recordings at once.

One file is one table: a row for each state of a task and one for each coroutine, told apart by the column `record`, so
that '*.parquet' is all that a query has to name. See `parquet_schema` for the columns.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from asynctrace import __version__
from asynctrace.formats.parquet_rows import Rows
from asynctrace.formats.parquet_schema import COLUMNS
from asynctrace.formats.shown_names import notes, program_name
from asynctrace.model.trace import Trace

_MOST = (1 << 63) - 1
_AT_ONCE = 100_000  # rows that are written together


def write_parquet(trace: Trace, file: BinaryIO, on_progress: Callable[[int], None] | None = None) -> None:
    """Write a trace as Parquet.

    Args:
        trace: The trace.
        file: Where it goes.
        on_progress: Called now and then with how many of the tasks' states have been written.
    """
    schema = _schema(trace)
    rows = Rows(trace)
    with pq.ParquetWriter(file, schema, compression="zstd") as writer:

        def flush() -> None:
            table = pa.table([_array(values, schema.field(name)) for name, values in rows.take().items()], schema)
            writer.write_table(table)

        done = 0
        for task in trace.tasks:
            rows.add_states(task)
            done += len(task.states)
            if rows.count >= _AT_ONCE:
                flush()
                if on_progress is not None:
                    on_progress(done)
        for coroutine in trace.coroutines:
            rows.add_coroutine(coroutine)
            if rows.count >= _AT_ONCE:
                flush()
        if rows.count:
            flush()


def _schema(trace: Trace) -> pa.Schema:
    types = {
        "text": pa.string(),
        "integer": pa.int64(),
        "flag": pa.bool_(),
        "time": pa.timestamp("ns", "UTC"),
        "map": pa.map_(pa.string(), pa.string()),
    }
    fields = []
    for column in COLUMNS:
        about = {"description": column.description}
        if column.unit is not None:
            about["unit"] = column.unit
        fields.append(pa.field(column.name, types[column.type], metadata=about))
    said = {
        "asynctrace.version": __version__,
        "asynctrace.program": _storable(program_name(trace)),
        "asynctrace.pid": str(trace.processes[0].pid if trace.processes else ""),
        "asynctrace.started_at": trace.started_at.isoformat(),
        "asynctrace.lost": str(trace.lost),
        "asynctrace.notes": json.dumps(list(notes(trace))),
    }
    return pa.schema(fields, metadata=said)


def _array(values: list[Any], field: pa.Field) -> pa.Array:
    try:
        return pa.array(values, field.type)
    except (UnicodeEncodeError, OverflowError):  # a number of a damaged file
        return pa.array([_storable_value(value) for value in values], field.type)


def _storable_value(value: Any) -> Any:
    if isinstance(value, list):
        return [(_storable(key), _storable(text)) for key, text in value]
    if isinstance(value, str):
        return _storable(value)
    return max(-_MOST, min(value, _MOST)) if isinstance(value, int) else value


def _storable(text: str) -> str:
    """Return a text as what UTF-8 can hold: a file's name need not be."""
    return text.encode("utf-8", "backslashreplace").decode()
