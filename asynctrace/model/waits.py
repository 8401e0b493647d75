"""What a task waited for: told by what ended the wait, then by the coroutines that it stood in, then by the future."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from asynctrace.events import Expression, Part, Site
from asynctrace.model.trace import CauseKind, JobKind, WaitKind

# (end of the file's path, name of the function or "Class." or "" for the whole file) -> kind.
# A library's coroutine that awaits a bare future says by its name what it waits for.
_KINDS: Final[tuple[tuple[str, str, WaitKind], ...]] = (
    ("asyncio/tasks.py", "sleep", "sleep"),
    ("asyncio/tasks.py", "wait", "task"),
    ("asyncio/tasks.py", "_wait", "task"),
    ("asyncio/tasks.py", "_AsCompletedIterator.", "task"),
    ("asyncio/tasks.py", "as_completed", "task"),
    ("asyncio/tasks.py", "_cancel_and_wait", "task"),
    ("asyncio/taskgroups.py", "", "task"),
    ("asyncio/queues.py", "", "queue"),
    ("asyncio/locks.py", "Event.", "event"),
    ("asyncio/locks.py", "", "lock"),
    ("asyncio/streams.py", "", "io"),
    ("asyncio/selector_events.py", "", "io"),
    ("asyncio/proactor_events.py", "", "io"),
    ("asyncio/sslproto.py", "", "io"),
    ("asyncio/subprocess.py", "", "process"),
    ("asyncio/base_subprocess.py", "", "process"),
    ("asyncio/unix_events.py", "_UnixSelectorEventLoop._make_subprocess_transport", "process"),
    ("asyncio/unix_events.py", "", "io"),
    ("asyncio/base_events.py", "BaseEventLoop.getaddrinfo", "io"),
    ("asyncio/base_events.py", "BaseEventLoop.getnameinfo", "io"),
    ("asyncio/base_events.py", "BaseEventLoop.sock_", "io"),
    ("asyncio/base_events.py", "BaseEventLoop.create_", "io"),
    ("asyncio/base_events.py", "BaseEventLoop.connect_", "io"),
    ("asyncio/base_events.py", "BaseEventLoop.subprocess_", "process"),
    ("asyncio/base_events.py", "BaseEventLoop.shutdown_default_executor", "thread"),
    ("asyncio/base_events.py", "Server.", "io"),
    ("aiohttp/streams.py", "", "io"),
    ("aiohttp/base_protocol.py", "", "io"),
    ("aiohttp/connector.py", "BaseConnector._wait_for_available_connection", "lock"),
    ("aiohttp/connector.py", "TCPConnector._resolve_host", "io"),
    ("anyio/_core/_sockets.py", "connect_", "io"),  # an event that the connecting tasks set
    ("anyio/_backends/_asyncio.py", "TaskGroup.", "task"),
    ("anyio/_backends/_asyncio.py", "SocketStream.", "io"),
)
_NAMES: Final = frozenset({"getaddrinfo", "getnameinfo"})
GATHERING: Final = "_GatheringFuture"  # the type of what `gather` returns


def kind_of_code(site: Site, is_innermost: bool) -> WaitKind | None:
    """Return what standing in this library coroutine means, None where its name says nothing."""
    if site.is_user or not site.file:
        return None
    path = site.file.replace("\\", "/")
    if not path.endswith(_FILES):
        return None
    for file, name, kind in _KINDS:
        if path.endswith("/" + file) and (
            not name or site.name == name or (name[-1] in "._" and site.name.startswith(name))
        ):
            return kind
    if path.endswith("/asyncio/tasks.py"):
        if "_wait_for_one" in site.name:
            return "task"
        if site.name == "wait_for" and is_innermost:
            return "task"  # before 3.12 it wraps what it awaits in a task
    return None


_ASYNCIO: Final = re.compile(r"[/\\]asyncio[/\\]\w+\.py$")
_FILES = tuple({"/" + file for file, _, _ in _KINDS})


def wait_kind(
    chain: Sequence[Site],
    cause: CauseKind | None,
    is_task: bool,
    job: JobKind | None,
    future_type: str,
) -> WaitKind:
    """Return the kind of a wait.

    Args:
        chain: The coroutines that the task stood in, outermost first.
        cause: What ended the wait, None when it has not ended.
        is_task: Whether what is awaited is a task.
        job: The kind of the job awaited, when it is one.
        future_type: The type's name of the awaited object, "" for a plain future.
    """
    if chain and is_look_up(chain[-1]):
        return "io"
    return kind_of_wait(_kind_of_chain(chain), cause, is_task, job, future_type == GATHERING)


def is_look_up(innermost: Site) -> bool:
    """Return whether the innermost coroutine looks up a name: that is I/O, whoever does it."""
    return not innermost.is_user and innermost.name.rsplit(".", 1)[-1] in _NAMES


def kind_of_wait(
    by_code: WaitKind | None, cause: CauseKind | None, is_task: bool, job: JobKind | None, is_gather: bool
) -> WaitKind:
    """Return the kind of a wait of which it is known what the coroutines say that the task stood in."""
    if job is not None:
        return "process" if job == "process" else "thread"
    if cause == "io" and by_code != "process":
        return "io"
    if cause == "thread" and by_code not in ("process", "io"):
        return "thread"
    if by_code is not None:
        return by_code
    if is_task:
        return "task"
    if is_gather:
        return "gather"
    return "timer" if cause == "timer" else "future"


def _kind_of_chain(chain: Sequence[Site]) -> WaitKind | None:
    """Ask the library's coroutines below the user's innermost one, the outermost of them first.

    `Queue.join` stands in `Event.wait`, but what it is, is a wait on a queue.
    """
    begin = max((index + 1 for index, site in enumerate(chain) if site.is_user), default=0)
    last = len(chain) - 1
    for index in range(begin, len(chain)):
        kind = kind_of_code(chain[index], index == last)
        if kind is not None:
            return kind
    return None


def is_asyncio(site: Site) -> bool:
    """Return whether code is of the package asyncio."""
    return _ASYNCIO.search(site.file) is not None


def user_place(part: Part, chain: Sequence[tuple[int, int]]) -> tuple[str | None, str | None, int | None]:
    """Return (expression, file, line) of the innermost of the user's coroutines, else of that which called asyncio.

    In asyncio itself stands how it waits: `await future` of any sleep.
    """
    place = None
    best = -1
    for site, offset in reversed(chain):
        described = part.sites.get(site)
        if described is None:
            continue
        rank = 2 if described.is_user else 0 if is_asyncio(described) else 1
        if rank > best:
            best, place = rank, (described, part.expressions.get((site, offset)))
        if described.is_user:
            break
    if place is None:
        return None, None, None
    described, expression = place
    return _text(expression), described.file, expression.line if expression is not None else None


def _text(expression: Expression | None) -> str | None:
    return expression.text or None if expression is not None else None
