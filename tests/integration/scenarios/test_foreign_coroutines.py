"""Coroutines that are no `async def` of Python: generators, awaitables, compiled ones."""

from __future__ import annotations

import asyncio
import importlib.util
import subprocess
import sys
import sysconfig
import types
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest
from integration.both_ways import Run, both_ways, kinds, outcomes, sees_coroutines, task_of, waits, wakers
from integration.trace_rules import check


def test_generator_based_and_python_awaitables_and_foreign_coroutines_hang_together(run: Run) -> None:
    import types
    from collections.abc import Coroutine

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


def test_a_generator_based_coroutine_is_a_root_and_an_awaiter(run: Run) -> None:
    @types.coroutine
    def old_style(number: int) -> Generator[Any, None, int]:
        yield from asyncio.sleep(0.001).__await__()
        yield
        return number

    async def awaits() -> int:
        return await old_style(1)

    async def main() -> list[Any]:
        # Before 3.12 a generator may be a task's root.
        root: Any = awaits() if sys.version_info >= (3, 12) else old_style(1)
        return [await asyncio.create_task(root), await old_style(2)]

    trace = both_ways(lambda: run(main()))

    check(trace)
    task = task_of(trace, "awaits" if sys.version_info >= (3, 12) else "old_style")
    # Before 3.12 the stack ends at what `__await__` returns.
    wait = "waiting sleep" if sees_coroutines else "waiting timer"
    assert kinds(task) == ["ready task", "running", wait, "ready timer", "running", "ready task", "running"]
    assert wakers(task_of(trace, "main")) == [task.label, "timer"]
    if sees_coroutines:
        assert [each.outcome for each in trace.coroutines if each.name.endswith("old_style")] == ["returned"] * 2


def test_an_object_with_await_written_in_python_passes_waits_through(run: Run) -> None:
    class Awaitable:
        def __init__(self, *inner: Any) -> None:
            self.inner = inner

        def __await__(self) -> Generator[Any, None, list[Any]]:
            found = []
            for each in self.inner:
                value = yield from each.__await__()
                found.append(value)  # a comprehension cannot yield
            return found

    async def child(number: int) -> int:
        await asyncio.sleep(0.001)
        return number

    async def main() -> Any:
        return await Awaitable(child(1), Awaitable(child(2)), asyncio.ensure_future(child(3)))

    trace = both_ways(lambda: run(main()))

    check(trace)
    assert wakers(task_of(trace, "main")) == ["timer", "timer"]  # the task is done by then
    if sees_coroutines:
        found = [each for each in trace.coroutines if each.name.endswith("child")]
        assert [each.awaiter.name.rsplit(".", 1)[-1] if each.awaiter else None for each in found] == [
            "main",
            None,
            "main",
        ]


def test_a_bare_generator_yielding_wrong_things_is_refused_the_same(run: Run) -> None:
    class Yields:
        def __init__(self, *values: Any) -> None:
            self.values = values

        def __await__(self) -> Generator[Any, Any, None]:
            yield from self.values

    async def awaits(value: Any) -> str:
        try:
            await Yields(value)
        except RuntimeError as error:
            return str(error)
        return "fine"

    async def main() -> list[Any]:
        future = asyncio.get_running_loop().create_future()
        future.set_result(1)
        wrong = [None, 5, future, "text", object]
        return [await asyncio.create_task(awaits(value)) for value in wrong]

    trace = both_ways(lambda: run(main()))

    check(trace)
    assert [task.outcome for task in trace.tasks if task.label == "awaits"] == ["returned"] * 5


