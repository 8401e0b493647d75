"""What a program lets go is freed when it was: by reference counts, without the collector."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import weakref
from collections.abc import Iterator
from typing import Any

from integration.both_ways import LoopFactory, Run, both_ways, kinds, sees_coroutines, task_of, trace_of
from integration.trace_rules import check


@contextlib.contextmanager
def without_collector() -> Iterator[None]:
    """Only reference counts free what is made in here."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def test_a_closed_loop_its_tasks_and_callbacks_are_freed_by_reference_count() -> None:
    class Callback:
        def __call__(self) -> None:
            pass

    async def child() -> None:
        await asyncio.sleep(0)

    def program() -> list[bool]:
        loop = asyncio.new_event_loop()
        refs: list[Any] = [weakref.ref(loop)]
        task = loop.create_task(child())
        refs.append(weakref.ref(task))
        callback = Callback()
        loop.call_soon(callback)
        refs.append(weakref.ref(callback))
        loop.run_until_complete(task)
        freed = []
        del task, callback
        freed.extend(ref() is None for ref in refs)
        loop.close()
        del loop
        freed.extend(ref() is None for ref in refs)
        return freed

    with without_collector():
        both_ways(program)
        assert program()[3:] == [True, True, True]


def test_a_future_is_freed_when_it_was_inside_a_running_task(run: Run) -> None:
    async def main() -> list[bool]:
        freed = []
        for _ in range(3):
            task = asyncio.create_task(asyncio.sleep(0))
            ref = weakref.ref(task)
            await task
            del task
            freed.append(ref() is None)
            await asyncio.sleep(0)
            freed.append(ref() is None)
        return freed

    with without_collector():
        both_ways(lambda: run(main()))


def test_a_pending_task_that_is_collected_ends_closed(run: Run) -> None:
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


def test_a_hundred_thousand_callbacks_on_one_future_leak_nothing(run: Run) -> None:
    class Callback:
        __slots__ = ("__weakref__",)
        alive = 0

        def __init__(self) -> None:
            Callback.alive += 1

        def __del__(self) -> None:
            Callback.alive -= 1

        def __call__(self, future: Any) -> None:
            pass

    count = 100_000

    async def main() -> list[int]:
        future = asyncio.get_running_loop().create_future()
        for _ in range(count):
            future.add_done_callback(Callback())
        told = [Callback.alive]
        future.set_result(None)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        told.append(Callback.alive)
        return told

    with without_collector():
        plain = run(main())
        trace = trace_of(lambda: plain.extend(run(main())))

    assert plain == [count, 0, count, 0]
    # Nothing of them stays in the trace either.
    assert sum(len(part.events) for part in trace.parts) < 200


def test_a_task_frees_its_coroutine_result_error_and_locals_as_before(run: Run) -> None:
    class Local:
        pass

    class Result:
        pass

    refs: list[weakref.ref[Any]] = []

    async def returns() -> Result:
        local = Local()
        result = Result()
        refs.extend([weakref.ref(local), weakref.ref(result)])
        await asyncio.sleep(0)
        return result

    async def fails() -> None:
        local = Local()
        refs.append(weakref.ref(local))
        await asyncio.sleep(0)
        raise ValueError("holds its frame")

    async def is_cancelled() -> None:
        local = Local()
        refs.append(weakref.ref(local))
        await asyncio.sleep(5)

    def alive() -> list[bool]:
        return [ref() is not None for ref in refs]

    async def main() -> list[Any]:
        refs.clear()
        told = []
        for function in (returns, fails, is_cancelled):
            coroutine = function()
            refs.append(weakref.ref(coroutine))
            task: Any = asyncio.create_task(coroutine)
            refs.append(weakref.ref(task))
            del coroutine
            await asyncio.sleep(0)
            if function is is_cancelled:
                task.cancel()
            await asyncio.wait([task])
            told.append(alive())
            if not task.cancelled():
                task.exception()
            told.append(alive())
            del task
            told.append(alive())
            await asyncio.sleep(0)
            told.append(alive())
        return told

    with without_collector():
        both_ways(lambda: run(main()))


def test_arguments_handles_and_contexts_are_freed_once_a_callback_has_run_or_is_cancelled(run: Run) -> None:
    class Argument:
        pass

    async def main() -> list[Any]:
        loop = asyncio.get_running_loop()
        told = []

        def schedule(kind: str, argument: Any) -> Any:
            if kind == "soon":
                return loop.call_soon(id, argument)
            if kind == "threadsafe":
                return loop.call_soon_threadsafe(id, argument)
            if kind == "at":
                return loop.call_at(loop.time(), id, argument)
            return loop.call_later(0, id, argument)

        for kind in ("soon", "threadsafe", "at", "later"):
            argument = Argument()
            ref = weakref.ref(argument)
            handle = schedule(kind, argument)
            del argument
            alive = [ref() is not None]
            handle_ref = weakref.ref(handle)
            del handle
            await asyncio.sleep(0.002)
            told.append((kind, alive, ref() is None, handle_ref() is None))
            argument = Argument()
            ref = weakref.ref(argument)
            handle = schedule(kind, argument)
            del argument
            handle.cancel()
            told.append((kind, "cancelled", ref() is None))
            await asyncio.sleep(0.002)
        return told

    with without_collector():
        both_ways(lambda: run(main()))
        both_ways(lambda: run(main(), debug=True))


