"""The strip above the rows of a Gantt chart: how many were running, ready and waiting, stacked."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes

from asynctrace.analysis.counts import state_counts
from asynctrace.charts.gantt_text import counted
from asynctrace.charts.looks import GREY_TEXT, LOOKS, TEXT, StateName
from asynctrace.charts.style import FONT, SMALL, points_to_x, text_width
from asynctrace.charts.thinning import Numbers, thinned
from asynctrace.model.trace import Trace

_STATES: tuple[StateName, ...] = ("running", "ready", "waiting")


def draw_strip(ax: Axes, trace: Trace, noun: str) -> None:
    """Draw the counts over time and label their peak.

    Args:
        ax: The strip; its x limits, in seconds since the start, and its place are set.
        trace: The trace.
        noun: What is counted: "task" or "thread".
    """
    staircase = state_counts(trace)
    peak = max(staircase, key=lambda counts: counts.total)
    edges, means, highest = thinned(staircase, trace.end_ns)
    times = (edges - trace.start_ns) / 1e9
    low = np.zeros(len(times))
    for state, mean in zip(_STATES, means, strict=True):
        look = LOOKS[state]
        high = low + _closed(mean)
        ax.fill_between(
            times,
            low,
            high,
            step="post",
            facecolor=look.face,
            edgecolor=look.edge if look.hatch else "none",
            hatch=look.hatch,
            linewidth=0.0,
            zorder=look.zorder,
        )
        low = high
    total = _closed(highest)
    ax.plot(times, total, drawstyle="steps-post", color=LOOKS["waiting"].edge, linewidth=0.9, zorder=2.5)
    ax.set_ylim(0, max(1, peak.total) * 1.5)
    _label_peak(ax, (peak.time_ns - trace.start_ns) / 1e9, peak.total, noun)
    ax.set_yticks([0, peak.total], ["0", f"{peak.total:,}"], family=FONT)
    ax.tick_params(axis="y", labelsize=SMALL, labelcolor=TEXT, color=TEXT)
    ax.annotate(
        f"{noun}s at\na time",
        (0, 0.33),
        xycoords="axes fraction",
        xytext=(-34, 0),
        textcoords="offset points",
        ha="right",
        va="center",
        size=SMALL,
        family=FONT,
        color=GREY_TEXT,
    )


def _closed(values: Numbers) -> Numbers:
    return np.append(values, values[-1])


def _label_peak(ax: Axes, x: float, peak: int, noun: str) -> None:
    text = f"peak {counted(peak, noun)}"
    left, right = ax.get_xlim()
    half = points_to_x(ax, text_width(text, SMALL) / 2 + 2)
    # Beside the moment itself, but never out of the picture.
    middle = min(max(x, left + half), right - half)
    ax.annotate(
        text,
        (middle, peak),
        xytext=(0, 2.5),
        textcoords="offset points",
        ha="center",
        va="bottom",
        size=SMALL,
        family=FONT,
        color=TEXT,
        zorder=4,
    )