def test_a_future_like_object_of_the_user_s_is_awaited_and_not_asked(run: Run) -> None:
    class Like:
        """Has what a task asks of a future, and nothing else."""

        def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
            self._asyncio_future_blocking = False
            self._loop = loop
            self._callbacks: list[Any] = []
            self._value: Any = None

        def get_loop(self) -> asyncio.AbstractEventLoop:
            return self._loop

        def add_done_callback(self, callback: Any, *, context: Any = None) -> None:
            self._callbacks.append((callback, context))

        def set(self, value: Any) -> None:
            self._value = value
            for callback, context in self._callbacks:
                self._loop.call_soon(callback, self, context=context)

        def result(self) -> Any:
            return self._value

        def cancel(self, message: Any = None) -> bool:
            return False

        def __await__(self) -> Generator[Any, None, Any]:
            self._asyncio_future_blocking = True
            yield self
            return self._value

        def __getattr__(self, name: str) -> Any:
            raise RuntimeError(f"asked for {name}")

    async def awaits(like: Like) -> Any:
        return await like

    async def main() -> Any:
        like = Like(asyncio.get_running_loop())
        task = asyncio.create_task(awaits(like))
        await asyncio.sleep(0)
        like.set("value")
        return await task

    trace = both_ways(lambda: run(main()))

    check(trace)
    assert [wait[:2] for wait in waits(task_of(trace, "awaits"))] == [
        ("future", "like" if sees_coroutines else "yield self")  # of the innermost frame that is seen
    ]
    assert wakers(task_of(trace, "awaits")) == ["main"]


COMPILED = """
import asyncio

async def compiled(number):
    await asyncio.sleep(0.001)
    return number

async def awaits(other):
    return await other

async def fails():
    raise ValueError("compiled")
"""


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A module that Cython compiled."""
    pytest.importorskip("Cython")
    folder: Path = tmp_path_factory.mktemp("compiled")
    (folder / "compiled_coroutines.pyx").write_text(COMPILED)
    made = subprocess.run(
        [sys.executable, "-m", "Cython.Build.Cythonize", "-i", "-3", "-q", "compiled_coroutines.pyx"],
        cwd=folder,
        capture_output=True,
        text=True,
    )
    path = folder / f"compiled_coroutines{sysconfig.get_config_var('EXT_SUFFIX')}"
    if not path.exists():
        pytest.skip(f"no compiler: {made.stderr[-300:]}")
    spec = importlib.util.spec_from_file_location("compiled_coroutines", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_coroutines_compiled_by_cython_are_tasks_of_their_name(run: Run, compiled: Any) -> None:
    async def child() -> int:
        await asyncio.sleep(0)
        return 2

    async def main() -> list[Any]:
        tasks = [asyncio.create_task(each) for each in (compiled.compiled(1), compiled.fails())]
        cancelled = asyncio.create_task(compiled.awaits(asyncio.sleep(5)), name="cancelled")
        await asyncio.sleep(0)
        cancelled.cancel()
        found = await asyncio.gather(*tasks, cancelled, return_exceptions=True)
        return [[repr(each) for each in found], await compiled.awaits(child()), await compiled.compiled(3)]

    trace = both_ways(lambda: run(main()))

    check(trace)
    seen = {task.label: task.outcome for task in trace.tasks if not task.is_internal}
    assert seen == {"main": "returned", "compiled": "returned", "fails": "raised", "awaits": "cancelled"}
    assert kinds(task_of(trace, "compiled")) == ["ready task", "running", "waiting sleep", "ready timer", "running"]
    assert task_of(trace, "fails").error == "ValueError"
    assert wakers(task_of(trace, "main"))[-1:] == ["timer"]


@pytest.mark.skipif(sys.version_info < (3, 12), reason="eager tasks are new in 3.12")
def test_eager_coroutines_compiled_by_cython_end_as_they_did(run: Run, compiled: Any) -> None:
    async def main() -> list[Any]:
        loop = asyncio.get_running_loop()
        made = [compiled.compiled(1), compiled.fails(), compiled.awaits(asyncio.sleep(0, 7))]
        tasks = [asyncio.Task(each, loop=loop, eager_start=True) for each in made]  # type: ignore[call-arg]
        return [repr(each) for each in await asyncio.gather(*tasks, return_exceptions=True)]

    trace = both_ways(lambda: run(main()))

    check(trace)
    assert outcomes(trace)["main"] == "returned"
    assert sorted(task.outcome for task in trace.tasks if not task.is_internal) == ["raised", *["returned"] * 3] or (
        # One that runs no Python coroutine and ends at once leaves no event.
        sorted(task.outcome for task in trace.tasks if not task.is_internal) == ["returned"] * 3
    )
