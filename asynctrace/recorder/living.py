"""What a fold keeps of each that is alive. They refer to each other by id: what has ended is not found any more."""

from __future__ import annotations

# The states of a task. UNKNOWN: it was met, and no event has told yet.
UNKNOWN = 0
READY = 1
RUNNING = 2
WAITING = 3


class TaskLife:
    """A task. `thread`: where its last step ran; `cause`: of its wake, (thread, other, site, flags) of TASK_READY."""

    __slots__ = (
        "awaited",
        "cause",
        "creator",
        "future_type",
        "is_eager",
        "kind",
        "loop",
        "root",
        "site",
        "stack",
        "thread",
    )

    def __init__(self, thread: int, creator: int, site: int, kind: int) -> None:
        self.thread = thread
        self.creator = creator
        self.site = site
        self.kind = kind
        self.loop = 0  # 0 until its first step
        self.is_eager = False
        self.cause: tuple[int, int, int, int] | None = None
        self.awaited = 0
        self.future_type = 0
        self.stack = 0
        self.root = 0  # its outermost coroutine

    def copy(self) -> TaskLife:
        """Return another one of the same content."""
        other = TaskLife(self.thread, self.creator, self.site, self.kind)
        other.loop, other.is_eager, other.cause = self.loop, self.is_eager, self.cause
        other.awaited, other.future_type, other.stack = self.awaited, self.future_type, self.stack
        other.root = self.root
        return other


class CoroutineLife:
    """A coroutine. `task`: in whose step it began. A generator at a value (`yields`) can go on as another's."""

    __slots__ = (
        "awaiter",
        "awaits",
        "driver",
        "is_generator",
        "is_moved",
        "is_suspended",
        "offset",
        "parent",
        "site",
        "task",
        "yields",
    )

    def __init__(self, site: int, awaiter: int, task: int, is_generator: bool) -> None:
        self.site = site
        self.awaiter = awaiter  # who awaited it when it began
        self.parent = awaiter  # who awaits it now
        self.awaits = 0
        self.task = self.driver = task
        self.is_generator = is_generator
        self.is_moved = False  # a generator that went on after a value
        self.is_suspended = False
        self.offset = 0
        self.yields = 0  # YIELDED or 0

    def copy(self) -> CoroutineLife:
        """Return another one of the same content."""
        other = CoroutineLife(self.site, self.awaiter, self.task, self.is_generator)
        other.parent, other.awaits, other.driver = self.parent, self.awaits, self.driver
        other.is_moved, other.is_suspended = self.is_moved, self.is_suspended
        other.offset, other.yields = self.offset, self.yields
        return other


class ThreadLife:
    """What is open on a thread: steps with the coroutines that run in them, coroutines outside of any, calls."""

    __slots__ = ("bare", "calls", "steps")

    def __init__(self) -> None:
        self.steps: list[tuple[int, list[int]]] = []
        self.bare: list[int] = []
        self.calls: list[int] = []

    def is_empty(self) -> bool:
        """Tell whether nothing is open."""
        return not (self.steps or self.bare or self.calls)

    def copy(self) -> ThreadLife:
        """Return another one of the same content."""
        other = ThreadLife()
        other.steps = [(task, running[:]) for task, running in self.steps]
        other.bare, other.calls = self.bare[:], self.calls[:]
        return other


class CallLife:
    """An open call; it does not change. `depth`: how many steps were open around it."""

    __slots__ = ("depth", "flags", "job", "site")

    def __init__(self, job: int, site: int, flags: int, depth: int) -> None:
        self.job = job
        self.site = site
        self.flags = flags
        self.depth = depth


class JobLife:
    """A job. `end`: (site, flags) of the end of its call."""

    __slots__ = ("end", "flags", "site", "task", "thread")

    def __init__(self, thread: int, task: int, site: int, flags: int) -> None:
        self.thread = thread
        self.task = task
        self.site = site
        self.flags = flags
        self.end: tuple[int, int] | None = None

    def copy(self) -> JobLife:
        """Return another one of the same content."""
        other = JobLife(self.thread, self.task, self.site, self.flags)
        other.end = self.end
        return other


class LoopLife:
    """A loop. `thread`: where its steps run, 0 until its first; `idle_thread`: where it is idle now, or 0."""

    __slots__ = ("idle_thread", "seen_by", "site", "thread")

    def __init__(self, seen_by: int, site: int, thread: int) -> None:
        self.seen_by = seen_by
        self.site = site
        self.thread = thread
        self.idle_thread = 0

    def copy(self) -> LoopLife:
        """Return another one of the same content."""
        other = LoopLife(self.seen_by, self.site, self.thread)
        other.idle_thread = self.idle_thread
        return other
