"""The native encoder: byte for byte what the reference writes, of any events, and no crash whatever goes wrong."""

from __future__ import annotations

import _thread
import gc
import io
import itertools
import signal
import subprocess
import sys
import tracemalloc
import weakref
from array import array
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from asynctrace import events as kinds
from asynctrace.cores import VARIABLE
from asynctrace.events import Event, Part, Site
from asynctrace.formats.perfetto_tracks import ProcessTracks
from asynctrace.formats.perfetto_waits import names_and_waits
from asynctrace.formats.perfetto_writer import PerfettoWriter
from asynctrace.formats.wire import WireError
from tests import sampling
from tests.strategies_parts import START_NS, any_parts, example_part, program_parts
from tests.unit.formats.streaming import LARGE, stream
from tests.unit.formats.test_fuzz import every_kind, nested, part_of, senseless_events

native: Any = pytest.importorskip("asynctrace.formats._encoder")

examples = settings(suppress_health_check=list(HealthCheck), deadline=None, max_examples=sampling.examples(150))


def on(core: str, write: Callable[[], bytes]) -> bytes:
    """Return what is written with a core, or how it fails."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(VARIABLE, core)
        try:
            return write()
        except (WireError, OSError) as error:
            return f"{type(error).__name__}: {error}".encode()


def same(write: Callable[[], bytes]) -> bytes:
    """Assert that both cores write the same, and return it."""
    expected = on("python", write)
    assert on("native", write) == expected
    return expected


def saved(*parts: Part, row_each: bool = False) -> bytes:
    file = io.BytesIO()
    with PerfettoWriter(file, row_each=row_each) as writer:
        for part in parts:
            writer.write_part(part)
    return file.getvalue()


def flat(events: Iterable[Event]) -> array[int]:
    return array("q", list(chain.from_iterable(events)))


@pytest.mark.parametrize("seed", range(8))
def test_programs_of_several_processes_are_written_alike(seed: int) -> None:
    parts = example_part(60, seed), example_part(10, seed + 100, pid=200)
    written = same(lambda: saved(*parts, row_each=seed % 2 == 1))
    assert len(written) > 5000


def test_every_kind_is_written_alike() -> None:
    same(lambda: saved(every_kind()))


@pytest.mark.sampled
@given(st.lists(any_parts, max_size=2))
@examples
def test_any_parts_are_written_alike(parts: list[Part]) -> None:
    same(lambda: saved(*parts))


@pytest.mark.sampled
@given(program_parts())
@examples
def test_any_program_is_written_alike(part: Part) -> None:
    same(lambda: saved(part))


@pytest.mark.sampled
@given(senseless_events, st.integers(0, 5))
@examples
def test_events_that_no_program_gives_are_written_alike(events: list[Event], thread: int) -> None:
    part = part_of(events)
    same(lambda: saved(part))
    on_another = [(*event[:1], thread, *event[2:]) if event[3] % 2 else event for event in part.events]
    same(lambda: saved(replace(part, events=on_another)))


@pytest.mark.parametrize(
    "name", ["deep", "suspended", "thrown", "overlapping", "steps", "calls", "wide", "ring", "dropped"]
)
@pytest.mark.parametrize("count", [17, 600])
def test_deeply_nested_things_are_written_alike(name: str, count: int) -> None:
    part = part_of(nested(name, count))
    same(lambda: saved(part))


@pytest.mark.sampled
@given(
    program_parts(max_steps=60) | senseless_events.map(part_of),
    st.lists(st.integers(0, 40), max_size=12),
    st.sampled_from((100, 6000, LARGE)),
)
@examples
def test_batches_and_segments_are_written_alike(
    tmp_path: Path, part: Part, counts: list[int], limit_bytes: int
) -> None:
    path = tmp_path / "x.pftrace"

    def write() -> bytes:
        stream(part, path, counts, limit_bytes)
        return path.read_bytes()

    same(write)


@pytest.mark.sampled
@given(program_parts(max_steps=15), st.integers(1, 20))
@examples
def test_flat_events_are_written_as_tuples_are(part: Part, count: int) -> None:
    def write(as_flat: bool) -> bytes:
        file = io.BytesIO()
        writer = PerfettoWriter(file).begin_part(replace(part, events=[]))
        for start in range(0, len(part.events), count):
            events = part.events[start : start + count]
            writer.write(flat(events) if as_flat else iter(events))
        writer.finish(part.end_ns, part.cpu_ns)
        return file.getvalue()

    assert same(lambda: write(True)) == same(lambda: write(False))


def test_what_a_site_is_may_come_after_its_first_use() -> None:
    """The tables come in pieces: what was asked before an entry was there is asked again."""
    task, site, error = 1, 50, 51
    step: list[Event] = [
        (START_NS, 1, kinds.TASK_CREATED, task, 0, site, 0),
        (START_NS, 1, kinds.STEP_STARTED, task, 0, 0, 0),
        (START_NS, 1, kinds.COROUTINE_STARTED, 2, 0, site, 0),
        (START_NS, 1, kinds.MARK, 0, 0, site, 0),
        (START_NS, 1, kinds.COROUTINE_FINISHED, 2, 0, error, kinds.RAISED),
        (START_NS, 1, kinds.STEP_FINISHED, task, 9, site, 0),
        (START_NS, 1, kinds.TASK_COLLECTED, task, 0, 0, 0),
    ]

    def write() -> bytes:
        file = io.BytesIO()
        part = replace(every_kind(), events=[], names={}, sites={})
        writer = PerfettoWriter(file).begin_part(part)
        writer.write(step)
        writer.add_tables(replace(part, sites={site: Site("late", "app.py", 3, True), error: Site("LateError")}))
        writer.write(step)
        writer.add_tables(replace(part, names={9: "nine"}, sites={site: Site("later")}))
        writer.write(step)
        return file.getvalue()

    written = same(write)
    assert all(text in written for text in (b"raised ?", b"raised LateError", b"waiting ?", b"waiting nine"))


def test_a_key_that_no_event_can_have_is_passed_over() -> None:
    encoder = Connected().connect()
    encoder.forget_sites([1, 1 << 70, -1, -(1 << 70), 1])
    with pytest.raises(TypeError):
        encoder.forget_sites([None])
    with pytest.raises(TypeError):
        encoder.forget_sites(5)


@pytest.mark.parametrize("place", range(7))
@pytest.mark.parametrize("number", [-1, 1 << 63, (1 << 64) - 1, 1 << 64, -(1 << 70)])
def test_a_number_that_does_not_fit_is_refused_in_the_same_words(place: int, number: int) -> None:
    event = [START_NS, 1, kinds.STEP_STARTED, 7, 0, 0, 0]
    event[place] = number
    events: Any = [(START_NS, 1, kinds.LOOP_SEEN, 3, 0, 0, 0), tuple(event)]

    def write() -> bytes:
        writer = PerfettoWriter(io.BytesIO()).begin_part(replace(every_kind(), events=[]))
        writer.write(events)
        return b""

    assert same(write) == f"WireError: an event with a number that does not fit in 63 bits: {tuple(event)}".encode()


def test_a_negative_number_of_flat_events_is_refused_in_the_same_words() -> None:
    event = (START_NS, 1, kinds.STEP_STARTED, -7, 0, 0, 0)

    def write() -> bytes:
        writer = PerfettoWriter(io.BytesIO()).begin_part(replace(every_kind(), events=[]))
        writer.write(flat([event]))
        return b""

    assert same(write) == f"WireError: an event with a number that does not fit in 63 bits: {event}".encode()


# What goes wrong around it.


class Connected:
    """An encoder with real names, waits and tracks, and what it wrote."""

    def __init__(self, part: Part | None = None) -> None:
        self.written: list[bytes] = []
        self.encoder = native.Encoder(self.write, 1, START_NS, native.Counter())
        self.part = part if part is not None else every_kind()
        self.names, self.waits = names_and_waits(self.part, self.encoder.send_on_sequence)
        self.tracks = ProcessTracks(self.part, native.Counter(), self.encoder.send, False)

    def connect(self) -> Any:
        self.encoder.connect(self.names, self.waits, self.tracks)
        return self.encoder

    def write(self, content: bytes) -> None:
        self.written.append(content)


@pytest.mark.parametrize(
    "events",
    [
        None,
        5,
        b"bytes",
        b"",
        "text",
        [()],
        [(1, 2, 3)],
        [[1, 2, 3, 4, 5, 6, 7]],
        [(1, 2, 3, 4, 5, 6, "7")],
        [(1, 2, 3, 4, 5, 6, None)],
        [(1.5, 2, 3, 4, 5, 6, 7)],
        array("q", [1, 2, 3]),
        array("i", [1] * 7),
        array("d", [1.0] * 7),
        array("Q", [1] * 7),
        memoryview(array("q", [1] * 14))[::2],
    ],
    ids=lambda events: type(events).__name__,
)
def test_what_is_no_events_is_refused(events: object) -> None:
    encoder = Connected().connect()
    with pytest.raises((TypeError, ValueError, BufferError)):
        encoder.encode(events)


def test_an_iterator_that_fails_ends_the_encoding() -> None:
    def failing() -> Iterable[Event]:
        yield from every_kind().events[:3]
        raise LookupError("no more")

    encoder = Connected().connect()
    with pytest.raises(LookupError, match="no more"):
        encoder.encode(failing())
    encoder.encode(every_kind().events[3:])


_OF_NAMES = ("text", "site", "plain", "submit", "lost", "step", "outcome", "attributes", "labelled")
_OF_WAITS = ("stack", "code", "kind", "cause", "cause_task", "cause_thread")


@pytest.mark.parametrize("method", [*_OF_NAMES, *_OF_WAITS])
@pytest.mark.parametrize("answer", [LookupError("asked"), None, "5", b"", b"x" * 32, (), (1, 2), (1, 2, 3)], ids=repr)
def test_what_it_asks_may_fail_or_answer_nonsense(method: str, answer: object) -> None:
    connected = Connected()

    def answers(*_: object) -> object:
        if isinstance(answer, BaseException):
            raise answer
        return answer

    setattr(connected.names if method in _OF_NAMES else connected.waits, method, answers)
    encoder = connected.connect()
    if method in ("outcome", "attributes") and isinstance(answer, bytes):
        encoder.encode(every_kind().events)  # any bytes are fields
        return
    with pytest.raises((LookupError, TypeError, ValueError, AttributeError)):
        encoder.encode(every_kind().events)
    encoder.encode_base(every_kind().events[:3] if method in ("submit", "outcome", "stack", "kind") else [])
    encoder.flush()


def test_what_it_asks_must_not_call_it() -> None:
    connected = Connected()
    encoder = connected.encoder
    calls: list[Callable[[], None]] = [
        lambda: encoder.encode([]),
        lambda: encoder.encode_base([]),
        lambda: encoder.forget_sites([1]),
        lambda: encoder.label_tracks(),
        lambda: encoder.close_all(0),
        lambda: encoder.connect(connected.names, connected.waits, connected.tracks),
    ]
    refused = 0
    original = connected.names.site

    def site(key: int) -> bytes:
        nonlocal refused
        for call in calls:
            with pytest.raises(RuntimeError):
                call()
            refused += 1
        encoder.send(b"")
        encoder.send_on_sequence(b"")
        encoder.flush()
        return original(key)

    connected.names.site = site  # type: ignore[method-assign]
    connected.connect().encode(every_kind().events)
    assert refused >= len(calls)


def test_before_it_is_connected_it_only_sends() -> None:
    connected = Connected()
    encoder = connected.encoder
    encoder.send(b"abc")
    encoder.send_on_sequence(b"")
    for call in (lambda: encoder.encode([]), encoder.label_tracks, lambda: encoder.close_all(1)):
        with pytest.raises(RuntimeError, match="connect"):
            call()
    encoder.flush()
    assert connected.written == [b"abc\x0a\x02\x50\x01"]
    waits = connected.waits
    for nonsense in ((None, waits, None), (connected.names, waits, None), (None, waits, connected.tracks)):
        with pytest.raises(AttributeError):
            encoder.connect(*nonsense)
    connected.tracks.new_uuid = itertools.count(1)
    with pytest.raises(TypeError, match="Counter"):
        connected.connect()
    with pytest.raises(TypeError, match="bytes"):
        encoder.send("text")


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ((), TypeError),
        ((print, 1, 0, itertools.count(1)), TypeError),
        ((print, -1, 0, native.Counter()), ValueError),
        ((print, 1, -1, native.Counter()), ValueError),
        ((print, 1 << 64, 0, native.Counter()), OverflowError),
        ((print, "1", 0, native.Counter()), TypeError),
    ],
)
def test_an_encoder_is_made_of_what_it_needs(arguments: Sequence[object], error: type[Exception]) -> None:
    with pytest.raises(error):
        native.Encoder(*arguments)


def test_a_file_that_fails_ends_the_encoding() -> None:
    def write(content: bytes) -> None:
        if len(content) > 1000:
            raise OSError(28, "No space left on device")

    encoder = native.Encoder(write, 1, START_NS, native.Counter())
    part = every_kind()
    encoder.connect(
        *names_and_waits(part, encoder.send_on_sequence),
        ProcessTracks(part, native.Counter(), encoder.send, row_each=False),
    )
    with pytest.raises(OSError, match="No space"):
        encoder.encode(part.events * 10_000)


def test_a_counter_counts_for_both() -> None:
    counter = native.Counter()
    assert list(itertools.islice(counter, 3)) == [1, 2, 3]
    assert iter(counter) is counter
    for type_ in (native.Counter, native.Encoder):
        with pytest.raises(TypeError):
            type("Derived", (type_,), {})


def test_an_encoder_and_all_that_it_holds_is_collected() -> None:
    connected = Connected(example_part(30))
    connected.connect().encode(connected.part.events[:100])  # tasks, steps and coroutines are open
    gone = weakref.ref(connected)
    del connected
    gc.collect()
    assert gone() is None


def test_memory_stays_flat() -> None:
    parts = [example_part(30, seed) for seed in range(3)] + [part_of(nested("overlapping", 40)), every_kind()]

    def write() -> None:
        for part in parts:
            connected = Connected(part)
            encoder = connected.connect()
            encoder.encode_base(part.events)
            encoder.encode(flat(part.events))
            encoder.forget_sites(part.sites)
            encoder.close_all(part.end_ns)
            encoder.flush()
            with pytest.raises(ValueError, match="seven"):
                encoder.encode([*part.events, ()])

    tracemalloc.start()
    try:
        for _ in range(20):  # until the interpreter's free lists are full
            write()
        gc.collect()
        before, _ = tracemalloc.get_traced_memory()
        for _ in range(30):
            write()
        gc.collect()
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert after - before < 60_000  # 150 encoders, of some kilobytes each


_WITHOUT_MEMORY = """
import _testcapi, sys
from tests.unit.formats.test_native_encoder import Connected, flat
from tests.unit.formats.test_fuzz import every_kind, part_of, nested
from tests.strategies_parts import example_part
from asynctrace.recorder import _native

