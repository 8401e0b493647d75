"""Where a command may write: checked before any work is done, so that nothing is run or drawn in vain."""

import os
from collections.abc import Collection
from pathlib import Path

from asynctrace.errors import UsageError

# Bytes at the beginning and at the end of a picture in which its metadata names the program that wrote it.
_METADATA_BYTES = 4096
# At the beginning of a page, before anything that could be the traced program's.
_PAGE_BYTES = 200
# At the beginning of OTLP JSON, in which the first resource says who it is of.
_RESOURCE_BYTES = 65536


def checked_output(path: str, suffixes: Collection[str], *, is_forced: bool) -> Path:
    """Return `path`, absolute, if a file may be written there.

    A trace, picture or page of ours that is there already may be replaced; any other file only when `is_forced`.

    Raises:
        UsageError: If the suffix is none of `suffixes`, the folder is missing or closed to us, or the path is taken.
    """
    target = Path(path)
    if not target.name.lower().endswith(tuple(suffixes)):
        raise UsageError(f"{path}: cannot write a file with the suffix {target.suffix!r}: use {', '.join(suffixes)}")
    folder = target.parent
    if not folder.is_dir():
        raise UsageError(f"the folder {folder} does not exist: make it first, or name another output with -o")
    if target.is_dir():
        raise UsageError(f"{path} is a folder: name a file in it with -o")
    if target.exists() and not target.is_file():
        raise UsageError(f"{path} is a pipe or a device: name a file with -o")
    if target.exists() and not is_forced and not is_ours(target):
        raise UsageError(f"{path} exists and was not written by asynctrace: pass --force to replace it")
    if not os.access(target if target.exists() else folder, os.W_OK):
        raise UsageError(f"{path} cannot be written: check the permissions, or name another output with -o")
    # Absolute: a program that changes its working folder does not take the output along.
    return target.absolute()


def is_ours(path: Path) -> bool:
    """Return whether asynctrace wrote the trace, picture or page at `path`, in the format that its suffix tells."""
    from asynctrace.charts.output import PICTURE_SUFFIXES
    from asynctrace.charts.timeline import PAGE_SUFFIX

    if path.suffix.lower() == PAGE_SUFFIX:
        return _is_our_page(path)
    if path.suffix.lower() in PICTURE_SUFFIXES:
        return _is_our_picture(path)
    if path.name.lower().endswith(".otlp.json"):
        return _is_our_otlp(path)
    from asynctrace.formats import is_our_trace
    from asynctrace.formats.exporting import export_suffix, is_our_export

    return is_our_trace(path) if export_suffix(path) is None else is_our_export(path)


def _is_our_picture(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            head = file.read(_METADATA_BYTES)
            file.seek(max(0, path.stat().st_size - _METADATA_BYTES))
            return b"asynctrace" in head or b"asynctrace" in file.read()
    except OSError:
        return False


def _is_our_page(path: Path) -> bool:
    from asynctrace.charts.timeline import GENERATOR

    try:
        with path.open("rb") as file:
            head = file.read(_PAGE_BYTES)
    except OSError:
        return False
    return head.startswith(b"<!DOCTYPE html>") and GENERATOR in head


def _is_our_otlp(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            head = file.read(_RESOURCE_BYTES)
    except OSError:
        return False
    resource, _, _ = head.partition(b'"scopeSpans"')
    mark = b'{"key":"telemetry.distro.name","value":{"stringValue":"asynctrace"}}'
    return head.startswith(b'{"resourceSpans":') and mark in resource
