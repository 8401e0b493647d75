"""The decorator on a coroutine, an async generator, a method and a plain function.

Run it as it is: it records itself, prints where the time went, and leaves decorated.png.

On Python 3.12 and later a recording sees every coroutine, decorated or not; the decorator gives a function another name
and attributes, and makes calls of plain functions visible. On 3.11 it also makes coroutines inside a task visible.
"""

import argparse
import asyncio
import time
from collections.abc import AsyncIterator

import asynctrace


@asynctrace.traced
def parse(page: str) -> int:
    time.sleep(0.01)  # work that holds the loop
    return len(page)


@asynctrace.traced(name="fetch", attributes={"service": "pages"})
async def fetch_page(number: int) -> str:
    await asyncio.sleep(0.03)
    return "x" * number


class Crawler:
    def __init__(self) -> None:
        self.characters = 0

    @asynctrace.traced
    async def crawl(self, pages: AsyncIterator[int]) -> None:
        async for number in pages:
            self.characters += parse(await fetch_page(number))


@asynctrace.traced
async def numbers(start: int, stop: int) -> AsyncIterator[int]:
    for number in range(start, stop):
        await asyncio.sleep(0.005)
        yield number


async def main() -> None:
    crawler = Crawler()
    async with asyncio.TaskGroup() as group:
        for start in (0, 5, 10):
            group.create_task(crawler.crawl(numbers(start, start + 5)))
    print(f"{crawler.characters} characters")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Record decorated functions, and draw what they did.")
    parser.add_argument("-o", "--output", default="decorated.png", help="the chart (default: %(default)s)")
    options = parser.parse_args()

    with asynctrace.record() as recording:
        asyncio.run(main())

    trace = recording.trace
    for figures in trace.summary()["coroutines"]:
        total_s, running_s = figures["total_s"], figures["running_s"]
        print(f"{figures['name']:<15} {figures['count']:3} ×  {total_s:.3f} s in all, running {running_s:.3f} s")
    trace.gantt(options.output)
    print(f"saved {options.output}")
