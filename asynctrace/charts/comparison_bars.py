"""Draw the rows of one version's panel."""

from __future__ import annotations

import re
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import cast

from matplotlib.axes import Axes

from asynctrace.analysis.comparison_rows import Bar, BarState, Row
from asynctrace.analysis.stretches import Stretch
from asynctrace.charts.mix_drawing import draw_mixes
from asynctrace.charts.mixing import Mix, unmixed
from asynctrace.charts.style import (
    BAR_HEIGHT,
    SLIVER_POINTS,
    SMALL,
    draw_bar_texts,
    draw_bars,
    draw_end_marks,
    draw_running,
    points_to_x,
    points_to_y,
    shortened,
)
from asynctrace.model.trace import StateKind

_MODULE = re.compile(r"^(\w+\.)+(?=\w+\()")
_MARK_SLIVERS = 5
FINEST_POINTS = 2.5  # many bars side by side that are narrower would be nothing but outlines


def draw_rows(ax: Axes, rows: Sequence[Row], start_ns: int, scale: float = 1.0, height: float = BAR_HEIGHT) -> set[str]:
    """Draw `rows` from the top, row i in the middle of [i, i + 1).

    Args:
        ax: Where; its limits and place are set.
        rows: Of one version.
        start_ns: The time at x = 0.
        scale: How wide a second is, in x data units.
        height: Of a bar, in rows.

    Returns:
        The states and outcomes that can be seen, for the legend.
    """

    def x(time_ns: float) -> float:
        return (time_ns - start_ns) / 1e9 * scale

    sliver_ns = max(1, round(points_to_x(ax, SLIVER_POINTS) / scale * 1e9))
    finest_ns = points_to_x(ax, FINEST_POINTS) / scale * 1e9
    mixes: list[tuple[Mix, float, float]] = []
    bars: dict[BarState, list[tuple[float, float, float]]] = defaultdict(list)
    within: list[tuple[float, float]] = []
    texts: list[tuple[float, float, float, Sequence[str]]] = []
    ends: list[tuple[float, float, str]] = []
    cuts: list[tuple[float, float]] = []
    for index, row in enumerate(rows):
        middle = index + 0.5
        life = x(row.start_ns), x(row.end_ns)
        begins = sorted(unit.start_ns for unit in row.units)
        plain, crowded = split(row, finest_ns)
        mixes += [(mix, middle, height) for mix in crowded]
        visible = _joined(_visible(plain, sliver_ns), begins, sliver_ns)
        cuts.extend(
            (x(bar.start_ns), middle)
            for before, bar in pairwise(visible)
            if before.state == "running" and _is_cut(bar, begins, sliver_ns)
        )
        for bar in visible:
            bars[bar.state].append((x(bar.start_ns), x(bar.end_ns), middle))
            if bar.state == "running":
                within.append(life)
            if bar.text and bar.state == "waiting":
                texts.append((x(bar.start_ns), x(bar.end_ns), middle, _ever_shorter(bar.text)))
        ends.extend((x(unit.end_ns), middle, unit.outcome) for unit in row.units)
    for state, found in bars.items():
        if state == "running":
            draw_running(ax, found, within, height=height)
        else:
            draw_bars(ax, state, found, height=height)
    # One call after the other without a wait between them would look like one long call.
    ax.vlines(
        [place for place, _ in cuts],
        [middle - height / 2 for _, middle in cuts],
        [middle + height / 2 for _, middle in cuts],
        color="white",
        linewidth=1.2,
        zorder=2.35,
    )
    if height >= points_to_y(ax, SMALL + 1):  # lower than that, and a text would stick out of its bar
        draw_bar_texts(ax, texts)
    return {*bars, *draw_mixes(ax, mixes, x), *draw_end_marks(ax, _apart(ends, sliver_ns / 1e9 * scale))}


