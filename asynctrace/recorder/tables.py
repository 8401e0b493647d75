"""What events name by number: code, texts, await stacks, threads, and the names of tasks.

Looking something up or adding it is one atomic step of a dict, for a signal's handler or another thread can get in
between. Nothing is kept for ever: `sweep` drops what no event names any more.
"""

from __future__ import annotations

import itertools
import weakref
from types import CodeType

from asynctrace.events import Site, ThreadInfo
from asynctrace.recorder.places import describe_code

Places = tuple[tuple[int, int], ...]  # (site, offset) of each coroutine, outermost first

_Attributes = tuple[tuple[str, "str | int | float | bool"], ...]

# What @traced said of a function: code -> (name, attributes). By address, for code objects compare by content; the
# code is kept alive beside it, so that the address stays its own.
traced_codes: dict[int, tuple[CodeType, str | None, _Attributes]] = {}


class Tables:
    """The tables of one process's recorder."""

    def __init__(self) -> None:
        self.names: dict[int, str | int] = {}  # task -> its name, or the number that asyncio has named it by
        self.codes: dict[int, tuple[int, CodeType]] = {}  # address -> (site, the code, kept so that it stays)
        self._texts: dict[str, int] = {}
        self._stacks: dict[Places, int] = {}
        self._threads: dict[int, tuple[weakref.ref[object], ThreadInfo]] = {}  # id -> (its state, what we know)
        self._new_number = itertools.count(1).__next__
        self._new_thread = itertools.count(1).__next__
        self._meanings: dict[int, CodeType | str | Places] = {}  # number -> what it stands for
        self._pinned: set[int] = set()
        self._unused: set[int] = set()  # what the last sweep took out of the look-ups, and what an event may still name

    def site(self, code: CodeType) -> int:
        """Return the site of a code object."""
        found = self.codes.get(id(code))
        if found is None:
            found = self._new_number(), code
            self._meanings[found[0]] = code
            self.codes[id(code)] = found
        return found[0]

    def pinned_site(self, code: CodeType) -> int:
        """Return the site of a code object, for someone who keeps it."""
        number = self.site(code)
        self._pinned.add(number)
        return number

    def text(self, text: str) -> int:
        """Return the site of a plain text: an exception's type, a primitive, a mark."""
        found = self._texts.get(text)
        if found is None:
            found = self._new_number()
            self._meanings[found] = text
            self._texts[text] = found
        return found

    def stack(self, places: Places) -> int:
        """Return the key of an await stack."""
        found = self._stacks.get(places)
        if found is None:
            found = self._new_number()
            self._meanings[found] = places
            self._stacks[places] = found
        return found

    def add_thread(self, state: object, info: ThreadInfo) -> int:
        """Return a new thread's id; it is known at least as long as its `state` lives."""
        number = self._new_thread()
        self._threads[number] = weakref.ref(state), info
        return number

    @property
    def threads(self) -> dict[int, ThreadInfo]:
        """The threads that are alive or that an event may name."""
        return {number: info for number, (_, info) in self._threads.copy().items()}

    def name(self, task: int) -> str | None:
        """Return a task's name, if it has been read."""
        name = self.names.get(task)
        return f"Task-{name}" if isinstance(name, int) else name

    def copy(self) -> Tables:
        """Return the tables as they are now."""
        copied = Tables()
        copied.names.update(self.names.copy())
        copied._threads = self._threads.copy()
        copied._meanings = self._meanings.copy()
        return copied

    def meaning(self, number: int) -> CodeType | str | Places | None:
        """Return what a number stands for, None when that has been forgotten."""
        return self._meanings.get(number)

    def described(self, number: int) -> Site | None:
        """Return the Site with a number, None when there is none."""
        meaning = self._meanings.get(number)
        if isinstance(meaning, CodeType):
            return describe_code(meaning, traced_codes.get(id(meaning)))
        return Site(name=meaning) if isinstance(meaning, str) else None

    def __len__(self) -> int:
        return len(self._meanings) + len(self._threads)

    def sweep(self, numbers: set[int], threads: set[int]) -> None:
        """Forget what no event names.

        A hook may have looked a number up just before, and append its event just after: so what is found unused goes
        from the look-ups at once, but stands for what it stood for until the next sweep.

        Args:
            numbers: All sites and keys of stacks that an event names.
            threads: All threads that an event names.
        """
        for number in list(numbers):
            meaning = self._meanings.get(number)
            if isinstance(meaning, tuple):
                numbers.update(site for site, _ in meaning)
        numbers |= self._pinned
        for number in self._unused - numbers:
            self._meanings.pop(number, None)
        self._unused = self._meanings.copy().keys() - numbers
        for number in self._unused:
            meaning = self._meanings[number]
            if isinstance(meaning, CodeType):
                if self.codes.get(id(meaning), (0,))[0] == number:
                    del self.codes[id(meaning)]
            elif isinstance(meaning, str):
                self._texts.pop(meaning, None)
            else:
                self._stacks.pop(meaning, None)
        for number, (state, _) in self._threads.copy().items():
            if state() is None and number not in threads:
                del self._threads[number]
