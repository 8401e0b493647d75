"""The coroutine probe where `sys.monitoring` is missing: stand-ins for decorated coroutines, and await stacks.

A stand-in notes each step and passes everything else on: to `await`, asyncio and inspect it is the coroutine. The
stack of a task that waits is read off its root along `cr_await`, and through the steps of async generators.
"""

from __future__ import annotations

import asyncio
import functools
import gc
import inspect
import weakref
from collections.abc import AsyncGenerator, Callable, Coroutine
from types import AsyncGeneratorType, CoroutineType, GeneratorType
from typing import Any

from asynctrace.clock import now_ns
from asynctrace.events import (
    ASYNC_GENERATOR,
    AWAIT_STACK,
    CANCELLED,
    CLOSED,
    COROUTINE_FINISHED,
    COROUTINE_RESUMED,
    COROUTINE_STARTED,
    COROUTINE_SUSPENDED,
    NOT_STARTED,
    RAISED,
    RETURNED,
    THROWN,
    YIELDED,
)
from asynctrace.probes.failure import Failures
from asynctrace.probes.tasks import TaskEntry
from asynctrace.probes.tracebacks import drop_our_frame
from asynctrace.recorder import Recorder, native_core

_GENERATOR_STEP = "async_generator_"  # what the types of such steps begin with
_CO_COROUTINE = 0x80
_CO_ASYNC_GENERATOR = 0x200


Check = Callable[[BaseException], object]


class _Watch:
    """What a stand-in knows of its coroutine, and how it notes the steps."""

    __slots__ = ("check", "code", "earlier", "flags", "has_ended", "id", "recorder")

    def __init__(self, recorder: Recorder, code: Any, flags: int, check: Check) -> None:
        self.recorder = recorder
        self.check = check  # what a failure of ours is told to
        self.code = code
        self.flags = flags
        self.id = 0
        self.earlier = 0
        self.has_ended = False

    def enter(self, flags: int) -> bool:
        """Note that the coroutine begins or goes on; return whether its recording still runs, and wants it."""
        recorder = self.recorder
        if not recorder.is_open or self.has_ended:
            return False
        state = recorder.local.state
        time_ns = now_ns()
        self.earlier = state.coroutine
        if not self.id:
            self.id = recorder.new_id()
            site = recorder.site(self.code)
            event = (time_ns, state.id, COROUTINE_STARTED, self.id, self.earlier, site, self.flags | flags)
        else:
            event = (time_ns, state.id, COROUTINE_RESUMED, self.id, 0, 0, flags)
        recorder.append(event)
        state.coroutine = self.id
        hooks = recorder.traced_hooks
        if hooks is not None:
            if event[2] == COROUTINE_STARTED:
                hooks.started(self.id, self.code, self.earlier, self.flags & ASYNC_GENERATOR != 0)
            elif self.id in hooks.driven:
                hooks.resumed(self.id)
        return True

    def suspend(self, frame: Any, flags: int = 0) -> None:
        recorder = self.recorder
        state = recorder.local.state
        state.coroutine = self.earlier
        offset = frame.f_lasti if frame is not None else 0
        recorder.append((now_ns(), state.id, COROUTINE_SUSPENDED, self.id, 0, offset, flags))
        hooks = recorder.traced_hooks
        if hooks is not None and self.id in hooks.driven and (flags & YIELDED or not self.flags & ASYNC_GENERATOR):
            hooks.suspended(self.id)

    def finish(self, error: BaseException | None) -> None:
        recorder = self.recorder
        state = recorder.local.state
        state.coroutine = self.earlier
        self.has_ended = True
        site, outcome = 0, RETURNED
        if isinstance(error, asyncio.CancelledError):
            outcome = CANCELLED
        elif isinstance(error, GeneratorExit):
            outcome = CLOSED
        elif error is not None:
            site, outcome = recorder.text(type(error).__qualname__), RAISED
        hooks = recorder.traced_hooks
        if hooks is not None and self.id in hooks.open:
            hooks.finished(self.id, outcome, error if outcome == RAISED else None)
        recorder.append((now_ns(), state.id, COROUTINE_FINISHED, self.id, 0, site, outcome))

    def gone(self) -> None:
        """Note that the coroutine was dropped while it was suspended."""
        try:
            if self.id and self.recorder.is_open and not self.has_ended:
                self.earlier = self.recorder.local.state.coroutine
                self.finish(GeneratorExit())
        except BaseException as error:
            self.check(error)


