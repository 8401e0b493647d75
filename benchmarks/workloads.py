"""The programs that are traced: each a coroutine function that returns what it took, without its set-up."""

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


def storm(tracked: Callable[[int], Coroutine[Any, Any, None]]) -> Main:
    """200 tasks that give up the loop 500 times each: nothing but steps."""

    async def main() -> Took:
        started = now()
        await asyncio.gather(*(tracked(STORM_YIELDS) for _ in range(STORM_TASKS)))
        return took_since(started)

    return main


async def yields(count: int) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


def spawn() -> Main:
    """5000 tasks of two steps each: the beginnings and ends of tasks count."""

    async def main() -> Took:
        started = now()
        await asyncio.gather(*(asyncio.create_task(yields(1)) for _ in range(SPAWN_TASKS)))
        return took_since(started)

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

            async def client(requests: int) -> None:
                for _ in range(requests):
                    async with session.get("/answer") as response:
                        await response.read()

            await asyncio.gather(*(client(2) for _ in range(HTTP_CLIENTS)))  # connections are made, imports done
            started = now()
            await asyncio.gather(*(client(HTTP_REQUESTS // HTTP_CLIENTS) for _ in range(HTTP_CLIENTS)))
            took = took_since(started)
        await runner.cleanup()
        return took

    return main
