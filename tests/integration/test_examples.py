"""Every example runs, and shows what it says it shows."""

import base64
import os
import subprocess
import sys
from pathlib import Path

import nbclient
import nbformat
import pytest

import asynctrace

_ROOT = Path(__file__).resolve().parents[2]
_EXAMPLES = _ROOT / "examples"
_PNG = b"\x89PNG\r\n\x1a\n"


def _python(*arguments: str | Path, cwd: Path) -> str:
    """Run Python in `cwd` with this checkout's asynctrace, and return what it wrote to stdout."""
    command = [sys.executable, *map(str, arguments)]
    ran = subprocess.run(command, cwd=cwd, env=_environment(), capture_output=True, text=True, timeout=120, check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return ran.stdout


def _environment() -> dict[str, str]:
    paths = [str(_ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}


def test_every_example_has_a_test() -> None:
    tested = {"chess.py", "decorated.py", "gather.ipynb", "service.py"}
    demo = {"blocking.py", "gather.py", "processes.py", "threaded.py"}
    elsewhere = {"shop.py", "stock.py"}  # test_distributed.py

    assert {path.name for path in _EXAMPLES.rglob("*") if path.suffix in (".py", ".ipynb")} == tested | demo | elsewhere


@pytest.mark.parametrize("name", ["blocking.py", "threaded.py", "processes.py", "gather.py"])
def test_each_version_of_the_count_counts_three_times(name: str, tmp_path: Path) -> None:
    output = _python("-m", "asynctrace", "run", "-q", _EXAMPLES / name, cwd=tmp_path)

    # Threads share the line that they write.
    assert (output.count("One"), output.count("Two")) == (3, 3)
    trace = asynctrace.load(tmp_path / "trace.pftrace")
    counted = [*trace.tasks] if name == "gather.py" else [*trace.calls]
    names = [getattr(one, "label", "") or getattr(one, "name", "") for one in counted]
    assert names.count("count") == 3


def test_chess_takes_the_sum_one_by_one_and_the_champions_time_from_table_to_table(tmp_path: Path) -> None:
    lines = _python(_EXAMPLES / "chess.py", "--opponents", "14", "--moves", "4", cwd=tmp_path).splitlines()

    hours = [float(line.rsplit(" hours", 1)[0].split()[-1]) for line in lines[:2]]
    one_by_one, table_to_table = 14 * 4 * 60 / 3600, (14 * 4 * 5 + 55) / 3600
    # Sleeps end late on a busy machine, and never early; a tenth stays less than the whole. Two decimals are told.
    assert round(one_by_one, 2) <= hours[0]
    assert round(table_to_table, 2) <= hours[1] < hours[0]
    assert (tmp_path / "chess.png").read_bytes().startswith(_PNG)


@pytest.mark.slow
def test_the_whole_exhibition_takes_twelve_hours_or_one(tmp_path: Path) -> None:
    lines = _python(_EXAMPLES / "chess.py", cwd=tmp_path).splitlines()

    hours = [float(line.rsplit(" hours", 1)[0].split()[-1]) for line in lines[:2]]
    assert hours == [pytest.approx(12, rel=0.15), pytest.approx(1, rel=0.15)]


def test_decorated_functions_are_named_and_counted(tmp_path: Path) -> None:
    output = _python(_EXAMPLES / "decorated.py", cwd=tmp_path)

    counts = {line.split()[0]: int(line.split()[1]) for line in output.splitlines() if "×" in line}
    assert counts == {"Crawler.crawl": 3, "fetch": 15, "main": 1, "numbers": 3, "parse": 15}
    assert (tmp_path / "decorated.png").read_bytes().startswith(_PNG)


def test_the_service_answers_all_requests_and_its_trace_shows_who_held_the_loop(tmp_path: Path) -> None:
    output = _python("-m", "asynctrace", "run", "-q", _EXAMPLES / "service.py", cwd=tmp_path)

    assert output.startswith("50 of 50 requests answered")
    trace = asynctrace.load(tmp_path / "trace.pftrace")
    assert {"send", "Cache.refresh"} <= {task.label for task in trace.tasks}
    blocked = [blocking for task in trace.tasks for blocking in task.blockings]
    assert [(blocking.primitive, blocking.line) for blocking in blocked] == [("time.sleep", _line("time.sleep"))] * 2
    (refresher,) = (task for task in trace.tasks if task.name == "refresher")
    assert refresher.outcome == "cancelled"


def test_the_notebook_shows_its_trace_as_a_picture(tmp_path: Path) -> None:
    notebook = nbformat.read(_EXAMPLES / "gather.ipynb", as_version=4)
    assert not any(cell.get("outputs") for cell in notebook.cells), "the notebook is stored without its outputs"
    client = nbclient.NotebookClient(notebook, timeout=60, resources={"metadata": {"path": str(tmp_path)}})
    client.execute(env=_environment())

    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    (picture,) = (output for output in code[3].outputs if "image/png" in output.get("data", {}))
    assert base64.b64decode(picture.data["image/png"]).startswith(_PNG)
    printed = "".join(output.text for output in code[4].outputs)
    assert [line.split()[0] for line in printed.splitlines()].count("count") == 3


def _line(text: str) -> int:
    lines = (_EXAMPLES / "service.py").read_text(encoding="utf-8").splitlines()
    return next(number for number, line in enumerate(lines, 1) if text in line)
