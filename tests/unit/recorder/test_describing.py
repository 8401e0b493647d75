"""What events mention: the native scanner tells what the reference tells, each thing once."""

from __future__ import annotations

from array import array
from collections.abc import Iterable
from itertools import chain
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from asynctrace.cores import VARIABLE
from asynctrace.events import Event, Part
from asynctrace.recorder.describing import Describer, Entries, ReferenceScanner
from asynctrace.recorder.tables import Tables
from tests import sampling
from tests.strategies_parts import any_parts, example_part, program_parts

native: Any = pytest.importorskip("asynctrace.recorder._native")

examples = settings(suppress_health_check=list(HealthCheck), deadline=None, max_examples=sampling.examples(200))


def batches(part: Part, count: int) -> list[list[Event]]:
    return [list(part.events[start : start + count]) for start in range(0, len(part.events), count)]


def flat(events: Iterable[Event]) -> array[int]:
    return array("q", list(chain.from_iterable(events)))


@pytest.mark.sampled
@given(any_parts | program_parts(), st.integers(1, 50), st.booleans())
@examples
def test_it_tells_what_was_not_mentioned_before(part: Part, count: int, is_flat: bool) -> None:
    reference, scanner = ReferenceScanner(), native.Scanner()
    told: list[set[object]] = [set(), set(), set()]
    for events in batches(part, count):
        *expected, tasks = reference.scan(flat(events) if is_flat else events)
        *found, found_tasks = scanner.scan(flat(events) if is_flat else iter(events))
        assert [set(one) - known for one, known in zip(expected, told, strict=True)] == [set(one) for one in found]
        assert [key for key in expected[2] if key not in told[2]] == found[2]  # stacks, in their order
        assert list(found_tasks.items()) == list(tasks.items())
        for known, one in zip(told, found, strict=True):
            assert len(one) == len(set(one))
            assert known.isdisjoint(one)
            known.update(one)


def described(core: str, tables: Tables, part: Part, count: int) -> list[Entries]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(VARIABLE, core)
        describer = Describer(tables)
    found = []
    for number, events in enumerate(batches(part, count)):
        for task, name in part.names.items():
            if task % 3 == number % 3:
                tables.names[task] = f"{name} {number // 2}"
        found.append(describer.describe(events))
    tables.names.clear()
    return found


@pytest.mark.parametrize("seed", range(5))
def test_both_cores_describe_alike(seed: int) -> None:
    part = example_part(60, seed)
    tables = Tables()
    for _ in range(5):  # the sites of the first codes
        tables.text(f"text {_}")
    tables.stack(((1, 2), (3, 4)))
    alike = [described(core, tables, part, 30) for core in ("python", "native")]
    assert alike[0] == alike[1]
    assert [list(one.names) for one in alike[0]] == [list(one.names) for one in alike[1]]
    assert any(one.names for one in alike[0]) and any(one.sites for one in alike[0])


@pytest.mark.parametrize("events", [None, 5, b"bytes", [()], [(1, 2)], array("q", [1]), array("i", [1] * 7)])
def test_what_is_no_events_is_refused(events: object) -> None:
    scanner = native.Scanner()
    with pytest.raises((TypeError, ValueError)):
        scanner.scan(events)
    assert scanner.scan([]) == ([], [], [], {})


def test_a_number_that_does_not_fit_is_refused() -> None:
    with pytest.raises(OverflowError, match="63 bits"):
        native.Scanner().scan([(0, 0, 0, 0, 1 << 63, 0, 0)])


def test_it_must_not_be_called_while_it_scans() -> None:
    scanner = native.Scanner()

    def calls() -> Iterable[Event]:
        yield from example_part(3).events
        with pytest.raises(RuntimeError, match="at work"):
            scanner.scan([])

    scanner.scan(calls())
