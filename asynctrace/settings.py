"""Options and environment variables: texts into values, each with one sentence for what it is not."""

from __future__ import annotations

import re
import signal
from collections.abc import Mapping

from asynctrace.errors import UsageError
from asynctrace.recording import DEFAULT_DISK_BYTES, LEAST_BYTES
from asynctrace.stream import Options

_UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}
_SIZE = re.compile(r"([0-9]{1,15}(?:\.[0-9]{1,15})?)\s*([KMGT]?)(?:i?B)?", re.IGNORECASE)
_LONGEST_S = 1e9  # a lifetime


def size(text: str, name: str) -> int:
    """Return the bytes that a text such as 256M, 2G or 1048576 names; `name` is the option's.

    Raises:
        UsageError: If it is no size, or below 1 MiB.
    """
    found = _SIZE.fullmatch(text.strip())
    if found is None:
        raise UsageError(f"{name} {text}: not a size: use bytes, or a number with K, M or G, such as 256M")
    value = int(float(found[1]) * _UNITS[found[2].upper()])
    if value < LEAST_BYTES:
        raise UsageError(f"{name} {text}: too small: the least is 1M")
    return value


def signal_number(text: str, name: str) -> int:
    """Return the number of a signal such as USR2, SIGUSR2 or 12.

    Raises:
        UsageError: If there is no such signal here, or none that a program can handle.
    """
    by_name = text.upper() if text.upper().startswith("SIG") else f"SIG{text.upper()}"
    number = int(text) if text.isdecimal() else signal.Signals.__members__.get(by_name)
    try:
        known = signal.Signals(number)  # type: ignore[arg-type]  # None is none
    except (ValueError, TypeError):
        raise UsageError(f"{name} {text}: no such signal on this system: use one such as USR2") from None
    if known in {getattr(signal, each, None) for each in ("SIGKILL", "SIGSTOP")}:
        raise UsageError(f"{name} {text}: no program can handle that signal: use one such as USR2")
    return int(known)


def seconds(text: str, name: str) -> float:
    """Return the seconds that a text names.

    Raises:
        UsageError: If it is no number above 0.
    """
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value <= _LONGEST_S:
        raise UsageError(f"{name} {text}: not a time: use seconds, such as 0.5")
    return value


def from_environment(environment: Mapping[str, str], output: str) -> tuple[Options, int]:
    """Return the options that the environment asks for, and the limit on disk.

    Raises:
        UsageError: If a variable holds what it cannot.
    """

    def value(name: str) -> str:
        return environment.get(name, "")

    limit, disk = value("ASYNCTRACE_LIMIT"), value("ASYNCTRACE_LIMIT_DISK")
    number, blocked = value("ASYNCTRACE_SNAPSHOT_SIGNAL"), value("ASYNCTRACE_SNAPSHOT_WHEN_BLOCKED")
    options = Options(
        limit_bytes=size(limit, "ASYNCTRACE_LIMIT") if limit else Options.limit_bytes,
        snapshot_signal=signal_number(number, "ASYNCTRACE_SNAPSHOT_SIGNAL") if number else 0,
        blocked_s=seconds(blocked, "ASYNCTRACE_SNAPSHOT_WHEN_BLOCKED") if blocked else 0.0,
        snapshots=output if number or blocked else "",
    )
    return options, size(disk, "ASYNCTRACE_LIMIT_DISK") if disk else DEFAULT_DISK_BYTES
