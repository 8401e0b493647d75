"""What the children of test_processes.py run, and how the recording begins in them. No pytest: they are many."""

import multiprocessing
import os
import sys
import time

from asynctrace.events import CALL_FUNCTION
from asynctrace.probes.calls import close_call, open_call
from asynctrace.probes.failure import Guard
from asynctrace.probes.processes import ProcessProbe
from asynctrace.probes.sleeping import SleepProbe
from asynctrace.recorder import Recorder

live = []  # the probes of this process
stopped = []


def stop() -> None:
    stopped.append(os.getpid())


def begin(recorder: Recorder, options: dict) -> ProcessProbe:
    guard = Guard(stop)
    processes = ProcessProbe(recorder, guard, f"{__name__}:start", f"{__name__}:stop", options)
    live[:] = [processes, SleepProbe(recorder, guard)]
    for probe in live:
        probe.install()
    return processes


def end() -> None:
    for probe in live:
        probe.remove()
    live.clear()


def start(options: dict, is_fork: bool) -> Recorder:
    assert options == {"functions": True}
    recorder = Recorder()
    if is_fork:
        for probe in live:
            probe.recorder = recorder
    else:
        begin(recorder, options)
    return recorder


def fail_to_start(options: dict, is_fork: bool) -> Recorder:
    raise ValueError("no recording here")


def work(number: int = 0) -> int:
    time.sleep(0.001)
    return number * 2


def fail() -> None:
    raise LookupError("on purpose")


def leave() -> None:
    work()
    sys.exit(3)


def die() -> None:
    work()
    os._exit(4)


def own_attributes(queue) -> None:
    queue.put(sorted(name for name in vars(multiprocessing.current_process()) if "asynctrace" in name))


def parent_of(method: str) -> None:
    child = multiprocessing.get_context(method).Process(target=work)
    child.start()
    child.join()


class Own(multiprocessing.Process):
    """A process with a `run` of its own; what it calls is recorded, and saved at its end."""

    def run(self) -> None:
        for _ in range(3):
            recorder = live[0].recorder
            close_call(open_call(recorder, CALL_FUNCTION, recorder.text("step")))


def unpicklable_result() -> object:
    return lambda: None


def initialize() -> None:
    pass
