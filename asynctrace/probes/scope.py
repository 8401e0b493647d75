"""Which files a recording is about: --include and --exclude."""

from __future__ import annotations

import fnmatch
import os
from collections.abc import Sequence


class Scope:
    """Tells by a code's file whether it is in scope. It decides about each file once."""

    def __init__(self, include: Sequence[str], exclude: Sequence[str]) -> None:
        self._include = tuple(include)
        self._exclude = tuple(exclude)
        self.known: dict[str, bool] = {}

    def __call__(self, path: str) -> bool:
        found = self.known.get(path)
        if found is None:
            found = self.known[path] = _decide(path, self._include, self._exclude)
        return found


def make_scope(include: Sequence[str], exclude: Sequence[str]) -> Scope | None:
    """Return a scope; None when everything is in it.

    A pattern matches the whole path, or its end after a slash: `api/*.py` is the same as `*/api/*.py`.
    """
    return Scope(include, exclude) if include or exclude else None


def _decide(path: str, include: Sequence[str], exclude: Sequence[str]) -> bool:
    full = path if path.startswith("<") else os.path.abspath(path)
    return (not include or _matches(full, include)) and not _matches(full, exclude)


def _matches(path: str, patterns: Sequence[str]) -> bool:
    return any(
        fnmatch.fnmatch(path, pattern) or fnmatch.fnmatch(path, "*/" + pattern.removeprefix("./"))
        for pattern in patterns
    )
