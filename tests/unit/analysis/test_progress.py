"""What counts as in progress: started, unfinished, and not merely waiting for other recorded work."""

from collections.abc import Callable

import pytest

from asynctrace.analysis.progress import in_progress, peak_and_mean
from asynctrace.model.trace import Trace
from tests.comparison_fakes import POOL, blocking, gather, processes, threads
from tests.fakes import FakeTrace


@pytest.mark.parametrize(
    ("version", "peak", "mean"), [(blocking, 1, 1.0), (threads, 3, 3.0), (processes, 3, 2.7), (gather, 3, 3.0)]
)
def test_three_sleeps_of_a_second(version: Callable[[], Trace], peak: int, mean: float) -> None:
    measured_peak, measured_mean = peak_and_mean(version())

    assert (measured_peak, round(measured_mean, 1)) == (peak, mean)


def staircase(fake: FakeTrace, end: float) -> list[tuple[int, int]]:
    return in_progress(fake.build(end=end))


def test_a_task_counts_from_its_first_step_to_its_end() -> None:
    fake = FakeTrace(unit_ns=1)
    fake.task(
        "work", states=[("ready", 10, 20), ("running", 20, 30), ("waiting", 30, 60, "sleep"), ("running", 60, 70)]
    )

    assert staircase(fake, 100) == [(0, 0), (20, 1), (70, 0)]


def test_a_task_that_never_ran_does_not_count() -> None:
    fake = FakeTrace(unit_ns=1)
    fake.task("work", states=[("ready", 10, 90)], outcome="cancelled")

    assert staircase(fake, 100) == [(0, 0)]


def test_internal_tasks_do_not_count() -> None:
    fake = FakeTrace(unit_ns=1)
    fake.task("shutdown", states=[("running", 10, 90)], is_internal=True)

    assert staircase(fake, 100) == [(0, 0)]


def test_a_task_that_awaits_another_leaves_the_counting_to_it() -> None:
    fake = FakeTrace(unit_ns=1)
    child = fake.task("child", states=[("running", 20, 50)])
    fake.task("parent", states=[("running", 10, 20), ("waiting", 20, 50, "task", None, child), ("running", 50, 60)])

    assert staircase(fake, 100) == [(0, 0), (10, 1), (60, 0)]


def test_an_awaiter_is_woken_before_its_childs_last_step_ends_and_both_count_as_one() -> None:
    fake = FakeTrace(unit_ns=1)
    child = fake.task("child", states=[("running", 20, 50)])
    waiting = ("waiting", 20, 48, "task", None, child)
    fake.task("parent", states=[("running", 10, 20), waiting, ("ready", 48, 52, child), ("running", 52, 60)])

    assert staircase(fake, 100) == [(0, 0), (10, 1), (60, 0)]


def test_a_task_waits_for_its_job_only_when_the_jobs_call_was_recorded() -> None:
    fake = FakeTrace(unit_ns=1)
    seen, unseen = fake.job("seen", 20, 80), fake.job("unseen", 20, 80)
    fake.call("seen", 30, 80, kind="job", thread=fake.thread("asyncio_0"), job=seen)
    fake.task("one", states=[("running", 10, 20), ("waiting", 20, 80, "thread", None, seen), ("running", 80, 90)])
    fake.task("two", states=[("running", 10, 20), ("waiting", 20, 80, "thread", None, unseen), ("running", 80, 90)])

    assert staircase(fake, 100) == [(0, 0), (10, 2), (20, 1), (30, 2), (90, 0)]


def test_a_job_that_begins_before_its_tasks_step_ends_counts_as_one_with_it() -> None:
    fake = FakeTrace()
    job = fake.job("fetch", 12, 80)
    fake.call("fetch", 13, 80, kind="job", thread=fake.thread("asyncio_0"), job=job)
    fake.task("one", states=[("running", 10, 14), ("waiting", 14, 81, "thread", None, job), ("running", 81, 90)])

    counts = [count for _, count in staircase(fake, 100)]

    assert max(counts) == 1


def test_nested_calls_of_a_thread_count_once() -> None:
    fake = FakeTrace(unit_ns=1)
    outer = fake.call("outer", 10, 90, cpu=80)
    fake.call("inner", 30, 50, parent=outer, cpu=20)

    assert staircase(fake, 100) == [(0, 0), (10, 1), (90, 0)]


