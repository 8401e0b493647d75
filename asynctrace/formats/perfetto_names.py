"""The names that slices show, texts and places in the code, each given a number once; and how things ended.

A name's number is sent just before its first use, so that a file cut anywhere has the names of what it shows.
"""

import itertools
import re
from collections.abc import Callable
from dataclasses import replace

from asynctrace.events import OUTCOME_MASK, OUTCOME_NAMES, RETURNED, Part, Site
from asynctrace.formats import perfetto_layout as layout
from asynctrace.formats.perfetto_arguments import MOST_KEPT, Arguments
from asynctrace.model.tasks import short_name

_UNKNOWN = Site("?")
_NAMED_BY_ASYNCIO = re.compile(r"Task-\d+").fullmatch
_NUMBER_IN_PROCESS = (1 << 32) - 1  # of an id; the bits above are the process

Place = tuple[int, int]  # the site of the code, and the offset in it


class Names:
    """Fields of track events that name slices, made of one part's tables.

    Args:
        part: The tables.
        arguments: The arguments of its slices.
        send: Called with interned data, to go out before the event that uses them.
    """

    def __init__(self, part: Part, arguments: Arguments, send: Callable[[bytes], None]) -> None:
        self._part = part
        self._arguments = arguments
        self._send = send
        self.task_names = part.names  # task -> its name; entries may be added
        self._texts: dict[str, bytes] = {}
        self._numbers = itertools.count(1)
        self._sites: dict[int, bytes] = {}
        self._places: dict[tuple[str, str, int], bytes] = {}

    def text(self, text: str) -> bytes:
        """Return the field that names a slice with a text."""
        found = self._texts.get(text)
        if found is None:
            if len(self._texts) >= MOST_KEPT:
                self._texts.clear()
            number = next(self._numbers)
            self._send(layout.interned_name(number, layout.visible_text(text)))
            found = self._texts[text] = layout.name_field(number)
        return found

    def plain(self, key: int) -> bytes:
        """Return the field that names a slice with a site's name alone: a primitive, a mark."""
        return self.text(self.described(key).name)

    def submit(self, key: int) -> bytes:
        """Return the field that names the submission of a job."""
        return self.text(f"submit {self.described(key).name}")

    def lost(self, count: int) -> bytes:
        """Return the field that tells how many events were lost."""
        return self.text(f"lost {count} events")

    def step(self, task: int, root: int) -> bytes:
        """Return the field that names a task's own slice and its steps."""
        return self.text(self.task(task, root))

    def site(self, key: int) -> bytes:
        """Return the fields that name a slice with a piece of code, and say where that is."""
        found = self._sites.get(key)
        if found is None:
            site = self.described(key)
            found = self._sites[key] = self.text(site.name) + self.place(site, site.line)
        return found

    def place(self, site: Site, line: int) -> bytes:
        """Return the field that says where in the code something is; nothing where that is unknown."""
        if not site.file:
            return b""
        place = site.file, site.name, max(0, line)
        found = self._places.get(place)
        if found is None:
            number = len(self._places) + 1
            file, function = layout.visible_text(site.file), layout.visible_text(site.name)
            self._send(layout.interned_place(number, file, function, place[2]))
            found = self._places[place] = layout.place_field(number)
        return found

    def attributes(self, key: int) -> bytes:
        """Return the fields of the attributes that the decorator gave a piece of code."""
        fields = b""
        for name, value in self.described(key).attributes:
            fields += self._arguments.value(name, value)
        return fields

    def described(self, key: int) -> Site:
        """Return a site; an unknown one is called "?"."""
        return self._part.sites.get(key, _UNKNOWN)

    def labelled(self, key: int) -> Site:
        """Return a site as it names a task: without the functions that it is defined in."""
        site = self.described(key)
        name = short_name(site.name)
        return site if name == site.name else replace(site, name=name)

    def task(self, task: int, root: int) -> str:
        """Return what a task's own slice and its steps are called: its name, with its root where asyncio named it."""
        name = self.task_names.get(task)
        if not name:
            return self.labelled(root).name if root else f"task {task & _NUMBER_IN_PROCESS}"
        return f"{self.labelled(root).name} ({name})" if root and _NAMED_BY_ASYNCIO(name) else name

    def outcome(self, flags: int, error: int) -> bytes:
        """Return the field that says how something ended; nothing when it simply returned."""
        outcome = flags & OUTCOME_MASK
        if outcome == RETURNED or outcome not in OUTCOME_NAMES:
            return b""
        name = OUTCOME_NAMES[outcome]
        return self._arguments.text("outcome", f"{name} {self.described(error).name}" if error else name)
