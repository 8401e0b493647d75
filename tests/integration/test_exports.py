"""Formats for other tools show what the model has: of random programs, of every kind of program, of damaged files."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from integration.generated_programs import Body, programs, run_program

import asynctrace
from asynctrace.errors import UsageError
from asynctrace.formats import load_parts, save
from asynctrace.formats.exporting import EXPORT_SUFFIXES
from asynctrace.model.build import build_trace
from asynctrace.model.trace import Trace
from tests import chrome_view, perfetto_states, perfetto_view
from tests.speedscope_view import of_model, whole, written
from tests.strategies_parts import any_parts, example_part
from tests.trace_processor import ERRORS, ask

_SETTINGS = settings(
    max_examples=30,
    deadline=None,
    suppress_health_check=[
        HealthCheck.too_slow,
        HealthCheck.data_too_large,
        HealthCheck.filter_too_much,
        HealthCheck.function_scoped_fixture,
    ],
)


def check(trace: Trace, folder: Path) -> None:
    """Check the file of each format against the model."""
    save(trace, folder / "trace.pftrace")
    check_perfetto(folder / "trace.pftrace")
    save(trace, folder / "trace.json")
    chrome_view.agrees(trace, chrome_view.view(folder / "trace.json"))
    off_loop = any(call.task is None for call in trace.calls)
    found = whole(written(trace, folder))
    for kind, total in of_model(trace).items():
        assert found[kind] >= total if off_loop else found[kind] == total
    try:
        import pyarrow.parquet as pq
    except ImportError:
        return
    save(trace, folder / "trace.parquet")
    table = pq.read_table(folder / "trace.parquet", columns=["record", "state", "duration_ns"]).to_pydict()
    sums: Counter[str] = Counter()
    for record, state, duration_ns in zip(*table.values(), strict=True):
        sums[state if record == "state" else record] += duration_ns
    expected = Counter(of_model(trace))
    expected["coroutine"] += sum(each.end_ns - each.started_ns for each in trace.coroutines)
    assert +sums == +expected


def check_perfetto(path: Path) -> None:
    """Check a Perfetto file against the model: of all that it holds, which may be more than the recording's window."""
    trace, seen = build_trace(load_parts(path)), perfetto_view.view(path)
    perfetto_states.same(perfetto_states.of_view(seen, trace.end_ns), perfetto_states.of_model(trace))
    perfetto_states.check_expressions(seen, trace)
    lags = [(time_ns, int(lag)) for values in seen.gauges.values() for time_ns, lag in values if lag]
    assert sorted(lags) == perfetto_states.lags(trace)


@_SETTINGS
@given(programs, st.booleans())
def test_of_random_programs(tmp_path: Path, root: Body, eager: bool) -> None:
    log, trace = run_program(root, eager=eager)
    assert trace is not None
    check(trace, tmp_path)
    for window in log.windows:
        check(window, tmp_path)


async def _everything() -> None:
    def blocks(seconds: float) -> None:
        time.sleep(seconds)

    traced = asynctrace.traced(blocks)
    ready = asyncio.Event()
    loop = asyncio.get_running_loop()
    left = asyncio.create_task(asyncio.sleep(100))
    threading.Timer(0.005, lambda: loop.call_soon_threadsafe(ready.set)).start()
    await asyncio.gather(ready.wait(), asyncio.to_thread(blocks, 0.002), asyncio.sleep(0.001))
    loop.call_soon(blocks, 0.003)  # a callback that holds the loop
    traced(0.002)
    await asyncio.sleep(0)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(asyncio.sleep(10), 0.001)
    assert not left.done()


def test_of_threads_jobs_callbacks_and_blocking(tmp_path: Path) -> None:
    with asynctrace.record() as recording:
        asyncio.run(_everything())
    check(recording.trace, tmp_path)
    seen = chrome_view.view(tmp_path / "trace.json")
    assert {"task", "step", "call", "blocking", "callback", "loop"} == {one.category for one in seen.slices}
    assert {kind for kind, _, _ in seen.arrows} == {"wake", "create", "job"}


@pytest.mark.slow
def test_the_trace_processor_takes_real_programs(ui_directory: Path, tmp_path: Path) -> None:
    with asynctrace.record() as recording:
        asyncio.run(_everything())
    trace = recording.trace
    save(trace, tmp_path / "trace.json")
    seen = chrome_view.view(tmp_path / "trace.json")
    query = "select s.name, s.ts, s.dur from slice s"
    errors, slices, flows = ask(ui_directory, tmp_path / "trace.json", ERRORS, query, "select count(*) as n from flow")
    assert errors == []
    assert Counter((row["name"], row["ts"], row["dur"]) for row in slices) == Counter(
        (one.name, one.start_ns, one.end_ns - one.start_ns) for one in seen.slices
    )
    assert flows == [{"n": len(seen.arrows)}]


@pytest.mark.parametrize("suffix", EXPORT_SUFFIXES)
def test_a_recording_is_saved_in_each_when_it_ends(tmp_path: Path, suffix: str) -> None:
    if suffix == ".parquet":
        pytest.importorskip("pyarrow")
    output = tmp_path / f"trace{suffix}"
    asynctrace.run(asyncio.sleep(0), output=output)
    assert output.stat().st_size > 100


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("x.otlp.json", "spans are sent by Trace.to_otel, or written by asynctrace convert FILE OUT.otlp.json"),
        ("x.otlp.json.gz", "spans are sent by Trace.to_otel, or written by asynctrace convert FILE OUT.otlp.json"),
        ("x.csv", "no format has this suffix: use .pftrace, .json, .speedscope.json or .parquet"),
    ],
)
def test_what_is_no_format_of_a_trace_is_refused(tmp_path: Path, name: str, sentence: str) -> None:
    with pytest.raises(UsageError, match=f"{name}: {sentence}"):
        build_trace([example_part()]).save(tmp_path / name)
    assert list(tmp_path.iterdir()) == []


@_SETTINGS
@given(st.lists(any_parts, min_size=1, max_size=2), st.sampled_from(EXPORT_SUFFIXES))
def test_senseless_events_are_written_as_far_as_they_go(tmp_path: Path, parts: list[Any], suffix: str) -> None:
    if suffix == ".parquet":
        pytest.importorskip("pyarrow")
    save(build_trace(parts), tmp_path / f"trace{suffix}")
