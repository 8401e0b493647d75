"""`asynctrace merge` as a command: what it writes, how processes are named, and what it refuses."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import pytest
from integration.merged_parts import merged, moved
from integration.test_convert import START_NS, part_of

from asynctrace import events as kinds
from asynctrace.cli import main
from asynctrace.cli.convert import FORMATS
from asynctrace.formats import load, save_parts


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_names_tell_processes_apart(folder: Path) -> None:
    children = part_of(2, 101, "server.py"), part_of(2, 201, "server.py")
    workers = [replace(part, process_name="SpawnProcess-1") for part in children]
    for name, part, worker in zip(
        "ab", (part_of(2, 100, "server.py"), part_of(2, 200, "server.py")), workers, strict=True
    ):
        save_parts((part, worker), f"{name}.pftrace")
    save_parts((part_of(2, 300, "__main__.py"),), "cron.pftrace")
    save_parts((replace(part_of(2, 400), process_name="ingest"),), "d.pftrace")
    assert main(["merge", "a.pftrace", "b.pftrace", "cron.pftrace", "d.pftrace", "-o", "out.pftrace"]) == 0
    assert [process.name for process in load("out.pftrace").processes] == [
        "server 100",
        "server 100 SpawnProcess-1",
        "server 200",
        "server 200 SpawnProcess-1",
        "cron",
        "ingest",
    ]


def test_every_view_says_which_process_it_is(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    whole = merged(part_of(3, 100, "api.py"), moved(part_of(2, 200, "worker.py"), 500))

    from asynctrace.analysis.groups import task_groups
    from asynctrace.analysis.rows import gantt_rows
    from asynctrace.charts.gantt_text import headline

    assert [row.label for row in gantt_rows(whole)] == ["api  main", "count #1", "count #2", "worker  main", "count"]
    assert [row.label for row in gantt_rows(whole, most=4)] == ["api  main", "count ×2", "worker  main", "count"]
    assert [group.label for group in task_groups(whole)] == ["api  main", "count ×2", "worker  main", "count"]
    assert headline(whole, 0).startswith("api, worker: 5 tasks, ")
    capsys.readouterr()
    assert main(["summary", "merged.pftrace"]) == 0
    assert "\nprocesses: api (3 tasks), worker (2 tasks)\n" in capsys.readouterr().out


@pytest.mark.parametrize("suffix", [suffix for suffix in FORMATS if not suffix.endswith(".gz")])
def test_any_format_that_convert_knows(folder: Path, capsys: pytest.CaptureFixture[str], suffix: str) -> None:
    if suffix == ".parquet":
        pytest.importorskip("pyarrow")
    save_parts((part_of(3, 100, "api.py"),), "a.pftrace")
    save_parts((part_of(3, 200, "worker.py"),), "b.pftrace")
    assert main(["merge", "a.pftrace", "b.pftrace", "-o", f"out{suffix}"]) == 0
    assert capsys.readouterr().out.startswith(f"saved out{suffix}")
    content = Path(f"out{suffix}").read_bytes()
    if suffix == ".speedscope.json":
        return  # sums over all of it
    assert b"api" in content and b"worker" in content
    if suffix == ".parquet":
        import pyarrow.parquet as pq

        rows = pq.read_table("out.parquet", columns=["program", "process", "pid"]).to_pylist()
        found = {tuple(row.values()) for row in rows}
        assert found == {("api.py", "api", 100), ("worker.py", "worker", 200)}


def test_spans_are_of_the_service_that_each_program_is(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import json

    for name in ("OTEL_SERVICE_NAME", "OTEL_RESOURCE_ATTRIBUTES"):
        monkeypatch.delenv(name, raising=False)
    save_parts((part_of(3, 100, "api.py"),), "a.pftrace")
    save_parts((part_of(3, 200, "worker.py"),), "b.pftrace")
    assert main(["merge", "a.pftrace", "b.pftrace", "-o", "out.otlp.json"]) == 0
    found = set()
    for line in Path("out.otlp.json").read_text(encoding="utf-8").splitlines():
        for each in json.loads(line)["resourceSpans"]:
            about = {entry["key"]: next(iter(entry["value"].values())) for entry in each["resource"]["attributes"]}
            found.add((about["service.name"], int(about["process.pid"])))
    assert found == {("api.py", 100), ("worker.py", 200)}


def same_process_of(name: str) -> str:
    return f"{name} hold the same events of process 100: name the one that has more of them"


# The files named, the exit code, what is said.
TROUBLE: dict[str, tuple[list[str], int, str]] = {
    "one": (["a.pftrace"], 2, "there is nothing to merge one recording with: name two or more"),
    "one file twice": (
        ["a.pftrace", "link.pftrace"],
        2,
        "a.pftrace and link.pftrace are one file: name each recording once",
    ),
    "a copy": (["a.pftrace", "copy.pftrace.gz"], 2, same_process_of("a.pftrace and copy.pftrace.gz")),
    "a snapshot": (["a.pftrace", "snapshot.pftrace"], 2, same_process_of("a.pftrace and snapshot.pftrace")),
    "the output": (
        ["a.pftrace", "out.pftrace"],
        2,
        "out.pftrace cannot be read and replaced at once: name another output with -o",
    ),
    "missing": (
        ["a.pftrace", "none.pftrace"],
        1,
        "none.pftrace does not exist: check the path, or make a recording with asynctrace run",
    ),
    "foreign": (["a.pftrace", "foreign.txt"], 1, "foreign.txt is not a trace that asynctrace wrote"),
    "another format": (
        ["a.pftrace", "a.json"],
        1,
        "a.json is for other tools: asynctrace reads the recording that it was made of, a .pftrace",
    ),
    "cut to nothing": (
        ["a.pftrace", "cut.pftrace"],
        1,
        "cut.pftrace was cut short before its first event: nothing of the recording is left",
    ),
    "empty": (
        ["a.pftrace", "empty.pftrace"],
        1,
        "empty.pftrace is empty: the program that wrote it ended before it could write anything",
    ),
    "a folder": (["a.pftrace", "."], 1, ". is a folder: name a trace in it"),
}


@pytest.mark.parametrize("case", TROUBLE)
def test_trouble_is_one_sentence_and_nothing_is_written(
    folder: Path, capsys: pytest.CaptureFixture[str], case: str
) -> None:
    part = part_of(10, 100)
    save_parts((part,), "a.pftrace")
    save_parts((part,), "copy.pftrace.gz")
    middle = part.events[40][0]
    tail = [event for event in part.events if event[0] >= middle]
    begun = (middle, 1, kinds.TASK_CREATED, (100 << 32) + 2, 0, 2, kinds.SEEN_LATE)
    snapshot = replace(part, start_ns=middle, wall_ns=part.wall_ns + middle - START_NS, events=[begun, *tail])
    save_parts((snapshot,), "snapshot.pftrace")
    save_parts((part_of(2, 500),), "out.pftrace")
    Path("link.pftrace").symlink_to("a.pftrace")
    Path("foreign.txt").write_text("hello", encoding="utf-8")
    Path("cut.pftrace").write_bytes(Path("a.pftrace").read_bytes()[:20])
    Path("empty.pftrace").touch()
    assert main(["convert", "a.pftrace", "a.json"]) == 0
    capsys.readouterr()
    before = {path: path.read_bytes() for path in folder.iterdir()}
    files, code, sentence = TROUBLE[case]

    assert main(["merge", *files, "-o", "out.pftrace"]) == code
    said = capsys.readouterr()
    assert (said.out, said.err) == ("", f"asynctrace: {sentence}\n")
    assert {path: path.read_bytes() for path in folder.iterdir()} == before


def test_a_file_of_ours_is_replaced_and_any_other_by_force(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save_parts((part_of(2, 100),), "a.pftrace")
    save_parts((part_of(2, 200),), "b.pftrace")
    words = ["merge", "a.pftrace", "b.pftrace", "-o"]
    assert main([*words, "out.pftrace"]) == 0
    assert main([*words, "out.pftrace"]) == 0
    Path("mine.json").write_text("{}", encoding="utf-8")
    assert main([*words, "mine.json"]) == 2
    assert main([*words, "mine.json", "--force"]) == 0
    capsys.readouterr()
    assert main([*words, "out.xml"]) == 2
    assert "cannot write a file with the suffix '.xml'" in capsys.readouterr().err
    with pytest.raises(SystemExit, match="2"):
        main(["merge", "a.pftrace", "b.pftrace"])


def test_progress_of_large_ones_is_shown(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from asynctrace.cli import merge, rows

    monkeypatch.setattr(merge, "_MANY_BYTES", 1)
    monkeypatch.setattr(rows, "_MANY_EVENTS", 1)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.setenv("FORCE_COLOR", "1")
    merged(part_of(2, 100), part_of(2, 200))
    said = capsys.readouterr()
    assert said.out == "saved merged.pftrace: 2 processes\n"
    assert "reading 2 recordings" in said.err and "writing merged.pftrace" in said.err
