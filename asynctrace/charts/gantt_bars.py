"""The rows of a Gantt chart: bars, mixes, blocking stretches, end marks, nested coroutines, wakes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection, PolyCollection
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from asynctrace.analysis.intervals import Interval
from asynctrace.analysis.rows import Row
from asynctrace.analysis.slices import Slice
from asynctrace.analysis.wakes import Wake
from asynctrace.charts.looks import END_MARKS, LOOKS, TEXT
from asynctrace.charts.mix_drawing import draw_mixes
from asynctrace.charts.mixing import Mix, unmixed
from asynctrace.charts.style import (
    BAR_HEIGHT,
    FONT,
    MARK_POINTS,
    SLIVER_POINTS,
    SMALL,
    Bar,
    draw_bar_texts,
    draw_bars,
    draw_end_marks,
    draw_running,
    points_to_x,
    shortened,
    text_width,
    write,
)
from asynctrace.model.trace import Task

FOLDED_HEIGHT = 0.42
SLICE_STEP = 0.74  # of a row, from one level of coroutines to the next
SLICE_HEIGHT = 0.66
_WAKE_COLOUR = "#6B6B6B"
_MARK_POINTS = 8.0  # closer ones would hide each other


@dataclass(slots=True)
class RowPlaces:
    """Where each row is: the y of its bars' middle, in rows from the top, and what was drawn, for the legend."""

    start_ns: int
    middles: list[float]
    height: float
    present: set[str] = field(default_factory=set)
    extra: list[Artist] = field(default_factory=list)
    has_mixes: bool = False
    has_arrows: bool = False  # lines run across the bars: texts need a ground

    def x(self, time_ns: float) -> float:
        """Return a time as seconds since the start of the trace."""
        return (time_ns - self.start_ns) / 1e9


def draw_rows(ax: Axes, rows: Sequence[Row], places: RowPlaces, blockings: Mapping[Task, Sequence[Interval]]) -> None:
    """Draw what each row holds; the axes' limits and place are set.

    Args:
        ax: Where.
        rows: The rows, from the top.
        places: Where they are; what was drawn is noted in it.
        blockings: When each task blocked its loop.
    """
    finest_ns = points_to_x(ax, SLIVER_POINTS) * 1e9
    mixes: list[tuple[Mix, float, float]] = []
    texts: list[tuple[float, float, float, Sequence[str]]] = []
    names: list[tuple[float, float, float, Sequence[str]]] = []
    starting: list[Bar] = []
    ends: list[tuple[float, float, str]] = []
    ends_inside: list[tuple[float, float, str]] = []
    mark = points_to_x(ax, 2 * MARK_POINTS)
    for height in (BAR_HEIGHT, FOLDED_HEIGHT):
        bars: dict[str, list[Bar]] = {"running": [], "waiting": [], "ready": [], "blocking": []}
        within: list[tuple[float, float]] = []
        for row, middle in zip(rows, places.middles, strict=True):
            if (row.kind == "folded") != (height == FOLDED_HEIGHT) or not row.stretches:
                continue
            plain, mixed = unmixed(row.stretches, finest_ns)
            mixes += [(mix, middle, height) for mix in mixed]
            first, last = places.x(row.stretches[0].start_ns), places.x(row.stretches[-1].end_ns)
            # Where another bar may follow, a mark goes inside, and the text makes room for it.
            is_shared = row.kind != "task" and len(row.ends) > 1
            marked = {time_ns for time_ns, outcome in row.ends if is_shared and outcome in END_MARKS}
            for stretch in plain:
                start, end = places.x(stretch.start_ns), places.x(stretch.end_ns)
                bars[stretch.kind].append((start, end, middle))
                end -= mark if stretch.end_ns in marked else 0.0
                if stretch.kind == "running":
                    within.append((first, last))
                    if row.kind == "thread":
                        names.append((start, end, middle, stretch.texts))
                elif stretch.kind == "waiting" and stretch.texts:
                    texts.append((start, end, middle, stretch.texts))
            for task in row.tasks if row.kind != "folded" else ():
                bars["blocking"] += [(places.x(start), places.x(end), middle) for start, end in blockings.get(task, ())]
            if row.starting:
                starting.append((places.x(row.starting[0]), places.x(row.starting[1]), middle))
            (ends_inside if is_shared else ends).extend(
                (places.x(time_ns), middle, outcome) for time_ns, outcome in row.ends
            )
        draw_bars(ax, "waiting", bars["waiting"], height=height)
        draw_bars(ax, "ready", bars["ready"], height=height)
        draw_running(ax, bars["running"], within, height=height)
        draw_bars(ax, "blocking", bars["blocking"], height=height, min_points=SLIVER_POINTS)
        places.present |= {state for state, drawn in bars.items() if drawn}
    if draw_bars(ax, "starting", starting):
        places.present.add("starting")
    places.present |= draw_mixes(ax, mixes, places.x)
    places.has_mixes = bool(mixes)
    waiting, running = (LOOKS[state].face if places.has_arrows else None for state in ("waiting", "running"))
    draw_bar_texts(ax, _wide_enough(ax, texts), background=waiting)
    draw_bar_texts(ax, _wide_enough(ax, names), color="white", background=running)
    places.present |= draw_end_marks(ax, _apart(ax, ends))
    places.present |= draw_end_marks(ax, _apart(ax, ends_inside), is_inside=True)


