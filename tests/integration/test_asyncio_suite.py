"""CPython's own tests of asyncio pass, fail and skip the same with every loop shimmed and a recording on.

About three minutes a Python; PYTHONASYNCIODEBUG=1 runs them all in asyncio's debug mode.
"""

from __future__ import annotations

import importlib.util
import json
import os
import pkgutil
import signal
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

_ROOT = Path(__file__).parents[2]
_RUNNER = _ROOT / "tests" / "tools" / "asyncio_suite.py"
_PACKAGE = "test.test_asyncio"
_TIMEOUT_S = 300  # the longest module takes half a minute on a quiet machine
_TRIES = 3  # a test that waits for a clock or a socket may differ by chance: it counts when it differs each time

# Modules whose tests make no task.
_NO_TASKS = frozenset({"test_protocols", "test_tools", "test_transports"})

# Tests that look at what a shim has to change: name -> why.
_MUST_DIFFER: dict[str, str] = {}


def _modules() -> list[str]:
    try:
        found = importlib.util.find_spec(_PACKAGE)
    except ModuleNotFoundError:
        found = None
    if found is None or found.submodule_search_locations is None:
        return []
    names = [module.name for module in pkgutil.iter_modules(found.submodule_search_locations)]
    return [name for name in names if name.startswith("test_")]


@dataclass
class _Run:
    """What the tests of one module came to."""

    outcomes: dict[str, str] = field(default_factory=dict)
    details: dict[str, str] = field(default_factory=dict)
    seen: dict[str, int] = field(default_factory=dict)
    said: str = ""


@pytest.mark.skipif(not _modules(), reason="this Python comes without test.test_asyncio")
@pytest.mark.parametrize("module", _modules())
def test_asyncios_own_tests_end_the_same_when_recorded(module: str, tmp_path: Path) -> None:
    plain, recorded = _both_ways(tmp_path, module)

    differing = _differing(plain, recorded)
    for attempt in range(1, _TRIES):
        alone = {name for name in differing if name.startswith(f"{_PACKAGE}.{module}.")}
        if not alone:
            break
        print("run again, alone:", *sorted(alone))
        again = _both_ways(tmp_path / f"again-{attempt}", module, *sorted(alone))
        still = _differing(*again)
        differing = {name: what for name, what in differing.items() if name not in alone} | still

    assert plain.outcomes["exit status"] == "0", plain.said
    assert not differing, "\n\n".join(differing.values()) + "\n\n" + recorded.said[-10_000:]
    if recorded.seen:
        assert recorded.seen["unshimmed"] == 0
        assert recorded.seen["seen"] >= recorded.seen["loops"]
        assert (recorded.seen["tasks"] > 0) == (module not in _NO_TASKS)
        assert "passed" in recorded.outcomes.values()
    else:
        assert plain.outcomes == {f"{_PACKAGE}.{module}": "skipped", "exit status": "0"}


def _both_ways(folder: Path, module: str, *tests: str) -> tuple[_Run, _Run]:
    """Run a module, or some tests of it, plain and recorded at the same time."""
    folder.mkdir(exist_ok=True)
    plain, recorded = (_begin(folder, way, module, *tests) for way in ("plain", "recorded"))
    return _end(folder, "plain", plain), _end(folder, "recorded", recorded)


def _begin(folder: Path, way: str, *names: str) -> subprocess.Popen[bytes]:
    names = (f"{_PACKAGE}.{names[0]}", *names[1:])
    (folder / f"{way}.json").touch()
    with (folder / f"{way}.txt").open("wb") as said:
        return subprocess.Popen(
            [sys.executable, str(_RUNNER), way, str(folder / f"{way}.json"), *names],
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=subprocess.STDOUT,
            cwd=folder,
            env=os.environ | {"PYTHONPATH": os.pathsep.join([str(_ROOT), str(_ROOT / "tests")])},
            start_new_session=True,
        )


def _end(folder: Path, way: str, process: subprocess.Popen[bytes]) -> _Run:
    try:
        status = str(process.wait(_TIMEOUT_S))
    except subprocess.TimeoutExpired:
        status = f"killed after {_TIMEOUT_S} s"
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    run = _Run(said=(folder / f"{way}.txt").read_text(errors="replace"))
    for line in (folder / f"{way}.json").read_text().splitlines():
        told = json.loads(line)
        if "begun" in told:
            run.outcomes[told["begun"]] = "never ended"
        elif "test" in told:
            run.outcomes[told["test"]] = told["outcome"]
            run.details[told["test"]] = told["detail"]
        else:
            run.seen = told
    run.outcomes["exit status"] = status
    return run


def _differing(plain: _Run, recorded: _Run) -> dict[str, str]:
    """Return the tests that ended in two ways: name -> what to tell of it."""
    found = {}
    for name in plain.outcomes | recorded.outcomes:
        expected, actual = plain.outcomes.get(name, "not run"), recorded.outcomes.get(name, "not run")
        if expected != actual and name not in _MUST_DIFFER:
            detail = recorded.details.get(name) or plain.details.get(name, "")
            found[name] = f"{name}\n  plain: {expected}\n  recorded: {actual}\n{detail}"
    return found
