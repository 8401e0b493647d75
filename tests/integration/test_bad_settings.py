"""Bad options of `run`, bad variables, bad arguments of the API: told in one sentence, before the program runs."""

from __future__ import annotations

import asyncio
import inspect
import logging
import sys
from pathlib import Path

import pytest

import asynctrace
from asynctrace import runner
from asynctrace.cli import main
from asynctrace.errors import FormatError, UsageError

NO_SIZE = "not a size: use bytes, or a number with K, M or G, such as 256M"
NO_SIGNAL = "no such signal on this system: use one such as USR2"
NO_TIME = "not a time: use seconds, such as 0.5"

# Option, value, what is said of it. Its variable is ASYNCTRACE_ and the option's name.
VALUES = [
    ("--limit", "abc", NO_SIZE),
    ("--limit", "-1", NO_SIZE),
    ("--limit", "1e9", NO_SIZE),
    ("--limit", "nan", NO_SIZE),
    ("--limit", "9" * 400, NO_SIZE),
    ("--limit", "\u0663M", NO_SIZE),
    ("--limit", "0", "too small: the least is 1M"),
    ("--limit", "1K", "too small: the least is 1M"),
    ("--limit-disk", "5 apples", NO_SIZE),
    ("--limit-disk", "1023K", "too small: the least is 1M"),
    ("--snapshot-signal", "NOPE", NO_SIGNAL),
    ("--snapshot-signal", "0", NO_SIGNAL),
    ("--snapshot-signal", "9" * 40, NO_SIGNAL),
    ("--snapshot-signal", "SIG_IGN", NO_SIGNAL),  # is in the module signal, as the number 1
    ("--snapshot-when-blocked", "soon", NO_TIME),
    ("--snapshot-when-blocked", "0", NO_TIME),
    ("--snapshot-when-blocked", "-1", NO_TIME),
    ("--snapshot-when-blocked", "nan", NO_TIME),
    ("--snapshot-when-blocked", "inf", NO_TIME),
    ("--snapshot-when-blocked", "1e308", NO_TIME),
]
EMPTY = [(option, "", said) for option, _, said in (VALUES[0], VALUES[8], VALUES[10], VALUES[14])]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    Path("x.py").write_text("raise SystemExit(99)", encoding="utf-8")
    monkeypatch.setattr(runner, "_by_environment", None)
    return tmp_path


@pytest.mark.parametrize(("option", "value", "said"), VALUES + EMPTY)
def test_bad_option_is_told_and_nothing_runs(
    capsys: pytest.CaptureFixture[str], option: str, value: str, said: str
) -> None:
    assert main(["run", f"{option}={value}", "x.py"]) == 2
    assert capsys.readouterr().err == f"asynctrace: {option} {value}: {said}\n"
    assert not Path("trace.pftrace").exists()


@pytest.mark.parametrize(("option", "value", "said"), VALUES)
def test_bad_variable_is_told_and_the_program_runs_unrecorded(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, option: str, value: str, said: str
) -> None:
    variable = f"ASYNCTRACE_{option[2:].upper().replace('-', '_')}"
    monkeypatch.setenv("ASYNCTRACE_OUTPUT", "x.pftrace")
    monkeypatch.setenv(variable, value)

    assert asynctrace.run(nothing()) == "done"
    assert asynctrace.run(nothing()) == "done"

    assert told(caplog) == [f"{variable} {value}: {said}, nothing is recorded"]
    assert not Path("x.pftrace").exists()


@pytest.mark.parametrize(
    ("output", "said"),
    [
        ("no/x.pftrace", "ASYNCTRACE_OUTPUT=no/x.pftrace: the folder no does not exist"),
        (
            "x.doc",
            "x.doc: no format has this suffix: use .pftrace, .json, .speedscope.json or .parquet",
        ),
        (
            ".",
            ".: no format has this suffix: use .pftrace, .json, .speedscope.json or .parquet",
        ),
        ("folder.pftrace", "folder.pftrace cannot be written: it is no plain file"),
        ("x" * 300 + ".pftrace", f"{'x' * 300}.pftrace cannot be written: File name too long"),
    ],
)
def test_bad_output_is_told_and_the_program_runs_unrecorded(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, output: str, said: str
) -> None:
    Path("folder.pftrace").mkdir()
    monkeypatch.setenv("ASYNCTRACE_OUTPUT", output)

    assert asynctrace.run(nothing()) == "done"

    assert told(caplog) == [f"{said}, nothing is recorded"]


def test_a_python_without_its_global_lock_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "_is_gil_enabled", lambda: False, raising=False)
    with pytest.raises(UsageError, match=r"relies on Python.s global lock.* set PYTHON_GIL=1"):
        asynctrace.record().start()
    assert asynctrace.stream.current is None


def test_unknown_loop_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ASYNCTRACE_LOOP", "fast")

    with pytest.raises(UsageError, match=r"^ASYNCTRACE_LOOP=fast: only asyncio and uvloop are known$"):
        asynctrace.new_event_loop()


# What is given as `output` -> what is said.
OUTPUTS = {
    "no/x.pftrace": "no/x.pftrace: the folder no does not exist",
    "no/x.png": "no/x.png: the folder no does not exist",
    "x.doc": "x.doc: no format has this suffix: use .pftrace, .json, .speedscope.json or .parquet",
    "nul\0.pftrace": "'nul\\x00.pftrace' cannot be the name of a file",
    "nul\0.png": "'nul\\x00.png' cannot be the name of a file",
    "folder.pftrace": "folder.pftrace cannot be written: it is no plain file",
}


@pytest.mark.parametrize("output", OUTPUTS)
def test_output_that_cannot_be_written_is_refused_before_the_program_runs(output: str) -> None:
    Path("folder.pftrace").mkdir()

    async def never() -> None:
        raise AssertionError("ran")

    coroutine = never()
    with pytest.raises(UsageError) as refused:
        asynctrace.run(coroutine, output=output)
    assert inspect.getcoroutinestate(coroutine) == inspect.CORO_CLOSED  # else Python warns that nobody awaited it
    assert str(refused.value) == OUTPUTS[output]

    with pytest.raises(UsageError) as refused, asynctrace.record(output=output):
        raise AssertionError("ran")
    assert str(refused.value) == OUTPUTS[output]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("nul\0.pftrace", r"^'nul\\x00\.pftrace' cannot be the name of a file$"),
        ("missing.pftrace", r"^missing\.pftrace does not exist: check the path"),
        ("x.py", r"^x\.py is not a trace that asynctrace wrote$"),
        (".", r"^\. is a folder: name a trace in it$"),
    ],
)
def test_load_refuses_what_is_no_trace(given: str, said: str) -> None:
    with pytest.raises(FormatError, match=said):
        asynctrace.load(given)


def test_compare_refuses_what_cannot_be_compared() -> None:
    for given, said in (
        (("no.py",), r"^there is no script or trace no\.py: check the path$"),
        ((".",), r"^\. is no file: name a script or a trace$"),
        ((5,), r"^5 cannot be compared: give a script, a trace, or a function without arguments$"),
        ((), r"^there is nothing to compare: "),
    ):
        with pytest.raises(UsageError, match=said):
            asynctrace.compare(*given)  # type: ignore[arg-type]  # what a user may give
    with pytest.raises(UsageError, match=r"^no version is called fast: the baseline is one of x$"):
        asynctrace.compare("x.py", baseline="fast")


async def nothing() -> str:
    await asyncio.sleep(0)
    return "done"


def told(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
