"""A server that somebody else starts, with an application that knows nothing of asynctrace."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import asynctrace
from asynctrace.model.trace import Task, Trace

httpx = pytest.importorskip("httpx")
pytest.importorskip("fastapi")
pytest.importorskip("uvicorn")

APPLICATION = """
import asyncio, os, httpx
from fastapi import FastAPI

app = FastAPI()

@app.get("/item/{n}")
async def get_item(n: int):
    await asyncio.sleep(0.01)
    return {"item": n}

@app.get("/upstream")
async def ask_upstream():
    async with httpx.AsyncClient(trust_env=False) as client:
        answer = await client.get(os.environ["UPSTREAM"] + "/item/7")
    return {"upstream": answer.json()}

@app.get("/fails")
async def fails():
    await asyncio.sleep(0)
    raise RuntimeError("as it should")
"""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Server:
    """A process that serves the application on a port of its own."""

    def __init__(self, folder: Path, arguments: list[str], **environment: str) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.process = subprocess.Popen(
            [sys.executable, "-m", "uvicorn", "app:app", "--port", str(self.port), *arguments],
            cwd=folder,
            env={**os.environ, **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def wait_until_up(self) -> None:
        end = time.monotonic() + 60
        while time.monotonic() < end and self.process.poll() is None:
            try:
                with socket.create_connection(("127.0.0.1", self.port), timeout=1):
                    return
            except OSError:
                time.sleep(0.05)
        raise AssertionError(f"the server did not start: {self.stop()}")

    def stop(self) -> str:
        self.process.send_signal(signal.SIGTERM)
        return self.process.communicate(timeout=60)[0]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "app.py").write_text(APPLICATION)
    return tmp_path


@pytest.fixture
def upstream(folder: Path) -> Iterator[Server]:
    server = Server(folder, ["--log-level", "warning"])
    server.wait_until_up()
    yield server
    server.stop()


def answers(url: str) -> list[tuple[int, str]]:
    """Ask every endpoint eight times, at once; return status and body."""

    async def ask() -> list[tuple[int, str]]:
        paths = [f"/item/{n}" for n in range(8)] + ["/upstream"] * 8 + ["/fails"] * 8
        # A connection each: a kept one would stay with one worker.
        async with httpx.AsyncClient(trust_env=False, headers={"Connection": "close"}, timeout=60) as client:
            responses = await asyncio.gather(*(client.get(url + path) for path in paths))
        return [(response.status_code, response.text) for response in responses]

    return asyncio.run(ask())


def tasks_labelled(traces: list[Trace], label: str) -> list[Task]:
    return [task for trace in traces for task in trace.tasks if task.label == label]


def test_every_worker_of_a_server_saves_what_its_endpoints_did(folder: Path, upstream: Server) -> None:
    plain = Server(folder, ["--log-level", "critical"], UPSTREAM=upstream.url)
    plain.wait_until_up()
    expected = answers(plain.url)
    plain.stop()
    traced = Server(
        folder,
        ["--loop", "asynctrace:new_event_loop", "--workers", "2", "--log-level", "critical"],
        UPSTREAM=upstream.url,
        ASYNCTRACE_OUTPUT="trace-{pid}.pftrace",
    )
    traced.wait_until_up()
    seen = answers(traced.url)
    output = traced.stop()
    assert seen == expected, output
    traces = [asynctrace.load(path) for path in sorted(folder.glob("trace-*.pftrace"))]
    assert len(traces) == 2, output
    items = tasks_labelled(traces, "get_item")
    assert len(items) == 8
    for task in items:
        waits = [state.wait for state in task.states if state.wait is not None]
        assert ("sleep", "asyncio.sleep(0.01)") in {(wait.kind, wait.expression) for wait in waits}
        assert os.path.basename(task.file) == "app.py"
    asked = tasks_labelled(traces, "ask_upstream")
    assert len(asked) == 8
    for task in asked:
        longest = max(
            (state for state in task.states if state.wait is not None), key=lambda state: state.end_ns - state.start_ns
        )
        assert longest.wait is not None
        assert longest.wait.kind == "io"
        assert longest.wait.expression is not None and "client.get(" in longest.wait.expression
    assert len(tasks_labelled(traces, "fails")) == 8
    if sys.version_info >= (3, 12):
        failed = [each for trace in traces for each in trace.coroutines if each.name == "fails"]
        assert [(each.outcome, each.error) for each in failed] == [("raised", "RuntimeError")] * 8


def test_a_server_started_by_our_command_is_recorded(folder: Path) -> None:
    port = free_port()
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "asynctrace", "run", "-q", "-o", "served.pftrace"),
            *("-m", "uvicorn", "app:app", "--port", str(port), "--log-level", "critical"),
        ],
        cwd=folder,
    )
    end = time.monotonic() + 60
    status = None
    while status is None and time.monotonic() < end:
        try:
            status = httpx.get(f"http://127.0.0.1:{port}/item/1", trust_env=False).status_code
        except httpx.TransportError:
            time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    process.wait(timeout=60)
    assert status == 200
    assert len(tasks_labelled([asynctrace.load(folder / "served.pftrace")], "get_item")) == 1
