"""Random asyncio programs that keep a log of their own: what a trace of them is compared with.

A program is a tree of bodies; a body is a list of statements. Each body runs at most once, as a coroutine or an async
generator whose code has a name of its own, so that a coroutine of a trace is told by its name. The loop's clock is
manual: sleeping takes no time, and the same program does the same in each run.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import itertools
import selectors
import sys
import time
import types
import warnings
import weakref
from collections.abc import AsyncIterator, Callable, Coroutine, Generator, Iterator
from dataclasses import dataclass, field
from typing import Any

from hypothesis import strategies as st

import asynctrace
from asynctrace.model.trace import Trace

HAS_EAGER_TASKS = sys.version_info >= (3, 12)


class ProgramError(Exception):
    """What a program raises."""


class _ManualSelector(selectors.DefaultSelector):
    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0

    def select(self, timeout: float | None = None) -> Any:
        ready = super().select(0)
        if not ready:
            assert timeout is not None, "a generated program always has a timer"
            self.now += max(timeout, 0)
        return ready


class ManualClockLoop(asyncio.SelectorEventLoop):
    """A loop whose time goes on only when it has nothing else to do, and then at once."""

    def __init__(self) -> None:
        super().__init__(_ManualSelector())

    def time(self) -> float:
        return self._selector.now  # type: ignore[attr-defined, no-any-return]


class OrderedTask(asyncio.Task):  # type: ignore[type-arg]
    """A task whose place in a set is the same in each run: asyncio cancels the tasks of a set in the set's order."""

    numbers = itertools.count(1)

    def __init__(self, coroutine: Any, **keywords: Any) -> None:
        self._order = next(OrderedTask.numbers)
        if keywords.get("name") is None:
            keywords["name"] = f"unnamed {self._order}"
        super().__init__(coroutine, **keywords)

    def set_name(self, name: object) -> None:
        if name is not None:  # CPython 3.13.0 sets it after a task factory, also to None
            super().set_name(name)

    def __hash__(self) -> int:
        return self._order


class Body:
    """Statements that one coroutine (or async generator) executes."""

    def __init__(self, statements: list[tuple[Any, ...]]) -> None:
        self.statements = statements
        self.number = 0

    def __repr__(self) -> str:
        return f"Body({self.statements!r})"


@dataclass
class Entry:
    """One line of the log. `task` is the task that ran then, None outside of any."""

    time_ns: int
    number: int  # of the body
    what: str
    task: asyncio.Task[Any] | None


@dataclass
class Wake:
    """A wait that ended because another task did something: who did it, as the program knows."""

    time_ns: int  # when the woken task ran again
    task: asyncio.Task[Any]
    waker: asyncio.Task[Any] | None


@dataclass
class Log:
    """What happened, as the program itself saw it."""

    entries: list[Entry] = field(default_factory=list)
    wakes: list[Wake] = field(default_factory=list)
    tasks: list[asyncio.Task[Any]] = field(default_factory=list)  # that ran a body, in order of their beginning
    outcomes: dict[int, str] = field(default_factory=dict)  # body -> outcome of its coroutine
    windows: list[Trace] = field(default_factory=list)  # of recordings inside the program
    problems: list[str] = field(default_factory=list)  # what the loop's exception handler was told
    result: str = ""

    def story(self) -> list[tuple[int, str]]:
        """Return what must be the same in each run."""
        return [(entry.number, entry.what) for entry in self.entries]


class _Slot:
    """A wait in progress, and who ended it."""

    def __init__(self) -> None:
        self.waker: asyncio.Task[Any] | None = None
        self.is_filled = False


