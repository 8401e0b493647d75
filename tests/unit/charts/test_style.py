"""The look that all charts share."""

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import PolyCollection
from matplotlib.figure import Figure

from asynctrace.charts.looks import duration_text
from asynctrace.charts.style import (
    SLIVER_POINTS,
    draw_bar_texts,
    draw_bars,
    draw_end_marks,
    draw_legend,
    draw_running,
    fitting_text,
    format_time_axis,
    points_to_x,
    shortened,
)


@pytest.fixture
def ax() -> Axes:
    """An axes 720 points wide that shows 72 seconds: ten points a second."""
    axes = Figure(figsize=(10, 2)).add_axes((0, 0, 1, 1))
    axes.set_xlim(0, 72)
    return axes


def extents(collection: PolyCollection) -> list[tuple[float, float]]:
    outlines = [np.asarray(path.vertices) for path in collection.get_paths()]
    return [(outline[:, 0].min(), outline[:, 0].max()) for outline in outlines]


def test_points_follow_the_scale_of_the_axes(ax: Axes) -> None:
    assert points_to_x(ax, 10) == pytest.approx(1.0)


def test_a_running_sliver_is_as_wide_as_can_be_seen_and_stays_in_its_row(ax: Axes) -> None:
    draw_running(ax, [(0, 0, 0), (9.999, 10, 0), (20, 30, 0)], [(0, 10), (0, 10), (20, 30)])

    [collection] = [one for one in ax.collections if isinstance(one, PolyCollection)]
    sliver = SLIVER_POINTS / 10
    assert extents(collection) == [
        pytest.approx((0, sliver)),
        pytest.approx((10 - sliver, 10)),
        pytest.approx((20, 30)),
    ]


def test_a_state_is_one_collection_however_many_bars_it_has(ax: Axes) -> None:
    draw_bars(ax, "waiting", [(index / 100, index / 100 + 0.01, 0) for index in range(5000)])

    assert [len(one.get_paths()) for one in ax.collections] == [5000]


def test_hatched_bars_are_one_path_that_fills_where_they_overlap(ax: Axes) -> None:
    ax.set_axis_off()
    ax.set_ylim(-0.5, 0.5)
    collection = draw_bars(ax, "ready", [(10, 40, 0), (20, 60, 0), (30, 30, 0)], height=1)

    assert collection is not None
    assert len(collection.get_paths()) == 1
    figure = ax.get_figure(root=True)
    assert figure is not None
    canvas = FigureCanvasAgg(figure)
    canvas.draw()  # type: ignore[no-untyped-call]  # matplotlib's
    row = np.asarray(canvas.buffer_rgba())[20]  # type: ignore[no-untyped-call]  # matplotlib's
    filled = (row == [0xE6, 0x9F, 0x00, 0xFF]).all(axis=1)
    per_second = len(row) / 72
    for start in (11, 21, 35, 50):
        assert filled[round(start * per_second) : round((start + 8) * per_second)].mean() > 0.5


def test_no_bars_draw_nothing(ax: Axes) -> None:
    assert draw_bars(ax, "ready", []) is None


def test_text_is_drawn_only_where_it_fits(ax: Axes) -> None:
    draw_bar_texts(
        ax, [(0, 12, 0, ["asyncio.sleep(1)"]), (20, 25, 0, ["asyncio.sleep(1)", "sleep"]), (30, 31, 0, ["io"])]
    )

    assert [text.get_text() for text in ax.texts] == ["asyncio.sleep(1)", "sleep"]


def test_a_long_text_is_shortened_before_it_is_left_out(ax: Axes) -> None:
    text = "client.get(url, params=params, timeout=timeout)"

    assert fitting_text(ax, 12, shortened(text)) == "client.get(url, para…"
    assert fitting_text(ax, 5, shortened(text)) is None


def test_only_outcomes_with_a_mark_are_marked(ax: Axes) -> None:
    marked = draw_end_marks(ax, [(1, 0, "returned"), (2, 0, "raised"), (3, 0, "cancelled"), (4, 0, "unfinished")])

    assert marked == {"raised", "cancelled", "unfinished"}


def test_the_legend_has_what_is_present_in_one_order(ax: Axes) -> None:
    legend = draw_legend(ax, {"raised", "waiting", "running"})

    assert legend is not None
    assert [text.get_text() for text in legend.get_texts()] == ["running", "waiting (on what)", "raised"]


def test_a_legend_in_rows_reads_row_by_row(ax: Axes) -> None:
    legend = draw_legend(ax, {"running", "waiting", "ready", "raised", "cancelled"}, rows=2)

    assert legend is not None
    first_row = [legend.get_texts()[index].get_text() for index in (0, 2, 4)]
    assert first_row == ["running", "waiting (on what)", "ready, loop busy"]


@pytest.mark.parametrize(
    ("span_s", "label", "ticks"),
    [
        (72.0, "seconds since the start of the recording", ["0", "10", "20"]),
        (0.9, "milliseconds since the start of the recording", ["0", "200", "400"]),
        (3e-5, "microseconds since the start of the recording", ["0", "5", "10"]),
        (0.004, "milliseconds since the start of the recording", ["0.0", "0.5", "1.0"]),
    ],
)
def test_the_unit_of_the_time_axis_follows_what_it_spans(ax: Axes, span_s: float, label: str, ticks: list[str]) -> None:
    ax.set_xlim(0, span_s)

    format_time_axis(ax, span_s)

    assert ax.get_xlabel() == label
    assert [tick.get_text() for tick in ax.get_xticklabels()][:3] == ticks


@pytest.mark.parametrize(
    ("duration_ns", "text"),
    [
        (1_002_000_000, "1.00 s"),
        (20_001_000_000, "20.0 s"),
        (999_900_000, "1.00 s"),
        (212_345_678, "212 ms"),
        (35_000, "35.0 µs"),
        (12, "12 ns"),
    ],
)
def test_durations_have_three_digits(duration_ns: int, text: str) -> None:
    assert duration_text(duration_ns) == text
