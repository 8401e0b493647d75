"""The four versions of the demo as fake traces, and a Comparison of any traces."""

from __future__ import annotations

from asynctrace.analysis.version import Version, measured, with_speedups
from asynctrace.comparison import Comparison
from asynctrace.model.trace import Trace
from tests.fakes import FakeTrace

POOL = "/usr/lib/python3.13/concurrent/futures/process.py"


def blocking() -> Trace:
    """Three counts in `main`, one after the other."""
    fake = FakeTrace(source="blocking.py")
    main = fake.call("main", 1, 3001, cpu=1)
    for index in range(3):
        start = 1 + 1000 * index
        fake.call("count", start, start + 1000, parent=main, cpu=0.2, blockings=[slept(start + 0.1, start + 999.9)])
    return fake.build(end=3002, cpu=9)


def threads() -> Trace:
    """A count on each of three threads that `main` joins."""
    fake = FakeTrace(source="threads.py")
    fake.call("main", 1, 1003, cpu=0.5)
    for index in range(3):
        thread = fake.thread(f"Thread-{index + 1} (count)")
        start = 1.5 + 0.1 * index
        slept_ms = slept(start + 0.1, start + 1000)
        fake.call("count", start, start + 1000.1, kind="thread", thread=thread, cpu=0.2, blockings=[slept_ms])
    return fake.build(end=1004, cpu=11)


def processes() -> Trace:
    """A count in each of three workers of a pool, whose start-up takes 100 ms."""
    fake = FakeTrace(source="processes.py")
    fake.call("main", 1, 1121, cpu=15)
    for index in range(3):
        process = fake.process(f"ForkProcess-{index + 1}", started=3 + index, first_event=90, cpu=44)
        thread = fake.thread("MainThread", process=process, is_main=True)
        start = 110 + index
        loop = fake.call("_process_worker", start - 1, 1120, kind="process", thread=thread, is_user=False, file=POOL)
        slept_ms = slept(start + 0.1, start + 1000)
        fake.call("count", start, start + 1000.1, kind="job", thread=thread, parent=loop, cpu=0.2, blockings=[slept_ms])
    return fake.build(end=1124, cpu=15)


def gather(count: int = 3) -> Trace:
    """`main` gathers so many counts."""
    fake = FakeTrace(source="gather.py")
    fake.call("main", 1, 1004, cpu=3)
    end = 1002 + 0.2 * count
    states = [
        ("ready", 2, 2.1),
        ("running", 2.1, 2.3),
        ("waiting", 2.3, end, "gather", "asyncio.gather(count(), count(), count())"),
        ("ready", end, end + 0.1),
        ("running", end + 0.1, end + 0.2),
    ]
    main = fake.task("main", states=states)
    for index in range(count):
        first, last = 2.3 + 0.1 * index, 1002 + 0.2 * index
        states = [
            ("ready", 2.2, first),
            ("running", first, first + 0.1),
            ("waiting", first + 0.1, last, "sleep", "asyncio.sleep(1)"),
            ("running", last, last + 0.2),
        ]
        fake.task("count", creator=main, states=states)
    return fake.build(end=1005, cpu=12)


def slept(start: float, end: float) -> tuple[str, float, float, str]:
    """Return a blocking call for `FakeTrace.call`."""
    return ("time.sleep", start, end, "time.sleep(1)")


def comparison(**versions: Trace | Version) -> Comparison:
    """Return a Comparison of scripts' traces, by name; the first is the baseline."""
    baseline = next(iter(versions))
    done = [
        measured(name, version, is_script=True) if isinstance(version, Trace) else version
        for name, version in versions.items()
    ]
    return Comparison(with_speedups(done, baseline), baseline)


def demo() -> Comparison:
    """Return the demo's comparison."""
    return comparison(blocking=blocking(), threads=threads(), processes=processes(), gather=gather())
