"""What completed a future outside of any run: a transport's callback, or something unknown."""

from __future__ import annotations

import asyncio
import os
import sys
from types import CodeType

from asynctrace.events import CAUSE_IO, CAUSE_UNKNOWN
from asynctrace.recorder import Recorder
from asynctrace.recorder.reference import Cause

_ASYNCIO = os.path.dirname(asyncio.__file__) + os.sep
_IO_FILES = {_ASYNCIO + name for name in ("selector_events.py", "sslproto.py", "proactor_events.py", "streams.py")}
_LOOP_FILES = {_ASYNCIO + name for name in ("base_events.py", "runners.py")}
_DEPTH = 40  # frames to look at: a transport's callback is not far
_io_codes: dict[int, tuple[CodeType, int]] = {}  # address -> (the code, kept so that it stays; 1 I/O, 2 the loop)


def completed_from(recorder: Recorder, depth: int = 2) -> Cause:
    """Return the cause of a wake outside of any run: the code that completed the future, and whether that was I/O.

    `depth` frames up is the Python code that called the shim: two, when the shim itself calls this.
    """
    frame = sys._getframe(depth)
    site = recorder.site(frame.f_code)
    kind = CAUSE_UNKNOWN
    for _ in range(_DEPTH):
        code = frame.f_code
        known = _io_codes.get(id(code))
        if known is None:
            known = _io_codes[id(code)] = code, class_of(code)
        if known[1] == 1:
            kind = CAUSE_IO
        if known[1]:
            break
        following = frame.f_back
        if following is None:
            break
        frame = following
    return kind, 0, site, 0


def class_of(code: CodeType) -> int:
    if code.co_filename in _IO_FILES:
        return 1
    if code.co_filename == _ASYNCIO + "unix_events.py" and "PipeTransport" in code.co_qualname:
        return 1
    return 2 if code.co_filename in _LOOP_FILES else 0
