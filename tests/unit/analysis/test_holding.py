"""Who held the loop, and what that did to others."""

from asynctrace.analysis.holding import holding_steps
from asynctrace.model.trace import Trace
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


def test_what_a_timer_woke_right_after_is_told_apart() -> None:
    fake = FakeTrace()
    fake.task("long", states=[("running", 0, 200)])
    fake.task("due", states=[("waiting", 0, 200.2, "sleep"), ("ready", 200.2, 200.3, "timer"), ("running", 200.3, 201)])
    fake.task("late", states=[("waiting", 0, 300, "sleep"), ("ready", 300, 301, "timer"), ("running", 301, 302)])
    trace = fake.build()

    assert found(trace) == []
    assert found(trace, with_woken=True) == [("long", 200, "1 woken right after")]


def test_an_eager_step_inside_another_is_not_counted_twice() -> None:
    fake = FakeTrace()
    outer = fake.task("outer", states=[("running", 0, 200)])
    fake.task("eager", creator=outer, is_eager=True, states=[("running", 10, 190)])
    fake.task("kept", states=[("ready", 0, 200), ("running", 200, 201)])

    assert [name for name, _, _ in found(fake.build())] == ["outer"]
