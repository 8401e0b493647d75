"""SIGTERM saves a recording, and ends the process and its children as it did."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

import asynctrace

WAITS = """
import asyncio
async def waits():
    print("up", flush=True)
    await asyncio.sleep(60)
asyncio.run(waits())
"""

FORKS = """
import os, signal, time
from multiprocessing import get_context

def handler_in_child(_):
    return signal.getsignal(signal.SIGTERM) is signal.SIG_DFL

if __name__ == "__main__":
    with get_context("fork").Pool(1) as pool:
        print(pool.map(handler_in_child, [0]))
"""


def test_sigterm_saves_and_ends_the_process_as_it_did(tmp_path: Path) -> None:
    (tmp_path / "waits.py").write_text(WAITS)
    command = [sys.executable, "-m", "asynctrace", "run", "-q", "-o", "out.pftrace", "waits.py"]
    process = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.readline()

    process.send_signal(signal.SIGTERM)

    assert process.wait(timeout=60) == -signal.SIGTERM
    process.stdout.close()
    [task] = [each for each in asynctrace.load(tmp_path / "out.pftrace").tasks if not each.is_internal]
    assert (task.label, task.outcome) == ("waits", "unfinished")


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="there is no fork here")
def test_a_forked_worker_can_be_terminated_by_the_system(tmp_path: Path) -> None:
    (tmp_path / "forks.py").write_text(FORKS)

    output = subprocess.run(
        [sys.executable, "-m", "asynctrace", "run", "-q", "-o", "out.pftrace", "forks.py"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    ).stdout

    assert output == "[True]\n"
