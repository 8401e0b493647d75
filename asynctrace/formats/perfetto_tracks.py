"""The tracks of the Perfetto UI, and the slices open on each.

An end on a track closes its innermost slice, whatever that is: so each track keeps its own stack, and closing one in
the middle closes those above it and opens them again. What is nested deeper than the UI draws is not shown, nor is much
depth on a track where slices overlap over and over, or a file could be a thousand times as large as its events.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

from asynctrace.events import Part
from asynctrace.formats import perfetto_layout as layout
from asynctrace.formats.perfetto_names import Place
from asynctrace.formats.wire import VARINTS, VARINTS_SIZE, varint

TASK: Final = -1  # the key of a task's own slice on its track
STATE: Final = -2  # and of its "waiting" or "ready" one

_DEEPEST: Final = 500  # the trace processor drops what is deeper than 512
_MOST_REOPENED: Final = 100_000
_DEEPEST_OVERLAPPING: Final = 16

_EVENT_TAG = b"\x5a"  # field 11 of a packet: its track event


def event_field(content: bytes) -> bytes:
    """Return a packet's track event."""
    size = len(content)
    return _EVENT_TAG + (VARINTS[size] if size < VARINTS_SIZE else varint(size)) + content


class Track:
    """One track: what its events begin with, and its open slices, innermost last.

    A slice is (key, the event that opened it, when); keys are the ids of what a slice shows.
    """

    __slots__ = ("begin", "deepest", "end", "end_start", "reopened", "slices", "uuid")

    def __init__(self, uuid: int) -> None:
        self.uuid = uuid
        self.begin = layout.event_start(layout.BEGIN, uuid)
        self.end_start = layout.event_start(layout.END_SLICE, uuid)
        self.end = event_field(self.end_start)
        self.slices: list[tuple[int, bytes, int]] = []
        self.deepest = _DEEPEST
        self.reopened = 0

    def open(self, key: int, fields: bytes, once: bytes = b"", time_ns: int = 0) -> bytes:
        """Open a slice; `once` is not repeated when it is opened again (an arrow, a counter)."""
        if len(self.slices) >= self.deepest and key != STATE:
            return b""
        content = self.begin + fields
        self.slices.append((key, content, time_ns))
        return event_field(content + once)

    def close(self, key: int, fields: bytes = b"") -> list[bytes]:
        """Close the slice with a key, if it is open; `fields` go out with its end."""
        slices = self.slices
        end = event_field(self.end_start + fields) if fields else self.end
        if slices and slices[-1][0] == key:
            slices.pop()
            return [end]
        for index in range(len(slices) - 1, -1, -1):
            if slices[index][0] == key:
                del slices[index]
                above = slices[index:]
                self.reopened += len(above)
                if self.reopened > _MOST_REOPENED:
                    self.deepest = _DEEPEST_OVERLAPPING
                return [*[self.end] * len(above), end, *[event_field(content) for _, content, _ in above]]
        return []

    def close_all(self, fields: bytes = b"") -> list[bytes]:
        """Close every slice; `fields` go out with the end of the outermost."""
        if not self.slices:
            return []
        ends = [self.end] * (len(self.slices) - 1)
        self.slices.clear()
        return [*ends, event_field(self.end_start + fields) if fields else self.end]


class ThreadTrack(Track):
    """A thread's track; where a loop runs, its lag is told beside it."""

    __slots__ = ("idles", "is_lagging", "lag")

    def __init__(self, uuid: int, lag: int = 0) -> None:
        super().__init__(uuid)
        self.lag = lag  # the number of the counter's track, once it has one
        self.is_lagging = False  # by the last value that was told
        self.idles = False  # whether the loop says when it has nothing to do


class TaskTrack(Track):
    """A task's track and what is known of the task."""

    __slots__ = (
        "arrows",
        "as_waker",
        "awaited",
        "cause",
        "is_labelled",
        "is_ready",
        "is_running",
        "ready_ns",
        "root",
        "root_site",
        "situation",
        "step",
        "thread",
        "wait",
        "wakes",
    )

    def __init__(self, uuid: int, step: bytes, root: str | None, root_site: int) -> None:
        super().__init__(uuid)
        self.step = step  # the name of its steps
        self.root = root
        self.root_site = root_site
        self.thread = 0  # where its steps run, once one has
        self.is_labelled = False
        self.is_ready = False
        self.is_running = False
        self.ready_ns = -1  # since when; -1 where that is unknown
        # Running: of a wake, after which it is ready again when the step ends. Ready: None where it is unknown yet,
        # else what its slice does not tell yet.
        self.cause: bytes | None = None
        self.as_waker = b""  # the fields of who is woken by it, once somebody was
        self.awaited = 0
        self.situation = -1  # of the wait that is open, as far as it is known before its end; -1: there is none
        # What its await stack tells: the fields of the user's await, a code, the fields of a library's await.
        self.wait: tuple[bytes | None, int, bytes | None] | None = None
        self.arrows: list[int] = []  # that end at its next step
        self.wakes: list[int] = []  # that begin at the step in progress


