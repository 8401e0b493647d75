"""`asynctrace compare` and `demo` end to end: real scripts, in processes of their own."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import asynctrace
from asynctrace.analysis.comparison_rows import panels
from asynctrace.cli import main
from asynctrace.comparison import Comparison

DEMO = Path(asynctrace.__file__).parent / "demo"
FAILING = """\
import asyncio

async def count():
    await asyncio.sleep(0.05)
    raise ValueError("boom")

asyncio.run(count())
"""


def quick(folder: Path, name: str) -> Path:
    """Return a copy of a script of the demo that sleeps shorter."""
    source = (DEMO / name).read_text(encoding="utf-8")
    assert source.count("sleep(1)") == 1
    path = folder / name
    path.write_text(source.replace("sleep(1)", "sleep(0.3)"), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def compared(tmp_path_factory: pytest.TempPathFactory) -> Comparison:
    folder = tmp_path_factory.mktemp("scripts")
    return asynctrace.compare(
        quick(folder, "blocking.py"),
        quick(folder, "gather.py"),
        threads=quick(folder, "threaded.py"),
        processes=quick(folder, "processes.py"),
    )


def labels(compared: Comparison) -> dict[str, list[str]]:
    shown = panels([version.trace for version in compared.versions])
    return {
        version.name: [row.label for row in panel.rows] if panel is not None else []
        for version, panel in zip(compared.versions, shown, strict=True)
    }


def test_nothing_fails(compared: Comparison) -> None:
    assert {version.name: version.error for version in compared.versions} == dict.fromkeys(
        ["blocking", "gather", "threads", "processes"]
    )


def test_what_is_in_progress(compared: Comparison) -> None:
    peaks = {version.name: version.peak_in_progress for version in compared.versions}

    assert peaks == {"blocking": 1, "gather": 3, "threads": 3, "processes": 3}


def test_three_times_a_sleep_takes_three_times_as_long_one_after_the_other(compared: Comparison) -> None:
    blocking, gather, *_ = compared.versions

    assert blocking.wall_s is not None
    assert gather.wall_s is not None
    assert blocking.wall_s >= 0.9
    assert gather.wall_s < 0.9  # the machine may be busy; one after the other it could not be
    assert blocking.speedup == 1.0
    assert gather.speedup is not None
    assert gather.speedup > 1.1


def test_the_rows_of_each_version(compared: Comparison) -> None:
    assert labels(compared) == {
        "blocking": ["MainThread  count"],
        "gather": ["count #1", "count #2", "count #3"],
        "threads": ["Thread-1  count", "Thread-2  count", "Thread-3  count"],
        "processes": ["worker 1  count", "worker 2  count", "worker 3  count"],
    }


def test_every_bar_says_what_it_waits_for(compared: Comparison) -> None:
    shown = panels([version.trace for version in compared.versions])
    texts = {
        # On a busy machine a process may take as long to start as it sleeps.
        version.name: [
            bar.text
            for row in panel.rows
            for bar in row.bars
            if bar.end_ns - bar.start_ns > (290_000_000 if bar.text else 1_500_000_000)
        ]
        for version, panel in zip(compared.versions, shown, strict=True)
        if panel is not None
    }

    assert texts == {
        "blocking": ["time.sleep(0.3)"] * 3,
        "gather": ["asyncio.sleep(0.3)"] * 3,
        "threads": ["time.sleep(0.3)"] * 3,
        "processes": ["time.sleep(0.3)"] * 3,
    }


def test_the_start_up_of_workers_is_drawn(compared: Comparison) -> None:
    shown = panels([version.trace for version in compared.versions])[3]

    assert shown is not None
    assert [row.bars[0].state for row in shown.rows] == ["starting"] * 3


def test_the_cpu_of_children_counts(compared: Comparison) -> None:
    processes = compared.versions[3]

    assert processes.trace is not None
    assert processes.cpu_s is not None
    assert processes.cpu_s * 1e9 > processes.trace.cpu_ns


def test_compare_draws_and_prints_a_table(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    paths = [quick(tmp_path, name) for name in ("blocking.py", "gather.py")]

    status = main(["compare", *(path.name for path in paths), "--baseline", "gather"])

    said = capsys.readouterr()
    assert status == 0
    assert (tmp_path / "comparison.png").read_bytes().startswith(b"\x89PNG")
    assert [line.split()[0] for line in said.out.splitlines() if line] == ["version", "blocking", "gather", "saved"]
    assert "slower" in said.out.splitlines()[1]
    assert said.err == "blocking … done\ngather … done\n"
    assert "One" not in said.out  # the scripts' own output is not ours


def test_a_version_that_fails_is_told_and_the_exit_code_is_1(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("failing.py").write_text(FAILING, encoding="utf-8")
    quick(tmp_path, "gather.py")

    status = main(["compare", "gather.py", "failing.py", "--json"])

    said = capsys.readouterr()
    gather, failing = json.loads(said.out)["versions"]
    assert status == 1
    assert (gather["error"], gather["peak_in_progress"]) == (None, 3)
    assert (failing["error"], failing["speedup"], failing["peak_in_progress"]) == ("ValueError: boom", None, 1)
    assert set(gather) == {
        "name",
        "wall_s",
        "cpu_s",
        "speedup",
        "peak_in_progress",
        "mean_in_progress",
        "error",
    }
    assert "failing wrote:" in said.err
    assert not Path("comparison.png").exists()


def test_a_script_that_asks_for_input_does_not_wait(tmp_path: Path) -> None:
    script = tmp_path / "asks.py"
    script.write_text("input('name? ')\n", encoding="utf-8")

    (version,) = asynctrace.compare(script).versions

    assert version.error == "EOFError: EOF when reading a line"


def test_saved_traces_are_compared(tmp_path: Path, compared: Comparison) -> None:
    blocking = compared.versions[0]
    assert blocking.trace is not None
    blocking.trace.save(tmp_path / "blocking.pftrace")

    (loaded,) = asynctrace.compare(tmp_path / "blocking.pftrace").versions

    assert (loaded.wall_s, loaded.cpu_s, loaded.peak_in_progress) == (blocking.wall_s, blocking.cpu_s, 1)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["compare", "nothing.py"], "asynctrace: there is no script or trace nothing.py: check the path\n"),
        (
            ["compare", "a.py", "--baseline", "b"],
            "asynctrace: no version is called b: the baseline is one of a\n",
        ),
    ],
)
def test_wrong_usage_is_one_sentence(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    sentence: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("a.py").touch()

    assert main(arguments) == 2
    assert capsys.readouterr().err == sentence


def test_another_file_is_not_overwritten(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("a.py").touch()
    Path("comparison.png").write_bytes(b"a holiday")

    assert main(["compare", "a.py"]) == 2
    assert Path("comparison.png").read_bytes() == b"a holiday"
    assert "pass --force to replace it" in capsys.readouterr().err


@pytest.mark.slow
def test_the_demo(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)

    status = main(["demo"])

    said = capsys.readouterr().out
    assert status == 0
    assert sorted(path.name for path in (tmp_path / "asynctrace-demo").iterdir()) == [
        "blocking.pftrace",
        "comparison.png",
        "gather.pftrace",
        "gather.png",
        "processes.pftrace",
        "threads.pftrace",
    ]
    rows = [line.split() for line in said.splitlines()[1:5]]
    assert [row[0] for row in rows] == ["blocking", "threads", "processes", "gather"]
    assert [row[1][0] for row in rows] == ["3", "1", "1", "1"]
