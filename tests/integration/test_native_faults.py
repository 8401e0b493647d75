"""Memory that is short at any place of the native core's hooks: the recording stops, the program goes on."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import importlib
import itertools
import logging
from collections.abc import Callable, Iterator
from typing import Any, ClassVar

import conftest
import hooked_programs
import pytest
from hooked_programs import IN_PROCESS, Program
from integration.both_ways import _difference, _observed

from asynctrace import stream
from asynctrace.recording import Recording
from asynctrace.stream import Options

_native: Any = pytest.importorskip("asynctrace.recorder._native")


@pytest.fixture(autouse=True)
def native_core(recording_core: str) -> None:
    if recording_core != "native":
        pytest.skip("the reference's faults: test_failing_hooks.py")


@pytest.fixture(autouse=True)
def nothing_goes_on() -> Iterator[None]:
    """A test that fails takes no other with it."""
    yield
    _native.fail_at(None)
    if stream.current is not None:
        stream.current.stop()
        stream.current = None


class Run:
    """One run of a program under a recording in which the n-th place fails (0: none), while it runs or at its end."""

    def __init__(self, number: int, at_end: bool = False) -> None:
        self.number = number
        self.at_end = at_end
        self.reached = 0
        self.is_running = True  # until the recording was to end
        self.warnings: list[logging.LogRecord] = []
        self.result: Any = None

    @contextlib.contextmanager
    def recorded(self, **options: Any) -> Iterator[None]:
        recording = Recording(Options(**options))
        with recording:
            yield
            reached = _native.fail_at(self.number if self.at_end else None)
            self.is_running = stream.current is not None and stream.current.is_running
            recording.stop()
            self.reached = _native.fail_at(None) if self.at_end else reached
        assert not any(map(_is_left_on, hooked_programs.loops))
        recording.trace  # what was recorded up to there

    def go(self, program: Program) -> Run:
        hooked_programs.loops.clear()
        original = stream.Stream.__init__

        @functools.wraps(original)
        def made(stream: Any, *args: Any, **keywords: Any) -> None:
            # A recording that cannot be made raises to whom asked for it: nothing is hooked yet.
            original(stream, *args, **keywords)
            if not self.at_end:
                _native.fail_at(self.number)

        before = conftest._hooks()
        with pytest.MonkeyPatch.context() as patch, _keeping(self.warnings):
            patch.setattr(stream.Stream, "__init__", made)
            patch.setattr("asynctrace.probes.functions.MOST_CALLS", 4)
            self.result = _observed(lambda: program(self.recorded))
        hooked_programs.loops.clear()
        assert conftest._hooks() == before
        return self

    @property
    def has_fired(self) -> bool:
        return 0 < self.number <= self.reached


@contextlib.contextmanager
def _keeping(records: list[logging.LogRecord]) -> Iterator[None]:
    logger, handler = logging.getLogger("asynctrace"), logging.Handler()
    handler.emit = records.append  # type: ignore[method-assign]
    logger.addHandler(handler)
    logger.propagate = False
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.propagate = True


def _is_left_on(loop: Any) -> bool:
    return any(
        "asynctrace" in f"{name} {value!r} {getattr(value, '__module__', '')}" for name, value in vars(loop).items()
    )


def _assert_only_the_recording_stops(run: Run, plain: Any) -> None:
    assert run.result == plain, _difference(plain, run.result)
    if run.has_fired and not run.at_end:
        assert not run.is_running
        assert len(run.warnings) == 1
    else:
        assert run.is_running
        assert len(run.warnings) <= run.has_fired
    for record in run.warnings:
        assert record.levelname == "WARNING"
        assert record.exc_info is not None
        assert record.exc_info[0] is MemoryError


def _sweep(program: Program, numbers: Callable[[int], Iterator[int] | range], at_end: bool = False) -> int:
    plain = _observed(functools.partial(program, hooked_programs.nothing))
    calm = Run(0, at_end).go(program)
    _assert_only_the_recording_stops(calm, plain)
    fired = 0
    told = []
    for number in numbers(calm.reached):
        run = Run(number, at_end)
        try:
            _assert_only_the_recording_stops(run.go(program), plain)
        except AssertionError as error:
            told.append(f"place {number} of {calm.reached} in {program.__name__}: {error}")
        fired += run.has_fired
    assert not told, "\n".join(told)
    return fired


@pytest.mark.parametrize("program", IN_PROCESS)
def test_memory_that_is_short_in_a_hook_stops_the_recording_and_nothing_else(program: Program) -> None:
    # Also the first ones: a hook that fails while the others are put in.
    fired = _sweep(program, lambda reached: range(1, reached + 1, max(1, reached // 25)))
    assert fired or program is hooked_programs.with_an_import  # in which no loop runs


@pytest.mark.slow
@pytest.mark.parametrize("program", IN_PROCESS)
def test_memory_that_is_short_in_any_hook_stops_the_recording_and_nothing_else(program: Program) -> None:
    # The program's threads make for a few places more, or less.
    fired = _sweep(program, lambda reached: range(1, reached + 20))
    assert fired or program is hooked_programs.with_an_import


@pytest.mark.parametrize("program", IN_PROCESS)
def test_memory_that_is_short_while_a_recording_ends_keeps_no_hook_in(program: Program) -> None:
    _sweep(program, lambda reached: range(1, reached + 1), at_end=True)


def test_a_place_is_counted_only_while_faults_are_on() -> None:
    core = _native.Core(None, 0, {}, lambda code: 1, lambda text: 2, {})
    event = (1, 1, 1, 1, 0, 0, 0)
    assert _native.fail_at(2) >= 0
    core.append(event)
    with pytest.raises(MemoryError):
        core.append(event)
    core.append(event)
    assert _native.fail_at(None) == 3
    core.append(event)
    assert _native.fail_at(None) == 0
    assert len(core) == 3


# Not a fault: the recording is stopped in the middle of a hook, as a signal's handler or another thread can.

ASKED_BY_HOOKS = (
    "recorder.tables.Tables.site",
    "recorder.tables.Tables.text",
    "recorder.reference.Recorder.meet_thread",
    "probes.tasks.TaskTable.meet",
    "probes.tasks.TaskTable.awaited",
    "probes.tasks.TaskTable.step_end",
    "probes.tasks.TaskTable.settle",
    "probes.tasks.TaskTable.read_name",
    "probes.loop.LoopProbe.timer_after",
    "probes.loop.LoopProbe.close_late_step",
    "probes.coroutines.CoroutineTable.begin",
    "probes.coroutines.CoroutineTable.awaiter_of",
    "probes.coroutines.CoroutineTable.end_bare_step",
)


class _Name(str):
    """A task's name that has code of its own."""

    def __str__(self) -> str:
        for stop in list(self.stops):
            stop()
        return self

    stops: ClassVar[list[Callable[[], None]]] = []


