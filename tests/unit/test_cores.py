"""Which core runs: the native one where it is, the reference where it is not, and what is said of that."""

from __future__ import annotations

import importlib
import logging
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import asynctrace
from asynctrace import cores


@pytest.fixture
def no_choice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(cores.VARIABLE, raising=False)


@pytest.fixture
def without_native(monkeypatch: pytest.MonkeyPatch, no_choice: None) -> None:
    """As installed without a compiler."""
    original = importlib.import_module

    def import_module(name: str, package: str | None = None) -> Any:
        if name.endswith("._native"):
            raise ModuleNotFoundError(f"No module named {name!r}")
        return original(name, package)

    monkeypatch.setattr(importlib, "import_module", import_module)
    monkeypatch.setattr(cores, "_has_told", False)


def test_the_variable_forces_a_core(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(cores.VARIABLE, "python")
    assert asynctrace.core() == "python"


@pytest.mark.core("native")
def test_the_variable_forces_the_other_core() -> None:
    assert asynctrace.core() == "native"


def test_a_core_that_does_not_exist_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(cores.VARIABLE, "rust")
    with pytest.raises(
        asynctrace.UsageError, match="ASYNCTRACE_CORE=rust: there is no such core: use native or python"
    ):
        asynctrace.core()


def test_a_forced_core_that_is_missing_is_an_error(without_native: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(cores.VARIABLE, "native")
    with pytest.raises(asynctrace.UsageError, match=r"the native core cannot be used: No module .* pip install"):
        asynctrace.core()


def test_a_default_that_is_missing_is_told_once_and_the_reference_records(
    without_native: None, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, "asynctrace")
    for _ in range(2):
        with asynctrace.record() as recording:
            pass
    assert asynctrace.core() == "python"
    assert type(recording._stream.recorder).__name__ == "Recorder"  # type: ignore[union-attr]
    assert [record.getMessage().partition("; to have it")[0] for record in caplog.records] == [
        "the native core cannot be used (No module named 'asynctrace.recorder._native'): "
        "recording costs three to five times as much without it"
    ]


def test_importing_the_package_does_not_load_a_core() -> None:
    code = "import sys, asynctrace; print([name for name in sys.modules if name.startswith('asynctrace.')])"
    ran = subprocess.run(
        [sys.executable, "-c", code],
        cwd=Path(asynctrace.__file__).parents[1],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert ran.stdout == "[]\n"
