"""Knows prices, and puts items aside: the service behind shop.py. See README.md for how to run the two."""

import argparse
import asyncio

from aiohttp import web

import asynctrace

DATABASE_S = 0.01


@asynctrace.traced
async def look_up(item: str) -> float:
    await asyncio.sleep(DATABASE_S)
    return len(item) / 2


@asynctrace.traced
async def get_price(request: web.Request) -> web.Response:
    return web.json_response({"price": await look_up(request.match_info["item"])})


@asynctrace.traced
async def reserve(request: web.Request) -> web.Response:
    items = await request.json()
    await asyncio.sleep(DATABASE_S)
    return web.json_response({"reserved": len(items)})


def make_app() -> web.Application:
    app = web.Application()
    app.router.add_get("/price/{item}", get_price)
    app.router.add_post("/reservations", reserve)
    return app


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, default=8081)
    web.run_app(make_app(), host="127.0.0.1", port=parser.parse_args().port)
