"""What a Perfetto file shows, by Perfetto's own messages and its rules for tracks: the judge of what we write."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

_BEGIN, _END, _INSTANT = 1, 2, 3


@dataclass
class Slice:
    """A slice of the UI: `end_ns` is None when it has no end; `track` is the path of names down to its track.

    Those of one `number` belong together: a task and its steps.
    """

    track: tuple[str, ...]
    depth: int
    name: str
    start_ns: int
    end_ns: int | None = None
    arguments: dict[str, object] = field(default_factory=dict)
    arrows_out: set[int] = field(default_factory=set)
    arrows_in: set[int] = field(default_factory=set)
    number: int = 0
    inside: Slice | None = None


@dataclass
class View:
    """All slices in order of their beginning, and (time, value) of each counter.

    `gauges` are the counters that events name themselves: of a path of names down to the counter.
    """

    slices: list[Slice]
    counters: dict[str, list[tuple[int, int]]]
    gauges: dict[tuple[str, ...], list[tuple[int, float]]]

    def values(self, counter: str) -> list[int]:
        """Return the values of a counter."""
        return [value for _, value in self.counters[counter]]

    def on(self, track: str) -> list[tuple[int, str, int, int | None]]:
        """Return (depth, name, start, end) of the slices of the tracks with this name."""
        return [(one.depth, one.name, one.start_ns, one.end_ns) for one in self.slices if one.track[-1:] == (track,)]


def messages(path: Path) -> Any:
    """Parse a file with the messages that the package `perfetto` carries."""
    module = pytest.importorskip("perfetto.protos.perfetto.trace.perfetto_trace_pb2")
    trace = module.Trace()
    trace.ParseFromString(path.read_bytes())
    return trace


def view(path: Path) -> View:
    """Replay a file: clocks, interned names, a stack of slices a track. An end without a beginning is an error."""
    clocks: dict[int, int] = {}
    names: dict[tuple[int, int], str] = {}
    keys: dict[tuple[int, int], str] = {}
    texts: dict[tuple[int, int], str] = {}
    places: dict[tuple[int, int], tuple[str, str, int]] = {}
    counter_uuids: dict[int, list[int]] = {}
    descriptors: dict[int, Any] = {}
    events: list[tuple[int, int, str, dict[str, object], Any]] = []
    for packet in messages(path).packet:
        sequence = packet.trusted_packet_sequence_id
        if packet.sequence_flags & 1:  # what it has interned so far is void
            for interned in (names, keys, texts, places):
                for key in [key for key in interned if key[0] == sequence]:
                    del interned[key]  # type: ignore[attr-defined]
        if packet.HasField("trace_packet_defaults"):
            defaults = packet.trace_packet_defaults
            assert defaults.timestamp_clock_id == 64
            counter_uuids[sequence] = list(defaults.track_event_defaults.extra_counter_track_uuids)
        for clock in packet.clock_snapshot.clocks:
            if clock.clock_id == 64:
                assert clock.is_incremental
                clocks[sequence] = clock.timestamp
        for name in packet.interned_data.event_names:
            names[sequence, name.iid] = name.name
        for key_name in packet.interned_data.debug_annotation_names:
            keys[sequence, key_name.iid] = key_name.name
        for text in packet.interned_data.debug_annotation_string_values:
            texts[sequence, text.iid] = text.str.decode()
        for place in packet.interned_data.source_locations:
            places[sequence, place.iid] = place.file_name, place.function_name, place.line_number
        if packet.HasField("track_descriptor"):
            descriptor = packet.track_descriptor
            descriptors.setdefault(descriptor.uuid, type(descriptor)()).MergeFrom(descriptor)
        if packet.HasField("timestamp"):
            time_ns = packet.timestamp
            if packet.timestamp_clock_id != 6:
                time_ns = clocks[sequence] = (clocks[sequence] + packet.timestamp) % 2**64
            if packet.HasField("track_event"):
                event = packet.track_event
                name = "" if event.type == _END else event.name or names[sequence, event.name_iid]
                arguments = {
                    keys[sequence, note.name_iid]: texts[sequence, note.string_value_iid]
                    if note.HasField("string_value_iid")
                    else getattr(note, note.WhichOneof("value"))
                    for note in event.debug_annotations
                }
                if event.source_location_iid:
                    arguments["place"] = places[sequence, event.source_location_iid]
                events.append((time_ns, sequence, name, arguments, event))
    events.sort(key=lambda event: event[0])

    def path_of(uuid: int) -> tuple[str, ...]:
        descriptor = descriptors[uuid]
        parent = path_of(descriptor.parent_uuid) if descriptor.parent_uuid else ()
        return (*parent, descriptor.name or descriptor.thread.thread_name or descriptor.process.process_name)

    stacks: dict[int, list[Slice]] = defaultdict(list)
    found: list[Slice] = []
    counters: dict[str, list[tuple[int, int]]] = defaultdict(list)
    gauges: dict[tuple[str, ...], list[tuple[int, float]]] = defaultdict(list)
    for time_ns, sequence, name, arguments, event in events:
        stack = stacks[event.track_uuid]
        if event.type == _END:
            current = stack.pop()
            current.end_ns = time_ns
        else:
            assert event.type in (_BEGIN, _INSTANT)
            inside = stack[-1] if stack else None
            current = Slice(path_of(event.track_uuid), len(stack), name, time_ns, inside=inside)
            current.number = event.correlation_id
            found.append(current)
            if event.type == _BEGIN:
                stack.append(current)
            else:
                current.end_ns = time_ns
        current.arguments.update(arguments)
        current.arrows_out.update(event.flow_ids)
        current.arrows_in.update(event.terminating_flow_ids)
        values = list(event.extra_counter_values)
        # The trace processor takes what follows a 0 as 0.
        assert 0 not in values or not any(values[values.index(0) :])
        for uuid, value in zip(counter_uuids[sequence], values, strict=False):
            counters[path_of(uuid)[-1]].append((time_ns, value))
        for uuid, gauge in zip(event.extra_double_counter_track_uuids, event.extra_double_counter_values, strict=True):
            gauges[path_of(uuid)].append((time_ns, gauge))
    return View(found, dict(counters), dict(gauges))
