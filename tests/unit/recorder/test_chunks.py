"""The history of a recorder: events in order of time, in chunks, within a bound."""

import os
from collections.abc import Callable
from itertools import chain, count

import pytest

from asynctrace import cores
from asynctrace.events import COROUTINE_FINISHED, COROUTINE_STARTED, LOST, MARK, RETURNED, Event
from asynctrace.recorder.chunks import FIELDS, History, events_of
from asynctrace.recorder.stores import FlatStore, Store

LIMIT = 1 << 20


def make_store() -> tuple[Store, Callable[[Event], None]]:
    """Return a store of the core that is tested, and what appends to it."""
    if os.environ[cores.VARIABLE] == "python":
        fields: list[int] = []
        return FlatStore(fields), fields.extend
    from asynctrace.recorder import _native
    from asynctrace.recorder.native_recorder import PackedStore

    core = _native.Core(None, 0, {}, lambda code: 1, len, {})
    return PackedStore(core), core.append


def history_of(*events: Event, limit_bytes: int = LIMIT) -> History:
    store, append = make_store()
    for event in events:
        append(event)
    return History(store, limit_bytes, lambda: 0)


def settle(history: History, until_ns: int) -> None:
    history.take()
    while history.settle(until_ns, 0):
        pass


def kept(history: History, begin: int = 0, end: int | None = None, at_most: int | None = None) -> list[Event]:
    return events_of([*chain.from_iterable(fields for _, fields in history.pieces(begin, end, at_most))])


def mark(time_ns: int, thread: int = 1, site: int = 1) -> Event:
    return time_ns, thread, MARK, 0, 0, site, 0


def test_events_of_several_threads_are_settled_in_order_of_time_and_those_of_one_thread_stay_in_theirs() -> None:
    history = history_of(mark(5, 1, 1), mark(3, 2, 2), mark(5, 1, 3), mark(5, 2, 4), mark(4, 3, 5))

    settle(history, 10)

    assert kept(history) == [mark(3, 2, 2), mark(4, 3, 5), mark(5, 1, 1), mark(5, 1, 3), mark(5, 2, 4)]


def test_what_is_younger_than_asked_for_waits_for_older_ones_that_may_still_come() -> None:
    store, append = make_store()
    for event in (mark(1), mark(8), mark(2)):
        append(event)
    history = History(store, LIMIT, lambda: 0)

    settle(history, 5)
    assert kept(history) == [mark(1), mark(2)] and len(store) == 0
    assert events_of(history.open_fields()) == [mark(8)]
    append(mark(6, 2))
    assert len(history) == 4

    settle(history, 9)
    assert kept(history) == [mark(1), mark(2), mark(6, 2), mark(8)] and history.end == 4


@pytest.mark.parametrize(
    ("begin", "end", "at_most"), [(0, None, None), (700, 2100, None), (511, None, 2), (3000, None, 5)]
)
def test_pieces_are_the_events_that_were_asked_for(begin: int, end: int | None, at_most: int | None) -> None:
    events = [mark(time_ns) for time_ns in range(3000)]
    history = history_of(*events, limit_bytes=1)  # chunks of the smallest size

    settle(history, 10_000)

    last = 3000 if end is None else end
    assert kept(history, begin, end, at_most) == events[begin : last if at_most is None else min(last, begin + at_most)]


def test_the_oldest_chunks_go_until_the_rest_is_within_the_limit_and_numbers_stay() -> None:
    limit = make_store()[0].event_bytes * 20_000
    history = history_of(*(mark(time_ns) for time_ns in range(100_000)), limit_bytes=limit)
    settle(history, 100_000)
    assert history.is_over_limit()

    while history.is_over_limit():
        history.drop_oldest()

    assert 0.8 * limit < history.used_bytes <= limit
    assert kept(history)[0] == mark(history.first) and kept(history, 99_999) == [mark(99_999)]
    assert history.end == len(history) == 100_000
    time_ns, base = history.follow().base()
    assert (time_ns, base) == (history.first - 1, [(history.first - 1, 0, LOST, 0, history.first, 0, 0)])


def test_a_follower_gives_the_base_before_any_kept_event() -> None:
    # Coroutine n lives from n to n + 1,000.
    new_time = count().__next__
    events = [
        event
        for number in range(1, 5000)
        for event in (
            (new_time(), 1, COROUTINE_STARTED, number, 0, 1, 0),
            *([(new_time(), 1, COROUTINE_FINISHED, number - 1000, 0, 0, RETURNED)] if number > 1000 else []),
        )
    ]
    history = history_of(*events, limit_bytes=1)
    settle(history, 10_000)
    history.drop_oldest()
    follower = history.follow()

    assert follower.advance(6000)

    alive = {event[3] for event in events[:6000]} - {e[3] for e in events[:6000] if e[2] == COROUTINE_FINISHED}
    time_ns, base = follower.base()
    assert time_ns == events[5999][0] and {event[0] for event in base} == {time_ns}
    assert base[0] == (time_ns, 0, LOST, 0, 6000, 0, 0)
    assert {event[3] for event in base if event[2] == COROUTINE_STARTED} == alive


def test_a_follower_whose_events_were_dropped_says_so() -> None:
    history = history_of(*(mark(time_ns) for time_ns in range(2000)), limit_bytes=1)
    settle(history, 2000)
    follower = history.follow()
    history.drop_oldest()

    assert not follower.advance(2000)
    assert follower.read(100) is None
    assert follower.position == 0


def test_a_follower_that_is_read_gives_each_event_once_and_the_base_of_where_it_stands() -> None:
    events = [(time_ns, 1, COROUTINE_STARTED, time_ns, 0, 1, 0) for time_ns in range(1, 2001)]
    history = history_of(*events, limit_bytes=1)
    settle(history, 2000)
    follower = history.follow()
    read: list[Event] = []

    while fields := follower.read(300):
        read += events_of(fields)
        assert follower.position == len(read)
        time_ns, base = follower.base()
        assert (time_ns, base[0][4]) == (read[-1][0], len(read))
        assert [event[3] for event in base if event[2] == COROUTINE_STARTED] == [event[3] for event in read]

    assert read == events


def test_the_number_of_an_event_is_found_by_its_time() -> None:
    history = history_of(*(mark(time_ns) for time_ns in range(0, 6000, 2)), limit_bytes=1)
    settle(history, 6000)

    assert [history.number_at(time_ns) for time_ns in (0, 1, 2, 3001, 5998, 5999)] == [0, 1, 1, 1501, 2999, 3000]


def test_fields_that_are_appended_meanwhile_are_never_cut_in_two() -> None:
    fields = [*mark(1), *mark(2)[:3]]  # as no hook does: an event is one step
    history = History(FlatStore(fields), LIMIT, lambda: 0)

    settle(history, 10)

    assert kept(history) == [mark(1)] and len(fields) == 3 and FIELDS == 7


def test_what_the_tables_alone_take_is_nothing_that_the_keeper_could_make_less() -> None:
    store, append = make_store()
    append(mark(1))
    history = History(store, LIMIT, lambda: LIMIT)

    settle(history, 1)

    assert history.used_bytes > LIMIT and not history.is_far_over_limit()
