"""A fault in any hook of ours: the recording stops, one warning is logged, every hook goes, the program goes on."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import fnmatch
import functools
import gc
import logging
import multiprocessing
import os
import selectors
import sys
import tempfile
import threading
import types
import weakref
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import conftest
import fault_points
import hooked_programs
import pytest
from fault_points import FaultPoints
from hooked_programs import IN_PROCESS, Program, on_uvloop, with_children
from integration.both_ways import _difference, _observed
from integration.trace_rules import check

import asynctrace
from asynctrace import clock, cores, stream
from asynctrace.model.trace import Trace
from asynctrace.probes import causes, loop
from asynctrace.probes.functions import FunctionProbe
from asynctrace.probes.jobs import JobProbe
from asynctrace.probes.loop import LoopProbe
from asynctrace.probes.meeting import LoopWatch
from asynctrace.probes.monitoring import MonitoringProbe
from asynctrace.probes.processes import ProcessProbe
from asynctrace.probes.sleeping import SleepProbe
from asynctrace.probes.threads import ThreadProbe
from asynctrace.recorder import Recorder, places
from asynctrace.recording import Recording
from asynctrace.stream import Options

# What no program here runs, and why.
NOT_REACHED = {
    "children.*": "runs in child processes, see the test of those",
    "part_folder.*": "works behind the hooks, in the keeper's thread and for whoever asks for a trace",
    "parts.*": "writes and reads what children recorded, see the test of those",
    "processes.*": "starts child processes, see the test of those",
    "stream.Stream.begin_in_fork": "runs in child processes, see the test of those",
    "stream.Stream._leave_for_fork": "runs before a fork, see the test of those",
    "functions.FunctionProbe.restart": "runs in child processes, see the test of those",
    "loop.LoopProbe.timer_after": "runs on uvloop, see the test of it",
    "calls.on_outermost_end": "runs in child processes, see the test of those",
    "base.*": "works behind the hooks, in the keeper's thread and for whoever asks for a trace",
    "stores.*": "works behind the hooks, in the keeper's thread and for whoever asks for a trace",
    "chunks.*": "works behind the hooks, in the keeper's thread and for whoever asks for a trace",
    "describing.*": "works behind the hooks, in the keeper's thread and for whoever asks for a trace",
    "fold.*": "works behind the hooks, in the keeper's thread and for whoever asks for a trace",
    "living.*": "works behind the hooks, in the keeper's thread and for whoever asks for a trace",
    "wrapping._generator_of": "a wait inside an async generator: tests/integration/scenarios",
    "sieve.*": "works behind the hooks, in the keeper's thread, for spans",
    "*.Stream.widen": "a recording beside spans: tests/integration/test_live_spans.py",
    "*.MonitoringProbe.widen": "a recording beside spans: tests/integration/test_live_spans.py",
    "*.ask_again": "a function that is decorated beside spans: tests/integration/test_live_spans.py",
    "tasks.tell_step_*": "told to spans: tests/integration/test_live_spans.py",
    "keeper.*": "works behind the hooks, in the keeper's thread",
    "places.*": "runs for whoever asks for a trace",
    "reference.*": "runs for whoever asks for a trace, or makes a recording",
    "tables.*": "runs for whoever asks for a trace, or makes a recording",
    "*.__init__": "runs before anything is hooked",
    "*.__init__.<locals>.*": "runs before anything is hooked",
    "scope.make_scope": "runs before anything is hooked",
    "*._do_nothing": "does nothing",
    "targets.note_stand_in": "runs when the package is imported",
    "coroutines.CoroutineTable.meet_late": "a loop that a thrown exception makes known: tests/unit/probes",
    "tasks.TaskTable.goes_on": "an eager task whose root is no coroutine: tests/unit/probes",
    "loop.LoopProbe.await_thread": "loops of other threads",
    "loop.LoopProbe._meet_for": "loops of other threads",
    "finding._loop*": "loops of other threads",
    "running._is_done": "a recording that starts while uvloop runs",
    "tasks.TaskTable.expect": "a recording that starts while uvloop runs",
    "stream.Stream._await_loop": "loops of other threads",
}
if sys.version_info >= (3, 12):
    NOT_REACHED |= {
        "meeting.LoopWatch.*": "stands in for the monitoring of 3.12",
        "profiling.*": "stands in for the monitoring of 3.12",
        "wrapping.*": "stands in for the monitoring of 3.12",
        "native_wrapping.*": "stands in for the monitoring of 3.12",
        "stream.current_recorder": "asked by what stands in for the monitoring of 3.12",
        "loop.LoopProbe.close_late_step": "where a recording begins in a step, monitoring sees its end",
        "loop.LoopProbe.sees_idle": "asked where no monitoring sees a step's end",
    }
else:
    NOT_REACHED |= {
        "coroutines.*": "works for the monitoring of 3.12",
        "meeting.watch_by_monitoring*": "works for the monitoring of 3.12",
        "monitoring.*": "works for the monitoring of 3.12",
        "functions.FunctionProbe.wants": "asked by the monitoring of 3.12",
        "scope.*": "asked by the monitoring of 3.12",
        "profiling.Profiling._make_profile": "runs before anything is hooked",
    }
if on_uvloop not in IN_PROCESS:
    NOT_REACHED |= {
        "loop.LoopProbe.timer_after": "works for uvloop",
        "running._is_done": "works for uvloop",
        "tasks.TaskTable.expect": "works for uvloop",
        "meeting.*uvloop*": "works for uvloop",
        "meeting.watch_by_monitoring.<locals>.<lambda probe.hook_return(module*": "works for uvloop",
    }

# These can fail after the end, where there is nothing to stop and no hook to blame.
BEHIND = (
    "base.",
    "chunks.",
    "stores.",
    "describing.",
    "fold.",
    "native_fold.",
    "keeper.",
    "living.",
    "reference.Recorder.",
)
_LISTED = "finding._listed"  # tries again where a set that changes cannot be listed, which is a RuntimeError
SILENT = ("stream.Stream.close", "processes.ProcessProbe.close", _LISTED, *BEHIND)

BEFORE = {"loop.LoopProbe.install"}  # fails where a loop is made, before there is a recording


def _may_be_silent(name: str | None) -> bool:
    return (name or "").startswith(SILENT)


HAS_MONITORING = sys.version_info >= (3, 12)


class Run:
    """One run of a program under a recording in which something fails."""

    def __init__(self, points: FaultPoints) -> None:
        self.points = points
        self.recordings: list[Recording] = []
        self.result: Any = None
        self.warnings: list[logging.LogRecord] = []
        self.was_running = False
        self.has_fired = False  # before the recording's end
        self.needed: set[str] = set()  # what is reached while the recording ends

    @contextlib.contextmanager
    def recorded(self, **options: Any) -> Iterator[None]:
        recording = Recording(Options(**options))
        self.recordings.append(recording)
        with recording:
            yield
            running = stream.current
            self.was_running = running is not None and running.is_running
            points = self.points
            self.has_fired = bool(points.fired)
            earlier, points.reached = points.reached, set()
            recording.stop()
            self.needed |= points.reached
            points.reached |= earlier
        self.points.is_suspended = True  # what fails from here on fails whoever asks for the trace
        assert not any(map(_is_left_on, hooked_programs.loops))

    def go(self, program: Program) -> Run:
        hooked_programs.loops.clear()
        causes._io_codes.clear()  # what earlier runs have found out already
        if cores.core() == "native":
            cores.native_module(cores.RECORDER).set_class_of_code(causes.class_of)  # type: ignore[union-attr]
        loop._step_types.clear()
        for cached in (places._is_outside_libraries, places._library_folders):
            cached.cache_clear()
        with _keeping(self.warnings):
            self.result = _observed(lambda: program(self.recorded))
        for recording in self.recordings:
            recording.stop()
        hooked_programs.loops.clear()
        return self

    def trace(self) -> Trace:
        return self.recordings[0].trace


@contextlib.contextmanager
def _keeping(records: list[logging.LogRecord]) -> Iterator[None]:
    logger, handler = logging.getLogger("asynctrace"), logging.Handler()
    handler.emit = records.append  # type: ignore[method-assign]
    logger.addHandler(handler)
    logger.propagate = False
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.propagate = True


def _is_left_on(loop: Any) -> bool:
    return any(
        "asynctrace" in f"{name} {value!r} {getattr(value, '__module__', '')}" for name, value in vars(loop).items()
    )


class Bench:
    """The programs, what each does when nothing fails, and which points it reaches."""

    def __init__(self, points: FaultPoints) -> None:
        self.points = points
        self.programs: list[Program] = []
        self.plain: dict[str, Any] = {}
        self.reached: dict[str, set[str]] = {}
        self.needed: set[str] = set()  # that a recording's end reaches too

    def learn(self, programs: Sequence[Program]) -> None:
        points = self.points
        for program in programs:
            points.disarm()
            points.is_suspended = True
            hooked_programs.loops.clear()
            self.plain[program.__name__] = _observed(functools.partial(program, hooked_programs.nothing))
            points.disarm()
            run = Run(points).go(program)
            self.assert_same(run, program)
            assert not run.warnings
            self.programs.append(program)
            self.reached[program.__name__] = set(points.reached)
            self.needed |= run.needed

    def program_of(self, point: str) -> Program | None:
        found = [program for program in self.programs if point in self.reached[program.__name__]]
        return found[0] if found else None

    def assert_same(self, run: Run, program: Program) -> None:
        plain = self.plain[program.__name__]
        assert run.result == plain, _difference(plain, run.result)

    def run(self, program: Program) -> Run:
        """Run a program with a fault, and assert all that is promised about it."""
        run = Run(self.points).go(program)
        self.points.is_suspended = True
        self.assert_same(run, program)
        # What fails while the probes are taken out, or when they are, and is no failure of theirs, stops nothing.
        has_to_tell = self.points.fired if self.points.armed in FUNCTIONS else run.has_fired
        if run.warnings or (has_to_tell and not _may_be_silent(self.points.armed)):
            assert self.points.fired
            assert [record.levelname for record in run.warnings] == ["WARNING"], run.warnings
            assert run.warnings[0].exc_info is not None
            assert run.warnings[0].exc_info[0] is self.points.error
        for recording in run.recordings:
            recording.trace  # what was recorded up to there
        self.assert_recording_works()
        return run

    def assert_recording_works(self) -> None:
        async def main() -> int:
            await asyncio.sleep(0)
            return 1

        with Recording() as recording:
            assert asyncio.run(main()) == 1
        check(recording.trace)
        assert [task.outcome for task in recording.trace.tasks if task.label.endswith("main")] == ["returned"]


@contextlib.contextmanager
def _points(every_statement: bool) -> Iterator[FaultPoints]:
    points = FaultPoints()
    original = stream.Stream.__init__

    @functools.wraps(original)
    def made(self: Any, *args: Any, **keywords: Any) -> None:
        # A recording that cannot be made raises to whom asked for it: nothing is hooked yet.
        earlier, points.is_suspended = points.is_suspended, True
        original(self, *args, **keywords)
        points.is_suspended = earlier

    with pytest.MonkeyPatch.context() as patch, fault_points.installed(points, every_statement):
        patch.setattr(stream.Stream, "__init__", made)
        patch.setattr("asynctrace.probes.functions.MOST_CALLS", 4)
        yield points


@pytest.fixture(autouse=True)
def _nothing_goes_on() -> Iterator[None]:
    """A test that fails takes no other with it."""
    yield
    if stream.current is not None:
        stream.current.stop()
        stream.current = None


def _bench(points: FaultPoints) -> Bench:
    bench = Bench(points)
    bench.learn(IN_PROCESS)
    return bench


@pytest.fixture(scope="module")
def benches() -> Iterator[tuple[FaultPoints, dict[str, Bench]]]:
    with _points(every_statement=False) as points:
        yield points, {}


@pytest.fixture
def bench(benches: tuple[FaultPoints, dict[str, Bench]], recording_core: str) -> Bench:
    points, known = benches
    if recording_core not in known:
        known[recording_core] = _bench(points)
    return known[recording_core]


FUNCTIONS = [name for name in fault_points.functions() if not fault_points.is_outermost(name)]


# The native core does some of these itself (see test_native_faults.py), the reference has no use for what makes it one.
DONE_IN_C = {"causes.*", "coroutines.*", "loop.*", "monitoring.*", "runs.*", "tasks.*", "wrapping.*"}
OF_THE_NATIVE_CORE = {"native_fold.*", "native_loop.*", "native_recorder.*", "native_wrapping.*"}


def _may_stay_out(name: str) -> bool:
    patterns = {*NOT_REACHED, *OF_THE_NATIVE_CORE, *(DONE_IN_C if cores.core() == "native" else ())}
    return any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_function_that_raises_stops_the_recording_and_nothing_else(name: str, bench: Bench) -> None:
    program = bench.program_of(name)
    if program is None:
        assert _may_stay_out(name), f"no program reaches {name}"
        pytest.skip("reached by no program here")
    points = bench.points
    points.arm(name, is_persistent=name not in bench.needed)
    run = bench.run(program)
    if not name.startswith(BEHIND):  # that may be at work or not while the program runs
        assert points.fired
        assert not run.was_running or name in bench.needed or name in BEFORE


@pytest.mark.slow
def test_a_statement_that_raises_stops_the_recording_and_nothing_else() -> None:
    with _points(every_statement=True) as points:
        bench = _bench(points)
        told = []
        for program in bench.programs:
            earlier = bench.programs[: bench.programs.index(program)]
            new = bench.reached[program.__name__].difference(*(bench.reached[each.__name__] for each in earlier))
            for point in sorted(new):
                if ":" not in point:
                    continue
                bench.points.arm(point, is_persistent=False)
                before = conftest._hooks()
                try:
                    bench.run(program)
                    assert conftest._hooks() == before
                except AssertionError as error:
                    told.append(f"{point} in {program.__name__}: {error}")
        assert not told, "\n".join(told)


# Faults of what the hooks call of the interpreter: the clock, the recorder's list.

CLOCKED = ("coroutines", "loop", "monitoring", "runs", "wrapping")  # these read the clock under a name of their own
_UNUSED = {"wrapping"} if HAS_MONITORING else {"coroutines", "monitoring"}
SAMPLED = (1, 2, 5, 13, 34)


def _is_unused(module: str) -> bool:
    return module in _UNUSED or (cores.core() == "native" and module in ("loop", "monitoring", "runs", "wrapping"))


def _patch_clock(patch: pytest.MonkeyPatch, module: str, points: FaultPoints) -> None:
    if module == "clock":
        for name in ("now_ns", "thread_cpu_ns"):
            patch.setattr(clock, name, points.counted(getattr(clock, name)))
        # Who starts and stops a recording reads it outside of any hook.
        patch.setattr("asynctrace.recording.clock", types.SimpleNamespace(now_ns=clock.now_ns.args[0]))
    else:
        patch.setattr(f"asynctrace.probes.{module}.now_ns", points.counted(clock.now_ns))


def _patch_append(patch: pytest.MonkeyPatch, points: FaultPoints) -> None:
    original = Recorder.__init__

    @functools.wraps(original)
    def made(self: Any, *args: Any, **keywords: Any) -> None:
        original(self, *args, **keywords)
        self.append = points.counted(self.append)

    patch.setattr(Recorder, "__init__", made)


def _sweep(bench: Bench, counts: Iterable[int], error: type[BaseException] = RuntimeError) -> int:
    program = bench.programs[0]
    fired = 0
    for count in counts:
        bench.points.arm_count(count, error)
        bench.run(program)
        if not bench.points.fired:
            break
        fired += 1
    return fired


@pytest.mark.parametrize("module", [*CLOCKED, "clock"])
def test_a_clock_that_fails_stops_the_recording_and_nothing_else(module: str, bench: Bench) -> None:
    with pytest.MonkeyPatch.context() as patch:
        _patch_clock(patch, module, bench.points)
        fired = _sweep(bench, SAMPLED)
    assert fired or _is_unused(module)


def test_a_full_memory_stops_the_recording_and_nothing_else(bench: Bench) -> None:
    with pytest.MonkeyPatch.context() as patch:
        _patch_append(patch, bench.points)
        assert _sweep(bench, SAMPLED, MemoryError) == len(SAMPLED)


@pytest.mark.slow
@pytest.mark.parametrize("module", [*CLOCKED, "clock", "append"])
def test_a_clock_or_a_full_memory_at_any_moment(module: str, bench: Bench) -> None:
    with pytest.MonkeyPatch.context() as patch:
        if module == "append":
            _patch_append(patch, bench.points)
        else:
            _patch_clock(patch, module, bench.points)
        _sweep(bench, range(1, 10_000), MemoryError)


# What is the program's own.


class ProgramError(Exception):
    """What a signal's handler of the program raises."""


