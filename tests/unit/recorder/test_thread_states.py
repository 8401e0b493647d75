"""Each thread has one state, also when it is asked for while it is being made."""

import threading

import pytest

from asynctrace.recorder import Recorder, ThreadState


def in_a_thread(recorder: Recorder) -> ThreadState:
    found: list[ThreadState] = []
    thread = threading.Thread(target=lambda: found.append(recorder.local.state))
    thread.start()
    thread.join()
    return found[0]


def test_each_thread_has_a_state_of_its_own_that_stays() -> None:
    recorder = Recorder()

    mine, other = recorder.local.state, in_a_thread(recorder)

    assert recorder.local.state is mine
    assert other is not mine
    assert other.id != mine.id


def test_a_collection_in_the_middle_of_a_threads_first_event_finds_the_same_state(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    recorder = Recorder()
    meet_thread = recorder.meet_thread
    asked: list[ThreadState] = []
    meanwhile: list[ThreadState] = []

    def interrupted() -> ThreadState:
        state = meet_thread()
        asked.append(state)
        if len(asked) == 1:  # as the callback of a weak reference, or a signal's handler
            meanwhile.append(recorder.local.state)
        return state

    monkeypatch.setattr(recorder, "meet_thread", interrupted)

    state = in_a_thread(recorder)

    assert meanwhile == [state]
