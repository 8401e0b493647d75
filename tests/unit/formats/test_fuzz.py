"""Damaged files: `load` refuses them in a sentence, or gives a Trace that everything else can work with."""

from __future__ import annotations

import base64
import gzip
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path

import hypothesis
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

import asynctrace
from asynctrace import events as kinds
from asynctrace.analysis.comparison_rows import panels
from asynctrace.analysis.counts import state_counts
from asynctrace.analysis.holding import holding_steps
from asynctrace.analysis.rows import gantt_rows
from asynctrace.analysis.slices import coroutine_slices
from asynctrace.analysis.summary import summarize
from asynctrace.analysis.version import measured
from asynctrace.analysis.wakes import wakes
from asynctrace.cli.summary_text import summary_lines
from asynctrace.errors import AsynctraceError, FormatError
from asynctrace.events import Event, Part, Site, ThreadInfo
from asynctrace.formats import is_our_trace, load_parts, save_parts
from asynctrace.formats import perfetto_layout as layout
from asynctrace.formats.perfetto_encoder import NUMBER_KINDS
from asynctrace.formats.wire import zigzag
from asynctrace.model.trace import Trace
from asynctrace.otel.spans import trace_spans
from tests.damage import Damage, damaged, damages, event_packet, packets
from tests.strategies_parts import START_NS, any_parts, example_part

try:
    import resource
except ImportError:  # Windows has none
    resource = None  # type: ignore[assignment]


def examples(count: int) -> settings:
    """Return settings for tests that use one directory over and over."""
    return settings(suppress_health_check=list(HealthCheck), max_examples=count)


SMALL_IDS = st.integers(0, 6)


@cache
def saved(number: int) -> bytes:
    """Return one of a few files that were saved whole: several processes, a window, every kind of event."""
    parts: list[tuple[Part, ...]] = [
        (example_part(6, seed=1),),
        (example_part(25, seed=2), example_part(5, seed=3, pid=200)),
        (every_kind(),),
    ]
    window = (START_NS + 50, START_NS + 10**9) if number == 1 else None
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "whole.pftrace"
        save_parts(parts[number], path, window=window)
        return path.read_bytes()


FILES = range(3)


def every_kind() -> Part:
    """Return a short part in which each kind of event occurs, the rare ones among them."""
    task, other, coroutine, call, job, loop = 1, 2, 3, 4, 5, 6
    stream: list[tuple[int, int, int, int, int]] = [
        (kinds.LOST, 0, 7, 0, 0),
        (kinds.LOOP_SEEN, loop, 0, 1, 0),
        (kinds.TASK_CREATED, other, 0, 2, kinds.SEEN_LATE),
        (kinds.STEP_FINISHED, other, task, 1, kinds.SEEN_LATE),
        (kinds.TASK_CREATED, task, 0, 2, 0),
        (kinds.TASK_READY, task, 0, 0, 0),
        (kinds.STEP_STARTED, task, loop, 0, 0),
        (kinds.COROUTINE_STARTED, coroutine, 0, 2, 0),
        (kinds.JOB_SUBMITTED, job, task, 3, kinds.JOB_THREAD),
        (kinds.CALL_STARTED, call, job, 3, kinds.CALL_JOB),
        (kinds.BLOCKING_STARTED, call, 3, 4, 2),
        (kinds.COROUTINE_SUSPENDED, coroutine, job, 4, 0),
        (kinds.AWAIT_STACK, task, 0, 1, 0),
        (kinds.STEP_FINISHED, task, job, 1, 0),
        (kinds.LOOP_IDLE_STARTED, loop, 0, 0, 0),
        (kinds.BLOCKING_FINISHED, call, 0, 0, 0),
        (kinds.CALL_FINISHED, call, 1000, 5, kinds.RAISED),
        (kinds.LOOP_IDLE_FINISHED, loop, 0, 0, 0),
        (kinds.CALLBACK_RAN, loop, 2_000_000, 3, 0),
        (kinds.TASK_READY, task, 2, 0, kinds.CAUSE_THREAD),
        (kinds.STEP_STARTED, task, loop, 0, kinds.THROWN),
        (kinds.COROUTINE_RESUMED, coroutine, 0, 0, kinds.THROWN),
        (kinds.TASK_READY, other, task, 0, kinds.CAUSE_TASK),
        (kinds.MARK, 0, 0, 6, 0),
        (kinds.PROCESS_STARTED, 0, 200, 0, 0),
        (kinds.FUNCTION_DROPPED, 0, 0, 3, 0),
        (kinds.COROUTINE_FINISHED, coroutine, 0, 5, kinds.RAISED),
        (kinds.STEP_FINISHED, task, 0, 5, kinds.RAISED),
        (kinds.JOB_FORGOTTEN, job, 0, 0, 0),
        (kinds.TASK_COLLECTED, other, 0, 0, 0),
        (kinds.LOOP_GONE, loop, 0, 0, 0),
    ]
    off_loop = {kinds.CALL_STARTED, kinds.CALL_FINISHED, kinds.BLOCKING_STARTED, kinds.BLOCKING_FINISHED}
    return replace(
        example_part(1),
        end_ns=START_NS + 10**9,
        threads={1: ThreadInfo("MainThread", 100, True), 2: ThreadInfo("a pool's", 101)},
        names={1: "Task-1", 2: "early"},
        sites={
            1: Site("Future"),
            2: Site("main", "/home/me/app.py", 3, True, True, (("key", "value"), ("count", 3), ("rate", 0.5))),
            3: Site("work", "/home/me/app.py", 9, True),
            4: Site("time.sleep"),
            5: Site("ValueError"),
            6: Site("the user's own mark"),
        },
        stacks={1: ((2, 4), (3, 2))},
        events=[
            (START_NS + 1_000_000 * index, 2 if event[0] in off_loop else 1, *event)
            for index, event in enumerate(stream)
        ],
    )