async def _three() -> list[int]:
    @asynctrace.traced
    async def child(number: int) -> int:
        await asyncio.sleep(0)
        return number

    return await asyncio.gather(*map(child, range(3)))


class _StoppingSelector(selectors.DefaultSelector):
    """Stops its loop where it would wait for ever: what an exception has lost shows at once."""

    loop: asyncio.AbstractEventLoop

    def select(self, timeout: float | None = None) -> Any:
        if timeout is None:
            self.loop.stop()
        return super().select(timeout or 0)


def _interrupted(points: FaultPoints, prepare: Callable[[Any], None] = id) -> list[Any]:
    """Run a program in the middle of which an exception lands, and once more what is left of it."""
    told: list[Any] = []
    selector = _StoppingSelector()
    try:
        with asyncio.Runner(loop_factory=lambda: asyncio.SelectorEventLoop(selector)) as runner:
            loop = selector.loop = runner.get_loop()
            prepare(loop)
            loop.set_exception_handler(lambda _, context: told.append(repr(context.get("exception"))))
            task = loop.create_task(_three())
            points.is_suspended = False
            for _ in range(2):
                try:
                    told.append(loop.run_until_complete(task))
                except (ProgramError, KeyboardInterrupt, RuntimeError) as error:
                    told.append(repr(error))
                points.is_suspended = True
            told.append(len(asyncio.all_tasks(loop)))
    except (KeyboardInterrupt, RuntimeError) as error:
        told.append(repr(error))
    return told


