"""Which core runs: the native one, in C, or the reference, in Python. This is the one place that picks.

The native core is made when asynctrace is installed, where there is a C compiler. Each module of it does exactly what
its reference does, in less time. `ASYNCTRACE_CORE=python` or `native` forces one: a forced core that is missing is an
error, a default that is missing is told once.
"""

from __future__ import annotations

import importlib
import logging
import os
import sys
from types import ModuleType
from typing import Literal

from asynctrace.errors import UsageError

logger = logging.getLogger("asynctrace")

Core = Literal["native", "python"]

VARIABLE = "ASYNCTRACE_CORE"
RECORDER = "asynctrace.recorder._native"
HOW_TO_GET = (
    "to have it, install a C compiler and Python's headers, then asynctrace again, with"
    " pip install --force-reinstall --no-deps --no-cache-dir"
)

_has_told = False


def core() -> Core:
    """Return which core runs: "native", or "python" for the reference.

    Raises:
        UsageError: If `ASYNCTRACE_CORE` asks for one that is not there.
    """
    return "python" if native_module(RECORDER) is None else "native"


def native_module(name: str) -> ModuleType | None:
    """Return a module of the native core, None where its reference is to be used.

    Raises:
        UsageError: If `ASYNCTRACE_CORE` asks for the native core and it is not there, or for one that does not exist.
    """
    forced = os.environ.get(VARIABLE, "")
    if forced not in ("", "native", "python"):
        raise UsageError(f"{VARIABLE}={forced}: there is no such core: use native or python")
    if forced == "python":
        return None
    try:
        return importlib.import_module(name)
    except ImportError as error:
        if forced:
            raise UsageError(f"{VARIABLE}=native, but the native core cannot be used: {error}; {HOW_TO_GET}") from error
        return None


def tell_if_missing() -> None:
    """Log a warning, once, where the native core is missed: at the first recording.

    PyPy and free-threaded builds are not to have it, and `ASYNCTRACE_CORE=python` does not want it.
    """
    global _has_told
    is_wanted = sys.implementation.name == "cpython" and "t" not in getattr(sys, "abiflags", "")
    if _has_told or os.environ.get(VARIABLE) or not is_wanted:
        return
    _has_told = True
    try:
        importlib.import_module(RECORDER)
    except ImportError as error:
        how = f"; {HOW_TO_GET}" if isinstance(error, ModuleNotFoundError) else ""
        logger.warning(
            "the native core cannot be used (%s): recording costs three to five times as much without it%s", error, how
        )
