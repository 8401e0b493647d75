"""Who woke whom: the cause of each wake is the task, timer, thread or I/O that it was, through all callbacks."""

from __future__ import annotations

import asyncio
import itertools
import socket
import sys
import threading
from typing import Any

import pytest
from integration.both_ways import Run, both_ways, is_uvloop, kinds, outcomes, sees_coroutines, task_of, waits, wakers
from integration.trace_rules import check


def test_task_group_parent_and_aborted_sibling_are_woken_by_the_child_that_failed(run: Run) -> None:
    async def failing() -> None:
        await asyncio.sleep(0)
        raise ValueError("no")

    async def sibling() -> None:
        await asyncio.sleep(9)

    async def main() -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(failing())
            group.create_task(sibling())

    def program() -> None:
        with pytest.raises(ExceptionGroup):
            run(main())

    trace = both_ways(program)

    assert wakers(task_of(trace, "sibling")) == ["failing"]
    assert wakers(task_of(trace, "main")) == ["failing", "sibling"]
    assert task_of(trace, "failing").outcome == "raised" and task_of(trace, "failing").error == "ValueError"
    assert task_of(trace, "sibling").outcome == "cancelled"
    assert task_of(trace, "main").error == "ExceptionGroup"


def test_wait_and_as_completed_are_ended_by_the_task_that_they_waited_for(run: Run) -> None:
    async def quick() -> None:
        await asyncio.sleep(0)

    async def slow() -> None:
        await asyncio.sleep(0.002)

    async def waits_for_first() -> None:
        tasks = [asyncio.create_task(quick()), asyncio.create_task(slow())]
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        await asyncio.wait(tasks)

    async def takes_as_completed() -> None:
        for each in asyncio.as_completed([quick(), slow()]):
            await each

    for main in (waits_for_first, takes_as_completed):
        trace = both_ways(lambda main=main: run(main()))  # type: ignore[misc]
        assert wakers(task_of(trace, main.__name__)) == ["quick", "slow"]
        assert [wait[0] for wait in waits(task_of(trace, main.__name__))] == ["task", "task"]


def test_wait_for_that_times_out_is_woken_by_the_timer(run: Run) -> None:
    async def forever() -> None:
        await asyncio.Event().wait()

    async def main() -> None:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(forever(), 0.01)

    trace = both_ways(lambda: run(main()))

    if sees_coroutines:
        assert wakers(task_of(trace, "main")) == ["timer"]
    else:  # before 3.12 wait_for makes a task of what it waits for
        assert "timer" in wakers(task_of(trace, "main")) + wakers(task_of(trace, "forever"))


def test_a_reader_wakes_as_io_and_a_bare_thread_as_that_thread(run: Run) -> None:
    async def reads(sock: socket.socket) -> bytes:
        return await asyncio.get_running_loop().sock_recv(sock, 1)

    async def hears(event: asyncio.Event) -> None:
        await event.wait()

    async def main() -> bytes:
        one, other = socket.socketpair()
        with one, other:
            one.setblocking(False)
            event = asyncio.Event()
            tasks = asyncio.create_task(reads(one)), asyncio.create_task(hears(event))
            await asyncio.sleep(0)
            loop = asyncio.get_running_loop()
            thread = threading.Thread(target=loop.call_soon_threadsafe, args=(event.set,), name="helper")
            thread.start()
            thread.join()
            other.send(b"x")
            result, _ = await asyncio.gather(*tasks)
            return result

    trace = both_ways(lambda: run(main()))

    assert wakers(task_of(trace, "reads")) == (["unknown"] if is_uvloop(trace) else ["io"])
    assert [wait[0] for wait in waits(task_of(trace, "reads"))] == (["future"] if is_uvloop(trace) else ["io"])
    assert wakers(task_of(trace, "hears")) == ["thread"]
    ready = next(state for state in task_of(trace, "hears").states[2:] if state.kind == "ready")
    assert ready.cause.thread.name == "helper"


def test_a_future_that_a_timer_sets_is_a_wait_that_the_timer_ended(run: Run) -> None:
    async def main() -> int:
        loop = asyncio.get_running_loop()
        future = loop.create_future()
        loop.call_later(0.001, future.set_result, 1)
        first = await future
        future = loop.create_future()
        loop.call_at(loop.time() + 0.001, lambda: loop.call_soon(future.set_result, 2))
        return first + await future

    trace = both_ways(lambda: run(main()))

    check(trace)
    task = task_of(trace, "main")
    assert wakers(task) == ["timer", "timer"]
    assert waits(task) == [("timer", "future", 4), ("timer", "future", 7)]


