"""What a file for speedscope holds, by that format's rules: the judge of what we write."""

from __future__ import annotations

import gzip
import json
from collections import Counter
from pathlib import Path
from typing import Any

from asynctrace.formats import save
from asynctrace.model.trace import Trace


def written(trace: Trace, folder: Path, name: str = "trace.speedscope.json") -> dict[str, Any]:
    """Save a trace; return what the file holds when it is as the app wants it."""
    path = folder / name
    save(trace, path)
    content = path.read_bytes()
    document: dict[str, Any] = json.loads(gzip.decompress(content) if name.endswith(".gz") else content)
    assert set(document) == {"$schema", "exporter", "name", "activeProfileIndex", "profiles", "shared"}
    assert document["$schema"] == "https://www.speedscope.app/file-format-schema.json"
    frames = document["shared"]["frames"]
    for frame in frames:
        assert isinstance(frame["name"], str) and set(frame) <= {"name", "file", "line"}
    for profile in document["profiles"]:
        assert profile["unit"] == "nanoseconds" and profile["startValue"] <= profile["endValue"]
        if profile["type"] == "sampled":
            assert set(profile) == {"type", "name", "unit", "startValue", "endValue", "samples", "weights"}
            assert len(profile["samples"]) == len(profile["weights"]) > 0
            assert sum(profile["weights"]) == profile["endValue"] and min(profile["weights"]) > 0
            assert {number for stack in profile["samples"] for number in stack} <= set(range(len(frames)))
        else:
            assert set(profile) == {"type", "name", "unit", "startValue", "endValue", "events"}
            _replay(profile, len(frames))
    return document


def _replay(profile: dict[str, Any], frames: int) -> None:
    assert profile["type"] == "evented"
    stack: list[int] = []
    at = profile["startValue"]
    for event in profile["events"]:
        assert set(event) == {"type", "frame", "at"} and 0 <= event["frame"] < frames
        assert at <= event["at"] <= profile["endValue"]
        at = event["at"]
        if event["type"] == "O":
            stack.append(event["frame"])
        else:
            assert event["type"] == "C" and stack.pop() == event["frame"]
    assert stack == []


def whole(document: dict[str, Any]) -> dict[str, int]:
    """Return what the profiles of the whole recording add up to."""
    named = {
        profile["name"].partition(",")[0]: profile for profile in document["profiles"] if profile["type"] == "sampled"
    }
    return {kind: named[kind]["endValue"] for kind in ("waiting", "ready", "running") if kind in named}


def of_model(trace: Trace) -> dict[str, int]:
    found: Counter[str] = Counter()
    for task in trace.tasks:
        for state in task.states:
            found[state.kind] += state.end_ns - state.start_ns
    return {kind: total for kind, total in found.items() if total}
