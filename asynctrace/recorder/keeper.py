"""The keeper: a thread of ours that settles what hooks have appended, keeps it within its bound and feeds its sinks.

The program must not see it. It is no thread of `threading`'s, works in pieces of about a millisecond, and lets go of
the interpreter between them; a recording of few events that nobody streams does without. A process that forks must
have no other thread (Python 3.12+ warns of one): the keeper leaves before a fork, and comes back when a hook asks.
"""

from __future__ import annotations

import _thread
import os
from collections import deque
from collections.abc import Callable, Iterator

from asynctrace import clock
from asynctrace.recorder.reference import Recorder

INTERVAL_S = 0.1
_BREATH_S = 0.0005
_GONE_WITHIN_S = 1.0
_BYTES_PER_S = (
    1_600_000_000  # far more than a busy program makes: the keeper has to look several times before it is full
)
_HELP_NS = 2_000_000  # that a hook gives at a time
# Events for a sink in one piece of work: of about a millisecond; and of more than the interpreter's switch interval,
# for at each write the program may take its turn, which is 5 ms at least when it has always something to do.
_FEW_AT_ONCE = 400
_MANY_AT_ONCE = 4_000


class Keeper:
    """Looks after one recorder.

    Args:
        recorder: The recorder.
        check: What a failure of ours is told to.
    """

    def __init__(self, recorder: Recorder, check: Callable[[BaseException], object]) -> None:
        self.recorder = recorder
        self.jobs: deque[Iterator[None]] = deque()  # done beside the sinks
        self.watches: list[Callable[[], None]] = []  # called at every turn
        self._check = check
        self._wake = _thread.allocate_lock()  # held, but when somebody wakes the keeper
        self._gone = _thread.allocate_lock()  # held while the thread runs
        self._native_id = 0
        # The smaller the bound, the sooner a busy program has filled it.
        self._interval_s = min(INTERVAL_S, max(_BREATH_S, recorder.history.limit_bytes / _BYTES_PER_S))
        self._is_behind = False
        self._is_wanted = False
        self._marked_ns = self._settled_ns = recorder.start_ns
        self._wake.acquire()
        recorder.attend, recorder.detach = self.attend, self.leave

    def attend(self) -> None:
        """Start the thread if there is anything to do, or help it where it is behind; hooks ask until it runs."""
        if self._is_wanted:
            self._help()
        elif self.recorder.sinks or self.watches or self.recorder.history.is_worth_taking():
            self.start()

    def start(self) -> None:
        """Start the thread."""
        if not self._gone.acquire(False):  # it runs; or another thread's hook asks for it, too
            return
        self._is_wanted, self.recorder.is_unattended = True, False
        self._is_behind = True  # the first turn is at once
        try:
            _thread.start_new_thread(self._run, ())
        except BaseException as error:
            self._gone.release()
            if not isinstance(error, RuntimeError) or "shutdown" not in str(error):
                raise  # else the program is about to end, and there is nothing left to look after

    def _help(self) -> None:
        """Do some of the keeper's work, on a thread of the program's."""
        recorder = self.recorder
        begin_ns = clock.now_ns()
        recorder.take()
        for _ in recorder.settling(self._appended_until(begin_ns)):
            if clock.now_ns() - begin_ns > _HELP_NS:
                return
        while clock.now_ns() - begin_ns < _HELP_NS:
            if not recorder.drop_oldest():
                recorder.is_unattended = False
                return

    def _appended_until(self, now_ns: int) -> int:
        """Return a time so long ago that what threads stamped until then has been appended since."""
        if now_ns - self._marked_ns >= self._interval_s * 1e9:
            self._settled_ns, self._marked_ns = self._marked_ns, now_ns
        return self._settled_ns

    def stop(self) -> None:
        """Have the thread end, and wait for that; not from the thread itself."""
        self._is_wanted = self.recorder.is_unattended = False
        if not self._gone.locked() or self._native_id == _thread.get_native_id():
            return
        self.wake()
        if self._gone.acquire(True, _GONE_WITHIN_S):
            self._gone.release()

    def leave(self) -> None:
        """Be away until there is something to do, and a hook asks: from the beginning, and for the time of a fork."""
        if self._is_wanted:
            self.stop()
            self._wait_for_system()
        self.recorder.is_unattended = True

    def wake(self) -> None:
        """Have a turn at once. Takes no lock that anybody waits for: a signal's handler may call this."""
        try:
            self._wake.release()
        except RuntimeError:
            pass  # awake already

    def _wait_for_system(self) -> None:
        # Python counts threads by what the system says, which may still have it for a moment.
        path = f"/proc/self/task/{self._native_id}"
        deadline_ns = clock.now_ns() + int(_GONE_WITHIN_S * 1e9)
        while os.path.exists(path) and clock.now_ns() < deadline_ns:
            self._wake.acquire(True, _BREATH_S)

    def _run(self) -> None:
        self._native_id = _thread.get_native_id()
        # What a finalizer that happens to run here brings about is of no thread of the program's.
        self.recorder.local.state = self.recorder.new_thread_state()
        try:
            while self._has_to_go_on():
                self._wake.acquire(True, 0.0 if self.jobs or self._is_behind else self._interval_s)
                is_in_a_hurry = self._is_behind
                for _ in self._turn(is_in_a_hurry):
                    if not self._has_to_go_on():
                        break
                    if not is_in_a_hurry:
                        self._wake.acquire(True, _BREATH_S)
        except BaseException as error:
            self._is_wanted = False
            try:
                self._check(error)
            except BaseException:
                pass  # of no hook: there is no program above to tell
        finally:
            self._gone.release()

    def _has_to_go_on(self) -> bool:
        return self._is_wanted

    def _turn(self, is_in_a_hurry: bool) -> Iterator[None]:
        recorder = self.recorder
        begin_ns = clock.now_ns()
        recorder.take()
        if recorder.sinks or self.watches or recorder.history.is_worth_settling():
            for _ in recorder.settling(self._appended_until(begin_ns)):
                self._ask_for_help()
                yield
        for watch in self.watches:
            watch()
        yield
        self._is_behind = False
        for sink in list(recorder.sinks):
            for _ in sink.take(_MANY_AT_ONCE if is_in_a_hurry else _FEW_AT_ONCE):
                recorder.drop_oldest()
                self._go_on_with_a_job()
                yield
                # What came meanwhile has to be settled and bounded; the next turn does not wait between its pieces.
                if clock.now_ns() - begin_ns > 2 * self._interval_s * 1e9:
                    self._is_behind = True
                    break
        while recorder.drop_oldest():
            self._ask_for_help()
            yield
        self._ask_for_help()
        while self.jobs and clock.now_ns() - begin_ns < self._interval_s * 1e9:
            self._go_on_with_a_job()
            yield

    def _ask_for_help(self) -> None:
        if self._is_wanted and self.recorder.history.is_far_over_limit():
            self.recorder.is_unattended = True

    def _go_on_with_a_job(self) -> None:
        try:
            if self.jobs:
                next(self.jobs[0])
        except StopIteration:
            self.jobs.popleft()
