"""What `compare` and `demo` say in the terminal: progress, the table, and what a failed version wrote."""

from __future__ import annotations

import sys
from typing import Literal

from asynctrace.analysis.row_names import visible
from asynctrace.comparison import COLUMNS, Comparison

_MOST_LINES = 40


def show_progress(name: str, event: Literal["started", "finished", "failed"]) -> None:
    """Tell on stderr which version runs."""
    if event == "started":
        print(f"{visible(name)} …", end="", file=sys.stderr, flush=True)
    else:
        print(" failed" if event == "failed" else " done", file=sys.stderr, flush=True)


def print_table(comparison: Comparison) -> None:
    """Print the figures: with rich on a terminal, else plain, since a pipe wants neither colours nor a width."""
    if sys.stdout.isatty():
        try:
            _print_rich(comparison)
            return
        except ImportError:
            pass
    print(comparison)


def tell_failures(comparison: Comparison) -> None:
    """Show on stderr the end of what each failed script wrote."""
    for version in comparison.versions:
        lines = version.output.rstrip().splitlines()
        if version.error is not None and lines:
            cut = ["…"] if len(lines) > _MOST_LINES else []
            print(f"\n{visible(version.name)} wrote:", *cut, *lines[-_MOST_LINES:], sep="\n", file=sys.stderr)


def _print_rich(comparison: Comparison) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for index, column in enumerate(COLUMNS):
        table.add_column(column, justify="left" if index == 0 else "right", no_wrap=index > 0)
    rows = comparison.table()
    if any(len(row) > len(COLUMNS) for row in rows):
        table.add_column("error", overflow="fold")
    best = max((version.speedup or 0.0 for version in comparison.versions), default=0.0)
    for version, row in zip(comparison.versions, rows, strict=True):
        style = "red" if version.error is not None else "bold" if version.speedup == best else ""
        table.add_row(*(Text(cell) for cell in row), style=style)
    console = Console(highlight=False)
    console.print(table)
    for note in comparison.notes():
        console.print(Text(note, style="dim"))
