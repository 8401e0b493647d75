"""However a task comes to be, it is seen from its creation on, with who created it."""

from __future__ import annotations

import asyncio
import sys
from asyncio import create_task as create_task_bound_before
from asyncio import ensure_future as ensure_future_bound_before
from typing import Any

from integration.both_ways import LoopFactory, Run, both_ways, kinds, label_of, outcomes, task_of
from integration.trace_rules import check


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


def test_tasks_made_in_every_way_are_created_by_the_task_that_made_them(run: Run) -> None:
    async def child() -> int:
        await asyncio.sleep(0)
        return 1

    async def makes() -> list[Any]:
        loop = asyncio.get_running_loop()
        tasks: list[Any] = [
            asyncio.create_task(child()),
            loop.create_task(child()),
            asyncio.ensure_future(child()),
            asyncio.Task(child(), loop=loop),
            create_task_bound_before(child()),
            ensure_future_bound_before(child(), loop=loop),
        ]
        await asyncio.wait(tasks)
        gathered = await asyncio.gather(child(), child())
        async with asyncio.TaskGroup() as group:
            group.create_task(child())
        for each in asyncio.as_completed([child()]):
            await each
        await asyncio.wait_for(child(), 5)
        await asyncio.shield(child())
        return [gathered, len(tasks)]

    async def main() -> list[Any]:
        return await asyncio.create_task(makes())

    trace = both_ways(lambda: run(main()))

    check(trace)
    children = [task for task in trace.tasks if task.label == "child"]
    assert len(children) == 6 + 2 + 1 + 1 + (sys.version_info < (3, 12)) + 1  # wait_for made one before 3.12
    for task in children:
        assert label_of(task.creator) == "makes" and task.outcome == "returned" and not task.is_clipped
        assert kinds(task) == ["ready task", "running", "ready task", "running"]
        assert task.states[0].cause.task is task.creator  # type: ignore[union-attr]
        assert task.states[2].cause.task is task  # type: ignore[union-attr]  # a bare yield: it is its own cause
    assert task_of(trace, "main").creator is None


def test_tasks_made_before_run_until_complete_are_seen_from_their_creation(loop_factory: LoopFactory) -> None:
    async def early() -> None:
        await asyncio.sleep(0)

    async def main(others: list[Any]) -> None:
        await asyncio.gather(*others)

    def program() -> None:
        loop = loop_factory()
        try:
            others = [loop.create_task(early(), name=f"early {number}") for number in range(3)]
            loop.run_until_complete(main(others))
        finally:
            loop.close()

    trace = both_ways(program)

    check(trace)
    early_tasks = [task for task in trace.tasks if task.label == "early"]
    assert [task.name for task in early_tasks] == ["early 0", "early 1", "early 2"]
    assert [task.outcome for task in early_tasks] == ["returned"] * 3
    assert [kinds(task)[-3:] for task in early_tasks] == [["running", "ready task", "running"]] * 3
    assert task_of(trace, "main").outcome == "returned"


def test_the_loop_of_the_policy_is_met_before_its_first_task() -> None:
    async def early() -> None:
        await asyncio.sleep(0)

    def program() -> None:
        loop = asyncio.new_event_loop()
        task = loop.create_task(early())
        loop.run_until_complete(task)
        loop.close()

    trace = both_ways(program)

    check(trace)
    task = task_of(trace, "early")
    assert kinds(task) == ["ready unknown", "running", "ready task", "running"]
    assert task.is_clipped is (sys.version_info < (3, 12))  # there a loop is met when it begins to run


def test_a_user_s_task_factory_keeps_its_own_tasks(run: Run) -> None:
    class Own(asyncio.Task):  # type: ignore[type-arg]
        def __init__(self, *args: Any, **given: Any) -> None:
            super().__init__(*args, **given)
            self.mine = "mine"

    calls: list[Any] = []

    def factory(loop: asyncio.AbstractEventLoop, coroutine: Any, **given: Any) -> Any:
        calls.append((coroutine.__name__, sorted(key for key in given if given[key] is not None)))
        return Own(coroutine, loop=loop, **given)

    async def child() -> str:
        await asyncio.sleep(0)
        return asyncio.current_task().mine  # type: ignore[union-attr]

    async def main() -> list[Any]:
        calls.clear()
        loop = asyncio.get_running_loop()
        before = asyncio.create_task(asyncio.sleep(0))
        loop.set_task_factory(factory)
        task = asyncio.create_task(child(), name="named")
        found = [await task, *await asyncio.gather(child(), child()), loop.get_task_factory() is factory]
        async with asyncio.TaskGroup() as group:
            grouped = group.create_task(child())
        loop.set_task_factory(None)
        plain = asyncio.create_task(asyncio.sleep(0))
        await asyncio.wait([before, plain])
        return [found, type(task).__name__, type(grouped).__name__, type(plain).__name__, task.get_name(), calls[:]]

    trace = both_ways(lambda: run(main()))

    check(trace)
    children = [task for task in trace.tasks if task.label == "child"]
    assert [task.outcome for task in children] == ["returned"] * 4 and children[0].name == "named"


