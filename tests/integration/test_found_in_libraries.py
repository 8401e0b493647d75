"""What the test suites of asyncio libraries do that no test of ours did: each the smallest program that shows it."""

from __future__ import annotations

import asyncio
import math

import pytest
from integration.both_ways import both_ways, task_of
from integration.trace_rules import check


@pytest.mark.parametrize("when", [math.inf, -math.inf, 1e300], ids=str)
def test_a_timer_may_be_due_at_any_time(when: float) -> None:
    # anyio sets a timer at infinity for a cancel scope without a deadline.
    async def main() -> bool:
        loop = asyncio.get_running_loop()
        called = loop.create_future()
        handle = loop.call_at(when, called.set_result, True)
        if when > 0:
            loop.call_soon(called.set_result, False)
        try:
            return await called
        finally:
            handle.cancel()

    trace = both_ways(lambda: asyncio.run(main()))

    check(trace)
    assert task_of(trace, "main").outcome == "returned"
