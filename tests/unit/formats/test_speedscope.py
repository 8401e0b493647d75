"""speedscope files: by its rules for events and weights, and by its published schema where that is at hand."""

from __future__ import annotations

import json
import os
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings

from asynctrace.formats.speedscope import MOST_TASKS
from asynctrace.model.build import build_trace
from tests.fakes import FakeTrace
from tests.speedscope_view import of_model, whole, written
from tests.strategies_parts import example_part, program_parts

_SCHEMA = os.environ.get("SPEEDSCOPE_SCHEMA")  # dist/release/file-format-schema.json of the npm package speedscope


def stacks(document: dict[str, Any], name: str) -> dict[str, int]:
    """Return the weight of each stack of a sampled profile."""
    names = [frame["name"] for frame in document["shared"]["frames"]]
    (profile,) = (each for each in document["profiles"] if each["name"].startswith(name))
    joined = (" > ".join(names[number] for number in stack) for stack in profile["samples"])
    return dict(zip(joined, profile["weights"], strict=True))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(program_parts())
def test_whole_and_timelines_add_up_to_the_model(tmp_path: Path, part: Any) -> None:
    trace = build_trace([part])
    document = written(trace, tmp_path)
    assert whole(document) == of_model(trace)
    timelines = [profile for profile in document["profiles"] if profile["type"] == "evented"]
    assert Counter((each["startValue"], each["endValue"]) for each in timelines) == Counter(
        (task.created_ns - trace.start_ns, task.end_ns - trace.start_ns)
        for task in trace.tasks
        if task.end_ns > task.created_ns
    )


def test_waits_are_under_their_await_stack_and_running_is_the_codes_own(tmp_path: Path) -> None:
    fake = FakeTrace(unit_ns=1)
    task = fake.task(
        "main",
        states=[
            ("ready", 0, 10),
            ("running", 10, 30),
            ("waiting", 30, 90, "sleep", "await asyncio.sleep(1)"),
            ("ready", 90, 95, "timer"),
            ("running", 95, 100),
        ],
        outcome="raised",
        error="ValueError",
        blockings=[("time.sleep", 14, 16)],
    )
    root = fake.coroutine("main", 10, 100, task=task, suspensions=[(30, 95)])
    fake.coroutine("inner", 20, 96, awaiter=root, suspensions=[(30, 95)])
    fake.call("price", 12, 18, task=task, blockings=[("time.sleep", 14, 16)])
    document = written(fake.build(), tmp_path)

    assert stacks(document, "waiting") == {"main > inner > waiting asyncio.sleep(1)": 60}
    assert stacks(document, "ready") == {"main > ready": 10, "main > inner > ready": 5}
    assert stacks(document, "running") == {
        "main": 2 + 2 + 4,
        "main > inner": 10 + 1,
        "main > price": 4,
        "main > price > time.sleep": 2,
    }
    assert [profile["name"] for profile in document["profiles"]][3:] == ["main (Task-1), raised ValueError"]


def test_a_nested_functions_task_is_one_frame_before_and_after_it_began(tmp_path: Path) -> None:
    fake = FakeTrace(unit_ns=1)
    task = fake.task("send", states=[("ready", 0, 10), ("running", 10, 20)])
    fake.coroutine("main.<locals>.send", 10, 20, task=task)
    document = written(fake.build(), tmp_path)

    assert (stacks(document, "ready"), stacks(document, "running")) == ({"send > ready": 10}, {"send": 10})


def test_calls_on_other_threads_have_a_timeline_and_block_where_they_block(tmp_path: Path) -> None:
    fake = FakeTrace(unit_ns=1)
    pool = fake.thread("pool")
    fake.call("work", 0, 10, thread=pool, blockings=[("time.sleep", 2, 8)])
    fake.call("work", 15, 20, thread=pool)
    document = written(fake.build(), tmp_path)

    assert stacks(document, "waiting") == {"pool > work > time.sleep": 6}
    assert stacks(document, "running") == {"pool > work": 9}
    assert [(event["type"], event["at"]) for event in document["profiles"][-1]["events"]] == [
        *(("O", 0), ("O", 0), ("O", 2), ("C", 8), ("C", 10), ("C", 10)),
        *(("O", 15), ("O", 15), ("C", 20), ("C", 20)),
    ]


def test_very_many_tasks_come_by_label_and_the_longest_by_itself(tmp_path: Path) -> None:
    fake = FakeTrace(unit_ns=1)
    fake.task("main", states=[("running", 0, 10_000)])
    for number in range(MOST_TASKS):
        fake.task("count", states=[("ready", number, 2 * number), ("waiting", 2 * number, 3 * number, "sleep")])
    trace = fake.build()
    document = written(trace, tmp_path)

    assert [profile["name"] for profile in document["profiles"]] == [
        "waiting, by await stack",
        "ready, while the loop was busy",
        "running, by stack",
        "main (Task-1)",
        "count × 100, all states",
        f"count (Task-{MOST_TASKS + 1}), the longest of 100",
    ]
    assert whole(document) == of_model(trace)
    assert stacks(document, "count ×") == {"count > ready": 4950, "count > waiting sleep": 4950}


def test_the_users_tasks_come_before_the_libraries(tmp_path: Path) -> None:
    fake = FakeTrace()
    fake.task("Server.start", states=[("running", 0, 1)], is_user=False)
    fake.task("main", states=[("running", 1, 2)])
    document = written(fake.build(), tmp_path)

    names = [profile["name"] for profile in document["profiles"] if profile["type"] == "evented"]
    assert names == ["main (Task-2)", "Server.start (Task-1)"]


def test_a_wait_says_of_which_kind_it_is_where_its_expression_does_not(tmp_path: Path) -> None:
    fake = FakeTrace()
    fake.task("send", states=[("waiting", 0, 1, "lock", "places"), ("waiting", 1, 3, "lock", "self._lock")])
    document = written(fake.build(), tmp_path)

    assert stacks(document, "waiting") == {
        "send > waiting places (lock)": 1_000_000,
        "send > waiting self._lock": 2_000_000,
    }


def test_what_is_missing_is_in_the_name(tmp_path: Path) -> None:
    document = written(FakeTrace().build(lost=1, notes=["cut short"]), tmp_path)
    assert (document["name"], document["profiles"]) == ("app.py – cut short – 1 event was lost", [])


def test_compressed_it_is_the_same(tmp_path: Path) -> None:
    trace = build_trace([example_part(100)])
    assert written(trace, tmp_path, "x.speedscope.json.gz") == written(trace, tmp_path)


@pytest.mark.skipif(_SCHEMA is None, reason="SPEEDSCOPE_SCHEMA names no schema")
@pytest.mark.parametrize("steps", [5, 500])
def test_the_published_schema_is_kept(tmp_path: Path, steps: int) -> None:
    jsonschema = pytest.importorskip("jsonschema")
    assert _SCHEMA is not None
    document = written(build_trace([example_part(steps)]), tmp_path)
    jsonschema.validate(document, json.loads(Path(_SCHEMA).read_text(encoding="utf-8")))
