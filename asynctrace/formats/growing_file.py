"""A file that only grows, and takes its place among others when it is whole enough."""

from __future__ import annotations

import os
import re
import stat
from contextlib import suppress
from errno import EINVAL, ESTALE
from pathlib import Path

_BLOCK = 1 << 20
_FLAGS = os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)  # Python adds O_CLOEXEC


class GrowingFile:
    """A new file beside `target`, hidden until `take_place`.

    Raises:
        OSError: Here, and of every method but `close` and `discard`: what the system says.
    """

    def __init__(self, target: Path) -> None:
        self._target = target
        self._path = target.with_name(f".{target.name[:100]}.{os.urandom(4).hex()}.new")
        self._fd = os.open(self._path, _FLAGS, 0o666)
        self.size = 0

    def write(self, content: bytes) -> None:
        """Append; the bytes have reached the system when this returns."""
        written = os.write(self._fd, content)
        while written < len(content):
            self.size += written
            content = content[written:]
            written = os.write(self._fd, content)
        self.size += written

    def copy(self, other: GrowingFile, start: int, end: int) -> None:
        """Append a range of another file, in blocks: other threads can run."""
        while start < end:
            block = os.pread(other._fd, min(_BLOCK, end - start), start)
            if not block:
                raise OSError(EINVAL, "somebody has cut it", str(self._target))
            self.write(block)
            start += len(block)

    def cut(self, size: int) -> None:
        """Take the end off again, as far as the system lets us."""
        with suppress(OSError):
            os.ftruncate(self._fd, size)
            os.lseek(self._fd, size, os.SEEK_SET)
            self.size = size

    def check_place(self, earlier: GrowingFile | None = None) -> None:
        """Raise an OSError if this file must not take its place: there is something else than `earlier`."""
        try:
            found = self._target.stat()
        except FileNotFoundError:
            return  # moved away or deleted
        if earlier is None:
            if not stat.S_ISREG(found.st_mode):
                raise OSError(EINVAL, "it is no plain file", str(self._target))
        elif not os.path.samestat(found, os.fstat(earlier._fd)):
            raise OSError(ESTALE, "another file has taken its place", str(self._target))

    def why_displaced(self) -> str:
        """Return why what is at `target` now is not this file, "" when it is."""
        try:
            is_there = os.path.samestat(self._target.stat(), os.fstat(self._fd))
        except OSError:
            return "it was removed while the program ran"
        return "" if is_there else "another file has taken its place"

    def take_place(self) -> None:
        """Become the file at `target`, with the permissions of the one that is there."""
        with suppress(FileNotFoundError):
            self._path.chmod(self._target.stat().st_mode & 0o7777)
        self._path.replace(self._target)

    def discard(self) -> None:
        """Close the file, and remove it if it has not taken its place."""
        self.close()
        with suppress(OSError):
            self._path.unlink()

    def close(self) -> None:
        """Close the file; it stays as it is."""
        with suppress(OSError):
            os.close(self._fd)


def remove_remains(target: Path) -> None:
    """Remove what programs that were killed left beside a target."""
    ours = re.compile(rf"\.{re.escape(target.name[:100])}\.[0-9a-f]{{8}}\.new")
    with suppress(OSError):
        for entry in os.scandir(target.parent):
            if ours.fullmatch(entry.name) and entry.is_file(follow_symlinks=False):
                os.unlink(entry)