def _finish(watch: _Watch, error: BaseException | None) -> None:
    try:
        watch.finish(error)
    except BaseException as failure:
        watch.check(failure)


def _note_error(watch: _Watch, frame: Any, error: BaseException) -> None:
    """Note that a coroutine left with an error; it goes on where it refused what it was thrown, or to be closed."""
    if frame is None:
        _finish(watch, None if isinstance(error, StopIteration) else error)
        return
    try:
        watch.suspend(frame)
    except BaseException as failure:
        watch.check(failure)


class TracedCoroutine:
    """Stands in for one coroutine of a decorated function."""

    __slots__ = ("__weakref__", "_coroutine", "_watch")

    _coroutine: Any
    _watch: _Watch

    def __init__(self, coroutine: Any, watch: _Watch) -> None:
        object.__setattr__(self, "_coroutine", coroutine)
        object.__setattr__(self, "_watch", watch)

    def send(self, value: Any) -> Any:
        try:
            return self._step(self._coroutine.send, (value,), 0)
        except BaseException as error:
            drop_our_frame(error, 2)
            raise

    def throw(self, *error: Any) -> Any:
        try:
            if not error or (not self._watch.id and not _is_exception(error[0])):
                # Nothing it refuses, and what is no exception, too, unless that is thrown into what it awaits.
                return self._coroutine.throw(*error)
            return self._step(self._coroutine.throw, error, _flags_of_throw(error[0]))
        except BaseException as raised:
            drop_our_frame(raised, 2)
            raise

    def close(self) -> Any:
        coroutine, watch = self._coroutine, self._watch
        is_noted = False
        if watch.id and not coroutine.cr_running:
            try:
                is_noted = watch.enter(THROWN)
            except BaseException as error:
                watch.check(error)
        try:
            value = coroutine.close()
        except BaseException as error:
            if is_noted:
                _note_error(watch, coroutine.cr_frame, error)
            drop_our_frame(error, 1)
            raise
        if is_noted:
            _finish(watch, GeneratorExit())
        return value

    def __del__(self) -> None:
        self._watch.gone()  # dropped at an await: what it stands for is closed next

    def _step(self, step: Callable[..., Any], args: tuple[Any, ...], flags: int) -> Any:
        coroutine, watch = self._coroutine, self._watch
        frame = coroutine.cr_frame
        is_noted = False
        if frame is not None and not coroutine.cr_running:  # else the coroutine itself refuses
            try:
                is_noted = watch.enter(flags)
            except BaseException as error:
                watch.check(error)
        if not is_noted:
            return step(*args)
        try:
            value = step(*args)
        except BaseException as error:
            _note_error(watch, coroutine.cr_frame, error)
            raise
        try:
            watch.suspend(frame)
        except BaseException as error:
            watch.check(error)
        return value

    def __await__(self) -> TracedCoroutine:
        coroutine = self._coroutine
        if coroutine.cr_await is not None and not coroutine.cr_running:
            # The interpreter refuses this to a coroutine, whose type it knows, before it sends anything.
            try:
                raise RuntimeError("coroutine is being awaited already")
            except RuntimeError as error:
                drop_our_frame(error, 1)
                raise
        return self

    def __iter__(self) -> TracedCoroutine:
        return self

    def __next__(self) -> Any:
        try:
            return self._step(self._coroutine.send, (None,), 0)
        except BaseException as error:
            drop_our_frame(error, 2)
            raise

    def __getattr__(self, name: str) -> Any:
        return getattr(self._coroutine, name)

    def __setattr__(self, name: str, value: Any) -> None:
        try:
            setattr(self._coroutine, name, value)  # `__name__` and `__qualname__` can be set
        except BaseException as error:
            drop_our_frame(error)
            raise

    @property  # type: ignore[misc]  # object's can be set, this one cannot
    def __class__(self) -> Any:
        return CoroutineType

    def __repr__(self) -> str:
        return repr(self._coroutine)


Coroutine.register(TracedCoroutine)


class _GeneratorRef(weakref.ref[Any]):
    __slots__ = ("watch",)
    watch: _Watch


