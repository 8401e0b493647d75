"""Which rows a Gantt chart has."""

from asynctrace.analysis.rows import MOST_LANES, Row, gantt_rows, packed, place_of
from tests.fakes import FakeTrace


def labels(rows: list[Row]) -> list[tuple[int, str, str]]:
    return [(row.depth, row.label, row.place) for row in rows]


def test_children_are_indented_below_their_creator_in_order_of_creation() -> None:
    fake = FakeTrace(source="app.py")
    main = fake.task("main", line=9, states=[("running", 0, 100)])
    first = fake.task("site", line=5, creator=main, states=[("running", 1, 90)])
    fake.task("site", line=5, creator=main, states=[("running", 2, 90)])
    fake.task("page", line=2, creator=first, states=[("running", 3, 90)])

    rows = gantt_rows(fake.build())

    assert labels(rows) == [
        (0, "main", "app.py:9"),
        (1, "site #1", "app.py:5"),
        (2, "page", "app.py:2"),
        (1, "site #2", "app.py:5"),
    ]


def test_a_label_that_occurs_several_times_is_numbered_from_the_top() -> None:
    fake = FakeTrace()
    parents = [fake.task("parent", states=[("running", start, 100)]) for start in (0, 1)]
    fake.task("child", creator=parents[1], states=[("running", 2, 100)])
    fake.task("child", creator=parents[0], states=[("running", 3, 100)])

    rows = gantt_rows(fake.build())

    assert [row.label for row in rows] == ["parent #1", "child #1", "parent #2", "child #2"]


