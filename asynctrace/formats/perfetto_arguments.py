"""The arguments of slices: what the UI shows of the slice that is selected, and SQL finds as `debug.KEY`.

Keys and texts are given a number each, sent once, just before the first use. The keys are those of our Chrome JSON.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import count

from asynctrace.formats import perfetto_layout as layout

MOST_KEPT = 10_000  # texts: a service has ever new tasks. One that comes again later has another number

_INTEGERS = 1 << 63  # others are no numbers of the format


class Arguments:
    """Fields of track events that add an argument.

    Args:
        send: Called with interned data, to go out before the event that uses them.
    """

    def __init__(self, send: Callable[[bytes], None]) -> None:
        self._send = send
        self._keys: dict[str, int] = {}
        self._texts: dict[str, int] = {}
        self._numbers = count(1)

    def text(self, key: str, text: str) -> bytes:
        """Return the field for a text."""
        number = self._texts.get(text)
        if number is None:
            if len(self._texts) >= MOST_KEPT:
                self._texts.clear()
            number = self._texts[text] = next(self._numbers)
            self._send(layout.interned_argument_text(number, layout.visible_text(text)))
        return layout.text_argument(self._key(key), number)

    def value(self, key: str, value: str | int | float | bool) -> bytes:
        """Return the field for a value of any of these types."""
        if isinstance(value, str) or (isinstance(value, int) and not -_INTEGERS <= value < _INTEGERS):
            return self.text(key, str(value))
        return layout.value_argument(self._key(key), value)

    def _key(self, key: str) -> int:
        number = self._keys.get(key)
        if number is None:
            number = self._keys[key] = len(self._keys) + 1
            self._send(layout.interned_argument_key(number, layout.visible_text(key)))
        return number