def test_a_wake_goes_through_done_callbacks_of_done_callbacks(run: Run) -> None:
    async def sets(future: asyncio.Future[int]) -> None:
        await asyncio.sleep(0.001)
        future.set_result(1)

    async def main() -> int:
        loop = asyncio.get_running_loop()
        first, second, third = (loop.create_future() for _ in range(3))
        first.add_done_callback(lambda _: second.set_result(2))
        second.add_done_callback(lambda _: loop.call_soon(third.set_result, 3))
        task = asyncio.create_task(sets(first))
        result = await third
        await task
        return int(result)

    trace = both_ways(lambda: run(main()))

    check(trace)
    assert wakers(task_of(trace, "main"))[:1] == ["sets"]
    assert waits(task_of(trace, "main"))[0] == ("future", "third", 6)


def test_each_of_a_queue_s_items_is_handed_on_by_its_producer(run: Run) -> None:
    async def first(queue: asyncio.Queue[int]) -> None:
        await asyncio.sleep(0.001)
        queue.put_nowait(1)

    async def second(queue: asyncio.Queue[int], is_taken: asyncio.Event) -> None:
        await is_taken.wait()
        await queue.put(2)

    async def consumer(queue: asyncio.Queue[int], is_taken: asyncio.Event) -> list[int]:
        one = await queue.get()
        is_taken.set()
        return [one, await queue.get()]

    async def main() -> list[int]:
        queue: asyncio.Queue[int] = asyncio.Queue()
        is_taken = asyncio.Event()
        async with asyncio.TaskGroup() as group:
            task = group.create_task(consumer(queue, is_taken))
            group.create_task(first(queue))
            group.create_task(second(queue, is_taken))
        return task.result()

    trace = both_ways(lambda: run(main()))

    check(trace)
    assert wakers(task_of(trace, "consumer")) == ["first", "second"]
    assert [wait[:2] for wait in waits(task_of(trace, "consumer"))] == [("queue", "queue.get()")] * 2


def test_barriers_conditions_and_semaphores_are_ended_by_the_last_who_came(run: Run) -> None:
    async def early(barrier: asyncio.Barrier) -> None:
        await barrier.wait()

    async def late(barrier: asyncio.Barrier) -> None:
        await asyncio.sleep(0.001)
        await barrier.wait()

    async def notified(condition: asyncio.Condition) -> None:
        async with condition:
            await condition.wait()

    async def notifies(condition: asyncio.Condition) -> None:
        await asyncio.sleep(0.001)
        async with condition:
            condition.notify_all()

    async def main() -> None:
        barrier, condition = asyncio.Barrier(2), asyncio.Condition()
        await asyncio.gather(early(barrier), late(barrier), notified(condition), notifies(condition))

    trace = both_ways(lambda: run(main()))

    check(trace)
    assert wakers(task_of(trace, "early")) == ["late"]
    assert [wait[:2] for wait in waits(task_of(trace, "early"))] == [("lock", "barrier.wait()")]
    assert wakers(task_of(trace, "notified")) == ["notifies"]
    assert waits(task_of(trace, "notified")) == [("lock", "condition.wait()", 2)]


def test_streams_wake_as_io_whoever_writes(run: Run) -> None:
    async def serves(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        line = await reader.readline()
        writer.write(line.upper())
        await writer.drain()
        writer.close()

    async def asks(port: int) -> bytes:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"hello\n")
        answer = await reader.read()
        writer.close()
        return answer

    async def main() -> bytes:
        server = await asyncio.start_server(serves, "127.0.0.1", 0)
        answer = await asyncio.create_task(asks(server.sockets[0].getsockname()[1]))
        server.close()
        await asyncio.sleep(0.001)
        return answer

    trace = both_ways(lambda: run(main()))

    check(trace)
    for label in ("serves", "asks"):
        assert {wait[0] for wait in waits(task_of(trace, label))} == {"io"}
    assert set(wakers(task_of(trace, "serves"))) == {"io"}
    # A connection is made by a callback that the connecting task queues itself; uvloop's own code is not seen.
    assert set(wakers(task_of(trace, "asks"))) == ({"io", "unknown"} if is_uvloop(trace) else {"io", "asks"})
    assert wakers(task_of(trace, "main"))[-2:] == ["asks", "timer"]
    assert outcomes(trace)["serves"] == "returned"


