"""What child processes run in tests: importable, so that spawned ones find it."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import signal
import time
from concurrent.futures import ProcessPoolExecutor
from typing import Any


async def leaf(number: int) -> int:
    await asyncio.sleep(0.001)
    return number


async def gather_leaves(count: int) -> int:
    return sum(await asyncio.gather(*(leaf(number) for number in range(count))))


def run_loop(count: int = 3) -> int:
    """Run a loop of one's own."""
    return asyncio.run(gather_leaves(count))


async def yield_often(count: int) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


def run_many_steps(count: int) -> None:
    asyncio.run(yield_often(count))


def run_grandchild(method: str) -> None:
    child = multiprocessing.get_context(method).Process(target=run_loop)
    child.start()
    child.join()
    run_loop()


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def sleep_then_die() -> None:
    time.sleep(0.2)
    die()


def results_of(pool: Any) -> list[Any]:
    return [pool.submit(run_loop, number).result() for number in range(3)] + list(pool.map(run_loop, range(4)))


async def in_pool(method: str) -> list[Any]:
    """Hand work to processes from a running loop."""
    loop = asyncio.get_running_loop()
    with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context(method)) as pool:
        return await asyncio.gather(*(loop.run_in_executor(pool, run_loop, number) for number in range(4)))
