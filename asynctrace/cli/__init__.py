"""The command line: finds the command, parses its arguments, turns errors into one sentence and an exit code.

A command is a module of this package with the constants `NAME`, `HELP` and `EXAMPLE` and two functions,
`add_arguments(parser)` and `main(args) -> exit code`. Only the module of the command asked for is imported.
"""

import argparse
import importlib
import io
import os
import sys
from collections.abc import Sequence
from typing import Protocol, TextIO, cast

from asynctrace import __version__
from asynctrace.errors import AsynctraceError, UsageError

COMMANDS = ("run", "summary", "gantt", "view", "convert", "merge", "compare", "demo")


class Command(Protocol):
    """What the module of a command offers."""

    NAME: str
    HELP: str
    EXAMPLE: str

    def add_arguments(self, parser: argparse.ArgumentParser) -> None: ...

    def main(self, args: argparse.Namespace) -> int: ...


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command that `argv` (default: `sys.argv[1:]`) asks for.

    Returns:
        The exit code: 0, 1 for an error of ours, 2 for wrong usage; for `run`, the traced program's own.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    try:
        if not arguments or arguments[0] not in COMMANDS:
            _overview().parse_args(arguments or ["--help"])
            return 0
        command = _load(arguments[0])
        args = _parser(command).parse_args(arguments[1:])
        if command.NAME == "run":  # stdout is the program's
            return command.main(args)
        _accept_any_text()
        status = command.main(args)
        sys.stdout.flush()  # where what goes wrong can still be told in a sentence
        return status
    except AsynctraceError as error:
        complain(str(error))
        return 2 if isinstance(error, UsageError) else 1
    except OSError as error:
        # Whoever read our output may have seen enough (`| head`): that is no error to tell.
        if not isinstance(error, BrokenPipeError):
            complain(f"{error.filename or 'the output'}: {error.strerror}")
        _drop_unwritten(sys.stdout)
        return 1
    except KeyboardInterrupt:
        # Python itself then ends the process as killed by SIGINT, which is what a shell's loop looks at. There is
        # nothing to tell: a traced program's traceback has been shown already.
        sys.excepthook = lambda *_: None
        raise


def complain(sentence: str) -> None:
    """Tell `sentence`, an error of ours, on one line of stderr, whatever the names in it."""
    from asynctrace.analysis.row_names import visible

    tell(f"asynctrace: {visible(sentence)}")


def tell(*lines: str) -> None:
    """Write `lines` to stderr; where nobody listens there, keep silent."""
    try:
        print(*lines, sep="\n", file=sys.stderr, flush=True)
    except OSError:
        _drop_unwritten(sys.stderr)  # a traced program's exit code is not ours to change
    except (ValueError, AttributeError):  # closed, or None under pythonw
        pass


def _accept_any_text() -> None:
    """Let stdout take what its encoding lacks (… and ×, where that is ASCII) instead of failing on it."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")


def _drop_unwritten(stream: TextIO) -> None:
    """Give up what `stream` could not take, or Python would complain of it at exit, and exit with 120."""
    try:
        stream.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def _load(name: str) -> Command:
    return cast(Command, importlib.import_module(f"asynctrace.cli.{name}"))


def _parser(command: Command) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=f"asynctrace {command.NAME}",
        description=f"{command.HELP[0].upper()}{command.HELP[1:]}.",
        epilog=f"example:\n  {command.EXAMPLE}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        # An abbreviated option of ours could be an option of the traced program.
        allow_abbrev=False,
    )
    command.add_arguments(parser)
    return parser


def _overview() -> argparse.ArgumentParser:
    commands = [_load(name) for name in COMMANDS]
    listing = "\n".join(f"  {command.NAME:<9} {command.HELP}" for command in commands)
    parser = argparse.ArgumentParser(
        prog="asynctrace",
        usage="asynctrace COMMAND ...   (asynctrace COMMAND --help tells more)",
        description=f"See what an asyncio program really does.\n\ncommands:\n{listing}",
        epilog="example:\n  asynctrace run script.py && asynctrace summary trace.pftrace",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"asynctrace {__version__}")
    parser.add_argument("command", choices=COMMANDS, metavar="COMMAND", help=argparse.SUPPRESS)
    return parser
