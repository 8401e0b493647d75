"""What a trace shows of each situation that an asyncio program can be in, on real loops."""

from __future__ import annotations

import asyncio
import contextvars
import itertools
import socket
import sys
import threading
import time
from asyncio import gather as gather_bound_before
from pathlib import Path
from typing import Any

import pytest
from integration.both_ways import both_ways, kinds, task_of, trace_of, waits, wakers
from integration.trace_rules import check

import asynctrace

sees_coroutines = sys.version_info >= (3, 12)
needs_coroutines = pytest.mark.skipif(not sees_coroutines, reason="before 3.12 only decorated coroutines are seen")
needs_eager_tasks = pytest.mark.skipif(sys.version_info < (3, 12), reason="eager tasks are new in 3.12")

GATHER = Path(__file__).parents[2] / "examples" / "gather.py"


def run(main: Any, **keywords: Any) -> Any:
    return asyncio.run(main, **keywords)


# The first program of everyone.


def test_gather_shows_three_overlapping_counts_woken_by_timers_and_main_by_the_last() -> None:
    async def count() -> None:
        await asyncio.sleep(0.01)

    async def main() -> None:
        await asyncio.gather(count(), count(), count())

    trace = both_ways(lambda: run(main()))

    check(trace)
    counts = [task for task in trace.tasks if task.label == "count"]
    root = task_of(trace, "main")
    assert len(counts) == 3
    for task in counts:
        assert kinds(task) == ["ready task", "running", "waiting sleep", "ready timer", "running"]
        assert task.outcome == "returned" and task.creator is root
        assert waits(task) == [("sleep", "asyncio.sleep(0.01)", 1)]
    first, *_, last = sorted(counts, key=lambda task: task.end_ns)
    assert all(task.states[2].start_ns < first.states[2].end_ns for task in counts)
    assert kinds(root) == ["ready unknown", "running", "waiting gather", "ready task", "running"]
    assert root.states[3].cause.task is last
    assert waits(root) == [("gather", "asyncio.gather(count(), count(), count())", 1)]


# What a task waits for.


async def use_lock(lock: asyncio.Lock) -> None:
    async with lock:
        await asyncio.sleep(0)
        await asyncio.sleep(0.001)


def test_wait_for_a_lock_is_ended_by_the_holder() -> None:
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


def test_wait_for_a_queue_is_ended_by_whoever_puts_or_gets() -> None:
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


def test_wait_for_events_conditions_and_semaphores_name_them() -> None:
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


def test_to_thread_is_a_wait_for_a_thread_that_it_ended() -> None:
    async def main() -> None:
        await asyncio.to_thread(time.sleep, 0.005)

    trace = both_ways(lambda: run(main()))

    task = task_of(trace, "main")
    assert waits(task) == [("thread", "asyncio.to_thread(time.sleep, 0.005)", 1)]
    assert wakers(task) == ["thread"]
    assert task.states[3].cause.thread.is_main is False


def test_waits_for_one_task_are_ended_by_it_for_all_who_await() -> None:
    async def worker() -> int:
        await asyncio.sleep(0.001)
        return 1

    async def first(task: asyncio.Task[int]) -> int:
        return await task

    async def second(task: asyncio.Task[int]) -> int:
        return await task

    async def main() -> list[int]:
        task = asyncio.create_task(worker())
        return await asyncio.gather(first(task), second(task))

    trace = both_ways(lambda: run(main()))

    for label in ("first", "second"):
        task = task_of(trace, label)
        assert waits(task) == [("task", "task", 1)]
        assert wakers(task) == ["worker"]
        assert task.states[2].wait.awaited is task_of(trace, "worker")


@needs_coroutines
def test_nested_coroutines_hang_together() -> None:
    async def inner() -> int:
        await asyncio.sleep(0.001)
        return 1

    async def middle() -> int:
        return await inner()

    async def main() -> int:
        return await middle()

    trace = both_ways(lambda: run(main()))

    check(trace)
    found = {each.name.rsplit(".", 1)[-1]: each for each in trace.coroutines}
    assert found["inner"].awaiter is found["middle"] and found["middle"].awaiter is found["main"]
    assert found["main"].awaiter is None
    assert waits(task_of(trace, "main"))[0][:2] == ("sleep", "asyncio.sleep(0.001)")
    assert [each.expression for each in found["middle"].suspensions] == ["inner()"]
    assert {found[name].outcome for name in ("inner", "middle", "main")} == {"returned"}
    assert {found[name].task for name in ("inner", "middle", "main")} == {task_of(trace, "main")}


