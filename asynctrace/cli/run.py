"""`asynctrace run`: record a program from its first line until its exit handlers have run."""

from __future__ import annotations

import argparse
import atexit
import os
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from asynctrace.charts.output import PICTURE_SUFFIXES
from asynctrace.charts.timeline import PAGE_SUFFIX
from asynctrace.cli import complain, tell
from asynctrace.cli.output import checked_output
from asynctrace.errors import AsynctraceError, MissingPackageError, UsageError
from asynctrace.formats import SAVED_SUFFIXES
from asynctrace.formats.exporting import require_packages

if TYPE_CHECKING:
    from asynctrace.recording import Recording

NAME = "run"
HELP = "run a program and record it"
EXAMPLE = "asynctrace run -o trace.pftrace script.py --its-own-options"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.usage = (
        "asynctrace run [-o FILE] [--include GLOB] [--exclude GLOB] [--limit SIZE]\n"
        "                      [--limit-disk SIZE] [--snapshot-signal NAME]\n"
        "                      [--snapshot-when-blocked SECONDS] [--force] [-q]\n"
        "                      (SCRIPT | -m MODULE | CONSOLE-SCRIPT) [ARGS...]"
    )
    parser.add_argument(
        "-o",
        "--output",
        default="trace.pftrace",
        metavar="FILE",
        help="where to save: .pftrace, .json, .speedscope.json, .parquet, .html, or .png .svg .pdf",
    )
    parser.add_argument(
        "--include", action="append", default=[], metavar="GLOB", help="record only code in files that match"
    )
    parser.add_argument(
        "--exclude", action="append", default=[], metavar="GLOB", help="do not record code in files that match"
    )
    parser.add_argument(
        "--limit", metavar="SIZE", help="what the events may take in memory; the oldest go (default: 256M)"
    )
    parser.add_argument(
        "--limit-disk", metavar="SIZE", help="what a .pftrace may take on disk; the oldest events go (default: 2G)"
    )
    parser.add_argument("--snapshot-signal", metavar="NAME", help="save a snapshot on this signal, such as USR2")
    parser.add_argument(
        "--snapshot-when-blocked",
        metavar="SECONDS",
        help="save a snapshot when a step holds the loop for so long, at most one a minute",
    )
    parser.add_argument("--force", action="store_true", help="replace a file that asynctrace did not write")
    parser.add_argument("-q", "--quiet", action="store_true", help="say nothing at the end")
    # REMAINDER: from here on every word is the program's, its own -q and --force included.
    parser.add_argument(
        "-m", dest="module", nargs=argparse.REMAINDER, metavar="MODULE", help="run a module, as python -m does"
    )
    parser.add_argument(
        "program", nargs=argparse.REMAINDER, metavar="SCRIPT", help="a script, or a program that pip installed"
    )


def main(args: argparse.Namespace) -> int:
    from asynctrace.script import Program, find_program, run

    if args.module:
        program = Program(args.module[0], tuple(args.module[1:]), "module")
    elif args.module is None and args.program:
        program = find_program(args.program)
    else:
        raise UsageError("nothing to run: asynctrace run SCRIPT, or asynctrace run -m MODULE")
    output = checked_output(args.output, (*SAVED_SUFFIXES, *PICTURE_SUFFIXES, PAGE_SUFFIX), is_forced=args.force)
    require_packages(output)
    if output.suffix.lower() in PICTURE_SUFFIXES and find_spec("matplotlib") is None:
        raise MissingPackageError(f"{args.output} needs matplotlib: install matplotlib, or use -o trace.pftrace")
    if output.suffix.lower() == PAGE_SUFFIX and find_spec("bokeh") is None:
        raise MissingPackageError(f"{args.output} needs bokeh: install bokeh, or use -o trace.pftrace")
    saving = _Saving(output, args.output, is_quiet=args.quiet)
    # Exit handlers run last in, first out: registered before the program and before anything that the recording
    # imports, ours is the last. The program's threads have been joined by then, its child processes have ended.
    atexit.register(saving.stop_and_save)
    from asynctrace.recording import Recording
    from asynctrace.settings import from_texts
    from asynctrace.termination import save_on_sigterm

    # An option that is there and empty (a variable of the shell that was not set) is wrong, too.
    options, limit_disk_bytes = from_texts(
        vars(args).get,
        lambda key: "--" + key.replace("_", "-"),
        str(output),
        include=tuple(args.include),
        exclude=tuple(args.exclude),
        functions=True,
    )
    recording = Recording(options, output=output, limit_disk_bytes=limit_disk_bytes)

    def on_first_line() -> None:
        save_on_sigterm(saving.stop_and_save)
        recording.start()
        saving.recording = recording

    try:
        return run(program, on_first_line)
    except KeyboardInterrupt:
        saving.was_interrupted = True
        raise


_MOST_EVENTS = 1_000_000  # more are not summed up at the end of a program, whose user waits


class _Saving:
    """What happens once the program has ended: its exit code and output are settled, ours goes to stderr."""

    def __init__(self, output: Path, shown_as: str, *, is_quiet: bool) -> None:
        self.recording: Recording | None = None
        self.was_interrupted = False
        self._output = output
        self._shown_as = shown_as
        self._is_quiet = is_quiet
        self._pid = os.getpid()

    def stop_and_save(self) -> None:
        # A child that the program forked has this handler, too, but the file is the parent's to write.
        if self.recording is None or os.getpid() != self._pid:
            return
        recording, self.recording = self.recording, None
        try:
            recording.stop()
            recording.save_output()
        except (AsynctraceError, OSError) as error:
            complain(f"{self._shown_as} could not be saved: {error}")
        else:
            if recording.output_error is not None:
                complain(f"{self._shown_as} {recording.output_error}")
            elif not self._is_quiet:
                self._tell(recording)
        if self.was_interrupted:
            _end_as_interrupted()

    def _tell(self, recording: Recording) -> None:
        from asynctrace.analysis.overview import overview
        from asynctrace.analysis.row_names import visible
        from asynctrace.cli.summary_text import NOTHING_SEEN, header_lines

        saved = [f"saved {visible(name)}" for name in (self._shown_as, *map(os.path.relpath, recording.snapshots))]
        if recording.event_count > _MOST_EVENTS:
            tell(f"{recording.event_count:,} events recorded", *saved)
            return
        trace = recording.trace
        trace.source = self._shown_as
        if not (trace.tasks or trace.coroutines or trace.calls):
            complain(NOTHING_SEEN)
            return
        tell(*header_lines(overview(trace), self._shown_as), *saved)


def _end_as_interrupted() -> None:
    """Have Python end the process as killed by SIGINT, after all else.

    It does so when a KeyboardInterrupt was the last thing to leave code compiled from a text, and what was imported for
    saving has run such code since: every dataclass has.
    """
    try:
        exec("raise KeyboardInterrupt")
    except KeyboardInterrupt:
        pass
