"""What the interactive page says of a bar: which task, on what it waited, where, and what made it ready."""

from __future__ import annotations

from collections.abc import Mapping

from asynctrace.analysis.rows import place_of
from asynctrace.charts.looks import drawable
from asynctrace.charts.timeline_rows import named
from asynctrace.model.trace import Blocking, Cause, State, Task, Thread


class Words:
    """Texts, each once; as they can be shown."""

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}

    def __call__(self, text: str) -> int:
        return self._numbers.setdefault(text, len(self._numbers))

    @property
    def texts(self) -> list[str]:
        return [drawable(text) for text in self._numbers]


class Sayings:
    """Says what there is to know of tasks and their states; each as the number of a text in `words`."""

    def __init__(self, words: Words, labels: Mapping[Task, str]) -> None:
        self._words = words
        self._nothing = words("")
        self._labels = labels
        self._about: dict[Task, dict[str, int]] = {}

    def of_task(self, task: Task) -> dict[str, int]:
        """Return its name, and how it ended."""
        about = self._about.get(task)
        if about is None:
            ended = f"{task.outcome} ({task.error})" if task.error else task.outcome
            about = self._about[task] = {"title": self._words(self._label(task)), "ended": self._words(ended)}
        return about

    def of_state(self, state: State, following: State | None, task: Task, *, is_first: bool) -> dict[str, int]:
        """Return what is said of a state; `following` is the one after it."""
        woken = woken_state(state, following)
        return {
            **self.of_task(task),
            "awaited": self._awaited(state),
            "place": self._place(state, task),
            "cause": self._nothing if woken is None else self._words(self._cause(woken, task, is_first)),
        }

    def of_blocking(self, one: Blocking, task: Task) -> dict[str, int]:
        place = self._words(place_of(one.file or "", one.line or 0))
        return {**self.of_task(task), "awaited": self._words(one.expression or one.primitive), "place": place}

    def _awaited(self, state: State) -> int:
        wait = state.wait
        if wait is None:
            return self._nothing
        return self._words(f"{wait.expression}  ({wait.kind})" if wait.expression else wait.kind)

    def _place(self, state: State, task: Task) -> int:
        wait = state.wait
        if wait is not None and wait.file:
            return self._words(place_of(wait.file, wait.line or 0))
        return self._words(place_of(task.file, task.line))

    def _cause(self, woken: State, task: Task, is_first: bool) -> str:
        if woken.cause is not None and woken.cause.kind != "unknown":
            return self._who(woken.cause)
        creator = creator_of(woken, task, is_first=is_first)
        return f"{self._label(creator)}, which created it" if creator is not None else "unknown"

    def _who(self, cause: Cause) -> str:
        if cause.task is not None:
            return self._label(cause.task)
        if cause.thread is not None:
            return f"thread {cause.thread.name}"
        return {"io": "I/O", "timer": "a timer"}.get(cause.kind, cause.kind) + (
            f" ({cause.code})" if cause.code else ""
        )

    def _label(self, task: Task) -> str:
        return named(task, self._labels.get(task, task.label))


def woken_state(state: State, following: State | None) -> State | None:
    """Return the state that knows what made the task ready: this one, or the one after a wait; None when running."""
    return {"ready": state, "waiting": following, "running": None}[state.kind]


def creator_of(woken: State, task: Task, *, is_first: bool) -> Task | None:
    """Return who made a task ready by creating it; None where something else did, or it is not known."""
    is_known = woken.cause is not None and woken.cause.kind != "unknown"
    return task.creator if is_first and not is_known and not task.is_clipped else None


def waker_of(woken: State, task: Task, *, is_first: bool) -> Task | Thread | None:
    """Return the task or thread that made a task ready, None for what is neither, or not known."""
    if woken.cause is not None and (woken.cause.task is not None or woken.cause.thread is not None):
        return woken.cause.task or woken.cause.thread
    return creator_of(woken, task, is_first=is_first)
