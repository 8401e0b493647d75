"""What is drawn in the rows of the interactive page. Imports Bokeh."""

from __future__ import annotations

from typing import Any

import numpy as np
from bokeh.core.properties import value
from bokeh.models import (
    ColumnDataSource,
    CustomJS,
    CustomJSHover,
    GlyphRenderer,
    HoverTool,
    LinearColorMapper,
    PanTool,
    WheelPanTool,
    WheelZoomTool,
)
from bokeh.transform import transform

from asynctrace.analysis.holding import holding_steps
from asynctrace.charts.looks import GREY_TEXT, LOOKS, TEXT, Look, StateName
from asynctrace.charts.timeline_arrows import draw_arrow
from asynctrace.charts.timeline_bars import Bars, Columns
from asynctrace.charts.timeline_base import TEXT_SIZE, TIP_STYLE, file_text
from asynctrace.model.trace import Trace

_MOST_BANDS = 3
_MOST_MARKS = 50
_SLIVER_PX = 1.5
_HATCHES = {"////": "right_diagonal_line", "xx": "diagonal_cross", "....": "dot"}
_MARKERS = {"raised": "x", "cancelled": "circle_x", "unfinished": "triangle"}
_BEFORE_AWAITED = {"waiting": "for", "blocking": "in", "running": "", "ready": "", "starting": ""}
_PLACE = {"left": "left", "right": "right", "top": "top", "bottom": "bottom"}
_FADED = {"fill_alpha": "alpha", "line_alpha": "alpha"}
_UNITS = {"seconds": "s", "milliseconds": "ms", "microseconds": "µs"}
_TIP = f'<div style="{TIP_STYLE}"><b>@{{title}}{{custom}}</b>\n@{{state}}{{custom}}</div>'


def draw_rows(plot: Any, rows: ColumnDataSource, bars: Bars, words: ColumnDataSource) -> dict[str, GlyphRenderer[Any]]:
    """Draw what the rows hold; return the renderer of each state and of the ends of tasks."""
    ground = plot.hstrip(y0="top", y1="bottom", source=rows, fill_color="shade", line_color=None, level="underlay")
    ground.selection_glyph = ground.nonselection_glyph = None
    present: dict[str, GlyphRenderer[Any]] = {}
    tools: dict[StateName, HoverTool] = {}
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
            line_color=_soft_edge(look) if state == "waiting" else look.face if look.edge == "none" else look.edge,
            line_width=look.edge_points if state == "waiting" else "edge",
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
        title = CustomJSHover(args={"words": words}, code="return words.data.text[value]")
        tools[state] = HoverTool(
            renderers=[present[state]],
            tooltips=_TIP,
            formatters={"@{title}": title, "@{state}": said},
            point_policy="follow_mouse",
        )
        plot.add_tools(tools[state])
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
    for state, place_arrow in draw_arrow(plot, rows).items():
        if state in tools:
            tools[state].callback = place_arrow
    plot.js_on_event("tap", CustomJS(args={"plot": plot}, code=file_text("timeline_tap.js")))
    wheel = WheelZoomTool(dimensions="width", maintain_focus=False)
    scroll = WheelPanTool(dimension="height", modifiers={"shift": True})
    drag = PanTool()
    plot.add_tools(wheel, scroll, drag)
    plot.toolbar.active_scroll = wheel
    plot.toolbar.active_drag = drag
    return present


def _soft_edge(look: Look) -> Any:
    """Return the colour of edges: fine bars have their own face's, or the ground would shine through between them."""
    return transform("soft", LinearColorMapper(palette=[look.edge, look.face], low=0, high=1))


def _bar_columns(columns: Columns, state: StateName) -> dict[str, Any]:
    count = len(columns["left"])
    result: dict[str, Any] = {}
    for name, values in columns.items():
        kind = np.float64 if name in ("left", "right", "woken") else np.float32 if name in ("low", "high") else np.int32
        if name != "is_fine" and (name != "woken" or state == "running"):
            result[name] = np.array(values, dtype=kind)
    width = _SLIVER_PX if state == "running" else LOOKS[state].edge_points
    fine = np.array(columns.get("is_fine", [0] * count), dtype=bool)
    if state == "waiting":
        result["soft"] = fine.astype(np.uint8)
    else:
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


def draw_moments(plot: Any, trace: Trace, bars: Bars) -> None:
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


def write_awaited_into(plot: Any, source: ColumnDataSource, words: ColumnDataSource) -> CustomJS:
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
        text_font_size=TEXT_SIZE,
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
