"""An object's own attributes that stand in the place of its type's methods, set and read without its `__dict__`.

CPython keeps the attributes of an object in the object itself until somebody asks for its `__dict__`, or until it has
one more than the objects of its type have room for (30 names for all of them, less one for each of the first objects).
From then on it looks up each attribute and each method of that object, all of asyncio's of a loop, in a slower way.
"""

from __future__ import annotations

from types import FunctionType, MethodDescriptorType
from typing import Any

_METHODS = (FunctionType, MethodDescriptorType)  # what makes a bound method, another one each time that it is asked for


def own(owner: Any, name: str) -> Any:
    """Return what the owner has as its own, and not by its type, or None."""
    if not _is_method(owner, name):
        return vars(owner).get(name)
    one, other = object.__getattribute__(owner, name), object.__getattribute__(owner, name)
    return one if one is other else None


def set_own(owner: Any, name: str, value: Any) -> None:
    """Set an attribute of the owner's own, past what its type makes of that.

    Raises:
        AttributeError: If it can have no attributes of its own.
        TypeError: The same.
    """
    if _is_method(owner, name):
        try:
            object.__setattr__(owner, name, value)
        except TypeError:  # its type has a way of its own, written in C
            pass
        else:
            return
    vars(owner)[name] = value


def remove_own(owner: Any, name: str) -> None:
    """Remove an attribute of the owner's own, if it is still there."""
    if _is_method(owner, name):
        try:
            object.__delattr__(owner, name)
        except AttributeError:
            return
        except TypeError:
            pass
        else:
            return
    vars(owner).pop(name, None)


def inherited(owner: Any, name: str) -> Any:
    """Return what the owner's type has under that name, as it lies there, or None."""
    for kind in type(owner).__mro__:
        if name in vars(kind):
            return vars(kind)[name]
    return None


def _is_method(owner: Any, name: str) -> bool:
    return type(inherited(owner, name)) in _METHODS
