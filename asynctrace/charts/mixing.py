"""What is too fine to draw: stretches narrower than a sliver become mixes, in which height is the share of the time.

Drawn one by one, with a least width for running, a thousand short steps would look like one long one. A mix shows the
share that each state had, stacked as in the strip above the rows, and costs no more than the width of the picture,
however long the trace.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from asynctrace.analysis.stretches import Stretch
from asynctrace.model.trace import StateKind

MIX_NOTE = (
    "Where states change too fast to draw one by one, a colour's height is its share of the time; "
    "any running is a thin line at least."
)
_FEWEST = 5  # fewer fine stretches side by side are drawn as they are
_NARROWEST = 2  # bins: so are those that take less room


@dataclass(frozen=True, slots=True)
class Mix:
    """A narrow bin of a row, and the share (0 to 1) that each state had of it; what is missing to 1 was nothing."""

    start_ns: float
    end_ns: float
    shares: dict[StateKind, float]


def unmixed(stretches: Sequence[Stretch], finest_ns: float) -> tuple[list[Stretch], list[Mix]]:
    """Split what can be drawn as it is from what has to be mixed.

    Args:
        stretches: Of one row, ascending and disjoint.
        finest_ns: The width of a sliver.

    Returns:
        The stretches to draw, and a mix for each sliver of the crowded places.
    """
    plain: list[Stretch] = []
    mixes: list[Mix] = []
    crowd: list[Stretch] = []
    for stretch in stretches:
        is_fine = stretch.end_ns - stretch.start_ns < finest_ns
        if crowd and not (is_fine and stretch.start_ns - crowd[-1].end_ns <= finest_ns):
            _settle(crowd, finest_ns, plain, mixes)
            crowd = []
        if is_fine:
            crowd.append(stretch)
        else:
            plain.append(stretch)
    _settle(crowd, finest_ns, plain, mixes)
    return plain, mixes


def _settle(crowd: list[Stretch], finest_ns: float, plain: list[Stretch], mixes: list[Mix]) -> None:
    if len(crowd) < _FEWEST or crowd[-1].end_ns - crowd[0].start_ns < _NARROWEST * finest_ns:
        plain += crowd
        return
    start, end = crowd[0].start_ns, crowd[-1].end_ns
    count = max(1, round((end - start) / finest_ns))
    width = (end - start) / count
    totals: list[dict[StateKind, float]] = [{} for _ in range(count)]
    for stretch in crowd:
        first = min(count - 1, int((stretch.start_ns - start) / width))
        last = min(count - 1, int((stretch.end_ns - start) / width))
        for index in range(first, last + 1):
            low = max(stretch.start_ns, start + index * width)
            high = min(stretch.end_ns, start + (index + 1) * width)
            totals[index][stretch.kind] = totals[index].get(stretch.kind, 0.0) + max(0.0, high - low) / width
    mixes += [
        Mix(start + index * width, start + (index + 1) * width, shares) for index, shares in enumerate(totals) if shares
    ]
