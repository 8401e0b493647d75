"""How every chart looks: the colours and marks of the states, bars, texts inside them, legends and time axes.

Sizes on the page are in points and turned into data units through the axes' own scale, so set an axes' limits and
place before drawing bars, marks or texts into it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache
from itertools import pairwise
from typing import Any, Literal

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.collections import Collection, PathCollection, PolyCollection
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.legend import Legend
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.path import Path
from matplotlib.text import Text
from matplotlib.textpath import TextPath
from matplotlib.ticker import FuncFormatter, MaxNLocator
from matplotlib.transforms import ScaledTranslation
from numpy.typing import NDArray

from asynctrace.charts.looks import END_MARKS, GRID, LOOKS, TEXT, StateName, drawable, time_unit

FONT = "DejaVu Sans"  # shipped with matplotlib, so that a picture is the same on every machine
MONOSPACE = "DejaVu Sans Mono"
MONOSPACE_ADVANCE = 0.602  # width of a character of MONOSPACE, in em
SMALL = 9.0  # points; nothing is smaller
MEDIUM = 10.0
TITLE = 13.0
SLIVER_POINTS = 1.5  # 2 px of a screen: the least width of a running bar
MARK_POINTS = 6.0  # from a bar's end to the middle of its mark
BAR_HEIGHT = 0.7  # of a row

Bar = tuple[float, float, float]  # start, end, y of the middle; in data units


# Drawn as markers, not as characters: a character would depend on the fonts of whoever opens an SVG.
_SLASHED_CIRCLE = Path.make_compound_path(Path.unit_circle(), Path([(-0.707, -0.707), (0.707, 0.707)]))
_MARKERS: dict[str, Any] = {"raised": "X", "cancelled": _SLASHED_CIRCLE, "unfinished": ">"}
_MARK_STYLES: dict[str, dict[str, Any]] = {
    "raised": {
        "markersize": 8.0,
        "markerfacecolor": "#B8371B",
        "markeredgecolor": "white",
        "markeredgewidth": 0.6,
    },
    "cancelled": {"markersize": 6.5, "markerfacecolor": "white", "markeredgecolor": TEXT, "markeredgewidth": 1.0},
    "unfinished": {"markersize": 6.0, "markerfacecolor": "white", "markeredgecolor": TEXT, "markeredgewidth": 1.0},
}


def write(on: Axes | Figure, x: float, y: float, text: str, **options: Any) -> Text:
    """Write `text`, which may be any program's, at a place of `on`."""
    return on.text(x, y, drawable(text), parse_math=False, **options)


def write_beside(ax: Axes, text: str, place: tuple[float, float], points: tuple[float, float], **options: Any) -> None:
    """Write `text`, which may be any program's, so many points right of and above a place, inside the axes or not."""
    ax.annotate(
        drawable(text),
        place,
        xytext=points,
        textcoords="offset points",
        annotation_clip=False,
        parse_math=False,
        **options,
    )


def points_to_x(ax: Axes, points: float) -> float:
    """Return how wide `points` are in x data units of `ax`, whose limits and place are set."""
    left, right = ax.get_xlim()
    return points * (right - left) / max(_width_points(ax), 1e-9)


def points_to_y(ax: Axes, points: float) -> float:
    """Return how high `points` are in y data units of `ax`, whose limits and place are set."""
    low, high = ax.get_ylim()
    figure = ax.get_figure(root=True)
    assert figure is not None
    return points * abs(high - low) / max(float(ax.get_window_extent().height * 72 / figure.dpi), 1e-9)


def _width_points(ax: Axes) -> float:
    return float(ax.get_window_extent().width * 72 / ax.figure.dpi)


def draw_bars(
    ax: Axes, state: StateName, bars: Sequence[Bar], *, height: float = BAR_HEIGHT, min_points: float = 0.0
) -> Collection | None:
    """Draw all bars of one state as one collection.

    Args:
        ax: Where; its limits and place are set.
        state: What the bars show.
        bars: (start, end, y of the middle) in data units.
        height: Of a bar, in y data units.
        min_points: The least width; a narrower bar grows to the right, so that its start stays true.

    Returns:
        The collection, or None when there are no bars.
    """
    if not bars:
        return None
    look = LOOKS[state]
    table = np.asarray(bars, dtype=float)
    start, end, middle = table[:, 0], table[:, 1], table[:, 2]
    if min_points:
        end = np.maximum(end, start + points_to_x(ax, min_points))
    low, high = middle - height / 2, middle + height / 2
    corners = np.stack([start, low, start, high, end, high, end, low], axis=1).reshape(-1, 4, 2)
    options: dict[str, Any] = {
        "facecolors": look.face,
        "edgecolors": look.edge,
        "linewidths": look.edge_points,
        "zorder": look.zorder,
    }
    collection: Collection
    if look.hatch:
        # Agg draws a hatch once for each path, so all bars are one. Snapped: a path this long else no longer is.
        collection = PathCollection([_compound(corners)], hatch=look.hatch, snap=True, **options)
    else:
        collection = PolyCollection(corners, **options)  # type: ignore[arg-type]  # an array (bars, 4, 2) is the fast path
    ax.add_collection(collection, autolim=False)
    return collection