def _interrupted_in_call_soon(points: FaultPoints) -> list[Any]:
    """Run the program where the exception lands in asyncio's own `call_soon`, when the callback is queued."""

    def prepare(loop: Any) -> None:
        original = loop.call_soon

        def call_soon(*args: Any, **keywords: Any) -> Any:
            handle = original(*args, **keywords)
            points.count_down(int)
            return handle

        loop.call_soon = call_soon

    return _interrupted(points, prepare)


@pytest.mark.filterwarnings("ignore:coroutine")
@pytest.mark.parametrize(
    ("module", "error"),
    # A KeyboardInterrupt ends the loop's turn, another exception of a callback goes to the loop's handler.
    [*((module, KeyboardInterrupt) for module in CLOCKED), ("loop", ProgramError), ("runs", ProgramError)],
)
def test_an_exception_of_the_program_in_a_hook_reaches_the_program(module: str, error: Any, bench: Bench) -> None:
    points = FaultPoints(__file__)
    bench.points.is_suspended = True
    for count in range(1, 40):
        records: list[logging.LogRecord] = []
        gc.collect()  # what an exception left unfinished is closed here, not where the next one is to land
        with pytest.MonkeyPatch.context() as patch, _keeping(records):
            _patch_clock(patch, module, points)
            points.arm_count(count, error)
            points.is_suspended = True
            with Recording() as recording:
                told = _interrupted(points)
        assert not records
        recording.trace
        if not points.fired:
            break
        assert error.__name__ in str(told), count
        if module == "runs":
            assert told[-2:] == [[0, 1, 2], 0], "a step is lost"
        if module == "loop":
            # Where several callbacks wait for one future, asyncio itself loses those behind the one that was cut short.
            points.arm_count(count, error)
            points.is_suspended = True
            assert told == _interrupted_in_call_soon(points)
    assert count > 1 or module == "coroutines" or _is_unused(module)
    bench.assert_recording_works()


