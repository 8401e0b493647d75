import dataclasses
import sys
import threading
import traceback

import pytest

from asynctrace.events import (
    CALL_FINISHED,
    CALL_FUNCTION,
    CALL_STARTED,
    CALL_TRACED,
    FUNCTION_DROPPED,
    RAISED,
    RETURNED,
)
from asynctrace.probes.calls import close_call, open_call
from asynctrace.probes.failure import Guard
from asynctrace.probes.functions import MOST_CALLS, FunctionProbe
from asynctrace.recorder import Recorder, places
from asynctrace.recorder.reference import traced_codes

ON_311 = sys.version_info < (3, 12)


class Monitoring:
    """What the monitoring probe does for a FunctionProbe on 3.12+."""

    def __init__(self, probe):
        self.probe = probe
        self.disabled = set()
        monitoring = sys.monitoring
        self.tool = next(tool for tool in range(6) if monitoring.get_tool(tool) is None)
        monitoring.use_tool_id(self.tool, "test")
        events = monitoring.events
        for event, callback in (
            (events.PY_START, self.start),
            (events.PY_RETURN, self.finish),
            (events.PY_UNWIND, self.unwind),
        ):
            monitoring.register_callback(self.tool, event, callback)
        monitoring.set_events(self.tool, events.PY_START | events.PY_RETURN | events.PY_UNWIND)

    def start(self, code, offset):
        if not self.probe.started(code, sys._getframe(1)):
            self.disabled.add(code.co_name)
            return sys.monitoring.DISABLE
        return None

    def finish(self, code, offset, value):
        return None if self.probe.finished(code, sys._getframe(1)) else sys.monitoring.DISABLE

    def unwind(self, code, offset, error):
        self.probe.finished(code, sys._getframe(1), error)

    def close(self):
        monitoring = sys.monitoring
        monitoring.set_events(self.tool, 0)
        for event in (monitoring.events.PY_START, monitoring.events.PY_RETURN, monitoring.events.PY_UNWIND):
            monitoring.register_callback(self.tool, event, None)
        monitoring.free_tool_id(self.tool)
        monitoring.restart_events()


@pytest.fixture
def recorder():
    return Recorder()


@pytest.fixture
def record(recorder):
    """Call a function with the probe on; return what was recorded of it: (name, kind or outcome), in order."""

    def run(function, functions=True, in_scope=None):
        probe = FunctionProbe(recorder, Guard(lambda: None), functions, in_scope)
        probe.install()
        monitoring = None if ON_311 else Monitoring(probe)
        try:
            function()
        finally:
            if monitoring is not None:
                monitoring.close()
            probe.remove()
        assert sys.getprofile() is None
        assert threading.getprofile() is None
        part = recorder.freeze(2**62)
        names = {}
        found = []
        for _, _, kind, subject, _, site, flags in part.events:
            if kind == CALL_STARTED:
                names[subject] = part.sites[site].name.rpartition(".")[2]
                found.append((names[subject], flags))
            elif kind == CALL_FINISHED:
                found.append((names[subject], "raised" if flags == RAISED else "returned"))
        return [entry for entry in found if entry[0] not in ("close", "remove")]

    return run


def inner():
    return None


def outer():
    inner()
    return 5


def test_a_script_s_functions_nest(record):
    assert record(outer) == [
        ("outer", CALL_FUNCTION),
        ("inner", CALL_FUNCTION),
        ("inner", "returned"),
        ("outer", "returned"),
    ]


def test_an_exception_ends_each_call_that_it_leaves(record, recorder):
    def fail():
        raise LookupError

    def go():
        try:
            fail()
        except LookupError:
            return

    record(go)
    assert [event[6] for event in recorder.events if event[2] == CALL_FINISHED] == [RAISED, RETURNED]
    if not ON_311:  # a profile function is not told which
        assert recorder.events[2][5] == recorder.text("LookupError")


def test_what_is_no_plain_function_is_not_recorded(record):
    def generator():
        yield 1

    async def coroutine():
        return None

    def go():
        list(generator())
        coroutine().close()
        exec("x = 1")
        (lambda: None)()
        [-number for number in range(2)]

        class Body:
            pass

    assert record(go) == [("go", CALL_FUNCTION), ("go", "returned")]


def test_libraries_are_not_recorded(record):
    assert record(lambda: traceback.format_stack()) == []