def _compound(corners: NDArray[np.float64]) -> Path:
    """Return rectangles (n, 4, 2) as one path. All go round the same way, so that they fill where they overlap, too."""
    closed = np.concatenate([corners, corners[:, :1]], axis=1).reshape(-1, 2)
    codes = np.tile([Path.MOVETO, Path.LINETO, Path.LINETO, Path.LINETO, Path.CLOSEPOLY], len(corners))
    return Path(closed, codes)


def draw_running(
    ax: Axes, bars: Sequence[Bar], within: Sequence[tuple[float, float]], *, height: float = BAR_HEIGHT
) -> None:
    """Draw running bars, none narrower than a sliver, each kept inside its task's or call's (start, end).

    Args:
        ax: Where; its limits and place are set.
        bars: (start, end, y of the middle) in data units.
        within: For each bar, where its row's life begins and ends: a widened last step stays inside it.
        height: Of a bar, in y data units.
    """
    sliver = points_to_x(ax, SLIVER_POINTS)
    widened: list[Bar] = []
    for (start, end, middle), (first, last) in zip(bars, within, strict=True):
        if end - start < sliver:
            start = max(first, min(start, last - sliver))
            end = start + sliver
        widened.append((start, end, middle))
    draw_bars(ax, "running", widened, height=height)


def draw_end_marks(ax: Axes, ends: Iterable[tuple[float, float, str]], *, is_inside: bool = False) -> set[str]:
    """Put the mark of each outcome just right of its bar's end, or just left of it, inside the bar.

    Args:
        ax: Where; its limits and place are set.
        ends: (x, y, outcome); an outcome without a mark is skipped.
        is_inside: Whether the marks go inside the bars, where another bar may follow.

    Returns:
        The outcomes that were marked, for the legend.
    """
    places: dict[str, list[tuple[float, float]]] = {}
    for x, y, outcome in ends:
        if outcome in _MARKERS:
            places.setdefault(outcome, []).append((x, y))
    beside = ax.transData + ScaledTranslation(
        (-MARK_POINTS if is_inside else MARK_POINTS) / 72, 0, ax.figure.dpi_scale_trans
    )
    for outcome, points in places.items():
        mark = _mark(outcome, transform=beside, clip_on=False, zorder=4.0)
        mark.set_data([x for x, _ in points], [y for _, y in points])
        ax.add_artist(mark)
    return set(places)


def _mark(outcome: str, **options: Any) -> Line2D:
    return Line2D([], [], linestyle="none", marker=_MARKERS[outcome], **_MARK_STYLES[outcome], **options)


def legend_entries(present: Iterable[str], names: dict[str, str] | None = None) -> list[Artist]:
    """Return the legend's handles for the states and outcomes in `present`, in the one order of all charts.

    Args:
        present: Keys of LOOKS and END_MARKS; others are ignored.
        names: Other names than the usual ones, by key.
    """
    wanted = set(present)
    named = names or {}
    handles: list[Artist] = []
    for state, look in LOOKS.items():
        if state in wanted:
            edge, width = ("none", 0.0) if look.edge == "none" else (look.edge, max(look.edge_points, 0.5))
            handles.append(
                Patch(
                    facecolor=look.face,
                    edgecolor=edge,
                    linewidth=width,
                    hatch=look.hatch,
                    label=named.get(state, look.legend),
                )
            )
    handles.extend(_mark(outcome, label=named.get(outcome, outcome)) for outcome in END_MARKS if outcome in wanted)
    return handles