# Streams of events that no program gives: few ids, so that the events meet, and any flags.
senseless_events = st.lists(
    st.tuples(
        st.sampled_from((0, 1, 10**6)),
        st.integers(1, 2),
        st.integers(1, 25),
        SMALL_IDS,
        SMALL_IDS | st.sampled_from((1 << 62, (1 << 63) - 1)),
        st.integers(0, 6),
        st.integers(0, 511) | st.sampled_from((1 << 62,)),
    ),
    max_size=60,
)


def part_of(stream: Sequence[Event]) -> Part:
    """Return a part of events whose times are given as delays."""
    time_ns = START_NS
    events: list[Event] = []
    for delay, *rest in stream:
        time_ns += delay
        events.append((time_ns, *rest))  # type: ignore[arg-type]  # the seven of an event
    return replace(every_kind(), events=events, end_ns=time_ns + 5)


def check(path: Path, *, is_drawn: bool = False) -> bool:
    """Load a file; assert that it is refused in one sentence, or that its trace can be worked with. Tell which."""
    try:
        trace = asynctrace.load(path)
    except FormatError as error:
        said = str(error)
        assert said.startswith(f"{path} ") and "\n" not in said
        return False
    assert is_our_trace(path)
    times_make_sense(trace)
    figures_make_sense(trace)
    is_kept(trace, path.with_name("again.pftrace"))
    if is_drawn:
        can_be_drawn(trace, path.with_name("drawn.png"))
    return True


def times_make_sense(trace: Trace) -> None:
    """Nothing lasts less than no time, or goes on after the end; the states of a task have no gap."""
    assert trace.start_ns <= trace.end_ns
    for task in trace.tasks:
        assert task.created_ns <= task.end_ns <= trace.end_ns
        # What a task did before the recording came to it is not known.
        at_ns = task.states[0].start_ns if task.is_clipped and task.states else task.created_ns
        assert at_ns >= task.created_ns
        for state in task.states:
            assert at_ns == state.start_ns <= state.end_ns
            assert (state.wait is not None) == (state.kind == "waiting")
            at_ns = state.end_ns
        assert at_ns == task.end_ns or (task.is_clipped and not task.states)
        assert (task.finished_ns is None) == (task.outcome == "unfinished")
    for coroutine in trace.coroutines:
        at_ns = coroutine.started_ns
        for pause in coroutine.suspensions:
            assert at_ns <= pause.start_ns <= pause.end_ns
            at_ns = pause.end_ns
        assert at_ns <= coroutine.end_ns <= trace.end_ns
        assert (coroutine.finished_ns is None) == (coroutine.outcome == "unfinished")
    for call in trace.calls:
        assert call.started_ns <= call.end_ns <= trace.end_ns
        assert all(call.started_ns <= each.start_ns <= each.end_ns <= call.end_ns for each in call.blockings)
    for process in trace.processes:
        assert process.started_ns <= process.finished_ns
    for loop in trace.loops:
        assert all(begin <= end for begin, end in loop.idle)
        assert all(each.start_ns <= each.end_ns for each in loop.callbacks)


