"""Save a recording when SIGTERM ends the process: servers shut down on it, then send it to themselves again."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable


def save_on_sigterm(save: Callable[[], None]) -> None:
    """Call `save` before SIGTERM ends the process. A program that handles SIGTERM itself keeps its own handler."""
    if threading.current_thread() is not threading.main_thread():
        return
    if signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:
        return

    def save_and_end(number: int, _: object) -> None:
        save()
        signal.signal(number, signal.SIG_DFL)
        signal.raise_signal(number)

    def forget_in_child() -> None:
        # A handler in Python waits for the interpreter, which a worker that is blocked on a lock does not reach: a
        # pool that terminates its workers would wait for ever.
        if signal.getsignal(signal.SIGTERM) is save_and_end:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)

    signal.signal(signal.SIGTERM, save_and_end)
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=forget_in_child)
