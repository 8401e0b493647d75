"""The recorder whose events are appended and held by the native core, some 6 bytes each."""

from __future__ import annotations

from array import array
from collections.abc import Callable

from asynctrace.recorder import _native
from asynctrace.recorder.fold import AnyFold
from asynctrace.recorder.native_fold import NativeFold
from asynctrace.recorder.reference import Recorder, ThreadState, TracedHooks
from asynctrace.recorder.stores import Store


class PackedStore:
    """The store of the native core: bytes, of which an event takes as many as it needs."""

    event_bytes = 8  # about
    is_moved_to_grow = False  # it is in blocks

    def __init__(self, core: _native.Core) -> None:
        self._core = core

    def __len__(self) -> int:
        return len(self._core)

    def take(self) -> list[bytes]:
        """Take all out, a piece for each block."""
        return self._core.take()

    def none(self) -> bytes:
        """Return no bytes."""
        return b""

    def settle(self, pending: bytes, taken: bytes, until_ns: int, start_ns: int) -> tuple[bytes, bytes]:
        """Sort and part; see `Store`."""
        return _native.settle(pending, taken, until_ns, start_ns)

    def count(self, taken: bytes) -> int:
        """Return how many events were taken."""
        return _native.count(taken)

    def fields(self, taken: bytes) -> array[int]:
        """Return the fields of what was taken."""
        return _native.unpack(taken, 0, _native.count(taken))

    def earliest_ns(self, taken: bytes) -> int:
        """Return the earliest time in what was taken."""
        return _native.earliest(taken)

    def open_fields(self) -> array[int]:
        """Return the fields of what is in it."""
        return self.fields(self._core.copy())

    @property
    def open_bytes(self) -> int:
        """What is in it takes so many bytes."""
        return self._core.nbytes

    def bytes_taken(self, taken: bytes) -> int:
        """Return how many bytes it takes."""
        return len(taken)

    def new_chunk(self) -> bytearray:
        """Return an empty chunk."""
        return bytearray()

    def add(self, packed: bytearray, settled: bytes, begin: int, end: int) -> None:
        """Add some settled events to a chunk."""
        packed += _native.slice(settled, begin, end)

    def bytes_of(self, packed: bytearray) -> int:
        """Return how many bytes a chunk takes."""
        return len(packed)

    def unpack(self, packed: bytearray, begin: int, end: int) -> array[int]:
        """Return the fields of some events of a chunk."""
        return _native.unpack(packed, begin, end)

    def new_fold(self) -> AnyFold:
        """Return what folds events in C."""
        return NativeFold()


class NativeRecorder(Recorder):
    """A `Recorder` whose hooks append in C."""

    def _make_store(self) -> Store:
        first_id = self.pid << 32
        tables = self.tables
        self.native_core = core = _native.Core(
            self.local, first_id, tables.codes, tables.site, tables.text, tables.names
        )
        self.local = core  # which gives the state of the current thread
        self.append, self.new_id = core.append, core.new_id
        return PackedStore(core)

    @property
    def attend_ns(self) -> int:
        """When hooks are to look after the keeper."""
        return self.native_core.attend_ns

    @attend_ns.setter
    def attend_ns(self, value: int) -> None:
        self.native_core.attend_ns = value

    @property
    def attend(self) -> Callable[[], None]:
        """What they call then."""
        return self.native_core.attend

    @attend.setter
    def attend(self, value: Callable[[], None]) -> None:
        self.native_core.attend = value

    @property
    def traced_hooks(self) -> TracedHooks | None:
        """What is told of decorated functions."""
        return self.native_core.traced_hooks

    @traced_hooks.setter
    def traced_hooks(self, value: TracedHooks | None) -> None:
        self.native_core.traced_hooks = value

    def new_thread_state(self) -> ThreadState:
        """Return the state of a thread that is none of the program's, and has the id 0."""
        return _native.ThreadState()

    def end(self) -> None:
        """Tell what was made to record, also in C, that the recording has ended."""
        self.native_core.is_open = False
        super().end()

    def _forget_places(self) -> None:
        self.native_core.forget_sites()
