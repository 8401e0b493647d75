"""The page of a Gantt chart: title, strip, label columns, rows, bands, legend and footer, placed in inches."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from asynctrace.analysis.rows import Row
from asynctrace.analysis.slices import Slice, coroutine_slices
from asynctrace.analysis.stretches import task_blockings
from asynctrace.analysis.wakes import wakes
from asynctrace.charts.gantt_bars import SLICE_STEP, RowPlaces, draw_rows, draw_slices, draw_wakes
from asynctrace.charts.gantt_notes import LINE_IN, draw_notes, notes_of
from asynctrace.charts.gantt_strip import draw_strip
from asynctrace.charts.gantt_text import elided, footer_lines, headline, text_width
from asynctrace.charts.style import (
    FONT,
    GREY_TEXT,
    MEDIUM,
    SMALL,
    TEXT,
    TITLE,
    draw_legend,
    format_time_axis,
)
from asynctrace.model.trace import Task, Trace

WIDTH_IN = 12.0
ROW_IN = 0.28
STRIP_IN = 0.9
_EDGE_IN = 0.15
_INDENT_POINTS = 11.0
_DEEPEST = 8  # levels of indentation
_MOST_LEVELS = 6  # of nested coroutines
_END_POINTS = 16.0  # room for an end mark right of the last bar
_ARROW_ROWS = 20  # with more, wakes would hide the bars
_MOST_ARROWS = 400


def draw_page(trace: Trace, rows: Sequence[Row], coroutines: bool) -> Figure:
    """Return a figure of its own for `rows`."""
    slices = coroutine_slices(trace) if coroutines else {}
    places = _places(trace, rows, slices)
    labels = [_indent(row) + text_width(elided(row.label, 40), MEDIUM) for row in rows]
    tags = [text_width(elided(row.place, 28), SMALL) for row in rows]
    left_in = _EDGE_IN + max(label + (tag + 12 if tag else 0) for label, tag in zip(labels, tags, strict=True)) / 72
    left_in = max(left_in + 0.12, 1.25)
    axes_in = WIDTH_IN - left_in - _EDGE_IN - 0.1
    notes = notes_of(trace, axes_in * 72, _span_s(trace) * (1 + _END_POINTS / (axes_in * 72)))
    lines = footer_lines(trace, _own_notes(slices), 150)
    legend_in, footer_in = 0.34, 0.17 * len(lines) + 0.12
    notes_in = LINE_IN * max((note.line + 1 for note in notes), default=0) + (0.08 if notes else 0.0)
    rows_in = places.height * ROW_IN
    top_in = 0.5
    height_in = top_in + STRIP_IN + 0.12 + notes_in + rows_in + 0.52 + legend_in + footer_in

    figure = Figure(figsize=(WIDTH_IN, height_in), facecolor="white")

    def place(bottom_in: float, tall_in: float) -> tuple[float, float, float, float]:
        return left_in / WIDTH_IN, bottom_in / height_in, axes_in / WIDTH_IN, tall_in / height_in

    strip = figure.add_axes(place(height_in - top_in - STRIP_IN, STRIP_IN))
    ax = figure.add_axes(place(footer_in + legend_in + 0.52, rows_in))
    for each in (strip, ax):
        _frame(each, trace)
    noun = "task" if any(not task.is_internal for task in trace.tasks) else "thread"
    format_time_axis(strip, _span_s(trace), since=None)
    draw_strip(strip, trace, noun)
    _draw_body(ax, trace, rows, places, slices)
    _draw_labels(ax, rows, places, left_in)
    draw_notes(ax, strip, notes, places)
    threads = sum(row.kind == "thread" for row in rows)
    figure.text(
        _EDGE_IN / WIDTH_IN,
        1 - 0.16 / height_in,
        headline(trace, threads),
        size=TITLE,
        weight="bold",
        family=FONT,
        color=TEXT,
        va="top",
        parse_math=False,
    )
    draw_legend(
        ax,
        places.present,
        extra=places.extra,
        bbox_to_anchor=(left_in / WIDTH_IN, (footer_in + legend_in - 0.04) / height_in),
        bbox_transform=figure.transFigure,
    )
    for index, line in enumerate(lines):
        y = (footer_in - 0.17 * index - 0.04) / height_in
        figure.text(_EDGE_IN / WIDTH_IN, y, line, size=SMALL, family=FONT, color=GREY_TEXT, va="top", parse_math=False)
    return figure


def draw_into(ax: Axes, trace: Trace, rows: Sequence[Row], coroutines: bool) -> Figure:
    """Draw `rows` into `ax` and return its figure; the labels are its y ticks, so layout engines make room for them."""
    slices = coroutine_slices(trace) if coroutines else {}
    places = _places(trace, rows, slices)
    _frame(ax, trace)
    _draw_body(ax, trace, rows, places, slices)
    ax.set_yticks(places.middles, [_tick(row) for row in rows], family=FONT, size=SMALL, color=TEXT, parse_math=False)
    ax.set_title(
        headline(trace, sum(row.kind == "thread" for row in rows)), family=FONT, size=MEDIUM, loc="left", color=TEXT
    )
    draw_legend(ax, places.present, extra=places.extra, loc="upper left", bbox_to_anchor=(0, -45 / _height_points(ax)))
    figure = ax.figure
    while not isinstance(figure, Figure):
        figure = figure.figure
    return figure


def _places(trace: Trace, rows: Sequence[Row], slices: dict[Task, list[Slice]]) -> RowPlaces:
    heights: list[float] = []
    for row in rows:
        inside = slices.get(row.tasks[0], []) if row.kind == "task" else []
        levels = min(_MOST_LEVELS, max((piece.level + 1 for piece in inside), default=0))
        heights.append(1.0 + levels * SLICE_STEP + (0.1 if levels else 0.0))
    tops = [0.0, *accumulate(heights)]
    return RowPlaces(trace.start_ns, [top + 0.5 for top in tops[:-1]], tops[-1])


def _frame(ax: Axes, trace: Trace) -> None:
    width = float(ax.get_window_extent().width * 72 / ax.figure.dpi)
    ax.set_xlim(0, _span_s(trace) / max(0.5, 1 - _END_POINTS / width))
    for side in ("top", "right"):
        ax.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        ax.spines[side].set_color("#8A8A8A")


def _draw_body(ax: Axes, trace: Trace, rows: Sequence[Row], places: RowPlaces, slices: dict[Task, list[Slice]]) -> None:
    ax.set_ylim(places.height, 0)
    ax.set_yticks([])
    format_time_axis(ax, _span_s(trace))
    tops = [middle - 0.5 for middle in places.middles]
    for top, bottom in list(zip(tops, [*tops[1:], places.height], strict=True))[1::2]:
        # Every other row is shaded, to lead the eye from the label to its bars.
        ax.axhspan(top, bottom, color="#F5F5F5", linewidth=0, zorder=0)
    draw_rows(ax, rows, places, task_blockings(trace))
    if slices:
        draw_slices(ax, slices, rows, places, _MOST_LEVELS)
    if len(rows) <= _ARROW_ROWS:
        found = wakes(trace)
        if len(found) <= _MOST_ARROWS:
            draw_wakes(ax, found, rows, places)


def _draw_labels(ax: Axes, rows: Sequence[Row], places: RowPlaces, left_in: float) -> None:
    """Write the labels in a column from the page's edge, indented, and their places right-aligned at the axis."""
    for row, middle in zip(rows, places.middles, strict=True):
        is_note = row.kind == "folded" or (row.kind == "lane" and not row.label)
        ax.annotate(
            elided(row.label, 40),
            (0, middle),
            xycoords=("axes fraction", "data"),
            xytext=(_indent(row) - (left_in - _EDGE_IN) * 72, 0),
            textcoords="offset points",
            va="center_baseline",
            size=MEDIUM,
            family=FONT,
            color=GREY_TEXT if is_note else TEXT,
            parse_math=False,
            annotation_clip=False,
        )
        if row.place:
            ax.annotate(
                elided(row.place, 28),
                (0, middle),
                xycoords=("axes fraction", "data"),
                xytext=(-7, 0),
                textcoords="offset points",
                ha="right",
                va="center_baseline",
                size=SMALL,
                family=FONT,
                color=GREY_TEXT,
                parse_math=False,
                annotation_clip=False,
            )


def _indent(row: Row) -> float:
    return _INDENT_POINTS * min(row.depth, _DEEPEST)


def _tick(row: Row) -> str:
    return "  ".join(part for part in (elided(row.label, 40), elided(row.place, 28)) if part)


def _span_s(trace: Trace) -> float:
    return max(trace.end_ns - trace.start_ns, 1000) / 1e9


def _height_points(ax: Axes) -> float:
    return max(1.0, float(ax.get_window_extent().height * 72 / ax.figure.dpi))


def _own_notes(slices: dict[Task, list[Slice]]) -> tuple[str, ...]:
    deepest = max((piece.level + 1 for pieces in slices.values() for piece in pieces), default=0)
    if deepest <= _MOST_LEVELS:
        return ()
    return (f"Coroutines nest {deepest} levels deep here; {_MOST_LEVELS} are drawn.",)
