"""Every command and snippet of the README runs.

A comment before a code block says how: `run: shell`, `run: python`, `run: notebook`, `run: cell` (one of those of a
notebook), `run: view`, `run: receiver` (with
one of OTLP in the place of localhost:4318), `run: install` (in the slow set), `run: server OPTIONS` (started with
these, asked once, stopped), `run: duckdb` (on Parquet files of two recordings), `run: perfetto` (by its trace
processor, in the slow set), or `file: NAME` (there for the others).
"""

import http.server
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from os import environ, pathsep
from pathlib import Path

import nbclient
import nbformat
import pytest

import asynctrace
from tests.trace_processor import ask

_ROOT = Path(__file__).resolve().parents[2]
_README = (_ROOT / "README.md").read_text(encoding="utf-8")
_BLOCK = re.compile(r"((?:^<!-- [^\n]* -->\n)*)^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_MARK = re.compile(r"<!-- (run|file): (\S+) ?(.*?) -->")
_LINK = re.compile(r"!\[[^]]*\]\(([^)]+)\)")


@dataclass(frozen=True)
class Block:
    """A code block: how it is run, with which further words, and what is in it."""

    how: str
    rest: str
    text: str
    line: int


def _blocks() -> Iterator[Block]:
    for found in _BLOCK.finditer(_README):
        line = _README.count("\n", 0, found.start(3))
        mark = _MARK.search(found[1])
        assert mark is not None, f"README.md:{line}: no comment says how this block is run"
        kind, name, rest = mark.groups()
        yield Block("file", name, found[3], line) if kind == "file" else Block(name, rest, found[3], line)


_BLOCKS = tuple(_blocks())


def _of(*how: str) -> list[object]:
    return [pytest.param(block, id=f"line {block.line}") for block in _BLOCKS if block.how in how]


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A folder as somebody has it who reads the README: the examples, its files, and a recording."""
    shutil.copytree(_ROOT / "examples", tmp_path / "examples")
    for block in _BLOCKS:
        if block.how == "file":
            (tmp_path / block.rest).write_text(block.text, encoding="utf-8")
    commands = tmp_path / "bin"
    commands.mkdir()
    for name, module in (("asynctrace", "asynctrace"), ("uvicorn", "uvicorn"), ("gunicorn", "gunicorn")):
        command = commands / name
        command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m {module} "$@"\n', encoding="utf-8")
        command.chmod(0o755)
    return tmp_path


def _environment(place: Path) -> dict[str, str]:
    paths = [str(_ROOT), str(place), *filter(None, [environ.get("PYTHONPATH")])]
    kept = {name: value for name, value in environ.items() if name not in ("DISPLAY", "WAYLAND_DISPLAY", "BROWSER")}
    return {**kept, "PATH": pathsep.join((str(place / "bin"), environ["PATH"])), "PYTHONPATH": pathsep.join(paths)}


def _run(command: list[str], place: Path) -> str:
    ran = subprocess.run(
        command, cwd=place, env=_environment(place), capture_output=True, text=True, timeout=120, check=False
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return ran.stdout + ran.stderr


def _shell(text: str, place: Path) -> str:
    return _run(["bash", "-euo", "pipefail", "-c", text], place)


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A recording of the examples' gather.py, which takes a second."""
    folder = tmp_path_factory.mktemp("recorded")
    command = [sys.executable, "-m", "asynctrace", "run", "-q", str(_ROOT / "examples" / "gather.py")]
    environment = {**environ, "PYTHONPATH": str(_ROOT)}
    subprocess.run(command, cwd=folder, env=environment, capture_output=True, timeout=120, check=True)
    return folder / "trace.pftrace"


def test_every_kind_of_block_is_run_by_some_test() -> None:
    recorded = {"view", "duckdb", "perfetto"}
    known = recorded | {"shell", "python", "notebook", "cell", "receiver", "install", "server", "file"}

    assert {block.how for block in _BLOCKS} <= known


def test_every_picture_is_there() -> None:
    pictures = _LINK.findall(_README)

    assert pictures
    assert [picture for picture in pictures if not (_ROOT / picture).is_file()] == []


@pytest.mark.parametrize("block", _of("shell"))
def test_shell(block: Block, place: Path, recorded: Path) -> None:
    if ".parquet" in block.text:
        pytest.importorskip("pyarrow")
    shutil.copy(recorded, place)

    _shell(block.text, place)


@pytest.mark.parametrize("block", _of("python"))
def test_python(block: Block, place: Path) -> None:
    _run([sys.executable, "-c", block.text], place)


@pytest.mark.parametrize("block", _of("duckdb"))
def test_duckdb(block: Block, place: Path, recorded: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("pyarrow")
    duckdb = pytest.importorskip("duckdb")
    shutil.copy(recorded, place)
    _shell("asynctrace convert trace.pftrace one.parquet", place)
    _shell("asynctrace run -q -o two.parquet examples/gather.py", place)  # the same program, another process
    monkeypatch.chdir(place)

    rows = duckdb.sql(block.text).fetchall()

    assert ("count", "sleep", 2) in {(label, wait, processes) for label, wait, _, _, processes, *_ in rows}


@pytest.mark.slow
@pytest.mark.parametrize("block", _of("perfetto"))
def test_perfetto(ui_directory: Path, block: Block, recorded: Path) -> None:
    (rows,) = ask(ui_directory, recorded, block.text)

    waits = {(row["wait"], row["name"], row["waits"]) for row in rows}
    assert ("sleep", "waiting asyncio.sleep(1)", 3) in waits
    assert ("gather", "waiting asyncio.gather(count(), count(), count())", 1) in waits


@pytest.mark.parametrize("block", _of("notebook"))
def test_notebook(block: Block, place: Path) -> None:
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(block.text)])
    client = nbclient.NotebookClient(notebook, timeout=60, resources={"metadata": {"path": str(place)}})

    client.execute(env=_environment(place))

    assert [output for output in notebook.cells[0].outputs if "image/png" in output.get("data", {})]


