"""The interactive page as a file: what is in it, that it is the same each time, and whose files it replaces.

What it does when it is open: tests/integration/test_page_in_browser.py.
"""

import json
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

import asynctrace
from asynctrace.charts import timeline, timeline_content
from asynctrace.cli import main
from asynctrace.errors import AsynctraceError, MissingPackageError
from asynctrace.model.trace import Trace
from tests.fakes import FakeTrace

pytest.importorskip("bokeh", reason="bokeh is not installed")

HOSTILE = '</script><img src=x onerror="alert(1)"><!--'
_MODEL = re.compile(r'<script type="application/json" id="model">(.*?)</script>', re.DOTALL)


def gather(tasks: int = 3) -> Trace:
    fake = FakeTrace(source="gather.py")
    main = fake.task("main", states=[("running", 0, 2), ("waiting", 2, 1000, "gather", "asyncio.gather(*counts)")])
    for index in range(tasks):
        begin = 2 + index % 300
        states = [("running", begin, begin + 1), ("waiting", begin + 1, 999, "sleep", "asyncio.sleep(1)")]
        fake.task("count", line=2, creator=main, states=states)
    return fake.build()


def sources(page: str) -> dict[str, dict[str, Any]]:
    """Return the columns of a page's named sources."""
    found = _MODEL.search(page)
    assert found is not None
    result: dict[str, dict[str, Any]] = {}

    def look(value: Any) -> None:
        if isinstance(value, dict):
            attributes = value.get("attributes", {})
            if value.get("name") == "ColumnDataSource" and "name" in attributes:
                result[attributes["name"]] = dict(attributes["data"]["entries"])
            for one in value.values():
                look(one)
        elif isinstance(value, list):
            for one in value:
                look(one)

    look(json.loads(found[1]))
    return result


def tags(page: str) -> set[str]:
    """Return the elements that a browser finds in a page."""
    found: set[str] = set()
    parser = HTMLParser()
    parser.handle_starttag = lambda tag, attributes: found.add(tag)  # type: ignore[method-assign]
    parser.feed(page)
    return found


def length(column: Any) -> int:
    return len(column) if isinstance(column, list) else int(column["shape"][0])


def test_every_state_of_every_task_is_in_it() -> None:
    columns = sources(timeline.timeline_html(gather()))

    assert columns["rows"]["label"] == ["main", "count ×3", "count #1", "count #2", "count #3"]
    assert [length(columns[state]["left"]) for state in ("running", "waiting")] == [4 + 1, 4 + 1]
    assert length(columns["tasks"]["search"]) == 4


def test_what_blocks_is_in_the_row_that_stands_for_its_group_too() -> None:
    fake = FakeTrace()
    for _ in range(2):
        fake.task("load", states=[("running", 0, 100)], blockings=[("time.sleep", 10, 90)])

    columns = sources(timeline.timeline_html(fake.build()))

    assert columns["rows"]["label"] == ["load ×2", "load #1", "load #2"]
    assert length(columns["blocking"]["left"]) == 2 + 2


def test_nothing_comes_from_elsewhere() -> None:
    page = timeline.timeline_html(gather())
    markup = re.sub(r"<script.*?</script>", "", page, flags=re.DOTALL)

    assert re.findall(r"""(?:src|href)\s*=|url\(|@import""", markup) == []
    assert re.findall(r"<script[^>]*src", page) == []
    assert "default-src 'none'" in page and "connect-src" not in page


@pytest.mark.parametrize("name", [HOSTILE, "a\0b\udce9", "$title $$x$$ {}"])
def test_names_are_in_it_as_text(name: str) -> None:
    fake = FakeTrace(source=name)
    task = fake.task(name, states=[("running", 0, 1), ("waiting", 1, 9, "io", name)])
    task.name = name

    page = timeline.timeline_html(fake.build(notes=[name]))

    page.encode("utf-8")
    assert tags(page) == tags(timeline.timeline_html(gather()))
    assert sources(page)["rows"]["label"][0].startswith(name[:1])


def test_the_same_trace_gives_the_same_bytes() -> None:
    first, second = timeline.timeline_html(gather()), timeline.timeline_html(gather())

    assert first == second


def test_what_was_lost_and_what_must_be_known_is_said() -> None:
    trace = gather()
    trace.lost, trace.notes = 7, ("cut short <here>",)

    page = timeline.timeline_html(trace)

    assert "lost 7" in page
    assert "cut short &lt;here&gt;" in page


