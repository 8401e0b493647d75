"""Bad input, as a table: what is asked, the exit code, and the one sentence that is said."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from dataclasses import replace
from errno import EACCES
from pathlib import Path

import pytest

from asynctrace.cli import main, view
from asynctrace.formats import load_parts, save_parts
from asynctrace.formats.perfetto_layout import FORMAT_MAJOR, HEADER, MAGIC
from asynctrace.formats.perfetto_tables import record
from tests.strategies_parts import example_part

ROOT = Path(__file__).parents[2]

# What a file holds that is no trace, or no whole one -> what is said of it, after its name.
UNREADABLE = {
    "missing": "does not exist: check the path, or make a recording with asynctrace run",
    "empty": "is empty: the program that wrote it ended before it could write anything",
    "header": "was cut short before its first event: nothing of the recording is left",
    "half a header": "was cut short before its first event: nothing of the recording is left",
    "garbage": "is not a trace that asynctrace wrote",
    "chrome": "is not a trace that asynctrace wrote",
    "picture": "is not a trace that asynctrace wrote",
    "packed garbage": "is not a trace that asynctrace wrote",
    "perfetto": "is not a trace that asynctrace wrote, but a Perfetto trace of another tool",
    "newer": f"was written by a newer asynctrace (format 99; this one reads {FORMAT_MAJOR}): upgrade asynctrace",
    "folder": "is a folder: name a trace in it",
    "pipe": "is no file but a pipe or a device: copy what it holds into a file first",
    "endless": "is no file but a pipe or a device: copy what it holds into a file first",
}
NO_FILES = ("missing", "folder", "pipe", "endless")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the present folder, with a whole trace in it."""
    monkeypatch.chdir(tmp_path)
    save_parts((example_part(20),), "good.pftrace")
    return tmp_path


def prepare(name: str) -> None:
    """Put `x.pftrace` there."""
    path = Path("x.pftrace")
    whole = Path("good.pftrace").read_bytes()
    contents = {
        "empty": b"",
        "header": whole[: 2 + whole[1]],
        "half a header": whole[:9],
        "garbage": b"not a trace at all\n" * 100,
        "chrome": b'{"traceEvents": []}',
        "picture": b"\x89PNG\r\n\x1a\n" + bytes(100),
        "packed garbage": b"\x1f\x8bgarbage",
        "perfetto": b"\x0a\x06\x40\x01\x50\x01\x68\x01" * 3,
        "newer": record(HEADER, MAGIC, 99, 0),
    }
    if name in contents:
        path.write_bytes(contents[name])
    elif name == "folder":
        path.mkdir()
    elif name == "pipe":
        os.mkfifo(path)
    elif name == "endless":
        path.symlink_to("/dev/zero")


@pytest.mark.skipif(os.name != "posix", reason="pipes and devices are POSIX's")
@pytest.mark.parametrize("name", UNREADABLE)
@pytest.mark.parametrize("command", ["summary", "gantt", "compare", "convert"])
def test_what_cannot_be_read_is_told_in_one_sentence(
    folder: Path, capsys: pytest.CaptureFixture[str], command: str, name: str
) -> None:
    prepare(name)
    words = {"gantt": ["-o", "out.png"], "compare": ["-o", "out.png"], "convert": ["out.otlp.json"]}.get(command, [])

    code = main([command, "x.pftrace", *words])

    said = capsys.readouterr()
    if command == "compare" and name in NO_FILES:
        sentence = "there is no script or trace x.pftrace: check the path"
        if name != "missing":
            sentence = "x.pftrace is no file: name a script or a trace"
        assert (code, said.err) == (2, f"asynctrace: {sentence}\n")
    else:
        progress = "x … failed\n" if command == "compare" else ""
        assert (code, said.err) == (1, f"{progress}asynctrace: x.pftrace {UNREADABLE[name]}\n")
    assert said.out == ""
    assert not Path("out.png").exists()
    assert not Path("out.otlp.json").exists()


