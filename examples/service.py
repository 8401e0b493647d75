"""A small web service and its client, to see a server at work: `asynctrace run examples/service.py`.

The service answers from a cache, which it fills from a slower service upstream and refreshes in the background. One
endpoint was written without thinking of the others: it holds the loop, and every request that comes meanwhile waits.
The client sends 50 requests, ten at a time.
"""

import asyncio
import random
import time
from collections.abc import AsyncIterator

from aiohttp import ClientSession, web

UPSTREAM_S = 0.02
REFRESH_S = 0.05
RULES_S = 0.12


class Cache:
    """Prices by item. A lock around each fill, so that an item is asked for upstream once and not ten times."""

    def __init__(self, session: ClientSession, upstream: str) -> None:
        self._session = session
        self._upstream = upstream
        self._prices: dict[str, float] = {}
        self._lock = asyncio.Lock()

    async def price(self, item: str) -> float:
        if item not in self._prices:
            async with self._lock:
                if item not in self._prices:
                    self._prices[item] = await self.ask_upstream(item)
        return self._prices[item]

    async def ask_upstream(self, item: str) -> float:
        async with self._session.get(f"{self._upstream}/price/{item}") as response:
            return float((await response.json())["price"])

    async def refresh(self) -> None:
        while True:
            await asyncio.sleep(REFRESH_S)
            for item in list(self._prices):
                self._prices[item] = await self.ask_upstream(item)


CACHE = web.AppKey("cache", Cache)


async def get_item(request: web.Request) -> web.Response:
    item = request.match_info["item"]
    return web.json_response({"item": item, "price": await request.app[CACHE].price(item)})


async def get_basket(request: web.Request) -> web.Response:
    prices = await asyncio.gather(*(request.app[CACHE].price(item) for item in ("apple", "pear", "plum")))
    return web.json_response({"total": sum(prices)})


async def get_rules(request: web.Request) -> web.Response:
    return web.json_response(load_rules())


async def get_health(request: web.Request) -> web.Response:
    return web.json_response({"ok": True})


def load_rules() -> dict[str, int]:
    time.sleep(RULES_S)  # reads and parses a large file, say
    return {"rules": 3}


async def get_price(request: web.Request) -> web.Response:
    """Answer for the service upstream."""
    await asyncio.sleep(UPSTREAM_S)
    return web.json_response({"price": len(request.match_info["item"]) / 2})


async def serve(app: web.Application) -> tuple[web.AppRunner, str]:
    """Serve `app` on a free port of this machine; return its runner and its address."""
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    host, port = runner.addresses[0][:2]
    return runner, f"http://{host}:{port}"


def upstream_app() -> web.Application:
    app = web.Application()
    app.router.add_get("/price/{item}", get_price)
    return app


def service_app(upstream: str) -> web.Application:
    app = web.Application()
    app.router.add_get("/items/{item}", get_item)
    app.router.add_get("/basket", get_basket)
    app.router.add_get("/rules", get_rules)
    app.router.add_get("/health", get_health)

    async def run_cache(app: web.Application) -> AsyncIterator[None]:
        async with ClientSession() as session:
            app[CACHE] = Cache(session, upstream)
            refresher = asyncio.create_task(app[CACHE].refresh(), name="refresher")
            yield
            refresher.cancel()
            await asyncio.gather(refresher, return_exceptions=True)

    app.cleanup_ctx.append(run_cache)
    return app


async def send_requests(service: str) -> int:
    """Send 50 requests, ten at a time, and return how many were answered well."""
    chance = random.Random(7)
    paths = chance.choices(["/items/apple", "/items/pear", "/items/plum", "/items/cherry", "/basket", "/health"], k=48)
    paths[15:15] = paths[35:35] = ["/rules"]
    places = asyncio.Semaphore(10)

    async with ClientSession(service) as session:

        async def send(path: str) -> bool:
            async with places, session.get(path) as response:
                await response.read()
                return response.status == 200

        return sum(await asyncio.gather(*(send(path) for path in paths)))


async def main() -> None:
    upstream, upstream_address = await serve(upstream_app())
    service, service_address = await serve(service_app(upstream_address))
    started = time.perf_counter()
    answered = await send_requests(service_address)
    print(f"{answered} of 50 requests answered in {time.perf_counter() - started:.2f} s")
    await service.cleanup()
    await upstream.cleanup()


if __name__ == "__main__":
    asyncio.run(main())
