"""Parquet, as DuckDB reads it: what it adds up is what the model has."""

from __future__ import annotations

import json
import sys
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings

from asynctrace.analysis.figures import Figures, add_coroutine
from asynctrace.errors import MissingPackageError
from asynctrace.formats import checked_suffix, save
from asynctrace.formats.exporting import is_our_export
from asynctrace.formats.parquet_schema import COLUMNS
from asynctrace.model.build import build_trace
from asynctrace.model.trace import Trace
from tests.fakes import FakeTrace
from tests.strategies_parts import START_NS, example_part, program_parts

duckdb: Any
pa: Any
pq: Any


@pytest.fixture(autouse=True, scope="module")
def _packages() -> None:
    """Import them only here: they start threads, which other tests in the same process would have, too."""
    global duckdb, pa, pq
    duckdb = pytest.importorskip("duckdb")
    pa = pytest.importorskip("pyarrow")
    pq = pytest.importorskip("pyarrow.parquet")


def query(sql: str) -> list[tuple[Any, ...]]:
    rows: list[tuple[Any, ...]] = duckdb.sql(sql).fetchall()
    return rows


def saved(trace: Trace, folder: Path, name: str = "trace.parquet") -> Path:
    save(trace, folder / name)
    return folder / name


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow], max_examples=50)
@given(program_parts())
def test_sums_and_counts_are_those_of_the_model(tmp_path: Path, part: Any) -> None:
    trace = build_trace([part])
    path = saved(trace, tmp_path)

    expected: Counter[Any] = Counter()
    for task in trace.tasks:
        for state in task.states:
            key = task.id, state.kind, state.wait.kind if state.wait is not None else None
            expected[key] += state.end_ns - state.start_ns
    sums = query(f"select task_id, state, wait, sum(duration_ns) from '{path}' where record = 'state' group by all")
    assert Counter({row[:3]: int(row[3]) for row in sums}) == expected
    assert len(sums) == len(expected)
    figures = [Figures() for _ in trace.coroutines]
    for each, coroutine in zip(figures, trace.coroutines, strict=True):
        add_coroutine(each, coroutine)
    assert query(
        "select coroutine_id, coroutine, task_id, outcome, running_ns, ready_ns, waiting_ns, start_ns, duration_ns"
        f" from '{path}' where record = 'coroutine' order by coroutine_id"
    ) == [
        (
            *(each.id, each.name, each.task.id if each.task is not None else None, each.outcome),
            *(figure.running_ns, figure.ready_ns, figure.waiting_ns.total()),
            *(each.started_ns - trace.start_ns, each.end_ns - each.started_ns),
        )
        for each, figure in zip(trace.coroutines, figures, strict=True)
    ]


def test_a_row_says_what_state_it_is_and_why(tmp_path: Path) -> None:
    fake = FakeTrace(unit_ns=1)
    main = fake.task("main", states=[("running", 0, 10)])
    fake.task(
        "count",
        creator=main,
        states=[("ready", 5, 10, main), ("running", 10, 20), ("waiting", 20, 30, "task", "await main_task", main)],
        outcome="raised",
        error="ValueError",
    )
    path = saved(fake.build(), tmp_path)

    columns = "label, task, state, wait, expression, await_file, await_line, awaited_task_id, cause, cause_task_id"
    (task_id,) = query(f"select distinct task_id from '{path}' where label = 'count'")[0]
    assert query(f"select {columns} from '{path}' where task_id = {task_id} order by start_ns") == [
        ("count", "Task-2", "ready", None, None, None, None, None, "task", main.id),
        ("count", "Task-2", "running", None, None, None, None, None, None, None),
        ("count", "Task-2", "waiting", "task", "await main_task", "app.py", 1, main.id, None, None),
    ]
    columns = "record, program, recording_pid, pid, process, thread, outcome, error"
    assert query(f"select distinct {columns} from '{path}' where label = 'count'") == [
        ("state", "app.py", 100, 100, "MainProcess", "MainThread", "raised", "ValueError")
    ]


def test_many_files_are_one_table(tmp_path: Path) -> None:
    for pid in (100, 200, 300):
        saved(build_trace([example_part(30, seed=pid, pid=pid)]), tmp_path, f"{pid}.parquet")

    found = query(
        f"select recording_pid, count(distinct task_id) > 0 from '{tmp_path}/*.parquet' group by 1 order by 1"
    )
    assert found == [(100, True), (200, True), (300, True)]


