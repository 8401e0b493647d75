"""The figures of a summary, on traces built by hand, and the text that shows them."""

import pytest
from fakes import FakeTrace

from asynctrace.analysis.summary import SummaryRow, summarize
from asynctrace.cli.summary_text import (
    SORT_KEYS,
    WIDTH,
    columns,
    fitted,
    header_lines,
    milliseconds,
    seconds,
    short,
    summary_lines,
    visible,
)
from asynctrace.model.trace import Suspension, Trace

MS = 1_000_000


def only_row(trace: Trace) -> SummaryRow:
    (row,) = summarize(trace).rows
    return row


def server() -> Trace:
    """Two requests of 100 ms, of which the second waits for the first one's long step."""
    fake = FakeTrace(source="api.pftrace")
    first = fake.task("serve", states=[("running", 0, 60), ("waiting", 60, 90, "io"), ("running", 90, 100)])
    second = fake.task(
        "serve",
        states=[
            ("ready", 0, 60),
            ("running", 60, 62),
            ("waiting", 62, 80, "lock"),
            ("ready", 80, 82),
            ("running", 82, 100),
        ],
        outcome="raised",
        error="TimeoutError",
    )
    fake.coroutine("App.serve", 0, 100, task=first, suspensions=[(60, 90)], file="/srv/app.py", line=3)
    fake.coroutine(
        "App.serve",
        60,
        100,
        task=second,
        suspensions=[(62, 82)],
        file="/srv/app.py",
        line=3,
        outcome="raised",
        error="TimeoutError",
    )
    return fake.build()


def test_running_ready_and_waiting_add_up_to_the_total() -> None:
    row = only_row(server())

    assert (row.name, row.file, row.line, row.count) == ("App.serve", "/srv/app.py", 3, 2)
    assert row.total_ns == 200 * MS
    assert row.running_ns == (70 + 20) * MS
    assert row.ready_ns == (60 + 2) * MS  # the delay of the first step counts
    assert row.waiting_ns == {"io": 30 * MS, "lock": 18 * MS}
    assert row.running_ns + row.ready_ns + row.all_waiting_ns == row.total_ns
    assert row.longest_step_ns == 60 * MS
    assert row.outcomes == {"returned": 1, "raised": 1}
    assert row.errors == {"TimeoutError": 1}


def test_json_has_seconds_and_the_agreed_fields() -> None:
    trace = server()

    assert trace.summary() == {
        "coroutines": [
            {
                "name": "App.serve",
                "file": "/srv/app.py",
                "line": 3,
                "count": 2,
                "total_s": 0.2,
                "running_s": 0.09,
                "ready_s": 0.062,
                "waiting_s": {"io": 0.03, "lock": 0.018},
                "longest_step_s": 0.06,
                "outcomes": {"returned": 1, "raised": 1},
            }
        ],
        "lost": 0,
    }


def test_awaited_coroutine_has_its_own_row_within_its_awaiters() -> None:
    fake = FakeTrace()
    task = fake.task("main", states=[("running", 0, 10), ("waiting", 10, 30, "sleep"), ("running", 30, 40)])
    outer = fake.coroutine("main", 0, 40, task=task, suspensions=[(10, 30)])
    fake.coroutine("inner", 5, 35, awaiter=outer, suspensions=[(10, 30)])

    rows = summarize(fake.build()).rows

    assert [(row.name, row.total_ns, row.running_ns) for row in rows] == [
        ("main", 40 * MS, 20 * MS),
        ("inner", 30 * MS, 10 * MS),
    ]
    assert [row.waiting_ns for row in rows] == [{"sleep": 20 * MS}] * 2


def test_a_value_that_a_generator_yields_is_no_wait_and_not_its_time() -> None:
    fake = FakeTrace()
    task = fake.task("main", states=[("running", 0, 10), ("waiting", 10, 20, "sleep"), ("running", 20, 100)])
    generator = fake.coroutine("numbers", 0, 50, task=task, is_generator=True)
    generator.suspensions = (
        Suspension(10 * MS, 20 * MS, "sleep(1)", 3),
        Suspension(25 * MS, 45 * MS, None, 4, is_yield=True),
    )

    row = only_row(fake.build())

    assert row.total_ns == 30 * MS
    assert (row.running_ns, row.waiting_ns) == (20 * MS, {"sleep": 10 * MS})
    assert row.longest_step_ns == 10 * MS


