"""What tells a person where tasks are shows the same with and without a recording."""

from __future__ import annotations

import asyncio
import inspect
import io
import re
import subprocess
import sys
import textwrap
import traceback
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from integration.both_ways import both_ways

import asynctrace

has_call_graphs = pytest.mark.skipif(sys.version_info < (3, 14), reason="call graphs are new in 3.14")


# A program in which tasks wait in every way: for each other, and for what never comes.


async def bare_wait(future: asyncio.Future[Any]) -> None:
    await future


async def nested(future: asyncio.Future[Any]) -> None:
    await bare_wait(future)


@asynctrace.traced
async def decorated(future: asyncio.Future[Any]) -> None:
    await nested(future)


async def numbers(future: asyncio.Future[Any]) -> AsyncIterator[int]:
    yield 1
    await nested(future)
    yield 2


async def consumer(future: asyncio.Future[Any]) -> None:
    async for _ in numbers(future):
        pass


@asynctrace.traced
async def decorated_numbers(future: asyncio.Future[Any]) -> AsyncIterator[int]:
    yield 1
    await nested(future)


async def consumer_of_decorated(future: asyncio.Future[Any]) -> None:
    async for _ in decorated_numbers(future):
        pass


async def gathers(future: asyncio.Future[Any]) -> None:
    await asyncio.gather(nested(future), decorated(future))


async def groups(future: asyncio.Future[Any]) -> None:
    async with asyncio.TaskGroup() as group:
        group.create_task(nested(future), name="in the group")
        group.create_task(decorated(future), name="decorated in the group")


async def with_timeout(future: asyncio.Future[Any]) -> None:
    async with asyncio.timeout(1000):
        await asyncio.wait_for(asyncio.shield(future), 1000)


async def raises() -> None:
    await asyncio.sleep(0)
    raise ValueError("on purpose")


async def decorated_raises() -> None:
    await decorated_raising()


@asynctrace.traced
async def decorated_raising() -> None:
    await asyncio.sleep(0)
    raise ValueError("decorated, on purpose")


async def returns() -> None:
    pass


async def with_many_tasks(look: Callable[[list[asyncio.Task[Any]]], Any]) -> Any:
    """Return what `look` says of tasks in all these states."""
    future = asyncio.get_running_loop().create_future()
    roots = [nested, decorated, consumer, consumer_of_decorated, gathers, groups, with_timeout]
    tasks = [asyncio.create_task(root(future), name=root.__name__) for root in roots]
    tasks += [asyncio.create_task(root(), name=root.__name__) for root in (raises, decorated_raises, returns)]
    for _ in range(5):
        await asyncio.sleep(0)
    unborn = asyncio.create_task(nested(future), name="not begun")
    seen = look([*tasks, unborn])
    future.cancel()
    await asyncio.gather(*tasks, unborn, return_exceptions=True)
    return [seen, look([*tasks, unborn])]


def printed_stack(task: asyncio.Task[Any], limit: int | None = None) -> str:
    text = io.StringIO()
    task.print_stack(limit=limit, file=text)
    return text.getvalue()


def stacks(tasks: list[asyncio.Task[Any]]) -> list[Any]:
    return [
        [
            [(frame.f_code.co_qualname, frame.f_lineno) for frame in task.get_stack()],
            printed_stack(task),
            printed_stack(task, 1),
        ]
        for task in tasks
    ]


@pytest.mark.parametrize("name", ["asyncio", "uvloop"])
def test_stacks_of_tasks_that_wait_or_have_ended_are_the_same(name: str) -> None:
    factory = loop_factory(name)

    def program() -> Any:
        with asyncio.Runner(loop_factory=factory) as runner:
            return runner.run(with_many_tasks(stacks))

    trace = both_ways(program)

    assert {"nested", "decorated", "consumer", "gathers", "groups"} <= {task.label for task in trace.tasks}


def loop_factory(name: str) -> Callable[[], asyncio.AbstractEventLoop]:
    if name == "asyncio":
        return asyncio.new_event_loop
    return pytest.importorskip("uvloop").new_event_loop  # type: ignore[no-any-return]


# A task that runs. Its stack goes on below its root to where the loop was started, so a run shows in it: one frame
# between the loop's and the root's, as without us it is in C. Of the frames above the root nothing differs, except on
# 3.11, where a decorated coroutine has its stand-in's frame below its own.


def own_stacks() -> list[Any]:
    task = asyncio.current_task()
    assert task is not None
    frames = task.get_stack()
    return [
        without_frames_of_ours(
            [(frame.f_code.co_filename, frame.f_code.co_qualname, frame.f_lineno) for frame in frames]
        ),
        without_frames_of_ours([(each.filename, each.name, each.lineno) for each in traceback.extract_stack()]),
        [each.function for each in inspect.stack() if not each.filename.startswith(OURS)],
    ]


OURS = str(Path(asynctrace.__file__).parent)


def without_frames_of_ours(frames: list[Any]) -> list[Any]:
    begin = next((at for at, frame in enumerate(frames) if frame[1].endswith("_observed")), 0)
    return [frame for frame in frames[begin + 1 :] if not frame[0].startswith(OURS)]


@asynctrace.traced
async def looks_at_itself(told: list[Any]) -> None:
    told.append(own_stacks())
    await asyncio.sleep(0)
    told.append(own_stacks())


async def generates_and_looks(told: list[Any]) -> AsyncIterator[int]:
    told.append(own_stacks())
    await asyncio.sleep(0)
    told.append(own_stacks())
    yield 1


