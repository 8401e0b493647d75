"""The command line: wrong usage and bad input give one sentence and the right exit code."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from asynctrace import __version__
from asynctrace.cli import COMMANDS, main

ROOT = Path(__file__).parents[2]
GATHER = """
import asyncio

async def count():
    await asyncio.sleep(0.01)

async def main():
    await asyncio.gather(count(), count())

asyncio.run(main())
print("done")
"""


def asynctrace(
    folder: Path, *words: str, environment: dict[str, str] | None = None, **options: object
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "asynctrace", *words],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT), **(environment or {})},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        **options,
    )  # type: ignore[call-overload, no-any-return]


@pytest.fixture(scope="session")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A recording of GATHER, made by the command line."""
    folder = tmp_path_factory.mktemp("recorded")
    (folder / "gather.py").write_text(GATHER)
    done = asynctrace(folder, "run", "-q", "gather.py")
    assert (done.returncode, done.stdout, done.stderr) == (0, "done\n", "")
    return folder / "trace.pftrace"


@pytest.fixture
def folder(tmp_path: Path, recorded: Path) -> Path:
    """A folder with all sorts of input."""
    (tmp_path / "gather.py").write_text(GATHER)
    (tmp_path / "good.pftrace").write_bytes(recorded.read_bytes())
    (tmp_path / "empty.pftrace").write_bytes(b"")
    (tmp_path / "garbage.pftrace").write_bytes(os.urandom(1000))
    (tmp_path / "foreign.json").write_text('{"traceEvents": []}')
    (tmp_path / "text.pftrace").write_text("not a trace at all\n" * 100)
    (tmp_path / "notes.png").write_text("not a picture")
    (tmp_path / "a folder.pftrace").mkdir()
    return tmp_path


# What a file holds that cannot be read: tests/integration/test_bad_input.py.
BAD_INPUT: dict[str, tuple[list[str], int, str]] = {
    "no such command": (["nothing"], 2, "invalid choice"),
    "no such option": (["summary", "--nothing", "x"], 2, "unrecognized arguments"),
    "no file": (["summary"], 2, "required"),
    "abbreviated option": (["run", "--outp", "x.pftrace", "gather.py"], 2, "unrecognized arguments"),
    "a name with a newline": (["summary", "mis\nsing.pftrace"], 1, "asynctrace: mis\\nsing.pftrace does not exist"),
    "unknown sorting": (["summary", "good.pftrace", "--sort", "name"], 2, "invalid choice"),
    "gantt without output": (["gantt", "good.pftrace"], 2, "required"),
    "gantt of an unknown suffix": (["gantt", "good.pftrace", "-o", "x.doc"], 2, "use .png, .svg, .pdf"),
    "gantt into no folder": (["gantt", "good.pftrace", "-o", "no/x.png"], 2, "the folder no does not exist"),
    "gantt over a foreign file": (["gantt", "good.pftrace", "-o", "notes.png"], 2, "pass --force"),
    "view of a missing file": (["view", "missing.pftrace"], 1, "missing.pftrace does not exist"),
    "view of garbage": (["view", "garbage.pftrace"], 1, "is not a recording"),
    "run of no module": (["run", "-m"], 2, "nothing to run"),
    "run of a missing module": (["run", "-m", "no_such_module"], 2, "No module named no_such_module"),
    "run of a package without __main__": (["run", "-m", "email"], 2, "cannot be directly executed"),
    "run of a folder": (["run", "a folder.pftrace"], 2, "without a __main__.py"),
    "run into no folder": (["run", "-o", "no/x.pftrace", "gather.py"], 2, "the folder no does not exist"),
    "run into a folder": (["run", "-o", "a folder.pftrace", "gather.py"], 2, "is a folder"),
    "run of an unknown suffix": (["run", "-o", "x.txt", "gather.py"], 2, "use .pftrace"),
    "run without a suffix": (["run", "-o", "x", "gather.py"], 2, "use .pftrace"),
    "run over a foreign file": (["run", "-o", "text.pftrace", "gather.py"], 2, "pass --force"),
    "run over a foreign picture": (["run", "-o", "notes.png", "gather.py"], 2, "pass --force"),
}


