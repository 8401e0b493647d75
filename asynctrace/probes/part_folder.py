"""A bound on what the parts of children take on disk: of those that have ended the oldest go, counted."""

from __future__ import annotations

import os
from pathlib import Path

from asynctrace import clock
from asynctrace.probes.parts import count_events, files_of

_EVERY_NS = 1_000_000_000


class FolderBound:
    """Bounds one folder of parts.

    A child that runs bounds its own part; many short ones, one after the other, would fill the disk.

    Args:
        folder: Where the parts are.
        limit_bytes: What they may take.
    """

    def __init__(self, folder: str, limit_bytes: int) -> None:
        self._folder = folder
        self._limit_bytes = limit_bytes
        self._looked_ns = 0

    def drop_oldest(self, *, at_once: bool = False) -> int:
        """Drop parts until the others are within the limit; return how many events went. Looks from time to time.

        The newest stays, whatever it takes.
        """
        now_ns = clock.now_ns()
        if not at_once and now_ns - self._looked_ns < _EVERY_NS:
            return 0
        self._looked_ns = now_ns
        parts = sorted((start_ns, pid, paths) for (pid, start_ns), paths in files_of(self._folder).items())
        sizes = [sum(map(_size, paths)) for _, _, paths in parts]
        total, count = sum(sizes), 0
        for (_, pid, paths), size in zip(parts[:-1], sizes[:-1], strict=True):
            if total <= self._limit_bytes:
                break
            if _has_ended(pid):
                count += count_events(paths)
                for path in paths:
                    path.unlink()
                total -= size
        return count


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:  # its process has gone on in the next
        return 0


def _has_ended(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except OSError:
        return False
    try:  # one for which nobody has waited yet
        return Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[0] == b"Z"
    except OSError:
        return False
