import functools
import multiprocessing.pool
import time
from concurrent.futures import process
from contextvars import copy_context

import pytest

from asynctrace.probes.calls import trace_function
from asynctrace.probes.failure import Guard
from asynctrace.probes.sleeping import SleepProbe
from asynctrace.probes.targets import code_of, innermost, site_of
from asynctrace.recorder import Recorder


def work(number=0):
    return number


class Caller:
    def __call__(self):
        pass

    def method(self):
        pass


class Sly:
    """Answers everything that it is asked."""

    def __getattr__(self, name):
        raise AssertionError(f"asked for {name}")


@pytest.mark.parametrize(
    ("target", "args", "code"),
    [
        (work, (), work.__code__),
        (functools.partial(work, 1), (), work.__code__),
        (functools.partial(copy_context().run, work), (1,), work.__code__),
        (copy_context().run, (functools.partial(work), 1), work.__code__),
        (Caller().method, (), Caller.method.__code__),
        (Caller(), (), Caller.__call__.__code__),
        (trace_function(work, lambda: None), (), work.__code__),
        (Caller, (), None),
        (len, (), None),
    ],
)
def test_finds_the_user_s_function(target, args, code):
    found, is_batch = innermost(target, args)
    assert code_of(found) is code
    assert not is_batch


def test_no_object_of_the_user_s_is_asked():
    sly = Sly()
    assert innermost(sly) == (sly, False)
    assert code_of(sly) is None
    recorder = Recorder()
    assert site_of(recorder, sly, None) == recorder.text(f"{__name__}.Sly")


@pytest.mark.parametrize(
    ("target", "args", "is_batch"),
    [
        (multiprocessing.pool.mapstar, ((work, (1, 2)),), True),
        (multiprocessing.pool.starmapstar, ((work, ((1,),)),), False),
        (functools.partial(process._process_chunk, work), (((1,), (2,)),), True),
        (functools.partial(process._process_chunk, work), (((1,),),), False),
        (multiprocessing.pool.mapstar, (), False),  # called wrongly: it will raise by itself
    ],
)
def test_a_pool_s_batch_has_its_function_s_name(target, args, is_batch):
    found, batch = innermost(target, args)
    assert (found is work or not args, batch) == (True, is_batch)


def test_sleep_is_named_as_itself_also_while_it_is_replaced():
    recorder = Recorder()
    probe = SleepProbe(recorder, Guard(lambda: None))
    probe.install()
    try:
        found, _ = innermost(functools.partial(time.sleep, 1))
    finally:
        probe.remove()
    assert code_of(found) is None
    assert site_of(recorder, found, None) == recorder.text("time.sleep")
