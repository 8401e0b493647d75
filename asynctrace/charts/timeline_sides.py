"""What is around the rows of the interactive page: names, the overview above, a scrollbar. Imports Bokeh."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import Any

import numpy as np
from bokeh.models import (
    Column,
    ColumnDataSource,
    CustomJS,
    HoverTool,
    PanTool,
    Range1d,
    RangeTool,
    Spacer,
    TapTool,
    WheelPanTool,
)

from asynctrace.analysis.counts import state_counts
from asynctrace.charts.looks import GREY_TEXT, LOOKS, TEXT, StateName
from asynctrace.charts.thinning import thinned
from asynctrace.charts.timeline_bars import Bars
from asynctrace.charts.timeline_base import BELOW_PX, STRIP_PX, TEXT_SIZE, TIP_STYLE, file_text, plain_plot
from asynctrace.charts.timeline_rows import PageRow, told, told_of_thread
from asynctrace.model.trace import Task, Trace

NAMES_PX = 250
_SCROLLBAR_PX = 14
_PLACE_CHARACTERS = 36  # of a name and its place side by side
_NAME_TIP = f'<div style="{TIP_STYLE}"><b>@label</b>\n@place\n@detail</div>'


def row_source_of(rows: Sequence[PageRow], tasks: Mapping[Task, int]) -> tuple[ColumnDataSource, ColumnDataSource]:
    """Return the rows as columns, and the numbers of their tasks, those of all rows one after the other."""
    members = [[tasks[task] for task in row.tasks] for row in rows]
    groups = [row.kind in ("head", "crowd") for row in rows]
    opened = dict.fromkeys((row.group for row in rows if row.kind == "lane"), True)
    columns = {
        "label": [row.label for row in rows],
        "place": [row.place for row in rows],
        "shown": [row.label for row in rows],
        # Where both have room: the place is told under the pointer, too.
        "shown_place": [
            row.place if 2 * row.depth + len(row.label) + len(row.place) <= _PLACE_CHARACTERS else "" for row in rows
        ],
        "detail": [_detail(row) for row in rows],
        "search": [f"{row.label} {row.place}".lower() for row in rows],
        "shade": ["#FFFFFF" for _ in rows],
        "indent": np.array([4 + 11 * row.depth for row in rows], dtype=np.float32),
        "group": np.array([row.group for row in rows], dtype=np.int32),
        "height": np.array([row.height for row in rows], dtype=np.float32),
        "is_group": np.array(
            [is_group and row.group in opened for row, is_group in zip(rows, groups, strict=True)], dtype=np.uint8
        ),
        "is_lane": np.array([row.kind == "lane" for row in rows], dtype=np.uint8),
        "is_open": np.array([row.is_open for row in rows], dtype=np.uint8),
        "first_member": np.array([0, *accumulate(map(len, members))][:-1], dtype=np.int32),
        "weight": ["bold" if is_group else "normal" for is_group in groups],
        "middle": np.full(len(rows), np.nan),
        "top": np.full(len(rows), np.nan),
        "bottom": np.full(len(rows), np.nan),
    }
    numbers = np.array([number for row in members for number in row], dtype=np.int32)
    return ColumnDataSource(columns, name="rows"), ColumnDataSource({"task": numbers}, name="members")


def _detail(row: PageRow) -> str:
    if row.row is not None:
        return told_of_thread(row.row)
    return told(row.tasks) if row.tasks else ""


def names_plot(source: ColumnDataSource, row_range: Range1d) -> Any:
    names = plain_plot(
        x_range=Range1d(0, 1),
        y_range=row_range,
        width=NAMES_PX,
        sizing_mode="stretch_height",
        min_border_bottom=BELOW_PX,
        name="names",
    )
    ground = names.quad(left=0, right=1, top="top", bottom="bottom", source=source, line_color=None, fill_color="shade")
    ground.selection_glyph = ground.nonselection_glyph = None
    size = {"text_font_size": TEXT_SIZE, "text_baseline": "middle", "source": source}
    written = [
        names.text(x=0, y="middle", text="shown", x_offset="indent", text_color=TEXT, **size),
        names.text(
            x=1,
            y="middle",
            text="shown_place",
            name="places",
            x_offset=-8,
            text_color=GREY_TEXT,
            text_align="right",
            **size,
        ),
    ]
    for renderer in written:
        renderer.nonselection_glyph = renderer.selection_glyph = None
    tap = TapTool(renderers=[ground])
    wheel = WheelPanTool(dimension="height")
    drag = PanTool(dimensions="height")
    names.add_tools(tap, wheel, drag, HoverTool(renderers=[ground], tooltips=_NAME_TIP))
    # A second click soon after the first, be it on another name, is no tap to Bokeh.
    names.js_on_event("doubletap", CustomJS(args={"rows": source}, code=file_text("timeline_again.js")))
    names.toolbar.active_scroll = wheel
    names.toolbar.active_drag = drag
    return names


def overview_plot(trace: Trace, bars: Bars, time_range: Range1d, span: float) -> Any:
    """Return the overview: how many were running, ready and waiting, over the whole time, and a box to move."""
    staircase = state_counts(trace)
    edges, means, highest = thinned(staircase, trace.end_ns, 1000)
    times = np.array([bars.x(edge) for edge in edges])
    peak = max(1.0, float(highest.max()))
    strip = plain_plot(
        x_range=Range1d(0, span * 1.01), y_range=Range1d(0, peak * 1.35), height=STRIP_PX, sizing_mode="stretch_width"
    )
    low = np.zeros(len(times))
    states: tuple[StateName, ...] = ("running", "ready", "waiting")
    for state, mean in zip(states, means, strict=True):
        high = low + np.append(mean, mean[-1])
        strip.varea_step(x=times, y1=low, y2=high, step_mode="after", fill_color=LOOKS[state].face)
        low = high
    strip.step(x=times, y=np.append(highest, highest[-1]), mode="after", line_color=LOOKS["waiting"].edge)
    noun = "tasks" if any(not task.is_internal for task in trace.tasks) else "threads"
    strip.text(
        x=[0],
        y=[peak * 1.35],
        text=[f"{noun} at a time: up to {int(highest.max()):,}"],
        x_offset=4,
        y_offset=2,
        text_baseline="top",
        text_font_size=TEXT_SIZE,
        text_color=GREY_TEXT,
    )
    tool = RangeTool(x_range=time_range)
    # What is not below is shaded, so that what is has its colours.
    tool.overlay.inverted = True
    tool.overlay.fill_color = LOOKS["waiting"].edge
    tool.overlay.fill_alpha = 0.2
    strip.add_tools(tool)
    return strip


def scrollbar_of(all_rows: Range1d, row_range: Range1d) -> Any:
    """Return a narrow plot of all rows' height, with a box that stands for those that can be seen."""
    bar = plain_plot(
        x_range=Range1d(0, 1),
        y_range=all_rows,
        width=_SCROLLBAR_PX,
        sizing_mode="stretch_height",
        min_border_bottom=BELOW_PX,
        background_fill_color="#F5F5F5",
    )
    tool = RangeTool(y_range=row_range)
    tool.overlay.fill_color = LOOKS["waiting"].edge
    tool.overlay.fill_alpha = 0.5
    tool.overlay.line_color = None
    bar.add_tools(tool)
    return Column(Spacer(height=STRIP_PX), bar, sizing_mode="stretch_height", visible=False, name="scrollbar")
