"""`asynctrace gantt`: a chart of when each task ran, was ready and waited."""

import argparse

from asynctrace.analysis.row_names import visible
from asynctrace.charts.output import PICTURE_SUFFIXES
from asynctrace.cli.output import checked_output

NAME = "gantt"
HELP = "draw when each task ran, was ready and waited"
EXAMPLE = "asynctrace gantt trace.pftrace -o gantt.png"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", metavar="FILE", help="a recording, from asynctrace run or Trace.save")
    parser.add_argument("-o", "--output", required=True, metavar="OUT", help="the picture: .png, .svg or .pdf")
    parser.add_argument("--coroutines", action="store_true", help="draw the coroutines inside each task's row")
    parser.add_argument("--force", action="store_true", help="replace a file that asynctrace did not write")


def main(args: argparse.Namespace) -> int:
    output = checked_output(args.output, PICTURE_SUFFIXES, is_forced=args.force)
    from asynctrace.formats import load

    load(args.file).gantt(output, coroutines=args.coroutines)
    print(f"saved {visible(args.output)}")
    return 0
