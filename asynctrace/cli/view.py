"""`asynctrace view`: open a recording in Perfetto's page, which fetches it from this machine, once; or write a page.

Perfetto's security policy lets it fetch from http://127.0.0.1:9001 only; see Perfetto's own tools/open_trace_in_ui.
"""

from __future__ import annotations

import argparse
import os
import shutil
import socket
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.parse import quote

from asynctrace.analysis.row_names import visible
from asynctrace.charts.timeline import PAGE_SUFFIX, require_bokeh, write_timeline
from asynctrace.cli import rows
from asynctrace.cli.output import checked_output
from asynctrace.errors import AsynctraceError, FormatError, UsageError

NAME = "view"
HELP = "open a recording in ui.perfetto.dev, or write an interactive page of it"
EXAMPLE = "asynctrace view trace.pftrace"

PAGE = "https://ui.perfetto.dev"
PORT = 9001


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", metavar="FILE", help="a recording, from asynctrace run or Trace.save")
    parser.add_argument("--no-browser", action="store_true", help="only print the address to open")
    parser.add_argument(
        "--html", metavar="OUT", help="write an interactive page instead, one .html file that works without a network"
    )
    rows.add_argument(parser)
    parser.add_argument("--force", action="store_true", help="replace a file that asynctrace did not write")


def main(args: argparse.Namespace) -> int:
    if args.html is not None:
        if args.rows is not None:
            raise UsageError("--rows is for Perfetto's page: leave it out with --html, where groups can be opened")
        return _write_page(args)
    path = Path(args.file)
    _check(path)
    if args.rows is None:
        return _serve(path, args.no_browser)
    with TemporaryDirectory(prefix="asynctrace-") as folder:
        rewritten = Path(folder) / path.name
        rows.rewrite(path, rewritten, args.rows)
        return _serve(rewritten, args.no_browser)


def _serve(path: Path, no_browser: bool) -> int:
    try:
        server = TraceServer(path, PORT)
    except OSError as error:
        raise AsynctraceError(
            f"port {PORT} cannot be opened ({error.strerror}), and Perfetto's page fetches from no other: "
            "end the program that uses it, perhaps another asynctrace view"
        ) from error
    with server:
        address = f"{PAGE}/#!/?url=http://127.0.0.1:{PORT}/{quote(os.fsencode(path.name))}"
        if no_browser or not _open_browser(address):
            print(f"open this address in a browser on this machine:\n  {address}")
        else:
            print(f"opened {address}")
        print("The page fetches the recording from here; it does not leave your machine. Ctrl-C ends.", flush=True)
        server.serve_once()
    return 0


def _write_page(args: argparse.Namespace) -> int:
    output = checked_output(args.html, (PAGE_SUFFIX,), is_forced=args.force)
    require_bokeh()  # without it, nothing is loaded in vain
    from asynctrace.formats import load

    write_timeline(load(args.file), output)
    print(f"saved {visible(args.html)}: open it in any browser")
    return 0


class TraceServer(ThreadingHTTPServer):
    """Serves one file on the loopback interface, to Perfetto's page only, until it was fetched."""

    daemon_threads = True  # a connection that a browser opens ahead and never uses holds up nothing

    def __init__(self, path: Path, port: int) -> None:
        super().__init__(("127.0.0.1", port), _Handler)
        self.path = path
        self.fetched = threading.Event()
        self.timeout = 0.2

    def serve_once(self) -> None:
        """Answer requests until one has fetched the whole file."""
        while not self.fetched.is_set():
            self.handle_request()

    def handle_error(self, request: object, client_address: object) -> None:
        """Let a connection that broke off be: the page may ask again."""


class _Handler(BaseHTTPRequestHandler):
    server: TraceServer
    timeout = 30.0

    def do_GET(self) -> None:
        # The name by which we were asked: a foreign page that had its own name lead to 127.0.0.1 gets nothing.
        if self.headers.get("Host", "").rpartition(":")[0] not in ("127.0.0.1", "localhost"):
            self.send_error(403)
            return
        if self.path != f"/{quote(os.fsencode(self.server.path.name))}":
            self.send_error(404)
            return
        with self.server.path.open("rb") as file:
            self.send_response(200)
            self.send_header("Content-Type", "application/octet-stream")
            self.send_header("Content-Length", str(os.fstat(file.fileno()).st_size))
            self.end_headers()
            shutil.copyfileobj(file, self.wfile)
        self.connection.shutdown(socket.SHUT_WR)
        self.server.fetched.set()

    def end_headers(self) -> None:
        self.send_header("Access-Control-Allow-Origin", PAGE)
        self.send_header("Cache-Control", "no-cache")
        super().end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Keep silent: the terminal shows what the user needs to know."""


def _check(path: Path) -> None:
    from asynctrace.formats import is_our_trace

    if not path.exists():
        raise FormatError(f"{path} does not exist: check the path, or make a recording with asynctrace run")
    if not is_our_trace(path):
        raise FormatError(f"{path} is not a recording that asynctrace wrote: make one with asynctrace run")


def _open_browser(address: str) -> bool:
    # Without a display there are only browsers that would take over the terminal.
    if sys.platform.startswith("linux") and not any(
        os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY", "BROWSER")
    ):
        return False
    import webbrowser

    return webbrowser.open(address)
