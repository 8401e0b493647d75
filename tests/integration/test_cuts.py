"""What is left of a recording whose oldest events went shows just what the whole one does from there on."""

from __future__ import annotations

import asyncio
import concurrent.futures
import random
import sys
import tempfile
import threading
import time
from functools import cache
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from integration import trace_rules as rules
from integration.generated_programs import Body, programs, run_program
from integration.test_invariants import MANY, tried

import asynctrace
from asynctrace.events import Part
from asynctrace.formats import load, load_parts, save_parts
from asynctrace.model.build import build_trace
from asynctrace.recorder.fold import Fold
from tests.cuts import assert_shows_the_same, cuts, flat, fold_of, folded, kept, slices_from, with_distinct_times

pytestmark = pytest.mark.sampled
seeds = st.integers(0, 1 << 30)


def _parts_of(root: Body, eager: bool, decorate: bool, inside: bool) -> list[Part]:
    log, trace = run_program(root, eager=eager, decorate=decorate, inside=inside)
    traces = log.windows[-1:] if trace is None else [trace]
    return [with_distinct_times(trace.parts[0]) for trace in traces]


def _some(indexes: list[int], seed: int, most: int) -> list[int]:
    return random.Random(seed).sample(indexes, min(len(indexes), most))


def _check_cut(part: Part, index: int) -> None:
    rules.check(assert_shows_the_same(part, index))


def _check_two_goes(part: Part, first: int, second: int) -> None:
    time_ns, later_ns = part.events[first][0], part.events[second][0]
    base = fold_of(part.events[:first]).base(time_ns)
    at_once = fold_of(part.events[:second])
    in_two_goes = fold_of([*base, *part.events[first:second]])
    assert in_two_goes.base(later_ns) == at_once.base(later_ns), f"cut at {first} and {second}"


def _check_cores_agree(part: Part, indexes: list[int]) -> None:
    native_fold = pytest.importorskip("asynctrace.recorder.native_fold")
    found, expected = native_fold.NativeFold(), Fold()
    for begin, end in pairwise([0, *indexes, len(part.events)]):
        found.advance(flat(part.events[begin:end]))
        expected.advance(flat(part.events[begin:end]))
        assert found.base(1) == expected.base(1), f"after {end} events"
        assert found.count == expected.count
        assert found.take_ended_tasks() == expected.take_ended_tasks()


@tried(35)
@given(programs, st.booleans(), st.booleans(), st.booleans(), seeds)
def test_a_program_cut_anywhere_shows_the_same(
    root: Body, eager: bool, decorate: bool, inside: bool, seed: int
) -> None:
    for part in _parts_of(root, eager, decorate, inside):
        for index in _some(cuts(part), seed, 5):
            _check_cut(part, index)


@tried(20)
@given(programs, st.booleans(), seeds)
def test_folding_in_two_goes_leads_to_the_same_as_in_one(root: Body, eager: bool, seed: int) -> None:
    for part in _parts_of(root, eager, True, False):
        for index in _some(cuts(part), seed, 5):
            for first in _some(cuts(part)[: cuts(part).index(index)], seed, 2):
                _check_two_goes(part, first, index)


@tried(25)
@given(programs, st.booleans(), st.booleans(), st.booleans(), seeds)
def test_both_cores_fold_a_program_alike(root: Body, eager: bool, decorate: bool, inside: bool, seed: int) -> None:
    for part in _parts_of(root, eager, decorate, inside):
        _check_cores_agree(part, sorted(_some(cuts(part), seed, 5)))


def test_both_cores_fold_calls_jobs_threads_and_blocking_alike() -> None:
    part = _recorded_with_calls()
    _check_cores_agree(part, cuts(part))


@pytest.mark.slow
@MANY
@given(programs, st.booleans(), st.booleans(), st.booleans(), seeds)
def test_many_programs_cut_anywhere_show_the_same(
    root: Body, eager: bool, decorate: bool, inside: bool, seed: int
) -> None:
    for part in _parts_of(root, eager, decorate, inside):
        for index in _some(cuts(part), seed, 20):
            _check_cut(part, index)
            for first in _some(cuts(part)[: cuts(part).index(index)], seed, 2):
                _check_two_goes(part, first, index)


# One with all that the generated ones lack: calls, jobs, threads, blocking.


@asynctrace.traced
def inner(number: int) -> int:
    time.sleep(0.0002)
    return number


@asynctrace.traced
def outer(number: int) -> int:
    if number:
        inner(number)
    time.sleep(0.0001)
    return inner(number)


@asynctrace.traced
async def beside(number: int) -> None:
    outer(0)
    await asyncio.sleep(0.001)
    outer(number)


@asynctrace.traced
async def child(number: int) -> None:
    outer(number)
    loop = asyncio.get_running_loop()
    if sys.version_info >= (3, 12):
        task = asyncio.Task(beside(number), loop=loop, eager_start=True)
    else:
        task = asyncio.create_task(beside(number))
    await asyncio.to_thread(outer, number)
    await task
    future = loop.run_in_executor(None, inner, 3)
    await asyncio.sleep(0.002)
    await future


@asynctrace.traced
async def with_threads() -> None:
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        futures = [pool.submit(inner, number) for number in range(3)]
        thread = threading.Thread(target=outer, args=(1,))
        thread.start()
        await asyncio.gather(*(child(number) for number in range(2)))
        await asyncio.wrap_future(futures[-1])
    thread.join()


@asynctrace.traced
def main() -> None:
    asyncio.run(with_threads())


@cache
def _recorded_with_calls() -> Part:
    with asynctrace.record() as recording:
        recording.mark("begin")
        main()
        recording.mark("end")
    return with_distinct_times(recording.trace.parts[0])


def test_calls_jobs_threads_and_blocking_cut_anywhere_show_the_same() -> None:
    part = _recorded_with_calls()
    assert len(part.events) > 150
    for index in cuts(part):
        _check_cut(part, index)
        _check_two_goes(part, max(1, index - 20), index)


def test_nothing_stays_of_what_has_ended() -> None:
    fold = kept(fold_of(_recorded_with_calls().events))
    assert not (fold.tasks or fold.coroutines or fold.threads or fold.calls or fold.jobs or fold.blockings)
    assert not fold.passed


def test_a_file_of_what_is_left_loads_equal(tmp_path: Path) -> None:
    part = _recorded_with_calls()
    for index in cuts(part)[::25]:
        left = folded(part, index)
        path = tmp_path / "left.pftrace"
        save_parts((left,), path)
        assert load_parts(path)[0].events == left.events
        assert load(path) == build_trace([left], source=str(path))


def test_the_slices_of_what_is_left_are_those_of_the_whole(tmp_path: Path) -> None:
    part = _recorded_with_calls()
    for index in cuts(part)[::5]:
        time_ns = part.events[index][0]
        left = slices_from(folded(part, index), time_ns, tmp_path / "left.pftrace")
        assert left == slices_from(part, time_ns, tmp_path / "whole.pftrace"), f"cut at {index}"


@tried(15)
@given(root=programs, eager=st.booleans(), seed=seeds)
def test_the_slices_of_a_generated_program_are_those_of_the_whole(root: Body, eager: bool, seed: int) -> None:
    with tempfile.TemporaryDirectory() as directory:
        for part in _parts_of(root, eager, True, False):
            for index in _some(cuts(part), seed, 3):
                time_ns = part.events[index][0]
                left = slices_from(folded(part, index), time_ns, Path(directory) / "left.pftrace")
                assert left == slices_from(part, time_ns, Path(directory) / "whole.pftrace"), f"cut at {index}"
