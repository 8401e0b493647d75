"""What a program's event loops and tasks do, as metrics: recorded for each turn of a loop and each task, never a step.

The names are ours: OpenTelemetry has conventions for Node.js' event loop, which these follow, and none for asyncio's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from opentelemetry.metrics import CallbackOptions, Observation

from asynctrace import __version__
from asynctrace.events import OUTCOME_NAMES
from asynctrace.otel.replay import SCOPE
from asynctrace.otel.spans import encodable

if TYPE_CHECKING:
    from opentelemetry.metrics import Histogram, MeterProvider

    from asynctrace.recorder.sieve import AnySieve

# The SDK's own boundaries are for milliseconds.
_DELAYS_S = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
_DURATIONS_S = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
_MOST_LABELS = 10_000
_SHUTDOWN = ("shutdown_asyncgens", "shutdown_default_executor")  # asyncio's own tasks


class LoopMetrics:
    """Measures from the events, as they are read.

    OpenTelemetry keeps instruments for good, and makes none a second time: see `metrics_of`.

    Args:
        provider: The user's.
    """

    def __init__(self, provider: MeterProvider) -> None:
        self.sieve: AnySieve | None = None  # which counts
        self._later: Callable[[Callable[[], None]], None] = _do_nothing
        self._labels: dict[tuple[int, int], str] = {}
        self._earlier = 0, 0  # how long loops were active and idle until events were lost
        self._observed = (0, 0)  # active and idle, at the last observation of the utilization
        self._utilization = 0.0
        self._is_open = False
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
        """Measure no more: the instruments observe nothing from now on."""
        self._is_open = False
        if self.sieve is not None:
            self.forget(self.sieve)
        # What is known of a provider lives as long as that: it must not hold anything that holds the provider.
        self.sieve, self._later = None, _do_nothing

    def open(self, later: Callable[[Callable[[], None]], None], *, is_new_process: bool = False) -> None:
        """Measure from now on.

        Args:
            later: Is given what records a measurement: to record takes microseconds, and the keeper has none.
            is_new_process: Whether what was counted so far is that of the process this one was forked from.
        """
        self._later = later
        self._is_open = True
        if is_new_process:
            self.sieve, self._earlier, self._observed = None, (0, 0), (0, 0)

    def take(self, sieve: AnySieve, label_of: Callable[[int, int], str]) -> None:
        """Measure what has ended since the last time.

        Args:
            sieve: Which has read the events.
            label_of: Returns what a task is called, by the site of its root and its first await stack.
        """
        delays, ended = sieve.take_delays(), sieve.take_ended()
        for delay_ns in delays:
            self._later(partial(self._delay.record, delay_ns / 1e9))
        for site, stack, outcome, duration_ns, ready_ns in ended:
            label = self._labels.get((site, stack))
            if label is None:
                if len(self._labels) > _MOST_LABELS:
                    self._labels.clear()
                label = self._labels[site, stack] = encodable(label_of(site, stack))
            if label.rpartition(".")[2] not in _SHUTDOWN:
                told = {"code.function.name": label, "asynctrace.outcome": OUTCOME_NAMES.get(outcome, "?")}
                self._later(partial(self._record, duration_ns / 1e9, ready_ns / 1e9, told))

    def _record(self, duration_s: float, ready_s: float, attributes: dict[str, str]) -> None:
        self._duration.record(duration_s, attributes)
        self._ready.record(ready_s, attributes)

    def forget(self, sieve: AnySieve) -> None:
        """Events were lost: another sieve begins anew."""
        active_ns, idle_ns = sieve.loop_times()
        self._earlier = self._earlier[0] + active_ns, self._earlier[1] + idle_ns
        self._labels.clear()

    def _totals(self) -> tuple[int, int]:
        active_ns, idle_ns = self.sieve.loop_times() if self.sieve is not None else (0, 0)
        return self._earlier[0] + active_ns, self._earlier[1] + idle_ns

    def _observe_time(self, _: CallbackOptions) -> Iterable[Observation]:
        if not self._is_open:
            return []
        active_ns, idle_ns = self._totals()
        return [
            Observation(active_ns / 1e9, {"asyncio.eventloop.state": "active"}),
            Observation(idle_ns / 1e9, {"asyncio.eventloop.state": "idle"}),
        ]

    def _observe_utilization(self, _: CallbackOptions) -> Iterable[Observation]:
        if not self._is_open:
            return []
        active_ns, idle_ns = self._totals()
        active_then_ns, idle_then_ns = self._observed
        passed_ns = active_ns - active_then_ns + idle_ns - idle_then_ns
        if passed_ns > 0:
            self._utilization = (active_ns - active_then_ns) / passed_ns
            self._observed = active_ns, idle_ns
        return [Observation(self._utilization)]

    def _observe_tasks(self, _: CallbackOptions) -> Iterable[Observation]:
        if self.sieve is None:
            return []
        states = ("ready", "running", "waiting")
        return [
            Observation(count, {"asyncio.task.state": state})
            for state, count in zip(states, self.sieve.counts(), strict=True)
        ]


_known: WeakKeyDictionary[Any, LoopMetrics] = WeakKeyDictionary()


def metrics_of(provider: MeterProvider) -> LoopMetrics:
    """Return the metrics of a provider: always the same, for it keeps their instruments."""
    metrics = _known.get(provider)
    if metrics is None:
        metrics = _known[provider] = LoopMetrics(provider)
    return metrics


def _do_nothing(_: Callable[[], None]) -> None:
    pass


def _histogram(meter: Any, name: str, description: str, boundaries_s: tuple[float, ...]) -> Histogram:
    try:
        return meter.create_histogram(  # type: ignore[no-any-return]
            name, "s", description, explicit_bucket_boundaries_advisory=boundaries_s
        )
    except TypeError:  # before 1.30: views can set them
        return meter.create_histogram(name, "s", description)  # type: ignore[no-any-return]
