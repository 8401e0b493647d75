"""Make a span current while a decorated coroutine, a call or a task runs: what is done on the program's own threads.

Only ids and sampling are decided here (see `asynctrace.otel.replay`). Contexts are restored without tokens, and only
where what is current is still ours: a coroutine may end in another context than it began in.
"""

from __future__ import annotations

import asyncio
import logging
import os
import sys
from asyncio import events as _events
from collections.abc import Callable
from contextvars import ContextVar
from types import CodeType, CoroutineType, FrameType, GeneratorType
from typing import TYPE_CHECKING, Any

import opentelemetry.context as _otel_context
from opentelemetry.context import Context, create_key
from opentelemetry.context.contextvars_context import ContextVarsRuntimeContext
from opentelemetry.trace import Span
from opentelemetry.trace.propagation import _SPAN_KEY  # the public way to it takes three times as long

from asynctrace.clock import now_ns
from asynctrace.model.tasks import SHUTDOWN
from asynctrace.otel.live_span import Described, LiveSpan, TaskContext, describe_error
from asynctrace.otel.replay import SpanReplay
from asynctrace.otel.spans import code_attributes, encodable, own_attributes
from asynctrace.probes.coroutines import is_awaiting
from asynctrace.probes.tasks import name_of_root
from asynctrace.recorder.places import describe_code, is_user_file
from asynctrace.recorder.reference import ROOT, traced_codes

if TYPE_CHECKING:
    from opentelemetry.trace import Tracer

    from asynctrace.recorder import Recorder

logger = logging.getLogger("asynctrace")

_PACKAGE = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep
_HAS_MONITORING = hasattr(sys, "monitoring")
_CO_COROUTINES = 0x80 | 0x100  # coroutine, iterable coroutine
MOST_WAITING = 120_000  # spans that have ended and are not read; they take some 1 kB each
_LIVE_KEY = create_key("asynctrace-live-span")  # of the contexts whose span is another provider's own
_WRAPPER, _WRAPPER_FILE = "trace_coroutine", "opentelemetry/instrumentation/asyncio/__init__.py"
_SAMPLED = 1  # of the flags of a trace
_SUPPRESS = "suppress_instrumentation"  # the key under which OpenTelemetry is told to leave alone what runs


_get_current: Callable[[], Context] = _otel_context.get_current
_set_current: Callable[[Context], object] = _otel_context.attach
_runtime = getattr(_otel_context, "_RUNTIME_CONTEXT", None)
if type(_runtime) is ContextVarsRuntimeContext:  # else the user has chosen another
    _variable = getattr(_runtime, "_current_context", None)
    if isinstance(_variable, ContextVar):
        # What those functions come to, in a third of their time: all of this is on the program's own.
        _get_current, _set_current = _variable.get, _variable.set