def test_libraries_are_folded_without_what_they_did_inside_other_coroutines() -> None:
    fake = FakeTrace()
    task = fake.task("main", states=[("running", 0, 10), ("waiting", 10, 30, "io"), ("running", 30, 40)])
    root = fake.coroutine("run_asgi", 0, 40, task=task, is_user=False, suspensions=[(10, 30)])
    main = fake.coroutine("main", 1, 39, awaiter=root, suspensions=[(10, 30)])
    fake.coroutine("get", 2, 38, awaiter=main, is_user=False, suspensions=[(10, 30)])

    summary = summarize(fake.build())

    assert [row.name for row in summary.rows] == ["main"]
    assert summary.library is not None
    assert (summary.library.name, summary.library.count) == ("library (1 name)", 1)
    assert summary.library.total_ns == 40 * MS


def test_asyncios_own_tasks_are_left_out() -> None:
    fake = FakeTrace()
    task = fake.task("shutdown", states=[("running", 0, 1)], is_internal=True)
    fake.coroutine("shutdown_asyncgens", 0, 1, task=task, is_user=False)

    summary = summarize(fake.build())

    assert (summary.rows, summary.library, summary.overview.tasks) == ((), None, 0)


def test_where_only_tasks_were_seen_they_stand_for_their_coroutine() -> None:
    fake = FakeTrace()
    task = fake.task(
        "main", states=[("ready", 0, 5), ("running", 5, 10), ("waiting", 10, 30, "io"), ("running", 30, 31)]
    )
    fake.task("pump", states=[("running", 10, 12)], is_user=False)
    root = fake.coroutine("main", 5, 31, task=task, suspensions=[(10, 30)], is_traced=True)
    fake.coroutine("fetch", 6, 31, awaiter=root, suspensions=[(10, 30)], is_traced=True, line=9)
    trace = fake.build()
    trace.sees_coroutines = False

    summary = summarize(trace)

    assert [(row.name, row.count, row.total_ns) for row in summary.rows] == [
        ("main", 1, 31 * MS),
        ("fetch", 1, 25 * MS),
    ]
    assert (summary.rows[0].running_ns, summary.rows[0].ready_ns) == (6 * MS, 5 * MS)
    assert summary.rows[0].longest_step_ns == 5 * MS
    assert summary.library is not None
    assert summary.library.count == 1


def test_blocking_script_has_rows_for_its_functions() -> None:
    fake = FakeTrace()
    outer = fake.call("main", 0, 100)
    fake.call("count", 10, 60, parent=outer, line=5, blockings=[("time.sleep", 20, 55)])

    rows = summarize(fake.build()).rows

    assert [(row.name, row.total_ns, row.running_ns, row.waiting_ns) for row in rows] == [
        ("main", 100 * MS, 65 * MS, {"sleep": 35 * MS}),
        ("count", 50 * MS, 15 * MS, {"sleep": 35 * MS}),
    ]


def test_beside_coroutines_only_decorated_functions_have_rows() -> None:
    fake = FakeTrace()
    task = fake.task("main", states=[("running", 0, 100)])
    fake.coroutine("main", 0, 100, task=task)
    fake.call("plain", 10, 20, task=task)
    fake.call("decorated", 20, 90, task=task, kind="traced", blockings=[("time.sleep", 30, 80)])

    rows = summarize(fake.build()).rows

    assert [row.name for row in rows] == ["main", "decorated"]
    assert rows[1].running_ns == 70 * MS, "blocking inside a task is running"
    assert rows[1].longest_step_ns == 70 * MS


def test_text_of_the_whole_summary() -> None:
    lines = [line.text for line in summary_lines(summarize(server()), shown_as="out/api.pftrace")]

    assert lines == [
        "api.pftrace   0.100 s   2 tasks   in progress: peak 2, mean 1.4   lost 0",
        "loop busy 80 %   longest block 60.0 ms: App.serve app.py:3, 1 kept waiting",
        "",
        "coroutine                count   total    run  ready   wait mostly on       step",
        "                                     s      s      s      s              max, ms",
        "----------------------- ------ ------- ------ ------ ------ ------------ -------",
        "App.serve      app.py:3      2   0.200 0.0900 0.0620 0.0480 io       62% !  60.0",
        "",
        "1 returned   1 raised (TimeoutError in App.serve)",
        "Totals include what a coroutine awaited inside: rows do not add up.",
        "Next: asynctrace gantt out/api.pftrace -o gantt.png",
        "      asynctrace view out/api.pftrace",
    ]


def test_wide_shows_every_kind() -> None:
    lines = [line.text for line in summary_lines(summarize(server()), shown_as="api.pftrace", is_wide=True)]

    assert lines[3].split() == ["coroutine", "count", "total", "run", "ready", "wait", "io", "lock", "step"]
    assert lines[6].split()[-4:] == ["0.0300", "0.0180", "!", "60.0"]


