"""What a thread, a job or a process really runs: the user's function inside partials, methods and contexts.

Everything is told by exact types: no object of the user's is asked.
"""

from __future__ import annotations

import functools
from contextvars import Context
from types import BuiltinFunctionType, CodeType, FunctionType, MethodType
from typing import Any

from asynctrace.recorder import Recorder
from asynctrace.recorder.places import is_user_file

_DEPTH = 20  # wrappings to look through
# Functions of the standard library that run the function they are given on a batch: (code's name, its file's end).
_BATCHES = {"_process_chunk": "process.py", "mapstar": "pool.py", "starmapstar": "pool.py"}
_stand_ins: dict[type, str] = {}  # type of an object of ours -> its attribute that holds what it stands for
_wrapper_codes: dict[int, CodeType] = {}  # of ours, by address: codes compare by content


def note_wrapper(code: CodeType) -> None:
    """Remember the code of a wrapper of ours: what it wraps is what runs."""
    _wrapper_codes[id(code)] = code


def note_stand_in(kind: type, attribute: str) -> None:
    """Remember a type of ours whose objects stand for a function."""
    _stand_ins[kind] = attribute


def innermost(target: Any, args: tuple[Any, ...] = ()) -> tuple[Any, bool]:
    """Return the function that a call of `target` with `args` runs: what partials, contexts and methods wrap.

    Also tells whether that is a batch: several runs of the function, or none.
    """
    is_batch = False
    for _ in range(_DEPTH):
        kind = type(target)
        if kind in _stand_ins:
            target = getattr(target, _stand_ins[kind])
        elif kind is functools.partial:
            target, args = target.func, (*target.args, *args)
        elif kind is MethodType:
            target = target.__func__
        elif kind is BuiltinFunctionType:
            # `to_thread` submits partial(context.run, function, …).
            if type(target.__self__) is not Context or target.__name__ != "run" or not args:
                break
            target, args = args[0], args[1:]
        elif kind is FunctionType:
            code = target.__code__
            end = _BATCHES.get(code.co_name)
            if end is not None and args and code.co_filename.endswith(end) and not is_user_file(code.co_filename):
                # A pool's batch: mapstar((function, arguments)), _process_chunk(function, arguments).
                given = args[0] if end == "pool.py" else args
                if type(given) is not tuple or not given:
                    break
                target, *batches = given
                is_batch = not (len(batches) == 1 and type(batches[0]) in (tuple, list) and len(batches[0]) == 1)
                args = ()
            elif id(code) in _wrapper_codes:
                target = vars(target).get("__wrapped__")
            else:
                break
        else:
            break
    return target, is_batch


def code_of(function: Any) -> CodeType | None:
    """Return the Python code that a call of this (innermost) function runs first; None where there is none."""
    kind = type(function)
    if kind is FunctionType:
        return function.__code__  # type: ignore[no-any-return]
    if kind is BuiltinFunctionType or issubclass(kind, type):
        return None
    for base in kind.__mro__:
        call = base.__dict__.get("__call__")
        if call is not None:
            return call.__code__ if type(call) is FunctionType else None
    return None


def site_of(recorder: Recorder, function: Any, code: CodeType | None) -> int:
    """Return the site that names a function: its code's, else the text of its name."""
    if code is not None:
        return recorder.site(code)
    kind = type(function)
    named = function if kind is BuiltinFunctionType or issubclass(kind, type) else kind
    module, name = named.__module__, named.__qualname__
    if kind is BuiltinFunctionType and type(module) is not str:  # a method of an object: list.append
        module, name = "", f"{type(function.__self__).__name__}.{function.__name__}"
    is_plain = type(module) is not str or module in ("", "builtins")
    return recorder.text(str(name) if is_plain else f"{module}.{name}")
