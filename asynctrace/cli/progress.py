"""How far a command is, where that takes long enough to ask."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def progress(total: int, what: str, many: int) -> Iterator[Callable[[int], None] | None]:
    """Show on stderr how far it is, where that is a terminal and there is much to do: `many` or more.

    Yields:
        What is to be called with how much is done; None where nothing is shown.
    """
    if total < many or not sys.stderr.isatty():
        yield None
        return
    try:
        from rich.console import Console
        from rich.progress import Progress
    except ImportError:
        yield None
        return
    with Progress(console=Console(stderr=True), transient=True) as shown:
        task = shown.add_task(what, total=total)
        yield lambda done: shown.update(task, completed=done)
