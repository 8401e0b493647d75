"""What the charts have in common, whatever draws them: the colours of the states, their names, how texts are shortened.

Nothing here needs a package that draws.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from asynctrace.analysis.row_names import visible

TEXT = "#222222"
GREY_TEXT = "#6B6B6B"
GRID = "#DDDDDD"
_MOST_DRAWN = 400  # characters; no page is wider

StateName = Literal["running", "waiting", "ready", "blocking", "starting"]


@dataclass(frozen=True, slots=True)
class Look:
    """How the bars of a state are drawn, and its name in the legend."""

    face: str
    edge: str
    edge_points: float
    hatch: str | None
    legend: str
    zorder: float


# In the order of the legend. A hatch has the colour of its edge.
LOOKS: dict[StateName, Look] = {
    "running": Look("#0B5394", "none", 0.0, None, "running", 2.3),
    "waiting": Look("#DCEAF5", "#5B7C99", 0.9, None, "waiting (on what)", 2.1),
    "ready": Look("#E69F00", "#FFFFFF", 0.0, "////", "ready, loop busy", 2.2),
    "blocking": Look("#B8371B", "#FFFFFF", 1.0, "xx", "blocking the loop", 2.4),
    "starting": Look("#FFFFFF", "#8A8A8A", 0.7, "....", "starting up", 2.0),
}

END_MARKS = ("raised", "cancelled", "unfinished")  # outcomes that have a mark: a returned or closed one has none


def elided(text: str, most: int) -> str:
    """Return `text` on one line, as it can be drawn, with at most `most` characters; its beginning and end stay.

    matplotlib raises on a lone surrogate, and an SVG with a control character is none.
    """
    text = visible(text if len(text) <= most else f"{text[:most]}{text[-most:]}")
    if len(text) <= most:
        return text
    head = (most - 1) // 2
    return f"{text[:head]}…{text[len(text) - (most - 1 - head) :]}"


def drawable(text: str) -> str:
    """Return `text`, which may be any program's, as it can be drawn."""
    return elided(text, _MOST_DRAWN)


def time_unit(span_s: float) -> tuple[str, float]:
    """Return the unit for a time axis of `span_s` seconds, and how many of it make a second."""
    if span_s >= 1.0:
        return "seconds", 1.0
    if span_s >= 1e-3:
        return "milliseconds", 1e3
    return "microseconds", 1e6


def duration_text(duration_ns: float) -> str:
    """Return a duration for a title or label, three significant digits: "1.00 s", "212 ms", "35.0 µs"."""
    for unit, size in (("s", 1e9), ("ms", 1e6), ("µs", 1e3)):
        if duration_ns >= size * 0.9995:
            value = duration_ns / size
            digits = 2 if value < 9.995 else 1 if value < 99.95 else 0
            return f"{value:.{digits}f} {unit}"
    return f"{duration_ns:.0f} ns"
