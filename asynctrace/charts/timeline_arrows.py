"""The arrow of the interactive page, from what woke a task to the bar under the pointer. Imports Bokeh.

Only that one: the arrows of all wakes would cover what they are of.
"""

from __future__ import annotations

from typing import Any

from bokeh.models import ColumnDataSource, CustomJS

from asynctrace.charts.looks import TEXT, StateName
from asynctrace.charts.timeline_base import file_text

# The column that has when a task was woken: at the end of a wait, at the beginning of being ready.
_WHEN: dict[StateName, str] = {"waiting": "right", "ready": "left", "running": "woken"}


def draw_arrow(plot: Any, rows: ColumnDataSource) -> dict[StateName, CustomJS]:
    """Add the arrow, which is nowhere at first; return what places it when the pointer is on a bar, by state."""
    source = ColumnDataSource({"x": [], "begin": [], "end": [], "marker": []}, name="arrows")
    place = {"x0": "x", "x1": "x", "y0": "begin", "y1": "end", "source": source, "level": "overlay"}
    plot.segment(**place, line_color="white", line_width=4, line_alpha=0.9)
    plot.segment(**place, line_color=TEXT, line_width=1.6)
    style = {"source": source, "level": "overlay", "fill_color": TEXT, "line_color": "white"}
    plot.scatter(x="x", y="begin", marker="circle", size=8, **style)
    plot.scatter(x="x", y="end", marker="marker", size=11, **style)
    code = file_text("timeline_wake.js")
    arguments = {"arrows": source, "rows": rows, "plot": plot, "range": plot.y_range}
    return {state: CustomJS(args={**arguments, "at": column}, code=code) for state, column in _WHEN.items()}
