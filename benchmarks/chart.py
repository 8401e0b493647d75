"""A chart of the slowdowns: each workload a panel, asynctrace's two cores above the other tools."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from asynctrace.charts.looks import GREY_TEXT, GRID, LOOKS, TEXT
from asynctrace.charts.output import DPI, write_figure
from asynctrace.charts.style import FONT, MEDIUM, SMALL, TITLE, write
from benchmarks.peers import PEERS
from benchmarks.ratios import CORES, Case, Failed, Found, Ratio

WIDTH_IN = 10.0
ROW_IN = 0.21
_LEFT_IN, _RIGHT_IN, _GAP_IN = 2.9, 0.15, 0.25
_TOP_IN, _TITLE_IN, _BOTTOM_IN = 0.62, 0.36, 0.98  # the head, the title of a panel, the foot
_TICKS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)

# Told apart in grey, too: dark, hatched, light.
_NATIVE = {"facecolor": LOOKS["running"].face, "edgecolor": LOOKS["running"].face}
_PYTHON = {"facecolor": LOOKS["waiting"].face, "edgecolor": LOOKS["running"].face, "hatch": "////"}
_PEER = {"facecolor": "#C4C4C4", "edgecolor": "#C4C4C4"}


@dataclass(frozen=True)
class Panel:
    """One workload: its title, and of each tool how many times as long it takes, lowest and highest beside it."""

    title: str
    slowdowns: dict[str, Ratio]
    failed: frozenset[str]


def panels_of(cases: Sequence[Case], found: Sequence[Found]) -> list[Panel]:
    """Return what is drawn: the workloads that the other tools ran, too; all, where there are no others."""
    has_peers = any(tool in PEERS for ratios in found for tool in ratios)
    panels = []
    for case, ratios in zip(cases, found, strict=True):
        if has_peers and not case.has_peers:
            continue
        slowdowns = {tool: slowdown(case, ratio) for tool, ratio in ratios.items() if isinstance(ratio, Ratio)}
        failed = frozenset(tool for tool, ratio in ratios.items() if isinstance(ratio, Failed))
        panels.append(Panel(case.title.partition(",")[0].removesuffix(" kept"), slowdowns, failed))
    return panels


def slowdown(case: Case, ratio: Ratio) -> Ratio:
    """Return a ratio as times as long, that of a rate, too."""
    return Ratio(1 / ratio.median, 1 / ratio.high, 1 / ratio.low) if case.is_rate else ratio


def headline(panels: Sequence[Panel]) -> tuple[str, str]:
    """Return the finding, of asynctrace's faster core that was measured, and what the others cost."""
    core = next((core for core in CORES if any(core in panel.slowdowns for panel in panels)), None)
    shown = [panel for panel in panels if core in panel.slowdowns]
    if core is None or not shown:
        return "What tracing costs", "asynctrace itself was not measured"
    parts = [f"{panel.title} ×{_number(panel.slowdowns[core].median)}" for panel in shown]
    title = f"asynctrace ({core} core): {', '.join(parts)} of the untraced time"
    others = []
    for panel in shown:
        medians = [ratio.median for tool, ratio in panel.slowdowns.items() if tool in PEERS]
        if medians:
            others.append(f"{panel.title} ×{_number(min(medians))} to ×{_number(max(medians))}")
    return title, f"other tools: {', '.join(others)}" if others else "times as long as the same program untraced"