def test_objects_with_callbacks_are_freed_with_them(run: Run) -> None:
    class Owner:
        def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
            self.handle = loop.call_later(50, self.method)

        def method(self) -> None:
            pass

    async def main() -> list[Any]:
        owner = Owner(asyncio.get_running_loop())
        ref = weakref.ref(owner)
        owner.handle.cancel()
        del owner
        told = [ref() is None]
        future = asyncio.get_running_loop().create_future()
        future_ref = weakref.ref(future)
        future.add_done_callback(lambda _: None)
        del future
        told.append(future_ref() is None)
        event = asyncio.Event()
        task = asyncio.create_task(event.wait())
        await asyncio.sleep(0)
        refs = weakref.ref(event), weakref.ref(task)
        task.cancel()
        await asyncio.wait([task])
        del task, event
        told.extend(ref() is None for ref in refs)
        return told

    with without_collector():
        both_ways(lambda: run(main()))


def test_gathers_groups_and_their_children_are_freed_by_reference_count(run: Run) -> None:
    async def child(refs: list[Any]) -> None:
        task = asyncio.current_task()
        assert task is not None
        refs.append(weakref.ref(task))
        await asyncio.sleep(0)

    async def main() -> list[Any]:
        refs: list[Any] = []
        await asyncio.gather(child(refs), child(refs))
        told = [[ref() is None for ref in refs]]
        async with asyncio.TaskGroup() as group:
            refs.append(weakref.ref(group))
            group.create_task(child(refs))
        del group
        told.append([ref() is None for ref in refs])
        await asyncio.wait([asyncio.ensure_future(child(refs))])
        for each in asyncio.as_completed([child(refs)]):
            await each
        await asyncio.wait_for(child(refs), 5)
        await asyncio.shield(child(refs))
        await asyncio.sleep(0)
        return [*told, [ref() is None for ref in refs]]

    with without_collector():
        both_ways(lambda: run(main()))


def test_pending_tasks_that_are_collected_inside_another_s_step_end_there(run: Run) -> None:
    async def forgotten(future: asyncio.Future[None]) -> None:
        try:
            await future
        finally:
            print("cleaned up")

    async def collects() -> None:
        gc.collect()
        await asyncio.sleep(0)

    async def main() -> None:
        tasks = [
            asyncio.create_task(forgotten(asyncio.get_running_loop().create_future()), name=f"pending {number}")
            for number in range(3)
        ]
        await asyncio.sleep(0)
        tasks.clear()
        await asyncio.create_task(collects())

    with without_collector():
        trace = both_ways(lambda: run(main()))

    check(trace)
    step = task_of(trace, "collects").states[1]
    assert step.kind == "running"
    forgotten_tasks = [task for task in trace.tasks if task.label == "forgotten"]
    assert [task.outcome for task in forgotten_tasks] == ["closed"] * 3
    for task in forgotten_tasks:
        assert kinds(task) == ["ready task", "running", "waiting future"]
        assert step.start_ns <= task.end_ns <= step.end_ns
    if sees_coroutines:
        bodies = [each for each in trace.coroutines if each.name.endswith("forgotten")]
        assert [each.outcome for each in bodies] == ["closed"] * 3
        assert {each.task for each in bodies} == set(forgotten_tasks)


def test_a_loop_with_all_kinds_of_use_is_freed_as_before(loop_factory: LoopFactory) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        loop.call_later(50, print)
        await asyncio.gather(asyncio.sleep(0), asyncio.sleep(0.001))
        await loop.run_in_executor(None, int)
        loop.call_soon_threadsafe(int)

    def program() -> list[bool]:
        loop = loop_factory()
        ref = weakref.ref(loop)
        loop.run_until_complete(main())
        loop.run_until_complete(loop.shutdown_default_executor())
        loop.close()
        del loop
        freed = [ref() is None]
        with asyncio.Runner(loop_factory=loop_factory) as runner:
            ref = weakref.ref(runner.get_loop())
            runner.run(main())
        del runner
        return [*freed, ref() is None]

    with without_collector():
        both_ways(program)


def test_a_recording_keeps_no_task_and_no_future_of_the_program(run: Run) -> None:
    async def child(future: asyncio.Future[int]) -> int:
        return await future

    async def main() -> int:
        for _ in range(200):
            futures = [asyncio.get_running_loop().create_future() for _ in range(10)]
            tasks = [asyncio.create_task(child(future)) for future in futures]
            await asyncio.sleep(0)
            for future in futures:
                future.set_result(1)
            await asyncio.gather(*tasks)
        del futures, tasks, future
        await asyncio.sleep(0)
        return sum(type(each) in (asyncio.Task, asyncio.Future) for each in gc.get_objects())

    with without_collector():
        alive: list[int] = [run(main())]
        trace = trace_of(lambda: alive.append(run(main())))

    assert alive[0] == alive[1]
    assert len(trace.tasks) >= 2000
