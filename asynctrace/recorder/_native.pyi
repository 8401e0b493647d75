"""The native core of the recorder, in C (`asynctrace/recorder/native`)."""

from array import array
from collections.abc import Iterable
from typing import final

from asynctrace.events import Event

@final
class Scanner:
    """Goes along with the events, in order, and tells what they mention: see `describing.Scanner`."""

    def __init__(self) -> None: ...
    def scan(
        self, events: Iterable[Event] | array[int], /
    ) -> tuple[list[int], list[tuple[int, int]], list[int], dict[int, bool]]:
        """Return the sites, places and keys of stacks that were not told before, and the tasks of these events.

        Raises:
            OverflowError: If a number does not fit in 63 bits.
            ValueError: If what is given is neither tuples nor flat, seven integers of 64 bits each.
        """
