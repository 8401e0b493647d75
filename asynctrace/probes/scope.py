"""Which files a recording is about: --include and --exclude."""

from __future__ import annotations

import fnmatch
import os
from collections.abc import Callable, Sequence


def make_scope(include: Sequence[str], exclude: Sequence[str]) -> Callable[[str], bool] | None:
    """Return a function that tells by a code's file whether it is in scope; None when everything is.

    A pattern matches the whole path, or its end after a slash: `api/*.py` is the same as `*/api/*.py`.
    """
    if not include and not exclude:
        return None
    known: dict[str, bool] = {}

    def is_in_scope(path: str) -> bool:
        found = known.get(path)
        if found is None:
            found = known[path] = _decide(path, include, exclude)
        return found

    return is_in_scope


def _decide(path: str, include: Sequence[str], exclude: Sequence[str]) -> bool:
    full = path if path.startswith("<") else os.path.abspath(path)
    return (not include or _matches(full, include)) and not _matches(full, exclude)


def _matches(path: str, patterns: Sequence[str]) -> bool:
    return any(
        fnmatch.fnmatch(path, pattern) or fnmatch.fnmatch(path, "*/" + pattern.removeprefix("./"))
        for pattern in patterns
    )
