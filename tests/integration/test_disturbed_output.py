"""What happens to the file while a program that is recorded writes to it: the exit code stays, what is said is true."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import asynctrace

ROOT = Path(__file__).parents[2]
PROGRAM = """\
import asyncio, os, shutil, sys, time

async def main():
    await asyncio.sleep(0.01)
    {}

asyncio.run(main())
sys.exit(3)
"""
REMOVED = "asynctrace: out/x.pftrace could not be saved: it was removed while the program ran\n"
REPLACED = "asynctrace: out/x.pftrace could not be saved: another file has taken its place\n"

# What the program does -> what is said at its end, what is in the folder then.
DONE = {
    "shutil.rmtree('out')": (REMOVED, None),
    "os.unlink('out/x.pftrace')": (REMOVED, []),
    "os.rename('out/x.pftrace', 'out/moved.pftrace')": (REMOVED, ["moved.pftrace"]),
    "open('new', 'w').close(); os.replace('new', 'out/x.pftrace')": (REPLACED, ["x.pftrace"]),
    "os.unlink('out/x.pftrace'); os.mkdir('out/x.pftrace')": (REPLACED, ["x.pftrace"]),
    "os.chdir('/')": ("", ["x.pftrace"]),
}


def run(folder: Path, statement: str) -> subprocess.CompletedProcess[str]:
    (folder / "out").mkdir()
    (folder / "x.py").write_text(PROGRAM.format(statement), encoding="utf-8")
    return subprocess.run(
        [sys.executable, "-m", "asynctrace", "run", "-q", "-o", "out/x.pftrace", "x.py"],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.skipif(os.name != "posix", reason="elsewhere nobody can move or remove an open file")
@pytest.mark.parametrize("statement", DONE)
def test_a_file_that_is_gone_at_the_end_is_not_said_to_be_saved(tmp_path: Path, statement: str) -> None:
    errors, files = DONE[statement]

    done = run(tmp_path, statement)

    assert (done.returncode, done.stdout, done.stderr) == (3, "", errors)
    folder = tmp_path / "out"
    assert (sorted(os.listdir(folder)) if folder.exists() else None) == files
    if files == ["moved.pftrace"]:
        assert asynctrace.load(folder / "moved.pftrace").tasks[0].outcome == "returned"


@pytest.mark.skipif(os.name != "posix", reason="signals are POSIX's")
@pytest.mark.parametrize(("statement", "code"), [("os._exit(5)", 5), ("os.kill(os.getpid(), 9)", -9)])
def test_a_program_that_leaves_at_once_leaves_a_trace_with_a_note(tmp_path: Path, statement: str, code: int) -> None:
    path = tmp_path / "out" / "x.pftrace"
    # It waits, with its loop held, until what it did has reached the file.
    wait = (
        "size = os.path.getsize('out/x.pftrace')\n    while os.path.getsize('out/x.pftrace') == size: time.sleep(0.01)"
    )

    done = run(tmp_path, f"{wait}\n    {statement}")

    assert (done.returncode, done.stdout, done.stderr) == (code, "", "")
    trace = asynctrace.load(path)
    assert trace.tasks[0].outcome == "unfinished"
    assert trace.notes == ("the file was cut short: what was recorded after the cut is missing",)
