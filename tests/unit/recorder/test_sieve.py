"""What the sieve keeps of a program's events, and what it counts; and that the one in C does the same on any events."""

from __future__ import annotations

import asyncio
import tracemalloc
from array import array
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import asynctrace
from asynctrace import events as ev
from asynctrace.events import Event
from asynctrace.recorder.chunks import events_of
from asynctrace.recorder.sieve import AnySieve, Sieve
from tests import sampling
from tests.cuts import flat
from tests.strategies_events import batches, event_lists

native: Any = pytest.importorskip("asynctrace.recorder._native")

THREAD, LOOP, TASK, OTHER = 1, 90, 10, 20
TRACED, PLAIN = 3, 4  # sites


def sift(sieve: AnySieve, *events: Event) -> list[Event]:
    return events_of(sieve.sift(flat(events)))


def made(is_native: bool, wants_tasks: bool = False) -> AnySieve:
    kind: Any = native.Sieve if is_native else Sieve
    sieve: AnySieve = kind(lambda site: site == TRACED, wants_tasks)
    return sieve


@pytest.fixture
def sieve(recording_core: str) -> AnySieve:
    return made(recording_core == "native")


def created(time_ns: int, task: int = TASK, flags: int = 0) -> Event:
    return time_ns, THREAD, ev.TASK_CREATED, task, 0, PLAIN, flags


def step(time_ns: int, task: int = TASK) -> Event:
    return time_ns, THREAD, ev.STEP_STARTED, task, LOOP, 0, 0


def end(time_ns: int, task: int = TASK, awaited: int = 0, flags: int = 0) -> Event:
    return time_ns, THREAD, ev.STEP_FINISHED, task, awaited, 0, flags


def ready(time_ns: int, task: int = TASK) -> Event:
    return time_ns, THREAD, ev.TASK_READY, task, 0, 0, ev.CAUSE_TIMER


def coroutine(time_ns: int, id: int = 30, site: int = TRACED) -> Event:
    return time_ns, THREAD, ev.COROUTINE_STARTED, id, 0, site, 0


def test_a_task_comes_with_its_first_decorated_coroutine(sieve: AnySieve) -> None:
    assert sift(sieve, created(1), step(2)) == []

    assert sift(sieve, coroutine(3), end(4), ready(5)) == [created(1), step(2), coroutine(3), end(4), ready(5)]


def test_what_it_did_before_is_not_told(sieve: AnySieve) -> None:
    before = (created(1), step(2), end(3), ready(4))

    kept = sift(sieve, *before, step(5), coroutine(6))

    assert kept == [created(5, flags=ev.SEEN_LATE), step(5), coroutine(6)]


def test_undecorated_coroutines_go_but_inside_a_task_that_is_kept(sieve: AnySieve) -> None:
    suspended = (6, THREAD, ev.COROUTINE_SUSPENDED, 31, 0, 7, 0)

    assert sift(sieve, created(1), step(2), coroutine(3, 31, PLAIN), suspended) == []
    assert sift(sieve, coroutine(7), coroutine(8, 32, PLAIN))[-2:] == [coroutine(7), coroutine(8, 32, PLAIN)]
    assert sift(sieve, (9, THREAD, ev.COROUTINE_FINISHED, 31, 0, 0, ev.RETURNED)) == []


def test_an_awaited_task_is_made_known(sieve: AnySieve) -> None:
    sift(sieve, created(1), created(2, OTHER), step(3), coroutine(4))
    finished = end(9, OTHER, flags=ev.RETURNED)

    assert sift(sieve, end(5, awaited=OTHER)) == [created(2, OTHER), end(5, awaited=OTHER)]
    assert sift(sieve, step(8, OTHER), finished) == [finished]


