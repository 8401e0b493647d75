"""The interactive page's plots: names, bars, and the overview above them. Imports Bokeh."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from itertools import accumulate
from typing import Any

import numpy as np
from bokeh.core.properties import value
from bokeh.models import (
    Button,
    Column,
    ColumnDataSource,
    CustomJS,
    CustomJSHover,
    Div,
    GlyphRenderer,
    HoverTool,
    LayoutDOM,
    PanTool,
    Range1d,
    RangeTool,
    ResetTool,
    Row,
    SaveTool,
    Spacer,
    TapTool,
    TextInput,
    WheelPanTool,
    WheelZoomTool,
)
from bokeh.plotting import figure

from asynctrace.analysis.counts import state_counts
from asynctrace.analysis.holding import holding_steps
from asynctrace.analysis.row_names import visible
from asynctrace.charts.looks import GREY_TEXT, GRID, LOOKS, TEXT, StateName
from asynctrace.charts.thinning import thinned
from asynctrace.charts.timeline_bars import Bars, Columns, span_s
from asynctrace.charts.timeline_rows import PageRow, told, told_of_thread
from asynctrace.model.trace import Task, Trace

NAMES_PX = 250
STRIP_PX = 74
_SCROLLBAR_PX = 14
_BELOW_PX = 48  # the time axis
_MOST_BANDS = 3
_MOST_MARKS = 50
_SLIVER_PX = 1.5
_PLACE_CHARACTERS = 38  # of a name and its place side by side
_HATCHES = {"////": "right_diagonal_line", "xx": "diagonal_cross", "....": "dot"}
_MARKERS = {"raised": "x", "cancelled": "circle_x", "unfinished": "triangle"}
_BEFORE_AWAITED = {"waiting": "for", "blocking": "in", "running": "", "ready": "", "starting": ""}
_PLACE = {"left": "left", "right": "right", "top": "top", "bottom": "bottom"}
_FADED = {"fill_alpha": "alpha", "line_alpha": "alpha"}
_UNITS = {"seconds": "s", "milliseconds": "ms", "microseconds": "µs"}
# The styles are here, for what is inside Bokeh's elements has no part in the page's own.
_TIP_STYLE = "white-space: pre-line; overflow-wrap: anywhere; max-width: min(420px, 45vw); font-size: 12px"
_TIP = f'<div style="{_TIP_STYLE}"><b>@{{title}}{{custom}}</b>\n@{{state}}{{custom}}</div>'
_NAME_TIP = f'<div style="{_TIP_STYLE}"><b>@label</b>\n@place\n@detail</div>'


@dataclass(frozen=True, slots=True)
class Timeline:
    """What the page shows: the layout, what lays its rows out at first, and the states and outcomes that occur."""

    layout: LayoutDOM
    at_first: CustomJS
    present: frozenset[str]


def make_timeline(trace: Trace, rows: Sequence[PageRow], bars: Bars, tasks: Mapping[Task, int]) -> Timeline:
    """Return the plots for `rows`; `tasks` numbers the tasks that are searched."""
    span = bars.x(trace.start_ns + span_s(trace) * 1e9)
    time_range = Range1d(0, span * 1.01, bounds=(-span * 0.01, span * 1.02), min_interval=span * 1e-7)
    row_range = Range1d(20, 0)
    row_source, members = _row_source(rows, tasks)
    plot = _plot(
        name="bars",
        output_backend="webgl",
        x_range=time_range,
        y_range=row_range,
        sizing_mode="stretch_both",
        min_height=240,
    )
    names = _names(row_source, row_range)
    present = _draw_rows(plot, row_source, bars)
    _draw_moments(plot, trace, bars)
    _style_time(plot)
    write_awaited = None
    if "waiting" in present:
        write_awaited = _write_awaited(plot, present["waiting"].data_source, bars.words.texts)
    strip = _strip(trace, bars, time_range, span)
    all_rows = Range1d(20, 0)
    scrollbar = _scrollbar(all_rows, row_range)

    search = TextInput(placeholder="search: name, file, outcome", width=180, name="search", margin=(0, 8, 4, 0))
    told_found = Div(text="", width=110, name="found", disable_math=True, styles={"line-height": "30px"})
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
            button = Button(label=f"{action} all", width=70, name=action, margin=(0, 8, 4, 0))
            button.js_on_event("button_click", on(action))
            tools.append(button)
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


def _plot(**options: Any) -> Any:
    plot = figure(tools="", toolbar_location=None, outline_line_color=None, min_border=0, **options)
    plot.grid.visible = False
    plot.axis.visible = False
    return plot


def _row_source(rows: Sequence[PageRow], tasks: Mapping[Task, int]) -> tuple[ColumnDataSource, list[int]]:
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
        "detail": [told_of_thread(row.row) if row.row is not None else told(row.tasks) for row in rows],
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
    return ColumnDataSource(columns, name="rows"), [number for row in members for number in row]


def _names(source: ColumnDataSource, row_range: Range1d) -> Any:
    names = _plot(
        x_range=Range1d(0, 1),
        y_range=row_range,
        width=NAMES_PX,
        sizing_mode="stretch_height",
        min_border_bottom=_BELOW_PX,
        name="names",
    )
    ground = names.quad(left=0, right=1, top="top", bottom="bottom", source=source, line_color=None, fill_color="shade")
    ground.selection_glyph = ground.nonselection_glyph = None
    size = {"text_font_size": "12px", "text_baseline": "middle", "source": source}
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
            **{**size, "text_font_size": "11px"},
        ),
    ]
    for renderer in written:
        renderer.nonselection_glyph = renderer.selection_glyph = None
    tap = TapTool(renderers=[ground])
    wheel = WheelPanTool(dimension="height")
    drag = PanTool(dimensions="height")
    names.add_tools(tap, wheel, drag, HoverTool(renderers=[ground], tooltips=_NAME_TIP))
    names.toolbar.active_scroll = wheel
    names.toolbar.active_drag = drag
    return names


def _draw_rows(plot: Any, rows: ColumnDataSource, bars: Bars) -> dict[str, GlyphRenderer[Any]]:
    """Draw what the rows hold; return the renderer of each state and of the ends of tasks."""
    ground = plot.hstrip(y0="top", y1="bottom", source=rows, fill_color="shade", line_color=None, level="underlay")
    ground.selection_glyph = ground.nonselection_glyph = None
    present: dict[str, GlyphRenderer[Any]] = {}
    words = bars.words.texts
    for state in sorted(LOOKS, key=lambda state: LOOKS[state].zorder):
        columns = bars.bars[state]
        if not columns:
            continue
        look = LOOKS[state]
        source = ColumnDataSource(_bar_columns(columns, state), name=state)
        hatch: dict[str, Any] = {}
        if look.hatch:
            hatch = {
                "hatch_pattern": _HATCHES[look.hatch],
                "hatch_color": look.edge,
                "hatch_scale": 7,
                "hatch_weight": 1,
            }
        present[state] = plot.quad(
            **_PLACE,
            source=source,
            fill_color=look.face,
            line_color=look.face if look.edge == "none" else look.edge,
            line_width="edge",
            **_FADED,
            **hatch,
        )
        said = CustomJSHover(
            args={
                "source": source,
                "words": words,
                "names": {"awaited": _BEFORE_AWAITED[state]},
                "unit": _UNITS[bars.unit],
            },
            code=file_text("timeline_hover.js"),
        )
        title = CustomJSHover(args={"words": words}, code="return words[value]")
        plot.add_tools(
            HoverTool(
                renderers=[present[state]],
                tooltips=_TIP,
                formatters={"@{title}": title, "@{state}": said},
                point_policy="follow_mouse",
            )
        )
    for name, columns, colour in (
        ("outline", bars.outline, LOOKS["waiting"].edge),
        ("thin", bars.thin, LOOKS["running"].face),
    ):
        if columns:
            source = ColumnDataSource(_bar_columns(columns, "running"), name=name)
            width = _SLIVER_PX if name == "thin" else 0
            present[name] = plot.quad(
                **_PLACE, source=source, fill_color=colour, line_color=colour, line_width=width, **_FADED
            )
    if bars.outcomes:
        present["ends"] = _draw_ends(plot, bars)
    plot.js_on_event("tap", CustomJS(args={"plot": plot}, code=file_text("timeline_tap.js")))
    wheel = WheelZoomTool(dimensions="width", maintain_focus=False)
    scroll = WheelPanTool(dimension="height", modifiers={"shift": True})
    drag = PanTool()
    plot.add_tools(wheel, scroll, drag, ResetTool(), SaveTool())
    plot.toolbar.active_scroll = wheel
    plot.toolbar.active_drag = drag
    return present


def _bar_columns(columns: Columns, state: StateName) -> dict[str, Any]:
    count = len(columns["left"])
    result: dict[str, Any] = {}
    for name, values in columns.items():
        kind = np.float64 if name in ("left", "right", "x") else np.float32 if name in ("low", "high") else np.int32
        if name != "is_fine":
            result[name] = np.array(values, dtype=kind)
    width = _SLIVER_PX if state == "running" else LOOKS[state].edge_points
    fine = np.array(columns.get("is_fine", [0] * count), dtype=bool)
    result["edge"] = np.where(fine, 0, width).astype(np.float32)
    result["top"] = result["bottom"] = np.full(count, np.nan, dtype=np.float32)
    result["bottom"] = result["top"].copy()
    result["alpha"] = np.ones(count, dtype=np.float32)
    return result


def _draw_ends(plot: Any, bars: Bars) -> Any:
    columns = {
        name: np.array(values, dtype=np.float64 if name == "x" else np.float32) for name, values in bars.ends.items()
    }
    count = len(bars.outcomes)
    columns["row"] = columns["row"].astype(np.int32)
    columns["task"] = columns["task"].astype(np.int32)
    extra = {
        "top": np.full(count, np.nan, dtype=np.float32),
        "bottom": np.full(count, np.nan, dtype=np.float32),
        "alpha": np.ones(count, dtype=np.float32),
        "marker": [_MARKERS[outcome] for outcome in bars.outcomes],
        "edge": [LOOKS["blocking"].face if outcome == "raised" else TEXT for outcome in bars.outcomes],
        "angle": np.array([-np.pi / 2 if outcome == "unfinished" else 0.0 for outcome in bars.outcomes]),
    }
    return plot.scatter(
        x="x",
        y="top",
        marker="marker",
        angle="angle",
        size=9,
        fill_color="white",
        fill_alpha="alpha",
        line_color="edge",
        line_width=2,
        line_alpha="alpha",
        source=ColumnDataSource({**columns, **extra}, name="ends"),
    )


def _draw_moments(plot: Any, trace: Trace, bars: Bars) -> None:
    """Draw the steps that held the loop longest as bands, and the user's marks as lines."""
    for held in holding_steps(trace, most=_MOST_BANDS, with_woken=True):
        plot.vstrip(
            x0=[bars.x(held.start_ns)],
            x1=[bars.x(held.end_ns)],
            fill_color=LOOKS["blocking"].face,
            fill_alpha=0.13,
            line_color=None,
            level="underlay",
        )
    if trace.marks:
        times = [bars.x(mark.time_ns) for mark in trace.marks[:_MOST_MARKS]]
        plot.vspan(x=times, line_color=GREY_TEXT, line_dash="dotted", line_width=1)