def test_many_short_states_are_mixed_and_this_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timeline_content, "MOST_BARS", 4_000)
    fake = FakeTrace(source="storm.py", unit_ns=1000)
    for _ in range(2):
        states = [(("running", "ready")[index % 2], index, index + 1) for index in range(10_000)]
        fake.task("spin", states=states)
    trace = fake.build()

    page = timeline.timeline_html(trace)

    columns = sources(page)
    assert sum(length(columns[state]["left"]) for state in ("running", "ready")) <= 4_000
    assert "a colour&#x27;s height is its share of the time" in page


def test_of_a_group_too_large_to_draw_the_first_lanes_are_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timeline_content, "MOST_BARS", 4_000)
    trace = gather(3_000)

    page = timeline.timeline_html(trace)

    labels = sources(page)["rows"]["label"]
    assert labels[:3] == ["main", "count ×3,000", "count #1"]
    assert labels[-2:] == ["count #1999", "1,001 more lanes, only in the sum above"]
    assert "only the first lanes are shown" in page


def test_without_anything_to_show_it_says_so() -> None:
    with pytest.raises(AsynctraceError, match="no coroutine ran"):
        timeline.timeline_html(FakeTrace().build())


def test_without_bokeh_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "bokeh", None)

    with pytest.raises(MissingPackageError, match=r"needs bokeh: install it \(pip install bokeh\)"):
        gather().save(tmp_path / "x.html")

    assert list(tmp_path.iterdir()) == []


def test_with_a_bokeh_that_is_too_old_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bokeh.__version__", "3.7.10")

    with pytest.raises(MissingPackageError, match=r"needs bokeh 3\.8 or later, not 3\.7\.10"):
        timeline.timeline_html(gather())


def test_threads_and_processes_have_rows_too() -> None:
    fake = FakeTrace(source="threads.py")
    thread = fake.thread("Thread-1 (count)")
    fake.call("count", 0, 500, thread=thread, kind="thread", blockings=[("time.sleep", 0, 490)])
    page = timeline.timeline_html(fake.build())

    columns = sources(page)
    assert columns["rows"]["label"] == ["Thread-1  count"]
    assert length(columns["waiting"]["left"]) == 1


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    script = tmp_path / "script.py"
    script.write_text("import asyncio\nasyncio.run(asyncio.sleep(0))\n", encoding="utf-8")
    path = tmp_path / "trace.pftrace"
    command = [sys.executable, "-m", "asynctrace", "run", "-q", "-o", str(path), str(script)]
    subprocess.run(command, check=True, cwd=Path(asynctrace.__file__).parents[1])
    return path


def test_the_command_writes_it_and_replaces_only_its_own(recording: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page = recording.with_name("page.html")

    assert main(["view", "--html", str(page), str(recording)]) == 0
    assert main(["view", str(recording), "--html", str(page)]) == 0
    assert capsys.readouterr().out == f"saved {page}: open it in any browser\n" * 2
    assert page.read_bytes().startswith(b"<!DOCTYPE html>")

    page.write_text('<!DOCTYPE html>\n<html><title>mine: <meta name="generator" content="other"></title>')
    assert main(["view", str(recording), "--html", str(page)]) == 2
    assert "was not written by asynctrace: pass --force to replace it" in capsys.readouterr().err
    assert main(["view", str(recording), "--html", str(page), "--force"]) == 0
    assert main(["view", str(recording), "--html", str(recording)]) == 2


def test_a_program_that_is_run_can_leave_a_page(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text("import asyncio\nasyncio.run(asyncio.sleep(0))\n", encoding="utf-8")
    command = [sys.executable, "-m", "asynctrace", "run", "-o", str(tmp_path / "x.html"), str(script)]

    done = subprocess.run(command, check=True, cwd=Path(asynctrace.__file__).parents[1], capture_output=True, text=True)

    assert done.stderr.endswith(f"saved {tmp_path / 'x.html'}\n")
    assert (tmp_path / "x.html").read_text(encoding="utf-8").startswith("<!DOCTYPE html>")


def test_lanes_hold_tasks_that_follow_each_other() -> None:
    fake = FakeTrace(source="app.py")
    for start in (0, 0, 100, 100, 200):
        fake.task("work", states=[("running", start, start + 90)])
    trace = fake.build()

    page = timeline.timeline_html(trace)

    assert sources(page)["rows"]["label"] == ["work ×5", "lane 1: 3 tasks", "lane 2: 2 tasks"]
