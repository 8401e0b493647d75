"""The page of a Gantt chart: title, strip, rows, bands, legend and footer, placed in inches from the top."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from math import ceil

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from asynctrace.analysis.rows import Row
from asynctrace.analysis.slices import Slice, coroutine_slices
from asynctrace.analysis.stretches import task_blockings
from asynctrace.analysis.wakes import wakes
from asynctrace.charts.gantt_bars import SLICE_STEP, RowPlaces, draw_rows, draw_slices, draw_wakes
from asynctrace.charts.gantt_labels import EDGE_IN, column_of, draw_labels, tick_label
from asynctrace.charts.gantt_notes import LINE_IN, draw_notes, notes_of
from asynctrace.charts.gantt_strip import draw_strip
from asynctrace.charts.gantt_text import footer_lines, headline
from asynctrace.charts.looks import GREY_TEXT, TEXT, drawable
from asynctrace.charts.mixing import MIX_NOTE
from asynctrace.charts.style import (
    FONT,
    MEDIUM,
    SMALL,
    TITLE,
    draw_legend,
    format_time_axis,
    legend_entries,
    text_width,
    write,
)
from asynctrace.model.trace import Task, Trace

WIDTH_IN = 12.0
ROW_IN = 0.28
STRIP_IN = 0.9
_TOP_IN = 0.5  # the title
_AXIS_IN = 0.56  # tick labels and the time axis' label
_LINE_IN = 0.18  # of the legend and the footer
_FOOTER_CHARACTERS = 150
_MOST_LEVELS = 6  # of nested coroutines
_END_POINTS = 16.0  # room for an end mark right of the last bar
_ARROW_ROWS = 20  # with more, wakes would hide the bars
_MOST_ARROWS = 400
_LEGEND_POINTS = 44.0  # of an entry besides its text


def draw_page(trace: Trace, rows: Sequence[Row], coroutines: bool) -> Figure:
    """Return a figure of its own for `rows`."""
    slices = coroutine_slices(trace) if coroutines else {}
    places = _places(trace, rows, slices)
    column = column_of(rows)
    left_in = column[0]
    axes_in = WIDTH_IN - left_in - EDGE_IN - 0.1
    rows_in = places.height * ROW_IN
    # What the legend and the footer say depends on what was drawn, so the page's height is set last; the axes' own size
    # never changes.
    figure = Figure(figsize=(WIDTH_IN, rows_in), facecolor="white")
    x, wide = left_in / WIDTH_IN, axes_in / WIDTH_IN
    strip = figure.add_axes((x, 0, wide, STRIP_IN / rows_in), label="strip")
    ax = figure.add_axes((x, 0, wide, 1), label="rows")
    for each in (strip, ax):
        _frame(each, trace)
    format_time_axis(strip, _span_s(trace), since=None)
    format_time_axis(ax, _span_s(trace), since=_beginning(trace))
    ax.set_ylim(places.height, 0)
    ax.set_yticks([])
    draw_strip(strip, trace, "task" if any(not task.is_internal for task in trace.tasks) else "thread")
    _draw_body(ax, trace, rows, places, slices)
    draw_labels(ax, rows, places, column)
    left, right = ax.get_xlim()
    notes = notes_of(trace, axes_in * 72, right - left)
    draw_notes(ax, strip, notes, places)

    lines = footer_lines(trace, _own_notes(places, slices), _FOOTER_CHARACTERS)
    widths = _legend_widths(places)
    legend_left_in = left_in if sum(widths) <= axes_in * 72 else EDGE_IN
    entries = _legend_rows(widths, (WIDTH_IN - EDGE_IN - legend_left_in) * 72)
    notes_in = LINE_IN * max((note.line + 1 for note in notes), default=0) + (0.08 if notes else 0.0)
    footer_in = _LINE_IN * len(lines) + 0.1
    legend_in = _LINE_IN * entries + 0.16
    below_in = _AXIS_IN + legend_in + footer_in
    height_in = _TOP_IN + STRIP_IN + 0.12 + notes_in + rows_in + below_in
    figure.set_size_inches(WIDTH_IN, height_in)
    strip.set_position((x, (height_in - _TOP_IN - STRIP_IN) / height_in, wide, STRIP_IN / height_in))
    ax.set_position((x, below_in / height_in, wide, rows_in / height_in))

    def write_line(text: str, y_in: float, size: float, colour: str, weight: str = "normal") -> None:
        at = EDGE_IN / WIDTH_IN, y_in / height_in
        write(figure, *at, text, size=size, weight=weight, family=FONT, color=colour, va="top")

    threads = sum(row.kind == "thread" for row in rows)
    write_line(headline(trace, threads), height_in - 0.16, TITLE, TEXT, "bold")
    for index, line in enumerate(lines):
        write_line(line, footer_in - 0.02 - _LINE_IN * index, SMALL, GREY_TEXT)
    draw_legend(
        ax,
        places.present,
        extra=places.extra,
        rows=entries,
        bbox_to_anchor=(legend_left_in / WIDTH_IN, (footer_in + legend_in) / height_in),
        bbox_transform=figure.transFigure,
    )
    return figure


def draw_into(ax: Axes, trace: Trace, rows: Sequence[Row], coroutines: bool) -> Figure:
    """Draw `rows` into `ax` and return its figure; the labels are its y ticks, so layout engines make room for them."""
    slices = coroutine_slices(trace) if coroutines else {}
    places = _places(trace, rows, slices)
    figure = ax.figure
    while not isinstance(figure, Figure):
        figure = figure.figure
    ax.set_ylim(places.height, 0)
    ax.set_yticks(
        places.middles, [tick_label(row) for row in rows], family=FONT, size=SMALL, color=TEXT, parse_math=False
    )
    ax.tick_params(axis="y", length=0)
    title = headline(trace, sum(row.kind == "thread" for row in rows))
    ax.set_title(drawable(title), family=FONT, size=MEDIUM, loc="left", color=TEXT, parse_math=False)
    _frame(ax, trace)
    format_time_axis(ax, _span_s(trace), since=_beginning(trace))
    if figure.get_layout_engine() is not None:
        # What fits into a bar depends on the width that the engine leaves.
        figure.draw_without_rendering()
        _frame(ax, trace)
    _draw_body(ax, trace, rows, places, slices)
    box = ax.get_window_extent()
    to_points = 72 / ax.figure.dpi
    count = _legend_rows(_legend_widths(places), box.width * to_points)
    below = -42 / max(1.0, box.height * to_points)
    draw_legend(ax, places.present, extra=places.extra, rows=count, bbox_to_anchor=(0, below))
    return figure


def _places(trace: Trace, rows: Sequence[Row], slices: dict[Task, list[Slice]]) -> RowPlaces:
    heights: list[float] = []
    for row in rows:
        inside = slices.get(row.tasks[0], []) if row.kind == "task" else []
        levels = min(_MOST_LEVELS, max((piece.level + 1 for piece in inside), default=0))
        heights.append(1.0 + levels * SLICE_STEP + (0.1 if levels else 0.0))
    tops = [0.0, *accumulate(heights)]
    return RowPlaces(trace.start_ns, [top + 0.5 for top in tops[:-1]], tops[-1])


def _beginning(trace: Trace) -> str:
    return "the start of what is kept" if trace.dropped else "the start of the recording"


def _frame(ax: Axes, trace: Trace) -> None:
    width = float(ax.get_window_extent().width * 72 / ax.figure.dpi)
    ax.set_xlim(0, _span_s(trace) / max(0.5, 1 - _END_POINTS / width))
    for side in ("top", "right"):
        ax.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        ax.spines[side].set_color("#8A8A8A")


def _draw_body(ax: Axes, trace: Trace, rows: Sequence[Row], places: RowPlaces, slices: dict[Task, list[Slice]]) -> None:
    tops = [middle - 0.5 for middle in places.middles]
    for top, bottom in list(zip(tops, [*tops[1:], places.height], strict=True))[1::2]:
        # Every other row is shaded, to lead the eye from the label to its bars.
        ax.axhspan(top, bottom, color="#F5F5F5", linewidth=0, zorder=0)
    found = wakes(trace) if len(rows) <= _ARROW_ROWS else []
    if len(found) <= _MOST_ARROWS:
        draw_wakes(ax, found, rows, places)
    draw_rows(ax, rows, places, task_blockings(trace))
    if slices:
        draw_slices(ax, slices, rows, places, _MOST_LEVELS)


def _legend_widths(places: RowPlaces) -> list[float]:
    """Return how wide each entry of the legend is, in points."""
    entries = [*legend_entries(places.present), *places.extra]
    return [_LEGEND_POINTS + text_width(str(entry.get_label()), SMALL) for entry in entries]


def _legend_rows(widths: Sequence[float], room: float) -> int:
    """Return in how many rows a legend fits into `room` points: its columns are as wide as their widest entry."""
    for count in range(1, len(widths) + 1):
        columns = ceil(len(widths) / count)
        if sum(max(widths[column::columns]) for column in range(columns)) <= room:
            return count
    return max(1, len(widths))


def _span_s(trace: Trace) -> float:
    return max(trace.end_ns - trace.start_ns, 1000) / 1e9


def _own_notes(places: RowPlaces, slices: dict[Task, list[Slice]]) -> tuple[str, ...]:
    notes: list[str] = []
    if places.has_mixes:
        notes.append(MIX_NOTE)
    deepest = max((piece.level + 1 for pieces in slices.values() for piece in pieces), default=0)
    if deepest > _MOST_LEVELS:
        notes.append(f"Coroutines nest {deepest} levels deep here; {_MOST_LEVELS} are drawn.")
    return tuple(notes)
