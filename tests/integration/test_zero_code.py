"""`opentelemetry-instrument python app.py`: the program has not a line for it, and does what it does without."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from opentelemetry import trace as otel
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import INVALID_SPAN
from otlp_receiver import Receiver, receiving
from zero_code import command, environment

import asynctrace
import asynctrace.otel
from asynctrace.otel.instrumentor import AsynctraceInstrumentor

pytestmark = pytest.mark.skipif(os.name == "nt", reason="opentelemetry-instrument becomes the program")

# Ends as soon as its last coroutine has.
_APP = """
import asyncio, asynctrace

@asynctrace.traced
async def count():
    await asyncio.sleep(0.001)

async def plain():
    await asyncio.sleep(0.001)

async def main():
    await asyncio.gather(count(), count(), plain())

asyncio.run(main())
print("done")
"""


@dataclass(frozen=True)
class Ran:
    """What came of a program, and its spans."""

    code: int
    stdout: str
    stderr: str
    spans: list[tuple[str, str | None]]  # name, and that of the parent; sorted

    @property
    def names(self) -> list[str]:
        return [name for name, _ in self.spans]


Run = Callable[..., Ran]


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Run]:
    """Return what runs a program under opentelemetry-instrument."""
    with receiving() as receiver:

        def run_one(program: str, arguments: str = "", left_out: str = "", **variables: str) -> Ran:
            # Those of aiohttp take as long to load as all the rest does.
            variables["OTEL_PYTHON_DISABLED_INSTRUMENTATIONS"] = f"aiohttp-client,aiohttp-server,{left_out}"
            (tmp_path / "app.py").write_text(program, encoding="utf-8")
            receiver.requests.clear()
            ran = subprocess.run(
                command(f"opentelemetry-instrument python app.py {arguments}"),
                cwd=tmp_path,
                env=environment(receiver.url, **variables),
                capture_output=True,
                text=True,
                timeout=120,
                check=False,
            )
            return Ran(ran.returncode, ran.stdout, ran.stderr, _parents(receiver))

        yield run_one


def _parents(receiver: Receiver) -> list[tuple[str, str | None]]:
    names = {span.span_id: span.name for span in receiver.spans}
    pairs = [(span.name, names[span.parent_span_id] if span.parent_span_id else None) for span in receiver.spans]
    return sorted(pairs, key=str)


# On, off, and in between.


def test_decorated_coroutines_have_spans_and_all_of_them_arrive(run: Run) -> None:
    assert run(_APP) == Ran(0, "done\n", "", [("count", None), ("count", None)])


def test_tasks_on_request(run: Run) -> None:
    ran = run(_APP, OTEL_PYTHON_ASYNCTRACE_TASKS="true")

    assert ran == Ran(0, "done\n", "", [("count", "main"), ("count", "main"), ("main", None), ("plain", "main")])


def test_left_out_on_request(run: Run) -> None:
    program = _APP + "import sys; print('asynctrace.otel' in sys.modules)"

    assert run(program, left_out="asynctrace") == Ran(0, "done\nFalse\n", "", [])


def test_sdk_that_is_switched_off(run: Run) -> None:
    assert run(_APP, OTEL_SDK_DISABLED="true") == Ran(0, "done\n", "", [])


def test_value_that_is_neither_true_nor_false_is_told_once(run: Run) -> None:
    ran = run(_APP, OTEL_PYTHON_ASYNCTRACE_TASKS="maybe")

    assert ran.stderr == "OTEL_PYTHON_ASYNCTRACE_TASKS=maybe is neither true nor false: it is taken for false\n"
    assert (ran.code, ran.names) == (0, ["count", "count"])


def test_where_asynctrace_cannot_be_turned_on_the_other_instrumentations_are(tmp_path: Path) -> None:
    """Instrumentations that come after one that raises would not be loaded."""
    program = """
