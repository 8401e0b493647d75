"""`--rows`: whether Perfetto's page shows tasks of one name in rows that they share, or each task in its own."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

from asynctrace.analysis.row_names import visible
from asynctrace.cli import tell
from asynctrace.cli.progress import progress
from asynctrace.errors import UsageError
from asynctrace.events import Part
from asynctrace.formats import SUFFIXES

_MANY_EVENTS = 200_000  # that take long enough to show how far it is


def add_argument(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--rows",
        choices=("name", "task"),
        help="in Perfetto's page tasks of one name share rows (name, as without it), or each task has its own (task)",
    )


def check(rows: str | None, output: str) -> None:
    """Refuse `--rows` where it says nothing.

    Raises:
        UsageError: If the output is no recording.
    """
    if rows is not None and not output.lower().endswith(SUFFIXES):
        raise UsageError(f"--rows is about the tasks of a recording: name a {' or '.join(SUFFIXES)} to write")


def write_recording(parts: tuple[Part, ...], window: tuple[int, int] | None, output: Path, rows: str | None) -> None:
    """Write the parts of a recording, and tell how far it is."""
    from asynctrace.formats import save_parts

    events = sum(len(part.events) for part in parts)
    with progress(events, f"writing {visible(output.name)}", _MANY_EVENTS) as advance:
        save_parts(parts, output, window, advance, row_each=rows == "task")


def rewrite(source: str | Path, output: Path, rows: str | None) -> None:
    """Write a recording anew, with what there is to say of the file that it was read from."""
    from asynctrace.formats import read_recording

    parts, window, notes = read_recording(source)
    if notes:
        tell(*(f"note: {visible(note)}" for note in notes))
        parts[0] = replace(parts[0], notes=(*parts[0].notes, *notes))
    write_recording(tuple(parts), window, output, rows)
