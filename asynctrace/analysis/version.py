"""One version of a program in a comparison: its trace and the figures that are compared."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from asynctrace.analysis.progress import peak_and_mean
from asynctrace.model.trace import Trace

CLEAR_DIFFERENCE = 1.1  # a smaller factor between two times is called no difference
_SAME = 1.015  # below it not even a percentage is worth telling


@dataclass(frozen=True, slots=True)
class Version:
    """The figures of one version; None where it failed before there was a trace.

    `speedup` is the baseline's wall time divided by this one's, None when either failed. `cpu_s` holds the children's
    CPU time too. `error` is None for a version that ran to its end; `output` is what a failed script wrote.
    """

    name: str
    wall_s: float | None
    cpu_s: float | None
    speedup: float | None
    peak_in_progress: int | None
    mean_in_progress: float | None
    error: str | None
    trace: Trace | None = field(repr=False, default=None)
    is_script: bool = False
    output: str = field(repr=False, default="")

    @property
    def notes(self) -> tuple[str, ...]:
        """What a reader of its figures must know: what was lost, which functions are left out."""
        trace = self.trace
        if trace is None:
            return ()
        lost = trace.lost - trace.dropped
        return (*([f"lost {lost:,} events"] if lost else []), *trace.notes)

    def as_dict(self) -> dict[str, Any]:
        """Return the fields of `asynctrace compare --json`."""
        return {
            "name": self.name,
            "wall_s": self.wall_s,
            "cpu_s": self.cpu_s,
            "speedup": self.speedup,
            "peak_in_progress": self.peak_in_progress,
            "mean_in_progress": self.mean_in_progress,
            "error": self.error,
        }


def measured(
    name: str, trace: Trace | None, error: str | None = None, *, is_script: bool = False, output: str = ""
) -> Version:
    """Return the version that `trace` is a recording of, not yet held against a baseline."""
    if trace is None:
        return Version(name, None, None, None, None, None, error or "it left no trace", None, is_script, output)
    peak, mean = peak_and_mean(trace)
    children_cpu_ns = sum(process.cpu_ns for process in trace.processes if not process.is_main)
    wall_s = (trace.end_ns - trace.start_ns) / 1e9
    cpu_s = (trace.cpu_ns + children_cpu_ns) / 1e9
    return Version(name, wall_s, cpu_s, None, peak, mean, error, trace, is_script, output)


def with_speedups(versions: Sequence[Version], baseline: str) -> tuple[Version, ...]:
    """Return `versions` with each one's speed-up against the one called `baseline`."""
    base = next(version for version in versions if version.name == baseline)
    return tuple(replace(version, speedup=_speedup(base, version)) for version in versions)


def _speedup(base: Version, version: Version) -> float | None:
    if base.error is not None or version.error is not None or not base.wall_s or not version.wall_s:
        return None
    return base.wall_s / version.wall_s


def speedup_text(version: Version, baseline: str) -> str:
    """Return how a time stands to the baseline's: "3.0× faster", "1.4× slower", "4 % faster", "as fast", "baseline"."""
    if version.name == baseline:
        return "baseline"
    if version.speedup is None:
        return ""
    faster = version.speedup >= 1
    factor = version.speedup if faster else 1 / version.speedup
    word = "faster" if faster else "slower"
    if factor < CLEAR_DIFFERENCE:
        return f"{(factor - 1) * 100:.0f} % {word}" if factor >= _SAME else "as fast"
    return f"{factor:.1f}× {word}"
