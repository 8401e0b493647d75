"""Where a chart goes: the suffixes that can be written, what to say without matplotlib, and writing it.

Imports matplotlib only inside its functions, so that wrong usage is told before anything heavy is loaded.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from asynctrace.errors import AsynctraceError, MissingPackageError, UsageError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PICTURE_SUFFIXES = (".png", ".svg", ".pdf")
DPI = 150

# No creation date and no random ids: the same trace gives the same bytes.
_METADATA: dict[str, dict[str, Any]] = {
    ".png": {"Software": "asynctrace"},
    ".svg": {"Date": None, "Creator": "asynctrace"},
    ".pdf": {"CreationDate": None, "Creator": "asynctrace", "Producer": "asynctrace"},
}
# One look on every machine, whatever the user's matplotlibrc says.
_RC: dict[Any, Any] = {
    "font.family": ["DejaVu Sans"],
    "font.size": 10.0,
    "text.usetex": False,
    "axes.linewidth": 0.8,
    "figure.facecolor": "white",
    "axes.facecolor": "white",
    "savefig.facecolor": "white",
    "savefig.bbox": None,
    "svg.fonttype": "none",  # text stays text: it can be searched and selected
    "svg.hashsalt": "asynctrace",
    "pdf.fonttype": 42,
    "path.simplify": False,
    "hatch.linewidth": 1.0,
}


def require_matplotlib(purpose: str) -> None:
    """Raise MissingPackageError when matplotlib cannot be imported; `purpose` begins the sentence ("a Gantt chart")."""
    try:
        import matplotlib  # noqa: F401  # only whether it is there
    except ImportError as error:
        raise MissingPackageError(f"{purpose} needs matplotlib: install matplotlib (pip install matplotlib)") from error
    except ValueError as error:
        backend = os.environ.get("MPLBACKEND")
        raise UsageError(f"matplotlib cannot start with MPLBACKEND={backend}: unset it, no chart needs it") from error


def picture_path(path: str | PathLike[str]) -> Path:
    """Return `path` as a Path when its suffix is one of a picture.

    Raises:
        UsageError: If it is not; the message lists those that are.
    """
    target = Path(path)
    if target.suffix.lower() not in PICTURE_SUFFIXES:
        raise UsageError(f"{target.name} is no picture: use one of {', '.join(PICTURE_SUFFIXES)}")
    return target


def write_figure(figure: Figure, path: str | PathLike[str]) -> None:
    """Write `figure` to `path`, whose suffix tells the format (.png, .svg or .pdf).

    Raises:
        AsynctraceError: If it cannot be written there.
    """
    target = picture_path(path)
    # Drawn in memory first: a drawing that fails leaves no half a file behind.
    picture = _rendered(figure, target.suffix.lower())
    try:
        target.write_bytes(picture)
    except OSError as error:
        raise AsynctraceError(f"{target} cannot be written: {error.strerror}") from error


def figure_png(figure: Figure) -> bytes:
    """Return `figure` as the bytes of a PNG."""
    return _rendered(figure, ".png")


@contextmanager
def chart_settings() -> Iterator[None]:
    """Hold matplotlib's settings at ours while a chart is made; the user's are back afterwards."""
    from matplotlib import rc_context

    with rc_context(_RC), warnings.catch_warnings():
        # A name may hold what the font lacks, an emoji: a box stands for it, which is to be seen.
        warnings.filterwarnings("ignore", r"Glyph \d+ .* missing from", UserWarning)
        yield


def _rendered(figure: Figure, suffix: str) -> bytes:
    buffer: BinaryIO = BytesIO()
    with chart_settings():
        figure.savefig(buffer, format=suffix[1:], dpi=DPI, metadata=_METADATA[suffix])
    buffer.seek(0)
    return buffer.read()
