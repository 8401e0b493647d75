"""`asynctrace compare`: several versions of one program, side by side."""

from __future__ import annotations

import argparse
import json

from asynctrace.analysis.row_names import visible
from asynctrace.cli.comparison_text import print_table, show_progress, tell_failures
from asynctrace.cli.output import checked_output

NAME = "compare"
HELP = "run several versions of a program, or load their traces, and draw them side by side"
EXAMPLE = "asynctrace compare blocking.py threaded.py gather.py -o comparison.png"

_PICTURE = "comparison.png"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "versions", nargs="+", metavar="SCRIPT-OR-TRACE", help="a script to run, or a saved trace (.pftrace)"
    )
    parser.add_argument("--baseline", metavar="NAME", help="hold the others against this one (default: the first)")
    parser.add_argument(
        "-o",
        "--output",
        metavar="FILE",
        help=f"the picture: .png, .svg or .pdf (default: {_PICTURE}, none with --json)",
    )
    parser.add_argument("--json", action="store_true", help="print the figures as JSON instead of a table")
    parser.add_argument("--force", action="store_true", help="replace a file that asynctrace did not write")


def main(args: argparse.Namespace) -> int:
    from asynctrace.charts.output import PICTURE_SUFFIXES, require_matplotlib
    from asynctrace.comparison import compare_in, name_versions

    shown_as = args.output or (None if args.json else _PICTURE)
    output = None
    if shown_as is not None:
        output = checked_output(shown_as, PICTURE_SUFFIXES, is_forced=args.force)
        if args.output:
            require_matplotlib("a comparison's picture")
    versions = name_versions(args.versions, {})
    comparison = compare_in(None, versions, args.baseline, show_progress)
    if args.json:
        print(json.dumps(comparison.as_dict(), indent=2))
    else:
        print_table(comparison)
    tell_failures(comparison)
    if output is not None and shown_as is not None:
        comparison.save(output)
        if not args.json:
            print(f"\nsaved {visible(shown_as)}")
    return 1 if any(version.error is not None for version in comparison.versions) else 0