@needs_coroutines
def test_awaiters_of_a_coroutine_that_catches_a_cancel_are_not_suspended_while_it_goes_on() -> None:
    clock: list[int] = []

    async def stubborn() -> None:
        try:
            await asyncio.sleep(9)
        except asyncio.CancelledError:
            clock.append(time.monotonic_ns())
            await asyncio.sleep(0.001)

    async def outer() -> None:
        await stubborn()

    async def main() -> None:
        task = asyncio.create_task(outer())
        await asyncio.sleep(0)
        task.cancel()
        await task

    trace = trace_of(lambda: run(main()))

    check(trace)
    awaiter = next(each for each in trace.coroutines if each.name.endswith("outer"))
    assert len(awaiter.suspensions) == 2
    assert not any(each.start_ns < clock[0] < each.end_ns for each in awaiter.suspensions)
    assert [wait[1] for wait in waits(task_of(trace, "outer"))] == ["asyncio.sleep(9)", "asyncio.sleep(0.001)"]


# Who woke whom.


def test_task_group_parent_and_aborted_sibling_are_woken_by_the_child_that_failed() -> None:
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


def test_wait_and_as_completed_are_ended_by_the_task_that_they_waited_for() -> None:
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


def test_wait_for_that_times_out_is_woken_by_the_timer() -> None:
    async def forever() -> None:
        await asyncio.Event().wait()

    async def main() -> None:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(forever(), 0.001)

    trace = both_ways(lambda: run(main()))

    if sees_coroutines:
        assert wakers(task_of(trace, "main")) == ["timer"]
    else:  # before 3.12 wait_for makes a task of what it waits for
        assert "timer" in wakers(task_of(trace, "main")) + wakers(task_of(trace, "forever"))


def test_a_reader_wakes_as_io_and_a_bare_thread_as_that_thread() -> None:
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

    assert wakers(task_of(trace, "reads")) == ["io"]
    assert [wait[0] for wait in waits(task_of(trace, "reads"))] == ["io"]
    assert wakers(task_of(trace, "hears")) == ["thread"]
    ready = next(state for state in task_of(trace, "hears").states[2:] if state.kind == "ready")
    assert ready.cause.thread.name == "helper"


def test_gather_that_was_imported_by_name_before_is_seen() -> None:
    async def child() -> None:
        await asyncio.sleep(0)

    async def main() -> None:
        await gather_bound_before(child(), child())

    trace = both_ways(lambda: run(main()))

    assert [task.label for task in trace.tasks if not task.is_internal] == ["main", "child", "child"]


# However tasks and loops come to be.


def test_tasks_made_before_the_loop_runs_directly_or_by_a_factory_are_seen() -> None:
    async def early() -> None:
        await asyncio.sleep(0)

    async def direct() -> None:
        await asyncio.sleep(0)

    async def by_factory() -> None:
        await asyncio.sleep(0)

    class Own(asyncio.Task):  # type: ignore[type-arg]
        pass

    def factory(loop: asyncio.AbstractEventLoop, coroutine: Any, **keywords: Any) -> Any:
        return Own(coroutine, loop=loop, **keywords)

    async def main(others: list[Any]) -> None:
        loop = asyncio.get_running_loop()
        loop.set_task_factory(factory)
        made = [asyncio.Task(direct(), loop=loop, name="mine"), loop.create_task(by_factory())]
        assert type(made[1]) is Own
        await asyncio.wait([*others, *made])

    def program() -> None:
        loop = asyncio.new_event_loop()
        try:
            others = [loop.create_task(early())]
            loop.run_until_complete(main(others))
        finally:
            loop.close()

    trace = both_ways(program)

    check(trace)
    for label in ("early", "direct", "by_factory", "main"):
        assert task_of(trace, label).outcome == "returned"
    assert task_of(trace, "direct").name == "mine"


