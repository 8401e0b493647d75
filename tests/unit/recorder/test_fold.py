"""The fold: what it keeps, what it forgets, and how little its base is."""

from __future__ import annotations

import random
from array import array

from asynctrace import events as ev
from asynctrace.events import Event
from tests.cuts import assert_shows_the_same, cuts, flat, fold_of, kept, new_fold, with_distinct_times
from tests.strategies_parts import example_part

MAIN, WORKER = 1, 2
LOOP, A, B, C1, C2, CALL, JOB = 101, 102, 103, 104, 105, 106, 107
CODE, FUTURE, ERROR = 1, 2, 3
LATE = ev.SEEN_LATE


def event(kind: int, subject: int, other: int = 0, site: int = 0, flags: int = 0, thread: int = MAIN) -> Event:
    return 5, thread, kind, subject, other, site, flags


def base(*events: Event) -> list[tuple[int, ...]]:
    """Return (thread, kind, subject, …) of the base after events."""
    return [each[1:] for each in fold_of(events).base(9)]


WAITING = (
    event(ev.LOOP_SEEN, LOOP, 0, 4),
    event(ev.TASK_CREATED, A, 0, CODE),
    event(ev.STEP_STARTED, A, LOOP),
    event(ev.COROUTINE_STARTED, C1, 0, CODE),
    event(ev.COROUTINE_SUSPENDED, C1, 0, 8),
    event(ev.STEP_FINISHED, A, B, FUTURE),
)


def test_a_task_that_waits_is_a_step_that_begins_and_ends_at_once() -> None:
    assert base(*WAITING) == [
        (MAIN, ev.LOOP_SEEN, LOOP, 0, 4, LATE),
        (MAIN, ev.TASK_CREATED, A, 0, CODE, LATE),
        (MAIN, ev.STEP_STARTED, A, LOOP, 0, LATE),
        (MAIN, ev.COROUTINE_STARTED, C1, 0, CODE, LATE),
        (MAIN, ev.COROUTINE_SUSPENDED, C1, 0, 8, LATE),
        (MAIN, ev.STEP_FINISHED, A, B, FUTURE, LATE),
    ]


def test_a_step_that_runs_stays_open() -> None:
    events = base(*WAITING, event(ev.STEP_STARTED, A, LOOP), event(ev.COROUTINE_RESUMED, C1))
    assert events[2:] == [
        (MAIN, ev.STEP_STARTED, A, LOOP, 0, LATE),
        (MAIN, ev.COROUTINE_STARTED, C1, 0, CODE, LATE),
        (MAIN, ev.COROUTINE_SUSPENDED, C1, 0, 8, LATE),  # where it stood last
        (MAIN, ev.COROUTINE_RESUMED, C1, 0, 0, LATE),
    ]


def test_a_wake_is_told_with_its_cause() -> None:
    events = base(*WAITING, event(ev.TASK_READY, A, 77, 0, ev.CAUSE_TASK))
    assert events[-2:] == [
        (MAIN, ev.STEP_FINISHED, A, 0, 0, LATE | ev.YIELDED),
        (MAIN, ev.TASK_READY, A, 77, 0, LATE | ev.CAUSE_TASK),
    ]


def test_a_task_without_a_step_yet_is_ready() -> None:
    events = base(event(ev.TASK_CREATED, A, 0, CODE), event(ev.TASK_READY, A, 0, 0, ev.CAUSE_TIMER))
    assert events == [
        (MAIN, ev.TASK_CREATED, A, 0, CODE, LATE),
        (MAIN, ev.TASK_READY, A, 0, 0, LATE | ev.CAUSE_TIMER),
    ]


def test_a_creator_that_has_ended_is_not_named() -> None:
    fold = fold_of((event(ev.TASK_CREATED, A), event(ev.TASK_CREATED, B, A), event(ev.TASK_COLLECTED, A)))
    assert [each[3:5] for each in fold.base(9) if each[2] == ev.TASK_CREATED] == [(B, 0)]


def test_the_base_does_not_change_the_fold() -> None:
    fold = fold_of(WAITING)
    assert fold.base(9) == fold.base(9)
    fold.advance(flat([]))
    assert len(fold.base(9)) == 6


def test_a_copy_goes_its_own_way() -> None:
    fold = fold_of(WAITING)
    before = fold.base(9)
    other = fold.copy()
    assert other.base(9) == before
    later = (
        event(ev.STEP_STARTED, A, LOOP),
        event(ev.COROUTINE_RESUMED, C1),
        event(ev.CALL_STARTED, CALL, JOB, CODE),
        event(ev.JOB_SUBMITTED, JOB, A, CODE),
        event(ev.BLOCKING_STARTED, CALL, 0, 5),
        event(ev.PROCESS_STARTED, 0, 4711),
        event(ev.FUNCTION_DROPPED, 0, 0, 6),
        event(ev.LOOP_IDLE_STARTED, LOOP),
    )
    other.advance(flat(later))
    assert fold.base(9) == before
    fold.advance(flat(later))
    assert fold.base(9) == other.base(9) != before
    assert fold.count == other.count == 14


def test_events_are_counted_and_what_a_loss_says() -> None:
    fold = fold_of((*WAITING, event(ev.LOST, 0, 1000), event(ev.MARK, 0, 0, 6)))
    assert fold.count == 6 + 1000 + 1