class Program:
    """Runs a tree of bodies once."""

    def __init__(self, root: Body, *, tick_s: float = 1.0, decorate: bool = True) -> None:
        self.root = root
        self.tick_s = tick_s
        self.log = Log()
        self._decorate = decorate
        self._numbers = itertools.count(1)
        self._number(root)
        self._spawned: dict[int, list[asyncio.Task[Any]]] = {}
        self._kept: list[Any] = []
        self._generators: list[weakref.ref[Any]] = []

    def _number(self, thing: Any) -> None:
        if isinstance(thing, Body):
            thing.number = next(self._numbers)
            thing = thing.statements
        if isinstance(thing, list | tuple):
            for item in thing:
                self._number(item)

    # Bodies.

    def coroutine(self, body: Body) -> Coroutine[Any, Any, Any]:
        """Return the coroutine that executes a body."""
        return self._named(Program._execute, f"body_{body.number}")(self, body)  # type: ignore[no-any-return]

    def generator(self, body: Body) -> Any:
        """Return the async generator that executes a body and yields after each statement."""
        generator = self._named(Program._generate, f"body_{body.number}")(self, body)
        self._generators.append(weakref.ref(generator))
        return generator

    def _named(self, function: Any, name: str) -> Callable[..., Any]:
        code = function.__code__.replace(co_name=name, co_qualname=name)
        made = types.FunctionType(code, function.__globals__, name)
        return asynctrace.traced(made) if self._decorate else made

    async def _execute(self, body: Body) -> int:
        self._begin(body)
        try:
            for verb, *arguments in body.statements:
                await getattr(self, "do_" + verb)(body, *arguments)
                self.note(body, "did " + verb)
        except BaseException as error:
            self._end(body, error)
            raise
        self._end(body, None)
        return body.number

    async def _generate(self, body: Body) -> AsyncIterator[str]:
        self._begin(body)
        try:
            for verb, *arguments in body.statements:
                await getattr(self, "do_" + verb)(body, *arguments)
                self.note(body, "did " + verb)
                yield verb
        except BaseException as error:
            self._end(body, error)
            raise
        self._end(body, None)

    def _begin(self, body: Body) -> None:
        self.note(body, "began")
        self._spawned[body.number] = []
        task = asyncio.current_task()
        if task is not None and task not in self.log.tasks:
            self.log.tasks.append(task)

    def _end(self, body: Body, error: BaseException | None) -> None:
        if error is None:
            outcome = "returned"
        elif isinstance(error, asyncio.CancelledError):
            outcome = "cancelled"
        elif isinstance(error, GeneratorExit):
            outcome = "closed"
        else:
            outcome = "raised"
        self.log.outcomes[body.number] = outcome
        self.note(body, outcome)

    def note(self, body: Body, what: str) -> None:
        try:
            task = asyncio.current_task()
        except RuntimeError:
            task = None
        self.log.entries.append(Entry(time.monotonic_ns(), body.number, what, task))

    # Simple statements.

    async def do_pass(self, body: Body) -> None:
        pass

    async def do_yield(self, body: Body) -> None:
        await asyncio.sleep(0)

    async def do_sleep(self, body: Body, ticks: int) -> None:
        await asyncio.sleep(ticks * self.tick_s)

    async def do_raise(self, body: Body) -> None:
        raise ProgramError(body.number)

    async def do_cancel(self, body: Body, which: int) -> None:
        self.log.tasks[which % len(self.log.tasks)].cancel()

    async def do_cancel_self(self, body: Body) -> None:
        task = asyncio.current_task()
        if task is not None and task is not self.main:
            task.cancel()

    async def do_uncancel(self, body: Body) -> None:
        task = asyncio.current_task()
        if task is not None:
            self.note(body, f"cancelling {task.cancelling()} {task.uncancel()}")

    async def do_event_set(self, body: Body) -> None:
        self._wake_slots(self._event_slots)
        self.event.set()

    async def do_event_clear(self, body: Body) -> None:
        self.event.clear()

    async def do_event_wait(self, body: Body) -> None:
        if self.event.is_set():
            await self.event.wait()
        else:
            await self._wait_slot(self._event_slots, self.event.wait())

    async def do_future_wait(self, body: Body) -> None:
        if self.future.done():
            await self.future
        else:
            await self._wait_slot(self._future_slots, asyncio.shield(self.future), noted=False)

    async def do_future_set(self, body: Body) -> None:
        if not self.future.done():
            self._wake_slots(self._future_slots)
            self.future.set_result(body.number)

    async def do_put(self, body: Body) -> None:
        await self.queue.put(body.number)

    async def do_get(self, body: Body) -> None:
        self.note(body, f"got {await self.queue.get()}")

    async def do_join(self, body: Body, which: int) -> None:
        spawned = self._spawned.get(body.number)
        if not spawned:
            return
        task = spawned[which % len(spawned)]
        if task.done():
            return
        slot = _Slot()
        slot.waker = task
        try:
            await task
        finally:
            if task.done() and not task.cancelled():
                self._note_wake(slot)

    def _wake_slots(self, slots: list[_Slot]) -> None:
        for slot in slots:
            if not slot.is_filled:
                slot.is_filled, slot.waker = True, asyncio.current_task()

    async def _wait_slot(self, slots: list[_Slot], awaitable: Any, noted: bool = True) -> None:
        slot = _Slot()
        slots.append(slot)
        await awaitable
        if noted:
            self._note_wake(slot)

    def _note_wake(self, slot: _Slot) -> None:
        task = asyncio.current_task()
        assert task is not None
        self.log.wakes.append(Wake(time.monotonic_ns(), task, slot.waker))

    # Statements that execute other bodies.

    async def do_call(self, body: Body, inner: Body) -> None:
        await self.coroutine(inner)

    async def do_spawn(self, body: Body, inner: Body, eager: bool) -> None:
        coroutine = self.coroutine(inner)
        if eager and HAS_EAGER_TASKS:
            task: Any = OrderedTask(
                coroutine, loop=asyncio.get_running_loop(), name=f"eager {inner.number}", eager_start=True
            )
        else:
            task = asyncio.create_task(coroutine, name=f"task {inner.number}")
        self._kept.append(task)
        self._spawned[body.number].append(task)

    async def do_gather(self, body: Body, inners: list[Body], return_exceptions: bool, as_tasks: bool) -> None:
        made: list[Any] = [self.coroutine(inner) for inner in inners]
        if as_tasks:
            made = [asyncio.create_task(each) for each in made]
        await asyncio.gather(*made, return_exceptions=return_exceptions)

    async def do_group(self, body: Body, inners: list[Body]) -> None:
        async with asyncio.TaskGroup() as group:
            for inner in inners:
                group.create_task(self.coroutine(inner))

    async def do_wait(self, body: Body, inners: list[Body], until: str, ticks: int | None) -> None:
        tasks = [asyncio.create_task(self.coroutine(inner)) for inner in inners]
        timeout = None if ticks is None else ticks * self.tick_s
        done, pending = await asyncio.wait(tasks, timeout=timeout, return_when=until)
        self.note(body, f"{len(done)} of {len(tasks)} done, {len(pending)} pending")

    async def do_as_completed(self, body: Body, inners: list[Body]) -> None:
        tasks = [asyncio.create_task(self.coroutine(inner)) for inner in inners]
        for each in asyncio.as_completed(tasks):
            self.note(body, f"completed {await each}")

    async def do_wait_for(self, body: Body, inner: Body, ticks: int) -> None:
        await asyncio.wait_for(self.coroutine(inner), ticks * self.tick_s)

    async def do_timeout(self, body: Body, inner: Body, ticks: int) -> None:
        try:
            async with asyncio.timeout(ticks * self.tick_s):
                await self.coroutine(inner)
        except TimeoutError:
            self.note(body, "timed out")

    async def do_shield(self, body: Body, inner: Body) -> None:
        await asyncio.shield(self.coroutine(inner))

    async def do_catch(self, body: Body, inner: Body, afterwards: Body) -> None:
        try:
            await self.coroutine(inner)
        except asyncio.CancelledError:
            self.note(body, "caught a cancel")
            await self.coroutine(afterwards)
        except Exception as error:
            self.note(body, f"caught {type(error).__name__}")

    async def do_clean_up(self, body: Body, inner: Body, afterwards: Body) -> None:
        try:
            await self.coroutine(inner)
        finally:
            await self.coroutine(afterwards)

    async def do_lock(self, body: Body, inner: Body) -> None:
        async with self.lock:
            await self.coroutine(inner)

    async def do_semaphore(self, body: Body, inner: Body) -> None:
        async with self.semaphore:
            await self.coroutine(inner)

    async def do_python_await(self, body: Body, inner: Body) -> None:
        await _Awaitable(self.coroutine(inner))

    async def do_generator_based(self, body: Body, inner: Body) -> None:
        await _generator_based(self.coroutine(inner))

    async def do_drive(self, body: Body, inner: Body) -> None:
        coroutine = self.coroutine(inner)
        try:
            coroutine.send(None)
        except StopIteration as stop:
            self.note(body, f"drove it to its end: {stop.value}")
        else:
            self.note(body, "drove it to its first wait")
            coroutine.close()

    async def do_iterate(self, body: Body, inner: Body, most: int) -> None:
        count = 0
        async for _ in self.generator(inner):
            count += 1
            if count > most:
                break
        self.note(body, f"{count} values")

    async def do_close_generator(self, body: Body, inner: Body, count: int) -> None:
        generator = self.generator(inner)
        for _ in range(count):
            self.note(body, f"value {await anext(generator, None)}")
        await generator.aclose()

    async def do_interleave(self, body: Body, one: Body, other: Body) -> None:
        generators = [self.generator(one), self.generator(other)]
        for _ in range(3):
            for generator in generators:
                self.note(body, f"value {await anext(generator, None)}")

    async def do_step_task(self, body: Body, inner: Body) -> None:
        generator = self.generator(inner)
        for _ in range(2):
            task = asyncio.create_task(_await(generator.__anext__()))
            try:
                self.note(body, f"value {await task}")
            except StopAsyncIteration:
                self.note(body, "no value")

    async def do_bare_step_task(self, body: Body, inner: Body) -> None:
        generator = self.generator(inner)
        task = asyncio.ensure_future(generator.__anext__())
        try:
            self.note(body, f"value {await task}")
        except StopAsyncIteration:
            self.note(body, "no value")

    async def do_record(self, body: Body, inner: Body) -> None:
        if not self.is_recorded:
            await self.coroutine(inner)
            return
        with asynctrace.record() as recording:
            self.log.windows.append(recording.snapshot())
            try:
                await self.coroutine(inner)
            finally:
                self.log.windows.append(recording.snapshot())
        self.log.windows.append(recording.trace)

    # The whole.

    async def main_coroutine(self) -> str:
        """Run the root, then end what is left; return how the root ended."""
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, context: self.log.problems.append(context["message"]))
        self.lock, self.semaphore = asyncio.Lock(), asyncio.Semaphore(2)
        self.event, self.queue = asyncio.Event(), asyncio.Queue[int](1)
        self.future: asyncio.Future[int] = loop.create_future()
        self._event_slots: list[_Slot] = []
        self._future_slots: list[_Slot] = []
        self.main = asyncio.current_task()
        root = asyncio.create_task(self.coroutine(self.root), name="root")
        self.log.tasks.append(root)
        await asyncio.wait([root], timeout=40 * self.tick_s)
        rounds = 0
        while pending := [task for task in asyncio.all_tasks() if task is not self.main]:
            rounds += 1
            assert rounds < 100, pending
            for task in sorted(pending, key=lambda task: getattr(task, "_order", 0)):
                task.cancel()
            await asyncio.wait(pending, timeout=40 * self.tick_s)
        for ref in self._generators:
            # asyncio would close them in the order of a set of addresses.
            if (generator := ref()) is not None:
                try:
                    await generator.aclose()
                except Exception as error:
                    self.note(self.root, f"closing: {type(error).__name__}")
        if root.cancelled():
            return "cancelled"
        return "returned" if root.exception() is None else f"raised {type(root.exception()).__name__}"

    is_recorded = False


