"""What was measured, as tables: in Markdown, and aligned for a terminal."""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from pathlib import Path

import asynctrace
from asynctrace.cores import Core
from benchmarks.growth import Figures, bytes_per_event
from benchmarks.peers import PEERS
from benchmarks.ratios import CORES, Case, Clock, Failed, Found
from benchmarks.storms import MIB

Rows = list[list[str]]
OfCore = dict[Core, Figures]  # without figures, where they could not be measured
GrowthOfCore = dict[Core, list[Figures]]
NONE = "–"

_COSTS = (
    ("event_ns", "time an event adds to a storm", "{:.0f} ns", ""),
    ("bytes_in_memory", "memory of an event, 10⁵ to 10⁶ events", "{:.0f} bytes", "≤ 32 bytes"),
    ("storm_bytes_on_disk", "size of an event on disk, storm", "{:.1f} bytes", "about 20 bytes"),
    ("http_bytes_on_disk", "size of an event on disk, HTTP", "{:.1f} bytes", "about 20 bytes"),
    ("save_s", "save a million events", "{:.1f} s", "≤ 2 s"),
    ("save_peak_mib", "peak memory of the process that recorded and saved them", "{:.0f} MiB", ""),
    ("load_s", "load and summarise a million events", "{:.1f} s", "≤ 4 s"),
    ("load_peak_mib", "peak memory of the process that did", "{:.0f} MiB", ""),
    ("gantt_s", "draw a Gantt chart of 100,000 intervals", "{:.1f} s", "≤ 4 s"),
    ("import_ms", "import asynctrace", "{:.1f} ms", ""),
    ("import_record_ms", "import what records", "{:.0f} ms", ""),
)


def machine() -> str:
    """Name the processor, its cores, the system and Python."""
    cpu = platform.processor() or platform.machine()
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        cpu = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), cpu)
    except OSError:
        pass  # not Linux
    return (
        f"{cpu}, {os.cpu_count()} cores, {platform.system()} {platform.release().partition('-')[0]} "
        f"{platform.machine()}, {platform.python_implementation()} {platform.python_version()}, "
        f"asynctrace {asynctrace.__version__}"
    )


def caption(command: str, turns: int, clock: Clock) -> str:
    """Name the machine, and say how to repeat, and what the ratios are of."""
    measured = "wall-clock time" if clock == "wall" else "CPU time"
    return (
        f"{machine()}. `{command}`. Ratios of {measured} to the same program untraced, for HTTP of requests/s: the "
        f"median of {turns} turn{'s' if turns > 1 else ''} (lowest–highest). Costs that are no ratios are CPU time."
    )


def core_table(cases: Sequence[Case], found: Sequence[Found], cores: Sequence[Core]) -> Rows:
    """Return asynctrace's ratios, a column for each core, its goal beside it."""
    rows = [["asynctrace", *(text for core in cores for text in (f"{core} core", "goal"))]]
    for case, ratios in zip(cases, found, strict=True):
        rows.append([case.title, *(text for core in cores for text in (_cell(ratios, core), case.goal(core)))])
    return rows


def peer_table(cases: Sequence[Case], found: Sequence[Found], peers: Sequence[str]) -> Rows:
    """Return the other tools' ratios, and what each records in that time."""
    rows = [["other tools", *(PEERS[peer].title for peer in peers)]]
    rows.append(["records", *(PEERS[peer].records for peer in peers)])
    for case, ratios in zip(cases, found, strict=True):
        if case.has_peers:
            rows.append([case.title, *(_cell(ratios, peer) for peer in peers)])
    return rows


def _cell(ratios: Found, tool: str) -> str:
    ratio = ratios.get(tool)
    return NONE if ratio is None or isinstance(ratio, Failed) else str(ratio)


def reasons(cases: Sequence[Case], found: Sequence[Found]) -> list[str]:
    """Return a sentence for each tool that has no ratio somewhere, and why."""
    rows_of: dict[tuple[str, str], list[str]] = {}
    for case, ratios in zip(cases, found, strict=True):
        for tool, ratio in ratios.items():
            if isinstance(ratio, Failed):
                rows_of.setdefault((tool, ratio.reason), []).append(case.title)
    return [
        f"{NONE} {_title(tool)} has no figure for {'; '.join(titles)}: {reason}."
        for (tool, reason), titles in rows_of.items()
    ]


def _title(tool: str) -> str:
    return f"asynctrace's {tool} core" if tool in CORES else PEERS[tool].title


def cost_table(costs: OfCore, growth: GrowthOfCore) -> Rows:
    rows = [["", *(f"{core} core" for core in costs), "goal"]]
    columns = [_with_million(costs[core], growth[core]) for core in costs]
    for key, title, text, goal in _COSTS:
        rows.append([title, *(text.format(column[key]) if key in column else NONE for column in columns), goal])
    return rows


def _with_million(costs: Figures, growth: list[Figures]) -> Figures:
    """Return the costs, and of the growth what concerns a million events."""
    figures = dict(costs)
    each = bytes_per_event(growth)
    if each is not None:
        figures["bytes_in_memory"] = each
    for row in growth:
        if row["size"] == 1_000_000:
            figures |= {
                "save_s": row["save_s"],
                "save_peak_mib": row["save_peak_bytes"] / MIB,
                "load_s": row["load_s"],
                "load_peak_mib": row["load_peak_bytes"] / MIB,
            }
    return figures


def growth_table(growth: GrowthOfCore) -> Rows:
    """Return how costs grow with the number of events; more than a million are not saved."""
    rows = [
        [
            "events",
            "core",
            "ns an event",
            "memory grew by",
            "in its last tenth",
            "dropped",
            "on disk",
            "save",
            "load",
        ]
    ]
    for core, figures in growth.items():
        for row in figures:
            is_saved = "save_s" in row
            rows.append(
                [
                    f"{row['events']:,.0f}",
                    core,
                    f"{row['event_ns']:.0f}",
                    f"{row['held_bytes'] / MIB:.1f} MiB",
                    f"{row['late_growth']:+.1%}" if row["size"] >= 100_000 else NONE,
                    f"{row['dropped']:,.0f}",
                    f"{row['disk_bytes'] / row['events']:.1f} bytes each" if is_saved else NONE,
                    f"{row['save_s']:.2f} s" if is_saved else NONE,
                    f"{row['load_s']:.2f} s" if is_saved else NONE,
                ]
            )
    return rows


def cost_reason(core: Core, what: str, reason: str) -> str:
    return f"{NONE} {_title(core)} has no {what}: {reason}."


def as_text(rows: Rows) -> str:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )


def as_markdown(rows: Rows) -> str:
    lines = ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows]
    return "\n".join([lines[0], "|---|" + "---:|" * (len(rows[0]) - 1), *lines[1:]])
