"""The keeper: a thread that the program does not see."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from asynctrace import clock
from asynctrace.events import MARK
from asynctrace.recorder import Keeper, Recorder


def wait_until(is_so: Callable[[], object]) -> None:
    deadline = time.monotonic() + 60
    while not is_so():
        assert time.monotonic() < deadline, "it did not happen within a minute"
        time.sleep(0.002)


@pytest.fixture
def errors() -> list[BaseException]:
    return []


@pytest.fixture
def keeper(errors: list[BaseException]) -> Iterator[Keeper]:
    made = Keeper(Recorder(1 << 20), errors.append)
    made.watches.append(lambda: None)  # somebody who wants to see the events
    yield made
    made.stop()
    made._wait_for_system()


def append_marks(recorder: Recorder, number: int) -> None:
    thread = recorder.local.state.id
    for _ in range(number):
        recorder.append((clock.now_ns(), thread, MARK, 0, 0, 0, 0))


def threads_of_system() -> int:
    return len(os.listdir("/proc/self/task"))


def test_what_is_appended_is_settled_and_the_oldest_goes(keeper: Keeper) -> None:
    keeper.start()

    append_marks(keeper.recorder, 50_000)

    history = keeper.recorder.history
    wait_until(lambda: history.end == 50_000 and not history.is_over_limit())
    assert history.first > 0 and history.used_bytes <= 1 << 20


def test_few_events_that_nobody_wants_to_see_yet_are_left_alone(keeper: Keeper) -> None:
    keeper.watches.clear()
    append_marks(keeper.recorder, 100)
    keeper.start()
    keeper.wake()

    time.sleep(0.3)

    assert keeper.recorder.history.end == 0 and len(keeper.recorder.history) == 100


def test_in_a_forked_child_what_the_parent_recorded_is_left_to_the_parent(
    keeper: Keeper, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "getpid", lambda: keeper.recorder.pid + 1)

    keeper.recorder.attend()

    assert not keeper._gone.locked(), "it runs"


def test_sinks_are_fed_every_event_once(keeper: Keeper) -> None:
    class Counting:
        position = 0

        def take(self, at_once: int) -> bool:
            self.position += self.position < keeper.recorder.history.end
            return self.position < keeper.recorder.history.end

    sink = Counting()
    keeper.recorder.sinks.append(sink)
    keeper.start()

    append_marks(keeper.recorder, 300)

    wait_until(lambda: sink.position == 300)


def test_jobs_are_done_piece_by_piece_to_their_end(keeper: Keeper) -> None:
    done: list[int] = []

    def job() -> Iterator[None]:
        for number in range(5):
            done.append(number)
            yield

    keeper.jobs.extend((job(), job()))
    keeper.start()

    wait_until(lambda: not keeper.jobs)
    assert done == [0, 1, 2, 3, 4] * 2


def test_threading_does_not_know_it(keeper: Keeper) -> None:
    before = threading.enumerate()
    keeper.start()
    append_marks(keeper.recorder, 10)
    wait_until(lambda: keeper.recorder.history.end == 10)

    assert threading.enumerate() == before and threading.active_count() == len(before)


def test_it_stops_and_starts_again(keeper: Keeper) -> None:
    for _ in range(20):
        keeper.start()
        keeper.stop()
    keeper.start()
    append_marks(keeper.recorder, 1)
    wait_until(lambda: keeper.recorder.history.end == 1)


@pytest.mark.skipif(sys.platform != "linux", reason="asks Linux for its threads")
def test_it_is_gone_for_the_system_when_it_has_left_and_is_back_when_asked(keeper: Keeper) -> None:
    before = threads_of_system()
    for _ in range(50):
        keeper.start()
        keeper.leave()
        assert threads_of_system() == before
    assert keeper.recorder.attend_ns == 0

    keeper.recorder.attend()

    assert keeper.recorder.attend_ns > clock.now_ns() and threads_of_system() == before + 1


def test_a_failure_is_told_and_ends_it(keeper: Keeper, errors: list[BaseException]) -> None:
    def fail() -> None:
        raise RuntimeError("of a watch")

    keeper.watches.append(fail)
    keeper.start()

    wait_until(lambda: errors)
    keeper.stop()
    assert [str(error) for error in errors] == ["of a watch"]


def test_a_signals_handler_may_wake_it(keeper: Keeper) -> None:
    keeper.wake()
    keeper.wake()
    keeper.start()
    keeper.wake()
    append_marks(keeper.recorder, 1)
    wait_until(lambda: keeper.recorder.history.end == 1)