def figures_make_sense(trace: Trace) -> None:
    """Everything can be counted, and no figure is below 0."""
    summary = summarize(trace)
    for row in (*summary.rows, *([summary.library] if summary.library else [])):
        assert min(row.total_ns, row.ready_ns, row.longest_step_ns, *row.waiting_ns.values()) >= 0
        assert row.running_ns >= 0
    assert json.loads(json.dumps(trace.summary()))
    text = "\n".join(line.text for line in summary_lines(summary, shown_as=trace.source, is_wide=True))
    text.encode("utf-8")
    assert all(count.running >= 0 and count.ready >= 0 and count.waiting >= 0 for count in state_counts(trace))
    assert all(held.end_ns >= held.start_ns for held in holding_steps(trace, at_least_ns=1, with_woken=True))
    assert all(0 <= share <= 1 for share in summary.overview.busy)
    gantt_rows(trace)
    coroutine_slices(trace)
    wakes(trace)
    panels([trace, trace])
    measured("it", trace)
    spans_make_sense(trace)


def spans_make_sense(trace: Trace) -> None:
    """Spans are trees, and can be sent."""
    for tasks in (True, None):
        spans = trace_spans(trace, tasks=tasks, events=True)
        for number, span in enumerate(spans):
            assert span.parent is None or 0 <= span.parent < number
            assert all(0 <= link.span < len(spans) and link.span != number for link in span.links)
            assert span.start_ns <= span.end_ns
        exporter = InMemorySpanExporter()
        provider = TracerProvider(shutdown_on_exit=False)
        provider.add_span_processor(SimpleSpanProcessor(exporter))
        trace.to_otel(provider, tasks=tasks, events=True)
        encoded = encode_spans(exporter.get_finished_spans()).SerializeToString()
        sent = ExportTraceServiceRequest.FromString(encoded).resource_spans
        assert sum(len(scope.spans) for each in sent for scope in each.scope_spans) == len(spans)


def is_kept(trace: Trace, path: Path) -> None:
    """Saved, it loads as the same trace."""
    trace.save(path)
    again = asynctrace.load(path)
    assert again.parts == trace.parts
    assert replace(again, notes=()) == replace(trace, notes=())


def can_be_drawn(trace: Trace, path: Path) -> None:
    try:
        trace.gantt(path, coroutines=True)
    except AsynctraceError as error:
        assert "no coroutine ran" in str(error)  # noqa: PT017
    else:
        assert path.read_bytes().startswith(b"\x89PNG")
    asynctrace.compare(trace, trace).save(path)


def note(content: bytes) -> None:
    hypothesis.note(f"base64: {base64.b64encode(content).decode()}")


@given(st.sampled_from(FILES), damages(), st.booleans())
@examples(80)
def test_damaged_file_is_refused_or_can_be_worked_with(
    tmp_path: Path, number: int, operations: list[Damage], is_packed: bool
) -> None:
    content = damaged(saved(number), operations)
    note(content)
    path = tmp_path / ("x.pftrace.gz" if is_packed else "x.pftrace")
    path.write_bytes(gzip.compress(content, 1, mtime=0) if is_packed else content)
    check(path)


@given(senseless_events)
@example(
    [
        (0, 1, kinds.STEP_STARTED, 1, 0, 0, 0),
        (0, 1, kinds.TASK_COLLECTED, 1, 0, 0, 0),
        (0, 1, kinds.COROUTINE_STARTED, 2, 0, 2, 0),
    ]
)
@example(
    [
        (0, 1, kinds.BLOCKING_STARTED, 7, 2, 4, 0),
        (0, 2, kinds.BLOCKING_STARTED, 7, 2, 4, 0),
        (0, 1, kinds.CALL_STARTED, 7, 0, 3, 0),
    ]
)
@examples(80)
def test_events_that_no_program_gives_make_a_trace_that_can_be_worked_with(tmp_path: Path, stream: list[Event]) -> None:
    path = tmp_path / "x.pftrace"
    save_parts((part_of(stream),), path)
    assert check(path)