_open_generators: set[_GeneratorRef] = set()


def _watch_generator(generator: Any, recorder: Recorder, check: Check) -> _Watch:
    watch = _Watch(recorder, generator.ag_code, ASYNC_GENERATOR, check)
    # asyncio closes a generator that is dropped half way behind the back of its stand-in.
    ref = _GeneratorRef(generator, _generator_gone)
    ref.watch = watch
    _open_generators.add(ref)
    return watch


def _generator_gone(ref: _GeneratorRef) -> None:
    _open_generators.discard(ref)
    ref.watch.gone()


class TracedAsyncGenerator:
    """Stands in for one async generator of a decorated function."""

    __slots__ = ("__weakref__", "_generator", "_watch")

    def __init__(self, generator: Any, watch: _Watch) -> None:
        self._generator = generator
        self._watch = watch

    def __aiter__(self) -> TracedAsyncGenerator:
        return self

    def __anext__(self) -> _TracedGeneratorStep:
        return _TracedGeneratorStep(self._generator.__anext__(), self)

    def asend(self, value: Any) -> _TracedGeneratorStep:
        return _TracedGeneratorStep(self._generator.asend(value), self)

    def athrow(self, *error: Any) -> _TracedGeneratorStep:
        return _TracedGeneratorStep(self._generator.athrow(*error), self, THROWN)

    def aclose(self) -> _TracedGeneratorStep:
        return _TracedGeneratorStep(self._generator.aclose(), self, CLOSED)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._generator, name)

    @property  # type: ignore[misc]  # object's can be set, this one cannot
    def __class__(self) -> Any:
        return AsyncGeneratorType

    def __repr__(self) -> str:
        return repr(self._generator)


AsyncGenerator.register(TracedAsyncGenerator)


class _TracedGeneratorStep:
    """Stands in for one `__anext__`, `asend`, `athrow` or `aclose` of a traced async generator."""

    __slots__ = ("__weakref__", "_kind", "_owner", "_step")

    def __init__(self, step: Any, owner: TracedAsyncGenerator, kind: int = 0) -> None:
        self._step = step
        self._owner = owner
        self._kind = kind  # THROWN: an athrow; CLOSED: an aclose

    def send(self, value: Any) -> Any:
        try:
            return self._run(self._step.send, (value,), 0)
        except BaseException as error:
            drop_our_frame(error, 2)
            raise

    def throw(self, *error: Any) -> Any:
        try:
            return self._run(self._step.throw, error, _flags_of_throw(error[0]))
        except BaseException as raised:
            drop_our_frame(raised, 2)
            raise

    def close(self) -> None:
        self._step.close()

    def _run(self, step: Callable[..., Any], args: tuple[Any, ...], flags: int) -> Any:
        generator, watch = self._owner._generator, self._owner._watch
        is_noted = False
        if generator.ag_frame is not None and (watch.id or not generator.ag_running):
            try:
                is_noted = watch.enter(flags | NOT_STARTED if self._kind and not watch.id else flags)
            except BaseException as error:
                watch.check(error)
        if not is_noted:
            return step(*args)
        try:
            value = step(*args)
        except BaseException as error:
            try:
                self._note_end(generator.ag_frame, watch, error)
            except BaseException as failure:
                watch.check(failure)
            raise
        try:
            watch.suspend(generator.ag_frame)
        except BaseException as error:
            watch.check(error)
        return value

    def _note_end(self, frame: Any, watch: _Watch, error: BaseException) -> None:
        if frame is not None:
            watch.suspend(frame, YIELDED)  # a value: StopIteration carries it to the consumer
        elif not isinstance(error, StopIteration | StopAsyncIteration):
            watch.finish(error)
        else:
            watch.finish(GeneratorExit() if self._kind == CLOSED else None)

    def __await__(self) -> _TracedGeneratorStep:
        return self

    def __iter__(self) -> _TracedGeneratorStep:
        return self

    def __next__(self) -> Any:
        try:
            return self._run(self._step.send, (None,), 0)
        except BaseException as error:
            drop_our_frame(error, 2)
            raise


Coroutine.register(_TracedGeneratorStep)

# What `note_stack` sees through: of this module, and of the native core once it is there.
SEEN_THROUGH = (TracedCoroutine, _TracedGeneratorStep)
stand_in_types: set[type] = {TracedCoroutine}


