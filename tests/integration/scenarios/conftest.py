"""The situations that tools of this kind got wrong: each is a test here, on asyncio's loop and on uvloop.

`both_ways` compares what a program does with and without a recording: result, exceptions with their tracebacks,
warnings, what it prints and logs. The traces are compared with what happened. The probes are those of the interpreter
that runs the tests: stand-ins and await stacks on 3.11, `sys.monitoring` from 3.12 on.
"""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Iterator
from typing import Any

import pytest
from integration.both_ways import LoopFactory, Run


@pytest.fixture(scope="session", autouse=True)
def small_collections() -> Iterator[None]:
    """Have the collector look at what a test makes only: `both_ways` collects six times."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.fixture(params=["asyncio", "uvloop"])
def loop_factory(request: pytest.FixtureRequest) -> LoopFactory:
    """What makes a loop: asyncio's own, or uvloop's."""
    if request.param == "asyncio":
        return asyncio.SelectorEventLoop
    return pytest.importorskip("uvloop").new_event_loop  # type: ignore[no-any-return]


@pytest.fixture
def run(loop_factory: LoopFactory) -> Run:
    """As `asyncio.run`, on either loop."""

    def run(main: Any, *, debug: bool | None = None) -> Any:
        with asyncio.Runner(loop_factory=loop_factory, debug=debug) as runner:
            return runner.run(main)

    return run
