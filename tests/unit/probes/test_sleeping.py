import copy
import importlib.util
import inspect
import pickle
import sys
import time
import traceback
import types
from time import sleep

import pytest

from asynctrace.events import BLOCKING_FINISHED, BLOCKING_STARTED, CALL_TRACED
from asynctrace.probes.calls import close_call, open_call
from asynctrace.probes.failure import Guard
from asynctrace.probes.sleeping import SleepProbe
from asynctrace.recorder import Recorder

REAL = (time.sleep,)  # not as a global of its own: that would be replaced too


@pytest.fixture
def recorder():
    return Recorder()


@pytest.fixture
def probe(recorder):
    probe = SleepProbe(recorder, Guard(lambda: None))
    probe.install()
    yield probe
    probe.remove()


def test_records_sleeping_inside_a_call_with_the_place(probe, recorder):
    opened = open_call(recorder, CALL_TRACED, 1)
    time.sleep(0.001)
    close_call(opened)
    part = recorder.freeze(time.monotonic_ns())
    _, began, ended, _ = part.events
    assert [began[2], ended[2]] == [BLOCKING_STARTED, BLOCKING_FINISHED]
    assert began[3] == ended[3] == opened[2]
    assert part.sites[began[5]].name == "time.sleep"
    assert part.expressions[began[4], began[6]].text == "time.sleep(0.001)"
    assert ended[0] - began[0] >= 1_000_000


def test_sees_a_name_bound_before(probe, recorder):
    opened = open_call(recorder, CALL_TRACED, 1)
    sleep(0)
    close_call(opened)
    assert [event[2] for event in recorder.events[1:3]] == [BLOCKING_STARTED, BLOCKING_FINISHED]


def test_outside_of_calls_and_steps_nothing_is_recorded(probe, recorder):
    time.sleep(0)
    assert recorder.events == []


def test_belongs_to_the_innermost_of_call_and_step(probe, recorder):
    state = recorder.local.state
    main = open_call(recorder, CALL_TRACED, 1)
    state.task = 77
    sleep(0)  # in the step, inside main
    inner = open_call(recorder, CALL_TRACED, 1)
    sleep(0)  # in a call of the step
    close_call(inner)
    state.task = 0
    sleep(0)
    close_call(main)
    subjects = [event[3] for event in recorder.events if event[2] == BLOCKING_STARTED]
    assert subjects == [77, inner[2], main[2]]


def test_everything_is_put_back():
    later = types.ModuleType("later")
    sys.modules["later"] = later
    probe = SleepProbe(Recorder(), Guard(lambda: None))
    try:
        probe.install()
        later.nap = time.sleep  # `from time import sleep as nap`, while we record
        assert time.sleep is not REAL[0]
        probe.remove()
        assert later.nap is REAL[0]
    finally:
        del sys.modules["later"]
    assert time.sleep is REAL[0]
    assert sleep is REAL[0]


def test_another_tool_s_sleep_stays():
    probe = SleepProbe(Recorder(), Guard(lambda: None))

    def fake(seconds: float) -> None: ...

    time.sleep = fake
    try:
        probe.install()
        assert time.sleep is fake
        probe.remove()
        assert time.sleep is fake
    finally:
        time.sleep = REAL[0]


def test_a_lazy_module_is_not_loaded(recorder):
    spec = importlib.util.find_spec("this")
    loader = importlib.util.LazyLoader(spec.loader)
    spec.loader = loader
    module = importlib.util.module_from_spec(spec)
    sys.modules["this"] = module
    try:
        loader.exec_module(module)
        probe = SleepProbe(recorder, Guard(lambda: None))
        probe.install()
        probe.remove()
        assert type(module) is not types.ModuleType  # it would be one once loaded
    finally:
        del sys.modules["this"]


def test_looks_like_the_built_in_function(probe):
    assert time.sleep is not REAL[0]
    assert time.sleep == REAL[0]
    assert inspect.isbuiltin(time.sleep)
    for name in ("__name__", "__qualname__", "__module__", "__doc__", "__self__"):
        assert getattr(time.sleep, name) == getattr(REAL[0], name)
    assert repr(time.sleep) == repr(REAL[0])
    assert not inspect.iscoroutinefunction(time.sleep)


def test_does_not_become_a_method(probe):
    class Clock:
        pause = time.sleep

    assert Clock().pause(0) is None


def test_copies_and_pickles_by_its_name(probe):
    ours = time.sleep
    assert copy.deepcopy(ours) is ours
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        pickled = pickle.dumps(ours, protocol)
        assert b"asynctrace" not in pickled
        assert pickle.loads(pickled) is ours
    probe.remove()
    assert pickle.loads(pickled) is REAL[0]
    assert pickle.loads(pickle.dumps(ours)) is REAL[0]


@pytest.mark.parametrize("args", [("a",), (), (1, 2), (-1,)])
def test_errors_and_tracebacks_are_the_real_one_s(args, probe, recorder):
    opened = open_call(recorder, CALL_TRACED, 1)
    found = []
    for function in (REAL[0], time.sleep):
        try:
            function(*args)
        except (TypeError, ValueError) as error:
            found.append(traceback.format_exception(error))
    close_call(opened)
    assert found[0] == found[1]
    assert len(recorder.events) == 4
