"""What is written between the strip and the rows: the steps that held the loop, and the user's own marks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes

from asynctrace.analysis.holding import holding_steps
from asynctrace.analysis.row_names import short_name
from asynctrace.charts.gantt_bars import RowPlaces
from asynctrace.charts.looks import GREY_TEXT, LOOKS, TEXT, duration_text, elided
from asynctrace.charts.style import FONT, SLIVER_POINTS, SMALL, points_to_x, text_width, write_beside
from asynctrace.model.trace import Trace

LINE_IN = 0.17
_MOST_BANDS = 3
_MOST_MARKS = 20
_MOST_LINES = 3


@dataclass(frozen=True, slots=True)
class Note:
    """A text over a moment or a band: `middle_s` is where its middle is, `line` counts upwards from the rows."""

    text: str
    start_s: float
    end_s: float
    middle_s: float
    line: int
    is_mark: bool


def notes_of(trace: Trace, width_points: float, span_s: float) -> list[Note]:
    """Return what to write, placed so that no two texts overlap: the longest holding steps first, then marks.

    Args:
        trace: The trace.
        width_points: How wide the axes are on the page.
        span_s: How many seconds that is.
    """
    wanted: list[tuple[str, float, float, bool]] = []
    for held in holding_steps(trace, most=_MOST_BANDS, with_woken=True):
        text = f"{elided(short_name(held.name), 40)} {duration_text(held.end_ns - held.start_ns)}, {held.consequence}"
        wanted.append((text, (held.start_ns - trace.start_ns) / 1e9, (held.end_ns - trace.start_ns) / 1e9, False))
    if len(trace.marks) <= _MOST_MARKS:
        for mark in trace.marks:
            at = (mark.time_ns - trace.start_ns) / 1e9
            wanted.append((elided(mark.text, 40), at, at, True))
    per_point = span_s / width_points
    taken: list[list[tuple[float, float]]] = [[] for _ in range(_MOST_LINES)]
    placed: list[Note] = []
    for text, start, end, is_mark in wanted:
        half = (text_width(text, SMALL) / 2 + 4) * per_point
        middle = min(max((start + end) / 2, half), span_s - half)
        for line, others in enumerate(taken):
            if all(middle + half <= low or middle - half >= high for low, high in others):
                others.append((middle - half, middle + half))
                placed.append(Note(text, start, end, middle, line, is_mark))
                break
        else:
            placed.append(Note("", start, end, middle, 0, is_mark))  # the band or line stays, without words
    return placed


def draw_notes(ax: Axes, strip: Axes, notes: Sequence[Note], places: RowPlaces) -> None:
    """Draw the bands and marks through the rows and the strip, and the texts between the two."""
    colour = LOOKS["blocking"].face
    for note in notes:
        for each in (ax, strip):
            if note.is_mark:
                each.axvline(note.start_s, color=GREY_TEXT, linewidth=0.8, linestyle=(0, (1, 2)), zorder=1.2)
            else:
                end = max(note.end_s, note.start_s + points_to_x(ax, SLIVER_POINTS))
                each.axvspan(note.start_s, end, facecolor=colour, alpha=0.13, linewidth=0, zorder=1.0)
        if note.text:
            write_beside(
                ax,
                note.text,
                (note.middle_s, 0),
                (0, 3 + note.line * LINE_IN * 72),
                ha="center",
                va="bottom",
                size=SMALL,
                family=FONT,
                color=TEXT if not note.is_mark else GREY_TEXT,
                style="italic" if note.is_mark else "normal",
                zorder=4,
            )
