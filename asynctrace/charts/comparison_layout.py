"""Where everything in a comparison goes: heights and margins, in inches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

WIDTH = 10.0
HEIGHT = 5.6  # grows when rows need it, shrinks when there is little to show
TITLE_TOP = 0.30  # the title's baseline, from the top
SUBTITLE_TOP = 0.57
HEADER = 0.80
AXIS = 0.52  # tick labels and the axis' label, below the last panel
LEGEND = 0.30
FOOTER_LINE = 0.19
GAP = 0.16  # between panels
GUTTER = 2.28  # right of the panels, for the figures
LABEL_LEAST, LABEL_MOST = 1.0, 2.3  # left of the panels, for the rows' names
MARGIN = 0.20
LINE = 0.165  # of the gutter
NAME_LINE = 0.215
_ROW_MOST = 0.40
BAR_MOST = 0.28  # a bar's height: a panel of one row is no wall of colour


@dataclass(frozen=True, slots=True)
class Layout:
    """The figure's height and, for each panel, its bottom (from the figure's) and its height."""

    height: float
    panels: tuple[tuple[float, float], ...]
    axis_bottom: float


def layout(rows: Sequence[int], packed: Sequence[bool], gutter_lines: Sequence[int], footer_lines: int) -> Layout:
    """Return where the panels go: heights by rows, none too low for its figures in the gutter.

    Args:
        rows: How many rows each panel has; 0 for an empty frame.
        packed: Whether a panel's rows are lanes without a label each: those may be lower.
        gutter_lines: How many lines stand in each panel's gutter under its name.
        footer_lines: How many lines stand under the legend.
    """
    least = [NAME_LINE + LINE * lines for lines in gutter_lines]
    wanted = [
        max(low, count * _row_height(count, is_packed))
        for count, is_packed, low in zip(rows, packed, least, strict=True)
    ]
    below = AXIS + LEGEND + FOOTER_LINE * footer_lines
    gaps = GAP * (len(wanted) - 1)
    # Rows share what a picture of the usual height has left, but bars far apart are hard to compare.
    most = [max(low * 1.1, count * _ROW_MOST, high) for low, count, high in zip(least, rows, wanted, strict=True)]
    spare = max(0.0, HEIGHT - HEADER - sum(wanted) - gaps - below)
    share = min(1.0, spare / max(1e-9, sum(most) - sum(wanted)))
    heights = [high + (limit - high) * share for high, limit in zip(wanted, most, strict=True)]
    height = HEADER + sum(heights) + gaps + below
    places = []
    top = height - HEADER
    for high in heights:
        places.append((top - high, high))
        top -= high + GAP
    return Layout(height, tuple(places), below)


def _row_height(rows: int, is_packed: bool) -> float:
    if is_packed:
        return 0.12
    return 0.30 if rows <= 6 else 0.24 if rows <= 12 else 0.20
