"""Draw mixes: crowded places of a row in which height is the share of the time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import cast

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import PolyCollection

from asynctrace.charts.mixing import Mix
from asynctrace.charts.style import LOOKS, StateName

_STACK: tuple[StateName, ...] = ("running", "blocking", "ready", "waiting")  # from the bottom


def draw_mixes(
    ax: Axes, mixes: Sequence[tuple[Mix, float]], x: Callable[[float], float], height: float
) -> set[StateName]:
    """Draw each mix as a stack, running at the bottom.

    Args:
        ax: Where; its y axis goes down.
        mixes: (mix, y of the row's middle), those of a row in order of time.
        x: From a time in nanoseconds to x data units.
        height: Of a bar, in y data units.

    Returns:
        The states that have a share in any.
    """
    corners: dict[StateName, list[tuple[float, float, float, float]]] = {state: [] for state in _STACK}
    outlines: list[list[float]] = []
    for mix, middle in mixes:
        start, end = x(mix.start_ns), x(mix.end_ns)
        bottom = middle + height / 2
        shares = cast(dict[str, float], mix.shares)  # blocking may be among them, too
        for state, found in corners.items():
            share = shares.get(state, 0.0)
            if share:
                found.append((start, end, bottom - share * height, bottom))
                bottom -= share * height
        if outlines and outlines[-1][2] == middle and start - outlines[-1][1] < (end - start) / 2:
            outlines[-1][1] = end
        else:
            outlines.append([start, end, middle])
    for state, found in corners.items():
        if found:
            # Antialiased edges of neighbours would leave white seams between them.
            _add(ax, found, facecolors=LOOKS[state].face, edgecolors="none", antialiaseds=False, zorder=2.15)
    if outlines:
        # Round each crowded place: the fill of waiting alone is too faint on white.
        boxes = [(start, end, middle - height / 2, middle + height / 2) for start, end, middle in outlines]
        edge = LOOKS["waiting"]
        _add(ax, boxes, facecolors="none", edgecolors=edge.edge, linewidths=edge.edge_points, zorder=2.16)
    return {state for state, found in corners.items() if found}


def _add(ax: Axes, boxes: Sequence[tuple[float, float, float, float]], **look: object) -> None:
    start, end, low, high = np.array(boxes).T
    outline = np.stack([start, low, start, high, end, high, end, low], axis=1).reshape(-1, 4, 2)
    ax.add_collection(PolyCollection(outline, **look), autolim=False)  # type: ignore[arg-type]  # an array is the fast path
