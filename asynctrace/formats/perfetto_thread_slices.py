"""What runs on a thread beside the steps of tasks: calls, jobs, blocking, idle loops, callbacks; and marks."""

from collections.abc import Callable, Iterator, Sequence

from asynctrace import events as kinds
from asynctrace.events import Event
from asynctrace.formats import perfetto_layout as layout
from asynctrace.formats.perfetto_names import Names
from asynctrace.formats.perfetto_tracks import ProcessTracks, ThreadTrack, event_field

Shown = Sequence[bytes]  # the track events that one event shows as, in order

NOTHING: Shown = ()


def no_lag(track: ThreadTrack) -> bytes:
    """Return the fields that say that a loop has no lag any more; nothing where it had none."""
    if not track.is_lagging:
        return b""
    track.is_lagging = False
    return layout.gauge_field(track.lag, 0.0)


class ThreadSlices:
    """What such events show as: each goes to the function in `handlers` for its kind.

    `job_arrows` holds, by job, the arrow that has begun and not ended: from its submission to its run, or from its run
    to the step of the task that waits for it.
    """

    def __init__(
        self,
        tracks: ProcessTracks,
        names: Names,
        new_flow: Iterator[int],
        send_begin: Callable[[int, bytes], None],
    ) -> None:
        self._tracks = tracks
        self._names = names
        self._new_flow = new_flow
        self._send_begin = send_begin
        self.job_arrows: dict[int, int] = {}
        self._jobs_of_calls: dict[int, int] = {}
        self.handlers: dict[int, Callable[[Event], Shown]] = {
            kinds.CALL_STARTED: self._call_started,
            kinds.CALL_FINISHED: self._call_finished,
            kinds.JOB_SUBMITTED: self._job_submitted,
            kinds.BLOCKING_STARTED: self._blocking_started,
            kinds.BLOCKING_FINISHED: self._blocking_finished,
            kinds.LOOP_IDLE_STARTED: self._idle_started,
            kinds.LOOP_IDLE_FINISHED: self._idle_finished,
            kinds.CALLBACK_RAN: self._callback_ran,
            kinds.MARK: self._mark,
            kinds.LOST: self._lost,
        }

    def _call_started(self, event: Event) -> Shown:
        time_ns, thread, _, call, job, site, _ = event
        once = b""
        if job:
            self._jobs_of_calls[call] = job
            arrow = self.job_arrows.pop(job, 0)
            once = layout.arrow_to_field(arrow) if arrow else b""
        track, named = self._tracks.thread(thread), self._names.site(site)
        return [track.open(call, named, once + self._names.attributes(site), time_ns)]

    def _call_finished(self, event: Event) -> Shown:
        _, thread, _, call, _, error, flags = event
        track, fields = self._tracks.thread(thread), self._names.outcome(flags, error)
        job = self._jobs_of_calls.pop(call, 0)
        if job:
            arrow = self.job_arrows[job] = next(self._new_flow)
            fields += layout.arrow_from_field(arrow)
        return track.close(call, fields)

    def _job_submitted(self, event: Event) -> Shown:
        _, thread, _, job, _, site, flags = event
        if flags & kinds.SEEN_LATE:
            return NOTHING  # it was submitted before
        arrow = self.job_arrows[job] = next(self._new_flow)
        content = layout.event_start(layout.INSTANT, self._tracks.thread(thread).uuid)
        return [event_field(content + self._names.submit(site) + layout.arrow_from_field(arrow))]

    def _blocking_started(self, event: Event) -> Shown:
        name = self._names.plain(event[5])
        return [self._tracks.thread(event[1]).open(-event[3] - 3, name, b"", event[0])]

    def _blocking_finished(self, event: Event) -> Shown:
        return self._tracks.thread(event[1]).close(-event[3] - 3)

    def _idle_started(self, event: Event) -> Shown:
        track = self._tracks.thread(event[1])
        track.idles = True
        return [track.open(event[3], self._names.text("idle"), no_lag(track), event[0])]

    def _idle_finished(self, event: Event) -> Shown:
        return self._tracks.thread(event[1]).close(event[3])

    def _callback_ran(self, event: Event) -> Shown:
        time_ns, thread, _, _, duration_ns, site, _ = event
        track = self._tracks.thread(thread)
        start_ns = max(0, time_ns - duration_ns)
        if track.slices and track.slices[-1][2] > start_ns:
            return NOTHING  # what began inside it has not ended: the two ends would be mixed up
        self._send_begin(start_ns, event_field(track.begin + self._names.site(site)))
        return [track.end]

    def _mark(self, event: Event) -> Shown:
        content = layout.event_start(layout.INSTANT, self._tracks.thread(event[1]).uuid)
        return [event_field(content + self._names.plain(event[5]))]

    def _lost(self, event: Event) -> Shown:
        content = layout.event_start(layout.INSTANT, self._tracks.thread(event[1]).uuid)
        return [event_field(content + self._names.lost(event[4]))]
