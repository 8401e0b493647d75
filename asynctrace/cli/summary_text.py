"""A summary as lines of text, 80 columns wide, each with the style that it has where there are colours."""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from textwrap import wrap
from typing import NamedTuple

from asynctrace.analysis.overview import Overview
from asynctrace.analysis.row_names import file_name, source_name, visible
from asynctrace.analysis.summary import Summary, SummaryRow

WIDTH = 80
LONG_STEP_NS = 50_000_000
NOTHING_SEEN = "no coroutine ran: was main() called without awaiting it?"

SORT_KEYS: dict[str, Callable[[SummaryRow], float]] = {
    "total": lambda row: row.total_ns,
    "run": lambda row: row.running_ns,
    "ready": lambda row: row.ready_ns,
    "wait": lambda row: row.all_waiting_ns,
    "step": lambda row: row.longest_step_ns,
    "count": lambda row: row.count,
}

_NAME_WIDTH = 23
_SHORTEST_NAME = 12
# (first line of the heading, second line, width)
_COLUMNS = (("count", "", 6), ("total", "s", 7), ("run", "s", 6), ("ready", "s", 6), ("wait", "s", 6))
_MOSTLY_WIDTH = 12
_STEP_WIDTH = 7
_KIND_WIDTH = 8


class Line(NamedTuple):
    """A line of the summary; `style` is one of rich's, or ""."""

    text: str
    style: str = ""


def header_lines(figures: Overview, shown_as: str | None = None) -> list[str]:
    """Return the two lines above the table, the processes of a merged trace, and the notes that a reader must know."""
    source = visible(source_name(shown_as or figures.source) or "recording")
    counted = _number(figures.tasks, "task") if figures.tasks or not figures.calls else _number(figures.calls, "call")
    rest = (
        f"   {seconds(figures.duration_ns)} s   {counted}"
        f"   in progress: peak {figures.peak}, mean {figures.mean:.1f}   lost {figures.lost:,}"
    )
    lines = [f"{fitted(source, max(_SHORTEST_NAME, WIDTH - len(rest)))}{rest}"]
    if figures.busy:
        busy = ", ".join(_percent(share) for share in sorted(figures.busy, reverse=True)[:4])
        text = f"loop{'' if len(figures.busy) == 1 else 's'} busy {busy}"
        block = figures.longest_block
        if block is not None:
            end = f", {block.kept_ready} kept waiting"
            text += f"   longest block {milliseconds(block.end_ns - block.start_ns)} ms: "
            name, place = _name_and_place(block.name, block.file, block.line, WIDTH - len(text) - len(end))
            text += f"{name} {place}{end}"
        lines.append(text)
    if figures.processes:
        told = ", ".join(f"{visible(name)} ({_number(tasks, 'task')})" for name, tasks in figures.processes)
        lines += wrap(f"processes: {told}", WIDTH, subsequent_indent="           ")
    for note in figures.notes:
        lines += wrap(f"note: {visible(note)}", WIDTH, subsequent_indent="      ")
    return lines


def summary_lines(summary: Summary, *, shown_as: str, sort: str = "total", is_wide: bool = False) -> list[Line]:
    """Return the whole summary.

    Args:
        summary: Of any trace.
        shown_as: The trace's file, for the heading and the commands to go on with.
        sort: A key of `SORT_KEYS`.
        is_wide: Whether every kind of waiting gets a column; lines are longer than 80 columns then.
    """
    header = header_lines(summary.overview, shown_as)
    lines = [Line(header[0], "bold"), *map(Line, header[1:])]
    if not summary.rows and summary.library is None:
        return [*lines, Line(""), Line(NOTHING_SEEN)]
    rows = sorted(summary.rows, key=SORT_KEYS[sort], reverse=True)
    all_rows = [*rows, *([summary.library] if summary.library else [])]
    kinds = _kinds(all_rows) if is_wide else ()
    lines += [Line(""), *_heading(kinds)]
    for row in all_rows:
        style = "bold red" if row.longest_step_ns >= LONG_STEP_NS and row is not summary.library else ""
        lines.append(Line(_row_text(row, kinds, is_wide), "dim" if row is summary.library else style))
    lines += [
        Line(""),
        *map(Line, _outcomes_lines(rows)),
        Line("Totals include what a coroutine awaited inside: rows do not add up.", "dim"),
        *(Line(text, "dim") for text in _next_steps(visible(shown_as))),
    ]
    return lines


def seconds(duration_ns: int) -> str:
    """Return a duration in seconds with three significant digits; what is under 0.05 ms shows as 0.0000 or 0."""
    return _three_digits(duration_ns / 1e9, most_decimals=4) if duration_ns else "0"


def milliseconds(duration_ns: int) -> str:
    """Return a duration in milliseconds with three significant digits."""
    return _three_digits(duration_ns / 1e6, most_decimals=3) if duration_ns else "0"


def fitted(text: str, width: int) -> str:
    """Return `text` cut to `width` columns, with … where something is missing."""
    if columns(text) <= width:
        return text
    while text and columns(text) > width - 1:
        text = text[:-1]
    return f"{text}…"


def columns(text: str) -> int:
    """Return how many columns of a terminal `text` takes: wide characters take two, combining ones none."""
    return sum(
        0 if unicodedata.combining(character) else 2 if unicodedata.east_asian_width(character) in "WF" else 1
        for character in text
    )


def short(name: str) -> str:
    """Return a qualified name without the functions around it: "main.<locals>.count" gives "count"."""
    return visible(name.rpartition("<locals>.")[2])


