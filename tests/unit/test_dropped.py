"""A recording that kept its newest events only says so in every view."""

from __future__ import annotations

from dataclasses import replace

import pytest

from asynctrace.analysis.overview import overview
from asynctrace.analysis.version import measured
from asynctrace.charts.gantt_text import footer_lines
from asynctrace.cli.summary_text import header_lines
from asynctrace.comparison import Comparison
from asynctrace.events import LOST, Part
from asynctrace.model.build import build_trace
from asynctrace.model.trace import Trace
from tests.cuts import folded
from tests.strategies_parts import example_part

_NOTE = "showing the last 2.9 s; 3,120,004 earlier events were dropped"


def _cut(part: Part, lost: int = 3_120_004) -> Part:
    index = len(part.events) // 2
    left = folded(part, index)
    events = [(left.start_ns, 0, LOST, 0, lost, 0, 0), *left.events]
    return replace(left, events=events, end_ns=left.start_ns + 2_900_000_000)


@pytest.fixture
def trace() -> Trace:
    return build_trace([_cut(example_part(60))])


def test_what_was_dropped_is_lost_and_has_a_note(trace: Trace) -> None:
    assert (trace.lost, trace.dropped) == (3_120_004, 3_120_004)
    assert trace.notes == (_NOTE,)
    assert trace.summary()["lost"] == 3_120_004


def test_the_summary_says_it(trace: Trace) -> None:
    text = "\n".join(header_lines(overview(trace)))
    assert "lost 3,120,004\n" in text
    assert text.count(f"note: {_NOTE}") == 1


def test_a_gantt_chart_says_it(trace: Trace) -> None:
    first, *more = footer_lines(trace, (), 150)
    assert first.endswith("lost 3,120,004")
    assert more == [_NOTE]


def test_a_comparison_says_it_once_a_version(trace: Trace) -> None:
    comparison = Comparison((measured("one", trace), measured("other", trace)), "one")
    assert comparison.notes() == [f"one: {_NOTE}", f"other: {_NOTE}"]
    assert str(comparison).splitlines()[-2:] == comparison.notes()


def test_the_picture_of_a_comparison_says_it_once_a_version(trace: Trace) -> None:
    pytest.importorskip("matplotlib")
    from asynctrace.charts.comparison_chart import draw_comparison

    figure = draw_comparison(Comparison((measured("one", trace),), "one"))
    texts = [text.get_text() for text in figure.texts]
    assert sum("3,120,004" in text for text in texts) == 1


def test_events_lost_otherwise_are_lost_as_well(trace: Trace) -> None:
    part = trace.parts[0]
    time_ns = part.events[-1][0]
    more = replace(part, events=[*part.events, (time_ns, 1, LOST, 0, 5, 0, 0)])
    lossy = build_trace([more])
    assert (lossy.lost, lossy.dropped) == (3_120_009, 3_120_004)
    assert "lost 3,120,009" in "\n".join(header_lines(overview(lossy)))
    assert measured("one", lossy).notes == ("lost 5 events", _NOTE)


def test_a_child_process_has_a_note_of_its_own() -> None:
    parent, child = example_part(60), _cut(replace(example_part(60, pid=123), process_name="Worker-1"), lost=9)
    trace = build_trace([replace(parent, end_ns=child.end_ns), child])
    assert trace.notes == ("process 123 (Worker-1): showing its last 2.9 s; 9 earlier events were dropped",)
    assert trace.lost == 9


def test_the_window_begins_no_earlier_than_what_is_kept(trace: Trace) -> None:
    part = trace.parts[0]
    trace = build_trace([part], window=(part.start_ns - 10**9, part.end_ns))
    assert trace.start_ns == part.start_ns
    assert trace.notes == (_NOTE,)


def test_a_window_that_begins_later_lacks_nothing(trace: Trace) -> None:
    part = trace.parts[0]
    trace = build_trace([part], window=(part.start_ns + 1000, part.end_ns))
    assert (trace.lost, trace.dropped, trace.notes) == (0, 0, ())