def _generator_of(step: Any) -> Any:
    """Return the generator of which this is an `__anext__`, `asend`, `athrow` or `aclose`; None if that is not told."""
    if type(step) is _TracedGeneratorStep:
        return step._owner._generator
    # Such a step has no attribute for it, but the garbage collector is told what it holds.
    return next((each for each in gc.get_referents(step) if type(each) is AsyncGeneratorType), None)


def _is_exception(thrown: Any) -> bool:
    return issubclass(thrown if issubclass(type(thrown), type) else type(thrown), BaseException)


def _flags_of_throw(thrown: Any) -> int:
    return THROWN if isinstance(thrown, asyncio.CancelledError) or thrown is asyncio.CancelledError else 0


Maker = Callable[[Any, Recorder, Failures], Any]


def _stand_in(coroutine: Any, recorder: Recorder, failures: Failures) -> TracedCoroutine:
    return TracedCoroutine(coroutine, _Watch(recorder, coroutine.cr_code, 0, failures.check))


_native_maker: Maker | None = None  # once it is there, for to import it at each call would take longer than the rest


def _maker_for(recorder: Recorder) -> Maker:
    """Return what makes the stand-ins whose events a recorder takes."""
    global _native_maker
    if type(recorder) is Recorder:  # as `native_core` tells, which imports
        return _stand_in
    if _native_maker is None:
        from asynctrace.probes import native_wrapping

        _native_maker = native_wrapping.stand_in
    return _native_maker


def wrap_coroutine_function(function: Any, get_recorder: Callable[[], Recorder | None], failures: Failures) -> Any:
    """Return a function that gives stand-ins while a recording runs, and plain coroutines else."""

    @functools.wraps(function)
    def wrapper(*args: Any, **keywords: Any) -> Any:
        try:
            made = function(*args, **keywords)
        except BaseException as error:  # it takes no such arguments
            drop_our_frame(error)
            raise
        try:
            recorder = get_recorder()
            if recorder is None:
                return made
            kind = type(made)
            if kind is CoroutineType:
                return _maker_for(recorder)(made, recorder, failures)
            if kind is AsyncGeneratorType:
                return TracedAsyncGenerator(made, _watch_generator(made, recorder, failures.check))
        except BaseException as error:
            failures.check(error)
        return made

    # inspect asks the code's flags whether this is an `async def`; the body runs as before, for a flag makes no
    # coroutine: the RETURN_GENERATOR instruction does.
    flag = 0
    if inspect.isasyncgenfunction(function):
        flag = _CO_ASYNC_GENERATOR
    elif inspect.iscoroutinefunction(function):
        flag = _CO_COROUTINE
    made: Any = wrapper
    made.__code__ = made.__code__.replace(co_flags=made.__code__.co_flags | flag)
    return made


def stack_notes(recorder: Recorder) -> Callable[[int, int, TaskEntry, Any], None]:
    """Return `note_stack` for a recorder, of its core."""
    if native_core(recorder) is not None:
        from asynctrace.probes import native_wrapping

        return native_wrapping.stack_notes(recorder)
    return lambda time_ns, thread, entry, task: note_stack(recorder, time_ns, thread, entry, task)


def note_stack(recorder: Recorder, time_ns: int, thread: int, entry: TaskEntry, task: Any) -> None:
    """Append the await stack of a task whose step ends with a suspension."""
    places = []
    link = task.get_coro()
    while link is not None:
        kind = type(link)
        if kind in stand_in_types:
            link = link._coroutine
            continue
        if kind is CoroutineType:
            frame, code, following = link.cr_frame, link.cr_code, link.cr_await
        elif kind is GeneratorType:
            frame, code, following = link.gi_frame, link.gi_code, link.gi_yieldfrom
        elif kind is _TracedGeneratorStep or kind.__name__.startswith(_GENERATOR_STEP):
            generator = _generator_of(link)
            if generator is None:
                break
            frame, code, following = generator.ag_frame, generator.ag_code, generator.ag_await
        else:
            break
        if frame is None:
            break
        places.append((recorder.site(code), frame.f_lasti))
        link = following
    recorder.append((time_ns, thread, AWAIT_STACK, entry.id, 0, recorder.stack(tuple(places)), 0))
