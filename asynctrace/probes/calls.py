"""Calls of plain functions: how their events are appended, and the wrapper of a decorated one where nothing monitors.

A wrapper's own frame never shows in a traceback: it is taken off where the exception leaves it.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from types import CodeType, FunctionType
from typing import ParamSpec, TypeVar

from asynctrace import clock
from asynctrace.events import CALL_FINISHED, CALL_JOB, CALL_PROCESS, CALL_STARTED, CALL_TRACED, RAISED, RETURNED
from asynctrace.probes.failure import Guard
from asynctrace.probes.targets import note_wrapper
from asynctrace.probes.tracebacks import drop_our_frame
from asynctrace.recorder import Recorder, ThreadState

_P = ParamSpec("_P")
_R = TypeVar("_R")

# What `close_call` needs: recorder, thread, call, the call around it, the thread's CPU time at the start, CALL_*.
OpenCall = tuple[Recorder, ThreadState, int, int, int, int]

# Of the open calls: the task in whose step a call runs (0: none, then it is not here), and the code that a call of a
# target or job is about to run, which is this same call and not another one inside it.
_task_of_call: dict[int, int] = {}
_code_of_call: dict[int, CodeType] = {}

_ALWAYS_TOLD = frozenset({CALL_JOB, CALL_PROCESS})
_outermost_ended: Callable[[Recorder, int], None] | None = None


def on_outermost_end(hook: Callable[[Recorder, int], None] | None) -> None:
    """Have `hook(recorder, CALL_*)` called when a thread's outermost call, or a job, has ended: a child saves then."""
    global _outermost_ended
    _outermost_ended = hook


def open_call(recorder: Recorder, kind: int, site: int, job: int = 0, code: CodeType | None = None) -> OpenCall:
    """Record that a call starts on the current thread.

    Args:
        recorder: Where to.
        kind: A CALL_*.
        site: What is called.
        job: The id of the executor's job that this call is, or 0.
        code: The code that runs next, where that is the call itself (a thread's target): it is not recorded twice.
    """
    state = recorder.local.state
    call = recorder.new_id()
    earlier = state.call
    if state.task:
        _task_of_call[call] = state.task
    if code is not None:
        _code_of_call[call] = code
    recorder.append((clock.now_ns(), state.id, CALL_STARTED, call, job, site, kind))
    state.call = call
    state.depth += 1
    return recorder, state, call, earlier, clock.thread_cpu_ns(), kind


def close_call(opened: OpenCall, error: BaseException | None = None, is_raised: bool = False) -> None:
    """Record that a call ends, on its own thread.

    Args:
        opened: What `open_call` returned.
        error: What it raised.
        is_raised: It raised, and what is unknown.
    """
    recorder, state, call, earlier, cpu_ns, kind = opened
    cpu_ns = clock.thread_cpu_ns() - cpu_ns
    if error is not None:
        site, outcome = recorder.text(type(error).__qualname__), RAISED
    else:
        site, outcome = 0, RAISED if is_raised else RETURNED
    tell_end(recorder, call, outcome, error)
    time_ns = clock.now_ns()
    recorder.append((time_ns, state.id, CALL_FINISHED, call, cpu_ns, site, outcome))
    state.call = earlier
    state.depth -= 1
    _task_of_call.pop(call, None)
    _code_of_call.pop(call, None)
    if time_ns >= recorder.attend_ns:
        recorder.attend()
    if _outermost_ended is not None and (earlier == 0 or kind in _ALWAYS_TOLD):
        _outermost_ended(recorder, kind)


def tell_end(recorder: Recorder, call: int, outcome: int, error: BaseException | None) -> None:
    """Tell the hooks of decorated functions, where they have this call open, that it ends."""
    hooks = recorder.traced_hooks
    if hooks is not None and call in hooks.open:
        hooks.finished(call, outcome, error)


def forget_calls(gone: list[OpenCall]) -> dict[int, int]:
    """Give up calls of the current thread that are open: they get no end.

    Returns:
        By the id of each the id of the call around it that stays, or 0.
    """
    around = {opened[2]: opened[3] for opened in gone}
    for call in around:
        while around[call] in around:
            around[call] = around[around[call]]
    for _, state, call, *_ in gone:
        state.depth -= 1
        state.call = around.get(state.call, state.call)
        _task_of_call.pop(call, None)
        _code_of_call.pop(call, None)
    return around


def innermost_of(state: ThreadState) -> int:
    """Return the id of the innermost open call or step of a thread; 0 where there is neither."""
    call, task = state.call, state.task
    if not task or not call:
        return call or task
    # A call that began in this very step is inside it; one that began before (main, around the loop) is outside.
    return call if _task_of_call.get(call) == task else task


def is_target_of(state: ThreadState, code: CodeType) -> bool:
    """Tell whether the start of this code is the open call itself: a thread's target, a job's function."""
    if not _code_of_call or _code_of_call.get(state.call) is not code:
        return False
    del _code_of_call[state.call]
    return True


def trace_function(
    function: Callable[_P, _R],
    get_recorder: Callable[[], Recorder | None],
    check: Callable[[BaseException], object] | None = None,
) -> Callable[_P, _R]:
    """Return a function that records each call of `function` (CPython 3.11, where no monitoring can).

    Args:
        function: A plain Python function.
        get_recorder: Returns the recorder while a recording runs, else None.
        check: What a failure of ours is told to, such as `Guard.check` of the recording; without it, it is logged.

    What is no plain function (an `lru_cache`) comes back as it is: a wrapper would lack its methods.
    """
    inner: object = inspect.unwrap(function)  # the user's, under other decorators
    if {type(function), type(inner)} != {FunctionType}:
        return function
    check = check or Guard(_do_nothing).check
    code: CodeType = inner.__code__  # type: ignore[attr-defined]  # a FunctionType, as was just seen

    @functools.wraps(function)
    def traced(*args: _P.args, **kwargs: _P.kwargs) -> _R:
        opened = target = None
        try:
            recorder = get_recorder()
            if recorder is not None:
                state = recorder.local.state
                is_target = is_target_of(state, code)
                if not is_target:
                    opened = open_call(recorder, CALL_TRACED, recorder.site(code))
                if recorder.traced_hooks is not None:
                    recorder.traced_hooks.started(state.call, code, 0, False)
                    target = (recorder, state.call) if is_target else None
        except BaseException as error:
            check(error)
        try:
            result = function(*args, **kwargs)
        except BaseException as error:
            drop_our_frame(error)
            if opened is not None or target is not None:
                _close(opened, target, error, check)
            raise
        if opened is not None or target is not None:
            _close(opened, target, None, check)
        return result

    note_wrapper(traced.__code__)  # type: ignore[attr-defined]  # typeshed does not know it for a function
    return traced


def _do_nothing() -> None:
    pass


def _close(
    opened: OpenCall | None,
    target: tuple[Recorder, int] | None,
    error: BaseException | None,
    check: Callable[[BaseException], object],
) -> None:
    try:
        if opened is not None:
            close_call(opened, error)
        elif target is not None:
            tell_end(*target, RAISED if error is not None else RETURNED, error)
    except BaseException as failure:
        check(failure)
