"""The fold in C comes to what its reference comes to: on any events, in any batches, and where memory is short."""

from __future__ import annotations

import random
import tracemalloc
from array import array
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from asynctrace import events as ev
from asynctrace.events import Event
from asynctrace.recorder.fold import AnyFold, Fold
from tests import sampling
from tests.cuts import flat
from tests.strategies_events import batches, event_lists, muddle
from tests.strategies_parts import example_part

native: Any = pytest.importorskip("asynctrace.recorder._native")
NativeFold: Any = pytest.importorskip("asynctrace.recorder.native_fold").NativeFold

pytestmark = pytest.mark.core("native")

examples = settings(suppress_health_check=list(HealthCheck), deadline=None, max_examples=sampling.examples(300))


def state_of(fold: Any) -> dict[str, object]:
    """Return all that a fold keeps, in values that can be compared."""
    reference = fold.reference() if isinstance(fold, NativeFold) else fold
    state = {}
    for name, value in vars(reference).items():
        if isinstance(value, dict) and value and hasattr(next(iter(value.values())), "__slots__"):
            value = {id: {slot: getattr(life, slot) for slot in life.__slots__} for id, life in value.items()}
        state[name] = value
    # Their base is told in this order.
    state["orders"] = [list(reference.blockings), list(reference.functions_dropped), list(reference.processes)]
    return state


def base_of(fold: AnyFold) -> object:
    try:
        return fold.base(9)
    except Exception as error:  # of events that no recorder has appended
        return repr(error)


def assert_alike(found: Any, expected: Fold) -> None:
    expected.count = min(expected.count, (1 << 63) - 1)
    assert state_of(found) == state_of(expected)
    assert base_of(found) == base_of(expected)
    assert found.count == expected.count


@pytest.mark.sampled
@given(event_lists, st.lists(st.integers(0, 30), max_size=4))
@examples
def test_it_comes_to_what_the_reference_comes_to(events: Sequence[Event], sizes: list[int]) -> None:
    found, expected = NativeFold(), Fold()
    for number, batch in enumerate(batches(events, sizes)):
        found.advance(flat(batch))
        expected.advance(flat(batch))
        assert_alike(found, expected)
        if number % 2:
            assert found.take_ended_tasks() == expected.take_ended_tasks()


@pytest.mark.sampled
@given(event_lists, st.integers(0, 60))
@examples
def test_a_copy_and_the_original_go_their_own_ways(events: Sequence[Event], cut: int) -> None:
    found, expected = NativeFold(), Fold()
    found.advance(flat(events[:cut]))
    expected.advance(flat(events[:cut]))
    copy = found.copy()
    before = state_of(found)

    copy.advance(flat(events[cut:]))

    assert state_of(found) == before
    del found
    expected.advance(flat(events[cut:]))
    assert_alike(copy, expected)


def test_events_that_contradict_each_other_are_folded_alike() -> None:
    for seed in range(200):
        found, expected = NativeFold(), Fold()
        for event in muddle(seed):
            found.advance(flat([event]))
            expected.advance(flat([event]))
            assert state_of(found) == state_of(expected), f"seed {seed}: {event}"
        assert_alike(found, expected)


