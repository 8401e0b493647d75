"""The labels left of a Gantt chart's rows: names from the page's edge, indented; places right-aligned at the axis."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.axes import Axes

from asynctrace.analysis.rows import Row
from asynctrace.charts.gantt_bars import RowPlaces
from asynctrace.charts.looks import GREY_TEXT, TEXT, elided
from asynctrace.charts.style import FONT, MEDIUM, SMALL, text_width, write_beside

EDGE_IN = 0.15  # free at the edges of the page
_INDENT_POINTS = 11.0
_DEEPEST = 8  # levels of indentation
_MOST_LABEL = 40  # characters
_MOST_PLACE = (24, 20, 16)
_WIDEST_IN = 3.1  # shorter places are tried before the bars get less room than this leaves
_NARROWEST_IN = 1.25  # the strip's own label needs that


def column_of(rows: Sequence[Row]) -> tuple[float, int]:
    """Return how wide the labels' column is, in inches from the page's edge, and the most characters of a place."""
    names = [_indent(row) + text_width(elided(row.label, _MOST_LABEL), MEDIUM) for row in rows]
    wide_in = _NARROWEST_IN
    for most in _MOST_PLACE:
        places = [text_width(elided(row.place, most), SMALL) for row in rows]
        widest = max(name + (place + 12 if place else 0) for name, place in zip(names, places, strict=True))
        wide_in = max(EDGE_IN + widest / 72 + 0.12, _NARROWEST_IN)
        if wide_in <= _WIDEST_IN:
            return wide_in, most
    return wide_in, _MOST_PLACE[-1]


def draw_labels(ax: Axes, rows: Sequence[Row], places: RowPlaces, column: tuple[float, int]) -> None:
    """Write the labels into the column that `column_of` gave."""
    wide_in, most = column
    for row, middle in zip(rows, places.middles, strict=True):
        name_at = _indent(row) - (wide_in - EDGE_IN) * 72
        colour = GREY_TEXT if row.kind == "folded" else TEXT
        _write(ax, elided(row.label, _MOST_LABEL), middle, name_at, "left", MEDIUM, colour)
        _write(ax, elided(row.place, most), middle, -7.0, "right", SMALL, GREY_TEXT)


def tick_label(row: Row) -> str:
    """Return name and place in one line, for an axes that is not ours."""
    return "  ".join(part for part in (elided(row.label, _MOST_LABEL), elided(row.place, _MOST_PLACE[0])) if part)


def _write(ax: Axes, text: str, middle: float, points: float, side: str, size: float, colour: str) -> None:
    if not text:
        return
    write_beside(
        ax,
        text,
        (0, middle),
        (points, 0),
        xycoords=("axes fraction", "data"),
        ha=side,
        va="center_baseline",
        size=size,
        family=FONT,
        color=colour,
    )


def _indent(row: Row) -> float:
    return _INDENT_POINTS * min(row.depth, _DEEPEST)
