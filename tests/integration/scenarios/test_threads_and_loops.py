"""Threads, executors and several loops: each wake has its thread, each task its loop."""

from __future__ import annotations

import asyncio
import concurrent.futures
import itertools
import threading
from typing import Any

from integration.both_ways import LoopFactory, Run, both_ways, kinds, label_of, outcomes, task_of, waits, wakers
from integration.trace_rules import check


def test_a_server_a_gather_and_a_thread_run_the_same(run: Run) -> None:
    async def child() -> int:
        await asyncio.sleep(0.001)
        return 1

    async def main() -> Any:
        loop = asyncio.get_running_loop()
        server = await loop.create_server(asyncio.Protocol, "127.0.0.1", 0)
        server.close()
        return [await asyncio.gather(child(), child()), await asyncio.to_thread(sum, [1, 2])]

    check(both_ways(lambda: run(main())))


def test_to_thread_is_a_wait_for_a_thread_that_it_ended(run: Run) -> None:
    async def main() -> None:
        is_waiting = threading.Event()
        asyncio.get_running_loop().call_soon(is_waiting.set)  # after this step
        await asyncio.to_thread(is_waiting.wait)

    trace = both_ways(lambda: run(main()))

    task = task_of(trace, "main")
    assert waits(task) == [("thread", "asyncio.to_thread(is_waiting.wait)", 3)]
    assert wakers(task) == ["thread"]
    assert task.states[3].cause.thread.is_main is False


def test_run_coroutine_threadsafe_several_loops_and_a_second_run_are_seen(run: Run) -> None:
    async def asked() -> int:
        await asyncio.sleep(0)
        return 7

    async def serve(loops: list[asyncio.AbstractEventLoop], ready: threading.Event, stop: list[asyncio.Event]) -> None:
        stop.append(asyncio.Event())
        loops.append(asyncio.get_running_loop())
        ready.set()
        await stop[0].wait()

    async def second() -> None:
        await asyncio.sleep(0)

    def program() -> int | None:
        loops: list[asyncio.AbstractEventLoop] = []
        stop: list[asyncio.Event] = []
        ready = threading.Event()
        thread = threading.Thread(target=lambda: run(serve(loops, ready, stop)))
        thread.start()
        ready.wait()
        result = asyncio.run_coroutine_threadsafe(asked(), loops[0]).result(60)
        loops[0].call_soon_threadsafe(stop[0].set)
        thread.join()
        run(second())
        run(second())
        return result

    trace = both_ways(program)

    check(trace)
    assert task_of(trace, "asked").loop is task_of(trace, "serve").loop
    assert not task_of(trace, "serve").loop.thread.is_main
    assert wakers(task_of(trace, "serve")) == ["thread"]
    assert len({task.loop for task in trace.tasks if task.label == "second"}) == 2


def test_jobs_of_the_default_and_of_an_own_executor_are_waits_for_a_thread(run: Run) -> None:
    is_waiting = threading.Event()

    def job(number: int) -> str:
        is_waiting.wait(60)
        return f"{number} on {threading.current_thread().name}"

    def fails() -> None:
        raise ValueError("in the job")

    async def main() -> list[Any]:
        loop = asyncio.get_running_loop()

        def submit(pool: Any, number: int) -> asyncio.Future[str]:
            is_waiting.clear()
            loop.call_soon(is_waiting.set)  # after this step
            return loop.run_in_executor(pool, job, number)

        with concurrent.futures.ThreadPoolExecutor(1, "own") as pool:
            found: list[Any] = [await submit(pool, 1), await submit(None, 2)]
            found.extend(await asyncio.gather(submit(pool, 3), submit(pool, 4)))
        try:
            await asyncio.to_thread(fails)
        except ValueError as error:
            found.append(error)
        return found

    trace = both_ways(lambda: run(main()))

    check(trace)
    task = task_of(trace, "main")
    assert [wait[0] for wait in waits(task)][:3] == ["thread"] * 3  # also through a gather: a thread ended it
    assert wakers(task)[:3] == ["thread"] * 3
    jobs = [each for each in trace.jobs if each.name.rsplit(".", 1)[-1] in ("job", "fails")]
    assert [(each.kind, each.outcome, each.task) for each in jobs] == [("thread", "returned", task)] * 4 + [
        ("thread", "raised", task)
    ]
    assert [each.call.thread.name for each in jobs[:1]] == ["own_0"]  # type: ignore[union-attr]


