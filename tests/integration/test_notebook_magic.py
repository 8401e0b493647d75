"""`%%asynctrace`: a cell runs as it would without, and its chart is shown; in a notebook and in IPython's terminal."""

import ast
import base64
import re
import subprocess
import sys
from os import environ, pathsep
from pathlib import Path
from typing import Any

import nbclient
import nbformat
import pytest

import asynctrace

ROOT = Path(__file__).resolve().parents[2]
BEGIN = """\
%load_ext asynctrace
import asyncio

async def count(seconds=0.01):
    await asyncio.sleep(seconds)
    return 7
"""
COLOURS = re.compile(r"\x1b\[[\d;]*m")

Output = dict[str, Any]


def executed(folder: Path, *cells: str) -> list[list[Output]]:
    """Return what each of `cells` has shown, after one that loads the extension."""
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(text) for text in (BEGIN, *cells)])
    resources = {"metadata": {"path": str(folder)}}
    client = nbclient.NotebookClient(notebook, timeout=60, allow_errors=True, resources=resources)
    paths = [str(ROOT), *filter(None, [environ.get("PYTHONPATH")])]
    client.execute(env={**environ, "PYTHONPATH": pathsep.join(paths)})
    assert notebook.cells[0].outputs == []
    return [cell.outputs for cell in notebook.cells[1:]]


def pictures(outputs: list[Output]) -> list[bytes]:
    return [base64.b64decode(one["data"]["image/png"]) for one in outputs if "image/png" in one.get("data", {})]


def printed(outputs: list[Output]) -> str:
    return "".join(one["text"] for one in outputs if one["output_type"] == "stream")


def errors(outputs: list[Output]) -> list[str]:
    return [COLOURS.sub("", "\n".join(one["traceback"])) for one in outputs if one["output_type"] == "error"]


def test_a_cell_is_recorded_and_its_chart_shown(tmp_path: Path) -> None:
    shown, then = executed(
        tmp_path,
        "%%asynctrace trace\nfound = await asyncio.gather(count(), count(0.02))\nother = 3\nsum(found)",
        "print(found, other, [task.label for task in trace.tasks if task.is_user])",
    )

    assert [one["data"]["text/plain"] for one in shown if one["output_type"] == "execute_result"] == ["14"]
    (picture,) = pictures(shown)
    assert picture.startswith(b"\x89PNG")
    assert printed(then) == "[7, 7] 3 ['cell [2]', 'count', 'count']\n"


def test_cells_are_called_by_their_number_and_the_kernels_own_tasks_do_not_count(tmp_path: Path) -> None:
    shown, then = executed(
        tmp_path,
        "%%asynctrace -o trace.pftrace trace\nawait asyncio.gather(count(), count())",
        "user = [task for task in trace.tasks if task.is_user]\nprint({(task.file, task.line) for task in user})",
    )

    assert shown[-1]["data"]["text/plain"].startswith("notebook: 3 tasks, ")
    places = ast.literal_eval(printed(then))
    assert places == {("cell [2]", 1), ("cell [1]", 4)}
    saved = asynctrace.load(tmp_path / "trace.pftrace")
    assert {task.label for task in saved.tasks if not task.is_internal} == {"cell [2]", "count"}
    assert any("ipykernel" in task.file for task in saved.tasks if task.is_internal)


def test_a_part_of_a_cell_is_called_by_its_number_too(tmp_path: Path) -> None:
    _, then = executed(
        tmp_path,
        "import asynctrace\nwith asynctrace.record() as recording:\n    await count()",
        "print(*[task.label for task in recording.trace.tasks if not task.is_internal])",
    )

    assert printed(then) == "cell [2]\n"


def test_an_exception_shows_as_without_and_then_what_ran(tmp_path: Path) -> None:
    body = "await count()\n1 / 0\nawait count(9)"
    plain, recorded, then = executed(
        tmp_path, f"# a line\n{body}", f"%%asynctrace trace\n{body}", "print(len(trace.tasks), trace.end_ns > 0)"
    )

    (without,), (with_magic,) = errors(plain), errors(recorded)
    lines = [line for line in with_magic.splitlines() if "run_line_magic" not in line]
    expected = [line for line in without.splitlines() if "# a line" not in line]
    assert [line.replace("In[3]", "In[2]") for line in lines] == expected
    assert [one["output_type"] for one in recorded] == ["error", "display_data"]
    assert printed(then).endswith("True\n")


def test_a_cell_without_await_runs_as_always(tmp_path: Path) -> None:
    shown, then = executed(
        tmp_path,
        '%%asynctrace trace\nimport asynctrace\n@asynctrace.traced\ndef add(a, b):\n    """Two\n  lines."""\n'
        "    return a + b\n%time add(1, 2)",
        "print(add.__doc__, [call.name for call in trace.calls])",
    )

    assert len(pictures(shown)) == 1
    assert printed(then) in ("Two\n  lines. ['add']\n", "Two\nlines. ['add']\n")  # 3.13 strips what is common


