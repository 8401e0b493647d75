"""How much of their many cases tests try: a part of them by default, all with `-m slow`, for those marked `sampled`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

Case = TypeVar("Case")

_SHARE = 3
_LEAST = 10  # examples

is_full = False  # told by conftest, before the tests are imported


def examples(count: int) -> int:
    """Return how many of `count` examples to try."""
    return count if is_full else min(count, max(count // _SHARE, _LEAST))


def some(cases: Sequence[Case]) -> Sequence[Case]:
    """Return the cases to try: all, or one in three, from the first on."""
    return cases if is_full else cases[::_SHARE]
