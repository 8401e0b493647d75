"""A trace as spans: what each has, whose child it is, and what it is linked to."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta

import pytest
from fakes import STARTED_AT, FakeTrace

from asynctrace.model.trace import Trace
from asynctrace.otel.spans import MOST_EVENTS, MOST_LINKS, Link, Span, trace_spans

WALL_NS = (STARTED_AT - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1) * 1000
MS = 1_000_000


def by_name(trace: Trace, **options: bool) -> dict[str, Span]:
    spans = trace_spans(trace, **options)
    assert len({span.name for span in spans}) == len(spans)
    return {span.name: span for span in spans}


def parents(trace: Trace, **options: bool) -> list[tuple[str, str | None]]:
    """Return (name, parent's name), in order."""
    spans = trace_spans(trace, **options)
    for number, span in enumerate(spans):
        assert span.parent is None or span.parent < number
    return [(span.name, spans[span.parent].name if span.parent is not None else None) for span in spans]


def links(trace: Trace, **options: bool) -> set[tuple[str, str, str]]:
    spans = trace_spans(trace, **options)
    return {(span.name, link.kind, spans[link.span].name) for span in spans for link in span.links}


def gathering() -> FakeTrace:
    """`main` makes two `count`, which wait at the same time; the second one wakes it."""
    fake = FakeTrace()
    main = fake.task("main", states=[("ready", 0, 1), ("running", 1, 3), ("waiting", 3, 30, "gather")], finished=32)
    fake.coroutine("main", 1, 32, task=main, suspensions=[(3, 31, "asyncio.gather()")], is_traced=True)
    last = None
    for number in (1, 2):
        last = fake.task(
            "count",
            creator=main,
            created=2,
            states=[("ready", 2, 3 + number), ("running", 3 + number, 6), ("waiting", 6, 26, "sleep")],
            finished=30,
        )
        ready = fake._state(("ready", 26, 28, "timer"))
        last.states = (*last.states, ready, fake._state(("running", 28, 30)))
        fake.coroutine("count", 3 + number, 30, task=last, suspensions=[(6, 28, "asyncio.sleep()")], is_traced=True)
    main.states = (*main.states, fake._state(("ready", 30, 31, last)), fake._state(("running", 31, 32)))
    return fake


def test_span_has_the_figures_of_its_run() -> None:
    span = trace_spans(gathering().build())[1]

    assert (span.name, span.error, span.start_ns, span.end_ns) == ("count", None, WALL_NS + 2 * MS, WALL_NS + 30 * MS)
    assert span.attributes == {
        "code.function.name": "count",
        "code.file.path": "app.py",
        "code.line.number": 1,
        "thread.name": "MainThread",
        "asyncio.task.name": "Task-2",
        "asyncio.task.id": span.attributes["asyncio.task.id"],
        "asynctrace.outcome": "returned",
        "asynctrace.steps": 2,
        "asynctrace.running_s": 0.004,
        "asynctrace.ready_s": 0.004,
        "asynctrace.waiting_s": 0.02,
        "asynctrace.waiting.sleep_s": 0.02,
        "asynctrace.longest_step_s": 0.002,
    }


def test_running_ready_and_waiting_add_up_to_the_span() -> None:
    for span in trace_spans(gathering().build()):
        states = sum(float(span.attributes[f"asynctrace.{state}_s"]) for state in ("running", "ready", "waiting"))
        assert math.isclose(states * 1e9, span.end_ns - span.start_ns)


def test_children_of_a_gather_are_its_coroutines_children_and_the_last_one_is_linked() -> None:
    trace = gathering().build()

    assert parents(trace) == [("main", None), ("count", "main"), ("count", "main")]
    assert trace_spans(trace)[0].links == (Link(2, "woken_by"),)


def test_nearest_decorated_awaiter_is_the_parent_and_others_are_passed_over() -> None:
    fake = FakeTrace()
    task = fake.task("main", states=[("running", 0, 10)])
    main = fake.coroutine("main", 0, 10, task=task, is_traced=True)
    between = fake.coroutine("between", 1, 9, awaiter=main)
    fake.coroutine("inner", 2, 8, awaiter=between, is_traced=True)

    assert parents(fake.build()) == [("main", None), ("inner", "main")]


def test_task_is_a_child_of_what_was_innermost_in_its_creator() -> None:
    fake = FakeTrace()
    main = fake.task("main", states=[("running", 0, 100)])
    root = fake.coroutine("main", 0, 100, task=main, is_traced=True)
    fake.coroutine("earlier", 1, 10, awaiter=root, is_traced=True)
    group = fake.coroutine("group", 20, 60, awaiter=root, is_traced=True)
    fake.call("plan", 30, 40, task=main, kind="traced").is_traced = True
    for name, created in (("in group", 25), ("in plan", 35), ("after plan", 45), ("in main", 70)):
        child = fake.task(name, creator=main, created=created, states=[("running", 90, 91)])
        fake.coroutine(name, 90, 91, task=child, is_traced=True)
    assert group.awaiter is root

    assert dict(parents(fake.build())) == {
        "main": None,
        "earlier": "main",
        "group": "main",
        "plan": "group",
        "in group": "group",
        "in plan": "plan",
        "after plan": "group",
        "in main": "main",
    }


def test_task_made_by_a_callback_is_a_child_of_the_task_that_left_it() -> None:
    fake = FakeTrace()
    main = fake.task("main", states=[("running", 0, 10)])
    fake.coroutine("main", 0, 10, task=main, is_traced=True)
    middle = fake.task("middle", creator=main, created=5, states=[("running", 11, 12)])
    late = fake.task("late", creator=middle, created=50, states=[("running", 51, 52)])
    fake.coroutine("late", 51, 52, task=late, is_traced=True)

    assert parents(fake.build()) == [("main", None), ("late", "main")]


def test_long_chain_of_tasks_that_make_the_next_one() -> None:
    fake = FakeTrace(unit_ns=1)
    task = None
    for number in range(5000):
        task = fake.task("next", creator=task, states=[("running", number * 10, number * 10 + 20)])
    fake.coroutine("last", 50_000, 50_005, task=task, is_traced=True)

    assert parents(fake.build()) == [("last", None)]


def test_coroutines_whose_awaiter_was_not_recorded_follow_each_other() -> None:
    """As with decorated coroutines on CPython 3.11, or where `include` leaves the root out."""
    fake = FakeTrace()
    states = [("ready", 0, 10), ("running", 10, 20), ("waiting", 20, 50, "io"), ("running", 50, 90)]
    main = fake.task("main", states=states)
    fake.coroutine("first", 60, 70, task=main, is_traced=True)
    second = fake.coroutine("second", 75, 90, task=main, is_traced=True)
    fake.coroutine("inner", 80, 85, awaiter=second, is_traced=True)
    child = fake.task("child", creator=main, created=72, states=[("running", 90, 95)])
    fake.coroutine("child", 90, 95, task=child, is_traced=True)
    trace = fake.build()

    assert parents(trace) == [("first", None), ("child", None), ("second", None), ("inner", "second")]
    first = by_name(trace)["first"]
    assert (first.start_ns, first.attributes["asynctrace.ready_s"]) == (WALL_NS + 60 * MS, 0.0)
    assert parents(trace, tasks=True)[:3] == [("main", None), ("first", "main"), ("child", "main")]


def test_generator_that_stands_at_a_value_is_nobodys_parent() -> None:
    fake = FakeTrace()
    main = fake.task("main", states=[("running", 0, 100)])
    root = fake.coroutine("main", 0, 100, task=main, is_traced=True)
    generator = fake.coroutine(
        "numbers", 5, 95, awaiter=root, is_generator=True, is_traced=True, suspensions=[(10, 50), (60, 90)]
    )
    generator.suspensions = tuple(
        type(pause)(pause.start_ns, pause.end_ns, None, None, is_yield=True) for pause in generator.suspensions
    )
    for name, created in (("by main", 20), ("by numbers", 55)):
        child = fake.task(name, creator=main, created=created, states=[("running", 96, 97)])
        fake.coroutine(name, 96, 97, task=child, is_traced=True)

    assert dict(parents(fake.build()))["by main"] == "main"
    assert dict(parents(fake.build()))["by numbers"] == "numbers"


def test_job_is_a_child_of_what_submitted_it_also_in_another_process() -> None:
    fake = FakeTrace()
    main = fake.task("main", states=[("running", 1, 5), ("waiting", 5, 50, "process")], finished=60)
    fake.coroutine("main", 1, 60, task=main, suspensions=[(5, 50)], is_traced=True)
    worker = fake.thread("MainThread", process=fake.process("worker", pid=200), is_main=True)
    job = fake.job("work", 3, 40, task=main, kind="process")
    job.thread = fake.main_thread
    outer = fake.call("work", 20, 40, kind="job", thread=worker, job=job)
    fake.call("inner", 21, 22, kind="traced", thread=worker, parent=outer).is_traced = True
    inside = fake.task("loop in it", loop=fake.loop(thread=worker), states=[("running", 30, 35)])
    fake.coroutine("loop in it", 30, 35, task=inside, is_traced=True)

    trace = fake.build()

    assert parents(trace) == [("main", None), ("inner", "main"), ("loop in it", "main")]
    assert [span.process.pid for span in trace_spans(trace)] == [100, 200, 200]


def test_job_of_no_task_is_a_child_of_the_call_that_submitted_it() -> None:
    fake = FakeTrace()
    fake.call("main", 0, 50, kind="traced").is_traced = True
    job = fake.job("work", 3, 40)
    job.thread = fake.main_thread
    fake.call("work", 20, 40, kind="job", thread=fake.thread("worker"), job=job).is_traced = True

    assert parents(fake.build()) == [("main", None), ("work", "main")]


@pytest.mark.parametrize("is_decorated", [True, False])
def test_without_decorated_functions_each_task_has_a_span(is_decorated: bool) -> None:
    fake = FakeTrace()
    main = fake.task("main", states=[("running", 1, 60)])
    fake.coroutine("main", 1, 60, task=main, is_traced=is_decorated)
    fake.task("count", creator=main, created=5, states=[("running", 5, 6)])
    fake.task("shutdown", is_internal=True, states=[("running", 60, 61)])
    trace = fake.build()

    assert parents(trace) == ([("main", None)] if is_decorated else [("main", None), ("count", "main")])
    # The root that is decorated stands for its task.
    assert parents(trace, tasks=True) == [("main", None), ("count", "main")]
    assert parents(trace, tasks=False) == ([("main", None)] if is_decorated else [])


def test_task_has_the_qualified_name_of_its_coroutine() -> None:
    fake = FakeTrace()
    main = fake.task("count", states=[("running", 1, 60)], line=7)
    fake.coroutine("main.<locals>.count", 1, 60, task=main, line=7)

    assert [span.name for span in trace_spans(fake.build())] == ["main.<locals>.count"]


def test_program_without_tasks_has_spans_of_its_functions() -> None:
    fake = FakeTrace()
    outer = fake.call("main", 0, 10)
    fake.call("count", 1, 9, parent=outer, blockings=[("time.sleep", 2, 8)])

    assert parents(fake.build()) == [("main", None), ("count", "main")]
    assert by_name(fake.build())["count"].attributes["asynctrace.waiting.sleep_s"] == 0.006


@pytest.mark.parametrize(
    ("outcome", "raised", "error"),
    [
        ("returned", None, None),
        ("cancelled", None, None),
        ("closed", None, None),
        ("unfinished", None, None),
        ("raised", "ValueError", "ValueError"),
        ("raised", None, ""),
    ],
)
def test_only_what_raised_is_an_error(outcome: str, raised: str | None, error: str | None) -> None:
    fake = FakeTrace()
    task = fake.task("main", states=[("running", 1, 60)])
    fake.coroutine("main", 1, 60, task=task, outcome=outcome, error=raised, is_traced=True)  # type: ignore[arg-type]

    span = by_name(fake.build(end=70))["main"]

    assert span.error == error
    assert span.attributes["asynctrace.outcome"] == outcome
    assert span.attributes.get("error.type") == raised


def test_what_began_before_the_recording_says_so_and_its_task_keeps_no_guessed_parent() -> None:
    fake = FakeTrace()
    main = fake.task("main", states=[("running", 0, 60)], is_clipped=True)
    root = fake.coroutine("main", 0, 60, task=main, is_traced=True, is_clipped=True)
    fake.coroutine("inner", 0, 60, awaiter=root, is_traced=True, is_clipped=True)
    child = fake.task("child", creator=main, states=[("running", 0, 60)], is_clipped=True)
    fake.coroutine("child", 0, 60, task=child, is_traced=True, is_clipped=True)
    trace = fake.build()

    assert all(span.attributes["asynctrace.began_before_recording"] is True for span in trace_spans(trace))
    assert dict(parents(trace)) == {"main": None, "inner": "main", "child": "main"}


def test_awaiter_and_waker_are_linked() -> None:
    fake = FakeTrace()
    main = fake.task("main", states=[("running", 0, 5)])
    child = fake.task("child", creator=main, created=2, states=[("running", 5, 20)])
    main.states = tuple(
        fake._state(state)
        for state in (("running", 0, 5), ("waiting", 5, 20, "task", "child", child), ("ready", 20, 21, child))
    )
    main.end_ns = main.finished_ns = fake.ns(30)
    fake.coroutine("main", 0, 30, task=main, suspensions=[(5, 21)], is_traced=True)
    fake.coroutine("child", 5, 19, task=child, is_traced=True)

    assert links(fake.build()) == {("main", "woken_by", "child"), ("child", "awaited_by", "main")}


def test_links_are_bounded_and_each_is_there_once() -> None:
    fake = FakeTrace()
    main = fake.task("main", states=[("running", 0, 1)])
    states: list[tuple[object, ...]] = [("running", 0, 1)]
    for number in range(2 * MOST_LINKS):
        begin = 1 + number * 2
        other = fake.task(f"other {number}", states=[("running", begin, begin + 2)])
        states += [("ready", begin, begin + 1, other), ("ready", begin + 1, begin + 2, other)]
    main.states = tuple(fake._state(state) for state in states)
    main.end_ns = main.finished_ns = fake.ns(1000)

    assert len(by_name(fake.build())["main"].links) == MOST_LINKS


def test_events_only_on_request_and_of_many_the_longest_waits() -> None:
    fake = FakeTrace()
    task = fake.task("main", states=[("running", 0, 10_000)])
    pauses = [(number * 10, number * 10 + number % 9 + 1, f"wait({number})") for number in range(500)]
    fake.coroutine("main", 0, 10_000, task=task, suspensions=pauses, is_traced=True)
    trace = fake.build()

    span = by_name(trace, events=True)["main"]

    assert by_name(trace)["main"].events == ()
    assert len(span.events) == MOST_EVENTS
    assert span.attributes["asynctrace.waits_left_out"] == 500 - MOST_EVENTS // 2
    assert list(span.events) == sorted(span.events, key=lambda event: event.time_ns)
    waited = [float(event.attributes["asynctrace.suspended_s"]) for event in span.events if event.name == "resumed"]
    assert min(waited) >= 0.008


def test_what_never_went_on_was_not_resumed() -> None:
    fake = FakeTrace()
    task = fake.task("main", states=[("running", 0, 1), ("waiting", 1, 50, "event")], outcome="unfinished")
    fake.coroutine(
        "main", 0, 50, task=task, suspensions=[(1, 50, "event.wait()")], outcome="unfinished", is_traced=True
    )

    events = by_name(fake.build(), events=True)["main"].events

    assert [(event.name, event.attributes) for event in events] == [
        ("suspended", {"asynctrace.expression": "event.wait()", "code.line.number": 1})
    ]


def test_the_decorators_attributes_are_there_and_can_be_sent() -> None:
    fake = FakeTrace()
    task = fake.task("main", states=[("running", 0, 1)])
    coroutine = fake.coroutine("caf\udce9", 0, 1, task=task, is_traced=True)
    coroutine.attributes = {
        "tier": "gold\ud800", "retries": 3, "huge": 1 << 70, "ratio": math.inf, "is_new": True, "": "nameless",
    }  # fmt: skip

    (span,) = trace_spans(fake.build())

    assert span.name == "caf\\udce9"
    kept = {key: span.attributes[key] for key in coroutine.attributes if key}
    assert kept == {"tier": "gold\\ud800", "retries": 3, "huge": str(1 << 70), "ratio": "inf", "is_new": True}
    assert "" not in span.attributes