def test_a_job_that_is_cancelled_before_it_runs_is_no_call(run: Run) -> None:
    started = threading.Event()
    release = threading.Event()
    ran: list[str] = []

    def holds() -> None:
        started.set()
        release.wait(60)

    async def waits_for_job(pool: Any) -> None:
        await asyncio.get_running_loop().run_in_executor(pool, ran.append, "never")

    async def main() -> list[Any]:
        started.clear()
        release.clear()
        ran.clear()
        loop = asyncio.get_running_loop()
        with concurrent.futures.ThreadPoolExecutor(1) as pool:
            first = loop.run_in_executor(pool, holds)
            started.wait(60)
            task = asyncio.create_task(waits_for_job(pool))
            await asyncio.sleep(0)
            task.cancel()
            await asyncio.wait([task])
            release.set()
            await first
        return [task.cancelled(), ran]

    trace = both_ways(lambda: run(main()))

    check(trace)
    assert task_of(trace, "waits_for_job").outcome == "cancelled"
    assert waits(task_of(trace, "waits_for_job"))[0][0] == "thread"
    assert wakers(task_of(trace, "waits_for_job")) == ["main"]


def test_several_loops_in_several_threads_keep_their_tasks_apart(loop_factory: LoopFactory) -> None:
    async def child(number: int) -> int:
        await asyncio.sleep(0.001)
        return number

    async def main(number: int) -> list[int]:
        return await asyncio.gather(*[child(10 * number + index) for index in range(3)])

    def program() -> list[Any]:
        found: dict[int, Any] = {}

        def runs(number: int) -> None:
            with asyncio.Runner(loop_factory=loop_factory) as runner:
                found[number] = runner.run(main(number))

        threads = [threading.Thread(target=runs, args=(number,), name=f"loop {number}") for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return [found[number] for number in range(4)]

    trace = both_ways(program)

    check(trace)
    roots = [task for task in trace.tasks if task.label == "main"]
    assert len({task.loop for task in roots}) == 4
    names = [task.loop.thread.name for task in roots if task.loop is not None and task.loop.thread is not None]
    assert sorted(names) == [f"loop {number}" for number in range(4)]
    for task in trace.tasks:
        if task.label == "child":
            assert task.creator in roots and task.loop is task.creator.loop
            assert wakers(task) == ["timer"]
    for root in roots:
        assert wakers(root) == ["child"]


def test_loops_that_wake_each_other_name_the_other_s_thread(loop_factory: LoopFactory) -> None:
    async def server(started: threading.Event, found: list[Any]) -> str:
        event = asyncio.Event()
        found.extend([asyncio.get_running_loop(), event])
        started.set()
        await event.wait()
        return "served"

    async def asks(loop: Any) -> int:
        is_waiting = threading.Event()
        asyncio.get_running_loop().call_soon(is_waiting.set)  # after this step
        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(answers(is_waiting), loop))

    async def answers(is_asker_waiting: threading.Event) -> int:
        while not is_asker_waiting.is_set():
            await asyncio.sleep(0.001)
        return 42

    def program() -> list[Any]:
        started, found, results = threading.Event(), [], []

        def serves() -> None:
            with asyncio.Runner(loop_factory=loop_factory) as runner:
                results.append(runner.run(server(started, found)))

        thread = threading.Thread(target=serves, name="server")
        thread.start()
        started.wait(60)
        with asyncio.Runner(loop_factory=loop_factory) as runner:
            results.append(runner.run(asks(found[0])))
        found[0].call_soon_threadsafe(found[1].set)
        thread.join()
        return results

    trace = both_ways(program)

    check(trace)
    assert outcomes(trace) == {"server": "returned", "asks": "returned", "answers": "returned"}
    assert task_of(trace, "answers").loop is task_of(trace, "server").loop
    assert wakers(task_of(trace, "asks")) in (["thread"], ["answers"])
    assert wakers(task_of(trace, "server")) == ["thread"]
    assert task_of(trace, "server").states[3].cause.thread.is_main  # type: ignore[union-attr]


