"""What stands in for a decorated coroutine does in each method what the coroutine does, and notes it."""

from __future__ import annotations

import asyncio
import collections.abc
import contextlib
import gc
import inspect
import sys
import traceback
import types
import warnings
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from asynctrace import events
from asynctrace.probes.failure import Guard
from asynctrace.probes.tasks import TaskTable
from asynctrace.probes.wrapping import stack_notes, wrap_coroutine_function
from asynctrace.recorder import Recorder, make_recorder
from asynctrace.recorder.tables import Tables

KINDS = {
    events.COROUTINE_STARTED: "started",
    events.COROUTINE_RESUMED: "resumed",
    events.COROUTINE_SUSPENDED: "suspended",
    events.COROUTINE_FINISHED: "finished",
}


class Made:
    """A recorder, and what wraps functions for it."""

    def __init__(self) -> None:
        self.recorder: Recorder | None = make_recorder()
        self.all = self.recorder
        self.failures: list[BaseException] = []
        self.guard = Guard(lambda: None)

    def __call__(self, function: Any) -> Any:
        return wrap_coroutine_function(function, lambda: self.recorder, self)

    def check(self, error: BaseException) -> None:
        self.guard.check(error)

    def check_own(self, error: BaseException) -> None:
        self.failures.append(error)

    @property
    def told(self) -> list[str]:
        """What was noted, each with its coroutine's number, and outcome or flags."""
        assert self.all is not None
        numbers: dict[int, int] = {}
        found = []
        for event in self.all.events:
            _, _, kind, subject, other, _, flags = event
            if kind in KINDS:
                number = numbers.setdefault(subject, len(numbers))
                by = f" by {numbers[other]}" if kind == events.COROUTINE_STARTED and other in numbers else ""
                found.append(f"{number} {KINDS[kind]}{by}{f' {flags}' if flags else ''}")
        return found


# From 3.12 on no function of the program's is wrapped.
pytestmark = pytest.mark.filterwarnings("ignore:Assigning a code object of non-matching type")


@pytest.fixture
def made() -> Made:
    return Made()


@types.coroutine
def pause(value: Any = None) -> Iterator[Any]:
    return (yield value)


async def echoes(count: int = 2) -> Any:
    told = []
    for number in range(count):
        try:
            told.append(await pause(number))
        except LookupError as error:
            told.append(repr(error))
    return told


async def stubborn() -> None:
    while True:
        try:
            await pause()
        except GeneratorExit:
            pass


def outcome(call: Callable[[], Any]) -> tuple[Any, ...]:
    """Return what a call returns, or what it raises: its repr, value, and the functions of its traceback."""
    try:
        return ("returned", call())
    except BaseException as error:
        frames = [frame.name for frame in traceback.extract_tb(error.__traceback__)]
        return "raised", repr(error), repr(getattr(error, "value", None)), frames


STEPS: dict[str, list[Callable[[Any], Any]]] = {
    "send to the end": [lambda each: each.send(None), lambda each: each.send("a"), lambda each: each.send("b")],
    "send after the end": [lambda each: each.send(None)] * 5,
    "send what is not None first": [lambda each: each.send(1), lambda each: each.send(None)],
    "throw an instance": [
        lambda each: each.send(None),
        lambda each: each.throw(KeyError("k")),
        lambda each: each.close(),
    ],
    "throw a type": [lambda each: each.send(None), lambda each: each.throw(IndexError), lambda each: each.send(1)],
    "throw what is not caught": [lambda each: each.send(None), lambda each: each.throw(ValueError(3))],
    "throw before the start": [lambda each: each.throw(ValueError(3)), lambda each: each.send(None)],
    "throw after the end": [lambda each: each.close(), lambda each: each.throw(ValueError(3))],
    "throw a cancel": [lambda each: each.send(None), lambda each: each.throw(asyncio.CancelledError("m"))],
    "throw the type of a cancel": [lambda each: each.send(None), lambda each: each.throw(asyncio.CancelledError)],
    "throw a StopIteration": [lambda each: each.send(None), lambda each: each.throw(StopIteration(3))],
    "throw a GeneratorExit": [lambda each: each.send(None), lambda each: each.throw(GeneratorExit)],
    "throw nothing": [lambda each: each.send(None), lambda each: each.throw(), lambda each: each.send(None)],
    "throw no exception": [lambda each: each.send(None), lambda each: each.throw(3), lambda each: each.send(None)],
    "throw too much": [lambda each: each.throw(1, 2, 3, 4), lambda each: each.close()],
    "close at an await": [lambda each: each.send(None), lambda each: each.close(), lambda each: each.close()],
    "close before the start": [lambda each: each.close(), lambda each: each.send(None)],
    "close at the end": [*[lambda each: each.send(None)] * 3, lambda each: each.close()],
    "await what is awaited": [
        lambda each: each.send(None),
        lambda each: awaits(each).send(None),
        lambda each: each.close(),
    ],
    "await what has ended": [lambda each: each.close(), lambda each: awaits(each).send(None)],
}