def draw(cases: Sequence[Case], found: Sequence[Found], path: Path, *, footer: Sequence[str]) -> Figure:
    """Draw the slowdowns to a file.

    Args:
        cases: The rows of the table.
        found: Of each case, the ratio of each tool.
        path: Where to; its suffix picks the format.
        footer: The machine, and how to repeat, in lines.

    Returns:
        The figure that was saved.
    """
    panels = panels_of(cases, found)
    tools = _in_order({tool for panel in panels for tool in (*panel.slowdowns, *panel.failed)}, panels)
    rows = -(-len(panels) // 2)
    panel_in = max(1, len(tools)) * ROW_IN
    height_in = _TOP_IN + rows * (panel_in + _TITLE_IN) + _BOTTOM_IN
    figure = Figure(figsize=(WIDTH_IN, height_in), dpi=DPI, facecolor="white")
    width_in = (WIDTH_IN - _LEFT_IN - _RIGHT_IN - _GAP_IN) / 2
    most = max((ratio.high for panel in panels for ratio in panel.slowdowns.values()), default=2.0)
    for position, panel in enumerate(panels):
        row, column = divmod(position, 2)
        left_in = _LEFT_IN + column * (width_in + _GAP_IN)
        bottom_in = height_in - _TOP_IN - (row + 1) * (panel_in + _TITLE_IN)
        place = (left_in / WIDTH_IN, bottom_in / height_in, width_in / WIDTH_IN, panel_in / height_in)
        ax = figure.add_axes(place)
        _draw_panel(ax, panel, tools, most, has_labels=column == 0, has_ticks=position >= len(panels) - 2)
    title, subtitle = headline(panels)
    left = 0.15 / WIDTH_IN
    write(
        figure, left, 1 - 0.27 / height_in, title, family=FONT, size=_fitting(title, TITLE), weight="bold", color=TEXT
    )
    write(figure, left, 1 - 0.50 / height_in, subtitle, family=FONT, size=_fitting(subtitle, MEDIUM), color=TEXT)
    middle = (_LEFT_IN + WIDTH_IN - _RIGHT_IN) / 2 / WIDTH_IN
    axis = "times as long as the same program untraced, logarithmic; a line from the lowest to the highest turn"
    write(figure, middle, 0.58 / height_in, axis, family=FONT, size=SMALL, color=TEXT, ha="center")
    for line, text in enumerate(reversed(footer)):
        y = (0.1 + 0.18 * line) / height_in
        write(figure, left, y, text, family=FONT, size=_fitting(text, SMALL), color=GREY_TEXT)
    write_figure(figure, path)
    return figure


def _in_order(tools: set[str], panels: Sequence[Panel]) -> list[str]:
    """Return asynctrace's cores, then the others, from the least slowdown over all workloads to the greatest."""

    def key(tool: str) -> tuple[bool, float, str]:
        logs = [math.log(panel.slowdowns[tool].median) for panel in panels if tool in panel.slowdowns]
        return (tool in PEERS, CORES.index(tool) if tool in CORES else sum(logs) / len(logs) if logs else 9.0, tool)

    return sorted(tools, key=key)


def _draw_panel(
    ax: Axes, panel: Panel, tools: Sequence[str], most: float, *, has_labels: bool, has_ticks: bool
) -> None:
    ax.set_xscale("log")
    ax.set_xlim(0.8, most * 1.9)  # room for the number of the longest bar
    ax.set_ylim(len(tools) - 0.5, -0.5)
    for y, tool in enumerate(tools):
        if has_labels:
            _label(ax, y, tool)
        ratio = panel.slowdowns.get(tool)
        if ratio is None:
            write(ax, 1.05, y, "–" if tool in panel.failed else "", family=FONT, size=SMALL, color=TEXT, va="center")
            continue
        look = {"native": _NATIVE, "python": _PYTHON}.get(tool, _PEER)
        ax.barh(y, ratio.median - 1, left=1.0, height=0.72, linewidth=0.8, zorder=2, **look)  # type: ignore[arg-type]
        for color, points in (("white", 2.5), (TEXT, 0.9)):  # on a white ground, to be seen on a dark bar
            spread = [ratio.low, ratio.high]
            ax.plot(spread, [y, y], color=color, linewidth=points, zorder=3, solid_capstyle="butt")
        weight = "bold" if tool in CORES else "normal"
        end = max(ratio.high, ratio.median, 1.0) * 1.06
        text = f"×{_number(ratio.median)}"
        write(ax, end, y, text, family=FONT, size=SMALL, color=TEXT, va="center_baseline", weight=weight)
    ax.axvline(1.0, color=TEXT, linewidth=0.9, zorder=4)
    ax.set_title(panel.title, family=FONT, size=MEDIUM, weight="bold", color=TEXT, loc="left", pad=4)
    ax.xaxis.set_major_locator(FixedLocator([tick for tick in _TICKS if tick <= most]))
    ax.xaxis.set_minor_locator(NullLocator())
    ax.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"×{x:g}" if x > 1 else "untraced"))
    ax.yaxis.set_major_locator(NullLocator())
    ax.grid(axis="x", color=GRID, linewidth=0.8)
    ax.set_axisbelow(True)
    ax.tick_params(axis="x", labelsize=SMALL, labelcolor=TEXT, length=0, labelbottom=has_ticks, labelfontfamily=FONT)
    for side in ax.spines.values():
        side.set_visible(False)


def _label(ax: Axes, y: float, tool: str) -> None:
    """Write a tool's name, and in grey what it records."""
    is_ours = tool in CORES
    name, records = (f"asynctrace, {tool}", "every step, wake") if is_ours else (PEERS[tool].title, PEERS[tool].records)
    points = {"textcoords": "offset points", "va": "center_baseline", "annotation_clip": False}
    style = {"family": FONT, "size": SMALL, "parse_math": False}
    ax.annotate(
        name, (0, y), (-196, 0), ax.get_yaxis_transform(), color=TEXT, weight="bold" if is_ours else "normal",
        **points, **style,  # type: ignore[arg-type]
    )  # fmt: skip
    ax.annotate(records, (0, y), (-6, 0), ax.get_yaxis_transform(), color=GREY_TEXT, ha="right", **points, **style)  # type: ignore[arg-type]


def _number(value: float) -> str:
    return f"{value:.2f}" if value < 2.995 else f"{value:.1f}" if value < 9.95 else f"{value:.0f}"


def _fitting(text: str, size: float) -> float:
    """Return the size, or a smaller one, at which a line of text is no wider than the page."""
    return max(SMALL, min(size, (WIDTH_IN - 0.3) * 72 / (0.62 * max(1, len(text)))))
