"""The native encoder of events, in C (`asynctrace/formats/native`). Its reference is `perfetto_encoder`."""

from array import array
from collections.abc import Callable, Iterable
from typing import Self, final

from asynctrace.events import Event
from asynctrace.formats.perfetto_names import Names
from asynctrace.formats.perfetto_tracks import ProcessTracks
from asynctrace.formats.perfetto_waits import Waits

@final
class Counter:
    """Counts 1, 2, 3, …: the tracks and the arrows of a file, whose encoders share it."""

    def __init__(self) -> None: ...
    def __iter__(self) -> Self: ...
    def __next__(self) -> int: ...

@final
class Encoder:
    """Makes packets of the events of one part: see `perfetto_encoder.EventEncoder`.

    Names, waits and tracks may hand it packets while it asks them something; nothing else may be called meanwhile.

    Args:
        write: Takes the bytes, a quarter of a megabyte at a time, and at each `flush`.
        sequence: The number of the packets' sequence.
        clock_ns: Where the sequence's clock stands, from 0.
        new_flow: Counts the arrows.

    Raises:
        RuntimeError: Of each method from `forget_sites` to `close_all`: before `connect`, or while one of them runs.
    """

    def __init__(self, write: Callable[[bytes], object], sequence: int, clock_ns: int, new_flow: Counter) -> None: ...
    def connect(self, names: Names, waits: Waits, tracks: ProcessTracks) -> None:
        """Say what names, waits and tracks the part has: once. The numbers of tracks are those of a `Counter`."""

    def send(self, packets: bytes, /) -> None:
        """Write packets before those of the next event."""

    def send_on_sequence(self, content: bytes, /) -> None:
        """Write a packet of the part's sequence, before those of the next event."""

    def forget_sites(self, keys: Iterable[int], /) -> None:
        """Ask again what these sites are: the tables say something else of them now."""

    def encode(self, events: Iterable[Event] | array[int], /) -> None:
        """Write events that follow those before: tuples, or flat, seven integers of 64 bits each.

        Raises:
            WireError: If a number does not fit in 63 bits.
            ValueError: If what is given is neither.
        """

    def encode_base(self, events: Iterable[Event] | array[int], /) -> None:
        """Write the events of a base, of which nothing shows but what is open after them.

        Raises:
            WireError, ValueError: As `encode` does.
        """

    def label_tracks(self) -> None:
        """Name the tracks of the tasks that are still open."""

    def close_all(self, time_ns: int, /) -> None:
        """Close what is open, for the UI alone; no event follows."""

    def flush(self) -> None:
        """Have all that was sent and encoded written."""