@given(st.lists(any_parts, min_size=1, max_size=3))
@examples(30)
def test_any_parts_are_refused_or_can_be_worked_with(tmp_path: Path, parts: list[Part]) -> None:
    path = tmp_path / "x.pftrace"
    save_parts(tuple(parts), path)
    check(path)


@given(st.binary(max_size=300))
@examples(40)
def test_random_bytes_behind_a_header_are_refused_or_can_be_worked_with(tmp_path: Path, content: bytes) -> None:
    whole = saved(0)
    path = tmp_path / "x.pftrace"
    for header in (packets_until(whole, 1), packets_until(whole, 2)):
        path.write_bytes(header + content)
        check(path)


def packets_until(content: bytes, count: int) -> bytes:
    return b"".join(packets(content)[:count])


@pytest.mark.skipif(resource is None, reason="needs a limit on memory, as POSIX has it")
@pytest.mark.parametrize("inside", ["zeros behind a header", "zeros", "events"])
def test_a_bomb_of_gzip_is_refused_with_little_memory(tmp_path: Path, inside: str) -> None:
    path = tmp_path / "bomb.pftrace.gz"
    head = {"zeros": b"", "zeros behind a header": packets_until(saved(0), 1), "events": saved(0)[:-4]}[inside]
    more = event_packet(kinds.LOOP_GONE, 0) if inside == "events" else bytes(14)
    with gzip.open(path, "wb", compresslevel=1) as file:
        file.write(head)
        for _ in range(400):
            file.write(more * 75_000)  # some 400 MB in all
    script = (
        "import resource, sys\n"
        "from asynctrace.formats import load\n"
        "from asynctrace.errors import FormatError\n"
        "resource.setrlimit(resource.RLIMIT_AS, (600 << 20, 600 << 20))\n"
        "try:\n"
        "    load(sys.argv[1])\n"
        "except FormatError as error:\n"
        "    print(error)\n"
    )

    ran = subprocess.run(
        [sys.executable, "-c", script, str(path)],
        cwd=Path(asynctrace.__file__).parents[1],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    why = "is not a trace that asynctrace wrote" if inside == "zeros" else "is damaged: it holds far more"
    assert ran.stdout.startswith(f"{path} {why}"), ran.stderr


NESTED = ("deep", "wide", "ring", "open calls", "suspended", "dropped", "thrown", "overlapping", "steps", "calls")


@pytest.mark.parametrize("name", NESTED)
@pytest.mark.parametrize("count", [3_000, pytest.param(100_000, marks=pytest.mark.slow)])
def test_thousands_of_nested_things_load_and_are_saved(tmp_path: Path, name: str, count: int) -> None:
    path = tmp_path / "x.pftrace"
    stream = nested(name, count)
    path.write_bytes(packets_until(saved(2), 17) + b"".join(event_packets(stream)))
    trace = asynctrace.load(path)
    times_make_sense(trace)
    summarize(trace)
    trace_spans(trace, tasks=True, events=True)
    trace.save(path)
    assert path.stat().st_size < 1_000 * len(stream)
    assert load_parts(path) == list(trace.parts)


def event_packets(stream: Sequence[Event]) -> Iterator[bytes]:
    """Yield the packets of events whose times are given as delays, without what the UI would show of them."""
    before = 0
    threads: list[int] = []
    for delay, thread, kind, subject, other, site, flags in stream:
        if thread in threads:
            switch = bytes([layout.OTHER_THREAD, threads.index(thread)])
        else:
            switch = bytes([layout.OTHER_THREAD, len(threads), thread])
            threads.append(thread)
        shown = other if kind in NUMBER_KINDS else zigzag(other - subject)
        yield event_packet(kind, zigzag(subject - before), shown, site, flags, delay, switch)
        before = subject


def nested(name: str, count: int) -> list[Event]:
    """Return a stream of events that lead deep, or round in a ring."""
    ids = range(10, 10 + count)
    started = [(0, 1, kinds.COROUTINE_STARTED, id, id - 1, 2, 0) for id in ids]
    begin = [(0, 1, kinds.TASK_CREATED, 1, 0, 2, 0), (0, 1, kinds.STEP_STARTED, 1, 0, 0, 0)]
    end = [(1, 1, kinds.STEP_FINISHED, 1, 0, 0, kinds.RETURNED)]
    if name == "deep":  # each awaits the next, and all end with the outermost
        return [*begin, *started, (1, 1, kinds.COROUTINE_FINISHED, 10, 0, 0, kinds.CLOSED), *end]
    if name == "suspended":
        return [*begin, *started, *((0, 1, kinds.COROUTINE_SUSPENDED, id, 0, 4, 0) for id in reversed(ids)), *end]
    if name == "thrown":
        last = ids[-1]
        suspended = [(0, 1, kinds.COROUTINE_SUSPENDED, id, 0, 4, 0) for id in reversed(ids)]
        again = [(1, 1, kinds.COROUTINE_RESUMED, last, 0, 0, kinds.THROWN)]
        return [*begin, *started, *suspended, *again, (1, 1, kinds.COROUTINE_SUSPENDED, last, 0, 4, 0), *end]
    if name == "overlapping":  # coroutines that one task drives by hand, and that end in the order of their starts
        return [*begin, *started, *((1, 1, kinds.COROUTINE_FINISHED, id, 0, 0, kinds.RETURNED) for id in ids), *end]
    if name == "steps":
        steps = [(1, 1, kinds.STEP_STARTED, id, 0, 0, 0) for id in ids]
        return [*steps, *((1, 1, kinds.STEP_FINISHED, id, 0, 0, kinds.RETURNED) for id in ids)]
    if name == "calls":
        calls = [(1, 1, kinds.CALL_STARTED, id, 0, 3, kinds.CALL_FUNCTION) for id in ids]
        return [*calls, *((1, 1, kinds.CALL_FINISHED, id, 0, 0, kinds.RETURNED) for id in ids)]
    if name == "wide":  # tasks that create each other, the last one the first
        return [(1, 1, kinds.TASK_CREATED, id, 10 + (id - 11) % count, 2, 0) for id in ids]
    if name == "ring":  # generators that take each other's values
        generators = [(0, 1, kinds.COROUTINE_STARTED, id, 0, 2, kinds.ASYNC_GENERATOR) for id in ids]
        yielded = [(0, 1, kinds.COROUTINE_SUSPENDED, id, 0, 4, kinds.YIELDED) for id in ids]
        resumed = [(0, 1, kinds.COROUTINE_RESUMED, id, 0, 0, 0) for id in (*ids, ids[0], ids[-1])]
        again = [(0, 1, kinds.COROUTINE_SUSPENDED, id, 0, 4, 0) for id in (ids[0], ids[-1])]
        return [*begin, *generators, *yielded, *resumed, *again, *end]
    calls = [(1, 1, kinds.CALL_STARTED, id, 0, 3, kinds.CALL_FUNCTION) for id in ids]
    finished = [(0, 2, kinds.CALL_FINISHED, id, 0, 0, kinds.RETURNED) for id in reversed(ids)]
    blocked = [(0, 1, kinds.BLOCKING_STARTED, 10, 0, 4, 0), (1, 1, kinds.BLOCKING_FINISHED, 10, 0, 0, 0)]
    return [*calls, *blocked, *finished, *([(0, 1, kinds.FUNCTION_DROPPED, 0, 0, 3, 0)] if name == "dropped" else [])]


@given(st.sampled_from(FILES), damages())
@examples(3)
def test_what_is_left_of_a_damaged_file_can_be_drawn(tmp_path: Path, number: int, operations: list[Damage]) -> None:
    path = tmp_path / "x.pftrace"
    path.write_bytes(damaged(saved(number), operations))
    check(path, is_drawn=True)


@pytest.mark.slow
@given(st.sampled_from(FILES), damages(12), st.booleans())
@examples(5000)
def test_much_more_damage_is_refused_or_can_be_worked_with(
    tmp_path: Path, number: int, operations: list[Damage], is_packed: bool
) -> None:
    content = damaged(saved(number), operations)
    note(content)
    path = tmp_path / ("x.pftrace.gz" if is_packed else "x.pftrace")
    path.write_bytes(gzip.compress(content, 1, mtime=0) if is_packed else content)
    check(path)


@pytest.mark.slow
@given(senseless_events)
@examples(5000)
def test_many_more_events_that_no_program_gives_can_be_worked_with(tmp_path: Path, stream: list[Event]) -> None:
    path = tmp_path / "x.pftrace"
    save_parts((part_of(stream),), path)
    assert check(path)
