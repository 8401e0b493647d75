"""Stand-ins and await stacks of the native core. What they leave to Python is the reference's."""

from __future__ import annotations

import functools
from collections.abc import Callable, Coroutine
from typing import Any

from asynctrace.probes import wrapping
from asynctrace.probes.failure import Failures
from asynctrace.probes.tasks import TaskEntry
from asynctrace.recorder import Recorder, _native
from asynctrace.recorder.native_recorder import NativeRecorder

Coroutine.register(_native.TracedCoroutine)
wrapping.stand_in_types.add(_native.TracedCoroutine)


def stand_in(coroutine: Any, recorder: Recorder, guard: Failures) -> _native.TracedCoroutine:
    """Return what stands in for a coroutine of a decorated function."""
    assert isinstance(recorder, NativeRecorder)
    return _native.TracedCoroutine(coroutine, recorder.native_core, guard)


def stack_notes(recorder: Recorder) -> Callable[[int, int, TaskEntry, Any], None]:
    """Return what appends the await stack of a task."""
    assert isinstance(recorder, NativeRecorder)
    reference = functools.partial(wrapping.note_stack, recorder)
    return _native.StackNotes(recorder.native_core, recorder.stack, reference, wrapping.SEEN_THROUGH)