def test_a_socket_that_is_connected_and_accepted_wakes_as_io(run: Run) -> None:
    async def accepts(listening: socket.socket) -> bytes:
        loop = asyncio.get_running_loop()
        connection, _ = await loop.sock_accept(listening)
        with connection:
            return await loop.sock_recv(connection, 10)

    async def connects(address: Any) -> None:
        loop = asyncio.get_running_loop()
        with socket.socket() as connection:
            connection.setblocking(False)
            await loop.sock_connect(connection, address)
            await asyncio.sleep(0.001)
            await loop.sock_sendall(connection, b"data")

    async def main() -> bytes:
        with socket.create_server(("127.0.0.1", 0)) as listening:
            listening.setblocking(False)
            accepting = asyncio.create_task(accepts(listening))
            await asyncio.sleep(0)
            await asyncio.create_task(connects(listening.getsockname()))
            return await accepting

    trace = both_ways(lambda: run(main()))

    check(trace)
    # uvloop completes its futures in compiled code, which no frame tells of: unknown, not guessed.
    expected = ["unknown", "unknown"] if is_uvloop(trace) else ["io", "io"]
    assert wakers(task_of(trace, "accepts")) == expected
    if not is_uvloop(trace):
        assert [wait[0] for wait in waits(task_of(trace, "accepts"))] == ["io", "io"]


def test_a_subprocess_that_ends_wakes_its_waiter(run: Run) -> None:
    async def main() -> Any:
        process = await asyncio.create_subprocess_exec("cat", stdin=asyncio.subprocess.PIPE)
        asyncio.get_running_loop().call_soon(process.stdin.close)  # type: ignore[union-attr]  # after this step
        return await process.wait()

    trace = both_ways(lambda: run(main()))

    check(trace)
    task = task_of(trace, "main")
    assert [wait[0] for wait in waits(task)][-1] == "process"
    is_watched_by_thread = sys.version_info < (3, 12) and not is_uvloop(trace)
    assert wakers(task)[-1] == ("thread" if is_watched_by_thread else "unknown")


def test_a_bare_yield_is_no_wait_and_its_own_cause(run: Run) -> None:
    async def yields() -> None:
        for _ in range(3):
            await asyncio.sleep(0)

    async def main() -> None:
        await asyncio.gather(yields(), yields())

    trace = both_ways(lambda: run(main()))

    check(trace)
    for task in (task for task in trace.tasks if task.label == "yields"):
        assert kinds(task) == ["ready task", "running"] + ["ready task", "running"] * 3
        assert waits(task) == []
        assert [state.cause.task for state in task.states[2::2]] == [task] * 3  # type: ignore[union-attr]


def test_a_lock_that_is_handed_on_names_each_holder(run: Run) -> None:
    async def holds(lock: asyncio.Lock) -> None:
        async with lock:
            await asyncio.sleep(0.001)

    async def main() -> None:
        lock = asyncio.Lock()
        await asyncio.gather(*[holds(lock) for _ in range(4)])

    trace = both_ways(lambda: run(main()))

    check(trace)
    holders = [task for task in trace.tasks if task.label == "holds"]
    for earlier, later in itertools.pairwise(holders):
        assert later.states[2].wait.kind == "lock"  # type: ignore[union-attr]
        assert later.states[3].cause.task is earlier  # type: ignore[union-attr]
        assert later.states[3].start_ns >= earlier.states[-1].start_ns


def test_a_wake_that_comes_while_the_task_itself_runs_makes_it_ready_from_its_end(run: Run) -> None:
    async def is_done_already() -> int:
        future = asyncio.get_running_loop().create_future()
        future.set_result(1)
        return int(await future)  # no wait at all

    async def sets_itself() -> int:
        loop = asyncio.get_running_loop()
        future = loop.create_future()
        loop.call_soon(future.set_result, 5)
        return int(await future)

    async def whole() -> list[int]:
        return [await is_done_already(), await sets_itself()]

    trace = both_ways(lambda: run(whole()))

    check(trace)
    task = task_of(trace, "whole")
    assert kinds(task) == ["ready unknown", "running", "waiting future", "ready task", "running"]
    assert task.states[3].cause.task is task  # type: ignore[union-attr]


def test_a_thread_that_completes_a_concurrent_future_is_named(run: Run) -> None:
    import concurrent.futures

    async def main() -> int:
        outer: concurrent.futures.Future[int] = concurrent.futures.Future()
        thread = threading.Timer(0.002, outer.set_result, [4])
        thread.name = "completer"
        asyncio.get_running_loop().call_soon(thread.start)  # after this step
        result = await asyncio.wrap_future(outer)
        thread.join()
        return result

    trace = both_ways(lambda: run(main()))

    check(trace)
    task = task_of(trace, "main")
    assert wakers(task) == ["thread"]
    assert task.states[3].cause.thread.name == "completer"  # type: ignore[union-attr]
    assert waits(task) == [("thread", "asyncio.wrap_future(outer)", 5)]
