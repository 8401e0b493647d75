"""The interactive page of a trace: one HTML file that asks for nothing else. Bokeh is imported when a page is made."""

from __future__ import annotations

import re
from os import PathLike
from pathlib import Path

from asynctrace.charts.gantt import NOTHING_RAN
from asynctrace.errors import AsynctraceError, MissingPackageError
from asynctrace.model.trace import Trace
from asynctrace.replacing import replacing

PAGE_SUFFIX = ".html"
GENERATOR = b'<meta name="generator" content="asynctrace '  # near the beginning of each page: it is ours
_OLDEST_BOKEH = (3, 8)
_SHORT_NOTE = (
    "More ran here than a browser can draw: of the largest groups only the first lanes are shown, and the sum of all."
)


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
    from asynctrace.charts.timeline_content import page_content
    from asynctrace.charts.timeline_figure import make_timeline
    from asynctrace.charts.timeline_page import page_of

    content = page_content(trace)
    if not content.rows:
        raise AsynctraceError(NOTHING_RAN)
    notes = [MIX_NOTE] if content.bars.has_mixes else []
    if content.is_short:
        notes.append(_SHORT_NOTE)
    threads = sum(row.row is not None for row in content.rows)
    return page_of(trace, make_timeline(trace, content), threads, notes)


def require_bokeh() -> None:
    """Raise MissingPackageError when Bokeh cannot be imported, or is too old: such put names into a page as HTML."""
    try:
        import bokeh
    except ImportError as error:
        raise MissingPackageError("the interactive page needs bokeh: install it (pip install bokeh)") from error
    version = str(bokeh.__version__)
    if tuple(map(int, re.findall(r"\d+", version)[:2])) < _OLDEST_BOKEH:
        raise MissingPackageError(f"the interactive page needs bokeh 3.8 or later, not {version}: pip install -U bokeh")