def test_it_is_saved(tmp_path: Path) -> None:
    (shown,) = executed(tmp_path, "%%asynctrace -o trace.pftrace\nawait count();")

    assert [one["output_type"] for one in shown] == ["display_data"]
    labels = {task.label for task in asynctrace.load(tmp_path / "trace.pftrace").tasks if task.is_user}
    assert labels == {"cell [2]"}


def test_the_page_is_shown(tmp_path: Path) -> None:
    pytest.importorskip("bokeh", reason="bokeh is not installed")
    (shown,) = executed(tmp_path, "%%asynctrace --html\nawait count();")

    (page,) = (one["data"]["text/html"] for one in shown)
    assert page.startswith('<iframe sandbox="allow-scripts"')
    assert "&lt;!DOCTYPE html&gt;" in page and "<script" not in page


WRONG = {
    "--nonsense": "unrecognized arguments: --nonsense",
    "-o nowhere/x.pftrace": "nowhere/x.pftrace: the folder nowhere does not exist",
    "-o x.txt": "x.txt: no format has this suffix",
    "1x": "1x cannot be the name of a variable",
    "'": "No closing quotation",
}


def test_wrong_usage_is_told_in_a_line_and_nothing_is_run(tmp_path: Path) -> None:
    *shown, then = executed(tmp_path, *(f"%%asynctrace {line}\nran = 1" for line in WRONG), "'ran' in globals()")

    for told, sentence in zip(map(printed, shown), WRONG.values(), strict=True):
        assert told.startswith("UsageError: ") and sentence in told
        assert told.count("\n") == 1
    assert then[0]["data"]["text/plain"] == "False"


def test_a_cell_in_which_nothing_ran_says_so_and_the_next_is_not_recorded(tmp_path: Path) -> None:
    shown, wrong, then = executed(
        tmp_path,
        "%%asynctrace\nx = count()\nx.close()",
        "%%asynctrace\nx = (",
        "import sys\nimport asynctrace.stream\nprint(asynctrace.stream.current)\nawait count();",
    )

    assert printed(shown).startswith("asynctrace: no coroutine of yours ran in this cell")
    assert len(errors(wrong)) == 1
    assert printed(then) == "None\n"
    assert pictures(then) == []


TERMINAL = """\
from IPython.core.interactiveshell import InteractiveShell

shell = InteractiveShell.instance(colors="NoColor")
for cell in {cells!r}:
    shell.run_cell(cell, store_history=True)
"""


def in_terminal(*cells: str) -> str:
    """Return what IPython prints that runs `cells`, after one that loads the extension."""
    program = TERMINAL.format(cells=[BEGIN, *cells])
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=60, check=True
    )
    return COLOURS.sub("", done.stdout + done.stderr)


def test_in_the_terminal_its_title_is_shown() -> None:
    labels = "print([task.label for task in trace.tasks if task.is_user])"
    told = in_terminal(
        "%%asynctrace trace\nawait asyncio.gather(count(), count())",
        labels,
        "%%asynctrace trace\nasyncio.run(count())",
        labels,
    )

    assert re.search(r"^\[7, 7\]$|Out\[2\]: \[7, 7\]", told, re.MULTILINE)
    assert re.search(r": 3 tasks, [\d.]+ ms, up to 2 in progress; loop busy", told)
    assert "['cell [2]', 'count', 'count']\n" in told
    assert "['count']\n" in told


def test_cells_inside_a_recorded_one_do_not_end_the_recording() -> None:
    told = in_terminal(
        "%%asynctrace trace\nget_ipython().run_cell('inner = 5')\nasyncio.run(count())",
        "print([task.label for task in trace.tasks if task.is_user], inner)",
        "%%capture out\n%%asynctrace\nawait count()",
        "print(len(out.outputs))",
    )

    assert "['count'] 5\n" in told
    assert told.endswith("2\n")  # the cell's value, and the chart


def test_a_line_records_the_rest_of_its_cell_and_unloading_takes_everything_out() -> None:
    told = in_terminal(
        "before = 1\n%asynctrace trace\nawait count()",
        "print([task.label for task in trace.tasks])",
        "%reload_ext asynctrace",
        "%%asynctrace trace\nawait asyncio.gather(count())",
        "print(len(get_ipython().input_transformers_cleanup), len(trace.tasks))",
        "%unload_ext asynctrace",
        "print(len(get_ipython().input_transformers_cleanup), 'showtraceback' in vars(get_ipython()))",
        "%%asynctrace\nx = 1",
    )

    assert "['cell [2]']\n" in told
    loaded, unloaded = re.findall(r"^(\d) (?:2|False)$", told, re.MULTILINE)
    assert int(loaded) == int(unloaded) + 1
    assert "UsageError: Cell magic `%%asynctrace` not found" in told
