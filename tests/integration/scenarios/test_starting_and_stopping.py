"""Recordings that start and stop anywhere: inside a loop, twice, nested, in other threads; nothing stays behind."""

from __future__ import annotations

import asyncio
import logging
import sys
import threading
from typing import Any

import pytest
from integration.both_ways import LoopFactory, Run, is_uvloop, kinds, outcomes, task_of, trace_of, waits, wakers
from integration.trace_rules import check

import asynctrace
from asynctrace.model.trace import Trace

sees_coroutines = sys.version_info >= (3, 12)


def by_task(trace: Trace) -> str:
    """Return how a wake by the task in whose step the recording began is shown.

    Where nothing tells the end of that step (uvloop before 3.12), what it wakes is not said to be its.
    """
    return "ready unknown" if is_uvloop(trace) and not sees_coroutines else "ready task"


needs_monitoring = pytest.mark.skipif(not sees_coroutines, reason="sys.monitoring is new in 3.12")


def test_another_tools_shim_put_on_the_loop_after_ours_stays() -> None:
    async def main(loop: asyncio.AbstractEventLoop) -> None:
        await asyncio.sleep(0)

    loop = asyncio.new_event_loop()
    calls = []
    with asynctrace.record() as recording:
        loop.run_until_complete(main(loop))
        original = loop.call_soon

        def call_soon(callback: Any, *args: Any, context: Any = None) -> Any:
            calls.append(callback)
            return original(callback, *args, context=context)

        loop.call_soon = call_soon  # type: ignore[method-assign]
    assert loop.call_soon is call_soon
    loop.run_until_complete(main(loop))
    assert calls
    with asynctrace.record() as second:
        loop.run_until_complete(main(loop))
    assert loop.call_soon is call_soon
    del loop.call_soon  # type: ignore[method-assign]
    loop.run_until_complete(main(loop))
    loop.close()
    check(recording.trace)
    check(second.trace)
    assert task_of(second.trace, "main").outcome == "returned"


@needs_monitoring
def test_without_a_free_tool_id_tasks_are_still_recorded_and_it_is_said_once(
    run: Run, caplog: pytest.LogCaptureFixture
) -> None:
    async def child() -> None:
        await asyncio.sleep(0)

    async def main() -> None:
        await asyncio.gather(child(), child())

    taken = [id for id in range(6) if sys.monitoring.get_tool(id) is None]
    for id in taken:
        sys.monitoring.use_tool_id(id, f"other {id}")
    try:
        with caplog.at_level(logging.WARNING, "asynctrace"):
            trace = trace_of(lambda: run(main()))
    finally:
        for id in taken:
            sys.monitoring.free_tool_id(id)

    check(trace)
    assert [task.outcome for task in trace.tasks if task.label == "child"] == ["returned"] * 2
    assert not trace.sees_coroutines and not trace.coroutines
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "tool ids" in caplog.records[0].message


def test_a_recording_that_begins_inside_a_running_loop_knows_what_is_waited_for(run: Run) -> None:
    async def sleeper() -> None:
        await asyncio.sleep(0.2)

    async def main() -> Any:
        recording = asynctrace.record()
        task = asyncio.create_task(sleeper())
        await asyncio.sleep(0)
        with recording:
            await task
        return recording.trace

    trace = run(main())

    check(trace)
    task = task_of(trace, "sleeper")
    assert task.is_clipped
    # uvloop's timers of before are not seen: what ends them is unknown.
    assert kinds(task) == ["waiting sleep", "ready unknown" if is_uvloop(trace) else "ready timer", "running"]
    assert waits(task) == [("sleep", "asyncio.sleep(0.2)", 1)]
    assert kinds(task_of(trace, "main"))[:3] == ["running", "waiting task", "ready task"]
    if sees_coroutines:
        nested = {each.name.rsplit(".", 1)[-1]: each for each in trace.coroutines}
        assert nested["sleep"].task is task and nested["sleep"].awaiter is nested["sleeper"]