async def awaits(what: Any) -> Any:
    return await what


@pytest.mark.parametrize("name", STEPS)
def test_every_way_to_drive_a_coroutine_has_the_same_end(name: str, made: Made) -> None:
    stand_in, plain = made(echoes)(), echoes()

    for step in STEPS[name]:
        expected, actual = outcome(lambda step=step: step(plain)), outcome(lambda step=step: step(stand_in))  # type: ignore[misc]
        assert actual == expected
        assert inspect.getcoroutinestate(stand_in) == inspect.getcoroutinestate(plain)
    assert not made.failures


@pytest.mark.parametrize("value", [None, 3, (), (1, 2), ValueError("v"), StopIteration(4), [None]])
def test_what_is_returned_comes_out_as_it_is(value: Any, made: Made) -> None:
    async def returns() -> Any:
        return value

    for drive in (lambda each: each.send(None), next):
        with pytest.raises(StopIteration) as caught:
            drive(made(returns)())
        assert caught.value.value is value
    with pytest.raises(StopIteration) as caught:
        awaits(made(returns)()).send(None)
    assert caught.value.value is value


def test_each_step_is_noted_with_how_it_ended(made: Made) -> None:
    one, other = made(echoes)(1), made(echoes)(2)

    for coroutine, steps in ((one, 2), (other, 1)):
        for _ in range(steps):
            outcome(lambda coroutine=coroutine: coroutine.send(None))  # type: ignore[misc]
    outcome(lambda: other.throw(asyncio.CancelledError()))

    assert made.told == [
        *("0 started", "0 suspended", "0 resumed", f"0 finished {events.RETURNED}"),
        *("1 started", "1 suspended", f"1 resumed {events.THROWN}", f"1 finished {events.CANCELLED}"),
    ]


def test_one_inside_another_is_noted_as_awaited_by_it(made: Made) -> None:
    inner, outer = made(echoes), made(awaits)
    coroutine = outer(inner(1))

    coroutine.send(None)
    outcome(lambda: coroutine.throw(ValueError()))

    assert made.told == [
        *("0 started", "1 started by 0", "1 suspended", "0 suspended"),
        *("0 resumed", "1 resumed", f"1 finished {events.RAISED}", f"0 finished {events.RAISED}"),
    ]


def test_what_a_coroutine_refuses_is_noted_as_no_end(made: Made) -> None:
    coroutine = made(stubborn)()
    coroutine.send(None)
    assert outcome(coroutine.close)[1] == "RuntimeError('coroutine ignored GeneratorExit')"
    coroutine.send(None)
    assert outcome(coroutine.throw)[0] == "raised"
    coroutine.send(None)

    assert not [line for line in made.told if "finished" in line]
    assert made.told[-2:] == ["0 resumed", "0 suspended"]
    with pytest.raises(RuntimeError):
        coroutine.close()
    assert outcome(lambda: coroutine.throw(KeyError()))[0] == "raised"
    assert made.told[-1] == f"0 finished {events.RAISED}"