def _style_time(plot: Any) -> None:
    axis = plot.xaxis[0]
    axis.visible = True
    axis.formatter.use_scientific = False
    axis.axis_label_text_font_style = "normal"
    axis.axis_label_text_color = axis.major_label_text_color = TEXT
    axis.axis_line_color = axis.major_tick_line_color = "#8A8A8A"
    axis.minor_tick_line_color = None
    plot.min_border_bottom = _BELOW_PX
    plot.xgrid.visible = True
    plot.xgrid.grid_line_color = GRID


def _beginning(trace: Trace) -> str:
    return "what is kept" if trace.dropped else "the recording"


def _strip(trace: Trace, bars: Bars, time_range: Range1d, span: float) -> Any:
    """Return the overview: how many were running, ready and waiting, over the whole time, and a box to move."""
    staircase = state_counts(trace)
    edges, means, highest = thinned(staircase, trace.end_ns, 1000)
    times = np.array([bars.x(edge) for edge in edges])
    peak = max(1.0, float(highest.max()))
    strip = _plot(
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
        text_font_size="11px",
        text_color=GREY_TEXT,
    )
    tool = RangeTool(x_range=time_range)
    tool.overlay.fill_color = LOOKS["waiting"].edge
    tool.overlay.fill_alpha = 0.12
    strip.add_tools(tool)
    return strip


