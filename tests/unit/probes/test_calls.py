import functools
import inspect
import traceback

import pytest

from asynctrace.events import CALL_FINISHED, CALL_STARTED, CALL_TRACED, RAISED, RETURNED
from asynctrace.probes.calls import close_call, on_outermost_end, open_call, trace_function
from asynctrace.probes.failure import Guard
from asynctrace.recorder import Recorder
from asynctrace.recorder.places import describe_code


def ignore() -> None:
    pass


def guard() -> Guard:
    return Guard(ignore)


def lines(error: BaseException) -> list[str]:
    return traceback.format_exception(error)


class TestOpenAndClose:
    def test_keeps_the_call_around_it_and_the_depth(self):
        recorder = Recorder()
        state = recorder.local.state
        outer = open_call(recorder, CALL_TRACED, recorder.text("outer"))
        inner = open_call(recorder, CALL_TRACED, recorder.text("inner"))
        assert (state.call, state.depth) == (inner[2], 2)
        close_call(inner)
        assert (state.call, state.depth) == (outer[2], 1)
        close_call(outer)
        assert (state.call, state.depth) == (0, 0)

    def test_events_name_the_outcome_and_the_exception(self):
        recorder = Recorder()
        close_call(open_call(recorder, CALL_TRACED, recorder.text("f"), job=7))
        close_call(open_call(recorder, CALL_TRACED, recorder.text("g")), KeyError("x"))
        assert [event[2] for event in recorder.events] == [CALL_STARTED, CALL_FINISHED] * 2
        assert recorder.events[0][4] == 7
        assert [event[6] for event in recorder.events[1::2]] == [RETURNED, RAISED]
        assert recorder.events[3][5] == recorder.text("KeyError")

    def test_cpu_time_is_the_thread_s(self):
        recorder = Recorder()
        opened = open_call(recorder, CALL_TRACED, recorder.text("busy"))
        sum(range(20_000))
        close_call(opened)
        started, finished = recorder.events
        assert 0 < finished[4] <= finished[0] - started[0] + 1_000_000

    def test_tells_when_the_outermost_call_ended(self):
        recorder = Recorder()
        ended = []
        on_outermost_end(lambda of, kind: ended.append((of, kind)))
        try:
            outer = open_call(recorder, CALL_TRACED, 1)
            close_call(open_call(recorder, CALL_TRACED, 1))
            assert ended == []
            close_call(outer)
        finally:
            on_outermost_end(None)
        assert ended == [(recorder, CALL_TRACED)]


class TestTraceFunction:
    def test_records_the_function_s_own_code(self):
        recorder = Recorder()

        def double(number: int) -> int:
            return number * 2

        traced = trace_function(double, lambda: recorder, guard().check)
        assert traced(4) == 8
        assert traced(number=5) == 10
        assert [event[2] for event in recorder.events] == [CALL_STARTED, CALL_FINISHED] * 2
        assert recorder.events[0][5] == recorder.site(double.__code__)
        assert recorder.events[0][6] == CALL_TRACED

    def test_looks_like_the_function(self):
        def double(number: int) -> int:
            """Twice."""
            return number * 2

        traced = trace_function(double, lambda: None, guard().check)
        assert traced.__name__ == "double"
        assert traced.__doc__ == "Twice."
        assert inspect.signature(traced) == inspect.signature(double)

    @pytest.mark.parametrize("is_recording", [True, False])
    def test_traceback_is_that_of_the_function(self, is_recording):
        recorder = Recorder()

        def fail() -> None:
            raise ValueError("no")

        def too_few(a: int, b: int) -> None: ...

        for function, args in ((fail, ()), (too_few, (1,))):
            traced = trace_function(function, lambda: recorder if is_recording else None, guard().check)
            found = []
            for called in (function, traced):
                try:
                    called(*args)
                except (ValueError, TypeError) as error:
                    found.append(lines(error))
            assert found[0] == found[1]
        assert len(recorder.events) == 4 * is_recording

    def test_what_is_no_plain_function_comes_back_as_it_is(self):
        cached = functools.cache(lambda: 5)
        assert trace_function(cached, lambda: None) is cached

    def test_an_exception_that_forbids_assignment_goes_through(self):
        class FrozenError(Exception):
            def __setattr__(self, name: str, value: object) -> None:
                raise AttributeError(name)

        def fail() -> None:
            raise FrozenError

        with pytest.raises(FrozenError):
            trace_function(fail, lambda: None, guard().check)()

    def test_a_failure_of_ours_does_not_reach_the_program(self, caplog):
        recorder = Recorder()
        recorder.site = functools.partial(describe_code, None)  # which fails at None
        stopped = []
        check = Guard(lambda: stopped.append(True)).check
        traced = trace_function(lambda: 5, lambda: recorder, check)
        assert traced() == 5
        assert stopped == [True]
        assert "the recording stops here" in caplog.text
