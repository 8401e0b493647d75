"""Traces as files, by suffix. `.pftrace` (Perfetto), or compressed `.pftrace.gz`, is saved and loaded.

What other tools read is only written: see `exporting`.
"""

from __future__ import annotations

import gzip
import os
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, cast

from asynctrace.errors import FormatError, UsageError
from asynctrace.formats.exporting import (
    EXPORT_SUFFIXES,
    export,
    export_suffix,
    is_our_export,
    require_packages,
    what_is,
)
from asynctrace.replacing import replacing

if TYPE_CHECKING:
    from asynctrace.events import Part
    from asynctrace.formats.exporting import Progress
    from asynctrace.model.trace import Trace

SUFFIXES = (".pftrace", ".pftrace.gz")
SAVED_SUFFIXES = (*SUFFIXES, *EXPORT_SUFFIXES)


def save(trace: Trace, path: str | os.PathLike[str]) -> None:
    """Write a trace to a file, whole or not at all: what was there before stays until the new file is complete.

    Raises:
        UsageError: If the suffix is none of `SAVED_SUFFIXES`, or a .pftrace is asked for and the trace holds no events
            (it was not recorded).
        MissingPackageError: If the format needs a package that is not installed.
        AsynctraceError: If the file cannot be written.
    """
    if export_suffix(checked_suffix(path)) is not None:
        export(trace, path)
        return
    if not trace.parts:
        raise UsageError("this trace holds no recorded events, so it cannot be saved: only a recording's trace can")
    save_parts(trace.parts, path, window=(trace.start_ns, trace.end_ns))


def save_parts(
    parts: tuple[Part, ...],
    path: str | os.PathLike[str],
    window: tuple[int, int] | None = None,
    on_progress: Progress | None = None,
    *,
    row_each: bool = False,
) -> None:
    """Write the parts of a recording, and its window, to a file, whole or not at all.

    Args:
        parts: They, that of the main process first.
        path: The file.
        window: The recording's start and end, when they are not those of its first part.
        on_progress: Called after each part, with how many events have been written.
        row_each: Whether Perfetto's page gives each task a row; else tasks of one name share rows.

    Raises:
        UsageError, AsynctraceError: As `save` does.
    """
    from asynctrace.formats.perfetto_writer import PerfettoWriter

    target = Path(path)
    if not target.name.lower().endswith(SUFFIXES):
        raise UsageError(f"{target}: no recording has this suffix: use {' or '.join(SUFFIXES)}")
    if target.is_symlink():
        target = target.resolve()  # the link stays, what it points to is replaced
    if target.exists() and not target.is_file():
        raise UsageError(f"{target} is {what_is(target)}: name a file")  # a device would be replaced by a file
    with ExitStack() as stack:
        file = stack.enter_context(replacing(target))
        if target.name.lower().endswith(".gz"):
            file = cast("BinaryIO", stack.enter_context(gzip.open(file, "wb", compresslevel=6)))
        writer = stack.enter_context(PerfettoWriter(file, window, row_each=row_each))
        written = 0
        for part in parts:
            writer.write_part(part)
            written += len(part.events)
            if on_progress is not None:
                on_progress(written)


def copy_recording(source: str | os.PathLike[str], path: str | os.PathLike[str]) -> None:
    """Compress a recording, or unpack it, as the suffix of `path` tells; every byte stays: a cut one is a cut one.

    Raises:
        FormatError: If `source` cannot be read.
        AsynctraceError: If `path` cannot be written.
    """
    from asynctrace.formats.perfetto_reader import read_unpacked

    content = read_unpacked(Path(source))
    with ExitStack() as stack:
        file = stack.enter_context(replacing(Path(path)))
        if os.fspath(path).lower().endswith(".gz"):
            file = cast("BinaryIO", stack.enter_context(gzip.open(file, "wb", compresslevel=6)))
        file.write(content)


def load(path: str | os.PathLike[str]) -> Trace:
    """Read a trace that `save` wrote.

    Raises:
        FormatError: If the file is missing, is not ours, is damaged or was written by a newer version.
    """
    from asynctrace.model.build import build_trace

    parts, window, notes = read_recording(path)
    return build_trace(parts, window=window, source=str(Path(path)), notes=notes)


def read_recording(path: str | os.PathLike[str]) -> tuple[list[Part], tuple[int, int] | None, list[str]]:
    """Read what a trace is built of: the parts, the window if it is not that of the first part, and notes on the file.

    Raises:
        FormatError: As `load` does.
    """
    from asynctrace.events import PROCESS_STARTED
    from asynctrace.formats.contradictions import contradiction
    from asynctrace.formats.perfetto_reader import read_parts

    source = Path(path)
    if is_our_export(source):
        raise FormatError(
            f"{source} is for other tools: asynctrace reads the recording that it was made of, a .pftrace"
        )
    parts, start_ns, end_ns, truncated, notes = read_parts(source)
    if not parts:
        raise FormatError(f"{source} was cut short before its first event: nothing of the recording is left")
    if truncated:
        started = {event[4] for part in parts for event in part.events if event[2] == PROCESS_STARTED}
        missing = len(started - {part.pid for part in parts})
        if missing:
            which = "1 child process is" if missing == 1 else f"{missing} child processes are"
            notes.append(f"{which} missing: the parts of children come at the end of a file")
    window = (start_ns, end_ns) if start_ns is not None and end_ns is not None else None
    damage = contradiction(parts, window)
    if damage is not None:
        raise FormatError(f"{source} is damaged: {damage}")
    return parts, window, notes


def load_parts(path: str | os.PathLike[str]) -> list[Part]:
    """Read the parts of a recording as they were written.

    Raises:
        FormatError: As `load` does.
    """
    from asynctrace.formats.perfetto_reader import read_parts

    return read_parts(Path(path))[0]


def is_our_trace(path: str | os.PathLike[str]) -> bool:
    """Tell from its first bytes whether a file is a recording that asynctrace wrote: one that can be loaded."""
    from asynctrace.formats import perfetto_reader

    return perfetto_reader.is_our_trace(Path(path))


def checked_suffix(path: str | os.PathLike[str]) -> Path:
    """Return the path of a file to save.

    Raises:
        UsageError: If its suffix names no format.
        MissingPackageError: If the format needs a package that is not installed.
    """
    require_packages(path)
    target = Path(path)
    if target.name.lower().endswith((".otlp.json", ".otlp.json.gz")):
        raise UsageError(
            f"{target}: spans are sent by Trace.to_otel, or written by asynctrace convert FILE OUT.otlp.json"
        )
    if not target.name.lower().endswith(SAVED_SUFFIXES):
        *most, last = (suffix for suffix in SAVED_SUFFIXES if not suffix.endswith(".gz"))
        raise UsageError(f"{target}: no format has this suffix: use {', '.join(most)} or {last}")
    return target
