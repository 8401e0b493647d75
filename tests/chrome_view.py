"""What a file of Chrome trace JSON shows, by that format's rules: the judge of what we write."""

from __future__ import annotations

import gzip
import json
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

from asynctrace.model.trace import Blocking, Coroutine, Trace


@dataclass
class Slice:
    """A slice: `track` is (pid, tid) of a thread's, (pid, "0x…") of a task's."""

    track: tuple[int, Any]
    depth: int
    name: str
    start_ns: int
    end_ns: int
    args: dict[str, Any]
    category: str


@dataclass
class View:
    """All slices; arrows as (name, slice of its beginning, slice of its end); counters as (pid, name) -> values."""

    slices: list[Slice] = field(default_factory=list)
    arrows: list[tuple[str, Slice, Slice]] = field(default_factory=list)
    counters: dict[tuple[int, str], list[tuple[int, int]]] = field(default_factory=lambda: defaultdict(list))
    names: dict[Any, str] = field(default_factory=dict)
    instants: list[tuple[int, str]] = field(default_factory=list)
    about: dict[str, Any] = field(default_factory=dict)

    def of_category(self, category: str) -> list[Slice]:
        return [one for one in self.slices if one.category == category]


def view(path: Path) -> View:
    """Replay a file: events by time, those of one time in the order of the file. What does not nest is an error."""
    content = path.read_bytes()
    if path.name.endswith(".gz"):
        content = gzip.decompress(content)
    document = json.loads(content, parse_float=Decimal)
    seen = View(about=document["otherData"])
    stacks: dict[tuple[int, Any], list[Slice]] = defaultdict(list)
    begun: dict[tuple[str, int], Slice] = {}
    for event in sorted(document["traceEvents"], key=lambda event: event.get("ts", 0)):
        time = Decimal(event.get("ts", 0)) * 1000
        time_ns = int(time)
        assert time == time_ns >= 0
        kind, args = event["ph"], event.get("args", {})
        if kind == "M":
            seen.names[event["name"], event["pid"], event.get("tid")] = args.get("name")
        elif kind == "X":
            track = event["pid"], event["tid"]
            stack = stacks[track]
            while stack and stack[-1].end_ns <= time_ns:
                stack.pop()
            end_ns = time_ns + int(event["dur"] * 1000)
            assert not stack or end_ns <= stack[-1].end_ns, f"{event} overlaps {stack[-1]}"
            stack.append(Slice(track, len(stack), event["name"], time_ns, end_ns, args, event["cat"]))
            seen.slices.append(stack[-1])
        elif kind in "be":
            track = event["pid"], event["id2"]["local"]
            stack = stacks[track]
            if kind == "b":
                stack.append(Slice(track, len(stack), event["name"], time_ns, -1, args, event["cat"]))
                seen.slices.append(stack[-1])
            else:
                assert stack[-1].name == event["name"]
                stack.pop().end_ns = time_ns
        elif kind in "sf":
            stack = stacks[event["pid"], event["tid"]]
            while stack and stack[-1].end_ns <= time_ns:
                stack.pop()
            assert stack and stack[-1].start_ns <= time_ns < stack[-1].end_ns, f"{event} is in no slice"
            if kind == "s":
                begun[event["name"], event["id"]] = stack[-1]
            else:
                assert event["bp"] == "e"
                seen.arrows.append((event["name"], begun.pop((event["name"], event["id"])), stack[-1]))
        elif kind == "C":
            for name, value in args.items():
                seen.counters[event["pid"], f"{event['name']} {name}"].append((time_ns, value))
        else:
            assert kind == "i"
            seen.instants.append((time_ns, event["name"]))
    assert begun == {}
    assert all(one.end_ns >= 0 for one in seen.slices)
    return seen


def sums(slices: list[Slice]) -> dict[tuple[int, str], int]:
    """Return how long each task was in each state: (id, state) -> nanoseconds."""
    found: dict[tuple[int, str], int] = defaultdict(int)
    for one in slices:
        if "state" in one.args:
            task = one.args["task_id"] if one.args["state"] == "running" else int(one.track[1], 16)
            found[task, one.args["state"]] += one.end_ns - one.start_ns
    return {key: value for key, value in found.items() if value}


def expected_sums(trace: Trace) -> dict[tuple[int, str], int]:
    found: dict[tuple[int, str], int] = defaultdict(int)
    for task in trace.tasks:
        for state in task.states:
            found[task.id, state.kind] += state.end_ns - state.start_ns
    return {key: value for key, value in found.items() if value}


def on_threads(trace: Trace) -> int:
    """Return how many slices threads have: steps, calls, callbacks, idle loops, and each blocking once."""
    running = sum(state.kind == "running" for task in trace.tasks for state in task.states)
    blockings: set[tuple[Any, Blocking]] = {(task, each) for task in trace.tasks for each in task.blockings}
    blockings |= {(call.task or call, each) for call in trace.calls for each in call.blockings}
    return (
        running + len(trace.calls) + len(blockings) + sum(len(loop.idle) + len(loop.callbacks) for loop in trace.loops)
    )


def agrees(trace: Trace, seen: View) -> None:
    """Check what a file shows against the model."""
    assert sums(seen.slices) == expected_sums(trace)
    assert len([one for one in seen.slices if not isinstance(one.track[1], str)]) == on_threads(trace)
    tasks = [one for one in seen.of_category("task") if one.depth == 0]
    base_ns = trace.start_ns
    assert Counter((one.name, one.start_ns + base_ns, one.end_ns + base_ns) for one in tasks) == Counter(
        (task.label, task.created_ns, task.end_ns) for task in trace.tasks
    )
    own = {task.id: (task.created_ns, task.end_ns) for task in trace.tasks}
    drawn = Counter((int(one.track[1], 16), one.name, one.start_ns, one.end_ns) for one in seen.of_category("task"))
    for coroutine in trace.coroutines:
        task = coroutine.task
        # A generator's inner ones may be driven on in another task; one that is driven by hand is away meanwhile.
        if task is None or not _is_simple(coroutine):
            continue
        if own[task.id][0] <= coroutine.started_ns < coroutine.end_ns <= own[task.id][1]:
            key = task.id, coroutine.name, coroutine.started_ns - base_ns, coroutine.end_ns - base_ns
            assert drawn[key] >= 1, coroutine
    for kind, source, target in seen.arrows:
        assert source.end_ns <= target.start_ns or source.track != target.track or source.depth < target.depth
        assert kind in ("wake", "create", "job")


def _is_simple(coroutine: Coroutine) -> bool:
    """Tell whether a coroutine is a task's root, or awaited by it through nothing but coroutines."""
    outer: Coroutine | None = coroutine
    while outer is not None and not outer.is_generator:
        if outer.awaiter is None:
            return outer.task is not None and outer is outer.task.coroutine
        outer = outer.awaiter
    return False
