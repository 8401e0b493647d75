"""What a file of Chrome trace JSON shows, by that format's rules: the judge of what we write."""

from __future__ import annotations

import gzip
import json
from collections import defaultdict
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any


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