def test_a_coroutine_that_drives_itself_is_refused(made: Made) -> None:
    found: list[Any] = []

    async def drives(own: list[Any]) -> None:
        calls = (
            lambda: own[0].send(None),
            lambda: own[0].throw(KeyError()),
            lambda: own[0].close(),
            lambda: next(own[0]),
        )
        found.extend(outcome(call)[1] for call in calls)

    own: list[Any] = []
    own.append(made(drives)(own))
    outcome(lambda: own[0].send(None))

    assert found == ["ValueError('coroutine already executing')"] * 4
    assert made.told == ["0 started", f"0 finished {events.RETURNED}"]


def test_it_passes_for_a_coroutine(made: Made) -> None:
    coroutine = made(echoes)()

    assert isinstance(coroutine, types.CoroutineType) and isinstance(coroutine, collections.abc.Coroutine)
    assert asyncio.iscoroutine(coroutine) and inspect.iscoroutine(coroutine) and inspect.isawaitable(coroutine)
    assert coroutine.cr_code is echoes.__code__ and coroutine.cr_await is None and not coroutine.cr_running
    assert coroutine.__name__ == "echoes" and coroutine.__qualname__ == "echoes" and coroutine.cr_origin is None
    assert repr(coroutine).startswith("<coroutine object echoes at 0x")
    assert coroutine == coroutine and hash(coroutine) == hash(coroutine) and coroutine is not made(echoes)
    with pytest.raises(AttributeError):
        coroutine.none_such
    assert weakref.ref(coroutine)() is coroutine
    assert coroutine.__await__() is coroutine and iter(coroutine) is coroutine
    coroutine.close()


def test_it_is_renamed_and_takes_no_other_attribute(made: Made) -> None:
    coroutine = made(echoes)()
    coroutine.__name__, coroutine.__qualname__ = "one", "another"

    assert (coroutine.__name__, coroutine.__qualname__) == ("one", "another")
    assert repr(coroutine).startswith("<coroutine object another at 0x")
    with pytest.raises(AttributeError):
        coroutine.none_such = 1
    coroutine.close()


def test_one_that_is_never_awaited_is_warned_of_once(made: Made) -> None:
    wrapped = made(echoes)
    gc.collect()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        wrapped()
        gc.collect()

    assert [str(each.message) for each in caught] == ["coroutine 'echoes' was never awaited"]
    assert made.told == []


def test_one_that_is_dropped_at_an_await_is_closed(made: Made) -> None:
    closed = []

    async def waits() -> None:
        try:
            await pause()
        finally:
            closed.append(True)

    coroutine = made(waits)()
    coroutine.send(None)
    ref = weakref.ref(coroutine, lambda _: closed.append(False))
    del coroutine

    assert closed == [False, True] and ref() is None
    assert made.told[-1] == f"0 finished {events.CLOSED}"


def test_one_in_a_cycle_is_collected_and_closed(made: Made) -> None:
    async def holds(own: list[Any]) -> None:
        await pause()

    own: list[Any] = []
    own.append(made(holds)(own))
    own[0].send(None)
    ref = weakref.ref(own[0])
    del own
    gc.collect()

    assert ref() is None
    assert made.told[-1] == f"0 finished {events.CLOSED}"


def test_the_frames_of_stand_ins_are_in_no_traceback(made: Made) -> None:
    async def fails() -> None:
        await pause()
        raise KeyError("deep")

    async def level(depth: int, wrap: Callable[[Any], Any]) -> None:
        await (wrap(level)(depth - 1, wrap) if depth else wrap(fails)())

    def run(wrap: Callable[[Any], Any]) -> tuple[Any, ...]:
        coroutine = wrap(level)(3, wrap)
        coroutine.send(None)
        return outcome(lambda: coroutine.send(None))

    assert run(made) == run(lambda function: function)
    assert outcome(lambda: made(echoes)(1, 2, 3))[3] == ["outcome", "<lambda>"]


def test_stand_ins_await_each_other_500_deep(made: Made) -> None:
    async def level(depth: int) -> int:
        if not depth:
            await pause()
            return 0
        return 1 + int(await wrapped(depth - 1))

    wrapped = made(level)
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(5_000)
    try:
        for end in (lambda each: each.send(None), lambda each: each.close(), lambda each: None):
            coroutine = wrapped(500)
            coroutine.send(None)
            outcome(lambda coroutine=coroutine, end=end: end(coroutine))  # type: ignore[misc]
            del coroutine
    finally:
        sys.setrecursionlimit(limit)

    assert len([line for line in made.told if "finished" in line]) == 3 * 501


