"""`asynctrace run` from end to end: what is recorded, when it is saved, and what is said."""

import os
import shutil
import signal
import subprocess
import sys
import textwrap
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path

import pytest

import asynctrace
from asynctrace.model.trace import Trace

ROOT = Path(__file__).parents[2]
Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Run a program's text under `asynctrace run`, in `tmp_path`."""

    def run(text: str, *options: str, arguments: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
        (tmp_path / "script.py").write_text(textwrap.dedent(text), encoding="utf-8")
        return subprocess.run(
            [*words(*options), "script.py", *arguments],
            cwd=tmp_path,
            env=environment(),
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    return run


def words(*options: str) -> list[str]:
    return [sys.executable, "-m", "asynctrace", "run", *options]


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT)}


def loaded(folder: Path) -> Trace:
    return asynctrace.load(folder / "trace.pftrace")


GATHER = """
    import asyncio
    async def count(): await asyncio.sleep(0.05)
    async def main(): await asyncio.gather(count(), count(), count())
    asyncio.run(main())
    print("done")
    """


def test_ends_with_the_first_lines_of_the_summary(run: Run, tmp_path: Path) -> None:
    done = run(GATHER)

    assert (done.returncode, done.stdout) == (0, "done\n")
    assert done.stderr.startswith("trace.pftrace   0.0")
    assert "4 tasks   in progress: peak 3" in done.stderr
    assert done.stderr.endswith("saved trace.pftrace\n")
    assert sorted(task.label for task in loaded(tmp_path).tasks if not task.is_internal) == ["count"] * 3 + ["main"]


def test_quiet_says_nothing_and_an_earlier_trace_is_replaced(run: Run, tmp_path: Path) -> None:
    assert run("print(1)", "-q").stderr == ""
    assert loaded(tmp_path).tasks == ()

    done = run(GATHER, "-q")

    assert (done.returncode, done.stderr) == (0, "")
    assert len(loaded(tmp_path).tasks) >= 4


def test_options_after_the_script_are_its_own(run: Run, tmp_path: Path) -> None:
    done = run("import sys; print(sys.argv)", "-q", arguments=("-q", "--force", "-o", "x", "-m", "y"))

    assert done.stdout == "['script.py', '-q', '--force', '-o', 'x', '-m', 'y']\n"
    assert not (tmp_path / "x").exists()


def test_nothing_seen_is_told(run: Run) -> None:
    done = run("async def main(): pass\nmain()")

    assert "asynctrace: no coroutine ran: was main() called without awaiting it?" in done.stderr


def test_blocking_script_has_its_functions(run: Run, tmp_path: Path) -> None:
    done = run("import time\ndef count(): time.sleep(0.02)\nfor _ in range(3): count()")

    assert "no coroutine ran" not in done.stderr
    assert [call.name for call in loaded(tmp_path).calls if call.name == "count"] == ["count"] * 3


def test_stops_after_threads_and_exit_handlers(run: Run, tmp_path: Path) -> None:
    done = run(
        """
        import asyncio, atexit, threading, time
        async def at_exit(): await asyncio.sleep(0)
        async def in_thread(): await asyncio.sleep(0)
        def target():
            time.sleep(0.1)
            asyncio.run(in_thread())
        atexit.register(lambda: asyncio.run(at_exit()))
        threading.Thread(target=target).start()
        """
    )

    assert done.returncode == 0
    assert {task.label for task in loaded(tmp_path).tasks} >= {"in_thread", "at_exit"}


@pytest.mark.parametrize(
    ("ending", "code"),
    [("raise ValueError(1)", 1), ("import sys; sys.exit(7)", 7), ("import os; os.kill(os.getpid(), 2)", -2)],
)
def test_saves_whatever_the_ending(run: Run, tmp_path: Path, ending: str, code: int) -> None:
    done = run(GATHER + f"\n    {ending}")

    assert done.returncode == code
    assert done.stderr.endswith("saved trace.pftrace\n")
    assert len(loaded(tmp_path).tasks) >= 4


