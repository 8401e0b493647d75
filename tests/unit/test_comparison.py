"""What a Comparison says, how versions are named, and how functions are run. Scripts: tests/integration."""

from __future__ import annotations

import asyncio
import functools
import threading
import time
from pathlib import Path
from typing import Any

import pytest

import asynctrace
from asynctrace.analysis.comparison_rows import panel
from asynctrace.analysis.version import Version, measured, speedup_text, with_speedups
from asynctrace.comparison import compare_in, name_versions
from asynctrace.errors import UsageError
from asynctrace.version_runs import _error_of
from tests.comparison_fakes import blocking, comparison, demo, gather, processes
from tests.fakes import FakeTrace


def test_the_figures_of_a_version() -> None:
    version = measured("processes", processes())

    assert (version.wall_s, version.peak_in_progress, version.error) == (1.124, 3, None)
    assert version.cpu_s == pytest.approx(0.015 + 3 * 0.044)


def test_as_dict_has_the_fields_of_the_command() -> None:
    (version,) = comparison(gather=gather()).as_dict()["versions"]

    assert version == {
        "name": "gather",
        "wall_s": 1.005,
        "cpu_s": 0.012,
        "speedup": 1.0,
        "peak_in_progress": 3,
        "mean_in_progress": pytest.approx(2.99, abs=0.01),
        "error": None,
    }


def test_a_version_without_a_trace_has_no_figures() -> None:
    failed = comparison(dead=measured("dead", None, "ValueError: boom")).as_dict()["versions"][0]

    assert failed == {
        "name": "dead",
        "wall_s": None,
        "cpu_s": None,
        "speedup": None,
        "peak_in_progress": None,
        "mean_in_progress": None,
        "error": "ValueError: boom",
    }


def test_the_table() -> None:
    assert str(demo()).splitlines() == [
        "version    wall s     speed-up  peak  mean  CPU s",
        "blocking     3.00     baseline     1   1.0   0.01",
        "threads      1.00  3.0× faster     3   3.0   0.01",
        "processes    1.12  2.7× faster     3   2.7   0.15",
        "gather       1.00  3.0× faster     3   3.0   0.01",
    ]


def test_the_table_ends_a_failed_version_with_its_error() -> None:
    failed = measured("dead", None, "ValueError: boom")

    assert str(comparison(blocking=blocking(), dead=failed)).splitlines()[2] == (
        "dead           -    failed     -     -      -  ValueError: boom"
    )


@pytest.mark.parametrize(
    ("speedup", "text"),
    [
        (3.04, "3.0× faster"),
        (1 / 1.4, "1.4× slower"),
        (1.04, "4 % faster"),
        (1 / 1.08, "8 % slower"),
        (0.99, "as fast"),
    ],
)
def test_how_a_time_stands_to_the_baselines(speedup: float, text: str) -> None:
    version = Version("other", 1.0, 0.1, speedup, 1, 1.0, None)

    assert speedup_text(version, "baseline") == text


def test_there_is_no_speedup_against_a_failed_baseline() -> None:
    failed = measured("blocking", blocking(), "ValueError: boom")

    assert [version.speedup for version in with_speedups([failed, measured("gather", gather())], "blocking")] == [
        None,
        None,
    ]


def test_versions_are_named_after_their_files_and_told_apart(tmp_path: Path) -> None:
    paths = [tmp_path / "one" / "app.py", tmp_path / "two" / "app.py", tmp_path / "app.pftrace"]
    for path in paths:
        path.parent.mkdir(exist_ok=True)
        path.touch()

    def count() -> None: ...

    named = name_versions([*paths, count, gather()], {"mine": count})

    assert list(named) == ["app", "app 2", "app 3", "count", "gather", "mine"]


def test_a_name_given_is_kept() -> None:
    def count() -> None: ...

    assert list(name_versions([count], {"count": count})) == ["count 2", "count"]


def test_nothing_to_compare() -> None:
    with pytest.raises(UsageError, match="there is nothing to compare"):
        asynctrace.compare()


def test_a_missing_file_is_told_before_anything_runs() -> None:
    ran: list[bool] = []

    with pytest.raises(UsageError, match=r"there is no script or trace nothing\.py"):
        asynctrace.compare(lambda: ran.append(True), "nothing.py")
    assert ran == []


