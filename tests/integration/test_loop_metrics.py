"""What event loops and tasks do, as metrics."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.trace import NoOpTracerProvider

import asynctrace
import asynctrace.otel

SCALE_S = 0.05


class Metrics:
    """The metrics that a provider has collected."""

    def __init__(self) -> None:
        self._reader = InMemoryMetricReader()
        self.provider = MeterProvider([self._reader], shutdown_on_exit=False)

    def collect(self) -> dict[str, list[Any]]:
        """Return the data points of each metric."""
        data = self._reader.get_metrics_data()
        found: dict[str, list[Any]] = {}
        for resource in data.resource_metrics if data is not None else ():
            for scope in resource.scope_metrics:
                assert scope.scope.name == "asynctrace"
                for metric in scope.metrics:
                    found[metric.name] = list(metric.data.data_points)
        return found


def values(points: list[Any], attribute: str) -> dict[str, float]:
    return {point.attributes[attribute]: point.value for point in points}


@contextmanager
def measured(metrics: Metrics) -> Iterator[None]:
    asynctrace.otel.instrument(tracer_provider=NoOpTracerProvider(), meter_provider=metrics.provider)
    try:
        yield
    finally:
        asynctrace.otel.uninstrument()


def run(program: Callable[[], Coroutine[Any, Any, object]]) -> dict[str, list[Any]]:
    metrics = Metrics()

    with measured(metrics):
        asyncio.run(program())
        asynctrace.otel.live._current._drain()  # type: ignore[attr-defined]
        return metrics.collect()


async def work() -> None:
    await asyncio.sleep(SCALE_S)
    time.sleep(SCALE_S)  # holds the loop


async def hold_the_loop() -> None:
    await asyncio.gather(work(), work())


def test_a_held_loop_is_delay_and_activity() -> None:
    found = run(hold_the_loop)

    (delay,) = found["asyncio.eventloop.delay"]
    assert delay.max >= SCALE_S * 0.9, "the second waits for the first"
    times = values(found["asyncio.eventloop.time"], "asyncio.eventloop.state")
    assert times["active"] >= 2 * SCALE_S * 0.9
    assert times["idle"] >= SCALE_S * 0.5
    (utilization,) = found["asyncio.eventloop.utilization"]
    assert utilization.value == pytest.approx(times["active"] / (times["active"] + times["idle"]))


def test_tasks_by_function_and_outcome() -> None:
    async def failing() -> None:
        await asyncio.sleep(0)
        raise ValueError

    async def main() -> None:
        await asyncio.gather(work(), failing(), failing(), return_exceptions=True)

    found = run(main)

    durations = {
        (point.attributes["code.function.name"].rpartition(".")[2], point.attributes["asynctrace.outcome"]): point
        for point in found["asyncio.task.duration"]
    }
    assert {key: point.count for key, point in durations.items()} == {
        ("main", "returned"): 1,
        ("work", "returned"): 1,
        ("failing", "raised"): 2,
    }
    assert durations["work", "returned"].sum >= 2 * SCALE_S * 0.9
    assert durations["work", "returned"].explicit_bounds[0] < 0.001, "seconds, not milliseconds"
    ready = {
        point.attributes["code.function.name"].rpartition(".")[2]: point
        for point in found["asyncio.task.ready.duration"]
    }
    # Of its life it waited as long as it slept, and ran as long as it held the loop; on a busy machine it is late, too.
    assert ready["work"].sum <= durations["work", "returned"].sum - 2 * SCALE_S * 0.9
    assert ready["failing"].count == 2


def test_how_many_tasks_there_are_by_their_state() -> None:
    metrics = Metrics()
    counts: list[dict[str, float]] = []

    async def main() -> None:
        tasks = [asyncio.create_task(asyncio.sleep(60)) for _ in range(5)]
        await asyncio.sleep(0)
        ready = [asyncio.create_task(asyncio.sleep(60)) for _ in range(3)]
        asynctrace.otel.live._current._drain()  # type: ignore[attr-defined]
        counts.append(values(metrics.collect()["asyncio.task.count"], "asyncio.task.state"))
        for task in (*tasks, *ready):
            task.cancel()

    with measured(metrics):
        asyncio.run(main())
        asynctrace.otel.live._current._drain()  # type: ignore[attr-defined]
        counts.append(values(metrics.collect()["asyncio.task.count"], "asyncio.task.state"))

    assert counts == [{"running": 1, "ready": 3, "waiting": 5}, {"running": 0, "ready": 0, "waiting": 0}]


def test_a_loop_that_never_idles_is_measured_as_it_runs() -> None:
    async def busy() -> None:
        until = time.monotonic() + 0.45
        while time.monotonic() < until:
            await asyncio.sleep(0)

    found = run(busy)

    (delay,) = found["asyncio.eventloop.delay"]
    assert 3 <= delay.count <= 10
    assert values(found["asyncio.eventloop.time"], "asyncio.eventloop.state")["active"] >= 0.4


def test_nothing_is_observed_after_it_was_turned_off() -> None:
    metrics = Metrics()
    with measured(metrics):
        asyncio.run(work())
    before = metrics.collect()

    asyncio.run(work())
    after = metrics.collect()

    assert [point.count for point in after["asyncio.task.duration"]] == [
        point.count for point in before["asyncio.task.duration"]
    ]
    assert "asyncio.eventloop.time" not in after
    assert "asyncio.task.count" not in after


def test_turned_on_again_it_goes_on() -> None:
    metrics = Metrics()
    times = []
    for _ in range(2):
        with measured(metrics):
            asyncio.run(work())
            asynctrace.otel.live._current._drain()  # type: ignore[attr-defined]
            found = metrics.collect()
            times.append(values(found["asyncio.eventloop.time"], "asyncio.eventloop.state")["active"])

    assert times[1] >= 2 * times[0] * 0.7
    assert sum(point.count for point in found["asyncio.task.duration"]) == 2
