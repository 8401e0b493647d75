"""What a program's event loops and tasks do, as metrics: recorded for each turn of a loop and each task, never a step.

The names are ours: OpenTelemetry has conventions for Node.js' event loop, which these follow, and none for asyncio's.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from opentelemetry.metrics import CallbackOptions, Observation

from asynctrace import __version__
from asynctrace.analysis.figures import Figures
from asynctrace.events import (
    LOOP_GONE,
    LOOP_IDLE_FINISHED,
    LOOP_IDLE_STARTED,
    STEP_FINISHED,
    STEP_STARTED,
    Event,
)
from asynctrace.otel.replay import SCOPE
from asynctrace.otel.spans import encodable

if TYPE_CHECKING:
    from opentelemetry.metrics import Histogram, MeterProvider

    from asynctrace.model.tasks import TaskReader
    from asynctrace.model.trace import Task

# The SDK's own boundaries are for milliseconds.
_DELAYS_S = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
_DURATIONS_S = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
_LONGEST_TURN_NS = 100_000_000  # of a loop whose turns are not seen, or that never idles: a measurement each


class _Loop:
    """One loop: when it was idle, and the longest that a task was ready in its present turn."""

    __slots__ = ("active_ns", "delay_ns", "idle_ns", "is_idle", "since_ns", "turn_ns")

    def __init__(self, time_ns: int) -> None:
        self.since_ns = time_ns  # the present state began, or was counted up to
        self.turn_ns = time_ns
        self.is_idle = False
        self.active_ns = self.idle_ns = 0
        self.delay_ns = -1  # no step yet

    def count(self, time_ns: int) -> None:
        passed_ns = max(0, time_ns - self.since_ns)
        self.since_ns = max(time_ns, self.since_ns)
        if self.is_idle:
            self.idle_ns += passed_ns
        else:
            self.active_ns += passed_ns


class LoopMetrics:
    """Measures from the events, as they are read.

    Args:
        provider: The user's.
        later: Is given what records a measurement: to record takes microseconds, and the keeper has none.
    """

    def __init__(self, provider: MeterProvider, later: Callable[[Callable[[], None]], None]) -> None:
        self.tasks: TaskReader | None = None
        self._later = later
        self._loops: dict[int, _Loop] = {}
        self._gone_active_ns = self._gone_idle_ns = 0  # of loops that are gone
        self._observed = (0, 0)  # active and idle, at the last observation of the utilization
        self._utilization = 0.0
        self._is_closed = False
        meter = provider.get_meter(SCOPE, __version__)
        self._delay = _histogram(
            meter,
            "asyncio.eventloop.delay",
            "In each turn of an event loop, how long the task sat ready that waited longest for its step",
            _DELAYS_S,
        )
        self._duration = _histogram(
            meter, "asyncio.task.duration", "How long each task took, from its creation to its end", _DURATIONS_S
        )
        self._ready = _histogram(
            meter, "asyncio.task.ready.duration", "For how long of it each task was ready and did not run", _DELAYS_S
        )
        meter.create_observable_counter(
            "asyncio.eventloop.time", [self._observe_time], "s", "How long the event loops were active, and idle"
        )
        meter.create_observable_gauge(
            "asyncio.eventloop.utilization",
            [self._observe_utilization],
            "1",
            "Since the last collection, the part of the time in which the event loops were not idle",
        )
        meter.create_observable_up_down_counter(
            "asyncio.task.count", [self._observe_tasks], "{task}", "How many tasks there are, by their state"
        )

    def close(self) -> None:
        """Measure no more. OpenTelemetry keeps instruments for good: these observe nothing from now on."""
        self._is_closed = True
        self.tasks = None

    def before(self, event: Event, tasks: TaskReader) -> None:
        """Take in an event that `tasks` has not read yet."""
        kind = event[2]
        if kind == STEP_STARTED:
            loop = self._loop(event[4], event[0])
            present = tasks.present(event[3])
            if present is not None and present[0] == "ready":
                loop.delay_ns = max(loop.delay_ns, event[0] - present[1])
        elif kind == STEP_FINISHED:
            task = tasks.get(event[3])
            if task is not None and task.loop is not None:
                loop = self._loop(task.loop.id, event[0])
                if event[0] - loop.turn_ns > _LONGEST_TURN_NS:
                    self._end_turn(loop, event[0])
                    loop.count(event[0])
        elif kind == LOOP_IDLE_STARTED:
            loop = self._loop(event[3], event[0])
            self._end_turn(loop, event[0])
            loop.count(event[0])
            loop.is_idle = True
        elif kind == LOOP_IDLE_FINISHED:
            loop = self._loop(event[3], event[0])
            loop.count(event[0])
            loop.is_idle = False
            loop.turn_ns = event[0]
        elif kind == LOOP_GONE:
            gone = self._loops.pop(event[3], None)
            if gone is not None:
                self._gone_active_ns += gone.active_ns
                self._gone_idle_ns += gone.idle_ns

    def _loop(self, id: int, time_ns: int) -> _Loop:
        loop = self._loops.get(id)
        if loop is None:
            loop = self._loops[id] = _Loop(time_ns)
        return loop

    def _end_turn(self, loop: _Loop, time_ns: int) -> None:
        delay_ns, loop.delay_ns = loop.delay_ns, -1
        loop.turn_ns = time_ns
        if delay_ns >= 0:
            self._later(lambda: self._delay.record(delay_ns / 1e9))

    def task_ended(self, task: Task, figures: Figures) -> None:
        """Measure a task that has ended."""
        attributes = {"code.function.name": encodable(task.label), "asynctrace.outcome": task.outcome}
        duration_s, ready_s = figures.total_ns / 1e9, figures.ready_ns / 1e9

        def record() -> None:
            self._duration.record(duration_s, attributes)
            self._ready.record(ready_s, attributes)

        self._later(record)

    def forget(self) -> None:
        """Events were lost: what was under way is not known."""
        self._loops_to_gone()

    def _loops_to_gone(self) -> None:
        for loop in self._loops.values():
            self._gone_active_ns += loop.active_ns
            self._gone_idle_ns += loop.idle_ns
        self._loops.clear()

    def _totals(self) -> tuple[int, int]:
        loops = list(self._loops.values())
        active_ns = self._gone_active_ns + sum(loop.active_ns for loop in loops)
        return active_ns, self._gone_idle_ns + sum(loop.idle_ns for loop in loops)

    def _observe_time(self, _: CallbackOptions) -> Iterable[Observation]:
        if self._is_closed:
            return []
        active_ns, idle_ns = self._totals()
        return [
            Observation(active_ns / 1e9, {"asyncio.eventloop.state": "active"}),
            Observation(idle_ns / 1e9, {"asyncio.eventloop.state": "idle"}),
        ]

    def _observe_utilization(self, _: CallbackOptions) -> Iterable[Observation]:
        if self._is_closed:
            return []
        active_ns, idle_ns = self._totals()
        active_then_ns, idle_then_ns = self._observed
        passed_ns = active_ns - active_then_ns + idle_ns - idle_then_ns
        if passed_ns > 0:
            self._utilization = (active_ns - active_then_ns) / passed_ns
            self._observed = active_ns, idle_ns
        return [Observation(self._utilization)]

    def _observe_tasks(self, _: CallbackOptions) -> Iterable[Observation]:
        tasks = self.tasks
        if tasks is None:
            return []
        counts = Counter(tasks.present_kinds())
        return [Observation(counts[state], {"asyncio.task.state": state}) for state in ("running", "ready", "waiting")]


def _histogram(meter: Any, name: str, description: str, boundaries_s: tuple[float, ...]) -> Histogram:
    try:
        return meter.create_histogram(  # type: ignore[no-any-return]
            name, "s", description, explicit_bucket_boundaries_advisory=boundaries_s
        )
    except TypeError:  # before 1.30: views can set them
        return meter.create_histogram(name, "s", description)  # type: ignore[no-any-return]
