"""What our JSON formats have in common: JSON that is written piece by piece, never the whole of it in memory."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import lru_cache
from json.encoder import encode_basestring_ascii
from math import isfinite
from typing import BinaryIO

from asynctrace import __version__
from asynctrace.analysis.row_names import visible

EXPORTER = f"asynctrace {__version__}"
_AT_ONCE = 4096  # items that are written together

Value = str | int | float | bool | None


@lru_cache(100_000)
def quoted(text: str) -> str:
    """Return a text of the program's as a JSON string, on one line that can be shown anywhere."""
    return encode_basestring_ascii(visible(text))


def members(**values: Value) -> str:
    """Return the members of a JSON object, without its braces; those that are None are left out."""
    return ",".join(f'"{key}":{_value(value)}' for key, value in values.items() if value is not None)


def attributes(given: Mapping[str, Value]) -> str:
    """Return the member, after a comma, with the attributes that the user gave; nothing when there are none."""
    if not given:
        return ""
    return ',"attributes":{' + ",".join(f"{quoted(key)}:{_value(value)}" for key, value in given.items()) + "}"


def _value(value: Value) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int) or (isinstance(value, float) and isfinite(value)):
        return repr(value)
    return quoted(str(value))  # JSON has no infinity, and no number that is none


class Items:
    """The items of a JSON array, or of one in several pieces, as they come.

    Args:
        file: Where they go.
        separator: What is between two of them.
    """

    def __init__(self, file: BinaryIO, separator: str = ",\n") -> None:
        self._file = file
        self._separator = separator
        self._waiting: list[str] = []
        self.has_written = False

    def add(self, item: str) -> None:
        self._waiting.append(item)
        if len(self._waiting) >= _AT_ONCE:
            self.flush()

    def extend(self, items: Iterable[str]) -> None:
        for item in items:
            self.add(item)

    def flush(self) -> None:
        """Write what waits to be written; the array can go on after it."""
        if self._waiting:
            text = self._separator.join(self._waiting)
            self._file.write((self._separator + text if self.has_written else text).encode("ascii"))
            self.has_written = True
            self._waiting.clear()
