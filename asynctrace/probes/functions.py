"""Plain functions: those of a script without a decorator, and the decorated ones where `sys.monitoring` reports them."""

from __future__ import annotations

from collections.abc import Callable
from types import CodeType, FrameType

from asynctrace.probes.failure import Guard
from asynctrace.recorder import Recorder


class FunctionProbe:
    """Records calls of plain functions.

    On 3.12+ the monitoring probe calls `started` and `finished`; on 3.11 `install` sets a profile function.

    Args:
        recorder: Where the calls go; the attribute is None after `remove` and may be set (`restart`) in a forked child.
        guard: What a failing hook is told to.
        functions: Whether a script's own undecorated functions are recorded.
        in_scope: Tells by a file's path whether its functions are in scope (--include, --exclude); None: all are.
    """

    def __init__(
        self, recorder: Recorder, guard: Guard, functions: bool, in_scope: Callable[[str], bool] | None = None
    ) -> None: ...

    def wants(self, code: CodeType) -> bool:
        """Tell whether calls of this code are recorded (as of now: one that was dropped is not)."""
        return False

    def started(self, code: CodeType, frame: FrameType) -> bool:
        """Record that a call starts; return whether further starts of this code are wanted (else: DISABLE)."""
        return False

    def finished(self, code: CodeType, frame: FrameType, error: BaseException | None = None) -> bool:
        """Record that a call ends; return whether further ends of this code are wanted (else: DISABLE)."""
        return False

    def restart(self, recorder: Recorder) -> None:
        """Go on in a forked child with its own recorder: the calls open there are the parent's."""

    def install(self) -> None:
        """On 3.11 set the profile functions, unless another profiler runs. On 3.12+ nothing."""

    def remove(self) -> None:
        """Record no more; take the profile functions out."""
