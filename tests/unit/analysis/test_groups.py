"""Tasks by coroutine, in lanes."""

from asynctrace.analysis.groups import task_groups
from tests.fakes import FakeTrace


def test_tasks_of_one_coroutine_are_a_group_below_that_of_their_creator() -> None:
    fake = FakeTrace(source="app.py")
    main = fake.task("main", line=9, states=[("running", 0, 100)])
    for _ in range(2):
        fake.task("work", line=1, creator=main, states=[("running", 0, 10)])
    fake.task("other", line=5, states=[("running", 0, 10)])

    groups = [(group.label, group.place, group.depth) for group in task_groups(fake.build())]

    assert groups == [("main", "app.py:9", 0), ("work ×2", "app.py:1", 1), ("other", "app.py:5", 0)]


def test_in_a_lane_tasks_follow_each_other() -> None:
    fake = FakeTrace()
    tasks = [fake.task("work", states=[("running", start, start + 10)]) for start in (0, 5, 10, 12, 30)]

    (group,) = task_groups(fake.build())

    assert group.lanes == ((tasks[0], tasks[2], tasks[4]), (tasks[1],), (tasks[3],))


def test_the_libraries_are_one_group_and_asyncios_own_tasks_are_left_out() -> None:
    fake = FakeTrace()
    fake.task("work", states=[("running", 0, 10)])
    library = [fake.task(name, states=[("running", 0, 10)], is_user=False) for name in ("a", "b")]
    fake.task("shutdown", states=[("running", 0, 10)], is_user=False, is_internal=True)

    _, last = task_groups(fake.build())

    assert (last.label, last.is_library, last.tasks) == ("library: 2 tasks", True, tuple(library))


def test_only_library_tasks_are_the_subject_then() -> None:
    fake = FakeTrace()
    fake.task("serve", states=[("running", 0, 10)], is_user=False)

    assert [(group.label, group.is_library) for group in task_groups(fake.build())] == [("serve", False)]
