"""Run a program with and without a recording, and compare all that it can tell."""

from __future__ import annotations

import asyncio
import contextlib
import difflib
import gc
import io
import itertools
import logging
import pprint
import re
import sys
import warnings
from asyncio import tasks as asyncio_tasks
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import asynctrace
from asynctrace.model.trace import Coroutine, State, Task, Trace

Run = Callable[..., Any]  # as asyncio.run, on one of the loops
LoopFactory = Callable[[], asyncio.AbstractEventLoop]

sees_coroutines = sys.version_info >= (3, 12)
needs_coroutines = pytest.mark.skipif(not sees_coroutines, reason="before 3.12 only decorated coroutines are seen")
needs_eager_tasks = pytest.mark.skipif(sys.version_info < (3, 12), reason="eager tasks are new in 3.12")


def both_ways(program: Callable[[], Any]) -> Trace:
    """Assert that a program does and says the same with and without a recording; return its trace.

    Compared are what it returns or raises, and what it prints, warns and logs.
    """
    plain = _observed(program)
    with asynctrace.record() as recording:
        recorded = _observed(program)
    again = _observed(program)
    assert recorded == plain, _difference(plain, recorded)
    assert again == plain, "something of a recording was left behind:\n" + _difference(plain, again)
    return recording.trace


def _difference(expected: Any, actual: Any) -> str:
    return "\n".join(difflib.ndiff(*(pprint.pformat(each, width=150).splitlines() for each in (expected, actual))))


def trace_of(program: Callable[[], Any]) -> Trace:
    """Return the trace of a program that is run once, recorded."""
    with asynctrace.record() as recording:
        program()
    return recording.trace


def _observed(program: Callable[[], Any]) -> tuple[Any, ...]:
    told: list[str] = []
    printed, errors = io.StringIO(), io.StringIO()
    gc.collect()  # what earlier tests left has its say before
    with _numbered_tasks(), _told(told), contextlib.redirect_stdout(printed), contextlib.redirect_stderr(errors):
        try:
            result = ("returned", _comparable(program()))
        except BaseException as error:
            result = ("raised", _comparable(error))
        gc.collect()
    return result, [_plain(each) for each in told], _plain(printed.getvalue()), _plain(errors.getvalue())


@contextlib.contextmanager
def _told(told: list[str]) -> Iterator[None]:
    """Collect warnings, log records and what destructors say."""

    class Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            text = logging.Formatter().format(record)
            if not text.startswith("Using selector"):
                told.append(text)

    handler, logger = Handler(), logging.getLogger("asyncio")
    level = logger.level
    earlier = sys.unraisablehook
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)
    sys.unraisablehook = lambda found: told.append(f"unraisable {found.err_msg} {found.exc_value!r} {found.object!r}")
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            yield
        told.extend(f"{each.category.__name__}: {each.message}" for each in caught)
    finally:
        sys.unraisablehook = earlier
        logger.removeHandler(handler)
        logger.setLevel(level)


@contextlib.contextmanager
def _numbered_tasks() -> Iterator[None]:
    """Have asyncio's own names of tasks begin at 1: they count up in the whole process."""
    earlier = asyncio_tasks._task_name_counter  # type: ignore[attr-defined]
    asyncio_tasks._task_name_counter = itertools.count(1).__next__  # type: ignore[attr-defined]
    try:
        yield
    finally:
        asyncio_tasks._task_name_counter = earlier  # type: ignore[attr-defined]


def _comparable(value: Any) -> Any:
    if isinstance(value, BaseException):
        frames = []
        traceback = value.__traceback__
        while traceback is not None:
            frames.append((traceback.tb_frame.f_code.co_qualname, traceback.tb_lineno))
            traceback = traceback.tb_next
        inner = value.exceptions if isinstance(value, BaseExceptionGroup) else ()
        notes = getattr(value, "__notes__", ())
        return (
            type(value).__name__,
            _plain(str(value)),
            [frame for frame in frames if frame[0] != "_observed"],
            [_comparable(each) for each in inner],
            _comparable(value.__context__) if value.__context__ is not None else None,
            tuple(notes),
        )
    if isinstance(value, str):
        return _plain(value)
    if isinstance(value, list | tuple):
        return [_comparable(each) for each in value]
    return value


def _plain(text: str) -> str:
    """Leave out what differs in each run: addresses, and the names that the C task gives itself."""
    text = re.sub(r"0x[0-9a-f]+", "0x", text)
    text = re.sub(r"Task-\d+", "Task-N", text)
    text = re.sub(r"when=\d+\.\d+", "when=N", text)
    return re.sub(r"\d+\.\d+ (s|ms)|took \d+\.\d+", "T", text)


# Reading traces.


def label_of(task: Task | None) -> str | None:
    """Return a task's label, None where there is no task."""
    return task.label if task is not None else None


def is_uvloop(trace: Trace) -> bool:
    """Tell whether the trace's loop is uvloop's."""
    return trace.loops[0].type.startswith("uvloop")


def outcomes(trace: Trace) -> dict[str, str]:
    """Return how each task ended, by label; a label that two tasks have fails."""
    return {task.label: task_of(trace, task.label).outcome for task in trace.tasks if not task.is_internal}


def coroutine_of(trace: Trace, name: str) -> Coroutine:
    """Return the one coroutine of this name, without the functions that it is defined in."""
    found = [each for each in trace.coroutines if each.name.rsplit("<locals>.", 1)[-1] == name]
    assert len(found) == 1, [each.name for each in trace.coroutines]
    return found[0]


def task_of(trace: Trace, label: str) -> Task:
    """Return the one task of this label."""
    found = [task for task in trace.tasks if task.label == label]
    assert len(found) == 1, [task.label for task in trace.tasks]
    return found[0]


def kinds(task: Task) -> list[str]:
    """Return the kinds of a task's states, with what it waited for and what woke it: "waiting sleep", "ready timer"."""
    return [_kind(state) for state in task.states]


def _kind(state: State) -> str:
    if state.wait is not None:
        return f"waiting {state.wait.kind}"
    return f"ready {state.cause.kind}" if state.cause is not None else state.kind


def waits(task: Task) -> list[tuple[str, str | None, int | None]]:
    """Return (kind, expression, line) of each wait; the line relative to the function's first."""
    return [
        (state.wait.kind, state.wait.expression, state.wait.line - task.line if state.wait.line is not None else None)
        for state in task.states
        if state.wait is not None
    ]


def wakers(task: Task) -> list[str | None]:
    """Return who or what woke a task after each of its waits: a task's label, else the kind of the cause."""
    found = []
    for earlier, later in itertools.pairwise(task.states):
        if earlier.kind == "waiting" and later.kind == "ready":
            cause = later.cause
            assert cause is not None
            found.append(cause.task.label if cause.task is not None else cause.kind)
    return found