def _scrollbar(all_rows: Range1d, row_range: Range1d) -> Any:
    """Return a narrow plot of all rows' height, with a box that stands for those that can be seen."""
    bar = _plot(
        x_range=Range1d(0, 1),
        y_range=all_rows,
        width=_SCROLLBAR_PX,
        sizing_mode="stretch_height",
        min_border_bottom=_BELOW_PX,
        background_fill_color="#F5F5F5",
    )
    tool = RangeTool(y_range=row_range)
    tool.overlay.fill_color = LOOKS["waiting"].edge
    tool.overlay.fill_alpha = 0.5
    tool.overlay.line_color = None
    bar.add_tools(tool)
    return Column(Spacer(height=STRIP_PX), bar, sizing_mode="stretch_height", visible=False, name="scrollbar")


def _write_awaited(plot: Any, source: ColumnDataSource, words: list[str]) -> CustomJS:
    """Have written into the waiting bars what they wait for, whenever a range changes; return what writes it."""
    texts = ColumnDataSource({"x": [], "y": [], "text": [], "alpha": []}, name="texts")
    plot.text(
        x="x",
        y="y",
        text="text",
        text_alpha="alpha",
        source=texts,
        text_align="center",
        text_baseline="middle",
        text_font=value("monospace"),
        text_font_size="11px",
        text_color=TEXT,
    )
    arguments = {
        "source": source,
        "texts": texts,
        "words": words,
        "plot": plot,
        "time": plot.x_range,
        "range": plot.y_range,
    }
    write = CustomJS(args=arguments, code=file_text("timeline_texts.js"))
    for each in (plot.x_range, plot.y_range):
        each.js_on_change("start", write)
        each.js_on_change("end", write)
    plot.js_on_change("inner_width", write)
    return write


def _searched(task: Task) -> str:
    parts = [task.label, task.name, task.file.rpartition("/")[2], task.outcome, task.error or ""]
    return visible(" ".join(parts)).lower()


def file_text(name: str) -> str:
    """Return a script or page that lies beside this module."""
    return files("asynctrace.charts").joinpath(name).read_text(encoding="utf-8")
