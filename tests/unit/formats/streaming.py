"""Streaming a part that is there already: batches of any size, with the tables that they need, and segments."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from asynctrace.events import LOST, Event, Part
from asynctrace.formats.perfetto_stream import StreamFile
from tests.cuts import fold_of

LARGE = 1 << 30
_TABLES = ("threads", "names", "sites", "expressions", "stacks")


class Streamed:
    """A part on its way into a file; `drops` are the bases that can be the first in the file."""

    def __init__(self, part: Part, path: Path, limit_bytes: int = LARGE) -> None:
        self.part = part
        self.done = 0  # events
        self.bases: list[Part] = []
        self._given: set[tuple[str, object]] = set()
        self.file = StreamFile(path, limit_bytes)
        self.file.begin(replace(without_tables(part), end_ns=0, cpu_ns=0, events=[]))

    def write(self, count: int) -> None:
        """Write the next events, with the entries of tables that they name."""
        events = self.part.events[self.done : self.done + count]
        self.file.write(replace(entries_of(self.part, events, self._given), events=events))
        self.done += len(events)

    def begin_segment(self, *, drop_earlier: bool = False, wall_ns: int = 0) -> None:
        """Begin a segment before the next event; `wall_ns`: how far the clock on the wall was set."""
        base = base_of(self.part, self.done)
        base = replace(base, wall_ns=base.wall_ns + wall_ns)
        self.bases.append(base)
        self.file.begin_segment(base, drop_earlier=drop_earlier)
        self._given.clear()
        entries_of(base, base.events, self._given)

    def finish(self, children: Iterable[Part] = ()) -> None:
        """Write what is left, and the end."""
        self.write(len(self.part.events))
        self.file.write(self.part_without_events())
        self.file.finish(self.part.end_ns, self.part.cpu_ns, children)

    def part_without_events(self) -> Part:
        """Return all tables: what no event names is in them too."""
        return replace(self.part, events=[])


def entries_of(part: Part, events: Sequence[Event], given: set[tuple[str, object]]) -> Part:
    """Return a part with the entries that events name and that are not given yet; now they are."""
    numbers = {number for event in events for number in event}
    tables = {}
    for table in _TABLES:
        tables[table] = {
            key: entry
            for key, entry in getattr(part, table).items()
            if (table, key) not in given and (key[0] if isinstance(key, tuple) else key) in numbers
        }
        given.update((table, key) for key in tables[table])
    return replace(part, events=[], **tables)


def without_tables(part: Part) -> Part:
    """Return a part without its tables."""
    return replace(part, threads={}, names={}, sites={}, expressions={}, stacks={})


def base_of(part: Part, count: int) -> Part:
    """Return the base after the first `count` events of a part."""
    before = part.events[:count]
    time_ns = max([part.start_ns, *(event[0] for event in before)])
    fold = fold_of(before)
    lost: Event = (time_ns, 0, LOST, 0, count, 0, 0)
    events = [lost, *fold.base(time_ns)]
    return replace(
        entries_of(part, events, set()),
        start_ns=time_ns,
        wall_ns=part.wall_ns + time_ns - part.start_ns,
        cpu_ns=part.cpu_ns // 3,
        events=events,
    )


def stream(part: Part, path: Path, batches: Sequence[int], limit_bytes: int = LARGE) -> list[Part]:
    """Write a part in batches: so many events each, 0 for a new segment. Return the bases."""
    streamed = Streamed(part, path, limit_bytes)
    for count in batches:
        if count:
            streamed.write(count)
        else:
            streamed.begin_segment()
    streamed.finish()
    return streamed.bases