def test_the_cells_of_a_notebook(place: Path) -> None:
    blocks = [block.text for block in _BLOCKS if block.how == "cell"]
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(text) for text in blocks])
    client = nbclient.NotebookClient(notebook, timeout=60, resources={"metadata": {"path": str(place)}})

    client.execute(env=_environment(place))

    assert [output for output in notebook.cells[-1].outputs if "image/png" in output.get("data", {})]


@pytest.mark.parametrize("block", _of("view"))
def test_view(block: Block, place: Path, recorded: Path) -> None:
    shutil.copy(recorded, place)
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", 9001))
        except OSError:
            pytest.skip("somebody else has port 9001, the only one that Perfetto's page may fetch from")
    command = ["bash", "-c", f"exec {block.text}"]
    with subprocess.Popen(command, cwd=place, env=_environment(place), stdout=subprocess.PIPE, text=True) as viewing:
        fetched = _fetched("http://127.0.0.1:9001/trace.pftrace", viewing)
        told, _ = viewing.communicate(timeout=30)

    assert fetched == (place / "trace.pftrace").read_bytes()
    assert "https://ui.perfetto.dev" in told


@pytest.mark.parametrize("block", _of("receiver"))
def test_receiver(block: Block, place: Path, recorded: Path) -> None:
    paths: list[str] = []

    class Receiver(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            paths.append(self.path)
            self.send_response(200)
            self.end_headers()

        def log_message(self, *args: object) -> None: ...

    shutil.copy(recorded, place)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Receiver) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            assert "localhost:4318" in block.text
            _shell(block.text.replace("localhost:4318", f"127.0.0.1:{server.server_port}"), place)
        finally:
            server.shutdown()
            thread.join()

    assert paths == ["/v1/traces"]
    assert '"name":"count"' in (place / "spans.otlp.json").read_text(encoding="utf-8")


@pytest.mark.parametrize("block", _of("server"))
def test_server(block: Block, place: Path) -> None:
    port = _free_port()
    command = f"{block.text.strip()} {block.rest.format(port=port)}"
    named = re.match(r"(\w+)='([^']*)' (.*)", command)
    assert named is not None
    with subprocess.Popen(
        named[3].split(), cwd=place, env={**_environment(place), named[1]: named[2]}, stderr=subprocess.PIPE, text=True
    ) as server:
        try:
            body = _fetched(f"http://127.0.0.1:{port}/", server)
        finally:
            server.send_signal(signal.SIGTERM)
        _, told = server.communicate(timeout=30)

    assert b"world" in body
    files = list(place.glob("trace-*.pftrace"))
    assert files, told
    labels = [task.label for path in files for task in asynctrace.load(path).tasks]
    assert "home" in labels


@pytest.mark.slow
@pytest.mark.parametrize("block", _of("install"))
def test_install(block: Block, tmp_path: Path) -> None:
    checkout = tmp_path / "checkout"
    shutil.copytree(_ROOT, checkout, ignore=shutil.ignore_patterns(".git", ".venv", "*.egg-info", "build", ".*_cache"))
    # All of the command; of the tests a part, for these here are some of them.
    text = block.text.replace("pytest -q", "pytest -q tests/unit")
    for name in ("PYTHONPATH", "VIRTUAL_ENV"):
        text = f"unset {name}; {text}"
    path = pathsep.join((str(Path(sys.executable).parent), environ["PATH"]))

    ran = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", text],
        cwd=checkout,
        env={**environ, "PATH": path},
        capture_output=True,
        text=True,
        timeout=1200,
        check=False,
    )

    assert ran.returncode == 0, ran.stdout[-3000:] + ran.stderr[-3000:]


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _fetched(url: str, process: "subprocess.Popen[str]", timeout_s: float = 60) -> bytes:
    """Fetch `url` as soon as `process` answers there."""
    opener: Callable[..., object] = urllib.request.build_opener(urllib.request.ProxyHandler({})).open
    deadline = time.monotonic() + timeout_s
    while True:
        try:
            with opener(url, timeout=10) as answer:  # type: ignore[attr-defined]
                return bytes(answer.read())
        except (urllib.error.URLError, ConnectionError):
            assert process.poll() is None, "it ended before it answered"
            assert time.monotonic() < deadline, "it does not answer"
            time.sleep(0.05)
