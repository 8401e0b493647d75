"""Formats that are written for other tools, by suffix, and how a file of ours in one of them is told from others."""

from __future__ import annotations

import gzip
import os
import zlib
from collections.abc import Callable
from contextlib import ExitStack
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, cast

from asynctrace.errors import MissingPackageError, UsageError
from asynctrace.replacing import replacing

if TYPE_CHECKING:
    from asynctrace.model.trace import Trace

Progress = Callable[[int], None]
"""Called now and then with how many of the tasks' states have been written."""

EXPORT_SUFFIXES = (".json", ".json.gz", ".speedscope.json", ".speedscope.json.gz", ".parquet")
_MARK_BYTES = 4096
_PARQUET_MARK = b"asynctrace.version"
_LONGEST_FOOTER = 1 << 24
_NEEDS_PYARROW = "Parquet needs pyarrow: install asynctrace[parquet] (pip install 'asynctrace[parquet]')"


def export_suffix(path: str | os.PathLike[str]) -> str | None:
    """Return the longest suffix that tells the format of a file: `x.otlp.json` is none of ours though `.json` is."""
    name = os.path.basename(os.fspath(path)).lower()
    if name.endswith((".otlp.json", ".otlp.json.gz")):
        return None  # spans, which are written in another way
    return max((suffix for suffix in EXPORT_SUFFIXES if name.endswith(suffix)), key=len, default=None)


def export(trace: Trace, path: str | os.PathLike[str], on_progress: Progress | None = None) -> None:
    """Write a trace in the format that the suffix tells; the file takes its place when it is complete.

    Raises:
        UsageError: If the suffix tells none of `EXPORT_SUFFIXES`, or what is there is no file.
        MissingPackageError: If the format needs a package that is not installed.
        AsynctraceError: If the file cannot be written.
    """
    target = Path(path)
    suffix = export_suffix(target)
    if suffix is None:
        raise UsageError(f"{target}: no format has this suffix: use {', '.join(EXPORT_SUFFIXES)}")
    if target.exists() and not target.is_file():
        raise UsageError(f"{target} is {what_is(target)}: name a file")  # a device would be replaced by a file
    write = _writer(suffix)
    with ExitStack() as stack:
        file = stack.enter_context(replacing(target))
        if suffix.endswith(".gz"):
            packed = gzip.GzipFile(filename="", mode="wb", compresslevel=6, fileobj=file)
            file = cast("BinaryIO", stack.enter_context(packed))
        write(trace, file, on_progress)


def _writer(suffix: str) -> Callable[[Trace, BinaryIO, Progress | None], None]:
    if suffix == ".parquet":
        try:
            from asynctrace.formats.parquet import write_parquet
        except ImportError as error:
            raise MissingPackageError(_NEEDS_PYARROW) from error

        return write_parquet
    if ".speedscope" in suffix:
        from asynctrace.formats.speedscope import write_speedscope

        return write_speedscope
    from asynctrace.formats.chrome import write_chrome

    return write_chrome


def is_our_export(path: Path) -> bool:
    """Tell from its first bytes (of .parquet: its last) whether asynctrace wrote a file: one that may be replaced."""
    suffix = export_suffix(path)
    try:
        if suffix is None or not path.is_file():
            return False
        with path.open("rb") as file:
            if suffix == ".parquet":
                return _PARQUET_MARK in _parquet_footer(file)
            head = file.read(_MARK_BYTES)
    except (OSError, ValueError):  # in the second case no file can have such a name
        return False
    if suffix.endswith(".gz"):
        try:
            head = zlib.decompressobj(wbits=16 + zlib.MAX_WBITS).decompress(head, _MARK_BYTES)
        except zlib.error:
            return False
    return head.startswith(_mark(suffix))


def _mark(suffix: str) -> bytes:
    """Return what files of ours in a JSON format begin with."""
    if ".speedscope" in suffix:
        from asynctrace.formats import speedscope

        return speedscope.MARK
    from asynctrace.formats import chrome

    return chrome.MARK


def _parquet_footer(file: BinaryIO) -> bytes:
    """Return what ends a Parquet file, where its metadata is; b"" of any other file."""
    size = file.seek(0, os.SEEK_END)
    file.seek(max(0, size - 8))
    length, magic = int.from_bytes(file.read(4), "little"), file.read(4)
    if magic != b"PAR1" or not 0 < length <= min(size - 8, _LONGEST_FOOTER):
        return b""
    file.seek(size - 8 - length)
    return file.read(length)


def require_packages(path: str | os.PathLike[str]) -> None:
    """Look whether the packages are there that a format needs, before any work is done for it.

    Raises:
        MissingPackageError: If one is not.
    """
    if export_suffix(path) == ".parquet" and find_spec("pyarrow") is None:
        raise MissingPackageError(_NEEDS_PYARROW)


def what_is(path: Path) -> str:
    """Return what is at a path that is no file, in words."""
    return "a folder" if path.is_dir() else "a pipe or a device"