def _with_a_name_of_its_own(recorded: hooked_programs.Recorded) -> Any:
    async def child() -> int:
        await asyncio.sleep(0)
        _Name.stops.append(lambda: stream.current and stream.current.stop())  # type: ignore[arg-type, return-value]
        return 1

    async def main() -> int:
        return await asyncio.create_task(child(), name=_Name("child"))

    with recorded():
        told = asyncio.run(main())
    _Name.stops.clear()
    return told


@functools.cache
def _unrecorded(program: Any) -> Any:
    return _observed(functools.partial(program, hooked_programs.nothing))


@pytest.mark.parametrize("number", [1, *(pytest.param(number, marks=pytest.mark.slow) for number in (2, 4, 9))])
@pytest.mark.parametrize("name", ASKED_BY_HOOKS, ids=lambda name: name.partition(".")[2])
def test_a_recording_that_is_stopped_inside_what_a_hook_calls_leaves_the_program_alone(name: str, number: int) -> None:
    module, kind, function = name.rsplit(".", 2)
    owner = getattr(importlib.import_module(f"asynctrace.{module}"), kind)
    original = getattr(owner, function)
    calls = itertools.count(1)

    def stopping(*args: Any, **keywords: Any) -> Any:
        result = original(*args, **keywords)
        if next(calls) == number and stream.current is not None:
            stream.current.stop()
        return result

    for program in IN_PROCESS:
        if not program.__name__.startswith(("on_", "from_")):
            continue
        plain = _unrecorded(program)
        warnings: list[logging.LogRecord] = []
        with pytest.MonkeyPatch.context() as patch, _keeping(warnings):
            patch.setattr(owner, function, stopping)
            calls = itertools.count(1)
            result = _observed(functools.partial(program, lambda **options: Recording(Options(**options))))
        assert result == plain, _difference(plain, result)
        assert not warnings


def test_a_recording_that_is_stopped_by_the_name_of_a_task_leaves_the_program_alone() -> None:
    with _keeping([]):
        assert _with_a_name_of_its_own(lambda **options: Recording(Options(**options))) == 1