class CoroutineSlice:
    """A coroutine that is not finished: the track that shows it (None: none does), and where it last stood."""

    __slots__ = ("is_generator", "place", "site", "track")

    def __init__(self, track: TaskTrack | None, site: int, is_generator: bool) -> None:
        self.track = track
        self.site = site
        self.is_generator = is_generator
        self.place: Place = (site, 0)


class ProcessTracks:
    """The tracks of one part, made when first used.

    Args:
        part: The tables.
        new_uuid: Gives the next number of a track in the file.
        send: Called with a packet that describes a track.
        row_each: Whether tasks of the same name keep a row each.
        earlier: The tracks of the part's segment before this one, whose process, threads and counters go on.
    """

    def __init__(
        self,
        part: Part,
        new_uuid: Iterator[int],
        send: Callable[[bytes], None],
        row_each: bool,
        earlier: ProcessTracks | None = None,
    ) -> None:
        self._part = part
        self.new_uuid = new_uuid
        self._send = send
        self.has_row_each = row_each
        self.merging: int = layout.ROW_EACH if row_each else layout.MERGE_BY_NAME
        self._threads: dict[int, ThreadTrack] = {}
        # Threads of earlier segments -> the numbers of their tracks and of those of their lag (0: there is none yet).
        self._known: dict[int, tuple[int, int]] = {}
        if earlier is None:
            self._process, self.tasks = next(new_uuid), next(new_uuid)
            self.counters = next(new_uuid), next(new_uuid)
            self.recording = next(new_uuid)  # for what no thread of the program did
            return
        self._process, self.tasks, self.counters = earlier._process, earlier.tasks, earlier.counters
        self.recording = earlier.recording
        # Of the others a service may have had any number.
        self._known = {thread: uuids for thread, uuids in earlier._known.items() if thread in part.threads}
        self._known.update((thread, (track.uuid, track.lag)) for thread, track in earlier._threads.items())

    def describe(self) -> None:
        """Send the tracks that every part has: the process, its group of tasks, its counters."""
        self._send(layout.process_track(self._process, self._part.pid, self._part.process_name))
        self._send(layout.group_track(self.tasks, self._process, "asyncio tasks"))
        for uuid, name in zip(self.counters, ("live tasks", "ready tasks"), strict=True):
            self._send(layout.counter_track(uuid, self._process, name))

    def recording_packet(self) -> bytes:
        """Return the packet that describes the track `recording`."""
        return layout.group_track(self.recording, self._process, "recording")

    def seen_threads(self) -> list[ThreadTrack]:
        """Return the tracks of the threads so far."""
        return list(self._threads.values())

    def thread(self, thread: int) -> ThreadTrack:
        """Return a thread's track."""
        track = self._threads.get(thread)
        if track is None:
            if not thread:
                self._send(self.recording_packet())
                track = self._threads[thread] = ThreadTrack(self.recording)
                return track
            uuid, lag = self._known.pop(thread, (0, 0))
            track = self._threads[thread] = ThreadTrack(uuid or next(self.new_uuid))
            if lag:
                track.lag = self._described_lag(track, lag)
            info = self._part.threads.get(thread)
            # Perfetto tells threads apart by the system's id, over all processes; one is made up where it is unknown.
            native_id = info.native_id if info is not None and info.native_id > 0 else self._part.pid * 1000 + thread
            name = info.name if info is not None else f"thread {thread}"
            self._send(layout.thread_track(track.uuid, self._process, self._part.pid, native_id, name))
        return track

    def lag(self, thread: int) -> int:
        """Return the number of the counter of a thread's loop lag."""
        track = self.thread(thread)
        if not track.lag:
            track.lag = self._described_lag(track, next(self.new_uuid))
        return track.lag

    def _described_lag(self, thread: ThreadTrack, uuid: int) -> int:
        self._send(layout.counter_track(uuid, thread.uuid, "loop lag", layout.UNIT_TIME_NS))
        return uuid

    def task(self, step: bytes, root: str | None, root_site: int) -> TaskTrack:
        """Return a new task's track, which has no label yet."""
        uuid = next(self.new_uuid)
        # By the number of its track a task's steps are told from those of others, which may have the same name.
        track = TaskTrack(uuid, step + layout.correlation_field(uuid), root, root_site)
        self._send(layout.task_track(track.uuid, self.tasks, None, self.merging))
        return track

    def label(self, track: TaskTrack, name: str) -> None:
        """Name a task's track: by that tracks merge into lanes, where they do."""
        track.is_labelled = True
        self._send(layout.task_track(track.uuid, self.tasks, layout.visible_text(name), self.merging))
