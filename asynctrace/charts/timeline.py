"""The interactive page of a trace: one HTML file that asks for nothing else. Bokeh is imported when a page is made."""

from __future__ import annotations

from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING

from asynctrace.charts.gantt import NOTHING_RAN
from asynctrace.errors import AsynctraceError, MissingPackageError
from asynctrace.model.trace import Task, Trace
from asynctrace.replacing import replacing

if TYPE_CHECKING:
    from asynctrace.charts.timeline_bars import Bars
    from asynctrace.charts.timeline_rows import PageRow

PAGE_SUFFIX = ".html"
GENERATOR = b'<meta name="generator" content="asynctrace '  # near the beginning of each page: it is ours
MOST_BARS = 100_000
_FOLDED_NOTE = "More tasks ran at the same time than a browser can draw: of the largest groups only the sum is shown."
_FINEST = (0, 50_000, 10_000, 4_000, 2_000, 1_000)  # parts of the whole time
_CROWDED = 300  # parts of the whole time: what is shorter is a few pixels at first, and slivers would cover it
_MOST_LANES = (20_000, 2_000, 200, 20)


def write_timeline(trace: Trace, path: str | PathLike[str]) -> None:
    """Write the page to `path`, whole or not at all.

    Raises:
        AsynctraceError: If nothing ran, or the file cannot be written.
        MissingPackageError: If Bokeh is not installed.
    """
    page = timeline_html(trace).encode("utf-8")
    with replacing(Path(path)) as file:
        file.write(page)


def timeline_html(trace: Trace) -> str:
    """Return the page: the tasks and threads of a trace, to zoom, move, search and fold.

    Raises:
        AsynctraceError: If nothing ran.
        MissingPackageError: If Bokeh is not installed.
    """
    require_bokeh()
    from asynctrace.charts.mixing import MIX_NOTE
    from asynctrace.charts.timeline_figure import make_timeline
    from asynctrace.charts.timeline_page import page_of

    tasks, rows, bars, is_short = _content(trace)
    if not rows:
        raise AsynctraceError(NOTHING_RAN)
    notes = [MIX_NOTE] if bars.has_mixes else []
    if is_short:
        notes.append(_FOLDED_NOTE)
    return page_of(trace, make_timeline(trace, rows, bars, tasks), sum(row.row is not None for row in rows), notes)


def require_bokeh() -> None:
    """Raise MissingPackageError when Bokeh cannot be imported."""
    try:
        import bokeh  # noqa: F401  # only whether it is there
    except ImportError as error:
        raise MissingPackageError("the interactive page needs bokeh: install it (pip install bokeh)") from error


def _content(trace: Trace) -> tuple[dict[Task, int], list[PageRow], Bars, bool]:
    """Return what the page holds: every state of every task, or as much of it as a browser can draw."""
    from asynctrace.analysis.rows import task_labels
    from asynctrace.charts.timeline_bars import Bars
    from asynctrace.charts.timeline_rows import page_rows

    tasks = [task for task in trace.tasks if not task.is_internal]
    numbers = {task: number for number, task in enumerate(tasks)}
    labels = task_labels(tasks)
    span_ns = max(trace.end_ns - trace.start_ns, 1000)
    for most_lanes in _MOST_LANES:
        rows = page_rows(trace, most_lanes)
        for parts in _FINEST:
            bars = Bars(trace, labels, numbers, span_ns / parts if parts else 0.0, span_ns / _CROWDED)
            for number, row in enumerate(rows):
                bars.add_row(number, row)
                if bars.count > MOST_BARS:
                    break
            else:
                return numbers, rows, bars, most_lanes < _MOST_LANES[0]
    return numbers, rows, bars, True
