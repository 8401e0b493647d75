"""The interactive page's plots and what is above them, wired up. Imports Bokeh."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from bokeh.models import (
    Button,
    Column,
    ColumnDataSource,
    CustomJS,
    Div,
    LayoutDOM,
    Range1d,
    Row,
    Spacer,
    TextInput,
)

from asynctrace.analysis.row_names import visible
from asynctrace.charts.looks import GRID, TEXT
from asynctrace.charts.timeline_bars import span_s
from asynctrace.charts.timeline_base import BELOW_PX, STRIP_PX, TEXT_SIZE, file_text, plain_plot
from asynctrace.charts.timeline_content import Content
from asynctrace.charts.timeline_glyphs import draw_moments, draw_rows, write_awaited_into
from asynctrace.charts.timeline_sides import names_plot, overview_plot, row_source_of, scrollbar_of
from asynctrace.model.trace import Task, Trace


@dataclass(frozen=True, slots=True)
class Timeline:
    """What the page shows: the layout, what lays its rows out at first, and the states and outcomes that occur."""

    layout: LayoutDOM
    at_first: CustomJS
    present: frozenset[str]


def make_timeline(trace: Trace, content: Content) -> Timeline:
    """Return the plots for what a page holds."""
    rows, bars, tasks = content.rows, content.bars, content.tasks
    span = bars.x(trace.start_ns + span_s(trace) * 1e9)
    time_range = Range1d(0, span * 1.01, bounds=(-span * 0.01, span * 1.02), min_interval=span * 1e-7)
    row_range = Range1d(20, 0)
    row_source, members = row_source_of(rows, tasks)
    plot = plain_plot(
        name="bars",
        output_backend="webgl",
        x_range=time_range,
        y_range=row_range,
        sizing_mode="stretch_both",
    )
    words = ColumnDataSource({"text": bars.words.texts}, name="words")
    names = names_plot(row_source, row_range)
    present = draw_rows(plot, row_source, bars, words)
    draw_moments(plot, trace, bars)
    _style_time(plot)
    write_awaited = None
    if "waiting" in present:
        write_awaited = write_awaited_into(plot, present["waiting"].data_source, words)
    strip = overview_plot(trace, bars, time_range, span)
    all_rows = Range1d(20, 0)
    scrollbar = scrollbar_of(all_rows, row_range)

    search = TextInput(placeholder="search: name, file, …", width=180, name="search", margin=(0, 8, 4, 0))
    told_found = Div(
        text="", width=130, name="found", disable_math=True, margin=(0, 0, 4, 4), styles={"line-height": "28px"}
    )
    task_source = ColumnDataSource({"search": [_searched(task) for task in tasks]}, name="tasks")
    layout_code = file_text("timeline_layout.js")

    def on(action: str) -> CustomJS:
        arguments = {
            "action": action,
            "rows": row_source,
            "members": members,
            "bars": [renderer.data_source for renderer in present.values()],
            "tasks": task_source,
            "search": search,
            "told": told_found,
            "plot": plot,
            "range": row_range,
            "all_rows": all_rows,
            "scrollbar": scrollbar,
            "write_awaited": write_awaited,
            "names": names,
            "places": names.select_one({"name": "places"}),
            "axis": plot.xaxis[0],
            "labels": [f"{bars.unit} since the start of {_beginning(trace)}", bars.unit],
        }
        return CustomJS(args=arguments, code=layout_code)

    laid_out = on("layout")
    search.js_on_change("value_input", on("search"))
    row_source.selected.js_on_change("indices", on("toggle"))
    plot.js_on_change("inner_height", laid_out)
    tools: list[LayoutDOM] = [search]
    if any(row.kind in ("head", "crowd") for row in rows):
        for action in ("fold", "unfold"):
            button = Button(label=f"{action} all", width=84, name=action, margin=(0, 8, 4, 0))
            button.js_on_event("button_click", on(action))
            tools.append(button)
    whole = Button(label="whole time", width=92, name="whole", margin=(0, 8, 4, 0))
    whole.js_on_event(
        "button_click", CustomJS(args={"time": time_range}, code=f"time.setv({{start: 0, end: {span * 1.01!r}}})")
    )
    tools.append(whole)
    left = Column(Spacer(height=STRIP_PX), names, sizing_mode="stretch_height")
    right = Column(strip, plot, sizing_mode="stretch_both")
    return Timeline(
        Column(
            Row(*tools, told_found, sizing_mode="stretch_width", styles={"flex-wrap": "wrap"}),
            Row(left, right, scrollbar, sizing_mode="stretch_both"),
            sizing_mode="stretch_both",
        ),
        laid_out,
        frozenset({*present, *bars.outcomes}),
    )


def _style_time(plot: Any) -> None:
    axis = plot.xaxis[0]
    axis.visible = True
    axis.formatter.use_scientific = False
    axis.axis_label_text_font_style = "normal"
    axis.axis_label_text_color = axis.major_label_text_color = TEXT
    axis.major_label_text_font_size = TEXT_SIZE
    axis.axis_line_color = axis.major_tick_line_color = "#8A8A8A"
    axis.minor_tick_line_color = None
    plot.min_border_bottom = BELOW_PX
    plot.xgrid.visible = True
    plot.xgrid.grid_line_color = GRID


def _beginning(trace: Trace) -> str:
    return "what is kept" if trace.dropped else "the recording"


def _searched(task: Task) -> str:
    parts = [task.label, task.name, task.file.rpartition("/")[2], task.outcome, task.error or ""]
    return visible(" ".join(parts)).lower()