def test_library_tasks_are_one_last_row_and_their_children_move_up() -> None:
    fake = FakeTrace()
    main = fake.task("main", states=[("running", 0, 1), ("waiting", 1, 100, "io")])
    server = fake.task("serve", creator=main, is_user=False, states=[("running", 1, 2), ("waiting", 2, 50, "io")])
    fake.task("receive", creator=main, is_user=False, states=[("running", 2, 3), ("ready", 3, 4)])
    fake.task("handler", creator=server, states=[("running", 5, 6)])

    rows = gantt_rows(fake.build())

    assert [(row.depth, row.label, row.kind) for row in rows] == [
        (0, "main", "task"),
        (1, "handler", "task"),
        (0, "library: 2 tasks", "folded"),
    ]
    folded = [(one.kind, one.start_ns // 10**6, one.end_ns // 10**6) for one in rows[-1].stretches]
    assert folded == [("running", 1, 3), ("ready", 3, 4), ("waiting", 4, 50)]


def test_library_tasks_are_the_subject_where_there_is_nothing_else() -> None:
    fake = FakeTrace()
    fake.task("serve", is_user=False, states=[("running", 0, 1)])

    assert [row.label for row in gantt_rows(fake.build())] == ["serve"]


def test_internal_tasks_have_no_row() -> None:
    fake = FakeTrace()
    fake.task("main", states=[("running", 0, 1)])
    fake.task("shutdown_asyncgens", is_internal=True, is_user=False, states=[("running", 1, 2)])

    assert [row.label for row in gantt_rows(fake.build())] == ["main"]


def test_sixty_tasks_have_a_row_each() -> None:
    fake = FakeTrace()
    for index in range(60):
        fake.task("job", states=[("running", index, index + 1)])

    assert [row.kind for row in gantt_rows(fake.build())] == ["task"] * 60


def test_more_than_sixty_share_lanes_and_the_rest_is_folded() -> None:
    fake = FakeTrace(source="app.py")
    main = fake.task("main", line=9, states=[("running", 0, 1), ("waiting", 1, 1000, "gather")])
    for index in range(200):
        fake.task("get_item", line=31, creator=main, states=[("running", index / 100, 900)])

    rows = gantt_rows(fake.build())

    assert labels(rows) == [
        (0, "main", "app.py:9"),
        (1, "get_item ×200", "app.py:31"),
        *[(1, "", "")] * (MOST_LANES - 1),
        (1, "12 lanes; 188 more folded", ""),
    ]
    assert sum(len(row.tasks) for row in rows) == 201


def test_tasks_that_follow_each_other_share_one_lane() -> None:
    fake = FakeTrace()
    for index in range(100):
        fake.task("job", states=[("running", index, index + 1)])

    rows = gantt_rows(fake.build())

    assert [(row.label, len(row.tasks)) for row in rows] == [("job ×100", 100)]


def test_no_more_rows_than_asked_for_however_many_groups_there_are() -> None:
    fake = FakeTrace()
    for index in range(100):
        for start in (0, 1) if index == 70 else (0,):
            fake.task(f"job_{index}", states=[("running", start, 100)])
    for index in range(40):
        thread = fake.thread(f"Thread-{index}")
        fake.call("work", 0, 100, kind="thread", thread=thread)
    fake.task("serve", is_user=False, states=[("running", 0, 1)])

    rows = gantt_rows(fake.build())

    assert len(rows) == 60
    assert [row.label for row in rows if row.kind == "folded"] == [
        "job_70 ×2",  # the largest group stays
        "71 other tasks",
        "12 more threads",
        "library: 1 task",
    ]


def test_coroutines_that_create_each_other_in_turn_do_not_loop() -> None:
    fake = FakeTrace()
    last = None
    for index in range(80):
        last = fake.task("ping" if index % 2 else "pong", creator=last, states=[("running", index, index + 1)])

    assert [(row.depth, row.label) for row in gantt_rows(fake.build())] == [(0, "pong ×40"), (1, "ping ×40")]


def test_packing_puts_a_task_into_the_first_free_lane() -> None:
    fake = FakeTrace()
    tasks = [
        fake.task("t", states=[("running", start, end)]) for start, end in ((0, 4), (1, 3), (2, 9), (3, 5), (4, 6))
    ]

    lanes, rest = packed(tasks, 2)

    assert lanes == [[tasks[0], tasks[4]], [tasks[1], tasks[3]]]
    assert rest == [tasks[2]]


def test_a_threaded_script_has_a_row_a_thread_and_none_for_what_only_joins() -> None:
    fake = FakeTrace(source="threads.py")
    fake.call("main", 0, 1010, line=9)
    for index in range(2):
        thread = fake.thread(f"Thread-{index + 1} (count)")
        sleep = ("time.sleep", index + 2, index + 1000, "time.sleep(1)")
        fake.call("count", index + 1, index + 1001, kind="thread", thread=thread, line=3, blockings=[sleep])

    rows = gantt_rows(fake.build())

    assert labels(rows) == [(0, "Thread-1  count", "threads.py:3"), (0, "Thread-2  count", "threads.py:3")]
    assert [(one.kind, one.texts) for one in rows[0].stretches] == [
        ("running", ()),
        ("waiting", ("time.sleep(1)", "time.sleep")),
        ("running", ()),
    ]


def test_a_worker_process_starts_up_first() -> None:
    fake = FakeTrace()
    process = fake.process("SpawnProcess-1", started=1, first_event=120)
    fake.call("count", 125, 1000, kind="process", thread=fake.thread("MainThread", process=process, is_main=True))

    rows = gantt_rows(fake.build())

    assert [(row.label, row.starting) for row in rows] == [("worker 1  count", (1_000_000, 125_000_000))]


def test_calls_inside_a_step_have_no_row() -> None:
    fake = FakeTrace()
    main = fake.task("main", states=[("running", 0, 10)])
    fake.call("parse", 1, 9, task=main)

    assert [row.label for row in gantt_rows(fake.build())] == ["main"]


def test_places_know_the_paths_of_other_systems() -> None:
    assert place_of(r"C:\code\app.py", 7) == "app.py:7"
    assert place_of("/code/app.py", 7) == "app.py:7"
    assert place_of("", 0) == ""