async def running_tasks() -> list[Any]:
    told: list[Any] = []
    await looks_at_itself(told)
    async with asyncio.TaskGroup() as group:
        group.create_task(looks_at_itself(told))
    async for _ in generates_and_looks(told):
        pass
    asyncio.get_running_loop().call_soon(lambda: told.append(stacks(list(asyncio.all_tasks()))))
    await asyncio.sleep(0.1)
    if sys.version_info >= (3, 12):
        asyncio.get_running_loop().set_task_factory(asyncio.eager_task_factory)
        await asyncio.create_task(looks_at_itself(told))
    return told


@pytest.mark.parametrize("name", ["asyncio", "uvloop"])
def test_the_stack_of_a_running_task_is_the_same_but_for_our_own_frames(name: str) -> None:
    factory = loop_factory(name)

    def program() -> Any:
        with asyncio.Runner(loop_factory=factory) as runner:
            return runner.run(running_tasks())

    both_ways(program)


# Call graphs.


def call_graphs(tasks: list[asyncio.Task[Any]]) -> list[Any]:
    told = []
    for task in tasks:
        text = io.StringIO()
        asyncio.print_call_graph(task, file=text)
        told.append([text.getvalue(), asyncio.format_call_graph(task, limit=1), *entries(task)])
    return told


def entries(task: asyncio.Task[Any] | None = None) -> list[Any]:
    graph = asyncio.capture_call_graph(task)
    assert graph is not None
    return [
        [(each.frame.f_code.co_qualname, each.frame.f_lineno) for each in graph.call_stack],
        [awaiter.future.get_name() for awaiter in graph.awaited_by if isinstance(awaiter.future, asyncio.Task)],
    ]


@asynctrace.traced
async def draws_itself(told: list[Any]) -> None:
    told += [asyncio.format_call_graph(), *entries()]
    await asyncio.sleep(0)
    told += [asyncio.format_call_graph(), *entries(asyncio.current_task())]


async def running_call_graphs() -> list[Any]:
    told: list[Any] = []
    await draws_itself(told)
    await asyncio.gather(draws_itself(told), draws_itself(told))
    async with asyncio.TaskGroup() as group:
        group.create_task(draws_itself(told))
    asyncio.get_running_loop().set_task_factory(asyncio.eager_task_factory)
    await asyncio.create_task(draws_itself(told))
    return told


@has_call_graphs
@pytest.mark.parametrize("program", [lambda: with_many_tasks(call_graphs), running_call_graphs])
def test_call_graphs_are_the_same(program: Callable[[], Any]) -> None:
    both_ways(lambda: asyncio.run(program()))


# From another process.

_PROGRAM = """
    import asyncio, sys
    import asynctrace

    async def bare_wait(future):
        await future

    async def nested(future):
        await bare_wait(future)

    @asynctrace.traced
    async def decorated(future):
        await nested(future)

    async def numbers(future):
        yield 1
        await nested(future)

    async def consumer(future):
        async for _ in numbers(future):
            pass

    async def gathers(future):
        await asyncio.gather(nested(future), decorated(future))

    def is_looked_at():
        # Holds the loop until whoever looks has seen enough.
        print("look", flush=True)
        sys.stdin.readline()

    async def runs():
        is_looked_at()

    async def main():
        future = asyncio.get_running_loop().create_future()
        async with asyncio.TaskGroup() as group:
            for root in (nested, decorated, consumer, gathers):
                group.create_task(root(future), name=root.__name__)
            group.create_task(asyncio.sleep(1000), name="sleeps")
            await asyncio.sleep(0.01)
            await asyncio.create_task(runs(), name="runs")
            asyncio.get_running_loop().call_soon(lambda: [is_looked_at(), future.set_result(None)])
            await asyncio.shield(future)
            for task in asyncio.all_tasks():
                if task.get_name() == "sleeps":
                    task.cancel()

    asyncio.run(main())
"""


def seen_from_outside(command: list[str]) -> list[str]:
    """Return what `python -m asyncio` tells of a program, first of one whose task runs, then of one that waits."""
    told = []
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None and process.stdout is not None
        for _ in range(2):
            assert process.stdout.readline() == "look\n"
            told += [look(tool, process) for tool in ("pstree", "ps")]
            process.stdin.write("\n")
            process.stdin.flush()
        assert process.wait(60) == 0
    return told


def look(tool: str, process: subprocess.Popen[str]) -> str:
    command = [sys.executable, "-m", "asyncio", tool, str(process.pid)]
    found = subprocess.run(command, capture_output=True, text=True, timeout=60)
    said = found.stdout + found.stderr
    if found.returncode and re.search("permission|not permitted", said, re.IGNORECASE):
        process.kill()
        pytest.skip("this system lets no process look into another")
    assert found.returncode == 0, said
    # Addresses and the thread's number differ in each run.
    return re.sub(r"0x[0-9a-f]+ *", "0x ", re.sub(r"^\d+ +", "", said, flags=re.MULTILINE))


@has_call_graphs
def test_pstree_and_ps_of_another_process_show_the_same(tmp_path: Path) -> None:
    script = tmp_path / "program.py"
    script.write_text(textwrap.dedent(_PROGRAM))
    output = tmp_path / "trace.pftrace"

    plain = seen_from_outside([sys.executable, str(script)])
    recorded = seen_from_outside([sys.executable, "-m", "asynctrace", "run", "-q", "-o", str(output), str(script)])

    assert recorded == plain
    assert all("bare_wait" in each for each in plain)
    assert [" runs " in each for each in plain] == [True, True, False, False]
    assert asynctrace.load(output).tasks
