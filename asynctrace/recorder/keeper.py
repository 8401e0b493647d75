"""The keeper: a thread of ours that settles what hooks have appended, keeps it within its bound and feeds its sinks.

The program must not see it. It is no thread of `threading`'s, works in pieces of about a millisecond, and lets go of
the interpreter between them; a recording of few events that nobody streams does without. A process that forks must
have no other thread (Python 3.12+ warns of one): the keeper leaves before a fork, and comes back when a hook asks.

A thread that waits for the interpreter asks for it only when nobody let go of it for 5 ms. A busy loop lets go at every
turn, for a system call of a microsecond, and has it back before the other thread is awake: that one waits for ever. So
hooks look whether the keeper is late (`Recorder.attend_ns`), and then wait for it to have done a piece of its work.
"""

from __future__ import annotations

import _thread
import os
from collections import deque
from collections.abc import Callable, Iterator

from asynctrace import clock
from asynctrace.recorder.reference import Recorder, Sink

INTERVAL_S = 0.1
_BREATH_S = 0.0005
_GONE_WITHIN_S = 1.0
_BYTES_PER_S = (
    1_600_000_000  # far more than a busy program makes: the keeper has to look several times before it is full
)
_NEVER_NS = 1 << 62
_LATE_AT_WORK_NS = 1_000_000  # after a piece of its work: half of the time is the program's
_LATE_AT_JOBS_NS = 10_000_000  # the same where only jobs are left, which may take their time
_BEHIND_NS = 400_000_000  # since it had come after the program: now all of the time is the keeper's
_LET_IN_S = 0.005  # that a hook waits for it at the most
_PIECE_NS = 1_000_000  # that a piece of work for a sink should take
_FEWEST_AT_ONCE, _MOST_AT_ONCE = 100, 8_000  # events


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
        self._done = _thread.allocate_lock()  # held, but after a piece of work
        self._native_id = 0
        # The smaller the bound, the sooner a busy program has filled it.
        self._interval_s = min(INTERVAL_S, max(_BREATH_S, recorder.history.limit_bytes / _BYTES_PER_S))
        self._interval_ns = int(self._interval_s * 1e9)
        self._is_behind = self._has_only_jobs = False
        self._at_once = 400  # events for a sink in one piece of work
        self._is_wanted = False
        self._marked_ns = self._settled_ns = recorder.start_ns
        self._abreast_ns = 0  # when there was nothing left to settle, and to feed to sinks
        self._vain = 0  # how often a hook has waited for it in a row, and it has done nothing
        self._wake.acquire()
        self._done.acquire()
        recorder.attend, recorder.detach = self.attend, self.leave

    def attend(self) -> None:
        """Start the thread if there is anything to do; where it does not get its turn, let it have one.

        Called by hooks, when `attend_ns` is past.
        """
        if self._is_wanted:
            self._let_in()
        elif self.recorder.sinks or self.watches or self.recorder.history.is_worth_taking():
            self.start()
        else:
            self.recorder.attend_ns = clock.now_ns() + self._interval_ns

    def start(self) -> None:
        """Start the thread."""
        if self.recorder.pid != os.getpid():  # a forked child that has not begun yet: what is here is the parent's
            return
        if not self._gone.acquire(False):  # it runs; or another thread's hook asks for it, too
            return
        self._abreast_ns = clock.now_ns()
        self._is_wanted, self.recorder.attend_ns = True, self._abreast_ns + _LATE_AT_WORK_NS
        self._is_behind = True  # the first turn is at once
        try:
            _thread.start_new_thread(self._run, ())
        except BaseException as error:
            self._gone.release()
            if not isinstance(error, RuntimeError) or "shutdown" not in str(error):
                raise  # else the program is about to end, and there is nothing left to look after

    def _let_in(self) -> None:
        """Wait for the thread to do a piece of its work, on a thread of the program's."""
        if self._native_id == _thread.get_native_id():  # a finalizer that happens to run there
            return
        # It may take longer for its piece, and has to come in again soon. Or it waits for the disk: this is in vain.
        pause_ns = min(int(_LET_IN_S * 1e9) << self._vain, self._interval_ns)
        self.recorder.attend_ns = clock.now_ns() + pause_ns
        self._vain = min(self._vain + 1, 10)
        self._done.acquire(False)
        self.wake()
        self._done.acquire(True, _LET_IN_S)

    def _piece_is_done(self, is_last: bool) -> None:
        recorder, now_ns = self.recorder, clock.now_ns()
        self._vain = 0
        if not self._is_wanted:
            return
        if recorder.history.is_far_over_limit() or now_ns - self._abreast_ns > _BEHIND_NS:
            recorder.attend_ns = 0
        elif self._is_behind or not (is_last or self._has_only_jobs):
            recorder.attend_ns = now_ns + _LATE_AT_WORK_NS
        elif self.jobs:
            recorder.attend_ns = now_ns + _LATE_AT_JOBS_NS
        else:
            recorder.attend_ns = now_ns + 2 * self._interval_ns  # it does not get its turn when it is time to look
        try:
            self._done.release()
        except RuntimeError:
            pass  # nobody has waited for the last one

    def _appended_until(self, now_ns: int) -> int:
        """Return a time so long ago that what threads stamped until then has been appended since."""
        if now_ns - self._marked_ns >= self._interval_ns:
            self._settled_ns, self._marked_ns = self._marked_ns, now_ns
        return self._settled_ns

    def stop(self) -> None:
        """Have the thread end, and wait for that; not from the thread itself."""
        self._is_wanted, self.recorder.attend_ns = False, _NEVER_NS
        if not self._gone.locked() or self._native_id == _thread.get_native_id():
            return
        self.wake()
        if self._gone.acquire(True, _GONE_WITHIN_S):
            self._gone.release()
        self.recorder.attend_ns = _NEVER_NS

    def leave(self) -> None:
        """Be away until there is something to do, and a hook asks: from the beginning, and for the time of a fork."""
        if self._is_wanted:
            self.stop()
            self._wait_for_system()
        self.recorder.attend_ns = 0

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
                for _ in self._turn():
                    if not self._has_to_go_on():
                        break
                    self._piece_is_done(is_last=False)
                    if not is_in_a_hurry:
                        self._wake.acquire(True, _BREATH_S)
                self._piece_is_done(is_last=True)
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

    def _turn(self) -> Iterator[None]:
        recorder = self.recorder
        begin_ns = clock.now_ns()
        self._has_only_jobs = False
        recorder.take()
        if recorder.sinks or self.watches or recorder.history.is_worth_settling():
            for _ in recorder.settling(self._appended_until(begin_ns)):
                yield
        for watch in self.watches:
            watch()
        yield
        self._is_behind = False
        for sink in list(recorder.sinks):
            while self._feed(sink):
                recorder.drop_oldest()
                self._go_on_with_a_job()
                yield
                # What came meanwhile has to be settled and bounded; the next turn does not wait between its pieces.
                if clock.now_ns() - begin_ns > 2 * self._interval_ns:
                    self._is_behind = True
                    break
        if not self._is_behind:
            self._abreast_ns = clock.now_ns()
        while recorder.drop_oldest():
            yield
        self._has_only_jobs = not self._is_behind
        while self.jobs and clock.now_ns() - begin_ns < self._interval_ns:
            self._go_on_with_a_job()
            yield

    def _feed(self, sink: Sink) -> bool:
        begin_ns = clock.now_ns()
        may_be_more = sink.take(self._at_once)
        took_ns = clock.now_ns() - begin_ns
        if took_ns > 2 * _PIECE_NS:
            self._at_once = max(_FEWEST_AT_ONCE, self._at_once // 2)
        elif took_ns < _PIECE_NS // 2 and may_be_more:
            self._at_once = min(_MOST_AT_ONCE, self._at_once * 2)
        return may_be_more

    def _go_on_with_a_job(self) -> None:
        try:
            if self.jobs:
                next(self.jobs[0])
        except StopIteration:
            self.jobs.popleft()
