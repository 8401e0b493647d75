"""Loops that are recorded from their first moment: run, new_event_loop, and the policy where Python has policies."""

from __future__ import annotations

import asyncio
import atexit
import os
import sys
from asyncio import events as _events
from collections.abc import Callable, Coroutine
from os import PathLike
from pathlib import Path
from typing import Any, TypeVar

from asynctrace import stream
from asynctrace.cores import RECORDER, native_module
from asynctrace.errors import UsageError
from asynctrace.probes.failure import logger
from asynctrace.probes.loop import make_probe, probe_of
from asynctrace.recording import Recording, output_path
from asynctrace.termination import save_on_sigterm

T = TypeVar("T")

_OUTPUT = "ASYNCTRACE_OUTPUT"
_LOOP = "ASYNCTRACE_LOOP"


def run(
    main: Coroutine[Any, Any, T],
    *,
    output: str | PathLike[str] | None = None,
    debug: bool | None = None,
    loop_factory: Callable[[], asyncio.AbstractEventLoop] | None = None,
) -> T:
    """Run a coroutine as asyncio.run does, recorded.

    Args:
        main: The coroutine.
        output: The file to save the trace to; `{pid}` is replaced. Without it ASYNCTRACE_OUTPUT, if set.
        debug: As for asyncio.run.
        loop_factory: What makes the loop; else ASYNCTRACE_LOOP (such as uvloop), else asyncio's own.

    Returns:
        What the coroutine returns.

    Raises:
        UsageError: If a loop is running in this thread already, or `output` cannot be written.
    """
    try:
        if _events._get_running_loop() is not None:
            raise UsageError("a loop is already running: use `with asynctrace.record() as recording: await main()`")
        factory = loop_factory or _inner_factory()
        path = Path(output_path(output)) if output is not None else None
        recording = Recording(output=path)
        if path is not None:
            recording.start()
    except UsageError:
        if isinstance(main, Coroutine):
            main.close()  # it will not be awaited, and that is said here
        raise
    try:
        with asyncio.Runner(debug=debug, loop_factory=lambda: _instrumented(factory())) as runner:
            return runner.run(main)
    finally:
        if path is not None:
            recording.stop()
            _save(recording, path)


def new_event_loop() -> asyncio.AbstractEventLoop:
    """Return a new loop that any recording sees from its first task.

    For `asyncio.Runner(loop_factory=…)` and `uvicorn --loop asynctrace:new_event_loop`. With ASYNCTRACE_OUTPUT set
    to a file, the first loop starts a recording of this process, saved at its exit; ASYNCTRACE_LOOP=uvloop picks the
    loop that it is made from.
    """
    return _instrumented(_inner_factory()())


def _inner_factory() -> Callable[[], asyncio.AbstractEventLoop]:
    name = os.environ.get(_LOOP, "asyncio")
    if name in ("", "asyncio"):
        return _plain_loop
    if name == "uvloop":
        try:
            import uvloop
        except ImportError as error:
            raise UsageError(f"{_LOOP}=uvloop, but uvloop is not installed: pip install uvloop") from error
        return uvloop.new_event_loop
    raise UsageError(f"{_LOOP}={name}: only asyncio and uvloop are known")


def _plain_loop() -> asyncio.AbstractEventLoop:
    policy = _current_policy()
    if EventLoopPolicy is not None and isinstance(policy, EventLoopPolicy):
        return policy.inner_loop()
    return asyncio.new_event_loop()


def _current_policy() -> Any:
    # Not asyncio.get_event_loop_policy(), which warns since 3.14.
    return getattr(_events, "_event_loop_policy", None)


def _instrumented(loop: asyncio.AbstractEventLoop) -> asyncio.AbstractEventLoop:
    _start_by_environment()
    try:
        _keep_shims(loop)
    except BaseException as error:
        stream.check_failure(error)
    running = stream.current
    if running is not None and running.is_running:
        running.guard(running.meet_loop, loop)
    return loop


def _keep_shims(loop: asyncio.AbstractEventLoop) -> None:
    probe = probe_of(loop)
    if probe is None:
        probe = make_probe(loop, native_module(RECORDER))
        try:
            probe.install(loop)
        except BaseException:
            probe.remove()
            raise
    probe.is_permanent = True


# A recording that the environment asks for: one for the process, from its first loop to its exit.

_by_environment: tuple[int, Recording, Path] | None = None


def _start_by_environment() -> None:
    global _by_environment
    named = os.environ.get(_OUTPUT)
    if not named or (_by_environment is not None and _by_environment[0] == os.getpid()):
        return
    from asynctrace.settings import from_environment

    path = Path(output_path(named))
    try:
        options, limit_disk_bytes = from_environment(os.environ, str(path))
        recording = Recording(options, output=path, limit_disk_bytes=limit_disk_bytes)
        _by_environment = os.getpid(), recording, path
        if not path.parent.is_dir():
            raise UsageError(f"{_OUTPUT}={named}: the folder {path.parent} does not exist")
        recording.start()
    except UsageError as error:
        _by_environment = os.getpid(), Recording(), path
        logger.warning("%s, nothing is recorded", error)
        return
    atexit.register(_save_by_environment)
    multiprocessing = sys.modules.get("multiprocessing.util")
    if multiprocessing is not None:
        # A worker process of multiprocessing leaves by os._exit: atexit's handlers do not run there.
        multiprocessing.Finalize(None, _save_by_environment, exitpriority=0)
    save_on_sigterm(_save_by_environment)


def _save_by_environment() -> None:
    if _by_environment is None or _by_environment[0] != os.getpid():
        return
    _, recording, path = _by_environment
    if recording.is_running:
        recording.stop()
        _save(recording, path)


def _save(recording: Recording, path: Path) -> None:
    """Save; a failure is told and never harms the program, which has run."""
    try:
        recording.save_output()
    except Exception as error:
        logger.warning("the trace could not be saved to %s: %s", path, error)


_PolicyBase: Any = getattr(_events, "_AbstractEventLoopPolicy", None) or vars(_events).get("AbstractEventLoopPolicy")

if _PolicyBase is not None:

    class EventLoopPolicy(_PolicyBase):  # type: ignore[misc]  # the base is looked up, for it is private since 3.14
        """A policy whose loops are recorded; everything else is the inner policy's.

        Policies are deprecated since Python 3.14 and gone in 3.16: prefer `new_event_loop`.

        Args:
            inner: The policy that makes the loops; by default the one that is in force.
        """

        def __init__(self, inner: Any = None) -> None:
            get_policy = getattr(_events, "_get_event_loop_policy", None) or _events.get_event_loop_policy
            self._inner = inner if inner is not None else get_policy()

        def inner_loop(self) -> asyncio.AbstractEventLoop:
            """Return a new loop of the inner policy, without a probe."""
            loop: asyncio.AbstractEventLoop = self._inner.new_event_loop()
            return loop

        def new_event_loop(self) -> asyncio.AbstractEventLoop:
            return _instrumented(self.inner_loop())

        def get_event_loop(self) -> asyncio.AbstractEventLoop:
            return _instrumented(self._inner.get_event_loop())

        def set_event_loop(self, loop: asyncio.AbstractEventLoop | None) -> None:
            self._inner.set_event_loop(loop)

        def get_child_watcher(self) -> Any:
            return self._inner.get_child_watcher()

        def set_child_watcher(self, watcher: Any) -> None:
            self._inner.set_child_watcher(watcher)

        def __getattr__(self, name: str) -> Any:
            return getattr(self._inner, name)

else:
    EventLoopPolicy = None  # type: ignore[assignment, misc]