def _three_digits(value: float, most_decimals: int) -> str:
    decimals = 0 if value >= 99.95 else 1 if value >= 9.995 else 2 if value >= 0.9995 else 3 if value >= 0.09995 else 4
    return f"{value:.{min(decimals, most_decimals)}f}"


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %" if share >= 0.01 or share == 0 else "under 1 %"


def _number(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def _place(file: str, line: int) -> str:
    name = visible(file_name(file))
    return f"{name}:{line}" if name and line else name


def _padded(text: str, width: int) -> str:
    return text + " " * (width - columns(text))


def _name_and_place(name: str, file: str, line: int, width: int) -> tuple[str, str]:
    """Return a name and its place that fit into `width` columns, with one between them."""
    name, place = short(name), _place(file, line)
    # The place gives way first, from its left: the name and the line number tell more than how the file begins.
    room = max(width - 1 - columns(name), min(columns(place), width - 1 - _SHORTEST_NAME))
    if columns(place) > room:
        while columns(place) > room - 1:
            place = place[1:]
        place = f"…{place}"
    room = width - 1 - columns(place)
    if columns(name) > room and "(" not in name:
        name = name.rpartition(".")[2]  # a method without its class; an expression stays
    return fitted(name, room), place


def _name_cell(row: SummaryRow) -> str:
    if not row.file:
        return _padded(fitted(short(row.name), _NAME_WIDTH), _NAME_WIDTH)
    name, place = _name_and_place(row.name, row.file, row.line, _NAME_WIDTH)
    return f"{_padded(name, _NAME_WIDTH - columns(place))}{place}"


def _kinds(rows: Iterable[SummaryRow]) -> tuple[str, ...]:
    waited: Counter[str] = Counter()
    for row in rows:
        waited.update(row.waiting_ns)
    return tuple(kind for kind, _ in waited.most_common())


def _heading(kinds: Sequence[str]) -> list[Line]:
    first = ["coroutine".ljust(_NAME_WIDTH)]
    second = [" " * _NAME_WIDTH]
    rule = ["-" * _NAME_WIDTH]
    middle = [(kind, "s", max(_KIND_WIDTH, len(kind))) for kind in kinds] or [("mostly on", "", _MOSTLY_WIDTH)]
    for title, unit, width in (*_COLUMNS, *middle, ("step", "max, ms", _STEP_WIDTH)):
        pad = str.ljust if title == "mostly on" else str.rjust
        first.append(pad(title, width))
        second.append(pad(unit, width))
        rule.append("-" * width)
    return [Line(" ".join(cells).rstrip(), "bold") for cells in (first, second, rule)]


def _row_text(row: SummaryRow, kinds: Sequence[str], is_wide: bool) -> str:
    figures = (
        f"{row.count}",
        seconds(row.total_ns),
        seconds(row.running_ns),
        seconds(row.ready_ns),
        seconds(row.all_waiting_ns),
    )
    cells = [_name_cell(row)]
    cells += [figure.rjust(width) for figure, (_, _, width) in zip(figures, _COLUMNS, strict=True)]
    if is_wide and kinds:
        cells += [seconds(row.waiting_ns.get(kind, 0)).rjust(max(_KIND_WIDTH, len(kind))) for kind in kinds]
    else:
        cells.append(_padded(_mostly_on(row), _MOSTLY_WIDTH))
    mark = "!" if row.longest_step_ns >= LONG_STEP_NS else ""
    step = milliseconds(row.longest_step_ns) if row.longest_step_ns else "-"
    if len(mark) + len(step) > _STEP_WIDTH:
        step = f"{row.longest_step_ns / 1e9:.0f} s"
    cells.append(mark + step.rjust(_STEP_WIDTH - len(mark)))
    return " ".join(cells)


def _mostly_on(row: SummaryRow) -> str:
    if not row.all_waiting_ns:
        return "-"
    kind, waited_ns = max(row.waiting_ns.items(), key=lambda item: item[1])
    share = f"{100 * waited_ns / row.all_waiting_ns:.0f}%"
    return f"{_padded(fitted(visible(kind.rpartition('.')[2]), _MOSTLY_WIDTH - 5), _MOSTLY_WIDTH - 5)} {share:>4}"


def _outcomes_lines(rows: Iterable[SummaryRow]) -> list[str]:
    counts: Counter[str] = Counter()
    who: dict[str, Counter[str]] = {}
    for row in rows:
        counts.update(row.outcomes)
        for outcome, count in row.outcomes.items():
            name = short(row.name)
            errors = row.errors if outcome == "raised" else {}
            labels = {f"{visible(error)} in {name}": times for error, times in errors.items()} or {name: count}
            who.setdefault(outcome, Counter()).update(labels)
    lines: list[str] = []
    for outcome in ("returned", "raised", "cancelled", "closed", "unfinished"):
        if counts[outcome]:
            part = f"{counts[outcome]:,} {outcome}"
            if outcome != "returned":
                names = [fitted(name, 40) for name, _ in who[outcome].most_common()]
                part += f" ({', '.join(names[:2])}{', …' if len(names) > 2 else ''})"
            if lines and columns(lines[-1]) + 3 + columns(part) <= WIDTH:
                lines[-1] += f"   {part}"
            else:
                lines.append(part)
    return lines


def _next_steps(file: str) -> list[str]:
    text = f"Next: asynctrace gantt {file} -o gantt.png, or asynctrace view {file}"
    if columns(text) <= WIDTH:
        return [text]
    return [f"Next: asynctrace gantt {file} -o gantt.png", f"      asynctrace view {file}"]
