"""A program whose file, functions and tasks have names of any text: recorded, summed up, drawn, compared, opened."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import threading
import urllib.request
from pathlib import Path

import pytest

import asynctrace
from asynctrace.cli.view import TraceServer

ROOT = Path(__file__).parents[2]
TASKS = ["caf\udce9 #1", "two\nlines", "nul\0", "\x1b[31mred", "$\\frac{", "🧵", "שלום", "", "x" * 10_000, "\ud800"]
PROGRAM = f"""\
import asyncio

async def work(seconds):
    await asyncio.sleep(seconds)

async def main():
    tasks = [asyncio.create_task(work(0.01), name=name) for name in {TASKS!a}]
    await asyncio.gather(*tasks)

name = "wo\\udce9rk\\n$x$"
work.__code__ = work.__code__.replace(co_name=name, co_qualname=name)
asyncio.run(main())
"""
SCRIPT, TRACE = "h\npr$x$\udce9.py", "o\nut\udce9.pftrace"
SHOWN = "o\\nut\\udce9"

ASCII = {"PYTHONIOENCODING": "ascii"}
NO_UNICODE = {"LANG": "C", "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="elsewhere no file has such a name")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with the program and its trace."""
    folder = tmp_path_factory.mktemp("hostile")
    # The file name of the code is made up, too.
    (folder / SCRIPT).write_text(f"exec(compile({PROGRAM!r}, 'no\\nfile\\udce9.py', 'exec'))", encoding="utf-8")
    done = command(folder, "run", "-o", TRACE, SCRIPT)
    assert (done.returncode, done.stdout) == (0, "")
    assert done.stderr.splitlines()[-1] == f"saved {SHOWN}.pftrace"
    return folder


def command(folder: Path, *words: str, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    return started(folder, "-m", "asynctrace", *words, env=env)


def commands(folder: Path, *lines: list[str], env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """Give several commands in one process, which imports Matplotlib once, up to the first that fails."""
    program = f"import sys; from asynctrace.cli import main; sys.exit(next(filter(None, map(main, {lines!a})), 0))"
    return started(folder, "-c", program, env=env)


def started(folder: Path, *words: str, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *words],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT), **(env or {})},
        capture_output=True,
        encoding="utf-8",
        timeout=60,
        check=False,
    )


def test_the_model_has_the_exact_names(folder: Path) -> None:
    trace = asynctrace.load(folder / TRACE)

    named = [task for task in trace.tasks if task.name in TASKS]
    assert [task.name for task in named] == TASKS
    assert {task.outcome for task in trace.tasks} == {"returned"}


@pytest.mark.parametrize("env", [{}, ASCII, NO_UNICODE], ids=["usual", "ascii", "no unicode"])
def test_every_terminal_takes_the_summary(folder: Path, env: dict[str, str]) -> None:
    done = command(folder, "summary", TRACE, env=env)

    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(SHOWN)
    assert "\nwo\\udce9rk\\" in done.stdout
    assert all(len(line) <= 80 for line in done.stdout.splitlines())


def test_the_figures_as_json_have_the_exact_names(folder: Path) -> None:
    done = command(folder, "summary", "--json", TRACE, env=ASCII)

    assert (done.returncode, done.stderr) == (0, "")
    assert "wo\udce9rk\n$x$" in [row["name"] for row in json.loads(done.stdout)["coroutines"]]


@pytest.mark.parametrize("env", [{}, NO_UNICODE], ids=["usual", "no unicode"])
def test_it_is_drawn_and_compared(folder: Path, env: dict[str, str]) -> None:
    done = commands(
        folder,
        ["gantt", "--coroutines", TRACE, "-o", "o\nut\udce9.png", "--force"],
        ["convert", TRACE, "o\nut\udce9.otlp.json", "--tasks", "--events", "--force"],
        ["view", TRACE, "--html", "o\nut\udce9.html", "--force"],
        ["compare", TRACE, SCRIPT, "-o", "x.svg"],
        env=env,
    )

    assert done.returncode == 0
    assert [re.split("  |json: ", line)[0] for line in done.stdout.splitlines()] == [
        f"saved {SHOWN}.png",
        f"saved {SHOWN}.otlp.",
        f"saved {SHOWN}.html: open it in any browser",
        "version",
        SHOWN,
        "h\\npr$x$\\udce9",
        "",
        "saved x.svg",
    ]
    assert len(done.stderr.splitlines()) == 2  # of compare, which runs the program


def test_a_browser_can_fetch_it(folder: Path) -> None:
    with TraceServer(folder / TRACE, 0) as server:
        thread = threading.Thread(target=server.serve_once)
        thread.start()
        with urllib.request.urlopen(f"http://127.0.0.1:{server.server_port}/o%0Aut%E9.pftrace") as answer:
            content = answer.read()
        thread.join()

    assert content == (folder / TRACE).read_bytes()
