"""Attributes of an object's own are set and read past its type, and without its `__dict__`."""

from __future__ import annotations

import gc
from typing import Any

import pytest

from asynctrace.probes.attributes import own, remove_own, set_own


class Plain:
    def __init__(self) -> None:
        self.number = 1

    def method(self) -> str:
        return "the type's"


class Guarded(Plain):
    def __setattr__(self, name: str, value: Any) -> None:
        if name == "method":
            raise AssertionError("asked")
        super().__setattr__(name, value)

    def __delattr__(self, name: str) -> None:
        raise AssertionError("asked")

    def __getattribute__(self, name: str) -> Any:
        if name == "method":
            raise AssertionError("asked")
        return super().__getattribute__(name)


class Described(Plain):
    @property
    def method(self) -> str:  # type: ignore[override]
        raise AssertionError("asked")


class Static(Plain):
    @staticmethod
    def method() -> str:  # type: ignore[override]
        return "the type's"


class Without(Plain):
    method: Any = None


class Slotted:
    __slots__ = ("number",)

    def method(self) -> str:
        return "the type's"


def ours() -> str:
    return "ours"


@pytest.mark.parametrize("kind", [Plain, Guarded, Described, Static, Without])
def test_what_is_set_is_there_until_it_is_removed(kind: type[Plain]) -> None:
    owner = kind()

    assert own(owner, "method") is None
    set_own(owner, "method", ours)
    assert own(owner, "method") is ours
    assert vars(owner) == {"number": 1, "method": ours}
    remove_own(owner, "method")
    assert own(owner, "method") is None
    remove_own(owner, "method")
    assert vars(owner) == {"number": 1}


def test_a_bound_method_is_the_owners_own_when_it_was_put_there() -> None:
    owner = Plain()
    bound = owner.method

    assert own(owner, "method") is None
    owner.method = bound  # type: ignore[method-assign]
    assert own(owner, "method") is bound


def test_the_dict_of_the_owner_is_not_made() -> None:
    owner = Plain()
    set_own(owner, "method", ours)
    own(owner, "method")
    remove_own(owner, "method")
    set_own(owner, "method", ours)

    assert owner.method() == "ours"
    assert not any(isinstance(held, dict) for held in gc.get_referents(owner))


def test_an_object_without_attributes_says_so() -> None:
    owner = Slotted()

    assert own(owner, "method") is None
    with pytest.raises(AttributeError):
        set_own(owner, "method", ours)
    remove_own(owner, "method")
    assert owner.method() == "the type's"
