"""What a task waits for: the kind, the user's own expression and line, and what ended it."""

from __future__ import annotations

import asyncio

from integration.both_ways import Run, both_ways, kinds, sees_coroutines, task_of, waits, wakers
from integration.trace_rules import check


async def use_lock(lock: asyncio.Lock) -> None:
    async with lock:
        await asyncio.sleep(0)
        await asyncio.sleep(0.001)


def test_wait_for_a_lock_is_ended_by_the_holder(run: Run) -> None:
    async def holder(lock: asyncio.Lock) -> None:
        await use_lock(lock)

    async def follower(lock: asyncio.Lock) -> None:
        await use_lock(lock)

    async def main() -> None:
        lock = asyncio.Lock()
        async with asyncio.TaskGroup() as group:
            group.create_task(holder(lock))
            group.create_task(follower(lock))

    trace = both_ways(lambda: run(main()))

    assert kinds(task_of(trace, "follower"))[2:4] == ["waiting lock", "ready task"]
    assert wakers(task_of(trace, "follower")) == ["holder", "timer"]
    assert wakers(task_of(trace, "main")) == ["follower"]
    assert waits(task_of(trace, "main"))[0][0] == "task"


def test_wait_for_a_queue_is_ended_by_whoever_puts_or_gets(run: Run) -> None:
    async def producer(queue: asyncio.Queue[int]) -> None:
        for number in range(3):
            await queue.put(number)

    async def consumer(queue: asyncio.Queue[int]) -> None:
        for _ in range(3):
            await queue.get()
            queue.task_done()

    async def main() -> None:
        queue: asyncio.Queue[int] = asyncio.Queue(1)
        tasks = [asyncio.create_task(consumer(queue)), asyncio.create_task(producer(queue))]
        await asyncio.wait(tasks)
        await queue.join()

    trace = both_ways(lambda: run(main()))

    assert waits(task_of(trace, "consumer"))[0] == ("queue", "queue.get()", 2)
    assert set(wakers(task_of(trace, "consumer"))) == {"producer"}
    assert waits(task_of(trace, "producer"))[0] == ("queue", "queue.put(number)", 2)
    assert set(wakers(task_of(trace, "producer"))) == {"consumer"}


def test_wait_for_events_conditions_and_semaphores_name_them(run: Run) -> None:
    async def waiter(event: asyncio.Event) -> None:
        await event.wait()

    async def limited(semaphore: asyncio.Semaphore) -> None:
        async with semaphore:
            await asyncio.sleep(0)

    async def main() -> None:
        event, semaphore = asyncio.Event(), asyncio.Semaphore(0)
        tasks = [asyncio.create_task(waiter(event)), asyncio.create_task(limited(semaphore))]
        await asyncio.sleep(0)
        event.set()
        semaphore.release()
        await asyncio.gather(*tasks)

    trace = both_ways(lambda: run(main()))

    assert waits(task_of(trace, "waiter")) == [("event", "event.wait()", 1)]
    assert [wait[0] for wait in waits(task_of(trace, "limited"))] == ["lock"]
    assert wakers(task_of(trace, "waiter")) == ["main"]
    assert wakers(task_of(trace, "limited")) == ["main"]


def test_a_wait_names_the_user_s_own_await_however_deep_the_library_stands(run: Run) -> None:
    async def reads(reader: asyncio.StreamReader) -> bytes:
        return await reader.readuntil(b"\n")

    async def joins(queue: asyncio.Queue[int]) -> None:
        await queue.join()

    async def gets(queue: asyncio.Queue[int]) -> int:
        return await asyncio.wait_for(queue.get(), timeout=5)

    async def main() -> None:
        reader, queue = asyncio.StreamReader(), asyncio.Queue[int]()
        queue.put_nowait(1)
        tasks = [asyncio.create_task(reads(reader)), asyncio.create_task(joins(queue))]
        await asyncio.sleep(0)
        reader.feed_data(b"line\n")
        await queue.get()
        queue.task_done()
        tasks.append(asyncio.create_task(gets(queue)))  # type: ignore[arg-type]
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        queue.put_nowait(2)
        await asyncio.gather(*tasks)

    trace = both_ways(lambda: run(main()))

    check(trace)
    assert waits(task_of(trace, "reads")) == [("io", 'reader.readuntil(b"\\n")', 1)]
    assert wakers(task_of(trace, "reads")) == ["main"]
    assert waits(task_of(trace, "joins")) == [("queue", "queue.join()", 1)]
    kind = "queue" if sees_coroutines else "task"  # before 3.12 wait_for makes a task of what it waits for
    assert waits(task_of(trace, "gets")) == [(kind, "asyncio.wait_for(queue.get(), timeout=5)", 1)]


def test_two_waits_on_one_line_have_expressions_of_their_own(run: Run) -> None:
    async def value(number: int) -> int:
        await asyncio.sleep(0.001)
        return number

    async def main() -> int:
        one, other = asyncio.create_task(value(1)), asyncio.ensure_future(value(2))
        return await one + await other + await asyncio.create_task(value(3))

    trace = both_ways(lambda: run(main()))

    check(trace)
    found = waits(task_of(trace, "main"))
    assert [wait[1] for wait in found if wait[1] != "other"] == ["one", "asyncio.create_task(value(3))"]
    assert {wait[2] for wait in found} == {2}


def test_a_wait_on_several_lines_names_the_line_where_it_begins(run: Run) -> None:
    async def main() -> None:
        await asyncio.gather(
            asyncio.sleep(0.001),
            asyncio.sleep(0.002),
        )

    trace = both_ways(lambda: run(main()))

    wait = waits(task_of(trace, "main"))[0]
    assert wait[0] == "gather" and wait[2] == 1
    assert wait[1] is not None and wait[1].startswith("asyncio.gather(")
