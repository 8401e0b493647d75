"""Options and environment variables: texts into values, each with one sentence for what it is not."""

from __future__ import annotations

import re
import signal
from collections.abc import Callable, Mapping
from typing import Any

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


def from_texts(
    text_of: Callable[[str], str | None], name_of: Callable[[str], str], output: str, **scope: Any
) -> tuple[Options, int]:
    """Return the options that texts ask for, and the limit on disk.

    Args:
        text_of: Gives the text of "limit", "limit_disk", "snapshot_signal" or "snapshot_when_blocked"; None where
            that is not asked for.
        name_of: Gives what the user calls it, for the sentences.
        output: The file beside which snapshots are saved.
        scope: What is recorded: further options.

    Raises:
        UsageError: If a text is not what it has to be.
    """

    def value(key: str, parse: Callable[[str, str], Any], default: Any) -> Any:
        text = text_of(key)
        return default if text is None else parse(text, name_of(key))

    number = value("snapshot_signal", signal_number, 0)
    blocked_s = value("snapshot_when_blocked", seconds, 0.0)
    options = Options(
        limit_bytes=value("limit", size, Options.limit_bytes),
        snapshot_signal=number,
        blocked_s=blocked_s,
        snapshots=output if number or blocked_s else "",
        **scope,
    )
    return options, value("limit_disk", size, DEFAULT_DISK_BYTES)


def from_environment(environment: Mapping[str, str], output: str) -> tuple[Options, int]:
    """Return the options that the environment asks for, and the limit on disk; an empty variable asks for nothing.

    Raises:
        UsageError: If a variable holds what it cannot.
    """

    def name_of(key: str) -> str:
        return f"ASYNCTRACE_{key.upper()}"

    return from_texts(lambda key: environment.get(name_of(key)) or None, name_of, output)
