"""What it takes to write a recording for other tools: `python -m benchmarks.exports`, a million events if not said.

Each format is written in a process of its own, which prints what it took as JSON: the CPU seconds, the size, and by how
much the most memory that the process ever had grew. `python -m benchmarks.exports write IN OUT` is one of ours;
`python -m benchmarks.exports viztracer YIELDS OUT` records the same program with viztracer, and measures its own save.
"""

from __future__ import annotations

import asyncio
import json
import sys
import tempfile
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import asynctrace
from asynctrace import core
from asynctrace.formats import SAVED_SUFFIXES
from benchmarks.growth import BATCHES, Figures, held
from benchmarks.ratios import MeasurementError, output_of
from benchmarks.storms import MIB, peak_bytes, seconds, storm, yields_for
from benchmarks.tables import NONE, Rows, as_markdown, machine

TASKS = 100
TIMEOUT_S = 600.0
VIZTRACER_SUFFIXES = (".json", ".json.gz")
_RING = 10  # places for each event of ours: viztracer has an entry for each function call


class OverflowedError(Exception):
    """The ring of viztracer was too small for the program: what it saves is not all of it."""


def write(source: Path, target: Path) -> Figures:
    """Load a recording and write it in another format."""
    trace = asynctrace.load(source)
    return _written(lambda: trace.save(target), target)


def viztracer(yields: int, target: Path) -> Figures:
    """Run the program that was recorded under viztracer, with what it does not drop, and save that."""
    from viztracer import VizTracer

    async def main() -> None:
        for _ in range(BATCHES):
            await storm(TASKS, yields)

    events = BATCHES * TASKS * yields * 5
    tracer: Any = VizTracer(log_async=True, verbose=0, tracer_entries=_RING * max(events, 100_000))
    tracer.start()
    asyncio.run(main())
    tracer.stop()
    figures = _written(lambda: tracer.save(str(target)), target)
    if tracer.data["viztracer_metadata"].get("overflow"):
        raise OverflowedError("its ring of entries was full before the program's end")
    return figures | {"entries": sum(entry["ph"] != "M" for entry in tracer.data["traceEvents"])}


def _written(save: Callable[[], object], target: Path) -> Figures:
    before = peak_bytes()
    took = seconds(save)
    return {"save_s": took, "bytes": target.stat().st_size, "peak_bytes": peak_bytes() - before}


def exports(events: int) -> tuple[Rows, list[str]]:
    """Return a row for each format, of a storm of about so many events, and why there is no figure where there is none.

    viztracer's own files of the same program come last.
    """
    rows = [["", "written in", "size", "an event", "memory grew by"]]
    reasons = []
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "storm.pftrace"
        yields = yields_for(events // BATCHES, TASKS)
        recorded = held(TASKS, yields, BATCHES, source)["events"]
        asked = [(f"`{suffix}`", suffix, ("write", str(source))) for suffix in SAVED_SUFFIXES]
        peers = [(f"viztracer `{suffix}`", suffix, ("viztracer", str(yields))) for suffix in VIZTRACER_SUFFIXES]
        for title, suffix, how in [*asked, *peers]:
            target = Path(folder) / f"written{suffix}"
            try:
                if how[0] == "viztracer" and find_spec("viztracer") is None:
                    raise MeasurementError("it is not installed here")
                found: Figures = json.loads(
                    output_of("benchmarks.exports", *how, str(target), core=core(), timeout_s=TIMEOUT_S)
                )
            except MeasurementError as error:
                rows.append([title, NONE, NONE, NONE, NONE])
                reasons.append(f"{NONE} {title} has no figure: {error}.")
                continue
            if "entries" in found:
                title += f", {found['entries']:,.0f} entries"
            rows.append([title, *_cells(found, recorded)])
            target.unlink()
        rows[0][0] = f"{recorded:,.0f} events"
    return rows, reasons


def _cells(found: Figures, recorded: float) -> list[str]:
    size, grown = found["bytes"], found["peak_bytes"] / MIB
    return [
        f"{found['save_s']:.1f} s",
        f"{size / 1e6:.1f} MB",
        f"{size / recorded:.1f} bytes",
        f"{grown:.0f} MiB",
    ]


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["write", source, target]:
            print(json.dumps(write(Path(source), Path(target))))
        case ["viztracer", yields, target]:
            print(json.dumps(viztracer(int(yields), Path(target))))
        case arguments:
            rows, reasons = exports(int(arguments[0]) if arguments else 1_000_000)
            print(machine(), as_markdown(rows), *reasons, sep="\n\n")
