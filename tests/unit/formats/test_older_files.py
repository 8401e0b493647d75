"""Files of earlier versions load: each beside this test was written by the code of its time."""

from pathlib import Path

from asynctrace import events as kinds
from asynctrace.events import Expression, Part, Site, ThreadInfo
from asynctrace.formats import load
from asynctrace.formats.perfetto_reader import read_parts

_FIRST = Part(
    pid=100,
    process_name="MainProcess",
    parent_pid=1,
    python="CPython 3.13.0",
    start_ns=1000,
    end_ns=9000,
    wall_ns=1_700_000_000_000_000_000,
    cpu_ns=4000,
    program="app.py",
    sees_coroutines=True,
    threads={1: ThreadInfo("MainThread", 100, True), 2: ThreadInfo("worker \ud800", 0, False)},
    names={5: "Task-1"},
    sites={
        1: Site("_UnixSelectorEventLoop"),
        2: Site("main", "app.py", 3, True, True, (("route", "/"), ("size", 2), ("share", 0.5), ("is_new", True))),
        3: Site("ValueError"),
        4: Site("Future"),
    },
    expressions={(2, 14): Expression("await sleep(1)", 4)},
    stacks={7: ((2, 14), (2, 20))},
    events=[
        (900, 1, kinds.PROCESS_STARTED, 0, 200, 0, 0),
        (1000, 1, kinds.LOOP_SEEN, 4, 0, 1, 0),
        (1100, 1, kinds.TASK_CREATED, 5, 0, 2, 0),
        (1100, 2, kinds.TASK_READY, 5, 1 << 40, 0, kinds.CAUSE_THREAD),
        (1200, 1, kinds.STEP_STARTED, 5, 4, 0, 0),
        (1200, 1, kinds.COROUTINE_STARTED, 6, 0, 2, 0),
        (1300, 1, kinds.COROUTINE_SUSPENDED, 6, 0, 14, 0),
        (1300, 1, kinds.AWAIT_STACK, 5, 0, 7, 0),
        (1300, 1, kinds.STEP_FINISHED, 5, 0, 4, kinds.SUSPENDED),
        (8000, 1, kinds.LOST, 0, 1 << 20, 0, 0),
        (8000, 1, 1000, 3, 2, 1, 400),
    ],
)
_SECOND = Part(
    pid=200,
    process_name="Process-1",
    parent_pid=100,
    python="CPython 3.13.0",
    start_ns=2000,
    end_ns=8000,
    wall_ns=1_700_000_000_000_001_000,
    cpu_ns=10,
    program="app.py",
    sees_coroutines=False,
)
FORMAT_1 = (_FIRST, _SECOND)


def test_a_file_of_format_1_loads() -> None:
    path = Path(__file__).with_name("format_1.pftrace")
    assert read_parts(path) == (list(FORMAT_1), 1000, 9000, False, [])
    assert [process.pid for process in load(path).processes] == [100, 200]
