"""Who held the loop, and what that did to others."""

from asynctrace.analysis.holding import holding_steps
from asynctrace.model.trace import Blocking, Trace
from tests.fakes import FakeTrace


def found(trace: Trace, *, with_woken: bool = False) -> list[tuple[str, int, str]]:
    steps = holding_steps(trace, with_woken=with_woken)
    return [(held.name, (held.end_ns - held.start_ns) // 10**6, held.consequence) for held in steps]


def test_a_step_that_kept_others_ready_the_longest_first() -> None:
    fake = FakeTrace()
    fake.task("short", states=[("running", 0, 60)])
    fake.task("long", states=[("ready", 0, 60), ("running", 60, 272)])
    for _ in range(3):
        fake.task("kept", states=[("ready", 100, 272), ("running", 272, 273)])

    assert found(fake.build()) == [("long", 212, "3 kept waiting"), ("short", 60, "1 kept waiting")]


def test_less_than_fifty_milliseconds_of_being_ready_is_no_finding() -> None:
    fake = FakeTrace()
    fake.task("long", states=[("running", 0, 200)])
    fake.task("kept", states=[("waiting", 0, 151, "sleep"), ("ready", 151, 200), ("running", 200, 201)])

    assert found(fake.build()) == []


def test_another_loop_is_not_held() -> None:
    fake = FakeTrace()
    fake.task("long", states=[("running", 0, 200)])
    other = fake.loop(thread=fake.thread("Thread-1"))
    fake.task("elsewhere", loop=other, states=[("ready", 0, 200), ("running", 200, 201)])

    assert found(fake.build()) == []


def test_it_has_the_name_of_the_users_coroutine_that_ran_longest_in_it() -> None:
    fake = FakeTrace()
    task = fake.task("main", states=[("running", 0, 300)])
    fake.task("kept", states=[("ready", 0, 300), ("running", 300, 301)])
    main = fake.coroutine("main", 0, 300, task=task)
    rules = fake.coroutine("load_rules", 10, 250, awaiter=main, file="rules.py", line=41)
    fake.coroutine("Reader.read", 20, 240, awaiter=rules, is_user=False)

    held = holding_steps(fake.build())

    assert [(one.name, one.file, one.line, one.task) for one in held] == [("load_rules", "rules.py", 41, task)]


def test_a_long_callback_holds_the_loop_too() -> None:
    fake = FakeTrace()
    fake.callback("on_message", 0, 100)
    fake.task("kept", states=[("ready", 10, 100), ("running", 100, 101)])

    assert found(fake.build()) == [("on_message", 100, "1 kept waiting")]


def test_what_io_woke_right_after_is_told_apart() -> None:
    fake = FakeTrace()
    fake.task("long", states=[("running", 0, 200)])
    fake.task("due", states=[("waiting", 0, 200.2, "io"), ("ready", 200.2, 200.3, "io"), ("running", 200.3, 201)])
    fake.task("late", states=[("waiting", 0, 300, "io"), ("ready", 300, 301, "io"), ("running", 301, 302)])
    trace = fake.build()

    assert found(trace) == []
    assert found(trace, with_woken=True) == [("long", 200, "1 woken right after")]


def test_an_eager_step_inside_another_is_not_counted_twice() -> None:
    fake = FakeTrace()
    outer = fake.task("outer", states=[("running", 0, 200)])
    fake.task("eager", creator=outer, is_eager=True, states=[("running", 10, 190)])
    fake.task("kept", states=[("ready", 0, 200), ("running", 200, 201)])

    assert [name for name, _, _ in found(fake.build())] == ["outer"]


def test_an_eager_tasks_coroutine_gives_its_name_to_the_step_around_it() -> None:
    fake = FakeTrace()
    outer = fake.task("start", is_user=False, states=[("running", 0, 200)])
    eager = fake.task("get_rules", creator=outer, is_eager=True, states=[("running", 10, 190)])
    fake.task("kept", states=[("ready", 0, 200), ("running", 200, 201)])
    fake.coroutine("RequestHandler.start", 0, 200, task=outer, is_user=False)
    fake.coroutine("get_rules", 10, 190, task=eager)

    assert [name for name, _, _ in found(fake.build())] == ["get_rules"]


def test_without_coroutines_a_librarys_step_has_the_name_of_the_call_that_blocked() -> None:
    fake = FakeTrace()
    task = fake.task("start", is_user=False, states=[("running", 0, 200)])
    task.blockings = (Blocking("time.sleep", fake.ns(10), fake.ns(190), "time.sleep(RULES_S)", "service.py", 69),)
    fake.task("kept", states=[("ready", 0, 200), ("running", 200, 201)])

    held = holding_steps(fake.build())

    assert [(one.name, one.file, one.line) for one in held] == [("time.sleep(RULES_S)", "service.py", 69)]
