"""Run one module of CPython's own `test.test_asyncio` and say how each test ended; recorded or not.

    python tests/tools/asyncio_suite.py (plain | recorded) OUTPUT MODULE [TEST…]

OUTPUT gets one JSON object a line: {"begun": id} before a test, {"test": id, "outcome": …, "detail": traceback} after
it, and at the end {"loops": made, "unshimmed": of these without shims, "seen": loops of the trace, "tasks": …}.
"""
# ruff: noqa: N802 (unittest names these methods)

from __future__ import annotations

import asyncio
import functools
import json
import sys
import unittest
from asyncio import base_events, selector_events
from pathlib import Path
from typing import Any, TextIO

from integration.trace_rules import check

from asynctrace import stream
from asynctrace.probes.loop import probe_of
from asynctrace.recording import Recording


class Result(unittest.TestResult):
    """Writes a line for each test, at once: a module that hangs has said what it did."""

    def __init__(self, output: TextIO) -> None:
        super().__init__()
        self._output = output
        self._found: list[tuple[str, str]] = []

    def say(self, **told: Any) -> None:
        self._output.write(json.dumps(told) + "\n")
        self._output.flush()

    def startTest(self, test: unittest.TestCase) -> None:
        super().startTest(test)
        self._found = []
        self.say(begun=test.id())

    def stopTest(self, test: unittest.TestCase) -> None:
        super().stopTest(test)
        self._end(test.id())

    def _end(self, name: str) -> None:
        outcomes = sorted(outcome for outcome, _ in self._found) or ["passed"]
        self.say(test=name, outcome=", ".join(outcomes), detail="\n".join(detail for _, detail in self._found))

    def _note(self, test: Any, outcome: str, detail: str) -> None:
        self._found.append((outcome, detail))
        if isinstance(test, unittest.suite._ErrorHolder):  # setUpClass and the like: no test began
            self._end(test.id())
            self._found = []

    def addSkip(self, test: unittest.TestCase, reason: str) -> None:
        self._note(test, "skipped", reason)

    def addError(self, test: unittest.TestCase, err: Any) -> None:
        self._note(test, f"error {err[0].__name__}", self._exc_info_to_string(err, test))

    def addFailure(self, test: unittest.TestCase, err: Any) -> None:
        self._note(test, "failed", self._exc_info_to_string(err, test))

    def addExpectedFailure(self, test: unittest.TestCase, err: Any) -> None:
        self._note(test, "expected failure", "")

    def addUnexpectedSuccess(self, test: unittest.TestCase) -> None:
        self._note(test, "unexpected success", "")

    def addSubTest(self, test: unittest.TestCase, subtest: unittest.TestCase, err: Any) -> None:
        if err is not None:
            kind = "failed" if issubclass(err[0], test.failureException) else f"error {err[0].__name__}"
            self._note(subtest, f"{kind} {subtest.id()}", self._exc_info_to_string(err, test))


class Loops:
    """Has each loop met as soon as it is made, on whatever road: tests make loops of their own classes, and mocks."""

    def __init__(self) -> None:
        self.made = 0
        self.unshimmed = 0

    def install(self) -> None:
        for owner in (base_events.BaseEventLoop, selector_events.BaseSelectorEventLoop):
            owner.__init__ = self._met_after(owner, owner.__init__)  # type: ignore[method-assign]

    def _met_after(self, owner: type, original: Any) -> Any:
        @functools.wraps(original)
        def met(loop: asyncio.AbstractEventLoop, *args: Any, **keywords: Any) -> None:
            original(loop, *args, **keywords)
            if owner is base_events.BaseEventLoop and isinstance(loop, selector_events.BaseSelectorEventLoop):
                return  # it has no selector yet
            running = stream.current
            assert running is not None
            running.guard(running.meet_loop, loop)
            self.made += 1
            self.unshimmed += probe_of(loop) is None

        return met


def main(way: str, output: str, module: str, *tests: str) -> None:
    with Path(output).open("w") as file:
        result = Result(file)
        try:
            suite = unittest.defaultTestLoader.loadTestsFromNames(tests or (module,))
        except unittest.SkipTest as reason:
            result.say(test=module, outcome="skipped", detail=str(reason))
            return
        if way == "plain":
            suite.run(result)
            return
        loops = Loops()
        loops.install()
        with Recording() as recording:
            suite.run(result)
            assert not stream.current.guard.has_failed, "a hook failed, see the log"
        trace = recording.trace
        check(trace)
        result.say(loops=loops.made, unshimmed=loops.unshimmed, seen=len(trace.loops), tasks=len(trace.tasks))


if __name__ == "__main__":
    main(*sys.argv[1:])
