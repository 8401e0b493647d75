"""Run several versions of one program, or load them, and hold them against each other.

Example:
    >>> comparison = asynctrace.compare("blocking.py", "gather.py")
    >>> comparison.save("comparison.png")
    >>> print(comparison)
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any, Literal

from asynctrace.analysis.row_names import visible
from asynctrace.analysis.version import Version, speedup_text, with_speedups
from asynctrace.errors import AsynctraceError, UsageError
from asynctrace.version_runs import Given, name_of, run_version

Progress = Callable[[str, Literal["started", "finished", "failed"]], None]

COLUMNS = ("version", "wall s", "speed-up", "peak", "mean", "CPU s")


@dataclass(frozen=True, slots=True)
class Comparison:
    """What `compare` found: `versions` in the order given, each with its figures and its trace."""

    versions: tuple[Version, ...]
    baseline: str

    def save(self, path: str | PathLike[str], **options: Any) -> None:
        """Draw the comparison to `path` (.png, .svg or .pdf); `options` are those of `draw_comparison`."""
        from asynctrace.charts.comparison_chart import draw_comparison

        draw_comparison(self, path, **options)

    def as_dict(self) -> dict[str, Any]:
        """Return the figures as `asynctrace compare --json` prints them."""
        return {"versions": [version.as_dict() for version in self.versions]}

    def table(self) -> list[tuple[str, ...]]:
        """Return the cells of the table under COLUMNS, a row a version; a failed one ends with its error."""
        return [tuple(map(visible, _cells(version, self.baseline))) for version in self.versions]

    def notes(self) -> list[str]:
        """Return what a reader of the figures must know, with the version's name."""
        return [visible(f"{version.name}: {note}") for version in self.versions for note in version.notes]

    def __str__(self) -> str:
        rows = [COLUMNS, *self.table()]
        widths = [max(len(row[column]) for row in rows if column < len(row)) for column in range(len(COLUMNS))]
        lines = []
        for row in rows:
            cells = [
                cell.ljust(width) if index == 0 else cell.rjust(width)
                for index, (cell, width) in enumerate(zip(row, widths, strict=False))
            ]
            lines.append("  ".join([*cells, *row[len(COLUMNS) :]]).rstrip())
        return "\n".join([*lines, *self.notes()])

    def _repr_png_(self) -> bytes | None:
        from asynctrace.charts.comparison_chart import comparison_png

        return comparison_png(self)


def compare(
    *versions: Given,
    baseline: str | None = None,
    progress: Progress | None = None,
    **named: Given,
) -> Comparison:
    """Run or load several versions of one program, one after the other, and compare them.

    Args:
        *versions: Each a script's path, a saved trace (.pftrace), a Trace, or a function without arguments, `def` or
            `async def`. A script runs in a process of its own, a function in this one. Its name is the file's or the
            function's.
        baseline: The name of the version that the others are held against; the first one when not given.
        progress: Called with each version's name and "started", then "finished" or "failed".
        **named: Further versions, by name: `compare(blocking=f, gather="gather.py")`.

    Returns:
        The comparison; a version that failed is in it with its error.

    Raises:
        UsageError: If nothing was given, a file does not exist, or no version is called `baseline`.
    """
    return compare_in(None, name_versions(versions, named), baseline, progress)


def compare_in(
    folder: Path | None, versions: dict[str, Given], baseline: str | None, progress: Progress | None = None
) -> Comparison:
    """Compare `versions`, by name, and leave the scripts' traces in `folder`; None keeps none of them."""
    if not versions:
        raise UsageError(
            'there is nothing to compare: give scripts, traces or functions, as in compare("a.py", "b.py")'
        )
    base = baseline if baseline is not None else next(iter(versions))
    if base not in versions:
        raise UsageError(f"no version is called {base}: the baseline is one of {', '.join(versions)}")
    done = []
    with tempfile.TemporaryDirectory(prefix="asynctrace-") as scratch:
        for name, given in versions.items():
            if progress is not None:
                progress(name, "started")
            try:
                version = run_version(name, given, folder if folder is not None else Path(scratch))
            except AsynctraceError:
                if progress is not None:
                    progress(name, "failed")
                raise
            if progress is not None:
                progress(name, "failed" if version.error is not None else "finished")
            done.append(version)
    return Comparison(with_speedups(done, base), base)


def name_versions(versions: Sequence[Given], named: Mapping[str, Given]) -> dict[str, Given]:
    """Return all versions by name, those of `versions` told apart by a number where two have the same.

    Raises:
        UsageError: If one does not exist or cannot be compared: told before the first one runs.
    """
    result: dict[str, Given] = {}
    taken = set(named)
    for given in versions:
        plain = name = name_of(given)
        number = 1
        while name in taken:
            number += 1
            name = f"{plain} {number}"
        taken.add(name)
        result[name] = given
    for given in named.values():
        name_of(given)
    return {**result, **named}


def _cells(version: Version, baseline: str) -> tuple[str, ...]:
    cells = [version.name, "-", "-", "-", "-", "-"]
    if version.wall_s is not None:
        cells[1] = f"{version.wall_s:.2f}"
        cells[3], cells[4] = str(version.peak_in_progress), f"{version.mean_in_progress:.1f}"
        cells[5] = f"{version.cpu_s:.2f}"
    cells[2] = "failed" if version.error is not None else speedup_text(version, baseline)
    if version.error is not None:
        cells.append(version.error)
    return tuple(cells)