def test_nested_recordings_are_windows_that_obey_the_rules(run: Run) -> None:
    async def child() -> None:
        await asyncio.sleep(0.001)

    async def main() -> list[Any]:
        traces = []
        for _ in range(2):
            with asynctrace.record() as inner:
                await child()
                traces.append(inner.snapshot())
            traces.append(inner.trace)
        return traces

    with asynctrace.record() as outer:
        traces = run(main())

    for trace in (*traces, outer.trace):
        check(trace)
        assert kinds(task_of(trace, "main")).count("waiting sleep") == (2 if trace is outer.trace else 1)


def test_a_recording_that_is_started_twice_is_refused_and_stopping_twice_does_nothing(run: Run) -> None:
    recording = asynctrace.record()
    with pytest.raises(asynctrace.RecordingError, match="nothing recorded yet"):
        recording.trace

    async def main() -> None:
        recording.start()
        with pytest.raises(asynctrace.RecordingError, match="started before"):
            recording.start()
        with pytest.raises(asynctrace.RecordingError, match="still recording"):
            recording.trace
        await asyncio.sleep(0)
        recording.stop()
        recording.stop()
        with pytest.raises(asynctrace.RecordingError, match="started before"):
            recording.start()

    run(main())
    recording.stop()

    check(recording.trace)
    assert recording.trace is recording.trace
    trace = recording.trace
    assert kinds(task_of(trace, "main")) == ["running", by_task(trace), "running"]


def test_a_recording_that_stops_before_tasks_finish_shows_them_unfinished(run: Run) -> None:
    traces: list[Trace] = []

    async def child() -> str:
        await asyncio.sleep(0)
        await asyncio.sleep(0.001)
        return "went on"

    async def main() -> str:
        with asynctrace.record() as recording:
            task = asyncio.create_task(child())
            await asyncio.sleep(0)
        traces.append(recording.trace)
        return await task

    assert run(main()) == "went on"
    trace = traces[0]
    check(trace)
    assert outcomes(trace) == {"main": "unfinished", "child": "unfinished"}
    assert kinds(task_of(trace, "child")) == [by_task(trace), "running", "ready task"]
    assert all(task.end_ns == trace.end_ns for task in trace.tasks)


def test_many_recordings_in_a_row_inside_one_loop_each_see_their_own(run: Run) -> None:
    async def child(number: int) -> None:
        await asyncio.sleep(0)

    async def main() -> list[Trace]:
        traces = []
        for number in range(10):
            with asynctrace.record() as recording:
                await asyncio.create_task(child(number), name=f"child {number}")
            traces.append(recording.trace)
            await asyncio.create_task(child(number), name="unseen")
        return traces

    for number, trace in enumerate(run(main())):
        check(trace)
        assert [task.name for task in trace.tasks if task.label == "child"] == [f"child {number}"]
        creator = task_of(trace, "main") if by_task(trace) == "ready task" else None
        assert task_of(trace, "child").creator is creator
        assert wakers(task_of(trace, "main")) == ["child"]


def test_recordings_overlap_without_being_nested(run: Run) -> None:
    async def child() -> None:
        await asyncio.sleep(0)

    async def main() -> list[Trace]:
        first, second = asynctrace.record(), asynctrace.record()
        first.start()
        await asyncio.create_task(child(), name="one")
        second.start()
        await asyncio.create_task(child(), name="two")
        first.stop()
        await asyncio.create_task(child(), name="three")
        second.stop()
        await asyncio.create_task(child(), name="four")
        return [first.trace, second.trace]

    first, second = run(main())

    for trace in (first, second):
        check(trace)
    assert [task.name for task in first.tasks if task.label == "child"] == ["one", "two"]
    assert [task.name for task in second.tasks if task.label == "child"] == ["two", "three"]


