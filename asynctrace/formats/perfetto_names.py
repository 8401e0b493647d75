"""The names that slices show: texts, places in the code and what a task waits for, each given a number once.

A name's number is sent just before its first use, so that a file cut anywhere has the names of what it shows.
"""

import re
from collections.abc import Callable

from asynctrace.events import OUTCOME_MASK, OUTCOME_NAMES, RETURNED, Part, Site
from asynctrace.formats import perfetto_layout as layout

_LONGEST_EXPRESSION = 100
_UNKNOWN = Site("?")
_NAMED_BY_ASYNCIO = re.compile(r"Task-\d+").fullmatch
_NUMBER_IN_PROCESS = (1 << 32) - 1  # of an id; the bits above are the process

Place = tuple[int, int]  # the site of the code, and the offset in it


class Names:
    """Fields of track events that name slices, made of one part's tables.

    Args:
        part: The tables.
        send: Called with interned data, to go out before the event that uses them.
    """

    def __init__(self, part: Part, send: Callable[[bytes], None]) -> None:
        self._part = part
        self._send = send
        self.task_names = part.names  # task -> its name; entries may be added
        self._texts: dict[str, bytes] = {}
        self._sites: dict[int, bytes] = {}
        self._waits: dict[Place, bytes | None] = {}
        self._stacks: dict[int, tuple[bytes | None, str | None]] = {}

    def text(self, text: str) -> bytes:
        """Return the field that names a slice with a text."""
        found = self._texts.get(text)
        if found is None:
            number = len(self._texts) + 1
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
            found = self.text(site.name)
            if site.file:
                place = layout.visible_text(site.file), layout.visible_text(site.name), max(0, site.line)
                number = len(self._sites) + 1
                self._send(layout.interned_place(number, *place))
                found += layout.place_field(number)
            self._sites[key] = found
        return found

    def described(self, key: int) -> Site:
        """Return a site; an unknown one is called "?"."""
        return self._part.sites.get(key, _UNKNOWN)

    def user_wait(self, place: Place) -> bytes | None:
        """Return the field that names a wait at a place of the user's own code; None elsewhere."""
        try:
            return self._waits[place]
        except KeyError:
            expression = self._part.expressions.get(place)
            is_shown = expression is not None and self.described(place[0]).is_user
            found = self.text(_waiting(expression.text)) if expression is not None and is_shown else None
            self._waits[place] = found
            return found

    def stack(self, key: int) -> tuple[bytes | None, str | None]:
        """Return, of an await stack, the field that names the wait and the name of the outermost user coroutine."""
        found = self._stacks.get(key)
        if found is None:
            places = self._part.stacks.get(key, ())
            waits = (self.user_wait(place) for place in reversed(places))
            users = (site.name for place in places if (site := self.described(place[0])).is_user)
            found = self._stacks[key] = next(filter(None, waits), None), next(users, None)
        return found

    def wait_for(self, awaited: int, type_site: int) -> bytes:
        """Return the field that names a wait by what is awaited, where the user's code does not tell."""
        name = self.task_names.get(awaited) if awaited else None
        if name is None and type_site:
            name = self.described(type_site).name
        return self.text("waiting" if name is None else _waiting(name))

    def task(self, task: int, root: int) -> str:
        """Return what a task's own slice and its steps are called: its name, with its root where asyncio named it."""
        name = self.task_names.get(task)
        if not name:
            return self.described(root).name if root else f"task {task & _NUMBER_IN_PROCESS}"
        return f"{self.described(root).name} ({name})" if root and _NAMED_BY_ASYNCIO(name) else name

    def outcome(self, flags: int, error: int) -> bytes:
        """Return the field that says how something ended; nothing when it simply returned."""
        outcome = flags & OUTCOME_MASK
        if outcome == RETURNED or outcome not in OUTCOME_NAMES:
            return b""
        name = OUTCOME_NAMES[outcome]
        return layout.text_field("outcome", f"{name} {self.described(error).name}" if error else name)


def _waiting(text: str) -> str:
    shown = " ".join(text.removeprefix("await ").split())
    if len(shown) > _LONGEST_EXPRESSION:
        shown = shown[: _LONGEST_EXPRESSION - 1] + "…"
    return f"waiting {shown}"
