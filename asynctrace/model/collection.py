"""Python's garbage collector, and when it may rest."""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager

_MANY = 10_000  # objects, looked at in half a millisecond


@contextmanager
def collection_paused() -> Iterator[None]:
    """Let Python's cyclic garbage collector rest while very many objects are made, none of which is garbage.

    It would look at all of them over and over, for half of the time. It is the program's as much as ours: it rests
    only where no other thread runs that could see it at rest, or switch it itself meanwhile, and only if it was on.
    """
    if not gc.isenabled() or len(sys._current_frames()) > 1:
        yield
        return
    gc.collect(1)  # no garbage is to grow old with the objects that come
    gc.disable()
    try:
        yield
    finally:
        # What the program has frozen is to stay so. How much that is, is found by counting, milliseconds long where
        # it is much: a few objects are looked at sooner.
        if gc.get_count()[0] > _MANY and gc.get_freeze_count() == 0:
            # All go to the oldest generation, where they would come in the end, without being looked at on the way.
            gc.freeze()
            gc.unfreeze()
        gc.enable()