def split(row: Row, finest_ns: float) -> tuple[list[Bar], list[Mix]]:
    """Split a row's bars into those to draw as they are and the crowded places, to draw as mixes.

    Args:
        row: Of a panel.
        finest_ns: The time that FINEST_POINTS stand for.
    """
    # A mix only looks at times and at what a state is called: blocking and starting are states here, too.
    stretches = [Stretch(cast(StateKind, state), bar.start_ns, bar.end_ns) for bar, state in _as_steps(row.bars)]
    plain, mixes = unmixed(stretches, finest_ns)
    if not mixes:
        return list(row.bars), []
    kept = {(stretch.start_ns, stretch.end_ns) for stretch in plain}
    return [bar for bar in row.bars if (bar.start_ns, bar.end_ns) in kept], mixes


def _as_steps(bars: Sequence[Bar]) -> Iterator[tuple[Bar, BarState]]:
    """Yield each bar and what to call it: the rest of a step that next to only blocks is blocking."""
    for index, bar in enumerate(bars):
        state = bar.state
        if state == "running":
            for beside in bars[max(0, index - 1) : index + 2]:
                touches = beside.end_ns == bar.start_ns or beside.start_ns == bar.end_ns
                if beside.state == "blocking" and touches and _is_tenth(bar, beside):
                    state = "blocking"
        yield bar, state


def _is_tenth(bar: Bar, other: Bar) -> bool:
    return 10 * (bar.end_ns - bar.start_ns) <= other.end_ns - other.start_ns


def _apart(ends: Sequence[tuple[float, float, str]], sliver: float) -> list[tuple[float, float, str]]:
    """Leave out marks that would lie on the same mark of the same row."""
    latest: dict[tuple[float, str], float] = {}
    result = []
    for x, middle, outcome in sorted(ends):
        if x - latest.get((middle, outcome), float("-inf")) >= _MARK_SLIVERS * sliver:
            latest[middle, outcome] = x
            result.append((x, middle, outcome))
    return result


def _ever_shorter(text: str) -> list[str]:
    """Return `text`, then without its module, then cut: "asyncio.sleep(1)", "sleep(1)", "asyncio.sl…"."""
    return [text, _MODULE.sub("", text), *shortened(text)]


def _visible(bars: Sequence[Bar], sliver_ns: int) -> list[Bar]:
    """Return `bars` with neighbours that share a sliver made one, of the state that fills most of it.

    A running sliver alone stays, since every step is to be seen; any other state has to fill half of it.
    """
    result: list[Bar] = []
    crowd: list[Bar] = []
    for bar in bars:
        if crowd and bar.end_ns - crowd[0].start_ns > sliver_ns:
            result.extend(_as_one(crowd, sliver_ns))
            crowd = []
        if bar.end_ns - bar.start_ns > sliver_ns:
            result.append(bar)
        else:
            crowd.append(bar)
    result.extend(_as_one(crowd, sliver_ns))
    return result


def _as_one(crowd: list[Bar], sliver_ns: int) -> list[Bar]:
    spent: dict[BarState, int] = defaultdict(int)
    for bar in crowd:
        spent[bar.state] += bar.end_ns - bar.start_ns
    large = {state: time_ns for state, time_ns in spent.items() if 2 * time_ns >= sliver_ns}
    if large:
        return [Bar(max(large, key=lambda state: large[state]), crowd[0].start_ns, crowd[-1].end_ns)]
    return [bar for bar in crowd if bar.state == "running"][:1]


def _joined(bars: Sequence[Bar], begins: Sequence[int], sliver_ns: int) -> list[Bar]:
    """Return `bars` with running ones that touch made one, except where a piece of work begins."""
    result: list[Bar] = []
    for bar in bars:
        last = result[-1] if result else None
        if (
            last is not None
            and last.state == bar.state == "running"
            and bar.start_ns - last.end_ns < sliver_ns
            and not _is_cut(bar, begins, sliver_ns)
        ):
            result[-1] = replace(last, end_ns=bar.end_ns)
        else:
            result.append(bar)
    return result


def _is_cut(bar: Bar, begins: Sequence[int], sliver_ns: int) -> bool:
    """Return whether a piece of work begins with `bar`, a running one wide enough to see that."""
    if bar.state != "running" or bar.end_ns - bar.start_ns < 4 * sliver_ns:
        return False
    index = bisect_left(begins, bar.start_ns - sliver_ns)
    return index < len(begins) and begins[index] <= bar.start_ns + sliver_ns
