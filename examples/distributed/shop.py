"""Sells what stock.py has: asks for all prices at once, then has the items put aside. See README.md."""

import argparse
import asyncio
from collections.abc import AsyncIterator

from aiohttp import ClientSession, web

import asynctrace

STOCK = web.AppKey("stock", ClientSession)


@asynctrace.traced
async def ask_price(stock: ClientSession, item: str) -> float:
    async with stock.get(f"/price/{item}") as response:
        return float((await response.json())["price"])


@asynctrace.traced
async def reserve(stock: ClientSession, items: list[str]) -> int:
    async with stock.post("/reservations", json=items) as response:
        return int((await response.json())["reserved"])


@asynctrace.traced
async def buy(request: web.Request) -> web.Response:
    stock, items = request.app[STOCK], request.match_info["items"].split(",")
    prices = await asyncio.gather(*(ask_price(stock, item) for item in items))
    reserved = await reserve(stock, items)
    return web.json_response({"total": sum(prices), "reserved": reserved})


def make_app(stock: str) -> web.Application:
    app = web.Application()
    app.router.add_get("/buy/{items}", buy)

    async def connect(app: web.Application) -> AsyncIterator[None]:
        async with ClientSession(stock) as app[STOCK]:
            yield

    app.cleanup_ctx.append(connect)
    return app


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, default=8080)
    parser.add_argument("--stock", default="http://127.0.0.1:8081")
    arguments = parser.parse_args()
    web.run_app(make_app(arguments.stock), host="127.0.0.1", port=arguments.port)