def test_a_recording_started_and_stopped_from_another_thread(run: Run) -> None:
    recordings: list[Any] = []

    async def child() -> None:
        await asyncio.sleep(0)

    def elsewhere(action: Any) -> None:
        thread = threading.Thread(target=action)
        thread.start()
        thread.join()

    async def main() -> str:
        recording = asynctrace.record()
        recordings.append(recording)
        elsewhere(recording.start)
        await asyncio.sleep(0)
        await asyncio.create_task(child(), name="seen")
        await asyncio.create_task(child(), name="seen too")
        elsewhere(recording.stop)
        await asyncio.create_task(child(), name="unseen")
        return "done"

    assert run(main()) == "done"
    trace = recordings[0].trace
    check(trace)
    # The loop is met at the latest when a coroutine starts on it; before 3.12 that is not seen.
    names = [task.name for task in trace.tasks if task.label == "child"]
    assert names in (["seen", "seen too"], [] if not sees_coroutines else ["seen", "seen too"])


def test_what_was_queued_in_one_recording_and_runs_in_the_next_has_no_false_cause(loop_factory: LoopFactory) -> None:
    async def waits_for(event: asyncio.Event) -> None:
        await event.wait()

    async def decoy() -> None:
        await asyncio.sleep(0)

    async def sets(event: asyncio.Event, recordings: list[Any]) -> None:
        # The first task of the first recording; the next recording gives its number to another.
        asyncio.get_running_loop().call_soon(event.set)
        recordings[0].stop()
        recordings[1].start()
        for _ in range(5):
            asyncio.create_task(decoy())

    async def main() -> None:
        event = asyncio.Event()
        task = asyncio.create_task(waits_for(event))
        await asyncio.sleep(0)
        recordings[0].start()
        await asyncio.create_task(sets(event, recordings))
        await task

    for is_ours in (False, True):
        recordings = [asynctrace.record(), asynctrace.record()]
        factory: Any = loop_factory
        if is_ours:  # such a loop keeps its shims between recordings
            from asynctrace.runner import _instrumented

            def factory() -> asyncio.AbstractEventLoop:
                return _instrumented(loop_factory())

        with asyncio.Runner(loop_factory=factory) as runner:
            runner.run(main())
        recordings[1].stop()
        trace = recordings[1].trace
        check(trace)
        woken = wakers(task_of(trace, "waits_for"))
        assert woken in (["unknown"], ["sets"]), woken


def test_a_stop_inside_a_callback_and_inside_a_step_leaves_the_program_alone(run: Run) -> None:
    async def child(told: list[str]) -> None:
        await asyncio.sleep(0.001)
        told.append("child")

    async def main() -> list[str]:
        told: list[str] = []
        loop = asyncio.get_running_loop()
        for stop_in_callback in (True, False):
            recording = asynctrace.record()
            loop.call_soon(recording.start)
            await asyncio.sleep(0)
            tasks = [asyncio.create_task(child(told)) for _ in range(2)]
            if stop_in_callback:
                loop.call_soon(recording.stop)
            else:
                recording.stop()
            await asyncio.gather(*tasks)
            check(recording.trace)
        return told

    assert run(main()) == ["child"] * 4


def test_a_recording_inside_every_kind_of_coroutine_is_clipped_to_its_window(run: Run) -> None:
    traces: list[Trace] = []

    async def inner() -> None:
        await asyncio.sleep(0.02)

    async def generator() -> Any:
        recording = asynctrace.record()
        recording.start()
        yield 1
        await inner()
        yield 2
        recording.stop()
        traces.append(recording.trace)

    async def main() -> list[int]:
        return [number async for number in generator()]

    assert run(main()) == [1, 2]
    trace = traces[0]
    check(trace)
    task = task_of(trace, "main")
    assert task.is_clipped and kinds(task)[2:] == ["ready timer", "running"]
    assert kinds(task)[:2] == ["running", "waiting sleep"]
    if sees_coroutines:
        assert waits(task)[0][:2] == ("sleep", "asyncio.sleep(0.02)")