def test_nothing_is_left_of_those_that_were_made_and_dropped(made: Made) -> None:
    async def returns() -> int:
        return 1

    wrapped = made(returns)
    recorder = made.all
    assert recorder is not None
    held = []
    for _ in range(3):
        for _ in range(33_000):
            with contextlib.suppress(StopIteration):
                wrapped().send(None)
        recorder.history._store.take()
        gc.collect()
        held.append((sys.getallocatedblocks(), sys.getrefcount(getattr(recorder, "native_core", None))))

    assert held[2][0] - held[1][0] < 1_000 and held[2][1] == held[1][1]


def test_after_the_end_of_its_recording_it_only_passes_on(made: Made) -> None:
    coroutine = made(echoes)(3)
    coroutine.send(None)
    assert made.all is not None
    made.all.end()
    made.recorder = None
    before = made.told

    assert coroutine.send("a") == 1
    another = made(echoes)()
    assert type(another).__name__ == "coroutine"
    another.close()
    del coroutine

    assert made.told == before


@pytest.mark.parametrize("what", ["site", "text"])
def test_a_failure_of_ours_is_told_and_the_coroutine_goes_on(what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(_: Tables, __: Any) -> int:
        raise ZeroDivisionError

    monkeypatch.setattr(Tables, what, fails)
    monkeypatch.setattr(Made, "check", lambda self, error: self.failures.append(error))
    made = Made()
    coroutine = made(awaits)(made(echoes)(1))

    coroutine.send(None)
    assert outcome(lambda: coroutine.throw(KeyError("k")))[1] == "StopIteration([\"KeyError('k')\"])"
    failing = made(echoes)()
    failing.send(None)
    assert outcome(lambda: failing.throw(ValueError(1)))[1] == "ValueError(1)"
    assert {type(each) for each in made.failures} == {ZeroDivisionError}


@pytest.mark.parametrize("what", ["site", "text"])
def test_what_is_the_programs_ends_the_step_that_it_was_raised_in(what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupts(_: Tables, __: Any) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(Tables, what, interrupts)
    made = Made()
    coroutine = made(echoes)()

    def steps() -> None:
        coroutine.send(None)
        coroutine.throw(ValueError(1))

    with pytest.raises(KeyboardInterrupt):
        steps()
    monkeypatch.undo()
    coroutine.close()


def stacks_of(recorder: Recorder) -> list[Any]:
    return [
        [(recorder.tables.described(site).name, offset) for site, offset in recorder.tables.meaning(event[5])]  # type: ignore[union-attr]
        for event in recorder.events
        if event[2] == events.AWAIT_STACK
    ]


def test_a_stack_is_read_through_stand_ins_of_both_kinds_and_found_again(made: Made) -> None:
    async def generates() -> Any:
        yield await awaits(pause())

    async def iterates() -> None:
        async for _ in made(generates)():
            pass

    async def main(coroutine: Any) -> None:
        recorder = made.all
        assert recorder is not None
        note, table, state = stack_notes(recorder), TaskTable(recorder), recorder.local.state
        task = asyncio.ensure_future(coroutine)
        await asyncio.sleep(0)
        for time_ns in range(3):
            note(time_ns, state.id, table.meet(task, time_ns, state), task)
            if time_ns == 1 and hasattr(recorder, "native_core"):
                recorder.native_core.forget_sites()
        await asyncio.wait([task])

    asyncio.run(main(made(awaits)(made(echoes)(1))))
    asyncio.run(main(iterates()))

    assert made.all is not None
    found = stacks_of(made.all)
    names = [[name for name, _ in stack] for stack in found]
    assert names[:3] == [["awaits", "echoes", "pause"]] * 3
    assert [name.rsplit(".", 1)[-1] for name in names[3]] == ["iterates", "generates", "awaits", "pause"]
    assert found[0] == found[1] == found[2] and found[3] == found[4] == found[5]
    assert all(offset > 0 for stack in found for _, offset in stack)