def test_of_many_jobs_just_those_go_that_nobody_awaits() -> None:
    # One that goes leaves a hole in the table of all, which another may come to fill.
    for seed in range(500):
        chance = random.Random(seed)
        jobs = [chance.randrange(1, 1 << 40) for _ in range(chance.choice((7, 15)))]
        events = [(5, 1, ev.JOB_SUBMITTED, job, 0, 0, 0) for job in jobs]
        for job in chance.sample(jobs, len(jobs) // 2):
            task = chance.randrange(1, 1 << 40)
            events += [(5, 1, ev.TASK_CREATED, task, 0, 0, 0), (5, 1, ev.STEP_FINISHED, task, job, 0, 0)]
        events += [(5, 1, ev.JOB_FORGOTTEN, job, 0, 0, 0) for job in jobs]
        found, expected = NativeFold(), Fold()
        found.advance(flat(events))
        expected.advance(flat(events))
        assert state_of(found) == state_of(expected), f"seed {seed}"


@pytest.mark.parametrize("seed", range(4))
def test_made_up_programs_are_folded_alike(seed: int) -> None:
    events = example_part(300, seed).events
    found, expected = NativeFold(), Fold()
    for batch in batches(events, [100] * (len(events) // 100)):
        found.advance(flat(batch))
        expected.advance(flat(batch))
        assert_alike(found, expected)


# Where memory is short.

_ALL_KINDS: list[Event] = [
    (1, 1, ev.LOOP_SEEN, 101, 0, 4, 0),
    (2, 1, ev.TASK_CREATED, 102, 0, 1, 0),
    (3, 1, ev.STEP_STARTED, 102, 101, 0, 0),
    (4, 1, ev.COROUTINE_STARTED, 103, 0, 1, 0),
    (5, 1, ev.COROUTINE_STARTED, 104, 103, 1, 0),
    (6, 1, ev.JOB_SUBMITTED, 105, 102, 1, 0),
    (7, 2, ev.CALL_STARTED, 106, 105, 1, 0),
    (8, 2, ev.BLOCKING_STARTED, 106, 0, 5, 0),
    (9, 1, ev.COROUTINE_SUSPENDED, 104, 0, 8, 0),
    (10, 1, ev.COROUTINE_SUSPENDED, 103, 0, 8, 0),
    (11, 1, ev.STEP_FINISHED, 102, 105, 1, 0),
    (12, 2, ev.PROCESS_STARTED, 0, 4711, 0, 0),
    (13, 2, ev.FUNCTION_DROPPED, 0, 0, 6, 0),
    (14, 2, ev.CALL_FINISHED, 106, 1, 0, ev.RETURNED),
    (15, 2, ev.JOB_FORGOTTEN, 105, 0, 0, 0),
    (16, 1, ev.LOST, 0, 9, 0, 0),
    (17, 1, ev.STEP_STARTED, 102, 101, 0, ev.THROWN),
    (18, 1, ev.COROUTINE_RESUMED, 104, 0, 0, ev.THROWN),
    (19, 1, ev.COROUTINE_FINISHED, 104, 0, 0, ev.CANCELLED),
    (20, 1, ev.STEP_FINISHED, 102, 0, 0, ev.CANCELLED),
]


@pytest.fixture
def faults_end() -> Iterator[None]:
    yield
    native.fail_at(None)


def places(work: Any) -> int:
    native.fail_at(0)
    work()
    count = native.fail_at(None)
    assert isinstance(count, int) and count > 0
    return count


@pytest.mark.parametrize("events", [_ALL_KINDS, example_part(20, 3).events], ids=["each kind", "a program"])
def test_where_memory_is_short_the_events_before_are_folded_and_the_rest_can_follow(
    events: Sequence[Event], faults_end: None
) -> None:
    whole = Fold()
    whole.advance(flat(events))
    for number in range(1, places(lambda: NativeFold().advance(flat(events))) + 1):
        fold = NativeFold()
        native.fail_at(number)
        with pytest.raises(MemoryError):
            fold.advance(flat(events))
        native.fail_at(None)
        count, done = 0, 0
        while count < fold.count:
            count += events[done][4] if events[done][2] == ev.LOST else 1
            done += 1
        before = Fold()
        before.advance(flat(events[:done]))
        assert_alike(fold, before)

        fold.advance(flat(events[done:]))

        before.advance(flat(events[done:]))
        assert_alike(fold, before)
        assert base_of(fold) == base_of(whole)


def test_a_copy_that_memory_is_short_for_is_none_and_the_original_stays(faults_end: None) -> None:
    fold = NativeFold()
    fold.advance(flat(_ALL_KINDS[:14]))
    before = state_of(fold)
    for number in range(1, places(fold.copy) + 1):
        native.fail_at(number)
        with pytest.raises(MemoryError):
            fold.copy()
        native.fail_at(None)
        assert state_of(fold) == before


def test_of_processes_no_more_are_kept_than_the_reference_keeps() -> None:
    fold = NativeFold()
    for begin in range(1, 4001, 500):
        fold.advance(flat((5, 1, ev.PROCESS_STARTED, 0, pid, 0, 0) for pid in range(begin, begin + 500)))
    assert fold.state()[9] == [number for pid in range(3001, 4001) for number in (1, pid)]


def test_memory_of_what_has_ended_is_given_back() -> None:
    fold = NativeFold()
    count = 20_000

    def each(kind: int, flags: int = 0) -> array[int]:
        return flat((5, 1, kind, id, 0, 0, flags) for id in range(1, count))

    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        fold.advance(each(ev.TASK_CREATED))
        fold.advance(each(ev.COROUTINE_STARTED))
        full, _ = tracemalloc.get_traced_memory()
        assert full - before > 100 * count
        fold.advance(each(ev.COROUTINE_FINISHED, ev.RETURNED))
        fold.advance(each(ev.TASK_COLLECTED))
        assert len(fold.take_ended_tasks()) == count - 1
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert after - before < 50_000  # tables of the smallest size


# What is no events.


@pytest.mark.parametrize("fields", [None, [1] * 7, b"bytes", array("q", [1]), array("i", [1] * 7), array("Q", [1] * 7)])
def test_what_is_no_events_is_refused(fields: Any) -> None:
    fold = NativeFold()
    with pytest.raises((TypeError, ValueError)):
        fold.advance(fields)
    assert fold.count == 0


def test_a_negative_number_is_refused_and_what_came_before_it_counts() -> None:
    fold = NativeFold()
    with pytest.raises(OverflowError, match="63 bits"):
        fold.advance(flat([*_ALL_KINDS[:2], (3, 1, ev.MARK, 0, 0, -1, 0)]))
    assert fold.count == 2