class SpanHooks:
    """Tells of each decorated run which span it is, and makes that current. See `TracedHooks` of the recorder.

    Args:
        recorder: Whose hooks these are.
        get_maker: Returns what makes the spans: of the SDK a replay, of another provider its tracer; None while there
            is no provider, and of one that makes none.
        tasks: Whether undecorated tasks have spans, too.
    """

    def __init__(self, recorder: Recorder, get_maker: Callable[[], SpanReplay | Tracer | None], *, tasks: bool) -> None:
        self.wants_tasks = tasks
        self.open: dict[int, LiveSpan] = {}  # by the id of the coroutine, call or task
        self.ended: dict[int, LiveSpan] = {}  # that the reader of the events has not come to yet
        self.driven: dict[int, LiveSpan] = {}
        self.steps: dict[int, TaskContext] = {}
        self.offset_ns = recorder.wall_ns - recorder.start_ns  # from the monotonic clock to the wall's
        self._recorder = recorder
        self._get_maker = get_maker
        self._maker: SpanReplay | Tracer | None = None  # once it is known
        self.dropped = 0  # runs that have no span, for too many wait to be sent
        self._codes: dict[int, Described] = {}
        self._has_failed = False

    def started(self, id: int, code: CodeType, awaiter: int, is_generator: bool) -> None:
        """Make the span of a run current."""
        try:
            is_driven, is_root = is_generator, False
            if is_generator:
                is_root = awaiter <= 0 and _is_step_of_generator()
            elif code.co_flags & _CO_COROUTINES:
                if awaiter <= 0:
                    is_root = awaiter == ROOT or _is_root(code)
                    is_driven = not is_root
                elif not _HAS_MONITORING:  # where stand-ins do not tell who awaits from who drives by hand
                    is_driven = not _is_awaited()
            state = self._recorder.local.state
            described = self._codes.get(id_of(code)) or self._describe(code)
            live = self._start(id, described, state.task, state.id, is_driven)
            if is_root and live is not None:
                live.is_root = True
        except Exception as error:
            self._fail(error)

    def task_started(self, id: int, task: Any) -> None:
        """Make the span of a task current, unless its root is decorated, and has one.

        Those of a loop that is closed are of no interest, and are not sent: whatever they have others do would be
        children of nobody.
        """
        try:
            root = task.get_coro()
            code = _code_of(root)
            if code is None:
                name = encodable(name_of_root(root))
                if name.rpartition(".")[2] in SHUTDOWN:
                    return
                described = Described(None, name, {"code.function.name": name})
            elif id_of(code) in traced_codes or (code.co_name in SHUTDOWN and not is_user_file(code.co_filename)):
                return
            else:
                described = self._codes.get(id_of(code)) or self._describe(code)
            self._start(id, described, id, self._recorder.local.state.id, False)
        except Exception as error:
            self._fail(error)

    def _start(self, id: int, described: Described, task: int, thread: int, is_driven: bool) -> LiveSpan | None:
        maker = self._maker or self._get_maker()
        around = _get_current()
        if maker is None or around.get(_SUPPRESS) or len(self.ended) > MOST_WAITING:
            self.dropped += maker is not None and not around.get(_SUPPRESS)
            return None
        self._maker = maker
        live = LiveSpan()
        parent = around.get(_SPAN_KEY)
        if type(parent) is LiveSpan and type(maker) is SpanReplay:
            live.replay = maker
            # The usual case, without a question: the trace and the sampling are its parent's.
            if parent.flags & _SAMPLED and maker.has_sampled_children:
                live.trace_id, live.flags, live.trace_state = parent.trace_id, parent.flags, parent.trace_state
            elif not parent.is_sampled and maker.has_dropped_children:
                return None
            else:
                _decide(live, maker, described, around)
            context = live.context = Context({**around, _SPAN_KEY: live})
        elif type(maker) is SpanReplay:
            live.replay = maker
            if parent is None and maker.has_sampled_roots:
                live.trace_id, live.flags, live.trace_state = maker.new_trace_id(), maker.root_flags, None
            else:
                _decide(live, maker, described, around)
            context = live.context = Context({**around, _SPAN_KEY: live})
        else:
            assert not isinstance(maker, SpanReplay)
            real = live.real = maker.start_span(described.name, context=around, attributes=described.attributes)
            live.is_sampled = real.is_recording()
            context = live.context = Context({**around, _SPAN_KEY: real, _LIVE_KEY: live})
        live.described = described
        live.task, live.thread = task, thread
        live.around = around
        live.offset_ns = self.offset_ns
        live.start_ns = now_ns()
        self.open[id] = live
        if is_driven:
            live.is_driven, live.restored = True, around
            self.driven[id] = live
        if task:
            steps = self.steps.get(task)
            if steps is None:
                steps = self.steps[task] = TaskContext(around)
            steps.count += 1
            live.steps = steps
        _set_current(context)
        return live

    def finished(self, id: int, outcome: int, error: BaseException | None) -> None:
        """Make current what was before, where nobody else has."""
        try:
            live = self.open.pop(id, None)
            if live is None:
                return
            live.end_ns = now_ns()
            live.outcome = outcome
            if error is not None and live.is_sampled:
                live.error = describe_error(error)
            self._leave(id, live)
            if _get_current() is live.context:
                # An empty context is false, so no `or`.
                _set_current(live.around if live.restored is None else live.restored)
            if live.is_sampled:
                self.ended[id] = live
        except Exception as failure:
            self._fail(failure)

    def suspended(self, id: int) -> None:
        """A coroutine that another one drives, or a generator, has that one go on: with its own context."""
        try:
            live = self.driven.get(id)
            if live is not None and live.restored is not None and _get_current() is live.context:
                live.is_away = True
                _set_current(live.restored)
        except Exception as error:
            self._fail(error)

    def resumed(self, id: int) -> None:
        """It goes on itself, perhaps driven by another."""
        try:
            live = self.driven.get(id)
            if live is not None and live.is_away:
                live.is_away = False
                live.restored = _get_current()
                _set_current(live.context)
        except Exception as error:
            self._fail(error)

    def step_started(self, task: int) -> None:
        """Make current what was in the task's last step."""
        try:
            steps = self.steps.get(task)
            if steps is not None and steps.saved is not None:
                steps.base = _get_current()
                _set_current(steps.saved)
                steps.saved = None
        except Exception as error:
            self._fail(error)

    def step_ended(self, task: int) -> None:
        """Leave the task's context as it was, where what is current is ours: it may be shared with others."""
        try:
            steps = self.steps.get(task)
            if steps is not None:
                current = _get_current()
                live = current.get(_SPAN_KEY)
                if type(live) is not LiveSpan:
                    live = current.get(_LIVE_KEY)
                if isinstance(live, LiveSpan) and live.context is current and live.task == task and live.is_open:
                    steps.saved = current
                    _set_current(steps.base)
        except Exception as error:
            self._fail(error)

    def close(self, id: int) -> None:
        """Forget a run that is over without having said so: a coroutine can be closed without an event."""
        live = self.open.pop(id, None)
        if live is not None:
            self._leave(id, live)

    def _leave(self, id: int, live: LiveSpan) -> None:
        """Forget what a span that is no more open did to its task, and to its driver."""
        live.is_open = False
        if live.is_driven:
            self.driven.pop(id, None)
        steps = live.steps
        if steps is not None:
            steps.count -= 1
            if not steps.count:
                self.steps.pop(live.task, None)

    def _describe(self, code: CodeType) -> Described:
        site = describe_code(code, traced_codes.get(id_of(code)))
        name = encodable(site.name)
        attributes = {**code_attributes(name, site.file, site.line), **own_attributes(site.attributes)}
        described = self._codes[id_of(code)] = Described(code, name, attributes)
        return described

    def _fail(self, error: Exception) -> None:
        """Of the user's sampler, or of OpenTelemetry: the program goes on, this run has no span."""
        if not self._has_failed:
            self._has_failed = True
            logger.warning("a span could not be made, and others may not be: the program goes on", exc_info=error)


