"""A program that never stops its recording ends as it would without: same exit code, same output, nothing left."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

HEAD = """
import asyncio, atexit, os, signal, sys, threading, time
import asynctrace, asynctrace.stream
async def leaf():
    await asyncio.sleep(0.001)
    return 1
async def main():
    return sum(await asyncio.gather(leaf(), leaf()))
async def forever():
    while True:
        await leaf()
asynctrace.record(**({"output": sys.argv[1]} if sys.argv[1:] else {})).start()
"""

# name -> (program, exit code, what it prints, the last line on stderr)
ENDINGS: dict[str, tuple[str, int, str, str]] = {
    "normal": ("print(asyncio.run(main()))", 0, "2\n", ""),
    "an exception": ("asyncio.run(main()); raise ValueError('no')", 1, "", "ValueError: no"),
    "sys.exit": ("asyncio.run(main()); sys.exit(3)", 3, "", ""),
    "os._exit": ("asyncio.run(main()); os._exit(4)", 4, "", ""),
    "a signal": ("asyncio.run(main()); os.kill(os.getpid(), signal.SIGTERM); time.sleep(5)", -15, "", ""),
    "a daemon thread's loop runs": (
        """
threading.Thread(target=lambda: asyncio.run(forever()), daemon=True).start()
time.sleep(0.02)
print("end")
""",
        0,
        "end\n",
        "",
    ),
    "a thread runs on": (
        """
threading.Thread(target=lambda: (threading.main_thread().join(), print(asyncio.run(main())))).start()
print("end")
""",
        0,
        "end\n2\n",
        "",
    ),
    "a loop in an exit handler": (
        """
atexit.register(lambda: print("atexit", asyncio.new_event_loop().run_until_complete(leaf())))
print(asyncio.run(main()))
""",
        0,
        "2\natexit 1\n",
        "",
    ),
    "coroutines that are still suspended": (
        """
import builtins
async def waits():
    try:
        await asyncio.Event().wait()
    finally:
        time.sleep(0)
class Node:
    def __del__(self):
        time.sleep(0)
async def leave():
    builtins.kept = [waits(), Node()]
    builtins.kept[0].send(None)
loop = asyncio.new_event_loop()
loop.run_until_complete(leave())
""",
        0,
        "",
        "",
    ),
    "a loop that runs while modules are taken apart": (
        """
class Late:
    def __init__(self):
        async def work(sleep=asyncio.sleep):
            await sleep(0)
        self.loop, self.work, self.itself = asyncio.new_event_loop(), work, self
    def __del__(self, write=os.write):
        self.loop.run_until_complete(self.work())
        self.loop.close()
        write(1, b"late")
late = Late()
print(asyncio.run(main()))
""",
        0,
        "2\nlate",
        "",
    ),
    "a child that was forked": (
        """
pid = os.fork()
if not pid:
    print(asyncio.run(main()), flush=True)
    sys.exit(5)
print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
print(asyncio.run(main()))
""",
        0,
        "2\n5\n2\n",
        "",
    ),
    "a child whose thread runs on": (
        """
pid = os.fork()
if not pid:
    threading.Thread(target=lambda: (threading.main_thread().join(), asyncio.run(main()))).start()
    sys.exit(0)
print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
""",
        0,
        "0\n",
        "",
    ),
    "a child that outlives it": (
        """
reading, writing = os.pipe()
if not os.fork():
    os.close(writing)
    os.read(reading, 1)  # until the parent is gone
    asyncio.run(main())
    sys.exit(5)
print(asyncio.run(main()))
""",
        0,
        "2\n",
        "",
    ),
    "a stop in an exit handler that is older": (
        """
asynctrace.stream.current.stop()
recording, parent = asynctrace.record(), os.getpid()
def stop():
    if os.getpid() == parent:
        recording.stop()
        print(len(recording.trace.processes))
atexit.register(stop)
recording.start()
pid = os.fork()
if not pid:
    asyncio.run(main())
    sys.exit(0)
os.waitpid(pid, 0)
asyncio.run(main())
""",
        0,
        "2\n",
        "",
    ),
}


def end(program: str, folder: Path, *arguments: str) -> tuple[int, str, str]:
    """Run a recorded program to its end; return its exit code and what it said."""
    script = folder / "script.py"
    script.write_text(HEAD + program)
    temporary = folder / "tmp"
    temporary.mkdir(exist_ok=True)
    done = subprocess.run(
        [sys.executable, "-W", "error::DeprecationWarning", str(script), *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, "TMPDIR": str(temporary), "PYTHONPATH": str(Path(__file__).parents[2])},
    )
    return done.returncode, done.stdout, done.stderr


def assert_ends(name: str, folder: Path, *arguments: str) -> None:
    program, code, said, complained = ENDINGS[name]
    found_code, found_said, found_complained = end(program, folder, *arguments)
    assert (found_code, found_said) == (code, said), found_complained
    assert found_complained.strip().rpartition("\n")[2] == complained
    if code >= 0 and name != "os._exit":
        assert list((folder / "tmp").iterdir()) == []


SLOW = {
    "sys.exit",
    "an exception",
    "a loop in an exit handler",
    "a child whose thread runs on",
    "a child that was forked",
}


@pytest.mark.parametrize("name", [pytest.param(each, marks=[pytest.mark.slow] * (each in SLOW)) for each in ENDINGS])
def test_a_recording_that_is_never_stopped_changes_nothing_at_the_end(name: str, tmp_path: Path) -> None:
    assert_ends(name, tmp_path, *([str(tmp_path / "out.pftrace")] if "child" in name else []))


@pytest.mark.slow
@pytest.mark.parametrize("name", ENDINGS)
def test_fifty_times_it_changes_nothing_at_the_end(name: str, tmp_path: Path) -> None:
    for number in range(50):
        assert_ends(name, tmp_path, *([str(tmp_path / "out.pftrace")] if number % 2 else []))
