"""Draw mixes: crowded places of a row in which height is the share of the time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import cast

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import PolyCollection

from asynctrace.charts.looks import LOOKS, StateName
from asynctrace.charts.mixing import Mix
from asynctrace.charts.style import points_to_y

_STACK: tuple[StateName, ...] = ("running", "blocking", "ready", "waiting")  # from the bottom
# Of running, else a busy loop's many short steps would not show at all: 1 pt, 2 px of a PNG, inside half the outline.
_LEAST_POINTS = 1.5


def draw_mixes(ax: Axes, mixes: Sequence[tuple[Mix, float, float]], x: Callable[[float], float]) -> set[StateName]:
    """Draw each mix as a stack, running at the bottom.

    Args:
        ax: Where; its y axis goes down, its limits and place are set.
        mixes: (mix, y of the row's middle, height of its bars in y data units), those of a row in order of time.
        x: From a time in nanoseconds to x data units.

    Returns:
        The states that have a share in any.
    """
    corners: dict[StateName, list[tuple[float, float, float, float]]] = {state: [] for state in _STACK}
    outlines: list[list[float]] = []
    least = points_to_y(ax, _LEAST_POINTS)
    for mix, middle, height in mixes:
        start, end = x(mix.start_ns), x(mix.end_ns)
        bottom = middle + height / 2
        # Blocking may be among them, too.
        shares = with_running(cast(dict[StateName, float], mix.shares), least / height)
        for state, found in corners.items():
            share = shares.get(state, 0.0)
            if share:
                found.append((start, end, bottom - share * height, bottom))
                bottom -= share * height
        if outlines and outlines[-1][2:] == [middle, height] and start - outlines[-1][1] < (end - start) / 2:
            outlines[-1][1] = end
        else:
            outlines.append([start, end, middle, height])
    for state, found in corners.items():
        if found:
            # Antialiased edges of neighbours would leave white seams between them.
            _add(ax, found, facecolors=LOOKS[state].face, edgecolors="none", antialiaseds=False, zorder=2.15)
    if outlines:
        # Round each crowded place: the fill of waiting alone is too faint on white.
        boxes = [(start, end, middle - height / 2, middle + height / 2) for start, end, middle, height in outlines]
        edge = LOOKS["waiting"]
        _add(ax, boxes, facecolors="none", edgecolors=edge.edge, linewidths=edge.edge_points, zorder=2.16)
    return {state for state, found in corners.items() if found}


def with_running(shares: dict[StateName, float], least: float) -> dict[StateName, float]:
    """Return `shares` with running, if there is any, at least `least`; the others make room in proportion."""
    running = shares.get("running", 0.0)
    if not 0.0 < running < least:
        return shares
    others = (1.0 - least) / (1.0 - running)
    return {state: least if state == "running" else share * others for state, share in shares.items()}


def _add(ax: Axes, boxes: Sequence[tuple[float, float, float, float]], **look: object) -> None:
    start, end, low, high = np.array(boxes).T
    outline = np.stack([start, low, start, high, end, high, end, low], axis=1).reshape(-1, 4, 2)
    ax.add_collection(PolyCollection(outline, **look), autolim=False)  # type: ignore[arg-type]  # an array is the fast path
