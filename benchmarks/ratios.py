"""Ratios of traced to untraced programs, from measurements that take turns."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Literal

Clock = Literal["wall", "cpu"]


@dataclass(frozen=True)
class Case:
    """One row: a workload, what asynctrace is asked to see, and the ratio that it must keep."""

    title: str
    workload: str
    ours: str
    goals: dict[str, float]  # by core
    peers: tuple[str, ...] = ()
    is_rate: bool = False  # requests/s kept, of which more is better; else times as long


PEERS = ("viztracer", "yappi", "pyinstrument", "debug")

CASES = (
    Case("storm, decorated coroutine", "storm", "decorated", {"native": 1.35, "python": 4}),
    Case("storm, every coroutine", "storm", "every", {"native": 1.6, "python": 8}, PEERS),
    Case("spawn, every coroutine", "spawn", "every", {"native": 1.5, "python": 8}, PEERS),
    Case("HTTP, requests/s kept", "http", "every", {"native": 0.97, "python": 0.5}, PEERS, is_rate=True),
    Case("HTTP on uvloop, kept", "http-uvloop", "every", {"native": 0.85, "python": 0.4}, PEERS, is_rate=True),
    Case("decorated, not recording", "storm", "idle", {"native": 1.01, "python": 1.05}),
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


def installed_tools(names: tuple[str, ...]) -> tuple[str, ...]:
    """Return the tools that can run here; what asyncio and asynctrace do can always."""
    return tuple(name for name in names if name not in PEERS or name == "debug" or find_spec(name) is not None)


def ratios(
    case: Case, turns: int, times: int, clock: Clock, with_peers: bool, progress: Callable[[str], None]
) -> dict[str, Ratio]:
    """Return the ratio of each tool in one case.

    In each turn every tool runs once, in a process of its own, and is held against the untraced run of the same turn:
    what the machine does besides changes slowly, and strikes both. A tool that fails is left out.
    """
    peers = installed_tools(case.peers) if with_peers else ()
    found: dict[str, list[float]] = {tool: [] for tool in (case.ours, *peers)}
    for turn in range(turns):
        progress(f"{case.title}: turn {turn + 1} of {turns}")
        untraced = _seconds(case.workload, "untraced", times, clock)
        for tool, values in found.items():
            seconds = _seconds(case.workload, tool, times, clock)
            if seconds is not None and untraced is not None:
                values.append(untraced / seconds if case.is_rate else seconds / untraced)
    return {
        tool: Ratio(statistics.median(values), min(values), max(values)) for tool, values in found.items() if values
    }


def _seconds(workload: str, tool: str, times: int, clock: Clock) -> float | None:
    command = [sys.executable, "-m", "benchmarks.measure", workload, tool, str(times)]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    if ran.returncode != 0:
        print(f"{workload} with {tool} failed: {ran.stderr.strip().splitlines()[-1:]}", file=sys.stderr)
        return None
    wall, cpu = json.loads(ran.stdout.splitlines()[-1])
    return float(wall if clock == "wall" else cpu)
