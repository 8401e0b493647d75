"""Lists of events of every sort, those that no program gives among them, and how to cut one into batches."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence

from hypothesis import strategies as st

from asynctrace import events as ev
from asynctrace.events import Event
from tests.strategies_parts import any_parts, program_parts

_KINDS = sorted(ev.KIND_NAMES.keys() & range(1, 26))
_FLAGS = [0, 0, *(1 << bit for bit in range(9)), ev.YIELDED | ev.ASYNC_GENERATOR]


def muddle(seed: int) -> list[Event]:
    """Return events of some kinds with so few ids that what they tell contradicts itself all the time."""
    chance = random.Random(seed)
    kinds = chance.sample(_KINDS, chance.randint(3, len(_KINDS)))  # of all kinds, few would meet what they are about
    flags = chance.sample(_FLAGS, chance.randint(1, len(_FLAGS)))
    ids = range(chance.randint(0, 1), chance.randint(2, 8))
    return [
        (
            5,
            chance.randint(1, 2),
            chance.choice(kinds),
            chance.choice(ids),
            chance.choice(ids),
            chance.randint(0, 3),
            chance.choice(flags),
        )
        for _ in range(chance.randint(1, 200))
    ]


event_lists = (
    st.integers(0, 1 << 30).map(muddle)
    | any_parts.map(lambda part: part.events)
    | program_parts().map(lambda part: part.events)
)


def batches(events: Sequence[Event], sizes: Sequence[int]) -> Iterator[Sequence[Event]]:
    begin = 0
    for size in sizes:
        yield events[begin : begin + size]
        begin += size
    yield events[begin:]
