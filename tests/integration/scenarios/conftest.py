"""The situations that tools of this kind got wrong: each is a test here, on asyncio's loop and on uvloop.

`both_ways` compares what a program does with and without a recording: result, exceptions with their tracebacks,
warnings, what it prints and logs. The traces are compared with what happened. The probes are those of the interpreter
that runs the tests: stand-ins and await stacks on 3.11, `sys.monitoring` from 3.12 on.

What must not change

==================================================================================  ================================
situation                                                                           where
==================================================================================  ================================
`wait_for`, cancel counts, nested timeouts; cancelled before the first step, in a   test_cancelling
clean-up, by `shield`, a gather, a child, through a chain; `cancel(); return 5`
own task factory, eager tasks, `name=`, `context=`                                  test_ways_to_make_tasks,
                                                                                    test_eager_tasks,
                                                                                    test_names_and_introspection
names, results, `get_coro()`, `get_stack()`, `repr(task)`                           test_names_and_introspection
tracebacks, what is printed, "never awaited", "never retrieved"                     test_warnings_and_tracebacks
`inspect`, methods, partials, pickling of decorated functions                       test_decorated_functions
freed when it was; 100,000 callbacks on one future; a closed loop                   test_memory
another tool's shim; tool ids; started or stopped twice; policy of a policy         test_starting_and_stopping
debug mode: warnings and places                                                     test_debug_mode
callbacks with manners of their own, `call_soon(task.cancel)`, signals              test_callbacks
==================================================================================  ================================

What is to be seen

==================================================================================  ================================
situation                                                                           where
==================================================================================  ================================
gathers, nested; a diamond; two tasks awaiting one future                           test_gathering_and_groups
tasks made in every way, before the loop runs, by names bound before                test_ways_to_make_tasks
eager tasks that finish in their first step, aiohttp's own                          test_eager_tasks
threads, executors, several loops, a second run                                     test_threads_and_loops
recordings started inside a loop, nested, overlapping, from another thread          test_starting_and_stopping
who woke whom: through gathers, groups, timers, readers, threads                    test_wakes, test_callbacks
the kind of a wait, its expression and line                                         test_waits
async generators interleaved, shared, dropped, closed; context managers             test_generators
a pending task that is collected in another's step                                  test_memory
who awaits whom; coroutines driven by hand                                          test_coroutines
`sleep(0)` loops, coroutines of no length, `time.sleep` in a coroutine              test_blocked_loops
500 coroutines deep, 100,000 tasks, a million events                                test_large
mutual await, a lock never released, a queue nobody fills                           test_stuck
compiled, generator-based and hand-made awaitables                                  test_foreign_coroutines
==================================================================================  ================================
"""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from integration.both_ways import LoopFactory, Run


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
            if debug:
                runner.get_loop().slow_callback_duration = 60  # what is slow on a busy machine is not to be logged
            return runner.run(main)

    return run