def draw_legend(
    ax: Axes,
    present: Iterable[str],
    *,
    names: dict[str, str] | None = None,
    extra: Sequence[Artist] = (),
    rows: int = 1,
    **options: Any,
) -> Legend | None:
    """Draw a flat legend of what is present, and of `extra`; `options` go to `Axes.legend`. None when nothing is."""
    handles = [*legend_entries(present, names), *extra]
    if not handles:
        return None
    columns = -(-len(handles) // rows)
    # matplotlib fills column by column; people read row by row.
    handles = [handle for column in range(columns) for handle in handles[column::columns]]
    settings: dict[str, Any] = {
        "ncols": columns,
        "frameon": False,
        "loc": "upper left",
        "borderaxespad": 0.0,
        "borderpad": 0.0,
        "handlelength": 2.2,
        "columnspacing": 1.8,
        "prop": {"family": FONT, "size": SMALL},
        "labelcolor": TEXT,
    }
    return ax.legend(handles=handles, **{**settings, **options})


def fitting_text(ax: Axes, width: float, candidates: Iterable[str], size: float = SMALL) -> str | None:
    """Return the first of `candidates` that fits into `width` x data units in MONOSPACE, else None."""
    room = width / points_to_x(ax, 1.0) - 4.0
    shown = (drawable(text) for text in candidates)
    return next((text for text in shown if text and len(text) * MONOSPACE_ADVANCE * size <= room), None)


def shortened(text: str, least: int = 12) -> list[str]:
    """Return `text` and ever shorter forms of it that end in "…", none shorter than `least` characters."""
    text = drawable(text)
    return [text, *(text[:length].rstrip() + "…" for length in range(len(text) - 2, least - 2, -1))]


def draw_bar_texts(
    ax: Axes,
    texts: Iterable[tuple[float, float, float, Sequence[str]]],
    size: float = SMALL,
    color: str = TEXT,
    background: str | None = None,
) -> None:
    """Write, in the middle of each (start, end, y, candidates), the first candidate that fits; nothing if none does.

    `background` is the colour of a ground under the text, where lines run across the bars.
    """
    ground = {"facecolor": background, "edgecolor": "none", "pad": 0.8} if background else None
    for start, end, middle, candidates in texts:
        text = fitting_text(ax, end - start, candidates, size)
        if text is not None:
            write(
                ax,
                (start + end) / 2,
                middle,
                text,
                family=[MONOSPACE, FONT],
                size=size,
                color=color,
                ha="center",
                va="center_baseline",
                zorder=3.0,
                bbox=ground,
                clip_on=True,
                in_layout=False,
            )


def format_time_axis(
    ax: Axes,
    span_s: float,
    *,
    since: str | None = "the start of the recording",
    unit: tuple[str, float] | None = None,
) -> None:
    """Give an x axis in seconds round ticks in a unit that suits `span_s`, faint grid lines and a label.

    Args:
        ax: Its x data are seconds.
        span_s: The longest time shown.
        since: What time zero is, for the label; None for no label and no tick labels (an upper panel).
        unit: Its name and how many of it make one of the x data, when `time_unit` does not suit.
    """
    name, per_second = unit or time_unit(span_s)
    ax.xaxis.set_major_locator(MaxNLocator(nbins=8, steps=[1, 2, 2.5, 5, 10]))
    step_digits = _decimals(ax, per_second)
    ax.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x * per_second:.{step_digits}f}"))
    ax.grid(axis="x", color=GRID, linewidth=0.8)
    ax.set_axisbelow(True)
    ax.tick_params(axis="x", labelsize=SMALL, labelcolor=TEXT, color=TEXT, labelbottom=since is not None)
    for label in ax.get_xticklabels():
        label.set_fontfamily(FONT)
    if since is not None:
        ax.set_xlabel(f"{name} since {since}", family=FONT, size=MEDIUM, color=TEXT)


def _decimals(ax: Axes, per_second: float) -> int:
    ticks = [float(x) * per_second for x in ax.get_xticks()]
    step = min((b - a for a, b in pairwise(ticks)), default=1.0)
    return next((digits for digits in range(4) if abs(round(step, digits) - step) < step * 1e-6), 4)


@lru_cache(maxsize=4096)
def text_width(text: str, size: float, weight: Literal["normal", "bold"] = "normal") -> float:
    """Return the width of `text` in points."""
    if not text.strip():
        return 0.0
    # A dollar sign would begin a formula here; "S" is as wide.
    path = TextPath(
        (0, 0), drawable(text).replace("$", "S"), prop=FontProperties(family=FONT, size=size, weight=weight)
    )
    return float(path.get_extents().x1)
