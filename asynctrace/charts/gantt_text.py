"""The words of a Gantt chart: its title and its footer."""

from __future__ import annotations

import re
from textwrap import wrap

from asynctrace import __version__
from asynctrace.analysis import row_names
from asynctrace.analysis.loops import busy_shares
from asynctrace.analysis.processes import programs
from asynctrace.analysis.progress import peak_and_mean
from asynctrace.charts.looks import duration_text, elided
from asynctrace.model.trace import Trace

_MOST_NOTES = 4
_NO_SCRIPTS = ("__main__.py", "ipykernel_launcher.py")
_DIRECTORIES = re.compile(r"\S*[/\\](?=\S)")


def source_name(trace: Trace) -> str:
    """Return what was run, or loaded, without directories."""
    name = _DIRECTORIES.sub("", trace.source).strip()
    return elided(row_names.source_name(name) or "recording", 48)


def _program_name(trace: Trace) -> str:
    """Return the name of the script that was run, or of each; where there was none, what was loaded."""
    if together := programs(trace):
        return elided(together, 48)
    program = trace.parts[0].program if trace.parts else ""
    return elided(program, 48) if program.endswith(".py") and program not in _NO_SCRIPTS else source_name(trace)


def headline(trace: Trace, threads: int) -> str:
    """Return the title: what ran, for how long, how much of it at the same time, how busy the loop was.

    Args:
        trace: The trace.
        threads: How many threads worked off the loop; for a trace without tasks.
    """
    tasks = sum(not task.is_internal for task in trace.tasks)
    subject = counted(tasks, "task") if tasks else counted(threads, "thread")
    peak, _ = peak_and_mean(trace)
    duration = duration_text(trace.end_ns - trace.start_ns)
    text = f"{_program_name(trace)}: {subject}, {duration}, up to {peak:,} in progress"
    shares = busy_shares(trace)
    if shares:
        busiest = max(shares.values()) * 100
        which = "loop" if len(shares) == 1 else f"busiest of {len(shares)} loops"
        text += f"; {which} busy {'under 1' if 0 < busiest < 0.5 else f'{busiest:.0f}'} %"
    return text


def footer_lines(trace: Trace, notes: tuple[str, ...], width: int) -> list[str]:
    """Return the footer: the source, our version, what was lost, and what a reader must know."""
    lines = [f"{source_name(trace)} · asynctrace {__version__} · lost {trace.lost:,}"]
    said = [*trace.notes, *notes]
    for note in said[:_MOST_NOTES]:
        lines += wrap(note, width, max_lines=2, placeholder=" …")
    if len(said) > _MOST_NOTES:
        lines.append(f"and {len(said) - _MOST_NOTES} more notes in the trace")
    return lines


def counted(count: int, noun: str) -> str:
    """Return "1 task", "41 tasks"."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"