def test_what_is_left_of_a_cut_file_is_summed_up_with_a_note(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    whole = Path("good.pftrace").read_bytes()
    notes = 0
    for size in range(0, len(whole), 97):
        Path("x.pftrace").write_bytes(whole[:size])
        code = main(["summary", "x.pftrace"])
        said = capsys.readouterr()
        if code == 0:
            assert "note: the file was cut short: what was recorded after the cut is missing" in said.out
            notes += 1
        else:
            assert code == 1
            assert re.fullmatch(
                r"asynctrace: x\.pftrace (is empty|was cut short before its first event): .*\n", said.err
            )
    assert notes > 10


@pytest.mark.skipif(os.name != "posix", reason="pipes and devices are POSIX's")
# Perfetto may show what is too short or too new for us.
@pytest.mark.parametrize("name", [name for name in UNREADABLE if name not in ("header", "half a header", "newer")])
def test_view_serves_no_file_that_holds_no_trace(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    prepare(name)
    served: list[Path] = []
    monkeypatch.setattr(view, "TraceServer", lambda path, port: served.append(path))

    assert main(["view", "--no-browser", "x.pftrace"]) == 1
    said = capsys.readouterr()
    sentence = (
        UNREADABLE["missing"]
        if name == "missing"
        else "is not a recording that asynctrace wrote: make one with asynctrace run"
    )
    assert (said.out, said.err) == ("", f"asynctrace: x.pftrace {sentence}\n")
    assert served == []


@pytest.mark.parametrize("command", ["summary", "gantt", "compare"])
def test_file_that_is_closed_to_us_is_told(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    def closed(path: Path) -> bytes:
        raise PermissionError(EACCES, os.strerror(EACCES), str(path))

    monkeypatch.setattr(Path, "read_bytes", closed)  # root may read anything

    assert main([command, "good.pftrace", *([] if command == "summary" else ["-o", "x.png"])]) == 1
    assert capsys.readouterr().err.endswith("asynctrace: good.pftrace cannot be read: Permission denied\n")


@pytest.mark.parametrize(
    "words", [["run", "x.py"], ["gantt", "good.pftrace", "-o", "trace.png"], ["compare", "good.pftrace"]]
)
def test_folder_that_is_closed_to_us_is_told_before_any_work(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], words: list[str]
) -> None:
    Path("x.py").write_text("raise SystemExit(99)", encoding="utf-8")
    monkeypatch.setattr(os, "access", lambda *args: False)

    assert main(words) == 2
    assert re.fullmatch(
        r"asynctrace: \S+ cannot be written: check the permissions, or name another output with -o\n",
        capsys.readouterr().err,
    )


@pytest.mark.parametrize(
    "words", [["summary", "good.pftrace"], ["compare", "good.pftrace", "--json"], ["compare", "good.pftrace"]]
)
def test_without_rich_a_terminal_gets_plain_text(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], words: list[str]
) -> None:
    assert main(words) == 0
    plain = capsys.readouterr().out
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    for name in [name for name in sys.modules if name.partition(".")[0] == "rich"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "rich", None)

    assert main(words) == 0
    assert capsys.readouterr().out == plain


# The words after `run`, the exit code, stderr.
RUNS = {
    "no arguments": ([], "", 2, "asynctrace: nothing to run: asynctrace run SCRIPT, or asynctrace run -m MODULE\n"),
    "missing": (
        ["no.py"],
        "",
        2,
        "asynctrace: there is no script no.py, and no Python program of that name on PATH: check the path\n",
    ),
    "exits": (["x.py"], "import sys; sys.exit(7)", 7, ""),
    "exits with a text": (["x.py"], "import sys; sys.exit('so long')", 1, "so long\n"),
    "leaves at once": (["x.py"], "import os; os._exit(5)", 5, ""),
    "is killed": (["x.py"], "import os; os.kill(os.getpid(), 9)", -9, ""),
    "no such module": (
        ["-m", "no_such"],
        "",
        2,
        "asynctrace: cannot run no_such: No module named no_such\n",
    ),
    "a package": (
        ["-m", "email"],
        "",
        2,
        "asynctrace: cannot run email: No module named email.__main__; "
        "'email' is a package and cannot be directly executed\n",
    ),
    "into a device": (
        ["-o", "endless.pftrace", "x.py"],
        "print(1)",
        2,
        "asynctrace: endless.pftrace is a pipe or a device: name a file with -o\n",
    ),
    "forced into a device": (
        ["-o", "endless.pftrace", "--force", "x.py"],
        "print(1)",
        2,
        "asynctrace: endless.pftrace is a pipe or a device: name a file with -o\n",
    ),
}


@pytest.mark.skipif(os.name != "posix", reason="signals and devices are POSIX's")
@pytest.mark.parametrize("case", RUNS)
def test_run_ends_as_the_program_does_or_says_why_not(tmp_path: Path, case: str) -> None:
    words, text, code, errors = RUNS[case]
    (tmp_path / "x.py").write_text(text, encoding="utf-8")
    (tmp_path / "endless.pftrace").symlink_to("/dev/zero")

    done = subprocess.run(
        [sys.executable, "-m", "asynctrace", "run", *(["-q"] if words else []), *words],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert (done.returncode, done.stdout, done.stderr) == (code, "", errors)
    assert Path("/dev/zero").is_char_device()


@pytest.mark.parametrize("text", ["def f(:\n    pass\n", "import no_such\n", "1 / 0\n", "", "\ufeffx = 1\n"])
def test_what_python_says_of_a_program_is_all_that_is_said(tmp_path: Path, text: str) -> None:
    (tmp_path / "x.py").write_text(text, encoding="utf-8")
    ran = [
        subprocess.run(
            [sys.executable, *words, "x.py"],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        for words in ([], ["-m", "asynctrace", "run", "-q"])
    ]

    assert [(done.returncode, done.stdout, done.stderr) for done in ran[1:]] == [
        (done.returncode, done.stdout, done.stderr) for done in ran[:1]
    ]


def test_full_disk_is_told_in_one_sentence_and_leaves_the_earlier_trace(folder: Path) -> None:
    script = (
        "import resource, signal, sys\n"
        "from asynctrace import load\n"
        "from asynctrace.errors import AsynctraceError\n"
        "trace = load('good.pftrace')\n"
        "trace.gantt('good.png')\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))\n"
        "for path in ('good.pftrace', 'new.pftrace', 'good.png', 'no/x.pftrace', 'no/x.png'):\n"
        "    try:\n"
        "        trace.save(path)\n"
        "    except AsynctraceError as error:\n"
        "        print(error)\n"
    )
    before = Path("good.pftrace").read_bytes()

    done = subprocess.run(
        [sys.executable, "-c", script],
        env={**os.environ, "PYTHONPATH": str(ROOT), "MPLBACKEND": "tkagg", "DISPLAY": ""},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert done.stdout.splitlines() == [
        "good.pftrace cannot be written: File too large",
        "new.pftrace cannot be written: File too large",
        "good.png cannot be written: File too large",
        "no/x.pftrace cannot be written: No such file or directory",
        "no/x.png cannot be written: No such file or directory",
    ], done.stderr
    assert Path("good.pftrace").read_bytes() == before
    assert sorted(os.listdir()) == ["good.pftrace", "good.png"]


def test_without_matplotlib_a_chart_says_what_to_install(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == "matplotlib"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "matplotlib", None)

    assert main(["gantt", "good.pftrace", "-o", "x.png"]) == 1
    assert capsys.readouterr().err == (
        "asynctrace: a Gantt chart needs matplotlib: install matplotlib (pip install matplotlib)\n"
    )
    assert main(["compare", "good.pftrace", "-o", "x.png"]) == 1
    assert "needs matplotlib" in capsys.readouterr().err
    assert main(["summary", "good.pftrace"]) == 0


def test_trace_without_tasks_says_that_nothing_ran(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save_parts((replace(example_part(1), events=[]),), "x.pftrace")

    assert main(["summary", "x.pftrace"]) == 0
    assert "no coroutine ran: was main() called without awaiting it?" in capsys.readouterr().out
    assert main(["gantt", "x.pftrace", "-o", "x.png"]) == 1
    assert capsys.readouterr().err == "asynctrace: no coroutine ran: was main() called without awaiting it?\n"
    assert main(["compare", "x.pftrace", "good.pftrace", "-o", "x.png"]) == 0


def test_backend_that_matplotlib_does_not_know_is_told_in_one_sentence(folder: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "asynctrace", "gantt", "good.pftrace", "-o", "x.png"],
        env={**os.environ, "PYTHONPATH": str(ROOT), "MPLBACKEND": "nothing"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    sentence = "asynctrace: matplotlib cannot start with MPLBACKEND=nothing: unset it, no chart needs it\n"
    assert (done.returncode, done.stderr) == (2, sentence)


def test_names_of_any_text_are_saved_and_shown(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    names = ['a "quoted" $name$', "two\nlines", "🧵 emoji", "caf\udce9", "\ud800", "nul\0nul", "", "x" * 600]
    part = example_part(20)
    sites = {
        key: replace(site, name=names[key % len(names)], file=f"{site.file}{names[key % len(names)]}")
        for key, site in part.sites.items()
    }
    part = replace(part, sites=sites, names={task: names[task % len(names)] for task in part.names})
    save_parts((part,), "x.pftrace")

    assert load_parts("x.pftrace") == [part]
    assert main(["summary", "x.pftrace"]) == 0
    said = capsys.readouterr()
    assert said.err == ""
    assert "\ud800" not in said.out
