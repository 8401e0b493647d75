"""What tests of formats share."""

import importlib.util

import pytest

from asynctrace.cores import VARIABLE


@pytest.fixture(params=["python", "native"])
def each_core(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run a test with either core."""
    core: str = request.param
    if core == "native" and importlib.util.find_spec("asynctrace.formats._encoder") is None:
        pytest.skip("the native core was not built")
    monkeypatch.setenv(VARIABLE, core)