def test_async_with_records_the_same(run: Run) -> None:
    async def main() -> Trace:
        async with asynctrace.record() as recording:
            await asyncio.sleep(0.02)
        return recording.trace

    trace = run(main())

    check(trace)
    assert kinds(task_of(trace, "main"))[-4:] == ["running", "waiting sleep", "ready timer", "running"]


def test_an_exception_ends_the_recording_and_passes(run: Run) -> None:
    recording = asynctrace.record()

    async def main() -> None:
        with recording:
            await asyncio.sleep(0)
            raise ValueError("passes")

    with pytest.raises(ValueError, match="passes"):
        run(main())
    assert not recording.is_running
    check(recording.trace)


def test_marks_are_where_they_were_made(run: Run) -> None:
    async def main() -> Trace:
        with asynctrace.record() as recording:
            recording.mark("first")
            await asyncio.sleep(0.02)
            recording.mark("two\nlines 🦊")
        recording.mark("after its end")
        return recording.trace

    trace = run(main())

    first, second = trace.marks
    assert (first.text, second.text) == ("first", "two\nlines 🦊")
    wait = next(state for state in task_of(trace, "main").states if state.kind == "waiting")
    assert first.time_ns <= wait.start_ns and wait.end_ns <= second.time_ns


policies = pytest.mark.skipif(asynctrace.EventLoopPolicy is None, reason="there are no policies any more")


@policies
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_policy_of_a_policy_instruments_a_loop_once() -> None:
    async def child() -> None:
        await asyncio.sleep(0)

    earlier = asyncio.get_event_loop_policy()
    inner = asynctrace.EventLoopPolicy()
    outer = asynctrace.EventLoopPolicy(asynctrace.EventLoopPolicy(inner))
    asyncio.set_event_loop_policy(outer)
    try:
        loops = [asyncio.new_event_loop(), asynctrace.new_event_loop()]
        traces = []
        for loop in loops:
            traces.append(trace_of(lambda loop=loop: loop.run_until_complete(child())))  # type: ignore[misc]
            loop.close()
        asynctrace.run(child())
    finally:
        asyncio.set_event_loop_policy(earlier)
    for trace in traces:
        check(trace)
        task = task_of(trace, "child")
        assert kinds(task) == ["ready unknown", "running", "ready task", "running"]
        assert len(trace.loops) == 1
        # Once instrumented: each step is there once.
        assert len([event for event in trace.parts[0].events if event[2] == 3]) == 2


def test_a_loop_of_ours_does_the_same_with_and_without_a_recording(run: Run) -> None:
    async def child() -> int:
        await asyncio.sleep(0)
        return 1

    async def main() -> list[int]:
        return await asyncio.gather(child(), child())

    with asyncio.Runner(loop_factory=asynctrace.new_event_loop) as runner:
        assert runner.run(main()) == [1, 1]
        for _ in range(2):
            with asynctrace.record() as recording:
                assert runner.run(main()) == [1, 1]
            check(recording.trace)
            assert [task.label for task in recording.trace.tasks] == ["main", "child", "child"]
        assert runner.run(main()) == [1, 1]


def test_a_uvloop_imported_after_the_start_is_met() -> None:
    pytest.importorskip("uvloop")
    import subprocess

    program = (
        "import asynctrace, asyncio, sys\n"
        "async def child(): await asyncio.sleep(0)\n"
        "with asynctrace.record() as recording:\n"
        "    import uvloop\n"
        "    loop = uvloop.new_event_loop()\n"
        "    task = loop.create_task(child())\n"
        "    loop.run_until_complete(task)\n"
        "    loop.close()\n"
        "task, = recording.trace.tasks\n"
        "print(task.label, task.outcome, task.is_clipped, [s.kind for s in task.states], task.loop.type)\n"
        "print('__init__' in vars(uvloop.Loop))\n"
    )
    made = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert made.stdout.splitlines() == [
        "child returned False ['ready', 'running', 'ready', 'running'] uvloop.Loop",
        "False",
    ], made.stderr
