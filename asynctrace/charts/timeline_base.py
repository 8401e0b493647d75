"""What the interactive page's plots have in common. Imports Bokeh."""

from __future__ import annotations

from importlib.resources import files
from typing import Any

from bokeh.models import InlineStyleSheet
from bokeh.plotting import figure

STRIP_PX = 74
BELOW_PX = 48  # the time axis
TEXT_SIZE = "12px"  # 9 points: nothing is smaller
# The styles are here, for what is inside Bokeh's elements has no part in the page's own.
TIP_STYLE = "white-space: pre-line; overflow-wrap: anywhere; max-width: min(420px, 45vw); font-size: 12px"


def plain_plot(**options: Any) -> Any:
    # A click would put a dotted frame around the plot: it has the keyboard's focus, of which it makes no use.
    style = InlineStyleSheet(css=".bk-Canvas { --outline-style: none; }")
    plot = figure(
        tools="", toolbar_location=None, outline_line_color=None, min_border=0, stylesheets=[style], **options
    )
    plot.grid.visible = False
    plot.axis.visible = False
    return plot


def file_text(name: str) -> str:
    """Return a script or page that lies beside this module."""
    return files("asynctrace.charts").joinpath(name).read_text(encoding="utf-8")
