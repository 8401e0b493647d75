"""Spans of random programs, made while they run: they say what the trace of the same run says afterwards."""

from __future__ import annotations

import sys

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from integration.generated_programs import Body, programs, run_program
from integration.test_live_spans import Spans, comparable, instrumented


@pytest.mark.skipif(
    sys.version_info < (3, 12), reason="a recording takes a task's first decorated coroutine for its root"
)
@given(programs, st.booleans())
@settings(max_examples=30, suppress_health_check=list(HealthCheck))
def test_they_say_what_the_trace_says(root: Body, eager: bool) -> None:
    spans, afterwards = Spans(), Spans()

    with instrumented(spans):
        _, trace = run_program(root, eager=eager)
    trace.to_otel(afterwards.provider)

    assert sorted(map(comparable, spans.all)) == sorted(map(comparable, afterwards.all))
    assert spans.parents() == afterwards.parents()


@given(programs, st.booleans())
@settings(max_examples=30, suppress_health_check=list(HealthCheck))
def test_the_program_does_the_same(root: Body, eager: bool) -> None:
    expected, _ = run_program(root, eager=eager, recorded=False)

    with instrumented(Spans(), tasks=True):
        found, _ = run_program(root, eager=eager, recorded=False)

    assert (found.story(), found.result) == (expected.story(), expected.result)
