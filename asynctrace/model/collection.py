"""Python's garbage collector, and when it may rest."""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager


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
        if gc.get_freeze_count() == 0:  # else the program has frozen something, which is to stay so
            # All go to the oldest generation, where they would come in the end, without being looked at on the way.
            gc.freeze()
            gc.unfreeze()
        gc.enable()