def test_what_cannot_be_compared() -> None:
    with pytest.raises(UsageError, match="42 cannot be compared"):
        asynctrace.compare(42)  # type: ignore[arg-type]


def test_an_unknown_baseline_lists_the_names() -> None:
    with pytest.raises(UsageError, match="no version is called x: the baseline is one of blocking, gather"):
        asynctrace.compare(baseline="x", blocking=blocking(), gather=gather())


def test_traces_are_compared_as_they_are() -> None:
    compared = asynctrace.compare(blocking(), gather(), baseline="gather")

    assert [(version.name, version.speedup) for version in compared.versions] == [
        ("blocking", pytest.approx(1.005 / 3.002)),
        ("gather", 1.0),
    ]


def test_progress_is_told() -> None:
    told: list[tuple[str, str]] = []

    asynctrace.compare(one=blocking(), two=gather(), progress=lambda name, event: told.append((name, event)))

    assert told == [("one", "started"), ("one", "finished"), ("two", "started"), ("two", "finished")]


def pause() -> None:
    time.sleep(0.05)


def one_by_one() -> None:
    for _ in range(3):
        pause()


def on_threads() -> None:
    threads = [threading.Thread(target=pause) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


async def at_once() -> None:
    await asyncio.gather(*(asyncio.sleep(0.05) for _ in range(3)))


def boom() -> None:
    raise ValueError("boom")


def test_functions_are_run_in_this_process() -> None:
    compared = asynctrace.compare(one_by_one, on_threads, at_once)

    assert [(version.name, version.peak_in_progress, version.error) for version in compared.versions] == [
        ("one_by_one", 1, None),
        ("on_threads", 3, None),
        ("at_once", 3, None),
    ]


def test_functions_are_run_inside_a_running_loop_too() -> None:
    async def cell() -> list[int | None]:
        compared = asynctrace.compare(one_by_one, on_threads, at_once)
        return [version.peak_in_progress for version in compared.versions]

    assert asyncio.run(cell()) == [1, 3, 3]


def test_a_function_that_returns_a_coroutine_is_awaited() -> None:
    compared = asynctrace.compare(one=functools.partial(at_once), two=lambda: at_once())

    assert [version.peak_in_progress for version in compared.versions] == [3, 3]


def test_a_function_that_raises_is_told_and_the_others_are_compared() -> None:
    told: list[str] = []

    compared = asynctrace.compare(boom, at_once, progress=lambda name, event: told.append(event))

    assert [version.error for version in compared.versions] == ["ValueError: boom", None]
    assert told == ["started", "failed", "started", "finished"]


def test_the_calls_of_a_plain_function_are_its_rows() -> None:
    (version,) = asynctrace.compare(one_by_one).versions
    assert version.trace is not None

    (row,) = panel(version.trace).rows

    assert [unit.name for unit in row.units] == ["pause"] * 3


@pytest.mark.parametrize(
    ("status", "stderr", "error"),
    [
        (1, "Traceback (most recent call last):\n  File\nValueError: boom\n", "ValueError: boom"),
        (1, "Traceback (most recent call last):\n  File\nKeyboardInterrupt\n", "KeyboardInterrupt"),
        (3, "", "exit status 3"),
        (1, "no such option\n", "no such option"),
        (-9, "", "killed by SIGKILL"),
        (
            1,
            "  + Exception Group Traceback (most recent call last):\n  | ExceptionGroup: errors (1 sub-exception)"
            "\n  +-+---------------- 1 ----------------\n    | Traceback (most recent call last):\n    |   File\n"
            "    | ValueError: boom\n    +------------------------------------\n",
            "ValueError: boom",
        ),
    ],
)
def test_why_a_script_failed_in_a_line(status: int, stderr: str, error: str) -> None:
    assert _error_of(status, stderr) == error


def test_an_empty_recording_has_a_table_too() -> None:
    empty: Any = FakeTrace().build(end=10)

    assert (
        str(compare_in(None, {"empty": empty}, None)).splitlines()[1] == "empty      0.01  baseline     0   0.0   0.00"
    )
