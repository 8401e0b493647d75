"""What holds for the trace of any program, tried on random ones: see `generated_programs` and `trace_rules`."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from integration import trace_rules as rules
from integration.generated_programs import Body, programs, run_program

from tests import sampling

pytestmark = pytest.mark.sampled
needs_coroutines = pytest.mark.skipif(sys.version_info < (3, 12), reason="before 3.12 only decorated ones are seen")


def tried(examples: int) -> Callable[[Any], Any]:
    return settings(
        max_examples=sampling.examples(examples),
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much],
    )


MANY = settings(max_examples=600, suppress_health_check=list(HealthCheck))


@tried(40)
@given(programs, st.booleans())
def test_ready_running_and_waiting_add_up_to_the_lifetime(root: Body, eager: bool) -> None:
    _, trace = run_program(root, eager=eager)
    rules.states_add_up(trace)


@tried(40)
@given(programs, st.booleans())
def test_outermost_steps_of_a_loop_never_overlap(root: Body, eager: bool) -> None:
    _, trace = run_program(root, eager=eager)
    rules.steps_exclude_each_other(trace)


@tried(40)
@given(programs, st.booleans())
def test_wakes_come_before_their_steps_and_what_starts_finishes_once(root: Body, eager: bool) -> None:
    _, trace = run_program(root, eager=eager)
    rules.events_pair(trace)


@tried(30)
@given(programs, st.booleans())
def test_lifetimes_sum_up_to_the_integral_of_live_tasks(root: Body, eager: bool) -> None:
    _, trace = run_program(root, eager=eager)
    rules.lifetimes_equal_live_tasks(trace)


@tried(40)
@given(programs, st.booleans())
def test_coroutines_live_within_their_task_and_awaiter(root: Body, eager: bool) -> None:
    _, trace = run_program(root, eager=eager)
    rules.coroutines_nest(trace)


@tried(40)
@given(programs, st.booleans())
def test_tasks_run_and_end_as_the_program_says(root: Body, eager: bool) -> None:
    log, trace = run_program(root, eager=eager)
    rules.agrees_with_log(trace, log)


@tried(40)
@given(programs, st.booleans())
def test_coroutines_run_and_end_as_the_program_says(root: Body, eager: bool) -> None:
    log, trace = run_program(root, eager=eager)
    rules.coroutines_agree_with_log(trace, log)
    rules.runs_where_log_says(trace, log)


@tried(50)
@given(programs, st.booleans(), st.booleans())
def test_program_does_the_same_with_and_without_a_recording(root: Body, eager: bool, debug: bool) -> None:
    plain, _ = run_program(root, eager=eager, debug=debug, recorded=False)
    recorded, _ = run_program(root, eager=eager, debug=debug)
    assert plain.story() == recorded.story()
    assert plain.result == recorded.result
    assert plain.problems == recorded.problems


@tried(40)
@given(programs, st.booleans())
def test_wakes_are_caused_by_whoever_the_program_says(root: Body, eager: bool) -> None:
    log, trace = run_program(root, eager=eager)
    rules.wakers_agree_with_log(trace, log)


@tried(40)
@given(programs, st.booleans(), st.booleans())
def test_windows_and_snapshots_obey_the_same_rules(inner: Body, eager: bool, inside: bool) -> None:
    waiting = Body([("sleep", 1), ("yield",), ("event_wait",)])
    beginning = Body([("yield",), ("call", Body([("sleep", 2)]))])
    root = Body([("spawn", waiting, False), ("yield",), ("spawn", beginning, False), ("record", inner)])
    log, _ = run_program(root, eager=eager, inside=inside)
    assert log.windows
    for window in log.windows:
        rules.check(window)
        rules.agrees_with_log(window, log, is_complete=False)
        rules.runs_where_log_says(window, log)


@tried(30)
@given(programs, st.booleans())
def test_plain_coroutines_obey_the_same_rules(root: Body, eager: bool) -> None:
    log, trace = run_program(root, eager=eager, decorate=False)
    rules.check(trace)
    rules.agrees_with_log(trace, log)


@tried(25)
@given(programs, st.booleans())
def test_a_loop_with_a_real_clock_obeys_the_same_rules(root: Body, eager: bool) -> None:
    log, trace = run_program(root, eager=eager, loop_factory=asyncio.SelectorEventLoop, tick_s=0.0005)
    rules.check(trace)
    rules.agrees_with_log(trace, log)
    rules.coroutines_agree_with_log(trace, log)
    rules.runs_where_log_says(trace, log)
    rules.wakers_agree_with_log(trace, log)


@tried(25)
@given(programs, st.booleans(), st.booleans())
def test_uvloop_obeys_the_same_rules(root: Body, eager: bool, inside: bool) -> None:
    uvloop = pytest.importorskip("uvloop")
    log, trace = run_program(root, eager=eager, inside=inside, loop_factory=uvloop.new_event_loop, tick_s=0.0005)
    for window in log.windows:
        rules.check(window)
    if trace is not None:
        rules.check(trace)
        rules.agrees_with_log(trace, log)
        rules.coroutines_agree_with_log(trace, log)
        rules.runs_where_log_says(trace, log)
        rules.wakers_agree_with_log(trace, log)


@pytest.mark.slow
@MANY
@given(programs, st.booleans(), st.booleans())
def test_all_rules_hold_for_many_programs(root: Body, eager: bool, debug: bool) -> None:
    plain, _ = run_program(root, eager=eager, debug=debug, recorded=False)
    log, trace = run_program(root, eager=eager, debug=debug)
    assert plain.story() == log.story()
    assert plain.result == log.result
    assert plain.problems == log.problems
    for each in (trace, *log.windows):
        rules.check(each)
        rules.agrees_with_log(each, log, is_complete=each is trace)
        rules.runs_where_log_says(each, log)
    rules.coroutines_agree_with_log(trace, log)
    rules.wakers_agree_with_log(trace, log)


@pytest.mark.slow
@MANY
@given(programs, st.booleans())
def test_all_rules_hold_for_many_recordings_inside_a_loop(inner: Body, eager: bool) -> None:
    test_windows_and_snapshots_obey_the_same_rules.hypothesis.inner_test(inner, eager, True)  # type: ignore[attr-defined]