@pytest.mark.parametrize("case", BAD_INPUT)
def test_bad_input(case: str, folder: Path) -> None:
    words, code, text = BAD_INPUT[case]
    before = {path: path.read_bytes() for path in folder.iterdir() if path.is_file()}

    done = asynctrace(folder, *words)

    assert text in done.stderr
    assert done.returncode == code
    assert "Traceback" not in done.stderr
    assert done.stdout == "", "the program did not run"
    if code == 1:
        assert done.stderr.count("\n") == 1, "one sentence"
    assert {path: path.read_bytes() for path in folder.iterdir() if path.is_file()} == before


@pytest.mark.parametrize("command", COMMANDS)
def test_help_shows_an_example(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main([command, "--help"])

    shown = capsys.readouterr().out
    assert ended.value.code == 0
    assert f"asynctrace {command}" in shown
    assert "example:" in shown


def test_overview_lists_the_commands(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main([])

    shown = capsys.readouterr().out
    assert all(f"\n  {command} " in shown for command in COMMANDS)


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--version"])

    assert capsys.readouterr().out == f"asynctrace {__version__}\n"


def test_summary_of_a_recording(recorded: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["summary", str(recorded)]) == 0
    shown = capsys.readouterr().out
    assert "3 tasks   in progress: peak 2" in shown
    assert "count" in shown

    assert main(["summary", str(recorded), "--json"]) == 0
    figures = json.loads(capsys.readouterr().out)
    assert figures["lost"] == 0
    assert {row["name"]: row["count"] for row in figures["coroutines"]} == {"count": 2, "main": 1}


def test_colours_and_plain_text_have_the_same_content(recorded: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import io

    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    shown = {}
    for stream in (io.StringIO(), Terminal()):
        monkeypatch.setattr(sys, "stdout", stream)
        monkeypatch.setenv("TERM", "xterm")
        assert main(["summary", str(recorded)]) == 0
        shown[type(stream)] = stream.getvalue()

    import re

    assert "\x1b[1m" in shown[Terminal]
    assert re.sub(r"\x1b\[[\d;]*m", "", shown[Terminal]) == shown[io.StringIO]


def test_summary_works_without_rich(folder: Path) -> None:
    (folder / "rich.py").write_text("raise ImportError('no rich here')")

    done = asynctrace(folder, "summary", "good.pftrace")

    assert done.returncode == 0
    assert "count" in done.stdout


def test_gantt_draws_a_picture(folder: Path) -> None:
    done = asynctrace(folder, "gantt", "good.pftrace", "-o", "gantt.png")

    assert (done.returncode, done.stdout, done.stderr) == (0, "saved gantt.png\n", "")
    assert (folder / "gantt.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("suffix", ["png", "svg", "pdf"])
def test_pictures_of_ours_are_known_again(
    folder: Path, suffix: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(folder)
    for _ in range(2):
        assert main(["gantt", "good.pftrace", "-o", f"gantt.{suffix}"]) == 0
        assert capsys.readouterr() == (f"saved gantt.{suffix}\n", "")


def test_a_picture_of_others_is_replaced_by_force(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)

    assert main(["gantt", "good.pftrace", "-o", "notes.png", "--force"]) == 0


def test_a_reader_that_has_gone_gives_no_traceback(folder: Path) -> None:
    words = [sys.executable, "-m", "asynctrace", "summary", "good.pftrace", "--json"]
    with subprocess.Popen(
        words,
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        errors = process.stderr.read()

    assert errors == b""


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_full_disk_is_told_in_one_sentence(folder: Path) -> None:
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "asynctrace", "summary", "good.pftrace"],
            cwd=folder,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )

    assert (done.returncode, done.stderr) == (1, "asynctrace: the output: No space left on device\n")


def test_terminal_that_knows_ascii_only(folder: Path) -> None:
    (folder / "gather.py").write_text(GATHER.replace("count", "a_coroutine_whose_name_is_cut"))
    assert asynctrace(folder, "run", "-q", "gather.py").returncode == 0

    done = asynctrace(folder, "summary", "trace.pftrace", environment={"PYTHONIOENCODING": "ascii"})

    assert (done.returncode, done.stderr) == (0, "")
    assert "a_coro" in done.stdout


def test_only_the_command_asked_for_is_imported() -> None:
    code = "import sys; from asynctrace.cli import main\ntry: main(['run', '--help'])\nexcept SystemExit: pass\n"
    code += "print(*(name for name in sys.modules if name.startswith('asynctrace.cli.')), file=sys.stderr)"

    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True, timeout=60
    )

    assert set(done.stderr.split()) == {"asynctrace.cli.run", "asynctrace.cli.output"}
