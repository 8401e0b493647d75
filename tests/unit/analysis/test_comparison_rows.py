"""The rows of a panel: who worked, and what each of them did when."""

from collections.abc import Callable

import pytest

from asynctrace.analysis.comparison_rows import Bar, Row, Unit, panel, panels
from asynctrace.model.trace import Trace
from tests.comparison_fakes import POOL, blocking, gather, processes, slept, threads
from tests.fakes import FakeTrace

MS = 1_000_000


def labels(rows: tuple[Row, ...]) -> list[str]:
    return [row.label for row in rows]


@pytest.mark.parametrize(
    ("version", "expected"),
    [
        (blocking, ["MainThread  count"]),
        (threads, ["Thread-1  count", "Thread-2  count", "Thread-3  count"]),
        (processes, ["worker 1  count", "worker 2  count", "worker 3  count"]),
        (gather, ["count #1", "count #2", "count #3"]),
    ],
)
def test_rows_of_the_demo(version: Callable[[], Trace], expected: list[str]) -> None:
    assert labels(panel(version()).rows) == expected


def test_a_threads_calls_stand_end_to_end() -> None:
    fake = FakeTrace()
    main = fake.call("main", 0, 2000)
    for start in (0, 1000):
        fake.call("count", start, start + 1000, parent=main, cpu=2, blockings=[slept(start + 1, start + 999)])

    (row,) = panel(fake.build()).rows

    assert row.bars == (
        Bar("running", 0, 1 * MS),
        Bar("waiting", 1 * MS, 999 * MS, "time.sleep(1)"),
        Bar("running", 999 * MS, 1000 * MS),
        Bar("running", 1000 * MS, 1001 * MS),
        Bar("waiting", 1001 * MS, 1999 * MS, "time.sleep(1)"),
        Bar("running", 1999 * MS, 2000 * MS),
    )
    assert [(unit.name, unit.start_ns, unit.end_ns) for unit in row.units] == [
        ("count", 0, 1000 * MS),
        ("count", 1000 * MS, 2000 * MS),
    ]


def test_a_tasks_bars_are_its_states_and_its_blockings() -> None:
    fake = FakeTrace()
    states = [("ready", 0, 10), ("running", 10, 20), ("waiting", 20, 60, "io", "reader.read()"), ("running", 60, 100)]
    fake.task("work", states=states, blockings=[("time.sleep", 70, 90, "time.sleep(0.02)")], outcome="raised")

    (row,) = panel(fake.build()).rows

    assert row.bars == (
        Bar("ready", 0, 10 * MS),
        Bar("running", 10 * MS, 20 * MS),
        Bar("waiting", 20 * MS, 60 * MS, "reader.read()"),
        Bar("running", 60 * MS, 70 * MS),
        Bar("blocking", 70 * MS, 90 * MS, "time.sleep(0.02)"),
        Bar("running", 90 * MS, 100 * MS),
    )
    assert row.units == (Unit("work", 0, 100 * MS, "raised"),)


def test_a_wait_without_an_expression_says_its_kind() -> None:
    fake = FakeTrace()
    fake.task("work", states=[("running", 0, 1), ("waiting", 1, 9, "queue"), ("running", 9, 10)])

    assert panel(fake.build()).rows[0].bars[1] == Bar("waiting", 1 * MS, 9 * MS, "queue")


def test_a_workers_start_up_is_drawn_from_when_its_parent_began_to_start_it() -> None:
    assert panel(processes()).rows[0].bars[0] == Bar("starting", 3 * MS, 110 * MS)


def test_a_long_stretch_with_little_cpu_is_a_wait_and_tells_its_share() -> None:
    fake = FakeTrace()
    for index in range(4):
        fake.call("crunch", 0, 1000, kind="thread", thread=fake.thread(f"Thread-{index + 1}"), cpu=250)

    assert panel(fake.build()).rows[0].bars == (Bar("waiting", 0, 1000 * MS, "CPU 25 %"),)


def test_a_call_that_uses_the_cpu_runs() -> None:
    fake = FakeTrace()
    fake.call("crunch", 0, 1000, cpu=990)

    assert panel(fake.build()).rows[0].bars == (Bar("running", 0, 1000 * MS),)


def test_the_level_that_does_the_work_is_shown() -> None:
    fake = FakeTrace()
    main = fake.call("main", 0, 100, cpu=100)
    both = fake.call("both", 1, 99, parent=main, cpu=98)
    fake.call("parse", 1, 60, parent=both, cpu=59)
    fake.call("store", 60, 99, parent=both, cpu=39)

    assert labels(panel(fake.build()).rows) == ["MainThread  parse, store"]


def test_what_is_handed_to_a_thread_is_the_work_whatever_it_calls() -> None:
    fake = FakeTrace()
    thread = fake.thread("Thread-1 (count)")
    count = fake.call("count", 0, 100, kind="thread", thread=thread)
    fake.call("pause", 1, 99, thread=thread, parent=count, blockings=[slept(1, 99)])

    assert labels(panel(fake.build()).rows) == ["Thread-1  count"]


def test_versions_learn_the_names_of_the_work_from_each_other() -> None:
    fake = FakeTrace()
    main = fake.call("main", 0, 3000)
    for start in (0, 1000, 2000):
        count = fake.call("count", start, start + 1000, parent=main)
        fake.call("pause", start, start + 1000, parent=count, blockings=[slept(start, start + 1000)])
    alone = fake.build()

    assert labels(panel(alone).rows) == ["MainThread  pause"]
    (row,) = panels([alone, gather()])[0].rows  # type: ignore[union-attr]
    assert [unit.name for unit in row.units] == ["count"] * 3


