"""`asynctrace convert`: a recording in another format, or sent to an OpenTelemetry endpoint."""

from __future__ import annotations

import argparse
import io
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from asynctrace.analysis.row_names import visible
from asynctrace.cli import rows, tell
from asynctrace.cli.output import checked_output
from asynctrace.cli.progress import progress
from asynctrace.errors import AsynctraceError, MissingPackageError, UsageError
from asynctrace.formats import SUFFIXES
from asynctrace.formats.exporting import EXPORT_SUFFIXES, require_packages
from asynctrace.replacing import replacing

if TYPE_CHECKING:
    from asynctrace.model.trace import Trace
    from asynctrace.otel.converting import Delivery
    from asynctrace.otel.spans import Span

NAME = "convert"
HELP = "write a recording in another format, or send it to an OpenTelemetry endpoint"
EXAMPLE = "asynctrace convert trace.pftrace --otlp http://localhost:4318"

_MANY = 5_000  # spans that take long enough to show how far it is


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", metavar="FILE", help="a recording, from asynctrace run or Trace.save")
    parser.add_argument("output", nargs="?", metavar="OUT", help=f"the file to write: {', '.join(FORMATS)}")
    parser.add_argument(
        "--otlp", metavar="ENDPOINT", help="send it as spans, with OTLP over HTTP, to such as http://localhost:4318"
    )
    parser.add_argument(
        "--tasks", action="store_true", help="spans for tasks, too (where nothing is decorated they are there anyway)"
    )
    parser.add_argument("--events", action="store_true", help="in spans, say when they were suspended and resumed")
    rows.add_argument(parser)
    parser.add_argument("--force", action="store_true", help="replace a file that asynctrace did not write")


def main(args: argparse.Namespace) -> int:
    if (args.output is None) == (args.otlp is None):
        raise UsageError("name a file to write, or an endpoint to send to: asynctrace convert FILE (OUT | --otlp URL)")
    if args.otlp is not None:
        return _send(args)
    checked_output(args.output, FORMATS, is_forced=args.force)
    rows.check(args.rows, args.output)
    require_packages(args.output)
    output = Path(args.output)  # as it was given: no program runs here that would change the folder
    if args.rows is not None:
        rows.rewrite(args.file, output, args.rows)
        told = ""
    else:
        told = FORMATS[format_of(output)](_loaded(args.file), output, args)
    print(f"saved {visible(args.output)}{told}")
    return 0


def _write_otlp_json(trace: Trace, output: Path, args: argparse.Namespace) -> str:
    _require_sdk()
    from asynctrace.otel.converting import json_delivery

    json_delivery(io.StringIO())  # without its package, nothing is begun in vain
    spans = _spans(trace, args)
    with (
        replacing(output) as file,
        io.TextIOWrapper(file, encoding="utf-8", newline="\n") as text,
        progress(len(spans), "writing spans", _MANY) as advance,
    ):
        _convert(trace, spans, json_delivery(text, advance))
    return f": {_number(len(spans))}"


def _copy(trace: Trace, output: Path, args: argparse.Namespace) -> str:
    from asynctrace.formats import copy_recording

    copy_recording(args.file, output)
    return ""


def _write_export(trace: Trace, output: Path, args: argparse.Namespace) -> str:
    from asynctrace.formats.exporting import export

    states = sum(len(task.states) for task in trace.tasks)
    with progress(states, f"writing {visible(output.name)}", _MANY) as advance:
        export(trace, output, advance)
    return ""


FORMATS: dict[str, Callable[[Trace, Path, argparse.Namespace], str]] = {
    ".otlp.json": _write_otlp_json,
    **dict.fromkeys(EXPORT_SUFFIXES, _write_export),
    **dict.fromkeys(SUFFIXES, _copy),
}
"""What a file can be converted to, by its suffix. Each writes the file, and returns what to add to "saved FILE"."""


def format_of(output: Path) -> str:
    """Return the suffix of a file that is in `FORMATS`: the longest that fits, .otlp.json before .json."""
    return max((suffix for suffix in FORMATS if output.name.lower().endswith(suffix)), key=len)


def _send(args: argparse.Namespace) -> int:
    _require_sdk()
    from asynctrace.otel.sending import http_delivery, traces_url

    url = traces_url(args.otlp)
    http_delivery(url)  # without its package, nothing is loaded in vain
    trace = _loaded(args.file)
    spans = _spans(trace, args)
    with progress(len(spans), "sending spans", _MANY) as advance:
        _convert(trace, spans, http_delivery(url, advance), f"{visible(args.otlp)}: ")
    print(f"sent {_number(len(spans))} to {visible(url)}")
    return 0


def _convert(trace: Trace, spans: Sequence[Span], delivery: Delivery, where: str = "") -> None:
    from asynctrace.otel.converting import UndeliveredError, convert

    try:
        convert(trace, spans, delivery)
    except UndeliveredError as error:
        raise AsynctraceError(f"{where}{error.reason}; {_account(delivery, len(spans), error.is_unknown)}") from error
    except KeyboardInterrupt:
        if where:
            tell(f"asynctrace: {where}interrupted; {_account(delivery, len(spans), True)}")
        raise


def _account(delivery: Delivery, total: int, is_unknown: bool) -> str:
    """Say how many spans were accepted, and of how many that is not known."""
    accepted = "none" if not delivery.accepted else f"{delivery.accepted:,}"
    account = f"{accepted} of {_number(total)} accepted"
    if is_unknown and delivery.in_flight:
        account += f", and {delivery.in_flight:,} more perhaps"
    return account


def _require_sdk() -> None:
    try:
        import opentelemetry.sdk.trace  # noqa: F401  # only whether it is there
    except ImportError as error:
        raise MissingPackageError("spans need opentelemetry-sdk: install it (pip install opentelemetry-sdk)") from error


def _loaded(path: str) -> Trace:
    from asynctrace.formats import load

    trace = load(path)
    if trace.notes:
        tell(*(f"note: {visible(note)}" for note in trace.notes))
    return trace


def _spans(trace: Trace, args: argparse.Namespace) -> Sequence[Span]:
    from asynctrace.otel.spans import trace_spans

    spans = trace_spans(trace, tasks=args.tasks or None, events=args.events)
    if not spans:
        from asynctrace.cli.summary_text import NOTHING_SEEN

        raise AsynctraceError(NOTHING_SEEN)
    return spans


def _number(count: int) -> str:
    return f"{count:,} span{'' if count == 1 else 's'}"