def test_an_answer_from_another_thread_s_coroutine_has_that_thread_as_creator_s_cause(run: Run) -> None:
    async def asked(number: int) -> int:
        await asyncio.sleep(0)
        return number

    async def main() -> list[int]:
        loop = asyncio.get_running_loop()

        def asks(number: int) -> int:
            return asyncio.run_coroutine_threadsafe(asked(number), loop).result(60)

        return list(await asyncio.gather(asyncio.to_thread(asks, 1), asyncio.to_thread(asks, 2)))

    trace = both_ways(lambda: run(main()))

    check(trace)
    for task in trace.tasks:
        if task.label == "asked":
            assert task.creator is None and kinds(task)[0] == "ready thread"
            assert task.states[0].cause.thread.is_main is False  # type: ignore[union-attr]


def test_a_run_coroutine_threadsafe_that_is_cancelled_or_fails_says_the_same(run: Run) -> None:
    begun = threading.Event()

    async def forever() -> None:
        asyncio.get_running_loop().call_soon(begun.set)  # after this step
        await asyncio.sleep(5)

    async def fails() -> None:
        raise ValueError("asked")

    async def main() -> list[Any]:
        loop = asyncio.get_running_loop()

        def asks() -> list[Any]:
            begun.clear()
            slow = asyncio.run_coroutine_threadsafe(forever(), loop)
            begun.wait(60)
            try:
                slow.result(0.001)
            except TimeoutError:
                slow.cancel()
            failing = asyncio.run_coroutine_threadsafe(fails(), loop)
            return [slow.cancelled(), repr(failing.exception(60))]

        found = await asyncio.to_thread(asks)
        await asyncio.sleep(0.001)
        return found

    trace = both_ways(lambda: run(main()))

    check(trace)
    assert outcomes(trace) == {"main": "returned", "forever": "cancelled", "fails": "raised"}
    assert label_of(task_of(trace, "forever").creator) is None
    assert wakers(task_of(trace, "forever")) == ["thread"]


def test_a_second_and_a_third_run_are_loops_of_their_own(run: Run) -> None:
    async def main(number: int) -> int:
        await asyncio.sleep(0)
        return number

    trace = both_ways(lambda: [run(main(number)) for number in range(3)])

    check(trace)
    roots = [task for task in trace.tasks if task.label == "main"]
    assert len({task.loop for task in roots}) == 3 and len(trace.loops) == 3
    assert [task.outcome for task in roots] == ["returned"] * 3
    for earlier, later in itertools.pairwise(roots):
        assert earlier.end_ns < later.created_ns


def test_one_loop_that_runs_three_times_is_one_loop(loop_factory: LoopFactory) -> None:
    async def main(number: int) -> int:
        await asyncio.sleep(0)
        return number

    def program() -> list[int]:
        with asyncio.Runner(loop_factory=loop_factory) as runner:
            return [runner.run(main(number)) for number in range(3)]

    trace = both_ways(program)

    check(trace)
    assert len(trace.loops) == 1
    assert [task.loop for task in trace.tasks if task.label == "main"] == [trace.loops[0]] * 3


def test_a_loop_inside_another_s_step_on_the_same_thread_is_refused_the_same(run: Run) -> None:
    async def inner() -> None:
        pass

    async def main() -> list[str]:
        told = []
        made = inner()
        for attempt in (lambda: asyncio.run(made), lambda: asyncio.get_running_loop().run_until_complete(made)):
            try:
                attempt()
            except RuntimeError as error:
                told.append(str(error))
        made.close()
        return told

    both_ways(lambda: run(main()))
