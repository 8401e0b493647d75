"""@traced: name a coroutine or a plain function, give it attributes, and have it recorded."""

from __future__ import annotations

import inspect
import sys
import weakref
from collections.abc import Callable, Mapping
from types import FunctionType
from typing import Any, TypeVar, overload

from asynctrace import stream
from asynctrace.recorder.reference import traced_codes
from asynctrace.stream import CurrentFailures, check_failure, current_recorder

F = TypeVar("F", bound=Callable[..., Any])

_Attribute = str | int | float | bool

_REFUSAL = "traced() takes an async def, an async generator or a def, not {}"
_failures = CurrentFailures()
_wrappers: weakref.WeakSet[Any] = weakref.WeakSet()  # those that traced() made, before 3.12
# Not sys.version_info itself: mypy would take what follows for unreachable.
_HAS_MONITORING = hasattr(sys, "monitoring")


@overload
def traced(function: F, /) -> F: ...


@overload
def traced(*, name: str | None = None, attributes: Mapping[str, _Attribute] | None = None) -> Callable[[F], F]: ...


def traced(
    function: Any = None, /, *, name: str | None = None, attributes: Mapping[str, _Attribute] | None = None
) -> Any:
    """Record each call of an `async def`, an async generator or a plain `def`, under its name.

    On CPython 3.12 and later the function comes back as it is. On 3.11 it is wrapped; the wrapper has its name,
    signature and kind, and while nothing is recorded it only calls.

    Args:
        function: The function; also a classmethod or staticmethod.
        name: What to call it in charts instead of its qualified name.
        attributes: Plain values that go with each of its calls. Argument values are never recorded.

    Raises:
        TypeError: For what is not a function (a class, a generator function, a builtin), or an attribute whose value
            is not a str, int, float or bool.

    Example:
        >>> @asynctrace.traced(name="fetch", attributes={"tier": "gold"})
        ... async def fetch_page(url): ...
    """
    checked = _check_attributes(attributes)
    if function is None:
        return lambda given: _trace(given, name, checked)
    return _trace(function, name, checked)


def _check_attributes(attributes: Mapping[str, _Attribute] | None) -> tuple[tuple[str, _Attribute], ...]:
    for key, value in (attributes or {}).items():
        if not isinstance(value, str | int | float | bool):
            raise TypeError(f"attribute {key!r} is a {type(value).__name__}: use a str, int, float or bool")
    return tuple((attributes or {}).items())


def _trace(function: Any, name: str | None, attributes: tuple[tuple[str, _Attribute], ...]) -> Any:
    if isinstance(function, classmethod | staticmethod):
        inner = _trace(function.__func__, name, attributes)
        return function if inner is function.__func__ else type(function)(inner)
    # Under another decorator's wrapper lies the user's function; the wrapper's code belongs to all that it wraps.
    target = inspect.unwrap(function) if callable(function) else function
    if not isinstance(target, FunctionType):
        raise TypeError(_REFUSAL.format(_describe(function)))
    if inspect.isgeneratorfunction(target) and not target.__code__.co_flags & inspect.CO_ITERABLE_COROUTINE:
        raise TypeError(_REFUSAL.format(f"the generator {_describe(function)}"))
    code = target.__code__
    traced_codes[id(code)] = (code, name, attributes)
    if _HAS_MONITORING:
        running = stream.current
        if running is not None:
            running.guard(running.ask_again)
        return function
    if _is_wrapped(function):
        return function
    from asynctrace.probes.calls import trace_function
    from asynctrace.probes.wrapping import wrap_coroutine_function

    wrapper: Any
    if inspect.iscoroutinefunction(target) or inspect.isasyncgenfunction(target):
        wrapper = wrap_coroutine_function(function, current_recorder, _failures)
    else:
        wrapper = trace_function(function, current_recorder, check_failure)
    _wrappers.add(wrapper)
    return wrapper


def _is_wrapped(function: Any) -> bool:
    """Tell whether a wrapper of ours is among those around the user's function: it records each call once."""
    while isinstance(function, FunctionType):
        if function in _wrappers:
            return True
        function = getattr(function, "__wrapped__", None)
    return False


def _describe(thing: Any) -> str:
    return getattr(thing, "__qualname__", None) or f"a {type(thing).__name__}"
