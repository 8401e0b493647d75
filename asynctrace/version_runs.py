"""Get the trace of one version: run its script in a process of its own, call its function, or load its file."""

from __future__ import annotations

import asyncio
import inspect
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import replace
from os import PathLike
from pathlib import Path
from typing import Any

from asynctrace.analysis.version import Version, measured
from asynctrace.errors import FormatError, UsageError
from asynctrace.model.trace import Trace

Given = str | PathLike[str] | Trace | Callable[[], Any]

_OWN_THREAD = "MainThread"
# `python -m asynctrace`, and found also where only this process knows the folder that we are in: a notebook or a test
# that extended sys.path. The script's environment stays as it is.
_START = """\
import sys
home = sys.argv.pop(1)
try:
    import asynctrace
except ImportError:
    sys.path.append(home)
from asynctrace.cli import main
sys.exit(main())
"""
_HOME = Path(__file__).parents[1]
_TRACE_SUFFIX = ".pftrace"
# What is left of a traceback's line without the rails that an exception group draws: "ValueError: boom".
_ERROR_LINE = re.compile(r"[A-Za-z_][\w.]*(: .*)?")


def name_of(given: Given) -> str:
    """Return what a version is called when nobody names it.

    Raises:
        UsageError: If it is a file that does not exist, or nothing that can be compared.
    """
    if isinstance(given, Trace):
        return Path(given.source).stem or "trace"
    if isinstance(given, str | PathLike):
        path = Path(given)
        if not path.is_file():
            if path.exists():
                raise UsageError(f"{os.fspath(given)} is no file: name a script or a trace")
            raise UsageError(f"there is no script or trace {os.fspath(given)}: check the path")
        return path.stem.removesuffix(_TRACE_SUFFIX)
    if callable(given):
        return getattr(given, "__name__", type(given).__name__)
    raise UsageError(f"{given!r} cannot be compared: give a script, a trace, or a function without arguments")


def run_version(name: str, given: Given, folder: Path) -> Version:
    """Run or load one version; a script's trace is left in `folder`."""
    if isinstance(given, Trace):
        return measured(name, given)
    if isinstance(given, str | PathLike):
        path = Path(given)
        if path.name.lower().endswith((_TRACE_SUFFIX, f"{_TRACE_SUFFIX}.gz")):
            from asynctrace.formats import load

            return measured(name, load(path))
        return _run_script(name, path, folder)
    return _run_function(name, given)


def _run_script(name: str, script: Path, folder: Path) -> Version:
    output = folder / (re.sub(r"[^\w.-]+", "_", name) + _TRACE_SUFFIX)
    output.unlink(missing_ok=True)  # an older one must not pass for this run's
    command = [sys.executable, "-c", _START, str(_HOME), "run", "-q", "-o", str(output), str(script)]
    # No terminal: a script that asks for input fails at once instead of waiting behind the pipe for an answer.
    ran = subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace", check=False
    )
    error = _error_of(ran.returncode, ran.stderr) if ran.returncode != 0 else None
    trace: Trace | None = None
    if output.exists():
        from asynctrace.formats import load

        try:
            trace = load(output)
        except FormatError as failure:
            error = error or str(failure)
    return measured(name, trace, error, is_script=True, output=ran.stdout + ran.stderr if error is not None else "")


def _error_of(status: int, stderr: str) -> str:
    """Return why a script failed, in a line: the exception of its traceback, else the last line it wrote, else how."""
    if status < 0:
        try:
            return f"killed by {signal.Signals(-status).name}"
        except ValueError:
            return f"killed by signal {-status}"
    lines = [line.strip(" |+-") for line in stderr.splitlines()]
    lines = [line for line in lines if line]
    if any("Traceback (most recent call last)" in line for line in lines):
        found = next((line for line in reversed(lines) if _ERROR_LINE.fullmatch(line)), None)
        if found is not None:
            return found
    return lines[-1] if lines else f"exit status {status}"


def _run_function(name: str, function: Callable[[], Any]) -> Version:
    """Record `function`, called without arguments: a coroutine that it returns is run on a loop of its own."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return _record_call(name, function)
    # In a notebook the cell itself runs on a loop: a thread of its own has none.
    versions: list[Version] = []
    thread = threading.Thread(target=lambda: versions.append(_record_call(name, function)), name=_OWN_THREAD)
    thread.start()
    thread.join()
    (version,) = versions
    trace = version.trace
    assert trace is not None  # a recording always has one
    for recorded in trace.threads:
        # To the version it is the main thread: the one that starts the others and waits for them.
        recorded.is_main = recorded.is_main or recorded.name == _OWN_THREAD
    # The cell's own tasks, begun before, are not the version's.
    tasks = tuple(task for task in trace.tasks if not task.is_clipped)
    return measured(name, replace(trace, tasks=tasks), version.error)


def _record_call(name: str, function: Callable[[], Any]) -> Version:
    from asynctrace.recording import Recording
    from asynctrace.stream import Options

    error: str | None = None
    # The calls of plain functions are the rows of a plain version; those of an `async def` are told by its tasks.
    with Recording(Options(functions=not inspect.iscoroutinefunction(function))) as recording:
        try:
            result = function()
            if inspect.iscoroutine(result):
                asyncio.run(result)
        except Exception as failure:
            error = f"{type(failure).__name__}: {failure}".rstrip(": ")
    return measured(name, recording.trace, error)