failed = 0
for part in (every_kind(), example_part(8), part_of(nested("overlapping", 30))):
    fields = flat(part.events)
    for count in range(int(sys.argv[1])):
        connected = Connected(part)
        encoder = connected.connect()
        scanner = _native.Scanner()
        _testcapi.set_nomemory(count, count + 1 + count % 3)
        try:
            try:
                encoder.encode(fields)
                encoder.encode_base(part.events)
                encoder.label_tracks()
                encoder.close_all(part.end_ns)
                encoder.flush()
                scanner.scan(fields)
                native_counter = type(connected.tracks.new_uuid)()
                type(encoder)(print, 1, 0, native_counter)
            finally:
                _testcapi.remove_mem_hooks()
        except MemoryError:
            failed += 1
        del connected, encoder
print(failed)
"""


def test_it_may_run_out_of_memory_at_any_place() -> None:
    pytest.importorskip("_testcapi")
    command = [sys.executable, "-c", _WITHOUT_MEMORY, "150"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=Path(__file__).parents[3])
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 100


def test_a_long_encoding_can_be_interrupted() -> None:
    """As in Python: a signal's handler runs soon, and what it raises ends the encoding."""

    def interrupt(signum: int, frame: object) -> None:
        raise InterruptedError("enough")

    many = array("q", [START_NS, 1, kinds.LOOP_SEEN, 1, 0, 0, 0]) * 100_000

    def write(content: bytes) -> None:
        written.append(content)
        _thread.interrupt_main()

    written: list[bytes] = []
    encoder = native.Encoder(write, 1, START_NS, native.Counter())
    part = every_kind()
    tracks = ProcessTracks(part, native.Counter(), encoder.send, False)
    encoder.connect(*names_and_waits(part, encoder.send_on_sequence), tracks)
    before = signal.signal(signal.SIGINT, interrupt)
    try:
        with pytest.raises(InterruptedError, match="enough"):
            encoder.encode(many)
    finally:
        signal.signal(signal.SIGINT, before)
    assert len(written) == 1