def test_a_program_at_its_recursion_limit_is_as_ever_and_so_is_its_recording() -> None:
    def program() -> list[str]:
        @asynctrace.traced
        def deep(number: int) -> int:
            return deep(number + 1)

        @asynctrace.traced
        async def deeper(number: int) -> int:
            return await deeper(number + 1)

        async def main() -> list[str]:
            told = []
            try:
                deep(0)
            except RecursionError as error:
                told.append(type(error).__name__)
            try:
                await deeper(0)
            except RecursionError as error:
                told.append(type(error).__name__)
            return [*told, *await asyncio.gather(asyncio.sleep(0, "after"))]

        return asyncio.run(main())

    records: list[logging.LogRecord] = []
    with _keeping(records), Recording() as recording:
        assert program() == ["RecursionError", "RecursionError", "after"]
    assert not records
    assert recording.trace.tasks


# The end of a recording.


@contextlib.contextmanager
def _failing_removal(probe: type, error: type[BaseException], times: int) -> Iterator[None]:
    """Have `remove` of a probe raise after its work, as often as told."""
    file = fault_points.FILE if issubclass(error, Exception) else __file__
    made: dict[str, Any] = {"original": probe.remove, "left": [None] * times, "error": error}  # type: ignore[attr-defined]
    exec(compile(_REMOVE, file, "exec"), made)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(probe, "remove", made["remove"])
        yield


