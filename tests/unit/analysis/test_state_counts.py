"""How many tasks were in each state, and what else a Gantt chart counts: busy loops, wakes, nested coroutines."""

from asynctrace.analysis.counts import state_counts
from asynctrace.analysis.loops import busy_shares
from asynctrace.analysis.slices import coroutine_slices
from asynctrace.analysis.stretches import task_blockings
from asynctrace.analysis.wakes import wakes
from asynctrace.model.trace import Trace
from tests.fakes import FakeTrace


def staircase(trace: Trace) -> list[tuple[int, int, int, int]]:
    return [(one.time_ns, one.running, one.ready, one.waiting) for one in state_counts(trace)]


def test_states_are_counted_over_time() -> None:
    fake = FakeTrace(unit_ns=1)
    fake.task("a", states=[("ready", 10, 20), ("running", 20, 30), ("waiting", 30, 50, "sleep"), ("running", 50, 60)])
    fake.task("b", states=[("ready", 20, 30), ("running", 30, 40)])

    assert staircase(fake.build(end=70)) == [
        (0, 0, 0, 0),
        (10, 0, 1, 0),
        (20, 1, 1, 0),
        (30, 1, 0, 1),
        (40, 0, 0, 1),
        (50, 1, 0, 0),
        (60, 0, 0, 0),
    ]


def test_internal_tasks_are_not_counted() -> None:
    fake = FakeTrace(unit_ns=1)
    fake.task("main", states=[("running", 0, 10)])
    fake.task("shutdown", is_internal=True, states=[("running", 10, 20)])

    assert staircase(fake.build()) == [(0, 1, 0, 0), (10, 0, 0, 0)]


def test_calls_are_counted_where_there_are_no_tasks() -> None:
    fake = FakeTrace(unit_ns=1)
    fake.call("count", 5, 30, blockings=[("time.sleep", 10, 25)])

    assert staircase(fake.build()) == [(0, 0, 0, 0), (5, 1, 0, 0), (10, 0, 0, 1), (25, 1, 0, 0), (30, 0, 0, 0)]


def test_a_loop_is_busy_in_steps_and_long_callbacks_but_not_twice() -> None:
    fake = FakeTrace()
    outer = fake.task("outer", states=[("running", 0, 20), ("waiting", 20, 100, "sleep")])
    fake.task("eager", creator=outer, is_eager=True, states=[("running", 5, 15)])
    fake.callback("tick", 50, 60)

    assert busy_shares(fake.build()) == {fake.main_loop: 0.3}


def test_wakes_come_from_tasks_and_creation_is_none() -> None:
    fake = FakeTrace()
    main = fake.task("main", states=[("running", 0, 1), ("waiting", 1, 5, "gather")])
    child = fake.task("child", creator=main, states=[("ready", 0, 1, main), ("running", 1, 2)])
    sleeper = fake.task("b", states=[("waiting", 2, 5, "event"), ("ready", 5, 6, child), ("ready", 6, 7, "timer")])

    found = [(wake.time_ns, wake.waker, wake.woken) for wake in wakes(fake.build())]

    assert found == [(5_000_000, child, sleeper)]


def test_blocking_in_a_function_that_a_task_called_is_the_tasks() -> None:
    fake = FakeTrace(unit_ns=1)
    task = fake.task("main", states=[("running", 0, 100)], blockings=[("time.sleep", 0, 10)])
    fake.call("load", 20, 60, task=task, blockings=[("open", 30, 40)])

    assert task_blockings(fake.build()) == {task: [(0, 10), (30, 40)]}


def test_coroutines_nest_by_level_and_libraries_are_passed_over() -> None:
    fake = FakeTrace(unit_ns=1)
    task = fake.task("handle", states=[("running", 0, 100)])
    root = fake.coroutine("handle", 0, 100, task=task)
    fetch = fake.coroutine("fetch", 10, 60, awaiter=root, suspensions=[(20, 50)])
    client = fake.coroutine("Client.get", 12, 55, awaiter=fetch, is_user=False)
    retry = fake.coroutine("retry", 14, 54, awaiter=client, suspensions=[(20, 50)])
    store = fake.coroutine("store", 60, 90, awaiter=root)

    found = coroutine_slices(fake.build())

    assert [(one.coroutine, one.level, one.active) for one in found[task]] == [
        (fetch, 0, ((10, 20), (50, 60))),
        (retry, 1, ((14, 20), (50, 54))),
        (store, 0, ((60, 90),)),
    ]