@needs_eager_tasks
def test_eager_tasks_run_inside_their_creators_step() -> None:
    async def at_once() -> int:
        return 1

    async def suspends() -> None:
        await asyncio.sleep(0.001)

    async def fails() -> None:
        raise ValueError("no")

    async def yields() -> None:
        await asyncio.sleep(0)

    async def cancels_itself() -> int:
        asyncio.current_task().cancel()  # type: ignore[union-attr]
        return 5

    async def main() -> list[Any]:
        asyncio.get_running_loop().set_task_factory(asyncio.eager_task_factory)  # type: ignore[attr-defined]
        made = [at_once(), suspends(), fails(), yields(), cancels_itself()]
        return await asyncio.gather(*made, return_exceptions=True)

    trace = both_ways(lambda: [str(each) for each in run(main())])

    check(trace)
    outcomes = {label: task_of(trace, label).outcome for label in ("at_once", "suspends", "yields")}
    assert set(outcomes.values()) == {"returned"}
    assert task_of(trace, "fails").outcome == "raised" and task_of(trace, "fails").error == "ValueError"
    assert task_of(trace, "cancels_itself").outcome == "cancelled"
    assert kinds(task_of(trace, "suspends"))[-3:] == ["waiting sleep", "ready timer", "running"]
    assert kinds(task_of(trace, "yields"))[-3:] == ["running", "ready task", "running"]
    assert all(task_of(trace, label).is_eager for label in ("at_once", "fails", "yields"))
    assert all(task_of(trace, label).creator is task_of(trace, "main") for label in ("at_once", "fails", "yields"))


@needs_eager_tasks
def test_a_task_factory_may_name_an_eager_task_after_its_end() -> None:
    async def at_once() -> None:
        pass

    async def main() -> None:
        asyncio.get_running_loop().set_task_factory(asyncio.eager_task_factory)  # type: ignore[attr-defined]
        task = asyncio.create_task(at_once(), name="mine")
        await task

    trace = both_ways(lambda: run(main()))

    assert task_of(trace, "at_once").name == "mine"


def test_run_coroutine_threadsafe_several_loops_and_a_second_run_are_seen() -> None:
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
        result = asyncio.run_coroutine_threadsafe(asked(), loops[0]).result(5)
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


def test_generators_that_are_interleaved_broken_out_of_and_closed_yield_without_waiting() -> None:
    async def numbers(count: int) -> Any:
        for number in range(count):
            await asyncio.sleep(0)
            yield number

    async def main() -> list[int]:
        one, other = numbers(3), numbers(3)
        seen = [await anext(one), await anext(other), await anext(one)]
        async for number in numbers(5):
            seen.append(number)
            break
        await one.aclose()
        await other.aclose()
        last = numbers(1)
        seen.append(await asyncio.ensure_future(last.__anext__()))
        await last.aclose()
        return seen

    trace = both_ways(lambda: run(main()))

    check(trace)
    assert not [state for state in task_of(trace, "main").states if state.kind == "waiting"][1:]
    if sees_coroutines:
        generators = [each for each in trace.coroutines if each.is_generator]
        assert len(generators) == 4
        assert [each.outcome for each in generators] == ["closed"] * 4
        assert [sum(each.is_yield for each in one.suspensions) for one in generators] == [2, 1, 1, 1]


def test_generator_based_and_python_awaitables_and_foreign_coroutines_hang_together() -> None:
    import types
    from collections.abc import Coroutine, Generator

    class Awaitable:
        def __await__(self) -> Generator[Any, None, int]:
            yield from asyncio.sleep(0.001).__await__()
            return 1

    @types.coroutine
    def old_style() -> Generator[Any, None, int]:
        yield from asyncio.sleep(0.001).__await__()
        return 2

    class Foreign(Coroutine[Any, Any, int]):
        """As a compiled coroutine is: no frame, no code."""

        def __init__(self) -> None:
            self._inner = old_style()

        def send(self, value: Any) -> Any:
            return self._inner.send(value)

        def throw(self, *error: Any) -> Any:
            return self._inner.throw(*error)

        def close(self) -> None:
            self._inner.close()

        def __await__(self) -> Any:
            return self._inner

    async def main() -> list[int]:
        task = asyncio.create_task(Foreign())
        return [await Awaitable(), await old_style(), await task]

    trace = both_ways(lambda: run(main()))

    check(trace)
    assert [wait[0] for wait in waits(task_of(trace, "main"))][:2] == ["sleep", "sleep"] or not sees_coroutines
    foreign = next(task for task in trace.tasks if task.label in ("Foreign", "old_style"))
    assert foreign.outcome == "returned"