_REMOVE = """
def remove(self):
    original(self)
    if left:
        left.pop()
        raise error("injected")
"""

REMOVED = [ThreadProbe, SleepProbe, JobProbe, FunctionProbe, ProcessProbe, LoopProbe]
REMOVED += [MonitoringProbe] if HAS_MONITORING else [LoopWatch]


@pytest.mark.parametrize("times", [1, 2])
@pytest.mark.parametrize("probe", REMOVED, ids=lambda probe: probe.__name__)
def test_a_probe_that_cannot_be_taken_out_keeps_no_other_in(probe: Any, times: int) -> None:
    records: list[logging.LogRecord] = []
    with _keeping(records), _failing_removal(probe, RuntimeError, times), Recording() as recording:
        asyncio.run(_three())
    assert [record.levelname for record in records] == ["WARNING"]
    assert recording.trace.tasks  # and conftest.py sees that no hook is left


@pytest.mark.parametrize("probe", REMOVED, ids=lambda probe: probe.__name__)
def test_an_interrupt_while_the_probes_are_taken_out_is_raised_when_all_are(probe: Any) -> None:
    records: list[logging.LogRecord] = []
    recording = Recording()
    with _keeping(records), _failing_removal(probe, KeyboardInterrupt, 1):
        recording.start()
        asyncio.run(_three())
        with pytest.raises(KeyboardInterrupt):
            recording.stop()
    assert not records
    assert recording.trace.tasks


