"""The strip above the rows of a Gantt chart: how many were running, ready and waiting, stacked."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from asynctrace.analysis.counts import Counts, state_counts
from asynctrace.charts.gantt_text import counted, text_width
from asynctrace.charts.style import FONT, GREY_TEXT, LOOKS, SMALL, TEXT, points_to_x
from asynctrace.model.trace import Trace

_MOST_STEPS = 2000  # more cannot be told apart in the width of the picture


def draw_strip(ax: Axes, trace: Trace, noun: str) -> None:
    """Draw the counts over time and label their peak.

    Args:
        ax: The strip; its x limits, in seconds since the start, and its place are set.
        trace: The trace.
        noun: What is counted: "task" or "thread".
    """
    staircase = state_counts(trace)
    peak = max(staircase, key=lambda counts: counts.total)
    drawn = thinned(staircase, trace.end_ns)
    times = [(counts.time_ns - trace.start_ns) / 1e9 for counts in drawn]
    times.append((trace.end_ns - trace.start_ns) / 1e9)
    running = _closed([counts.running for counts in drawn])
    ready = _closed([counts.running + counts.ready for counts in drawn])
    total = _closed([counts.total for counts in drawn])
    for state, low, high in (
        ("running", [0] * len(times), running),
        ("ready", running, ready),
        ("waiting", ready, total),
    ):
        look = LOOKS[state]  # type: ignore[index]  # the three names above are keys
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
    ax.plot(times, total, drawstyle="steps-post", color=LOOKS["waiting"].edge, linewidth=0.9, zorder=2.5)
    ax.set_ylim(0, max(1, peak.total) * 1.5)
    _label_peak(ax, (peak.time_ns - trace.start_ns) / 1e9, peak.total, noun)
    ax.yaxis.set_major_locator(MaxNLocator(nbins=3, integer=True, min_n_ticks=1))
    ax.set_yticks([tick for tick in ax.get_yticks() if 0 <= tick <= peak.total and tick == int(tick)])
    ax.yaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
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


def thinned(staircase: Sequence[Counts], end_ns: int, most: int = _MOST_STEPS) -> list[Counts]:
    """Return at most `most` steps of `staircase`: of each equal stretch of time the one with the highest total."""
    if len(staircase) <= most:
        return list(staircase)
    start_ns = staircase[0].time_ns
    width = max(1.0, (end_ns - start_ns) / most)
    times = [counts.time_ns for counts in staircase]
    result: list[Counts] = []
    for index in range(most):
        first = bisect_right(times, start_ns + index * width) - 1  # what held when the stretch began counts too
        last = bisect_right(times, start_ns + (index + 1) * width)
        highest = max(staircase[first : max(last, first + 1)], key=lambda counts: counts.total)
        result.append(Counts(round(start_ns + index * width), highest.running, highest.ready, highest.waiting))
    return result


def _closed(values: list[int]) -> list[int]:
    return [*values, values[-1]]


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