def test_a_child_process_has_its_own_pid(tmp_path: Path) -> None:
    path = saved(build_trace([example_part(10), example_part(10, pid=200)]), tmp_path)
    assert query(f"select distinct recording_pid, pid from '{path}' order by 2") == [(100, 100), (100, 200)]


def test_times_are_those_of_the_wall_clock_to_the_nanosecond(tmp_path: Path) -> None:
    part = example_part(5)
    trace = build_trace([part])
    path = saved(trace, tmp_path)
    (first,) = query(f"select epoch_ns(min(started_at)) from '{path}'")
    assert first == (part.wall_ns + trace.tasks[0].created_ns - START_NS,)
    assert query(f"select distinct epoch_ns(ended_at) - epoch_ns(started_at) - duration_ns from '{path}'") == [(0,)]
    assert pq.read_schema(path).field("started_at").type == pa.timestamp("ns", "UTC")


def test_each_column_says_what_it_means_and_the_file_whose_it_is(tmp_path: Path) -> None:
    schema = pq.read_schema(saved(FakeTrace().build(lost=2, notes=["cut short"]), tmp_path))

    assert schema.names == [column.name for column in COLUMNS]
    assert all(schema.field(name).metadata[b"description"] for name in schema.names)
    for name in schema.names:
        assert (schema.field(name).metadata.get(b"unit") == b"ns") == name.endswith("_ns"), name
    about = {key.decode(): value.decode() for key, value in schema.metadata.items()}
    assert (about["asynctrace.program"], about["asynctrace.pid"], about["asynctrace.lost"]) == ("app.py", "100", "2")
    assert json.loads(about["asynctrace.notes"]) == ["cut short", "2 events were lost"]
    assert datetime.fromisoformat(about["asynctrace.started_at"]) == datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def test_attributes_are_a_map(tmp_path: Path) -> None:
    fake = FakeTrace()
    fake.coroutine("order", 0, 1).attributes.update({"tier": "gold", "number": 3})
    path = saved(fake.build(), tmp_path)
    assert query(f"select attributes['tier'], attributes['number'] from '{path}'") == [("gold", "3")]


@pytest.mark.parametrize("name", ["caf\udce9", "nul\0nul", "🧵 emoji", "two\nlines"])
def test_any_text_can_be_stored(tmp_path: Path, name: str) -> None:
    fake = FakeTrace()
    fake.coroutine(name, 0, 1).attributes[name] = name
    path = saved(fake.build(), tmp_path)
    assert pq.read_table(path)["coroutine"].to_pylist() == [name.replace("\udce9", "\\udce9")]


def test_numbers_of_a_damaged_file_that_are_too_large_are_cut(tmp_path: Path) -> None:
    fake = FakeTrace()
    fake.coroutine("order", 0, 1, line=1 << 70)
    assert pq.read_table(saved(fake.build(), tmp_path))["line"].to_pylist() == [(1 << 63) - 1]


def test_it_is_written_in_pieces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from asynctrace.formats import parquet

    monkeypatch.setattr(parquet, "_AT_ONCE", 50)
    trace = build_trace([example_part(200)])
    path = saved(trace, tmp_path)
    file = pq.ParquetFile(path)
    rows = sum(len(task.states) for task in trace.tasks) + len(trace.coroutines)
    assert file.num_row_groups > 3
    assert file.metadata.num_rows == rows


def test_a_file_of_ours_is_told_from_others_without_pyarrow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = saved(FakeTrace().build(), tmp_path)
    pq.write_table(pa.table({"a": [1]}), tmp_path / "mine.parquet")
    (tmp_path / "short.parquet").write_bytes(b"PAR1")
    monkeypatch.setitem(sys.modules, "pyarrow", None)

    assert [is_our_export(tmp_path / name) for name in (path.name, "mine.parquet", "short.parquet")] == [
        True,
        False,
        False,
    ]


def test_without_pyarrow_one_sentence_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [*sys.modules]:
        if name.startswith(("pyarrow", "asynctrace.formats.parquet")):
            monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    sentence = r"^Parquet needs pyarrow: install asynctrace\[parquet\] \(pip install 'asynctrace\[parquet\]'\)$"

    with pytest.raises(MissingPackageError, match=sentence):
        save(FakeTrace().build(), tmp_path / "x.parquet")
    with pytest.raises(MissingPackageError, match=sentence):
        checked_suffix(tmp_path / "x.parquet")
    assert list(tmp_path.iterdir()) == []
