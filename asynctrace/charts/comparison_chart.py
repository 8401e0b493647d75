"""Draw a comparison: a panel a version on one time axis, the finding above, the figures beside."""

from __future__ import annotations

from collections.abc import Sequence
from os import PathLike
from typing import TYPE_CHECKING, Any

from asynctrace.analysis.comparison_finding import find
from asynctrace.analysis.comparison_rows import Panel, panels
from asynctrace.analysis.version import Version, speedup_text
from asynctrace.charts import comparison_layout as place
from asynctrace.charts.mixing import MIX_NOTE
from asynctrace.charts.output import chart_settings, figure_png, picture_path, require_matplotlib, write_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from asynctrace.comparison import Comparison

_SPAN_SHOWN = 1.02  # the last panel's end stands clear of the edge
_SUBTITLE = "#4A4A4A"  # second to the title, yet readable on a projector


def draw_comparison(
    comparison: Comparison,
    path: str | PathLike[str] | None = None,
    *,
    title: str | None = None,
    time_scale: float = 1.0,
    time_unit: str = "s",
    time_label: str | None = None,
) -> Figure:
    """Draw `comparison`, and write it to `path` (.png, .svg or .pdf) when given.

    Args:
        comparison: The versions, in the order of the panels.
        path: Where to write the picture, or None.
        title: Instead of the finding.
        time_scale: How many of `time_unit` a second stands for, where the program plays another clock's time.
        time_unit: Its short name, for the figures: "h".
        time_label: What stands under the axis.

    Returns:
        The matplotlib Figure; pyplot is never touched.

    Raises:
        UsageError: If `path` is no picture's.
        MissingPackageError: If matplotlib is not installed.
    """
    if path is not None:
        picture_path(path)
    require_matplotlib("a comparison's picture")
    clock = _Clock(time_scale, time_unit, time_label)
    with chart_settings():
        figure = _Drawing(comparison, clock, title).figure
    if path is not None:
        write_figure(figure, path)
    return figure


def comparison_png(comparison: Comparison) -> bytes | None:
    """Return the picture as PNG for a notebook, None without matplotlib."""
    from asynctrace.errors import MissingPackageError

    try:
        return figure_png(draw_comparison(comparison))
    except MissingPackageError:
        return None


class _Clock:
    """What the time axis counts: real seconds, or those of a play."""

    def __init__(self, scale: float, unit: str, label: str | None) -> None:
        self.scale = scale
        self.is_real = scale == 1.0 and unit == "s"
        self._unit = unit
        self._label = label

    def since(self, versions: Sequence[Version]) -> str:
        """Return what time zero is."""
        return "the first line of the script" if all(version.is_script for version in versions) else "the start"

    def label(self, versions: Sequence[Version]) -> str | None:
        """Return the axis' label where it is not the usual one."""
        if self._label is not None or self.is_real:
            return self._label
        return f"{self._unit} since {self.since(versions)}"

    def duration(self, seconds: float) -> str:
        """Return a duration for the gutter."""
        from asynctrace.charts.looks import duration_text

        if self.is_real:
            return duration_text(seconds * 1e9)
        value = seconds * self.scale
        digits = 2 if value < 9.995 else 1 if value < 99.95 else 0
        return f"{value:.{digits}f} {self._unit}"


