"""Events into slices: what one event opens, closes and counts in the Perfetto UI.

It goes through the events of one part once, in order, and holds only what is open. It takes any events: those of
subjects that it never saw begin (a recording's window starts later than the program) show what can be shown.
"""

from collections.abc import Callable, Iterator

from asynctrace import events as kinds
from asynctrace.events import Event
from asynctrace.formats import perfetto_layout as layout
from asynctrace.formats.perfetto_names import Names
from asynctrace.formats.perfetto_states import TaskStates
from asynctrace.formats.perfetto_thread_slices import NOTHING, Shown, ThreadSlices, no_lag
from asynctrace.formats.perfetto_tracks import (
    STATE,
    TASK,
    CoroutineSlice,
    ProcessTracks,
    TaskTrack,
    ThreadTrack,
    event_field,
)
from asynctrace.formats.perfetto_waits import Waits
from asynctrace.formats.wire import VARINTS, VARINTS_SIZE, varint

_TOLD_LAG_NS = 1_000_000  # a shorter one is told as none: every step has some


class Slices:
    """What the events of one part show as: each goes to the function in `handlers` for its kind.

    Args:
        tracks: Its tracks.
        names: Its names.
        waits: What its tasks waited for.
        new_flow: Gives the next number of an arrow in the file.
        send_begin: Called with a time and a track event that begins before the event in hand.
    """

    def __init__(
        self,
        tracks: ProcessTracks,
        names: Names,
        waits: Waits,
        new_flow: Iterator[int],
        send_begin: Callable[[int, bytes], None],
    ) -> None:
        self._tracks = tracks
        self._names = names
        self._waits = waits
        self._new_flow = new_flow
        self._tasks: dict[int, TaskTrack] = {}
        self._coroutines: dict[int, CoroutineSlice] = {}
        self._steps: dict[int, list[TaskTrack]] = {}  # thread -> the tasks whose steps run there, innermost last
        self._states = TaskStates(self._tasks, self._coroutines, waits)
        self._threads = ThreadSlices(tracks, names, new_flow, send_begin)
        self._late: list[int] = []  # coroutines that began before the recording, until their task is known
        self._ready = 0
        self._live = 0
        self.handlers: dict[int, Callable[[Event], Shown]] = {
            kinds.TASK_CREATED: self._task_created,
            kinds.TASK_READY: self._task_ready,
            kinds.STEP_STARTED: self._step_started,
            kinds.STEP_FINISHED: self._step_finished,
            kinds.AWAIT_STACK: self._await_stack,
            kinds.TASK_COLLECTED: self._task_collected,
            kinds.COROUTINE_STARTED: self._coroutine_started,
            kinds.COROUTINE_SUSPENDED: self._coroutine_suspended,
            kinds.COROUTINE_RESUMED: self._coroutine_resumed,
            kinds.COROUTINE_FINISHED: self._coroutine_finished,
            **self._threads.handlers,
            kinds.JOB_SUBMITTED: self._job_submitted,
            kinds.JOB_FORGOTTEN: self._job_forgotten,
        }

    def finish(self) -> None:
        """Name the tracks of the tasks that are still open."""
        for track in self._tasks.values():
            self._label(track)

    def close_all(self) -> list[bytes]:
        """Close every slice that is open: a later segment opens them again."""
        return [end for track in (*self._tracks.seen_threads(), *self._tasks.values()) for end in track.close_all()]

    def open_again(self) -> list[bytes]:
        """Open the slices that are open after the events of a base, of which nothing was shown."""
        self._late.clear()
        self._threads.job_arrows.clear()  # they would have no beginning
        for task in self._tasks.values():
            task.arrows.clear()
            task.wakes.clear()
        tracks = (*self._tracks.seen_threads(), *self._tasks.values())
        begins = [content for track in tracks for _, content, _ in track.slices]
        if begins:
            begins[-1] += self._counts()
        return [event_field(content) for content in begins]

    # Tasks.

    def _task_created(self, event: Event) -> Shown:
        _, _, _, task, _, root, _ = event
        if task in self._tasks:
            return NOTHING
        _, begin = self._meet(task, root)
        return [begin]

    def _meet(self, task: int, root: int) -> tuple[TaskTrack, bytes]:
        site = self._names.labelled(root) if root else None
        track = self._tracks.task(self._names.step(task, root), site.name if site is not None else None, root)
        if self._tracks.has_row_each:
            self._tracks.label(track, self._names.task(task, root))
        elif site is not None and site.is_user:
            self._tracks.label(track, site.name)
        self._tasks[task] = track
        self._live += 1
        return track, track.open(TASK, track.step, self._counts())

    def _label(self, track: TaskTrack) -> None:
        if not track.is_labelled:
            self._tracks.label(track, track.root or "task")

    def _task_ready(self, event: Event) -> Shown:
        time_ns, thread, _, task, cause, site, flags = event
        track = self._tasks.get(task)
        if track is None:
            return NOTHING
        shown: list[bytes] = []
        kind = flags & 7
        if kind not in kinds.CAUSE_NAMES:
            kind = kinds.CAUSE_UNKNOWN
        # The step that caused a wake before what is kept may have ended, and another one of that task run now.
        if kind == kinds.CAUSE_TASK and cause != task and not flags & kinds.SEEN_LATE:
            shown += self._arrow_of_wake(track, cause, thread)
        if track.cause is not None:
            return shown
        because = self._states.because(kind, cause, site)
        if track.is_running or track.is_ready:
            track.cause = because
            return shown
        shown += track.close(STATE, self._states.end(track, 1 + kind))
        self._ready += 1
        shown.append(self._open_ready(track, because, -1 if flags & kinds.SEEN_LATE else time_ns))
        return shown

    def _arrow_of_wake(self, track: TaskTrack, cause: int, thread: int) -> Shown:
        waker = self._tasks.get(cause)
        if waker is None or not waker.is_running:
            return NOTHING
        flow = next(self._new_flow)
        track.arrows.append(flow)
        if track.thread in (0, thread):
            waker.wakes.append(flow)  # the arrow begins at the end of the step: the woken one comes after it
            return NOTHING
        # The woken step may begin on its own thread before this one ends.
        content = layout.event_start(layout.INSTANT, self._tracks.thread(thread).uuid)
        return [event_field(content + self._names.text("wake") + layout.arrow_from_field(flow))]

    def _step_started(self, event: Event) -> Shown:
        time_ns, thread, _, task, _, _, _ = event
        track = self._tasks.get(task)
        shown: list[bytes] = []
        if track is None:
            track, begin = self._meet(task, 0)
            shown.append(begin)
        once = lag = b""
        on_thread = self._tracks.thread(thread)
        if track.is_ready:
            track.is_ready = False
            self._ready -= 1
            once = self._counts()
            if track.ready_ns >= 0:
                lag = self._lag(on_thread, thread, time_ns - track.ready_ns)
        if track.arrows:
            once += b"".join(map(layout.arrow_to_field, track.arrows))
            track.arrows.clear()
        if track.awaited:
            arrow = self._threads.job_arrows.pop(track.awaited, 0)
            track.awaited = 0
            if arrow:
                once += layout.arrow_to_field(arrow)
        track.is_running = True
        track.wait = None
        self._late.clear()
        shown.append(on_thread.open(task, track.step, once, time_ns))
        if track.slices[-1][0] == STATE:
            # The lag goes out here, for beside a counter that is 0 the trace processor takes every other one for 0.
            shown += track.close(STATE, self._states.end(track, 0) + lag)
        track.cause = None
        steps = self._steps.get(thread)
        if steps is None:
            steps = self._steps[thread] = []
        steps.append(track)
        track.thread = thread
        return shown

    def _lag(self, on_thread: ThreadTrack, thread: int, lag_ns: int) -> bytes:
        """Return the fields that say how long what a loop runs now had been ready, where that is worth telling."""
        if lag_ns < _TOLD_LAG_NS:
            return no_lag(on_thread)
        on_thread.is_lagging = True
        return layout.gauge_field(self._tracks.lag(thread), float(lag_ns))

    def _step_finished(self, event: Event) -> Shown:
        time_ns, thread, _, task, awaited, site, flags = event
        track = self._tasks.get(task)
        if track is None:
            return NOTHING
        steps = self._steps.get(thread)
        if steps:
            if steps[-1] is track:
                steps.pop()
            elif track in steps:
                steps.remove(track)
        arrows = b""
        if track.wakes:
            arrows = b"".join(map(layout.arrow_from_field, track.wakes))
            track.wakes.clear()
        on_thread = self._tracks.thread(thread)
        if not (self._ready or on_thread.idles):
            arrows += no_lag(on_thread)  # such a loop never says that it has nothing to do
        shown = on_thread.close(task, arrows)
        track.is_running = False
        if self._late:
            shown += self._place_late(track)
        if flags & kinds.OUTCOME_MASK:
            return shown + self._end_task(task, track, self._names.outcome(flags, site))
        if track.slices[-1][0] == STATE:  # its beginning was before the recording
            shown += track.close(STATE, self._states.end(track, 0))
            self._ready -= track.is_ready
        if track.cause is not None or flags & kinds.YIELDED:
            self._ready += 1
            shown.append(self._open_ready(track, track.cause, time_ns))
            return shown
        track.awaited = awaited
        shown.append(self._states.open_wait(track, awaited, site))
        return shown

    def _open_ready(self, track: TaskTrack, because: bytes | None, since_ns: int) -> bytes:
        # The cause is told with the beginning; that of an eager task's yield comes later, and is told with the end.
        track.cause = None if because is None else b""
        track.is_ready, track.ready_ns = True, since_ns
        return track.open(STATE, self._names.text("ready"), (because or b"") + self._counts())

    def _job_submitted(self, event: Event) -> Shown:
        self._states.job_submitted(event)
        return self._threads.handlers[kinds.JOB_SUBMITTED](event)

    def _job_forgotten(self, event: Event) -> Shown:
        self._states.job_forgotten(event)
        return NOTHING

    def _end_task(self, task: int, track: TaskTrack, outcome: bytes) -> list[bytes]:
        self._label(track)
        del self._tasks[task]
        self._live -= 1
        self._ready -= track.is_ready
        for key, _, _ in track.slices:
            coroutine = self._coroutines.get(key)
            if coroutine is not None:
                coroutine.track = None
        ends = track.close(STATE, self._states.end(track, 0))
        return [*ends, *track.close_all(outcome + self._counts())]

    def _await_stack(self, event: Event) -> Shown:
        track = self._tasks.get(event[3])
        if track is not None:
            fields, label, code, library = self._waits.stack(event[5])
            track.wait = fields, code, library
            if label is not None and not track.is_labelled:
                self._tracks.label(track, label)
        return NOTHING

    def _task_collected(self, event: Event) -> Shown:
        track = self._tasks.get(event[3])
        return NOTHING if track is None else self._end_task(event[3], track, self._names.outcome(kinds.CLOSED, 0))

    # Coroutines: on the track of their task. One that no step drives shows nowhere.

    def _open_steps(self, thread: int) -> list[TaskTrack] | None:
        steps = self._steps.get(thread)
        # Events that contradict each other may end a task whose step is open: nothing can be shown on its track.
        while steps and not steps[-1].slices:
            steps.pop()
        return steps

    def _coroutine_started(self, event: Event) -> Shown:
        _, thread, _, coroutine, awaiter, site, flags = event
        steps = self._open_steps(thread)
        track: TaskTrack | None
        if flags & kinds.SEEN_LATE and not steps:
            # Whose it is, the end of a step that comes next may tell.
            self._coroutines[coroutine] = CoroutineSlice(None, site, bool(flags & kinds.ASYNC_GENERATOR))
            self._late.append(coroutine)
            return NOTHING
        if steps:
            track = steps[-1]
        else:
            outer = self._coroutines.get(awaiter)
            track = outer.track if outer is not None else None
            if track is not None and not track.slices:
                track = None  # its task has ended: of one that was nested too deep to be shown nobody told
        shown: Shown = NOTHING
        if self._late and track is not None:
            shown = self._place_late(track)
        earlier = self._coroutines.get(coroutine)
        if earlier is not None and earlier.track is not None:
            shown = [*shown, *earlier.track.close(coroutine)]
        self._coroutines[coroutine] = CoroutineSlice(track, site, bool(flags & kinds.ASYNC_GENERATOR))
        if track is None:
            return shown
        return [*shown, *self._open(track, coroutine, site)]

    def _place_late(self, track: TaskTrack) -> list[bytes]:
        shown: list[bytes] = []
        for key in self._late:
            coroutine = self._coroutines.get(key)
            if coroutine is not None and coroutine.track is None:
                coroutine.track = track
                shown += self._open(track, key, coroutine.site)
        self._late.clear()
        return shown

    def _open(self, track: TaskTrack, coroutine: int, site: int) -> Shown:
        if not track.is_labelled:
            labelled = self._names.labelled(site)
            if labelled.is_user:
                self._tracks.label(track, labelled.name)
        slices = track.slices
        named, once = self._names.site(site), self._names.attributes(site)
        if slices[-1][0] != STATE:
            return [track.open(coroutine, named, once)]
        state = slices.pop()
        begin = track.open(coroutine, named, once)
        slices.append(state)
        return [track.end, begin, event_field(state[1])]

    def _coroutine_suspended(self, event: Event) -> Shown:
        key = event[3]
        coroutine = self._coroutines.get(key)
        if coroutine is None:
            return NOTHING
        coroutine.place = coroutine.site, event[5]
        track = coroutine.track
        # Who takes the value goes on while the generator stands still, and another task may drive it next.
        if coroutine.is_generator and event[6] & kinds.YIELDED and track is not None:
            coroutine.track = None
            return track.close(key)
        return NOTHING

    def _coroutine_resumed(self, event: Event) -> Shown:
        key = event[3]
        coroutine = self._coroutines.get(key)
        steps = self._open_steps(event[1])
        if coroutine is None or not steps:
            return NOTHING
        here, track = steps[-1], coroutine.track
        # Whoever collects a coroutine throws into it, and does not become its task.
        if here is track or (track is not None and event[6] & kinds.THROWN):
            return NOTHING
        coroutine.track = here
        closed = track.close(key) if track is not None else NOTHING
        return [*closed, *self._open(here, key, coroutine.site)]

    def _coroutine_finished(self, event: Event) -> Shown:
        key = event[3]
        coroutine = self._coroutines.pop(key, None)
        if coroutine is None or coroutine.track is None:
            return NOTHING
        return coroutine.track.close(key, self._names.outcome(event[6], event[5]))

    def _counts(self) -> bytes:
        # Field 12 of a track event: the values of the extra counters. Live first, for the trace processor takes what
        # follows a 0 as 0 too, and where no task lives none is ready.
        return b"\x60" + _number(self._live) + b"\x60" + _number(self._ready)


def _number(value: int) -> bytes:
    return VARINTS[value] if 0 <= value < VARINTS_SIZE else varint(max(0, value))
