"""Where a task stood at each time."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asynctrace.analysis.await_stacks import (
    Frame,
    await_stacks,
    coroutine_frames,
    coroutines_by_task,
    joint,
    nested,
    stack_changes,
)
from asynctrace.model.build import build_trace
from asynctrace.model.trace import Coroutine, Task, Trace
from tests.fakes import FakeTrace
from tests.strategies_parts import program_parts

_frames = st.lists(
    st.tuples(st.integers(0, 20), st.integers(0, 8)).map(lambda pair: Frame(pair[0], pair[0] + pair[1], pair)),
    max_size=12,
)


def stands(trace: Trace, task: Task) -> list[tuple[int, int, str, list[str]]]:
    frames = coroutine_frames(task, coroutines_by_task(trace).get(task, []))
    return [
        (start_ns, end_ns, state.kind, [each.name for each in stack])
        for start_ns, end_ns, state, stack in await_stacks(task, frames)
    ]


def yields(coroutine: Coroutine) -> None:
    coroutine.suspensions = tuple(replace(pause, is_yield=True) for pause in coroutine.suspensions)


@given(_frames)
def test_frames_that_are_nested_lie_in_each_other_or_beside(frames: list[Frame[Any]]) -> None:
    found = list(nested(frames))

    assert [frame.start_ns for frame in found] == sorted(frame.start_ns for frame in frames)
    for number, one in enumerate(found):
        assert one.end_ns <= one.item[0] + one.item[1]
        for later in found[number + 1 :]:
            assert later.start_ns >= one.end_ns or later.end_ns <= one.end_ns


@given(_frames)
def test_a_stack_holds_what_is_there_at_that_time(frames: list[Frame[Any]]) -> None:
    changes = stack_changes(frames)

    assert [time_ns for time_ns, _ in changes] == sorted({time_ns for time_ns, _ in changes})
    assert not changes or changes[-1][1] == ()
    for time_ns in range(30):
        stack = next((stack for since_ns, stack in reversed(changes) if since_ns <= time_ns), ())
        there = [frame.item for frame in nested(frames) if frame.start_ns <= time_ns < frame.end_ns]
        assert list(stack) == there


@given(program_parts())
def test_stands_follow_each_other_and_make_up_the_states(part: Any) -> None:
    trace = build_trace([part])
    coroutines = coroutines_by_task(trace)
    for task in trace.tasks:
        found = list(await_stacks(task, coroutine_frames(task, coroutines.get(task, []))))
        at_ns = task.created_ns
        for start_ns, end_ns, state, _ in found:
            assert start_ns == at_ns and state.start_ns <= start_ns <= end_ns <= state.end_ns
            at_ns = end_ns
        assert at_ns == task.end_ns
        assert [
            state for number, (*_, state, _) in enumerate(found) if not number or found[number - 1].state is not state
        ] == [*task.states]


def test_a_coroutine_is_in_the_stack_from_its_start_to_its_end() -> None:
    fake = FakeTrace(unit_ns=1)
    task = fake.task("main", states=[("ready", 0, 10), ("running", 10, 20), ("waiting", 20, 30), ("running", 30, 40)])
    main = fake.coroutine("main", 11, 39, task=task, suspensions=[(19, 31)])
    fake.coroutine("inner", 15, 35, awaiter=main, suspensions=[(18, 32)])

    assert stands(fake.build(), task) == [
        (0, 10, "ready", []),
        (10, 11, "running", []),
        (11, 15, "running", ["main"]),
        (15, 20, "running", ["main", "inner"]),
        (20, 30, "waiting", ["main", "inner"]),
        (30, 35, "running", ["main", "inner"]),
        (35, 39, "running", ["main"]),
        (39, 40, "running", []),
    ]


def test_a_generator_is_away_while_it_stands_at_a_value() -> None:
    fake = FakeTrace(unit_ns=1)
    task = fake.task("main", states=[("running", 0, 20), ("waiting", 20, 30), ("running", 30, 40)])
    main = fake.coroutine("main", 0, 40, task=task, suspensions=[(20, 30)])
    yields(fake.coroutine("numbers", 5, 38, awaiter=main, is_generator=True, suspensions=[(10, 35)]))

    assert [(start, end, stack) for start, end, _, stack in stands(fake.build(), task)] == [
        (0, 5, ["main"]),
        (5, 10, ["main", "numbers"]),
        (10, 20, ["main"]),
        (20, 30, ["main"]),
        (30, 35, ["main"]),
        (35, 38, ["main", "numbers"]),
        (38, 40, ["main"]),
    ]


def test_a_generator_that_another_task_drives_on_is_not_in_the_stack_of_the_first() -> None:
    fake = FakeTrace(unit_ns=1)
    task = fake.task("first", states=[("running", 0, 10), ("waiting", 10, 30), ("running", 30, 40)])
    fake.coroutine("first", 0, 40, task=task, suspensions=[(10, 30)])
    yields(fake.coroutine("numbers", 2, 25, task=task, is_generator=True, suspensions=[(5, 20)]))

    assert [stack for _, _, kind, stack in stands(fake.build(), task) if kind == "waiting"] == [["first"]]


@pytest.mark.parametrize("is_by_hand", [True, False])
def test_what_is_driven_by_hand_is_away_while_suspended_with_what_it_awaits(is_by_hand: bool) -> None:
    fake = FakeTrace(unit_ns=1)
    task = fake.task("main", states=[("running", 0, 20), ("waiting", 20, 30), ("running", 30, 40)])
    main = fake.coroutine("main", 0, 40, task=task, suspensions=[(20, 30)])
    driven = fake.coroutine("driven", 2, 38, task=task, awaiter=None if is_by_hand else main, suspensions=[(10, 35)])
    fake.coroutine("inner", 4, 37, task=task, awaiter=driven, suspensions=[(9, 36)])

    (waiting,) = (stack for _, _, kind, stack in stands(fake.build(), task) if kind == "waiting")
    assert waiting == (["main"] if is_by_hand else ["main", "driven", "inner"])


def test_coroutines_without_a_recorded_root_are_awaited_not_driven() -> None:
    fake = FakeTrace(unit_ns=1)
    task = fake.task("main", states=[("running", 0, 20), ("waiting", 20, 30), ("running", 30, 40), ("waiting", 40, 50)])
    fake.coroutine("first", 5, 35, task=task, suspensions=[(20, 30)])
    fake.coroutine("second", 36, 50, task=task, suspensions=[(40, 50)])

    assert [stack for _, _, kind, stack in stands(fake.build(), task) if kind == "waiting"] == [["first"], ["second"]]


def test_joint_is_what_two_stacks_have_from_outermost_on() -> None:
    assert [joint(one, other) for one, other in [((), (1,)), ((1, 2), (1, 3)), ((1, 2), (1, 2, 3)), ((2,), (1,))]] == [
        0,
        1,
        2,
        0,
    ]
