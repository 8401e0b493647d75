"""The programs that are traced: each a coroutine function that returns what it took, without its set-up.

Each counts what it did and raises if that is not all of it: a tool that changes the program has no cost to compare.
Tasks are made by `asyncio.create_task`, for there are tools that see no others.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine
from typing import Any, NamedTuple


class Took(NamedTuple):
    """Seconds by the wall clock, and of the process's CPU time."""

    wall: float
    cpu: float


Main = Callable[[], Coroutine[Any, Any, Took]]

STORM_TASKS = 200
STORM_YIELDS = 500
SPAWN_TASKS = 5000
HTTP_CLIENTS = 50
HTTP_REQUESTS = 1000


def now() -> Took:
    return Took(time.perf_counter(), time.process_time())


def took_since(started: Took) -> Took:
    ended = now()
    return Took(ended.wall - started.wall, ended.cpu - started.cpu)


class WorkNotDoneError(Exception):
    """A traced program did other work than the untraced one."""


def check(work: int, expected: int) -> None:
    if work != expected:
        raise WorkNotDoneError(f"the program did {work} of {expected} pieces of its work")


def storm(tracked: Callable[[int], Coroutine[Any, Any, int]]) -> Main:
    """200 tasks that give up the loop 500 times each: nothing but steps."""

    async def main() -> Took:
        started = now()
        done = await asyncio.gather(*(asyncio.create_task(tracked(STORM_YIELDS)) for _ in range(STORM_TASKS)))
        took = took_since(started)
        check(sum(done), STORM_TASKS * STORM_YIELDS)
        return took

    return main


async def yields(count: int) -> int:
    done = 0
    for _ in range(count):
        await asyncio.sleep(0)
        done += 1
    return done


def spawn() -> Main:
    """5000 tasks of two steps each: the beginnings and ends of tasks count."""

    async def main() -> Took:
        started = now()
        done = await asyncio.gather(*(asyncio.create_task(yields(1)) for _ in range(SPAWN_TASKS)))
        took = took_since(started)
        check(sum(done), SPAWN_TASKS)
        return took

    return main


def http() -> Main:
    """An aiohttp server and client in one process, 50 requests at once: what a service does."""
    from aiohttp import ClientSession, TCPConnector, web

    async def answer(request: web.Request) -> web.Response:
        return web.json_response({"path": request.path})

    async def main() -> Took:
        app = web.Application()
        app.router.add_get("/{name}", answer)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        host, port = runner.addresses[0][:2]

        async with ClientSession(f"http://{host}:{port}", connector=TCPConnector(limit=HTTP_CLIENTS)) as session:

            async def client(requests: int) -> int:
                answered = 0
                for _ in range(requests):
                    async with session.get("/answer") as response:
                        answered += await response.read() == b'{"path": "/answer"}'
                return answered

            async def answered(requests: int) -> int:
                return sum(await asyncio.gather(*(asyncio.create_task(client(requests)) for _ in range(HTTP_CLIENTS))))

            await answered(2)  # connections are made, imports done
            started = now()
            done = await answered(HTTP_REQUESTS // HTTP_CLIENTS)
            took = took_since(started)
        await runner.cleanup()
        check(done, HTTP_REQUESTS)
        return took

    return main