@pytest.mark.parametrize("sort", SORT_KEYS)
def test_sorting_is_descending(sort: str) -> None:
    fake = FakeTrace()
    for index, (run, wait) in enumerate([(5, 50), (60, 10), (1, 1), (1, 1)]):
        name = f"name{min(index, 2)}"
        states = [("running", 0, run), ("waiting", run, run + wait, "io"), ("ready", run + wait, run + wait + run)]
        task = fake.task(name, states=states)
        fake.coroutine(name, 0, 2 * run + wait, task=task, suspensions=[(run, 2 * run + wait)])
    summary = summarize(fake.build())

    lines = summary_lines(summary, shown_as="x", sort=sort)

    shown = [line.text.split()[0] for line in lines if line.text.startswith("name")]
    assert shown == [row.name for row in sorted(summary.rows, key=SORT_KEYS[sort], reverse=True)]


def test_empty_trace_says_so_in_one_sentence() -> None:
    lines = [line.text for line in summary_lines(summarize(FakeTrace().build()), shown_as="x.pftrace")]

    assert lines[-1] == "no coroutine ran: was main() called without awaiting it?"
    assert len(lines) == 3


@pytest.mark.parametrize(
    "name",
    [
        "x" * 200,
        "Class." + "method" * 20,
        "main.<locals>.inner",
        "quote'\"",
        "line\nbreak\ttab\x1b[31m",
        "🎉" * 40,
        "名前" * 30,
        "lone \udc80 surrogate",
        "",
    ],
    ids=["long", "method", "inner", "quotes", "control", "emoji", "wide", "surrogate", "empty"],
)
@pytest.mark.parametrize(
    "file",
    ["app.py", "/very/" + "long" * 30 + ".py", "C:\\dir\\" + "名" * 60 + ".py", ""],
    ids=["short file", "long file", "wide file", "no file"],
)
def test_80_columns_hold_whatever_the_names(name: str, file: str) -> None:
    fake = FakeTrace(source=file)
    task = fake.task(name, states=[("running", 0, 1_234_567), ("waiting", 1_234_567, 9_999_999, "future")], file=file)
    fake.task(name, states=[("ready", 0, 1_234_567), ("running", 1_234_567, 1_234_568)], file=file)
    fake.coroutine(name, 0, 9_999_999, task=task, suspensions=[(1_234_567, 9_999_999)], file=file, line=123_456)
    fake.coroutine(name, 0, 9, outcome="raised", error="E" * 100, file=file, line=123_456)
    summary = summarize(fake.build())

    lines = [line.text for line in summary_lines(summary, shown_as=file or "x")]

    table = [line for line in lines if not line.startswith(("Next:", "      asynctrace"))]  # commands are never cut
    assert max(columns(line) for line in table) <= WIDTH
    assert all(line.isprintable() for line in lines)
    "\n".join(lines).encode("utf-8")


@pytest.mark.parametrize(
    ("duration_ns", "text"),
    [
        (0, "0"),
        (1_000, "0.0000"),
        (120_000, "0.0001"),
        (22_100_000, "0.0221"),
        (221_000_000, "0.221"),
        (999_960_000, "1.00"),
        (3_420_000_000, "3.42"),
        (9_996_000_000, "10.0"),
        (34_120_000_000, "34.1"),
        (99_960_000_000, "100"),
        (12_345_000_000_000, "12345"),
    ],
)
def test_seconds_have_three_significant_digits(duration_ns: int, text: str) -> None:
    assert seconds(duration_ns) == text


def test_milliseconds() -> None:
    assert [milliseconds(ns) for ns in (0, 400_000, 12_410_000, 212_000_000)] == ["0", "0.400", "12.4", "212"]


def test_texts_are_cut_by_columns_not_characters() -> None:
    assert fitted("名前の長い", 5) == "名前…"
    assert columns("e\u0301名") == 3
    assert visible("a\nb\udc80") == "a\\nb\\udc80"
    assert short("outer.<locals>.inner") == "inner"


def test_header_tells_what_is_lost_and_noted() -> None:
    trace = FakeTrace().build(lost=1234, notes=["the file was cut short"])

    lines = header_lines(summarize(trace).overview, "x.pftrace")

    assert lines[0].endswith("lost 1,234")
    assert lines[-1] == "note: the file was cut short"


def test_the_first_coroutine_that_was_recorded_need_not_begin_with_its_task() -> None:
    fake = FakeTrace()
    states = [("ready", 0, 10), ("running", 10, 20), ("waiting", 20, 50, "io"), ("running", 50, 90)]
    fake.coroutine("late", 60, 70, task=fake.task("root", states=states))

    row = only_row(fake.build())

    assert (row.total_ns, row.ready_ns) == (10 * MS, 0)
