"""Plain functions: those of a script without a decorator, and the decorated ones where `sys.monitoring` reports them.

On 3.12+ the monitoring probe calls `started` and `finished`; on 3.11 a profile function does, see `profiling.py`.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from types import CodeType, FrameType

from asynctrace import clock
from asynctrace.events import CALL_FUNCTION, CALL_TRACED, FUNCTION_DROPPED, RAISED, RETURNED
from asynctrace.probes.calls import OpenCall, close_call, forget_calls, is_target_of, open_call, tell_end
from asynctrace.probes.failure import Guard
from asynctrace.probes.profiling import NEEDS_PROFILING, Profiling
from asynctrace.recorder import Recorder, ThreadState
from asynctrace.recorder.places import is_user_file
from asynctrace.recorder.reference import traced_codes

MOST_CALLS = 1_000  # of one undecorated function

# Files of code that a person typed in: -c, the prompt, notebooks.

_PLAIN = inspect.CO_OPTIMIZED | inspect.CO_NEWLOCALS  # a class body or a module has neither
_NOT_PLAIN = inspect.CO_GENERATOR | inspect.CO_COROUTINE | inspect.CO_ASYNC_GENERATOR


class Function:
    """One code object that was seen, and whether its calls are recorded."""

    __slots__ = ("code", "count", "is_wanted", "kind", "site")

    def __init__(self, code: CodeType, kind: int, site: int) -> None:
        self.code = code  # kept so that its address stays its own
        self.kind = kind
        self.site = site  # 0: not recorded
        self.is_wanted = bool(site)
        self.count = 0


class FunctionProbe:
    """Records calls of plain functions.

    Args:
        recorder: Where the calls go; the attribute is None after `remove`.
        guard: What a failing hook is told to.
        functions: Whether a script's own undecorated functions are recorded.
        in_scope: Tells by a file's path whether its functions are in scope (--include, --exclude); None: all are.
    """

    def __init__(
        self, recorder: Recorder, guard: Guard, functions: bool, in_scope: Callable[[str], bool] | None = None
    ) -> None:
        self.recorder: Recorder | None = recorder
        self.guard = guard
        self.wants_any = functions  # undecorated ones, too
        self._in_scope = in_scope
        self.known: dict[int, Function] = {}  # by the code's address: codes compare by content
        self.opened: dict[int, tuple[OpenCall | None, Function]] = {}  # by the frame's address
        self._profiling = Profiling(self) if NEEDS_PROFILING and functions else None

    def wants(self, code: CodeType) -> bool:
        """Tell whether calls of this code are recorded (as of now: one that was dropped is not)."""
        return (self.known.get(id(code)) or self.meet(code)).is_wanted

    def started(self, code: CodeType, frame: FrameType) -> bool:
        """Record that a call starts; return whether further starts of this code are wanted (else: DISABLE)."""
        recorder = self.recorder
        function = self.known.get(id(code)) or self.meet(code)
        if recorder is None or not function.is_wanted:
            return False
        state = getattr(recorder.local, "state", None)
        if state is None:  # the recorder is just meeting this thread, and asks it for its name
            return True
        hooks = recorder.traced_hooks if function.kind == CALL_TRACED else None
        if is_target_of(state, code):  # a thread's target, a job: recorded as that
            self.opened[id(frame)] = None, function
            if hooks is not None:
                hooks.started(state.call, code, 0, False)
            return True
        if function.kind == CALL_FUNCTION:
            if function.count >= MOST_CALLS:
                recorder.append((clock.now_ns(), state.id, FUNCTION_DROPPED, 0, 0, function.site, 0))
                self._drop(function, state)
                return False
            function.count += 1
        call = open_call(recorder, function.kind, function.site)
        self.opened[id(frame)] = call, function
        if hooks is not None:
            hooks.started(call[2], code, 0, False)
        return True

    def finished(
        self, code: CodeType, frame: FrameType, error: BaseException | None = None, is_raised: bool = False
    ) -> bool:
        """Record that a call ends; return whether further ends of this code are wanted (else: DISABLE).

        `is_raised` tells, where the exception is not known, that there was one.
        """
        opened = self.opened.pop(id(frame), None)
        if opened is not None and opened[0] is not None:
            close_call(opened[0], error, is_raised)
        elif opened is not None and self.recorder is not None:
            tell_end(self.recorder, self.recorder.local.state.call, RAISED if error is not None else RETURNED, error)
        return (self.known.get(id(code)) or self.meet(code)).is_wanted

    def _drop(self, function: Function, state: ThreadState) -> None:
        """Record a function no more, nor the ends of its open calls: a recursion would wait long for the outermost.

        A trace leaves out all calls of a function that was dropped.
        """
        function.is_wanted = False
        mine = {frame: call for frame, (call, _) in self.opened.copy().items() if call is not None and call[1] is state}
        gone = [call for frame, call in mine.items() if self.opened[frame][1] is function]
        around = forget_calls(gone)
        for frame, call in mine.items():
            other = self.opened[frame][1]
            if other is function:
                del self.opened[frame]
            elif call[3] in around:  # what it returns to when it ends
                self.opened[frame] = (*call[:3], around[call[3]], *call[4:]), other

    def meet(self, code: CodeType) -> Function:
        """Decide about a code object that was not seen before."""
        kind = self._kind_of(code)
        recorder = self.recorder
        site = recorder.tables.pinned_site(code) if kind is not None and recorder is not None else 0
        function = Function(code, kind or 0, site)
        if recorder is not None:
            self.known[id(code)] = function
        return function

    def _kind_of(self, code: CodeType) -> int | None:
        flags = code.co_flags
        if flags & _PLAIN != _PLAIN or flags & _NOT_PLAIN:
            return None
        if id(code) in traced_codes:
            # On 3.11 the decorator's wrapper records these.
            return None if NEEDS_PROFILING else CALL_TRACED
        name = code.co_name
        if not self.wants_any or name.startswith("<") or name == "__annotate__":
            return None
        file = code.co_filename
        if not is_user_file(file) or (self._in_scope is not None and not self._in_scope(file)):
            return None
        return CALL_FUNCTION

    def restart(self, recorder: Recorder) -> None:
        """Go on in a forked child with its own recorder: the calls open there are the parent's."""
        self.recorder = recorder
        self.opened.clear()
        self.known.clear()

    def install(self) -> None:
        """On 3.11 set the profile functions, unless another profiler runs. On 3.12+ nothing."""
        if self._profiling is not None:
            self._profiling.install()

    def remove(self) -> None:
        """Record no more; take the profile functions out."""
        self.recorder = None
        if self._profiling is not None:
            self._profiling.remove()
        self.opened.clear()