def test_the_scope_decides(record):
    assert record(outer, in_scope=lambda file: False) == []
    assert record(outer, in_scope=lambda file: file.endswith("test_functions.py")) != []


def test_without_functions_only_the_decorated_are_recorded(record):
    traced_codes[id(inner.__code__)] = inner.__code__, None, ()
    try:
        found = record(outer, functions=False)
    finally:
        del traced_codes[id(inner.__code__)]
    # On 3.11 the decorator's own wrapper records them.
    assert found == ([] if ON_311 else [("inner", CALL_TRACED), ("inner", "returned")])


def test_a_function_called_too_often_is_dropped(record, recorder):
    def go():
        for _ in range(MOST_CALLS + 5):
            inner()

    found = record(go)
    assert found.count(("inner", CALL_FUNCTION)) == found.count(("inner", "returned")) == MOST_CALLS
    dropped = [event for event in recorder.events if event[2] == FUNCTION_DROPPED]
    assert [event[5] for event in dropped] == [recorder.site(inner.__code__)]
    assert found[-1] == ("go", "returned")


def test_a_recursion_that_is_dropped_gives_up_its_open_calls(record, recorder):
    seen = []

    def after():
        state = recorder.local.state
        seen.append((state.call, state.depth))

    def count(number):
        if number:
            count(number - 1)
        else:
            after()

    def go():
        after()
        for _ in range(3):
            count(400)
        after()

    found = record(go)
    assert found.count(("count", CALL_FUNCTION)) == MOST_CALLS
    assert found.count(("count", "returned")) == 2 * 401
    starts = [event for event in recorder.events if event[2] == CALL_STARTED]
    within = [event[3] for event in starts if event[5] == recorder.site(after.__code__)]
    # The calls that stay return to one another as before: the last `after` runs in `go`, as the first.
    assert [call for call, _ in seen] == within
    assert seen[-1][1] == seen[0][1] == seen[3][1]
    assert found[-1] == ("go", "returned")


def test_generated_methods_are_not_recorded(record, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["pytest"])  # under `python -c` a <string> is the user's
    places._is_outside_libraries.cache_clear()

    @dataclasses.dataclass
    class Point:
        x: int

    def go():
        assert Point(1) == Point(1)

    assert record(go) == [("go", CALL_FUNCTION), ("go", "returned")]


def test_a_target_is_not_recorded_twice(record, recorder):
    def go():
        opened = open_call(recorder, CALL_TRACED, recorder.text("target"), code=outer.__code__)
        outer()
        outer()
        close_call(opened)

    names = [name for name, kind in record(go) if kind == CALL_FUNCTION]
    assert names == ["go", "inner", "outer", "inner"]


def test_threads_that_start_meanwhile_are_seen(record):
    def go():
        thread = threading.Thread(target=outer)
        thread.start()
        thread.join()

    assert [name for name, kind in record(go) if kind == CALL_FUNCTION] == ["go", "outer", "inner"]


def test_a_forked_child_leaves_its_parent_s_calls(recorder):
    probe = FunctionProbe(recorder, Guard(lambda: None), True)
    frame = sys._getframe()
    probe.started(frame.f_code, frame)
    other = Recorder()
    probe.restart(other)
    assert probe.finished(frame.f_code, frame)
    assert other.events == []


@pytest.mark.skipif(not ON_311, reason="3.12+ has monitoring")
class TestProfiling:
    def test_another_profiler_stays(self, recorder):
        def profiler(frame, event, arg): ...

        probe = FunctionProbe(recorder, Guard(lambda: None), True)
        sys.setprofile(profiler)
        try:
            probe.install()
            assert sys.getprofile() is profiler
            probe.remove()
            assert sys.getprofile() is profiler
        finally:
            sys.setprofile(None)

    def test_pauses_while_a_loop_runs(self, record, recorder):
        import asyncio

        seen = []

        async def main():
            seen.append(sys.getprofile())
            inner()

        def go():
            asyncio.run(main())
            outer()

        names = [name for name, kind in record(go) if kind == CALL_FUNCTION]
        assert names == ["go", "outer", "inner"]
        assert seen == [None]

    def test_traceback_through_a_loop_is_as_before(self, record):
        import asyncio

        async def main():
            raise ValueError

        found = []

        def go():
            try:
                asyncio.run(main())
            except ValueError as error:
                found.append(traceback.format_exception(error))

        go()
        record(go)
        assert found[0] == found[1]