import sys
sys._is_gil_enabled = lambda: False
from opentelemetry.instrumentation.auto_instrumentation import initialize
initialize()
import asyncio, aiohttp, aiohttp.web
from opentelemetry import trace
print([hasattr(each, "__wrapped__") for each in (asyncio.gather, aiohttp.ClientSession.__init__)])
print(aiohttp.web.Application.__name__)
print([type(each).__name__ for each in trace.get_tracer_provider()._active_span_processor._span_processors])
"""
    ran = subprocess.run(
        [sys.executable, "-c", program],
        cwd=tmp_path,
        env=environment("", OTEL_TRACES_EXPORTER="console"),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )

    assert ran.stderr == (
        "asynctrace makes no spans: a recording relies on Python's global lock, and this process runs without it: "
        "set PYTHON_GIL=1 for it\n"
    )
    assert ran.stdout == "[True, True]\n_InstrumentedApplication\n['BatchSpanProcessor']\n"


# How a program ends.


def test_exit_code_of_a_coroutine_that_exits(run: Run) -> None:
    ran = run("""
import asyncio, asynctrace, sys

@asynctrace.traced
async def leave():
    await asyncio.sleep(0)
    sys.exit(3)

asyncio.run(leave())
""")

    assert ran == Ran(3, "", "", [("leave", None)])


def test_thread_that_outlives_the_main_one_has_its_spans(run: Run) -> None:
    ran = run("""
import asyncio, asynctrace, threading

@asynctrace.traced
async def late():
    await asyncio.sleep(0)

def work():
    threading.main_thread().join()
    asyncio.run(late())

threading.Thread(target=work).start()
""")

    assert ran == Ran(0, "", "", [("late", None)])


# Programs that have nothing to do with asyncio, or nothing that is decorated.
_PLAIN = {
    "arguments, output and exit code": """
import sys
print(__name__, sys.argv[1:], sorted(set(globals())))
print("oops", file=sys.stderr)
sys.exit(5)
""",
    "an uncaught error": """
def inner():
    raise ValueError("wrong")

def outer():
    inner()

outer()
""",
    "threads and their errors": """
import threading, time

def work(number):
    time.sleep(0)
    print("worked", number)
    if number == 2:
        raise LookupError(number)

for number in range(3):
    thread = threading.Thread(target=work, args=(number,))
    thread.start()
    thread.join()
print(threading.active_count() - sum("Otel" in thread.name for thread in threading.enumerate()))
""",
    "another program, and a pipe to it": """
import subprocess, sys
ran = subprocess.run([sys.executable, "-c", "print(input()[::-1]); raise SystemExit(4)"],
                     input="abc", capture_output=True, text=True)
print(ran)
""",
    "undecorated coroutines": """
import asyncio

async def main():
    print(await asyncio.gather(*[asyncio.sleep(0, number) for number in range(3)]))
    raise KeyError("of the program")

asyncio.run(main())
""",
}


@pytest.mark.parametrize("what", _PLAIN)
def test_program_without_anything_decorated_runs_unchanged(run: Run, tmp_path: Path, what: str) -> None:
    ran = run(_PLAIN[what], "a 'b c'", left_out="asyncio")
    alone = subprocess.run(
        command("python app.py a 'b c'"),
        cwd=tmp_path,
        env=environment(""),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )

    assert ran == Ran(alone.returncode, alone.stdout, alone.stderr, [])


# Beside OpenTelemetry's own instrumentation of asyncio, whose coroutine stands around the program's.

_WAYS = """
import asyncio, asynctrace, sys

@asynctrace.traced
async def decorated():
    await asyncio.sleep(0.001)

async def plain():
    await asyncio.sleep(0.001)

async def by_create_task():
    await asyncio.create_task(decorated())
    await asyncio.create_task(plain())

async def by_gather():
    await asyncio.gather(decorated(), plain())

async def by_group():
    async with asyncio.TaskGroup() as group:
        group.create_task(decorated())
        group.create_task(plain())

async def by_ensure_future():
    await asyncio.ensure_future(decorated())
    await asyncio.ensure_future(plain())

async def by_as_completed():
    for each in asyncio.as_completed([decorated(), plain()]):
        await each

async def by_wait():
    await asyncio.wait([asyncio.create_task(decorated()), asyncio.create_task(plain())])

async def by_thread():
    loop = asyncio.get_running_loop()
    def submit():
        for coroutine in decorated(), plain():
            asyncio.run_coroutine_threadsafe(coroutine, loop).result()
    await asyncio.to_thread(submit)

async def by_await():
    await asyncio.wait_for(asyncio.create_task(plain()), 60)
    await asyncio.wait_for(decorated(), 60)

async def main():
    for way in WAYS:
        await asyncio.create_task(way())

