"""asyncio's debug mode says the same, and names the same places."""

from __future__ import annotations

import asyncio
import re
import threading
import warnings
from typing import Any

import pytest
from integration.both_ways import Run, both_ways
from integration.trace_rules import check


def test_debug_mode_says_the_same_and_names_the_same_places(run: Run) -> None:
    async def child(future: asyncio.Future[None]) -> None:
        await future

    async def main() -> list[Any]:
        loop = asyncio.get_running_loop()
        future = loop.create_future()
        task = loop.create_task(child(future))
        handles = [
            loop.call_soon(int),
            loop.call_later(5, int),
            loop.call_at(loop.time() + 5, int),
            loop.call_soon_threadsafe(int),
        ]
        places = [handle._source_traceback[-1].lineno for handle in handles]  # type: ignore[union-attr]
        told = [repr(handle).split(" at ")[0].split("when=")[0] for handle in handles]
        await asyncio.sleep(0)
        told.append(repr(task).replace(str(id(task)), ""))
        for handle in handles:
            handle.cancel()
        told.append(repr(handles[1]).split("when=")[0])
        future.set_result(None)
        await task
        return [told, places]

    both_ways(lambda: run(main(), debug=True))


def test_the_places_where_handles_futures_and_tasks_were_made_are_the_program_s(run: Run) -> None:
    async def child() -> None:
        await asyncio.sleep(0)

    def made(thing: Any) -> list[str]:
        return [f"{frame.filename}:{frame.lineno} {frame.name}" for frame in thing._source_traceback]

    async def main() -> list[Any]:
        loop = asyncio.get_running_loop()
        things = [
            loop.call_soon(int),
            loop.call_soon_threadsafe(int),
            loop.call_later(5, int),
            loop.call_at(loop.time() + 5, int),
            loop.create_future(),
            loop.create_task(child()),
            asyncio.ensure_future(child()),
        ]
        told = [repr(each).rsplit("created at", 1)[-1] for each in things]
        # What lies around the step is the loop's own: a frame of ours is among it while recording.
        told.append([line for thing in things for line in made(thing)[-1:]])
        things[2].cancel()
        things[3].cancel()
        await asyncio.gather(*things[5:])
        things[4].cancel()
        return told

    trace = both_ways(lambda: run(main(), debug=True))

    check(trace)


def test_a_slow_callback_and_a_slow_step_are_said_by_their_names() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        clock = [loop.time()]
        loop.time = lambda: clock[0]  # type: ignore[method-assign]
        loop.slow_callback_duration = 1

        def slow() -> None:
            clock[0] += 2

        async def step() -> None:
            clock[0] += 3

        loop.call_soon(slow)
        loop.call_later(0, slow)
        await asyncio.create_task(step(), name="slow step")
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        del loop.time  # type: ignore[method-assign]

    trace = both_ways(lambda: asyncio.run(main(), debug=True))  # uvloop does not say

    check(trace)


def test_a_call_from_another_thread_is_refused_the_same(run: Run) -> None:
    async def main() -> list[str]:
        loop = asyncio.get_running_loop()
        told: list[str] = []

        def calls() -> None:
            for attempt in (loop.call_soon, lambda function: loop.call_later(1, function), loop.call_soon_threadsafe):
                try:
                    attempt(int)
                    told.append("taken")
                except RuntimeError as error:
                    told.append(str(error))

        thread = threading.Thread(target=calls)
        thread.start()
        thread.join()
        return told

    both_ways(lambda: run(main(), debug=True))


def test_what_a_loop_refuses_is_refused_with_the_same_words(run: Run) -> None:
    async def coroutine() -> None:
        pass

    async def main() -> list[str]:
        loop = asyncio.get_running_loop()
        told = []
        made = coroutine()
        attempts: list[Any] = [
            lambda: loop.call_soon(None),
            lambda: loop.call_soon(coroutine),
            lambda: loop.call_soon(made),
            lambda: loop.call_later(None, int),
            lambda: loop.call_later(1, "no"),
            lambda: loop.call_at(None, int),
            lambda: loop.call_soon_threadsafe(5),
            lambda: loop.call_soon(int, context=5),
            lambda: loop.run_in_executor(None, coroutine),
            lambda: loop.run_in_executor(None, None),
            lambda: loop.call_soon(int, unknown=1),
        ]
        for attempt in attempts:
            try:
                handle = attempt()
                told.append(type(handle).__name__)
                handle.cancel()
            except Exception as error:
                told.append(f"{type(error).__name__} {re.sub('BaseEventLoop.|Loop.', '', str(error))}")
        made.close()
        return told

    for debug in (False, True):
        both_ways(lambda debug=debug: run(main(), debug=debug))  # type: ignore[misc]


def test_coroutines_have_their_origin_in_debug_mode(run: Run) -> None:
    async def child() -> None:
        await asyncio.sleep(0)

    async def main() -> list[Any]:
        made = child()
        origin = [(line, name) for _, line, name in made.cr_origin[:1]]  # type: ignore[index]
        made.close()
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            child()  # never awaited: the warning ends with the place
        # Around the step a frame of ours is among the loop's.
        return [origin, str(caught[0].message).splitlines()[0], str(caught[0].message).splitlines()[-2:]]

    both_ways(lambda: run(main(), debug=True))


def test_a_loop_that_is_set_to_debug_meanwhile_says_the_same(run: Run) -> None:
    async def main() -> list[Any]:
        loop = asyncio.get_running_loop()
        quiet = loop.call_later(5, int)
        loop.set_debug(True)
        told = [repr(quiet).split(" when=")[0], repr(loop.call_soon(int))]
        loop.set_debug(False)
        told.append(repr(loop.call_soon(int)))
        quiet.cancel()
        with pytest.raises(TypeError):
            loop.call_soon("no")  # type: ignore[arg-type]
        return told

    both_ways(lambda: run(main()))
