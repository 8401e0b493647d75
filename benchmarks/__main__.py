"""Print what tracing costs on this machine: `python -m benchmarks`, from the checkout; see benchmarks/README.md."""

from __future__ import annotations

import argparse
import json
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from asynctrace.charts.output import picture_path
from asynctrace.cores import Core
from asynctrace.errors import UsageError
from benchmarks import tables
from benchmarks.growth import growth
from benchmarks.peers import PEERS
from benchmarks.ratios import CASES, CORES, Case, Found, MeasurementError, output_of, ratios

COSTS_TIMEOUT_S = 300.0
LARGEST = 10_000_000


def main(arguments: Sequence[str]) -> None:
    options = _options(arguments)
    cores: tuple[Core, ...] = CORES if options.core == "both" else (options.core,)
    peers = () if options.no_peers else tuple(PEERS)
    cases = [case for case in CASES if options.only.lower() in case.title.lower() and not options.no_ratios]
    command = _command(options)

    found = [ratios(case, options.turns, options.times, options.clock, (*cores, *peers), _progress) for case in cases]
    shown, notes = _ratio_tables(cases, found, cores, peers)
    # With --only it is a row that is wanted.
    if not options.no_costs and not options.only:
        cost_tables, cost_notes = _cost_tables(cores, options.largest)
        shown += cost_tables
        notes += cost_notes
    _progress("")

    caption = tables.caption(command, options.turns, options.clock)
    print(caption, *map(tables.as_text, shown), *notes, sep="\n\n")
    if options.markdown:
        text = "\n\n".join([caption, *map(tables.as_markdown, shown), *notes])
        options.markdown.write_text(text + "\n", encoding="utf-8")
    if options.chart and cases:
        from benchmarks import chart  # it imports matplotlib, and the processes measured above start from this one

        chart.draw(cases, found, options.chart, footer=[tables.machine(), command])


def _options(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Measure what tracing costs.")
    parser.add_argument("--turns", type=int, default=5, help="how often all tools take turns (default: %(default)s)")
    parser.add_argument("--times", type=int, default=1, help="runs of each in a turn, the median counts (%(default)s)")
    parser.add_argument("--clock", choices=("wall", "cpu"), default="wall", help="cpu: for a machine that others use")
    parser.add_argument("--core", choices=("both", *CORES), default="both", help="of asynctrace (default: %(default)s)")
    parser.add_argument("--only", metavar="TEXT", default="", help="only the ratios whose title has TEXT in it")
    parser.add_argument("--no-peers", action="store_true", help="asynctrace alone")
    parser.add_argument("--no-costs", action="store_true", help="only ratios")
    parser.add_argument("--no-ratios", action="store_true", help="only costs")
    parser.add_argument(
        "--largest",
        type=int,
        choices=(1_000_000, 10_000_000, 100_000_000),
        default=LARGEST,
        help="events of the longest recording (default: %(default)s)",
    )
    parser.add_argument("--markdown", metavar="FILE", type=Path, help="write the tables to FILE, too")
    parser.add_argument("--chart", metavar="FILE", type=Path, help="draw the slowdowns to FILE: .png, .svg or .pdf")
    options = parser.parse_args(arguments)
    try:  # before minutes of measuring
        if options.chart:
            picture_path(options.chart)
    except UsageError as error:
        parser.error(str(error))
    for path in (options.chart, options.markdown):
        if path and not path.absolute().parent.is_dir():
            parser.error(f"{path} cannot be written: there is no directory {path.parent}")
    return options


def _command(options: argparse.Namespace) -> str:
    """Return how to repeat what was measured."""
    words = ["python", "-m", "benchmarks", "--clock", options.clock, "--turns", str(options.turns)]
    words += ["--times", str(options.times)] if options.times != 1 else []
    words += ["--core", options.core] if options.core != "both" else []
    words += ["--only", options.only] if options.only else []
    words += ["--no-peers"] if options.no_peers else []
    words += ["--no-costs"] if options.no_costs else []
    words += ["--no-ratios"] if options.no_ratios else []
    words += ["--largest", str(options.largest)] if options.largest != LARGEST else []
    return shlex.join(words)


def _ratio_tables(
    cases: Sequence[Case], found: Sequence[Found], cores: Sequence[Core], peers: Sequence[str]
) -> tuple[list[tables.Rows], list[str]]:
    shown = [tables.core_table(cases, found, cores)] if cases else []
    if peers and any(case.has_peers for case in cases):
        shown.append(tables.peer_table(cases, found, peers))
    return shown, tables.reasons(cases, found)


def _cost_tables(cores: Sequence[Core], largest: int) -> tuple[list[tables.Rows], list[str]]:
    costs: tables.OfCore = {}
    grown: tables.GrowthOfCore = {}
    notes = []
    for core in cores:
        costs[core], grown[core] = {}, []
        _progress(f"costs, {core} core")
        try:
            costs[core] = json.loads(output_of("benchmarks.costs", core=core, timeout_s=COSTS_TIMEOUT_S))
        except MeasurementError as error:
            notes.append(tables.cost_reason(core, "costs", str(error)))
        try:
            for row in growth(largest, core, _progress):
                grown[core].append(row)
        except MeasurementError as error:
            notes.append(tables.cost_reason(core, "figures of more events", str(error)))
    return [tables.cost_table(costs, grown), tables.growth_table(grown)], notes


def _progress(text: str) -> None:
    if sys.stderr.isatty():
        print(f"\r\033[K{text}", end="", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