def test_a_factory_that_makes_no_task_of_asyncio_s_is_left_alone(run: Run) -> None:
    class Future(asyncio.Future):  # type: ignore[type-arg]
        """As a framework does that steps coroutines itself."""

        def __init__(self, coroutine: Any, loop: asyncio.AbstractEventLoop) -> None:
            super().__init__(loop=loop)
            self.coroutine = coroutine
            loop.call_soon(self.step)

        def step(self) -> None:
            try:
                self.coroutine.send(None)
            except StopIteration as stop:
                self.set_result(stop.value)
            else:
                self._loop.call_soon(self.step)

        def get_name(self) -> str:
            return "foreign"

        def set_name(self, name: Any) -> None:
            pass

    async def child() -> int:
        await asyncio.sleep(0)
        return 3

    async def main() -> list[Any]:
        loop = asyncio.get_running_loop()
        loop.set_task_factory(lambda loop, coroutine, **_: Future(coroutine, loop))  # type: ignore[arg-type]
        made = loop.create_task(child())
        loop.set_task_factory(None)
        return [await made, type(made).__name__]

    trace = both_ways(lambda: run(main()))

    check(trace)
    assert [task.label for task in trace.tasks if not task.is_internal] == ["main"]


def test_asyncio_s_task_written_in_python_is_stepped_the_same(run: Run) -> None:
    py_task: Any = asyncio.tasks._PyTask  # type: ignore[attr-defined]

    async def child() -> int:
        await asyncio.sleep(0)
        await asyncio.sleep(0.001)
        return 3

    async def cancelled() -> None:
        await asyncio.sleep(5)

    async def fails() -> None:
        raise ValueError("no")

    async def main() -> list[Any]:
        loop = asyncio.get_running_loop()
        loop.set_task_factory(lambda loop, coroutine, eager_start=None, **given: py_task(coroutine, loop=loop, **given))
        tasks = [loop.create_task(each(), name=each.__name__) for each in (child, cancelled, fails)]
        await asyncio.sleep(0)
        tasks[1].cancel()
        return [repr(each) for each in await asyncio.gather(*tasks, return_exceptions=True)]

    trace = both_ways(lambda: run(main()))

    check(trace)
    assert outcomes(trace) == {"main": "returned", "child": "returned", "cancelled": "cancelled", "fails": "raised"}
    task = task_of(trace, "child")
    assert kinds(task) == ["ready task", "running", "ready task", "running", "waiting sleep", "ready timer", "running"]
    assert label_of(task.creator) == "main"


def test_a_task_that_a_timer_or_a_thread_makes_has_no_creator(run: Run) -> None:
    async def made() -> None:
        await asyncio.sleep(0)

    async def main() -> None:
        loop = asyncio.get_running_loop()
        tasks: list[Any] = []
        loop.call_later(0.001, lambda: tasks.append(loop.create_task(made())))
        await asyncio.sleep(0.003)
        await asyncio.wait(tasks)

    trace = both_ways(lambda: run(main()))

    check(trace)
    task = task_of(trace, "made")
    assert task.creator is None and kinds(task)[0] == "ready timer"


def test_a_task_that_creates_its_like_forms_a_chain(run: Run) -> None:
    async def link(depth: int) -> int:
        return depth if depth == 0 else await asyncio.create_task(link(depth - 1), name=f"link {depth - 1}")

    async def main() -> int:
        return await asyncio.create_task(link(30), name="link 30")

    trace = both_ways(lambda: run(main()))

    check(trace)
    by_name = {task.name: task for task in trace.tasks if task.label == "link"}
    for number in range(30):
        assert by_name[f"link {number}"].creator is by_name[f"link {number + 1}"]
        awaits = by_name[f"link {number + 1}"].states[2]
        assert awaits.wait is not None and awaits.wait.awaited is by_name[f"link {number}"]