def test_a_recording_stopped_by_another_thread_in_the_middle_of_a_step_is_whole() -> None:
    async def main() -> int:
        thread = threading.Thread(target=recording.stop)
        thread.start()
        thread.join()
        await asyncio.sleep(0)
        return 1

    recording = Recording()
    recording.start()
    assert asyncio.run(main()) == 1
    check(recording.trace)


def test_hooks_that_fail_on_several_threads_at_once_warn_once(bench: Bench) -> None:
    def work() -> list[int]:
        return asyncio.run(_three())

    records: list[logging.LogRecord] = []
    with _keeping(records), Recording():
        bench.points.arm("tables.Tables.site", is_persistent=True)
        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            assert [future.result() for future in [pool.submit(work) for _ in range(8)]] == [[0, 1, 2]] * 8
    bench.points.is_suspended = True
    assert len(records) == 1
    bench.assert_recording_works()


def test_a_logging_handler_that_fails_is_not_the_hooked_code_s_to_bear(bench: Bench) -> None:
    class Broken(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            raise KeyError(record.name)

    handler, logger = Broken(), logging.getLogger("asynctrace")
    logger.addHandler(handler)
    try:
        with Recording() as recording:
            bench.points.arm("tables.Tables.site", is_persistent=True)
            assert asyncio.run(_three()) == [0, 1, 2]
    finally:
        logger.removeHandler(handler)
        bench.points.is_suspended = True
    recording.trace


def test_a_logger_that_is_off_says_nothing_and_the_recording_stops_all_the_same(bench: Bench) -> None:
    records: list[logging.LogRecord] = []
    logging.disable(logging.CRITICAL)
    try:
        with _keeping(records), Recording():
            bench.points.arm("tables.Tables.site", is_persistent=True)
            assert asyncio.run(_three()) == [0, 1, 2]
            assert stream.current is not None and not stream.current.is_running
    finally:
        logging.disable(logging.NOTSET)
        bench.points.is_suspended = True
    assert not records


def test_nothing_is_kept_after_a_failure_but_by_the_recording(bench: Bench) -> None:
    recording = Recording()
    with _keeping([]), recording:
        kept = [weakref.ref(stream.current), weakref.ref(stream.current.recorder)]

        async def main() -> None:
            kept.append(weakref.ref(asyncio.current_task()))
            bench.points.arm("tables.Tables.site", is_persistent=True)
            await _three()

        asyncio.run(main())
        assert bench.points.fired
    bench.points.is_suspended = True
    gc.collect()
    assert kept[2]() is None
    del recording
    gc.collect()
    assert [ref() for ref in kept] == [None] * 3


# What hooks call of the standard library.


def test_a_folder_that_is_gone_stops_the_recording_and_nothing_else(tmp_path: Any) -> None:
    """The path of a relative file name cannot be told there."""
    made: dict[str, Any] = {}
    exec(compile("def work():\n    return 1\n", "relative.py", "exec"), made)
    gone = tmp_path / "gone"
    gone.mkdir()
    records: list[logging.LogRecord] = []
    earlier = os.getcwd()
    places._is_outside_libraries.cache_clear()
    with _keeping(records), Recording(Options(functions=True)):
        os.chdir(gone)
        gone.rmdir()
        try:
            assert made["work"]() == 1
        finally:
            os.chdir(earlier)
    places._is_outside_libraries.cache_clear()
    assert len(records) <= 1


def test_a_process_starts_without_room_for_its_part() -> None:
    records: list[logging.LogRecord] = []
    with pytest.MonkeyPatch.context() as patch, _keeping(records), Recording():
        patch.setattr(tempfile, "tempdir", "/dev/null/no folder")
        process = multiprocessing.get_context("fork").Process(target=int)
        process.start()
        process.join()
        assert process.exitcode == 0
    assert len(records) == 1


# Child processes, and a loop that is not asyncio's.

IN_CHILDREN = [
    name
    for name in FUNCTIONS
    if name.startswith(("children.", "parts.PartWriter.", "pools.", "processes."))
    or name in ("calls.open_call", "calls.close_call", "functions.FunctionProbe.restart", "stream.Stream.begin_in_fork")
]
_SAMPLED_IN_CHILDREN = (
    "calls.close_call",
    "children.Child._open",
    "parts.PartWriter.flush",
    "processes.ProcessProbe.s",
)


# It fails in the keeper's thread at a fork: while that thread stops the recording Python can warn of a second thread.
_AT_A_FORK = "processes.ProcessProbe.bound_folder"


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=[] if name.startswith(_SAMPLED_IN_CHILDREN) else pytest.mark.slow)
        for name in IN_CHILDREN
        if name != _AT_A_FORK
    ],
)
def test_a_function_that_raises_in_a_child_leaves_the_child_its_work(name: str, bench: Bench, tmp_path: Any) -> None:
    if with_children not in bench.programs:
        bench.learn([with_children])

    def note(record: logging.LogRecord) -> None:
        with open(tmp_path / "warnings", "a") as file:
            file.write(f"{os.getpid()}\n")

    handler, logger = logging.Handler(), logging.getLogger("asynctrace")
    handler.emit = note  # type: ignore[method-assign]
    logger.addHandler(handler)
    try:
        # What names the child's functions is asked at both ends of its recording: each would tell.
        is_persistent = name not in bench.needed and name != "children._resolve"
        bench.points.arm(name, is_persistent=is_persistent)
        run = Run(bench.points).go(with_children)
    finally:
        logger.removeHandler(handler)
    bench.points.is_suspended = True
    bench.assert_same(run, with_children)
    warned = (tmp_path / "warnings").read_text().split() if (tmp_path / "warnings").exists() else []
    assert len(warned) == len(set(warned)), "more than one warning of a process"
    run.trace()
    bench.assert_recording_works()


def test_uvloop_runs_on_when_a_hook_fails(bench: Bench) -> None:
    pytest.importorskip("uvloop")
    in_python = "loop.stepped_task", "tasks.TaskTable.meet", "tasks.TaskTable.step_end"
    for name in ("tables.Tables.site", "jobs._open_job", *(in_python if cores.core() == "python" else ())):
        bench.points.arm(name, is_persistent=name not in bench.needed)
        bench.run(on_uvloop)
        assert bench.points.fired