WAYS = by_create_task, by_gather, by_group, by_ensure_future, by_as_completed, by_wait, by_thread, by_await
print("wrapped" if hasattr(asyncio.create_task, "__wrapped__") else "not wrapped")
asyncio.run(main())
"""
_WAY_NAMES = ["create_task", "gather", "group", "ensure_future", "as_completed", "wait", "thread", "await"]
_LEAVES = ["decorated", "plain"]


@pytest.mark.parametrize("left_out", ["", "asyncio"])
def test_tasks_have_the_users_names_and_decorated_ones_one_span(run: Run, left_out: str) -> None:
    ran = run(_WAYS, left_out=left_out, OTEL_PYTHON_ASYNCTRACE_TASKS="true")

    assert (ran.code, ran.stdout, ran.stderr) == (0, "not wrapped\n" if left_out else "wrapped\n", "")
    ways = [f"by_{name}" for name in _WAY_NAMES]
    assert Counter(ran.spans) == Counter(
        [("main", None), *((way, "main") for way in ways), *((leaf, way) for way in ways for leaf in _LEAVES)]
    )


def test_spans_of_both_for_a_coroutine_that_is_named_to_both(run: Run) -> None:
    """Theirs is not current, and so is nobody's parent."""
    ran = run(_APP, OTEL_PYTHON_ASYNCIO_COROUTINE_NAMES_TO_TRACE="count,plain", OTEL_PYTHON_ASYNCTRACE_TASKS="true")

    assert Counter(ran.names) == {"main": 1, "count": 2, "plain": 1, "asyncio coro-count": 2, "asyncio coro-plain": 1}
    parents = dict(ran.spans)
    assert (parents["count"], parents["plain"]) == ("main", "main")


# Children.

_FORKING = """
import asyncio, asynctrace, os, sys
from opentelemetry import trace

@asynctrace.traced
async def before():
    await asyncio.sleep(0)

@asynctrace.traced
async def in_child(number):
    await asyncio.sleep(0)

@asynctrace.traced
async def after():
    await asyncio.sleep(0)

async def twice():
    await asyncio.gather(in_child(1), in_child(2))

asyncio.run(before())
for _ in range(2):
    pid = os.fork()
    if not pid:
        asyncio.run(twice())
        asyncio.run(in_child(3))
        LEAVE
    print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)  # not for the next child to print as well
asyncio.run(after())
"""


@pytest.mark.parametrize("leave", ["os._exit(0 if trace.get_tracer_provider().force_flush() else 1)", "sys.exit(0)"])
def test_spans_of_forked_workers_and_of_their_parent_arrive_once(run: Run, leave: str) -> None:
    ran = run(_FORKING.replace("LEAVE", leave))

    assert (ran.code, ran.stdout) == (0, "0\n0\n"), ran.stderr
    assert ran.spans == [("after", None), ("before", None), *[("in_child", None)] * 6]


# From the inside.


@asynctrace.traced
async def current() -> otel.Span:
    await asyncio.sleep(0)
    return otel.get_current_span()


@pytest.mark.parametrize("off", [AsynctraceInstrumentor().uninstrument, asynctrace.otel.uninstrument])
def test_instrumentor_leaves_nothing_behind(off: Callable[[], None]) -> None:
    spans, metrics = InMemorySpanExporter(), InMemoryMetricReader()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(spans))
    meters = MeterProvider([metrics], shutdown_on_exit=False)
    processors = provider._active_span_processor._span_processors
    threads = set(threading.enumerate())

    for number in (1, 2):
        AsynctraceInstrumentor().instrument(tracer_provider=provider, meter_provider=meters)
        try:
            assert asyncio.run(current()) is not INVALID_SPAN
        finally:
            off()
            AsynctraceInstrumentor().uninstrument()

        assert provider._active_span_processor._span_processors == processors
        assert set(threading.enumerate()) == threads
        assert asyncio.run(current()) is INVALID_SPAN
        assert [span.name for span in spans.get_finished_spans()] == ["current"] * number
        assert _count(metrics, "asyncio.task.duration") == number
    meters.shutdown()


def _count(reader: InMemoryMetricReader, name: str) -> int:
    told = reader.get_metrics_data()
    assert told is not None
    (metric,) = (
        metric
        for resource in told.resource_metrics
        for scope in resource.scope_metrics
        for metric in scope.metrics
        if metric.name == name
    )
    return sum(point.count for point in metric.data.data_points)  # type: ignore[union-attr]  # a histogram
