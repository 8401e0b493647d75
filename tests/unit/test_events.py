"""Events are held flat, and read like a list of tuples."""

from __future__ import annotations

import copy
import pickle
from operator import itemgetter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asynctrace.events import Event, Events, in_time_order

numbers = st.integers(0, 5) | st.integers(0, (1 << 63) - 1)
event_lists = st.lists(st.tuples(*[numbers] * 7), max_size=12)
indexes = st.none() | st.integers(-15, 15)


@given(event_lists, indexes, indexes, st.none() | st.integers(-4, 4).filter(bool))
def test_they_read_like_a_list(listed: list[Event], start: int | None, stop: int | None, step: int | None) -> None:
    events = Events.of(listed)

    assert len(events) == len(listed)
    assert list(events) == listed
    assert events == listed and listed == events
    assert [events[index] for index in range(-len(listed), len(listed))] == listed * 2
    assert events[start:stop:step] == listed[start:stop:step]
    assert events[:3] + events == listed[:3] + listed == events[:3] + listed
    assert events + listed == listed + events == listed * 2
    assert list(reversed(events)) == listed[::-1]
    assert all(event in events for event in listed)


@given(event_lists, event_lists)
def test_they_are_equal_where_lists_are(one: list[Event], other: list[Event]) -> None:
    assert (Events.of(one) == Events.of(other)) is (one == other)
    assert (Events.of(one) == other) is (one == other)


@given(event_lists)
def test_they_are_ordered_by_time_and_else_stay_in_order(listed: list[Event]) -> None:
    events = Events.of(listed)

    assert Events(in_time_order(events.fields)) == sorted(listed, key=itemgetter(0))
    assert events == listed


def test_they_can_be_copied_pickled_and_shown() -> None:
    listed: list[Event] = [(5, 1, 2, 3, 4, 6, 7), (8, 1, 2, 3, 4, 6, 7)]
    events = Events.of(listed)

    assert copy.deepcopy(events) == pickle.loads(pickle.dumps(events)) == listed
    assert eval(repr(events)) == listed


def test_there_are_none_beyond_the_ends() -> None:
    events = Events.of([(5, 1, 2, 3, 4, 6, 7)])

    for index in (1, -2):
        with pytest.raises(IndexError):
            events[index]


def test_a_number_that_does_not_fit_is_refused() -> None:
    with pytest.raises(OverflowError):
        Events.of([(1 << 63, 0, 0, 0, 0, 0, 0)])
