"""What a task waited for and what made it ready, as names and arguments of slices.

Which kind of wait one was, is known when it has ended: the argument `wait` goes out with its end. It is told by the
same rules as in the model, of a *situation*: a number, so that the native encoder can ask once for each.

=====  ============================================================================
bits   of a situation
=====  ============================================================================
0-3    what the coroutines say that the task stands in: a number of `CODES`
4-6    what ended the wait: 0 for nothing, 1 + a CAUSE_*
7      whether it waited for a task
8-9    for a job: 0 for none, 1 + a JOB_*
10     for a gather's future
=====  ============================================================================
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final, get_args

from asynctrace.events import CAUSE_NAMES, CAUSE_TASK, CAUSE_THREAD, JOB_PROCESS, Part
from asynctrace.formats.perfetto_arguments import Arguments
from asynctrace.formats.perfetto_names import Names, Place
from asynctrace.model.trace import JobKind, WaitKind
from asynctrace.model.waits import GATHERING, is_asyncio, is_look_up, kind_of_code, kind_of_wait

_LONGEST_EXPRESSION = 100

CODES: Final[tuple[WaitKind | None, ...]] = (None, *get_args(WaitKind))
LOOK_UP: Final = 15  # among the codes: a look-up of a name, whatever else is known

CODE_MASK: Final = 15
CAUSE_SHIFT: Final = 4
FOR_TASK: Final = 1 << 7
JOB_SHIFT: Final = 8
FOR_GATHER: Final = 1 << 10

# What `Waits.code` says of a site: bits 0-3 its code where it is the innermost coroutine, 4-7 elsewhere, and these.
USER_CODE: Final = 1 << 8
GATHERING_TYPE: Final = 1 << 9


class Waits:
    """Fields of track events about waits, made of one part's tables.

    Args:
        part: The tables.
        names: Its names.
        arguments: The arguments of its slices.
    """

    def __init__(self, part: Part, names: Names, arguments: Arguments) -> None:
        self._part = part
        self._names = names
        self._arguments = arguments
        self._places: dict[Place, bytes | None] = {}
        self._stacks: dict[int, tuple[bytes | None, str | None, int, bytes | None]] = {}
        self._codes: dict[int, int] = {}
        self._kinds: dict[int, bytes] = {}
        self._threads: dict[int, bytes] = {}

    def at(self, place: Place) -> bytes | None:
        """Return the fields of a wait at a place: name, place, expression; None in asyncio, or where it is unknown."""
        try:
            return self._places[place]
        except KeyError:
            found = self._places[place] = self._at(place)
            return found

    def _at(self, place: Place) -> bytes | None:
        expression, site = self._part.expressions.get(place), self._names.described(place[0])
        if expression is None or (not site.is_user and is_asyncio(site)):
            return None
        named = self._names.text(_waiting(expression.text))
        return (
            named
            + self._names.place(site, expression.line or site.line)
            + self._arguments.text("expression", expression.text)
        )

    def stack(self, key: int) -> tuple[bytes | None, str | None, int, bytes | None]:
        """Return what an await stack tells.

        Returns:
            The fields of the user's innermost await, the outermost user coroutine's name, a code, the fields of the
            libraries' innermost await.
        """
        found = self._stacks.get(key)
        if found is None:
            places = self._part.stacks.get(key, ())
            fields = library = label = None
            for place in reversed(places):
                site = self._names.labelled(place[0])
                if site.is_user:
                    fields, label = fields or self.at(place), site.name
                elif fields is None:
                    library = library or self.at(place)
            code = self.code_of_chain([site_key for site_key, _ in reversed(places)])
            found = self._stacks[key] = fields, label, code, library
        return found

    def of(self, awaited: int, type_site: int, library: bytes | None = None) -> bytes:
        """Return the fields of a wait where the user's code does not tell.

        Args:
            awaited: What is awaited, which may have a name.
            type_site: Its type, or 0.
            library: The fields of a library's await, for what has no name.
        """
        name = self._names.task_names.get(awaited) if awaited else None
        if name is None and library is not None:
            return library
        if name is None and type_site:
            name = self._names.described(type_site).name
        return self._names.text("waiting" if name is None else _waiting(name))

    def code(self, key: int) -> int:
        """Return what a site says of a wait: see USER_CODE above."""
        found = self._codes.get(key)
        if found is None:
            site = self._names.described(key)
            innermost = LOOK_UP if is_look_up(site) else CODES.index(kind_of_code(site, True))
            found = innermost | CODES.index(kind_of_code(site, False)) << 4
            found |= (USER_CODE if site.is_user else 0) | (GATHERING_TYPE if site.name == GATHERING else 0)
            self._codes[key] = found
        return found

    def code_of_chain(self, sites: Iterable[int]) -> int:
        """Return the code of the coroutines that a task stands in, the innermost first."""
        code = 0
        for index, site in enumerate(sites):
            about = self.code(site)
            if about & USER_CODE:
                break
            here = about >> 4 & CODE_MASK if index else about & CODE_MASK
            if here == LOOK_UP:
                return LOOK_UP
            code = here or code
        return code

    def kind(self, situation: int) -> bytes:
        """Return the field that says which kind of wait it was."""
        found = self._kinds.get(situation)
        if found is None:
            found = self._kinds[situation] = self._arguments.text("wait", _kind(situation))
        return found

    def cause(self, kind: int, site: int) -> bytes:
        """Return the fields that say what made a task ready: the kind of cause, and the code that did it."""
        fields = self._arguments.text("cause", CAUSE_NAMES.get(kind, "unknown"))
        code = self._part.sites.get(site)
        return fields if code is None or not code.name else fields + self._arguments.text("code", code.name)

    def cause_task(self, waker: int, root: int) -> bytes:
        """Return the fields that say which task made another ready; `root` is its root coroutine's site or 0."""
        return self.cause(CAUSE_TASK, 0) + self._arguments.text("waker", self._names.task(waker, root))

    def cause_thread(self, thread: int) -> bytes:
        """Return the fields that say which thread made a task ready."""
        found = self._threads.get(thread)
        if found is None:
            info = self._part.threads.get(thread)
            found = self.cause(CAUSE_THREAD, 0)
            if info is not None:
                found += self._arguments.text("thread", info.name)
            self._threads[thread] = found
        return found


def names_and_waits(part: Part, send: Callable[[bytes], None]) -> tuple[Names, Waits]:
    """Return both for one part; `send` is called with interned data, to go out before the event that uses them."""
    arguments = Arguments(send)
    names = Names(part, arguments, send)
    return names, Waits(part, names, arguments)


def _kind(situation: int) -> WaitKind:
    code = situation & CODE_MASK
    if code == LOOK_UP:
        return "io"
    cause = situation >> CAUSE_SHIFT & 7
    job = situation >> JOB_SHIFT & 3
    job_kind: JobKind | None = None
    if job:
        job_kind = "process" if job - 1 == JOB_PROCESS else "thread"
    return kind_of_wait(
        CODES[code],
        CAUSE_NAMES.get(cause - 1, "unknown") if cause else None,  # type: ignore[arg-type]  # the table holds them
        bool(situation & FOR_TASK),
        job_kind,
        bool(situation & FOR_GATHER),
    )


def _waiting(text: str) -> str:
    shown = " ".join(text.removeprefix("await ").split())
    if len(shown) > _LONGEST_EXPRESSION:
        shown = shown[: _LONGEST_EXPRESSION - 1] + "…"
    return f"waiting {shown}"