def _decide(live: LiveSpan, maker: SpanReplay, described: Described, around: Context) -> None:
    parent = around.get(_SPAN_KEY)
    if isinstance(parent, Span):
        outer = parent.get_span_context()
        if outer.is_valid and maker.foreknowledge.of_child(outer.is_remote, outer.trace_flags.sampled):
            live.trace_id, live.flags, live.trace_state = outer.trace_id, outer.trace_flags, outer.trace_state
            return
    decision = maker.decide(described.name, around, described.attributes)
    context = live.span_context = decision.context
    live.trace_id, live.flags, live.trace_state = context.trace_id, context.trace_flags, context.trace_state
    live.result = decision.result
    live.is_sampled = decision.is_recording


id_of = id  # `id` is also the word for ours


def _is_root(code: CodeType) -> bool:
    """Tell whether a coroutine of this code is its task's root; else somebody drives it by hand."""
    loop = _events._get_running_loop()
    task = asyncio.current_task(loop) if loop is not None else None
    if task is None:
        return False
    return _code_of(task.get_coro()) is code


def _is_step_of_generator() -> bool:
    """Tell whether the root of the task that runs is an async generator's step, as of `create_task(g.__anext__())`."""
    loop = _events._get_running_loop()
    task = asyncio.current_task(loop) if loop is not None else None
    name = type(task.get_coro()).__name__ if task is not None else ""
    return name.startswith(("async_generator_", "_TracedGeneratorStep"))


def _is_awaited() -> bool:
    """Tell whether the program's frame that calls us stands at an await."""
    frame: FrameType | None = sys._getframe(2)
    while frame is not None and frame.f_code.co_filename.startswith(_PACKAGE):
        frame = frame.f_back
    return frame is not None and is_awaiting(frame)


def _code_of(root: Any) -> CodeType | None:
    kind = type(root)
    if kind is CoroutineType:
        code: CodeType = root.cr_code
        # OpenTelemetry's own instrumentation of asyncio has one coroutine stand around all: the one inside is meant.
        if code.co_name == _WRAPPER and code.co_filename.replace("\\", "/").endswith(_WRAPPER_FILE):
            inner = root.cr_frame.f_locals.get("coro") if root.cr_frame is not None else None
            return _code_of(inner) or code
        return code
    if kind is GeneratorType:
        return root.gi_code  # type: ignore[no-any-return]
    # No attribute of what is not ours is asked for: code of the program's would run.
    return getattr(root, "cr_code", None) if kind.__module__.startswith("asynctrace.") else None