def test_ends_delays_and_counts(sieve: AnySieve) -> None:
    idle = (0, THREAD, ev.LOOP_IDLE_FINISHED, LOOP, 0, 0, 0)
    sift(sieve, idle, created(1), created(1, OTHER), step(11), end(20), step(31, OTHER))
    assert sieve.counts() == (0, 1, 1)

    sift(sieve, end(32, OTHER, flags=ev.RAISED), (40, THREAD, ev.LOOP_IDLE_STARTED, LOOP, 0, 0, 0), ready(50))
    sift(sieve, (60, THREAD, ev.LOOP_IDLE_FINISHED, LOOP, 0, 0, 0))

    assert sieve.counts() == (1, 0, 0)
    assert sieve.take_delays() == [30]
    assert sieve.take_ended() == [(PLAIN, 0, ev.RAISED, 31, 30)]
    assert sieve.loop_times() == (40, 20)
    assert (sieve.take_delays(), sieve.take_ended()) == ([], [])


def test_of_a_real_program_the_decorated_part_is_whole() -> None:
    @asynctrace.traced
    async def inner() -> None:
        await asyncio.sleep(0)

    async def main() -> None:
        await asyncio.gather(inner(), asyncio.sleep(0), asyncio.sleep(0))

    with asynctrace.record() as recording:
        asyncio.run(main())
    part = recording.trace.parts[0]
    traced = [site for site, described in part.sites.items() if described.is_traced]
    kept = events_of(Sieve(traced.__contains__, False).sift(flat(list(part.events))))

    started = [event[3] for event in part.events if event[2] == ev.COROUTINE_STARTED and event[5] in traced]
    assert [event for event in kept if event[3] in started] == [event for event in part.events if event[3] in started]
    tasks = {event[3] for event in kept if event[2] == ev.TASK_CREATED}
    assert len(tasks) == 1
    # That it was ready for its first step is told by its creation.
    whole = [event for event in part.events if event[3] in tasks]
    assert [event for event in kept if event[3] in tasks] == [whole[0], *whole[2:]]
    assert whole[1][2] == ev.TASK_READY
    assert len(kept) < len(part.events)


@pytest.mark.sampled
@given(event_lists, st.lists(st.integers(0, 30), max_size=4), st.booleans(), st.integers(0, 3))
@settings(suppress_health_check=list(HealthCheck), deadline=None, max_examples=sampling.examples(300))
def test_the_one_in_c_does_the_same(events: Sequence[Event], sizes: list[int], wants_tasks: bool, traced: int) -> None:
    reference = Sieve(lambda site: site == traced, wants_tasks)
    compiled = native.Sieve(lambda site: site == traced, wants_tasks)

    for some in batches(list(events), sizes):
        fields: array[int] = flat(some)
        assert compiled.sift(fields) == reference.sift(fields)
        assert compiled.counts() == reference.counts()
    assert compiled.loop_times() == reference.loop_times()
    assert compiled.take_delays() == reference.take_delays()
    assert compiled.take_ended() == reference.take_ended()


def test_memory_of_what_has_ended_is_given_back() -> None:
    sieve = made(is_native=True)
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        sieve.sift(flat(created(1, task) for task in range(1, 10_000)))
        full, _ = tracemalloc.get_traced_memory()
        assert full - before > 1_000_000
        sieve.sift(flat((2, THREAD, ev.TASK_COLLECTED, task, 0, 0, 0) for task in range(1, 10_000)))
        assert len(sieve.take_ended()) == 9_999
        after, _ = tracemalloc.get_traced_memory()
        assert after - before < 250_000
    finally:
        tracemalloc.stop()


def test_where_memory_is_short_it_says_so() -> None:
    events = [created(1), step(2), coroutine(3), end(4, flags=ev.RETURNED)]
    native.fail_at(0)
    made(is_native=True).sift(flat(events))
    places = native.fail_at(None)
    assert places > 0
    for number in range(1, places + 1):
        sieve = made(is_native=True)
        native.fail_at(number)
        with pytest.raises(MemoryError):
            sieve.sift(flat(events))
        native.fail_at(None)


def test_what_fails_to_tell_whether_a_code_is_decorated_is_told() -> None:
    for kind in (Sieve, native.Sieve):
        with pytest.raises(ZeroDivisionError):
            kind(lambda site: 1 // 0, False).sift(flat([coroutine(1)]))
