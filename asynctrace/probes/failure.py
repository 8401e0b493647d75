"""What happens when a hook of ours fails: the recording stops, the program goes on."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from typing import Any

logger = logging.getLogger("asynctrace")

_PACKAGE = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep


def is_ours(error: BaseException) -> bool:
    """Tell whether our own code raised this: a signal's handler can raise in the middle of a hook."""
    traceback = error.__traceback__
    if traceback is None or not isinstance(error, Exception):
        return False
    while traceback.tb_next is not None:
        traceback = traceback.tb_next
    return traceback.tb_frame.f_code.co_filename.startswith(_PACKAGE)


class Guard:
    """Runs hooks; the first failure of one of them calls `stop`, once, and is logged."""

    __slots__ = ("_stop", "has_failed")

    def __init__(self, stop: Callable[[], None]) -> None:
        self._stop = stop
        self.has_failed = False

    def __call__(self, hook: Callable[..., Any], *args: Any) -> Any:
        """Return what the hook returns, None when it failed."""
        try:
            return hook(*args)
        except BaseException as error:
            self.check(error)
            return None

    def check(self, error: BaseException) -> None:
        """Raise what is not ours again; else stop the recording and say why."""
        if not is_ours(error):
            raise error
        if self.has_failed:
            return
        self.has_failed = True
        logger.warning("a hook failed: the recording stops here, the program goes on", exc_info=error)
        self._stop()