def test_program_that_changes_its_folder_does_not_take_the_output_along(run: Run, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()

    run("import os; os.chdir('elsewhere')")

    assert (tmp_path / "trace.pftrace").exists()


def test_forked_child_that_exits_does_not_save(run: Run, tmp_path: Path) -> None:
    done = run(
        GATHER.replace('"done"', '"done", flush=True')
        + """
    import os, sys
    child = os.fork()
    if child == 0:
        sys.exit(0)
    print(os.waitpid(child, 0)[1])
    """
    )

    assert done.stdout == "done\n0\n"
    assert done.stderr.count("saved trace.pftrace") == 1
    assert len(loaded(tmp_path).tasks) >= 4


def test_output_that_cannot_be_written_leaves_the_exit_code(run: Run, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()

    done = run("import shutil, sys; shutil.rmtree('out'); sys.exit(3)", "-o", "out/trace.pftrace")

    assert done.returncode == 3
    assert done.stderr.startswith("asynctrace: out/trace.pftrace could not be saved: ")
    assert done.stderr.count("\n") == 1


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_nobody_listening_on_stderr_changes_nothing(tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text(textwrap.dedent(GATHER))
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [*words(), "script.py"],
            cwd=tmp_path,
            env={**environment(), "PYTHONUNBUFFERED": ""},
            stdout=subprocess.PIPE,
            stderr=full,
            check=False,
        )

    assert (done.returncode, done.stdout) == (0, b"done\n")
    assert len(loaded(tmp_path).tasks) >= 4


def test_exclude_leaves_coroutines_out(run: Run, tmp_path: Path) -> None:
    run(GATHER, "--exclude", "*/script.py")

    assert [coroutine for coroutine in loaded(tmp_path).coroutines if coroutine.file.endswith("script.py")] == []


@pytest.mark.parametrize("suffix", ["png", "svg"])
def test_picture_as_output(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str) -> None:
    if suffix == "png":
        # Without a cache matplotlib first looks for fonts, with a thread, which cannot be started at exit any more.
        monkeypatch.setenv("MPLCONFIGDIR", str(tmp_path / "no cache yet"))

    for _ in range(1 if suffix == "png" else 2):  # the second time the picture is replaced
        done = run(GATHER, "-o", f"out.{suffix}")
        assert (done.returncode, done.stdout) == (0, "done\n")
        assert done.stderr.endswith(f"saved out.{suffix}\n"), done.stderr
        assert "Traceback" not in done.stderr

    assert (tmp_path / f"out.{suffix}").stat().st_size > 1000


def started(folder: Path, *arguments: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [*words("-q"), *arguments],
        cwd=folder,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signal_still_saves(tmp_path: Path, number: signal.Signals) -> None:
    (tmp_path / "script.py").write_text(
        "import asyncio\n"
        "async def main():\n    print('ready', flush=True)\n    await asyncio.sleep(60)\n"
        "asyncio.run(main())\n"
    )
    with started(tmp_path, "script.py") as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.send_signal(number)
        _, errors = process.communicate(timeout=30)

    assert process.returncode == -number
    assert "asynctrace" not in errors
    assert "main" in {task.label for task in loaded(tmp_path).tasks}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_console_script_uvicorn_serves_and_is_recorded(tmp_path: Path, number: signal.Signals) -> None:
    pytest.importorskip("uvicorn")
    if shutil.which("uvicorn", path=str(Path(sys.executable).parent)) is None:
        pytest.skip("uvicorn's command is not installed beside this python")
    (tmp_path / "app.py").write_text(
        textwrap.dedent(
            """
            import asyncio
            async def work():
                await asyncio.sleep(0.01)
            async def app(scope, receive, send):
                if scope["type"] != "http":
                    return
                await work()
                await send({"type": "http.response.start", "status": 200, "headers": []})
                await send({"type": "http.response.body", "body": b"hello"})
            """
        )
    )
    with started(tmp_path, "uvicorn", "app:app", "--port", "0", "--lifespan", "off") as process:
        assert process.stderr is not None
        address = ""
        while "http://" not in address:
            address = process.stderr.readline()
            assert address, "uvicorn ended early"
        url = address[address.index("http://") :].split()[0]
        for _ in range(3):
            assert urllib.request.urlopen(url, timeout=60).read() == b"hello"
        time.sleep(0.05)
        process.send_signal(number)
        process.communicate(timeout=30)

    trace = loaded(tmp_path)
    assert sum(task.label.endswith("app") for task in trace.tasks) == 3