def _wide_enough(
    ax: Axes, texts: Iterable[tuple[float, float, float, Sequence[str]]]
) -> list[tuple[float, float, float, Sequence[str]]]:
    """Leave out, before anything is measured, what has no room for three characters; give the rest shorter forms."""
    least = points_to_x(ax, 20)
    return [
        (start, end, middle, [*shortened(candidates[0]), *candidates[1:]])
        for start, end, middle, candidates in texts
        if candidates and end - start >= least
    ]


def _apart(ax: Axes, ends: Iterable[tuple[float, float, str]]) -> list[tuple[float, float, str]]:
    """Leave out marks that would lie on the same mark of the same row."""
    least = points_to_x(ax, _MARK_POINTS)
    latest: dict[tuple[float, str], float] = {}
    result: list[tuple[float, float, str]] = []
    for x, middle, outcome in sorted(ends):
        if x - latest.get((middle, outcome), float("-inf")) >= least:
            latest[middle, outcome] = x
            result.append((x, middle, outcome))
    return result


def draw_wakes(ax: Axes, wakes: Iterable[Wake], rows: Sequence[Row], places: RowPlaces) -> None:
    """Draw an arrow from the row of each waker to the row of the task that it woke."""
    row_of = {task: index for index, row in enumerate(rows) for task in row.tasks}
    least = points_to_x(ax, 2.0)
    seen: set[tuple[int, int, int]] = set()
    lines: list[list[tuple[float, float]]] = []
    for wake in wakes:
        source, target = row_of.get(wake.waker), row_of.get(wake.woken)
        if source is None or target is None or source == target:
            continue
        x = places.x(wake.time_ns)
        if (source, target, round(x / least)) in seen:  # an arrow on an arrow
            continue
        seen.add((source, target, round(x / least)))
        down = 1 if target > source else -1
        begin = places.middles[source] + down * BAR_HEIGHT / 2
        lines.append([(x, begin), (x, places.middles[target] - down * (BAR_HEIGHT / 2 + 0.1))])
    if not lines:
        return
    places.has_arrows = True
    ax.add_collection(LineCollection(lines, colors=_WAKE_COLOUR, linewidths=0.8, zorder=2.6), autolim=False)
    for marker, is_down in (("v", True), ("^", False)):
        tips = [end for begin, end in lines if (end[1] > begin[1]) == is_down]
        if tips:
            ax.plot(
                [x for x, _ in tips],
                [y for _, y in tips],
                linestyle="none",
                marker=marker,
                markersize=4.0,
                color=_WAKE_COLOUR,
                markeredgewidth=0,
                zorder=2.7,
            )
    places.extra.append(
        Line2D([], [], color=_WAKE_COLOUR, linewidth=0.8, marker=">", markersize=4.0, markevery=[-1], label="wakes")
    )


def draw_slices(
    ax: Axes, slices: Mapping[Task, Sequence[Slice]], rows: Sequence[Row], places: RowPlaces, levels: int
) -> None:
    """Draw the nested coroutines under the bars of each task's row, `levels` levels at most."""
    boxes: list[list[tuple[float, float]]] = []
    active: list[list[tuple[float, float]]] = []
    sliver = points_to_x(ax, SLIVER_POINTS)
    point = points_to_x(ax, 1.0)
    for row, middle in zip(rows, places.middles, strict=True):
        for piece in slices.get(row.tasks[0], ()) if row.kind == "task" else ():
            if piece.level >= levels:
                continue
            top = middle + BAR_HEIGHT / 2 + 0.06 + piece.level * SLICE_STEP
            bottom = top + SLICE_HEIGHT
            start, end = places.x(piece.coroutine.started_ns), places.x(piece.coroutine.end_ns)
            end = max(end, start + sliver)
            boxes.append([(start, top), (start, bottom), (end, bottom), (end, top)])
            for first_ns, last_ns in piece.active:
                # Along the lower edge only, so that the name stays readable.
                first = min(places.x(first_ns), end - sliver)
                last = max(places.x(last_ns), first + sliver)
                edge = bottom - 0.1
                active.append([(first, edge), (first, bottom), (last, bottom), (last, edge)])
            name = piece.coroutine.name.rpartition("<locals>.")[2]
            if text_width(name, SMALL) + 6 <= (end - start) / point:
                write(
                    ax,
                    start + 3 * point,
                    (top + bottom) / 2 - 0.05,
                    name,
                    size=SMALL,
                    family=FONT,
                    color=TEXT,
                    va="center_baseline",
                    zorder=3.0,
                    clip_on=True,
                    in_layout=False,
                )
    if not boxes:
        return
    ax.add_collection(
        PolyCollection(boxes, facecolors="#F6F6F6", edgecolors="#8A8A8A", linewidths=0.7, zorder=2.1), autolim=False
    )
    ax.add_collection(
        PolyCollection(active, facecolors=LOOKS["running"].face, edgecolors="none", zorder=2.2), autolim=False
    )
    places.extra.append(Patch(facecolor="#F6F6F6", edgecolor="#8A8A8A", linewidth=0.7, label="coroutine inside"))
