"""Files that take their place only when they are complete."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from asynctrace.errors import AsynctraceError


@contextmanager
def replacing(target: Path) -> Iterator[BinaryIO]:
    """Give a file to write, which takes its place at `target` when it is complete; else what was there stays.

    Raises:
        AsynctraceError: If it cannot be written.
    """
    name = target  # as it was given
    if target.is_symlink():
        target = target.resolve()  # the link stays, what it points to is replaced
    # Beside the target, for a file can only take another's place on the same disk.
    temporary = target.with_name(f".{target.name[:100]}.{os.urandom(4).hex()}")
    try:
        with temporary.open("xb") as file:
            yield file
        if target.exists():
            temporary.chmod(target.stat().st_mode & 0o7777)
        temporary.replace(target)
    except BaseException as error:
        with suppress(OSError):
            temporary.unlink()
        if isinstance(error, OSError):
            raise AsynctraceError(f"{name} cannot be written: {error.strerror}") from error
        raise