def test_coroutines_that_others_know_by_name_are_a_tasks_pieces_of_work() -> None:
    fake = FakeTrace()
    task = fake.task("main", states=[("running", 0, 1), ("waiting", 1, 1999, "sleep"), ("running", 1999, 2000)])
    root = fake.coroutine("main", 0, 2000, task=task)
    for start in (0, 1000):
        fake.coroutine("count", start, start + 1000, awaiter=root)

    (row,) = panels([fake.build(), gather()])[0].rows  # type: ignore[union-attr]

    assert (row.label, [unit.name for unit in row.units]) == ("main  count", ["count", "count"])


def one_after_the_other(*, is_created: bool) -> Trace:
    """A task that awaits `count` twice through a `wait_for`, and with `is_created` another one that created it."""
    fake = FakeTrace()
    creator = fake.task("creator", states=[("running", 0, 1)]) if is_created else None
    states = [("running", 0, 1), ("waiting", 1, 1999, "sleep"), ("running", 1999, 2000)]
    task = fake.task("main", states=states, creator=creator)
    root = fake.coroutine("main", 0, 2000, task=task)
    for start in (0, 1000):
        library = fake.coroutine("wait_for", start, start + 1000, awaiter=root, is_user=False)
        fake.coroutine("count", start, start + 1000, awaiter=library)
    return fake.build()


def test_a_main_task_that_only_awaits_others_is_their_row() -> None:
    (row,) = panel(one_after_the_other(is_created=False)).rows

    assert (row.label, [unit.name for unit in row.units]) == ("main  count", ["count", "count"])


def test_a_task_that_was_created_is_a_piece_of_work_itself() -> None:
    assert labels(panel(one_after_the_other(is_created=True)).rows) == ["creator", "main"]


def test_libraries_are_left_out_unless_there_is_nothing_else() -> None:
    fake = FakeTrace()
    fake.task("uvicorn", states=[("running", 0, 10)], is_user=False)
    fake.task("shutdown", states=[("running", 0, 10)], is_internal=True)

    assert labels(panel(fake.build()).rows) == ["uvicorn"]

    fake.task("mine", states=[("running", 0, 10)])
    assert labels(panel(fake.build()).rows) == ["mine"]


def test_a_task_that_waits_for_a_job_gives_way_to_the_jobs_thread() -> None:
    fake = FakeTrace()
    for index in range(2):
        job = fake.job("fetch", 1, 999)
        thread = fake.thread(f"asyncio_{index}")
        fake.call("fetch", 2, 999, kind="job", thread=thread, job=job, blockings=[slept(2, 999)])
        states = [
            ("running", 0, 1),
            ("waiting", 1, 999, "thread", "asyncio.to_thread(fetch)", job),
            ("running", 999, 1000),
        ]
        fake.task("main", states=states)

    assert labels(panel(fake.build()).rows) == ["asyncio_0  fetch", "asyncio_1  fetch"]


def test_a_waiter_stays_when_what_it_waits_for_has_no_row() -> None:
    fake = FakeTrace()
    job = fake.job("getaddrinfo", 1, 999)
    thread = fake.thread("asyncio_0")
    fake.call("getaddrinfo", 2, 999, kind="job", thread=thread, job=job, is_user=False)
    fake.task("fetch", states=[("running", 0, 1), ("waiting", 1, 999, "thread", None, job), ("running", 999, 1000)])

    assert labels(panel(fake.build()).rows) == ["fetch"]


def test_calls_that_would_not_fill_a_pixel_have_no_row() -> None:
    fake = FakeTrace()
    fake.call("parse_arguments", 0, 0.1, cpu=0.1)
    fake.task("work", states=[("running", 1, 1000)])

    assert labels(panel(fake.build()).rows) == ["work"]


def test_names_are_shortened() -> None:
    fake = FakeTrace()
    fake.call("Job.run", 0, 10, kind="job", thread=fake.thread("ThreadPoolExecutor-0_1"), cpu=10)
    fake.call("main.<locals>.count", 0, 10, kind="job", thread=fake.thread("ThreadPoolExecutor-1_0"), cpu=10)
    thread = fake.thread("MainThread", process=fake.process("billing", started=0), is_main=True)
    fake.call("pay", 0, 10, kind="process", thread=thread, cpu=10)

    assert labels(panel(fake.build()).rows) == [
        "pool thread 2  Job.run",
        "pool 2 thread 1  count",
        "billing  pay",
    ]


def test_rows_that_follow_each_other_share_lanes() -> None:
    fake = FakeTrace()
    for index in range(30):
        start = 10 * (index // 3)
        fake.task("get", states=[("running", start, start + 9)])

    shown = panel(fake.build())

    assert (len(shown.rows), shown.note, shown.is_packed) == (3, "30 rows in 3 lanes", True)
    assert labels(shown.rows) == ["get ×30", "", ""]
    assert len(shown.all_rows) == 30


def test_rows_that_find_no_lane_are_counted() -> None:
    fake = FakeTrace()
    for _ in range(1000):
        fake.task("get", states=[("running", 0, 9)])

    shown = panel(fake.build())

    assert (len(shown.rows), shown.note) == (24, "24 lanes; 976 more folded")


def test_a_trace_without_calls_and_tasks_has_no_rows() -> None:
    assert panel(FakeTrace().build()).rows == ()


def test_idle_pool_workers_have_no_row() -> None:
    fake = FakeTrace()
    for index in range(2):
        process = fake.process(f"ForkProcess-{index + 1}", started=1)
        thread = fake.thread("MainThread", process=process, is_main=True)
        loop = fake.call("_process_worker", 10, 100, kind="process", thread=thread, is_user=False, file=POOL)
        if index == 0:
            fake.call("count", 10, 100, kind="job", thread=thread, parent=loop, cpu=90)

    assert labels(panel(fake.build()).rows) == ["worker 1  count"]
