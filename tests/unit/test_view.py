"""`asynctrace view`: one file, once, for Perfetto's page only."""

import http.client
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from asynctrace.cli import main, view
from asynctrace.errors import AsynctraceError
from asynctrace.formats import save_parts
from tests.strategies_parts import example_part

CONTENT = b"a recording" * 10_000


@pytest.fixture
def server(tmp_path: Path) -> Iterator[tuple[int, threading.Thread]]:
    """The port of a server, and the thread in which it serves."""
    path = tmp_path / "my trace.pftrace"
    path.write_bytes(CONTENT)
    with view.TraceServer(path, 0) as served:
        thread = threading.Thread(target=served.serve_once)
        thread.start()
        yield served.server_port, thread
        served.fetched.set()
        thread.join(10)


def get(port: int, path: str, method: str = "GET", **headers: str) -> tuple[int, dict[str, str], bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request(method, path, headers=headers)
        response = connection.getresponse()
        return response.status, dict(response.getheaders()), response.read()
    finally:
        connection.close()


def test_serves_the_file_to_perfettos_page_once(server: tuple[int, threading.Thread]) -> None:
    port, thread = server

    status, headers, body = get(port, "/my%20trace.pftrace", Origin=view.PAGE)

    assert (status, body) == (200, CONTENT)
    assert headers["Access-Control-Allow-Origin"] == "https://ui.perfetto.dev"
    assert headers["Cache-Control"] == "no-cache"
    thread.join(10)
    assert not thread.is_alive(), "it ends by itself"


@pytest.mark.parametrize(
    ("path", "method", "host", "expected"),
    [
        ("/", "GET", "127.0.0.1:1", 404),
        ("/../secret", "GET", "127.0.0.1:1", 404),
        ("/my%20trace.pftrace", "GET", "evil.example:9001", 403),
        ("/my%20trace.pftrace", "POST", "127.0.0.1:1", 501),
        ("/my%20trace.pftrace", "HEAD", "127.0.0.1:1", 501),
    ],
)
def test_serves_nothing_else(
    server: tuple[int, threading.Thread], path: str, method: str, host: str, expected: int
) -> None:
    port, thread = server

    status, _, body = get(port, path, method, Host=host)

    assert status == expected
    assert CONTENT not in body
    assert thread.is_alive(), "it still waits for the page"


def test_connection_that_is_never_used_holds_up_nothing(server: tuple[int, threading.Thread]) -> None:
    port, thread = server

    with socket.create_connection(("127.0.0.1", port)):
        assert get(port, "/my%20trace.pftrace")[0] == 200
        thread.join(10)

    assert not thread.is_alive()


def test_prints_the_address_where_no_browser_opens(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(view, "_check", lambda path: None)
    monkeypatch.setattr(view, "PORT", 0)
    monkeypatch.setattr(view.TraceServer, "serve_once", lambda self: None)

    assert main(["view", str(tmp_path / "a b.pftrace"), "--no-browser"]) == 0

    assert "https://ui.perfetto.dev/#!/?url=http://127.0.0.1:0/a%20b.pftrace" in capsys.readouterr().out


def test_a_row_for_each_task_is_served_under_the_same_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "trace.pftrace"
    save_parts((example_part(20),), path)
    monkeypatch.setattr(view, "PORT", 0)
    served = []
    monkeypatch.setattr(view.TraceServer, "serve_once", lambda self: served.append(self.path.read_bytes()))

    assert main(["view", str(path), "--no-browser", "--rows", "task"]) == 0

    save_parts((example_part(20),), path, row_each=True)
    assert served == [path.read_bytes()]
    assert "url=http://127.0.0.1:0/trace.pftrace" in capsys.readouterr().out


def test_rows_are_not_for_the_other_page(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["view", "x.pftrace", "--html", "x.html", "--rows", "task"]) == 2
    assert "--rows is for Perfetto's page" in capsys.readouterr().err


def test_port_that_is_taken_is_told_in_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(view, "_check", lambda path: None)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        monkeypatch.setattr(view, "PORT", taken.getsockname()[1])

        assert main(["view", str(tmp_path / "x.pftrace"), "--no-browser"]) == 1

    errors = capsys.readouterr().err
    assert errors.startswith("asynctrace: port ")
    assert errors.count("\n") == 1


def test_ctrl_c_is_passed_on_without_a_traceback(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(self: view.TraceServer) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(view, "_check", lambda path: None)
    monkeypatch.setattr(view, "PORT", 0)
    monkeypatch.setattr(view.TraceServer, "serve_once", interrupted)
    import sys

    monkeypatch.setattr(sys, "excepthook", sys.excepthook)

    with pytest.raises(KeyboardInterrupt):
        main(["view", str(tmp_path / "x.pftrace"), "--no-browser"])

    assert sys.excepthook is not sys.__excepthook__


def test_errors_are_of_our_base_class() -> None:
    with pytest.raises(AsynctraceError):
        view._check(Path("nowhere.pftrace"))
