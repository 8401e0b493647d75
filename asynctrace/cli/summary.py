"""`asynctrace summary`: where each coroutine's time went, as a table or as JSON."""

import argparse
import json
import sys

from asynctrace.cli.summary_text import SORT_KEYS, Line, summary_lines

NAME = "summary"
HELP = "tell where each coroutine's time went"
EXAMPLE = "asynctrace summary trace.pftrace --sort step"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", metavar="FILE", help="a recording, from asynctrace run or Trace.save")
    parser.add_argument("--sort", choices=SORT_KEYS, default="total", help="the column to sort by (default: total)")
    parser.add_argument("--wide", action="store_true", help="show every kind of waiting, beyond 80 columns")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON, times in seconds")


def main(args: argparse.Namespace) -> int:
    from asynctrace.analysis.summary import summarize
    from asynctrace.formats import load

    summary = summarize(load(args.file))
    if args.json:
        json.dump(summary.as_dict(), sys.stdout, indent=2)
        print()
    else:
        _show(summary_lines(summary, shown_as=args.file, sort=args.sort, is_wide=args.wide))
    return 0


def _show(lines: list[Line]) -> None:
    """Print `lines`: in colours on a terminal, where rich is installed, else as plain text with the same content."""
    if sys.stdout.isatty():
        try:
            from rich.console import Console
            from rich.text import Text
        except ImportError:
            pass
        else:
            console = Console(highlight=False, soft_wrap=True)
            for line in lines:
                console.print(Text(line.text, style=line.style))
            return
    for line in lines:
        print(line.text)
