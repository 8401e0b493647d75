"""Tracebacks as they are without us."""

from __future__ import annotations


def drop_our_frame(error: BaseException, count: int = 1) -> None:
    """Take the frame of the function that caught `error` off its traceback; a bare `raise` after this adds none.

    Args:
        error: What was caught.
        count: How many of the outermost frames are ours.
    """
    for _ in range(count):
        traceback = error.__traceback__
        if traceback is not None:
            # Not by assignment: an exception class may forbid that (a frozen dataclass).
            BaseException.with_traceback(error, traceback.tb_next)
