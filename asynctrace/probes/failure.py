"""What happens when a hook of ours fails: the recording stops, the program goes on."""

from __future__ import annotations

import logging
import os
import sys
import sysconfig
from collections.abc import Callable
from typing import Any, Protocol

logger = logging.getLogger("asynctrace")

_PACKAGE = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep
_STDLIB = sysconfig.get_path("stdlib") + os.sep
_SITE_PACKAGES = f"{os.sep}site-packages{os.sep}"
_MODULES = frozenset({"builtins", "asynctrace", *sys.stdlib_module_names})
# A hook is nowhere near as deep: with fewer frames it was the program that left no room on the stack.
_OWN_DEPTH = 40


def is_ours(error: BaseException) -> bool:
    """Tell whether our own code raised this, or what it called of the standard library.

    A signal's handler can raise in the middle of a hook, another thread can throw its exception into it, and a program
    can be at its recursion limit there: all of that is the program's.
    """
    if not isinstance(error, Exception) or type(error).__module__.partition(".")[0] not in _MODULES:
        return False
    traceback = error.__traceback__
    depth = 0
    while traceback is not None:
        if not _is_trusted(traceback.tb_frame.f_code.co_filename):
            return False
        depth += 1
        traceback = traceback.tb_next
    return depth > (_OWN_DEPTH if isinstance(error, RecursionError) else 0)


def _is_trusted(file: str) -> bool:
    if file.startswith((_PACKAGE, "<frozen ")):
        return True
    return file.startswith(_STDLIB) and _SITE_PACKAGES not in file


class Failures(Protocol):
    """What a failure of ours is told to: a `Guard`, or that of whatever recording runs."""

    def check(self, error: BaseException) -> None:
        """Raise what is not ours again; else stop the recording and say why."""

    def check_own(self, error: BaseException) -> None:
        """Stop the recording for an error that is ours for sure."""


class Guard:
    """Runs hooks; the first failure of one of them calls `stop`, once, and is logged."""

    __slots__ = ("_stop", "_tickets", "is_over")

    def __init__(self, stop: Callable[[], None]) -> None:
        self._stop = stop
        # The recording has ended, and a hook that another thread was in may find gone what it works on.
        self.is_over = False
        # Taken by the first failure. No lock: a signal's handler and other threads can fail in the middle of this.
        self._tickets = [True]

    @property
    def has_failed(self) -> bool:
        """Whether a hook has failed."""
        return not self._tickets

    def __call__(self, hook: Callable[..., Any], *args: Any) -> Any:
        """Return what the hook returns, None when it failed."""
        try:
            return hook(*args)
        except BaseException as error:
            self.check(error)
            return None

    def check(self, error: BaseException, is_finalizing: Callable[[], bool] = sys.is_finalizing) -> None:
        """Raise what is not ours again; else stop the recording and say why."""
        # By then the globals of modules are None, those of this one, too.
        if is_finalizing():
            return
        if not is_ours(error):
            try:
                raise error
            finally:
                del error  # this frame is in its traceback: the two would keep each other
        self.check_own(error)

    def check_own(self, error: BaseException) -> None:
        """Stop the recording for an error that is ours for sure."""
        if self.is_over or sys.is_finalizing():
            return
        try:
            self._tickets.pop()
        except IndexError:
            return
        # Logging runs the program's handlers: by then nothing of it is hooked any more.
        try:
            self._stop()
        finally:
            warn("a hook failed: the recording stops here, the program goes on", error)


def warn(text: str, error: BaseException) -> None:
    """Log a warning with a traceback. What a handler of the program's raises at that is not for the hooked code."""
    try:
        logger.warning(text, exc_info=error)
    except Exception:
        pass
