"""The Gantt chart of a trace: `draw_gantt`. matplotlib is imported when a chart is drawn, not before."""

from __future__ import annotations

from os import PathLike
from typing import TYPE_CHECKING

from asynctrace.charts.output import chart_settings, figure_png, picture_path, require_matplotlib, write_figure
from asynctrace.errors import AsynctraceError
from asynctrace.model.trace import Trace

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

NOTHING_RAN = "no coroutine ran: was main() called without awaiting it?"


def draw_gantt(
    trace: Trace, path: str | PathLike[str] | None = None, *, ax: Axes | None = None, coroutines: bool = False
) -> Figure:
    """Draw when each task and thread of a trace was running, ready and waiting.

    Args:
        trace: Any trace.
        path: Where to write the picture (.png, .svg or .pdf), or None.
        ax: A matplotlib Axes to draw the rows into, without the strip above them; None for a figure of our own.
        coroutines: Whether to draw the nested coroutines inside each task's row.

    Returns:
        The figure; that of `ax` when it is given.

    Raises:
        AsynctraceError: If nothing ran.
        UsageError: If the suffix of `path` is not a picture's.
        MissingPackageError: If matplotlib is not installed.
    """
    if path is not None:
        picture_path(path)
    require_matplotlib("a Gantt chart")
    from asynctrace.analysis.rows import gantt_rows
    from asynctrace.charts.gantt_page import draw_into, draw_page

    rows = gantt_rows(trace)
    if not rows:
        raise AsynctraceError(NOTHING_RAN)
    with chart_settings():
        figure = draw_page(trace, rows, coroutines) if ax is None else draw_into(ax, trace, rows, coroutines)
    if path is not None:
        write_figure(figure, path)
    return figure


def gantt_png(trace: Trace) -> bytes | None:
    """Return the Gantt chart as a PNG for a notebook; None without anything to draw, or to draw with."""
    try:
        return figure_png(draw_gantt(trace))
    except AsynctraceError:
        return None  # the notebook shows the trace's repr instead
