"""Print what tracing costs on this machine: `python -m benchmarks`, from the checkout; see benchmarks/README.md."""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
from pathlib import Path

import asynctrace
from benchmarks.ratios import CASES, PEERS, Case, Ratio, installed_tools, ratios

_COSTS = (
    ("event_ns", "time an event adds to a storm", "{:.0f} ns", None),
    ("bytes_on_disk", "size of an event on disk", "{:.1f} bytes", "about 20"),
    ("save_s", "save a million events", "{:.1f} s", "2 s"),
    ("load_and_summarise_s", "load and summarise a million events", "{:.1f} s", "4 s"),
    ("gantt_s", "draw a Gantt chart of 100,000 intervals", "{:.1f} s", "4 s"),
    ("import_ms", "import asynctrace", "{:.1f} ms", None),
    ("import_record_ms", "import what records", "{:.0f} ms", None),
)

Rows = list[list[str]]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Measure what tracing costs.")
    parser.add_argument("--turns", type=int, default=5, help="how often all tools take turns (default: %(default)s)")
    parser.add_argument(
        "--times", type=int, default=1, help="runs of each in a turn, their median counts (%(default)s)"
    )
    parser.add_argument("--clock", choices=("wall", "cpu"), default="wall", help="cpu: for a machine that others use")
    parser.add_argument("--only", metavar="TEXT", default="", help="only the rows whose title has TEXT in it")
    parser.add_argument("--no-peers", action="store_true", help="asynctrace alone")
    parser.add_argument("--no-costs", action="store_true", help="only ratios")
    parser.add_argument("--markdown", metavar="FILE", type=Path, help="write the tables to FILE, too")
    options = parser.parse_args()

    cases = [case for case in CASES if options.only in case.title]
    peers = () if options.no_peers else installed_tools(PEERS)
    found = [
        ratios(case, options.turns, options.times, options.clock, not options.no_peers, _progress) for case in cases
    ]
    tables = [_ratio_table(cases, found, peers)]
    if not options.no_costs:
        _progress("costs")
        tables.append(_cost_table())
    _progress("")
    caption = _caption(options.turns, options.clock)
    print(caption, *map(_as_text, tables), sep="\n\n")
    if options.markdown:
        options.markdown.write_text("\n\n".join([caption, *map(_as_markdown, tables)]) + "\n", encoding="utf-8")


def _caption(turns: int, clock: str) -> str:
    measured = "wall-clock time" if clock == "wall" else "CPU time"
    return (
        f"{platform.python_implementation()} {platform.python_version()}, {platform.system()} {platform.machine()}, "
        f"{os.cpu_count()} cores, asynctrace {asynctrace.__version__} ({asynctrace.core()} core). "
        f"Ratios of {measured} to the same program untraced: the median of {turns} turns (lowest–highest)."
    )


def _ratio_table(cases: list[Case], found: list[dict[str, Ratio]], peers: tuple[str, ...]) -> Rows:
    rows = [["", "asynctrace", "goal", *("asyncio debug" if peer == "debug" else peer for peer in peers)]]
    for case, values in zip(cases, found, strict=True):
        goal = case.goals[asynctrace.core()]
        cells = [str(values.get(tool, "–")) for tool in (case.ours, *peers)]
        rows.append([case.title, cells[0], f"{'≥' if case.is_rate else '≤'} {goal:g}", *cells[1:]])
    return rows


def _cost_table() -> Rows:
    ran = subprocess.run([sys.executable, "-m", "benchmarks.costs"], stdout=subprocess.PIPE, text=True, check=True)
    values = json.loads(ran.stdout)
    rows = [["", "asynctrace", "goal"]]
    rows += [[title, text.format(values[key]), goal or ""] for key, title, text, goal in _COSTS]
    return rows


def _progress(text: str) -> None:
    if sys.stderr.isatty():
        print(f"\r\033[K{text}", end="", file=sys.stderr, flush=True)


def _as_text(rows: Rows) -> str:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )


def _as_markdown(rows: Rows) -> str:
    lines = ["| " + " | ".join(row) + " |" for row in rows]
    return "\n".join([lines[0], "|---|" + "---:|" * (len(rows[0]) - 1), *lines[1:]])


if __name__ == "__main__":
    main()