class _Awaitable:
    def __init__(self, coroutine: Coroutine[Any, Any, Any]) -> None:
        self._coroutine = coroutine

    def __await__(self) -> Iterator[Any]:
        result = yield from self._coroutine.__await__()
        return result


@types.coroutine
def _generator_based(coroutine: Coroutine[Any, Any, Any]) -> Generator[Any, Any, Any]:
    result = yield from coroutine.__await__()
    return result


async def _await(awaitable: Any) -> Any:
    return await awaitable


# Programs.

_ticks = st.integers(0, 3)
_simple = st.one_of(
    st.sampled_from(
        [
            (verb,)
            for verb in (
                "pass",
                "yield",
                "raise",
                "cancel_self",
                "uncancel",
                "event_set",
                "event_clear",
                "event_wait",
                "future_wait",
                "future_set",
                "put",
                "get",
            )
        ]
    ),
    st.tuples(st.just("sleep"), _ticks),
    st.tuples(st.just("cancel"), st.integers(0, 9)),
    st.tuples(st.just("join"), st.integers(0, 2)),
)


def _compound(statements: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    body = st.lists(statements, max_size=4).map(Body)
    bodies = st.lists(body, min_size=1, max_size=3)
    untils = st.sampled_from([asyncio.ALL_COMPLETED, asyncio.FIRST_COMPLETED, asyncio.FIRST_EXCEPTION])
    return st.one_of(
        *(
            st.tuples(st.just(verb), body)
            for verb in (
                "call",
                "shield",
                "lock",
                "semaphore",
                "python_await",
                "generator_based",
                "drive",
                "step_task",
                "bare_step_task",
                "record",
            )
        ),
        *(st.tuples(st.just(verb), body, body) for verb in ("catch", "clean_up", "interleave")),
        *(st.tuples(st.just(verb), body, _ticks) for verb in ("wait_for", "timeout", "iterate", "close_generator")),
        *(st.tuples(st.just(verb), bodies) for verb in ("group", "as_completed")),
        st.tuples(st.just("spawn"), body, st.booleans()),
        st.tuples(st.just("spawn"), body, st.booleans()),
        st.tuples(st.just("gather"), bodies, st.booleans(), st.booleans()),
        st.tuples(st.just("wait"), bodies, untils, st.none() | _ticks),
    )


programs = st.lists(st.recursive(_simple, _compound, max_leaves=20), min_size=1, max_size=6).map(Body)


def _ordered_task(loop: asyncio.AbstractEventLoop, coroutine: Any, **keywords: Any) -> OrderedTask:
    return OrderedTask(coroutine, loop=loop, **keywords)


def _eager_task(loop: asyncio.AbstractEventLoop, coroutine: Any, **keywords: Any) -> OrderedTask:
    keywords.setdefault("eager_start", True)
    return OrderedTask(coroutine, loop=loop, **keywords)


def run_program(
    root: Body,
    *,
    recorded: bool = True,
    eager: bool = False,
    loop_factory: Callable[[], asyncio.AbstractEventLoop] = ManualClockLoop,
    tick_s: float = 1.0,
    debug: bool = False,
    inside: bool = False,
    decorate: bool = True,
) -> tuple[Log, Trace | None]:
    """Run a program; return its log, and its trace when it was recorded from outside.

    Args:
        root: The program.
        recorded: Whether it is recorded.
        eager: Whether its loop's task factory starts tasks eagerly.
        loop_factory: What makes the loop.
        tick_s: How long a tick lasts on the loop's clock.
        debug: asyncio's debug mode.
        inside: Recorded only by recordings that the program itself starts, while its loop runs.
        decorate: Whether its coroutines are decorated with `traced`.
    """
    OrderedTask.numbers = itertools.count(1)
    program = Program(root, tick_s=tick_s, decorate=decorate)
    program.is_recorded = recorded or inside
    recording = asynctrace.record() if recorded and not inside else None

    def make_loop() -> asyncio.AbstractEventLoop:
        loop = loop_factory()
        loop.set_task_factory(_eager_task if eager and HAS_EAGER_TASKS else _ordered_task)  # type: ignore[arg-type]
        return loop

    with _deterministic_garbage(program.log.problems):
        if recording is not None:
            recording.start()
        try:
            with asyncio.Runner(loop_factory=make_loop, debug=debug) as runner:
                program.log.result = runner.run(program.main_coroutine())
        finally:
            if recording is not None:
                recording.stop()
        log = program.log
        del program, make_loop
    return log, recording.trace if recording is not None else None


@contextlib.contextmanager
def _deterministic_garbage(problems: list[str]) -> Iterator[None]:
    """Free what is in cycles at the end, not whenever the collector happens to run; note what destructors say."""
    earlier = sys.unraisablehook
    sys.unraisablehook = lambda found: problems.append(f"unraisable {type(found.exc_value).__name__} {found.err_msg}")
    gc.collect()  # what earlier ones left
    gc.disable()
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            yield
            gc.collect()
        problems.extend(sorted(f"warning {each.message}" for each in caught))
    finally:
        gc.enable()
        sys.unraisablehook = earlier
