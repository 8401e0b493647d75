"""speedscope's own format, for speedscope.app: flame graphs of what tasks waited for, and of what ran.

Follows https://www.speedscope.app/file-format-schema.json. A file has first the profiles that add up the whole
recording: waiting, ready and running time, by stack. Then comes each task by itself, its time from left to right;
where there are more than `MOST_TASKS`, those with the same label come together, and the longest of them by itself.
The user's own come before the libraries': the app lists the profiles as they come.
"""

from __future__ import annotations

import shutil
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from tempfile import SpooledTemporaryFile
from typing import BinaryIO, cast

from asynctrace.analysis.await_stacks import coroutines_by_task, joint
from asynctrace.formats.json_text import EXPORTER, Items, members
from asynctrace.formats.shown_names import notes, program_name, task_name
from asynctrace.formats.speedscope_stacks import Frames, Piece, Stack, task_pieces, thread_pieces
from asynctrace.model.trace import Call, StateKind, Task, Thread, Trace

MARK = b'{"exporter":"asynctrace '
MOST_TASKS = 100  # that each have a profile: the app lists them all
_OFTEN = 2000  # states between two reports of progress
_IN_MEMORY = 1 << 24
_SCHEMA = "https://www.speedscope.app/file-format-schema.json"
_WHOLE: dict[StateKind, str] = {
    "waiting": "waiting, by await stack",
    "ready": "ready, while the loop was busy",
    "running": "running, by stack",
}

_Totals = Counter[Stack]


def write_speedscope(trace: Trace, file: BinaryIO, on_progress: Callable[[int], None] | None = None) -> None:
    """Write a trace for speedscope.

    Args:
        trace: The trace.
        file: Where it goes.
        on_progress: Called now and then with how many of the tasks' states have been written.
    """
    name = " – ".join((program_name(trace) or "asynctrace", *notes(trace)))
    head = members(exporter=EXPORTER, name=name, activeProfileIndex=0)
    file.write(f'{{{head},"$schema":"{_SCHEMA}","profiles":[\n'.encode("ascii"))
    # What adds up the whole is known last and stands first.
    with SpooledTemporaryFile(_IN_MEMORY) as aside:
        details = Items(cast("BinaryIO", aside))
        profiles = _Profiles(trace, details)
        profiles.write(on_progress)
        details.flush()
        summaries = Items(file)
        summaries.extend(profiles.whole())
        summaries.flush()
        if summaries.has_written and details.has_written:
            file.write(b",\n")
        aside.seek(0)
        shutil.copyfileobj(aside, file)
    file.write(b'\n],"shared":{"frames":[\n')
    table = Items(file)
    table.extend(profiles.frames.written())
    table.flush()
    file.write(b"\n]}}\n")


class _Profiles:
    """Writes the profiles of tasks, groups and threads, and adds up the whole."""

    def __init__(self, trace: Trace, items: Items) -> None:
        self._trace = trace
        self._items = items
        self._whole: dict[StateKind, _Totals] = {kind: Counter() for kind in _WHOLE}
        self.frames = Frames()

    def write(self, on_progress: Callable[[int], None] | None) -> None:
        trace = self._trace
        coroutines = coroutines_by_task(trace)
        calls: dict[Task | Thread, list[Call]] = defaultdict(list)
        for call in trace.calls:
            calls[call.task or call.thread].append(call)
        done = told = 0
        for group in _groups(trace.tasks):
            alone = max(group, key=lambda task: task.end_ns - task.created_ns)
            together: _Totals = Counter()
            kept: list[Piece] = []
            for task in group:
                pieces: Iterable[Piece]
                pieces = task_pieces(task, coroutines.get(task, ()), calls.get(task, ()), self.frames)
                if task is alone:
                    pieces = kept = list(pieces)
                for start_ns, end_ns, kind, stack in pieces:
                    self._whole[kind][stack] += end_ns - start_ns
                    together[stack] += end_ns - start_ns
                done += len(task.states)
                if on_progress is not None and done - told >= _OFTEN:
                    on_progress(done)
                    told = done
            if len(group) > 1:
                self._items.extend(_sampled(f"{alone.label} × {len(group):,}, all states", together))
            self._timeline(_title(alone, len(group)), kept, alone.created_ns, alone.end_ns)
        for thread in trace.threads:
            own = calls.get(thread)
            if own:
                start_ns, end_ns = own[0].started_ns, max(call.end_ns for call in own)
                kept = list(thread_pieces(thread, own, self.frames))
                self._timeline(thread.name, kept, start_ns, end_ns)
                for piece_start_ns, piece_end_ns, kind, stack in kept:
                    self._whole[kind][stack] += piece_end_ns - piece_start_ns

    def whole(self) -> Iterator[str]:
        """Yield the profiles of the whole recording, but for those of which there is nothing."""
        for kind, name in _WHOLE.items():
            yield from _sampled(name, self._whole[kind])

    def _timeline(self, name: str, pieces: Iterable[Piece], start_ns: int, end_ns: int) -> None:
        """Write a profile from left to right."""
        if start_ns < end_ns:
            base_ns = self._trace.start_ns
            events = ",".join(_events(pieces, end_ns, base_ns))
            about = members(type="evented", name=name, unit="nanoseconds", startValue=start_ns - base_ns)
            self._items.add(f'{{{about},"endValue":{end_ns - base_ns},"events":[{events}]}}')


def _groups(tasks: Sequence[Task]) -> list[list[Task]]:
    """Return the tasks that have a profile together: each its own, or those of one label where there are too many."""
    ordered = sorted(tasks, key=lambda task: not task.is_user)
    if len(ordered) <= MOST_TASKS:
        return [[task] for task in ordered]
    by_label: dict[tuple[str, str, int], list[Task]] = defaultdict(list)
    for task in ordered:
        by_label[task.label, task.file, task.line].append(task)
    return list(by_label.values())


def _title(task: Task, beside: int) -> str:
    name = task_name(task)
    if task.outcome != "returned":
        name += f", {task.outcome} {task.error}" if task.error else f", {task.outcome}"
    return f"{name}, the longest of {beside:,}" if beside > 1 else name


def _events(pieces: Iterable[Piece], end_ns: int, base_ns: int) -> Iterator[str]:
    now: Stack = ()
    until_ns = end_ns
    for start_ns, piece_end_ns, _, stack in pieces:
        if start_ns > until_ns:  # nothing was there meanwhile
            yield from _closed(now, until_ns - base_ns)
            now = ()
        same = joint(now, stack)
        yield from _closed(now[same:], start_ns - base_ns)
        for frame in stack[same:]:
            yield f'{{"type":"O","frame":{frame},"at":{start_ns - base_ns}}}'
        now, until_ns = stack, piece_end_ns
    yield from _closed(now, until_ns - base_ns)


def _closed(frames: Stack, at_ns: int) -> Iterator[str]:
    for frame in reversed(frames):
        yield f'{{"type":"C","frame":{frame},"at":{at_ns}}}'


def _sampled(name: str, totals: _Totals) -> Iterator[str]:
    """Yield the profile of what was added up by stack; none when that is nothing."""
    # In the order of their frames, so that those with the same outer ones are side by side.
    stacks = sorted(totals)
    if stacks:
        samples = ",".join("[" + ",".join(map(str, stack)) + "]" for stack in stacks)
        weights = ",".join(str(totals[stack]) for stack in stacks)
        about = members(type="sampled", name=name, unit="nanoseconds", startValue=0, endValue=totals.total())
        yield f'{{{about},"samples":[{samples}],"weights":[{weights}]}}'
