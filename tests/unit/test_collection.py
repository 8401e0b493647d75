"""The garbage collector rests while a trace is built, where nobody can tell."""

from __future__ import annotations

import gc
import threading
import weakref
from collections.abc import Iterator

import pytest

from asynctrace.model.collection import collection_paused


@pytest.fixture(autouse=True)
def collector() -> Iterator[None]:
    """Leave the collector as it was."""
    was_enabled = gc.isenabled()
    gc.enable()
    yield
    (gc.enable if was_enabled else gc.disable)()


@pytest.fixture
def no_other_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have no thread beside this one, of pytest's plugins either."""
    monkeypatch.setattr("sys._current_frames", lambda: {threading.get_ident(): None})


class Ring:
    """Garbage that only the collector frees."""

    def __init__(self) -> None:
        self.self = self


@pytest.mark.usefixtures("no_other_thread")
def test_it_rests_and_goes_on() -> None:
    with collection_paused():
        assert not gc.isenabled()
    assert gc.isenabled()


@pytest.mark.usefixtures("no_other_thread")
def test_it_goes_on_after_an_error() -> None:
    with pytest.raises(LookupError), collection_paused():
        raise LookupError
    assert gc.isenabled()


@pytest.mark.usefixtures("no_other_thread")
def test_one_that_the_program_has_switched_off_stays_off() -> None:
    gc.disable()
    with collection_paused():
        assert not gc.isenabled()
    assert not gc.isenabled()


def test_it_goes_on_all_the_time_where_another_thread_runs() -> None:
    end = threading.Event()
    other = threading.Thread(target=end.wait)
    other.start()
    try:
        with collection_paused():
            assert gc.isenabled()
    finally:
        end.set()
        other.join()


@pytest.mark.usefixtures("no_other_thread")
def test_garbage_of_before_is_freed_before_and_that_of_meanwhile_later() -> None:
    gc.collect()
    before = weakref.ref(Ring())
    with collection_paused():
        assert before() is None
        meanwhile = weakref.ref(Ring())
    gc.collect()
    assert meanwhile() is None


def _very_many() -> list[list[int]]:
    return [[each] for each in range(20_000)]


@pytest.mark.usefixtures("no_other_thread")
def test_very_many_objects_grow_old_at_once() -> None:
    gc.unfreeze()  # the tests' own
    with collection_paused():
        made = _very_many()
    assert not {id(each) for each in gc.get_objects(generation=0)} & {id(each) for each in made}
    assert gc.get_freeze_count() == 0


@pytest.mark.usefixtures("no_other_thread")
def test_what_the_program_has_frozen_stays_frozen() -> None:
    gc.freeze()
    try:
        with collection_paused():
            made = _very_many()
        assert made[0] in gc.get_objects()
        assert gc.get_freeze_count() > 0  # some of it may have died, as it does
    finally:
        gc.unfreeze()
