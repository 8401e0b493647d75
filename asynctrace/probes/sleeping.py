"""`time.sleep`, recorded exactly, also where it was imported by name before us.

What stands in for it is an object, no function: as an attribute of a class a function would become a method, which
the real one does not.
"""

from __future__ import annotations

import itertools
import operator
import sys
import time
from types import BuiltinFunctionType, ModuleType
from typing import Any

from asynctrace import clock
from asynctrace.events import BLOCKING_FINISHED, BLOCKING_STARTED
from asynctrace.probes.calls import innermost_of
from asynctrace.probes.failure import Guard
from asynctrace.probes.targets import note_stand_in
from asynctrace.probes.tracebacks import drop_our_frame
from asynctrace.recorder import Recorder


class SleepProbe:
    """Stands in for `time.sleep` while it is installed. `recorder` may be set anew in a forked child."""

    def __init__(self, recorder: Recorder, guard: Guard) -> None:
        self.recorder: Recorder | None = recorder
        self.guard = guard
        self._stand_in: _Sleep | None = None

    def install(self) -> None:
        """Replace `time.sleep` and every module global that is it."""
        real = time.sleep
        if type(real) is not BuiltinFunctionType:
            return  # a test's fake clock, or gevent's: nothing blocks there
        self._stand_in = _Sleep(real, self)
        _replace(real, self._stand_in)

    def remove(self) -> None:
        """Record no more; put the real one back wherever ours still is."""
        self.recorder = None
        if self._stand_in is not None:
            _replace(self._stand_in, self._stand_in._asynctrace_real)
            self._stand_in = None


class _Sleep:
    """Looks and pickles like the built-in function."""

    __slots__ = ("_asynctrace_probe", "_asynctrace_real")

    def __init__(self, real: Any, probe: SleepProbe) -> None:
        self._asynctrace_real = real
        self._asynctrace_probe = probe

    def __call__(self, *args: Any, **kwargs: Any) -> None:
        probe = self._asynctrace_probe
        recorder = probe.recorder
        state = subject = None
        if recorder is not None:
            try:
                state = recorder.local.state
                subject = innermost_of(state)
                if subject:
                    frame = sys._getframe(1)
                    recorder.append(
                        (
                            clock.now_ns(),
                            state.id,
                            BLOCKING_STARTED,
                            subject,
                            recorder.site(frame.f_code),
                            recorder.text("time.sleep"),
                            frame.f_lasti,
                        )
                    )
            except BaseException as error:
                probe.guard.check(error)
                subject = None
        try:
            self._asynctrace_real(*args, **kwargs)
        except BaseException as error:
            drop_our_frame(error)
            raise
        finally:
            if subject:
                try:
                    recorder.append(  # type: ignore[union-attr]
                        (clock.now_ns(), state.id, BLOCKING_FINISHED, subject, 0, 0, 0)  # type: ignore[union-attr]
                    )
                except BaseException as error:
                    probe.guard.check(error)

    @property  # type: ignore[misc]  # typeshed lets it be assigned to
    def __class__(self) -> Any:
        return BuiltinFunctionType

    def __getattr__(self, name: str) -> Any:
        return getattr(self._asynctrace_real, name)

    @property
    def __doc__(self) -> Any:  # type: ignore[override]
        return self._asynctrace_real.__doc__

    @property
    def __module__(self) -> Any:  # type: ignore[override]
        return self._asynctrace_real.__module__

    def __eq__(self, other: object) -> bool:
        return other is self or other is self._asynctrace_real

    def __hash__(self) -> int:
        return hash(self._asynctrace_real)

    def __repr__(self) -> str:
        return repr(self._asynctrace_real)

    def __reduce__(self) -> Any:
        # By its name, as the real one: a process without us finds the real one there. After the end of the recording
        # a reference that was kept is not what the name says any more: then the real one goes.
        return "sleep" if time.sleep is self else (getattr, (_ByName("time"), "sleep"))

    def __reduce_ex__(self, protocol: Any) -> Any:
        return self.__reduce__()


class _ByName:
    """Pickles as the module of this name."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __reduce__(self) -> Any:
        return __import__, (self._name,)


note_stand_in(_Sleep, "_asynctrace_real")


def _replace(old: Any, new: Any) -> None:
    """Put `new` for `old` in the globals of every module. A lazy module is not loaded for that."""
    for module in list(sys.modules.values()):
        if not issubclass(type(module), ModuleType):
            continue
        names = object.__getattribute__(module, "__dict__")
        if not any(map(operator.is_, list(names.values()), itertools.repeat(old))):
            continue  # quick: there are some ten thousands of names in a large program
        for name, value in list(names.items()):
            if value is old:
                names[name] = new
