"""Ratios of traced to untraced programs, from measurements that take turns."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal

from asynctrace import cores
from asynctrace.cores import Core
from benchmarks.peers import PEERS

Clock = Literal["wall", "cpu"]
CORES: tuple[Core, ...] = ("native", "python")
TIMEOUT_S = 120.0  # of one measurement, which takes seconds


@dataclass(frozen=True)
class Case:
    """One row: a workload, what asynctrace is asked to see, and the ratio that each core must keep."""

    title: str
    workload: str
    ours: str
    goals: dict[Core, float]
    has_peers: bool = True
    is_rate: bool = False  # requests/s kept, of which more is better; else times as long

    def goal(self, core: Core) -> str:
        return f"{'≥' if self.is_rate else '≤'} {self.goals[core]:g}"


CASES = (
    Case("storm, decorated coroutine", "storm", "decorated", {"native": 1.35, "python": 4}, has_peers=False),
    Case("storm, every coroutine", "storm", "every", {"native": 1.6, "python": 8}),
    Case("spawn, every coroutine", "spawn", "every", {"native": 1.5, "python": 8}),
    Case("HTTP, requests/s kept", "http", "every", {"native": 0.97, "python": 0.5}, is_rate=True),
    Case("HTTP on uvloop, kept", "http-uvloop", "every", {"native": 0.85, "python": 0.4}, is_rate=True),
    Case("decorated, not recording", "storm", "idle", {"native": 1.01, "python": 1.05}, has_peers=False),
)


@dataclass(frozen=True)
class Ratio:
    """The median ratio of several turns, with the lowest and the highest."""

    median: float
    low: float
    high: float

    def __str__(self) -> str:
        digits = 2 if self.median < 9.995 else 1
        return f"{self.median:.{digits}f} ({self.low:.{digits}f}–{self.high:.{digits}f})"


@dataclass(frozen=True)
class Failed:
    """Why there is no ratio."""

    reason: str


Found = dict[str, Ratio | Failed]  # by core, for asynctrace, and by peer


class MeasurementError(Exception):
    """A measurement that did not come to its end, and why."""


def ratios(
    case: Case, turns: int, times: int, clock: Clock, tools: Iterable[str], progress: Callable[[str], None]
) -> Found:
    """Return the ratio of each tool in one case, or why there is none.

    In each turn every tool runs once, in a process of its own, and is held against the untraced run of the same turn:
    what the machine does besides changes slowly, and strikes both.

    Args:
        case: What is measured.
        turns: How often the tools take turns.
        times: Runs in a turn, of which the median counts.
        clock: Whose seconds.
        tools: Cores, and keys of PEERS.
        progress: Is told what is measured next.
    """
    found: Found = {}
    values: dict[str, list[float]] = {}
    for tool in tools:
        if tool in CORES or (case.has_peers and PEERS[tool].is_installed):
            values[tool] = []
        elif case.has_peers:
            found[tool] = Failed("it is not installed here")
    for turn in range(turns):
        progress(f"{case.title}, turn {turn + 1} of {turns}: untraced")
        try:
            untraced = seconds(case.workload, "untraced", times)[clock]
        except MeasurementError as error:
            return dict.fromkeys(values, Failed(f"the program itself failed: {error}")) | found
        for tool in [tool for tool in values if tool not in found]:
            progress(f"{case.title}, turn {turn + 1} of {turns}: {tool}")
            try:
                traced = (
                    seconds(case.workload, case.ours, times, core=tool)[clock]
                    if tool in CORES
                    else seconds(case.workload, tool, times)[clock]
                )
            except MeasurementError as error:
                found[tool] = Failed(str(error))  # once is enough: no median of those turns that went well
                continue
            values[tool].append(untraced / traced if case.is_rate else traced / untraced)
    for tool, numbers in values.items():
        if tool not in found and numbers:
            found[tool] = Ratio(statistics.median(numbers), min(numbers), max(numbers))
    return found


def seconds(workload: str, tool: str, times: int, core: str | None = None) -> dict[Clock, float]:
    """Return what one measurement took by each clock.

    Raises:
        MeasurementError: If it failed, with the last line of what it said.
    """
    output = output_of("benchmarks.measure", workload, tool, str(times), core=core)
    wall, cpu = json.loads(output.splitlines()[-1])
    return {"wall": wall, "cpu": cpu}


def output_of(module: str, *arguments: str, core: str | None = None, timeout_s: float = TIMEOUT_S) -> str:
    """Return what a module prints that runs in a fresh Python, with one of asynctrace's cores.

    Raises:
        MeasurementError: If it fails or takes longer than that.
    """
    environment = {**os.environ, cores.VARIABLE: core} if core else None
    command = [sys.executable, "-m", module, *arguments]
    try:
        ran = subprocess.run(command, capture_output=True, text=True, check=False, env=environment, timeout=timeout_s)
    except subprocess.TimeoutExpired:
        raise MeasurementError(f"it was not done after {timeout_s:.0f} s") from None
    if ran.returncode != 0:
        said = ran.stderr.strip().splitlines()[-1:] or [f"it ended with {ran.returncode}"]
        raise MeasurementError(said[0].strip())
    return ran.stdout