def test_tasks_that_ended_are_told_once() -> None:
    fold = fold_of((*WAITING, event(ev.TASK_CREATED, B), event(ev.TASK_COLLECTED, B)))
    assert fold.take_ended_tasks() == [B]
    assert fold.take_ended_tasks() == []
    fold.advance(flat([event(ev.STEP_STARTED, A, LOOP), event(ev.STEP_FINISHED, A, 0, 0, ev.RETURNED)]))
    assert fold.take_ended_tasks() == [A]


def test_marks_go_and_dropped_functions_stay() -> None:
    assert base(event(ev.MARK, 0, 0, 6), event(ev.FUNCTION_DROPPED, 0, 0, CODE)) == [
        (MAIN, ev.FUNCTION_DROPPED, 0, 0, CODE, LATE)
    ]


def test_of_processes_the_newest_thousand_stay() -> None:
    events = base(*(event(ev.PROCESS_STARTED, 0, pid) for pid in range(1, 2001)))
    assert [each[3] for each in events] == list(range(1001, 2001))


def test_a_loop_is_forgotten_when_it_is_gone() -> None:
    seen = event(ev.LOOP_SEEN, LOOP, 0, 4), event(ev.LOOP_IDLE_STARTED, LOOP)
    assert [each[1] for each in base(*seen)] == [ev.LOOP_SEEN, ev.LOOP_IDLE_STARTED]
    assert base(*seen, event(ev.LOOP_GONE, LOOP)) == []


def test_a_job_stays_until_it_is_forgotten_and_nobody_awaits_it() -> None:
    submitted = event(ev.JOB_SUBMITTED, JOB, A, CODE, ev.JOB_PROCESS)
    waiting = (*WAITING[:-1], submitted, event(ev.STEP_FINISHED, A, JOB, 0))
    forgotten = event(ev.JOB_FORGOTTEN, JOB, thread=WORKER)
    fold = fold_of((*waiting, forgotten))
    assert (MAIN, ev.JOB_SUBMITTED, JOB, A, CODE, LATE | ev.JOB_PROCESS) in [each[1:] for each in fold.base(9)]
    fold.advance(flat([event(ev.STEP_STARTED, A, LOOP)]))
    assert not kept(fold).jobs
    assert not kept(fold_of((submitted, forgotten))).jobs


def test_a_job_that_is_awaited_though_its_call_is_over_has_its_outcome() -> None:
    events = base(
        *WAITING[:-1],
        event(ev.JOB_SUBMITTED, JOB, A, CODE, ev.JOB_THREAD),
        event(ev.STEP_FINISHED, A, JOB, 0),
        event(ev.CALL_STARTED, CALL, JOB, CODE, ev.CALL_JOB, thread=WORKER),
        event(ev.CALL_FINISHED, CALL, 99, ERROR, ev.RAISED, thread=WORKER),
    )
    assert (MAIN, ev.CALL_FINISHED, JOB, 0, ERROR, LATE | ev.RAISED) in events
    assert not any(each[1] == ev.CALL_STARTED for each in events)


def test_calls_that_get_no_end_go_with_the_one_around_them() -> None:
    fold = fold_of(
        (
            event(ev.CALL_STARTED, 1, 0, CODE),
            event(ev.CALL_STARTED, 2, 0, CODE, ev.CALL_FUNCTION),
            event(ev.FUNCTION_DROPPED, 0, 0, CODE),
            event(ev.CALL_FINISHED, 1, 0, 0, ev.RETURNED),
        )
    )
    assert not kept(fold).calls
    assert not kept(fold).threads


def test_a_million_events_of_tasks_that_ended_leave_nothing() -> None:
    fold = new_fold()
    fold.advance(flat([event(ev.LOOP_SEEN, LOOP, 0, 4)]))
    pattern = (
        (ev.TASK_CREATED, 0, 0, CODE, 0),
        (ev.TASK_READY, 0, 0, 0, ev.CAUSE_TASK),
        (ev.STEP_STARTED, 0, LOOP, 0, 0),
        (ev.COROUTINE_STARTED, 1, 0, CODE, 0),
        (ev.COROUTINE_SUSPENDED, 1, 0, 8, 0),
        (ev.STEP_FINISHED, 0, 0, FUTURE, 0),
        (ev.STEP_STARTED, 0, LOOP, 0, 0),
        (ev.COROUTINE_RESUMED, 1, 0, 0, 0),
        (ev.COROUTINE_FINISHED, 1, 0, 0, ev.RETURNED),
        (ev.STEP_FINISHED, 0, 0, 0, ev.RETURNED),
    )
    for first in range(1000, 201_000, 10_000):
        fields = array("q")
        for id in range(first, first + 10_000, 2):
            thread = 1 + id // 2 % 7
            for kind, subject, other, site, flags in pattern:
                fields.extend((id, thread, kind, id + subject, other, site, flags))
        fold.advance(fields)
        assert len(fold.take_ended_tasks()) == 5000
    assert fold.count == 1_000_001
    left = kept(fold)
    assert not (left.tasks or left.coroutines or left.threads or left.passed)
    assert [each[2] for each in fold.base(0)] == [ev.LOOP_SEEN]


def test_made_up_programs_cut_anywhere_show_the_same() -> None:
    for seed in range(12):
        part = with_distinct_times(example_part(40, seed))
        chosen = cuts(part)
        for index in random.Random(seed).sample(chosen, min(len(chosen), 8)):
            assert_shows_the_same(part, index)