def test_a_call_inside_a_step_does_not_count_beside_its_task() -> None:
    fake = FakeTrace(unit_ns=1)
    task = fake.task("work", states=[("running", 10, 90)])
    fake.call("parse", 20, 80, task=task, cpu=60)

    assert staircase(fake, 100) == [(0, 0), (10, 1), (90, 0)]


def test_a_call_that_runs_a_loop_counts_only_outside_its_tasks() -> None:
    fake = FakeTrace(unit_ns=1)
    fake.call("main", 10, 90, cpu=80)
    fake.task("work", states=[("ready", 20, 30), ("running", 30, 70)])

    assert staircase(fake, 100) == [(0, 0), (10, 1), (20, 0), (30, 1), (90, 0)]


def test_a_main_that_joins_threads_does_not_count_while_they_work() -> None:
    fake = FakeTrace(unit_ns=1)
    fake.call("main", 10, 90, cpu=12)
    fake.call("work", 20, 80, kind="thread", thread=fake.thread("Thread-1"))

    assert staircase(fake, 100) == [(0, 0), (10, 1), (90, 0)]


def test_a_main_that_works_beside_its_threads_counts() -> None:
    fake = FakeTrace(unit_ns=1)
    fake.call("main", 10, 90, cpu=78)
    fake.call("work", 20, 80, kind="thread", thread=fake.thread("Thread-1"), cpu=60)

    assert staircase(fake, 100) == [(0, 0), (10, 1), (20, 2), (80, 1), (90, 0)]


def test_a_main_that_sleeps_beside_its_threads_counts() -> None:
    fake = FakeTrace(unit_ns=1)
    fake.call("main", 10, 90, blockings=[("time.sleep", 10, 90)])
    fake.call("work", 20, 80, kind="thread", thread=fake.thread("Thread-1"))

    assert staircase(fake, 100) == [(0, 0), (10, 1), (20, 2), (80, 1), (90, 0)]


def test_threads_that_stand_in_something_unrecorded_do_not_wait_for_each_other() -> None:
    fake = FakeTrace(unit_ns=1)
    for index in range(3):
        fake.call("download", 10 + index, 90, kind="thread", thread=fake.thread(f"Thread-{index}"))

    assert peak_and_mean(fake.build(end=100))[0] == 3


def test_the_machinery_of_pools_does_not_count() -> None:
    fake = FakeTrace(unit_ns=1)
    thread = fake.thread("MainThread", process=fake.process("ForkProcess-1", started=5), is_main=True)
    worker = fake.call("_process_worker", 10, 90, kind="process", thread=thread, is_user=False, file=POOL)
    fake.call("work", 30, 50, kind="job", thread=thread, parent=worker)

    assert staircase(fake, 100) == [(0, 0), (30, 1), (50, 0)]


def test_a_main_that_starts_workers_waits_for_them() -> None:
    fake = FakeTrace(unit_ns=1)
    fake.call("main", 0, 100, cpu=10)
    thread = fake.thread("MainThread", process=fake.process("ForkProcess-1", started=10), is_main=True)
    fake.call("work", 40, 100, kind="process", thread=thread)

    assert staircase(fake, 100) == [(0, 1), (10, 0), (40, 1), (100, 0)]


def test_the_mean_is_the_integral_over_the_wall_time() -> None:
    fake = FakeTrace(unit_ns=1)
    fake.task("one", states=[("running", 0, 50)])
    fake.task("two", states=[("running", 25, 75)])

    assert peak_and_mean(fake.build(end=100)) == (2, 1.0)


def test_an_empty_trace_has_nothing_in_progress() -> None:
    assert peak_and_mean(FakeTrace().build()) == (0, 0.0)


def test_a_main_waits_for_workers_to_shut_down_too() -> None:
    fake = FakeTrace()
    fake.call("main", 0, 100, cpu=5)
    process = fake.process("ForkProcess-1", started=0, finished=90)
    fake.call("work", 0, 60, kind="job", thread=fake.thread("MainThread", process=process, is_main=True))

    assert staircase(fake, 100) == [(0, 1), (60_000_000, 0), (90_000_000, 1), (100_000_000, 0)]


def test_a_main_does_not_wait_for_workers_that_stay_idle() -> None:
    fake = FakeTrace()
    fake.call("main", 0, 2000, cpu=5)
    process = fake.process("ForkProcess-1", started=0, finished=1900)
    fake.call("work", 0, 60, kind="job", thread=fake.thread("MainThread", process=process, is_main=True))

    assert staircase(fake, 2000) == [(0, 1), (2_000_000_000, 0)]
