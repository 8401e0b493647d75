"""`asynctrace demo`: the same three waits blocking, in threads, in processes and with asyncio, compared."""

from __future__ import annotations

import argparse
from pathlib import Path

from asynctrace.cli.comparison_text import print_table, show_progress, tell_failures
from asynctrace.errors import UsageError

NAME = "demo"
HELP = "compare four versions of a small program, to see what asynctrace shows"
EXAMPLE = "asynctrace demo"

_SCRIPTS = {"blocking": "blocking.py", "threads": "threaded.py", "processes": "processes.py", "gather": "gather.py"}
_FOLDER = Path("asynctrace-demo")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = f"{HELP[0].upper()}{HELP[1:]}. Leaves two pictures and four traces in ./{_FOLDER}/."


def main(args: argparse.Namespace) -> int:
    from asynctrace.comparison import compare_in

    try:
        _FOLDER.mkdir(exist_ok=True)
    except OSError as error:
        raise UsageError(f"the folder {_FOLDER} cannot be made here ({error.strerror}): run this elsewhere") from error
    scripts = Path(__file__).parent.parent / "demo"
    comparison = compare_in(_FOLDER, {name: scripts / file for name, file in _SCRIPTS.items()}, None, show_progress)
    print_table(comparison)
    tell_failures(comparison)
    comparison.save(_FOLDER / "comparison.png")
    print(f"\n{_FOLDER / 'comparison.png'}  the four side by side")
    trace = comparison.versions[-1].trace
    if trace is not None:
        trace.gantt(_FOLDER / "gather.png")
        print(f"{_FOLDER / 'gather.png'}      what asyncio does, task by task")
        print(f"Next: asynctrace view {_FOLDER / 'gather.pftrace'}")
    return 1 if any(version.error is not None for version in comparison.versions) else 0
