"""The states of tasks on their tracks: what a wait is called, of which kind it was, and what made a task ready."""

from __future__ import annotations

from collections.abc import Mapping

from asynctrace import events as kinds
from asynctrace.events import Event
from asynctrace.formats.perfetto_tracks import STATE, CoroutineSlice, TaskTrack
from asynctrace.formats.perfetto_waits import (
    CAUSE_SHIFT,
    FOR_GATHER,
    FOR_TASK,
    GATHERING_TYPE,
    JOB_SHIFT,
    USER_CODE,
    Waits,
)


class TaskStates:
    """Fields of the slices of states, by what is known of the tasks and the coroutines of a part.

    Args:
        tasks: The tasks that have not ended.
        coroutines: The coroutines that have not finished.
        waits: What the part's tables say.
    """

    def __init__(self, tasks: Mapping[int, TaskTrack], coroutines: Mapping[int, CoroutineSlice], waits: Waits) -> None:
        self._tasks = tasks
        self._coroutines = coroutines
        self._waits = waits
        self._jobs: dict[int, int] = {}  # job -> its JOB_*

    def job_submitted(self, event: Event) -> None:
        """Remember of which kind a job is."""
        kind = event[6] & 7
        self._jobs[event[3]] = kind if kind in (kinds.JOB_THREAD, kinds.JOB_PROCESS) else kinds.JOB_OTHER

    def job_forgotten(self, event: Event) -> None:
        """Forget a job that nobody can wait for any more."""
        self._jobs.pop(event[3], None)

    def because(self, kind: int, cause: int, site: int) -> bytes:
        """Return the fields that say what made a task ready."""
        if kind == kinds.CAUSE_THREAD:
            return self._waits.cause_thread(cause)
        if kind != kinds.CAUSE_TASK:
            return self._waits.cause(kind, site)
        waker = self._tasks.get(cause)
        if waker is None:
            return self._waits.cause_task(cause, 0)
        if not waker.as_waker:
            waker.as_waker = self._waits.cause_task(cause, waker.root_site)
        return waker.as_waker

    def open_wait(self, track: TaskTrack, awaited: int, site: int) -> bytes:
        """Open a wait, named by the user's innermost await, else by the task awaited, else by a library's await."""
        track.is_ready = False
        stands_in = [
            coroutine for key, _, _ in reversed(track.slices) if (coroutine := self._coroutines.get(key)) is not None
        ]
        if track.wait is not None:
            named, code, library = track.wait
        else:
            named = library = None
            code = self._waits.code_of_chain(coroutine.site for coroutine in stands_in)
        for coroutine in stands_in if named is None else ():
            fields = self._waits.at(coroutine.place)
            if self._waits.code(coroutine.site) & USER_CODE:
                named = fields
            else:
                library = library or fields
            if named is not None:
                break
        # Of coroutines too deep to be shown it is not known here what they say.
        if track.wait is not None or len(track.slices) < track.deepest:
            is_gather = site and self._waits.code(site) & GATHERING_TYPE
            job = self._jobs.get(awaited)
            track.situation = (
                code
                | (FOR_TASK if awaited in self._tasks else 0)
                | (0 if job is None else 1 + job << JOB_SHIFT)
                | (FOR_GATHER if is_gather else 0)
            )
        return track.open(STATE, named if named is not None else self._waits.of(awaited, site, library))

    def end(self, track: TaskTrack, cause: int) -> bytes:
        """Return the fields that the end of a state gets: which kind of wait it was, or what is untold yet."""
        situation, track.situation = track.situation, -1
        if situation < 0:
            because, track.cause = track.cause, None
            return because or b""
        if track.awaited in self._tasks:
            situation |= FOR_TASK
        return self._waits.kind(situation | cause << CAUSE_SHIFT)
