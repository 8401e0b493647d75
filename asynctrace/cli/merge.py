"""`asynctrace merge`: the recordings of several processes of one machine as one, on one clock."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from itertools import accumulate, combinations
from pathlib import Path

from asynctrace.analysis.row_names import visible
from asynctrace.cli import rows, tell
from asynctrace.cli.convert import FORMATS, format_of
from asynctrace.cli.output import checked_output
from asynctrace.cli.progress import progress
from asynctrace.errors import UsageError
from asynctrace.events import Part
from asynctrace.formats import SUFFIXES
from asynctrace.formats.exporting import require_packages

NAME = "merge"
HELP = "put the recordings of several processes on one clock, in one file"
EXAMPLE = "asynctrace merge trace-*.pftrace -o merged.pftrace.gz"

_MANY_BYTES = 5_000_000  # that take long enough to show how far it is


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("files", nargs="+", metavar="FILE", help="recordings, two or more, in any order")
    parser.add_argument("-o", "--output", required=True, metavar="OUT", help=f"the file to write: {', '.join(FORMATS)}")
    rows.add_argument(parser)
    parser.add_argument("--force", action="store_true", help="replace a file that asynctrace did not write")
    parser.set_defaults(tasks=False, events=False)  # of spans, as convert has them when nothing is said


def main(args: argparse.Namespace) -> int:
    paths = [Path(name) for name in args.files]
    output = Path(args.output)
    checked_output(args.output, FORMATS, is_forced=args.force)
    rows.check(args.rows, args.output)
    require_packages(output)
    _check(paths, output)
    from asynctrace.formats.merging import merge_recordings

    # How much was read, after each file.
    sizes = list(accumulate(path.stat().st_size if path.is_file() else 0 for path in paths))
    with progress(sizes[-1], f"reading {len(paths)} recordings", _MANY_BYTES) as advance:
        parts, window, said = merge_recordings(paths, advance and (lambda number: advance(sizes[number - 1])))
    if said:
        tell(*(f"note: {visible(note)}" for note in said))
    told = _write(parts, window, output, args)
    print(f"saved {visible(args.output)}{told}")
    return 0


def _check(paths: Sequence[Path], output: Path) -> None:
    if len(paths) < 2:
        raise UsageError("there is nothing to merge one recording with: name two or more")
    for one, other in combinations(paths, 2):
        if _is_same_file(one, other):
            raise UsageError(f"{one} and {other} are one file: name each recording once")
    for path in paths:
        # A second `merge trace-*.pftrace -o trace-all.pftrace` would read what the first one wrote.
        if _is_same_file(path, output):
            raise UsageError(f"{path} cannot be read and replaced at once: name another output with -o")


def _is_same_file(one: Path, other: Path) -> bool:
    try:
        return one.samefile(other)
    except (OSError, ValueError):  # one is missing: whoever reads it tells
        return False


def _write(parts: tuple[Part, ...], window: tuple[int, int], output: Path, args: argparse.Namespace) -> str:
    """Write the file; return what to add to "saved FILE"."""
    suffix = format_of(output)
    if suffix not in SUFFIXES:
        from asynctrace.model.build import build_trace

        return FORMATS[suffix](build_trace(parts, window=window, source=str(output)), output, args)
    rows.write_recording(parts, window, output, args.rows)
    return f": {len(parts)} processes"