def test_a_pending_task_that_is_collected_ends_closed() -> None:
    async def forgotten(future: asyncio.Future[None]) -> None:
        await future

    async def main() -> None:
        import gc

        task = asyncio.create_task(forgotten(asyncio.get_running_loop().create_future()))
        await asyncio.sleep(0)
        del task
        gc.collect()
        await asyncio.sleep(0)

    trace = both_ways(lambda: run(main()))

    check(trace)
    assert task_of(trace, "forgotten").outcome == "closed"
    assert task_of(trace, "main").outcome == "returned"


def test_what_still_waits_at_the_end_is_unfinished() -> None:
    recording = asynctrace.record()

    async def stuck() -> None:
        await asyncio.Event().wait()

    async def main() -> None:
        recording.start()
        task = asyncio.create_task(stuck())
        await asyncio.sleep(0)
        recording.stop()
        task.cancel()

    run(main())

    check(recording.trace)
    task = task_of(recording.trace, "stuck")
    assert task.outcome == "unfinished" and task.states[-1].kind == "waiting"
    assert task.states[-1].wait.kind == "event"


def test_a_recording_that_begins_inside_a_running_loop_knows_what_is_waited_for() -> None:
    async def sleeper() -> None:
        await asyncio.sleep(0.2)

    async def main() -> Any:
        recording = asynctrace.record()
        task = asyncio.create_task(sleeper())
        await asyncio.sleep(0)
        with recording:
            await task
        return recording.trace

    trace = run(main())

    check(trace)
    task = task_of(trace, "sleeper")
    assert task.is_clipped
    assert kinds(task) == ["waiting sleep", "ready timer", "running"]
    assert waits(task) == [("sleep", "asyncio.sleep(0.2)", 1)]
    assert kinds(task_of(trace, "main"))[:3] == ["running", "waiting task", "ready task"]
    if sees_coroutines:
        nested = {each.name.rsplit(".", 1)[-1]: each for each in trace.coroutines}
        assert nested["sleep"].task is task and nested["sleep"].awaiter is nested["sleeper"]


def test_nested_recordings_are_windows_that_obey_the_rules() -> None:
    async def child() -> None:
        await asyncio.sleep(0.001)

    async def main() -> list[Any]:
        traces = []
        for _ in range(2):
            with asynctrace.record() as inner:
                await child()
                traces.append(inner.snapshot())
            traces.append(inner.trace)
        return traces

    with asynctrace.record() as outer:
        traces = run(main())

    for trace in (*traces, outer.trace):
        check(trace)
        assert kinds(task_of(trace, "main")).count("waiting sleep") == (2 if trace is outer.trace else 1)


def test_context_and_thread_local_values_reach_tasks_as_before() -> None:
    variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable")

    async def child() -> str:
        return variable.get()

    async def main() -> list[str]:
        variable.set("outer")
        context = contextvars.copy_context()
        context.run(variable.set, "given")
        found = [await asyncio.create_task(child(), context=context), await asyncio.create_task(child())]
        loop = asyncio.get_running_loop()
        called = loop.create_future()
        loop.call_soon(lambda: called.set_result(variable.get()), context=context)
        return [*found, await called]

    both_ways(lambda: run(main()))


def test_long_callbacks_are_shown_and_time_in_others_steps_is_ready() -> None:
    async def blocked() -> None:
        await asyncio.sleep(0.001)

    def callback() -> None:
        time.sleep(0.004)

    async def main() -> None:
        task = asyncio.create_task(blocked())
        asyncio.get_running_loop().call_soon(callback)
        await task

    trace = both_ways(lambda: run(main()))

    callbacks = list(itertools.chain.from_iterable(loop.callbacks for loop in trace.loops))
    assert [each.name.rsplit(".", 1)[-1] for each in callbacks] == ["callback"]
    task = task_of(trace, "blocked")
    ready = [state for state in task.states if state.kind == "ready"][-1]
    assert ready.end_ns - ready.start_ns > 2_000_000