class _Drawing:
    """One comparison on its way onto a figure."""

    def __init__(self, comparison: Comparison, clock: _Clock, title: str | None) -> None:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure

        self.versions = comparison.versions
        self.baseline = comparison.baseline
        self.clock = clock
        self.panels = panels([version.trace for version in self.versions])
        self.present: set[str] = set()
        self.figure = Figure(figsize=(place.WIDTH, place.HEIGHT), facecolor="white")
        FigureCanvasAgg(self.figure)  # texts are measured before anybody saves the figure
        self.left = self._label_width()
        walls = [version.wall_s or 0.0 for version in self.versions]
        self.span = (max(walls) or 1.0) * clock.scale
        notes = self._notes()
        self.places = place.layout(
            [len(panel.rows) if panel is not None else 0 for panel in self.panels],
            [panel is not None and panel.is_packed for panel in self.panels],
            [len(self._figures(index)) for index in range(len(self.versions))],
            len(notes),
        )
        self.figure.set_size_inches(place.WIDTH, self.places.height)
        axes = [self._panel(index) for index in range(len(self.versions))]
        self._time_axes(axes)
        self._heading(title)
        self._legend(axes[-1])
        self._footer(notes)

    def _notes(self) -> list[str]:
        """Return what a reader must know of the traces: loss, functions dropped."""
        notes = [f"{version.name}: {note}" for version in self.versions for note in version.notes]
        if self._has_mixes():
            notes.insert(0, MIX_NOTE)
        return notes[:6]

    def _has_mixes(self) -> bool:
        from asynctrace.charts.comparison_bars import FINEST_POINTS, split

        points = 72 * (place.WIDTH - self.left - place.GUTTER)
        finest_ns = FINEST_POINTS * self.span * _SPAN_SHOWN / points / self.clock.scale * 1e9
        rows = [row for panel in self.panels if panel is not None for row in panel.rows]
        return any(split(row, finest_ns)[1] for row in rows)

    def _figures(self, index: int) -> list[str]:
        """Return the lines in the gutter under a version's name."""
        version, panel = self.versions[index], self.panels[index]
        if version.wall_s is None:
            return ["failed"]
        stands = "failed" if version.error is not None else speedup_text(version, self.baseline)
        cpu_s = version.cpu_s or 0.0
        return [
            f"{self.clock.duration(version.wall_s)}  {stands}".rstrip(),
            f"peak {version.peak_in_progress} · mean {version.mean_in_progress:.1f} in progress",
            f"CPU {cpu_s:.2f} s" if cpu_s >= 0.005 else "CPU under 0.01 s",
            *([panel.note] if panel is not None and panel.note else []),
        ]

    def _label_width(self) -> float:
        from asynctrace.charts.style import SMALL

        labels = [row.label for panel in self.panels if panel is not None for row in panel.rows]
        widest = max((self._width(label, size=SMALL) for label in labels), default=0.0)
        return min(place.LABEL_MOST, max(place.LABEL_LEAST, widest + place.MARGIN + 0.1))

    def _width(self, text: str, **font: Any) -> float:
        """Return how wide a text is, in inches."""
        from asynctrace.charts.style import write

        measured = write(self.figure, 0, 0, text, **font)
        width = float(measured.get_window_extent().width) / self.figure.dpi
        measured.remove()
        return width

    def _fitting(self, candidates: Sequence[str], width: float, *, tail: str = "", **font: Any) -> str:
        """Return the first text that fits into `width` inches, else the last one cut short, before its `tail`."""
        from asynctrace.charts.looks import drawable

        for text in candidates:
            if self._width(text, **font) <= width:
                return text
        text, tail = drawable(candidates[-1].removesuffix(tail)), f"…{tail}"
        fits, too_long = 0, len(text)
        while too_long - fits > 1:
            middle = (fits + too_long) // 2
            if self._width(text[:middle].rstrip() + tail, **font) <= width:
                fits = middle
            else:
                too_long = middle
        return text[:fits].rstrip() + tail

    def _panel(self, index: int) -> Axes:
        from asynctrace.charts.looks import TEXT

        version, panel = self.versions[index], self.panels[index]
        bottom, height = self.places.panels[index]
        width = place.WIDTH - self.left - place.GUTTER
        figure_height = self.places.height
        ax = self.figure.add_axes(
            (self.left / place.WIDTH, bottom / figure_height, width / place.WIDTH, height / figure_height)
        )
        ax.set_label(version.name)
        rows = panel.rows if panel is not None else ()
        ax.set_xlim(0, self.span * _SPAN_SHOWN)
        ax.set_ylim(max(1, len(rows)), 0)
        ax.set_yticks([])
        for side in ("left", "right", "top"):
            ax.spines[side].set_visible(False)
        if panel is not None and rows:
            self._bars(ax, version, panel, height)
            ends = [(version.wall_s or 0.0) * self.clock.scale] * 2
            ax.plot(ends, [0, len(rows)], color=TEXT, linewidth=1.1, linestyle=(0, (4, 2.5)), zorder=3.5, clip_on=False)
        self._frame_text(ax, version, has_rows=bool(rows), width=width)
        self._gutter(index, bottom + height / 2)
        return ax

    def _bars(self, ax: Axes, version: Version, panel: Panel, height: float) -> None:
        from asynctrace.charts.comparison_bars import draw_rows
        from asynctrace.charts.looks import TEXT
        from asynctrace.charts.style import BAR_HEIGHT, SMALL, write_beside

        trace = version.trace
        assert trace is not None  # there are rows
        row_height = height / len(panel.rows)
        share = min(BAR_HEIGHT, place.BAR_MOST / row_height)
        self.present |= draw_rows(ax, panel.rows, trace.start_ns, self.clock.scale, share)
        for index, row in enumerate(panel.rows):
            if row.label:
                number = "".join(row.label.rpartition(" #")[1:]) if " #" in row.label else ""
                label = self._fitting([row.label], self.left - place.MARGIN, tail=number, size=SMALL)
                write_beside(ax, label, (0, index + 0.5), (-7, 0), ha="right", va="center", size=SMALL, color=TEXT)

    def _frame_text(self, ax: Axes, version: Version, *, has_rows: bool, width: float) -> None:
        """Put into an empty frame why it is empty; beside the bars of a version that failed, its error."""
        from asynctrace.charts.looks import GREY_TEXT, LOOKS
        from asynctrace.charts.style import SMALL, write, write_beside

        if has_rows and version.error is None:
            return
        text, color = "no function or coroutine of its own ran", GREY_TEXT
        if version.error is not None:
            text, color = version.error, LOOKS["blocking"].face
        if not has_rows:
            for side in ax.spines.values():
                side.set_visible(True)
                side.set_color(GREY_TEXT)
                side.set_linestyle((0, (3, 3)))
            shown = self._fitting([text], width - 0.3, size=SMALL)
            write(ax, 0.5, 0.5, shown, transform=ax.transAxes, ha="center", va="center", size=SMALL, color=color)
            return
        end = (version.wall_s or 0.0) * self.clock.scale / (self.span * _SPAN_SHOWN)
        room = width * (1 - end) - 0.25
        if room >= 1.0:
            shown = self._fitting([text], room, size=SMALL)
            spot = ax.get_xlim()[1] * end
            write_beside(ax, shown, (spot, ax.get_ylim()[0] / 2), (14, 0), va="center", size=SMALL, color=color)

    def _gutter(self, index: int, middle: float) -> None:
        from asynctrace.charts.looks import GREY_TEXT, LOOKS, TEXT
        from asynctrace.charts.style import SMALL, write

        version, lines = self.versions[index], self._figures(index)
        room = place.GUTTER - 0.25
        x = (place.WIDTH - place.GUTTER + 0.12) / place.WIDTH
        y = middle + (place.NAME_LINE + place.LINE * len(lines)) / 2
        name = self._fitting([version.name], room, size=11, weight="bold")
        y -= place.NAME_LINE / 2
        figure_height = self.places.height
        options: dict[str, Any] = {"ha": "left", "va": "center"}
        write(self.figure, x, y / figure_height, name, size=11, weight="bold", color=TEXT, **options)
        y -= place.NAME_LINE / 2 + place.LINE / 2
        for number, line in enumerate(lines):
            color = GREY_TEXT if number >= 3 else TEXT
            if number == 0 and version.error is not None:
                color = LOOKS["blocking"].face
            shown = self._fitting([line, line.replace(" in progress", "")], room, size=SMALL)
            write(self.figure, x, y / figure_height, shown, size=SMALL, color=color, **options)
            y -= place.LINE

    def _time_axes(self, axes: Sequence[Axes]) -> None:
        from asynctrace.charts.looks import drawable
        from asynctrace.charts.style import format_time_axis

        unit = None if self.clock.is_real else ("", 1.0)
        for ax in axes:
            last = ax is axes[-1]
            format_time_axis(ax, self.span, since=self.clock.since(self.versions) if last else None, unit=unit)
        label = self.clock.label(self.versions)
        if label is not None:
            axes[-1].set_xlabel(drawable(label), parse_math=False)

    def _heading(self, title: str | None) -> None:
        from asynctrace.charts.looks import TEXT
        from asynctrace.charts.style import write

        finding = find(self.versions, self.panels, self.baseline)
        width = place.WIDTH - 2 * place.MARGIN
        height = self.places.height
        font: dict[str, Any] = {"size": 14, "weight": "bold"}
        shown = self._fitting([title] if title is not None else finding.titles, width, **font)
        x = place.MARGIN / place.WIDTH
        options: dict[str, Any] = {"ha": "left", "va": "baseline"}
        write(self.figure, x, 1 - place.TITLE_TOP / height, shown, color=TEXT, **font, **options)
        shown = self._fitting([finding.subtitle], width, size=11)
        write(self.figure, x, 1 - place.SUBTITLE_TOP / height, shown, size=11, color=_SUBTITLE, **options)

    def _legend(self, last: Axes) -> None:
        from asynctrace.charts.style import draw_legend

        top = (self.places.axis_bottom - place.AXIS - 0.03) / self.places.height
        # Below the bars; from the margin where it would else run out of the page.
        for left in (self.left, place.MARGIN):
            drawn = draw_legend(
                last,
                self.present,
                bbox_to_anchor=(left / place.WIDTH, top),
                bbox_transform=self.figure.transFigure,
            )
            if drawn is None or drawn.get_window_extent().x1 <= self.figure.bbox.x1 - place.MARGIN * self.figure.dpi:
                break

    def _footer(self, notes: Sequence[str]) -> None:
        from asynctrace.charts.looks import GREY_TEXT
        from asynctrace.charts.style import SMALL, write

        for index, note in enumerate(notes):
            y = (place.FOOTER_LINE * (len(notes) - index - 0.5)) / self.places.height
            shown = self._fitting([note], place.WIDTH - 2 * place.MARGIN, size=SMALL)
            x = place.MARGIN / place.WIDTH
            write(self.figure, x, y, shown, size=SMALL, color=GREY_TEXT, va="center")
