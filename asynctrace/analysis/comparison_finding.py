"""What a comparison found, in words: every one follows from the figures."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from asynctrace.analysis.comparison_rows import Panel
from asynctrace.analysis.intervals import length, merged
from asynctrace.analysis.progress import in_progress
from asynctrace.analysis.version import CLEAR_DIFFERENCE, Version
from asynctrace.model.trace import Trace

_NUMBERS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve")
_MOSTLY = 0.8


@dataclass(frozen=True, slots=True)
class Finding:
    """The title and subtitle of a comparison. `titles` says the same ever shorter, for a picture of limited width."""

    titles: tuple[str, ...]
    subtitle: str


def find(versions: Sequence[Version], panels: Sequence[Panel | None], baseline: str) -> Finding:
    """Return what the versions' figures say.

    Args:
        versions: With their speed-ups, in the order given.
        panels: Of each version, or None.
        baseline: The name of the version that the others are held against.
    """
    work = _common_work(versions, panels)
    prefix = f"{work}: " if work else ""
    done = [version for version in versions if version.error is None and version.wall_s is not None]
    base = next(version for version in versions if version.name == baseline)
    failed = [version for version in versions if version not in done]
    if base not in done or (len(done) < 2 and failed):
        plain = f"{listed([version.name for version in failed])} failed"
        return Finding((prefix + plain, plain), "; ".join(f"{version.name}: {version.error}" for version in failed))
    if len(done) < 2:
        plain = f"{base.name} {_verb([base.name], 'take', 'takes')} {base.wall_s or 0.0:.2f} s"
        return Finding((prefix + plain, plain), "nothing to compare it with")
    others = sorted((version for version in done if version is not base), key=_order(done, versions, panels))
    clauses = _clauses(base, others)
    titles = (prefix + "; ".join(clauses), "; ".join(clauses), prefix + clauses[0], clauses[0])
    return Finding(titles, _subtitle(base, others, versions, panels))


def listed(names: Sequence[str]) -> str:
    """Return names as in a sentence: "a", "a and b", "a, b and c"."""
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


def number(count: int) -> str:
    """Return a small number as a word, a large one in digits."""
    return _NUMBERS[count] if count < len(_NUMBERS) else str(count)


def _order(
    done: Sequence[Version], versions: Sequence[Version], panels: Sequence[Panel | None]
) -> Callable[[Version], tuple[float, int, int, int]]:
    """Return a key: fastest first; of equally fast ones the one that needs the fewest processes and threads."""
    best = min(version.wall_s or 0.0 for version in done) or 1.0
    place = {version.name: index for index, version in enumerate(versions)}

    def key(version: Version) -> tuple[float, int, int, int]:
        processes, threads = _hosts(panels[place[version.name]])
        return round((version.wall_s or 0.0) / best, 1), processes, threads, place[version.name]

    return key


def _hosts(panel: Panel | None) -> tuple[int, int]:
    """Return in how many processes, and on how many threads, the rows' work was done."""
    threads = {row.thread for row in panel.all_rows if row.thread is not None} if panel is not None else set()
    return max(1, len({thread.process for thread in threads})), max(1, len(threads))


def overlaps(trace: Trace | None) -> bool:
    """Return whether more than one thing was in progress at once, on average while anything was."""
    if trace is None:
        return False
    staircase = in_progress(trace)
    busy = integral = 0
    for index, (start, count) in enumerate(staircase):
        end = staircase[index + 1][0] if index + 1 < len(staircase) else trace.end_ns
        busy += (end - start) * (count > 0)
        integral += (end - start) * count
    return busy > 0 and integral / busy >= CLEAR_DIFFERENCE


def _clauses(base: Version, others: Sequence[Version]) -> list[str]:
    """Return the title's statements: on overlapping where that explains the times, else on the times alone."""
    faster = [version.name for version in others if (version.speedup or 1.0) >= CLEAR_DIFFERENCE]
    slower = [version.name for version in others if (version.speedup or 1.0) <= 1 / CLEAR_DIFFERENCE]
    same = [version.name for version in others if version.name not in faster and version.name not in slower]
    overlapping = [version for version in others if overlaps(version.trace)]
    rest = [version for version in others if version not in overlapping]
    (overlapping if overlaps(base.trace) else rest).append(base)
    if overlapping and rest:
        slowest = max(version.wall_s or 0.0 for version in overlapping)
        if all((version.wall_s or 0.0) >= CLEAR_DIFFERENCE * slowest for version in rest):
            together, apart = [version.name for version in overlapping], [version.name for version in rest]
            return [
                f"{listed(together)} {_verb(together, 'overlap', 'overlaps')}",
                f"{listed(apart)} {_verb(apart, 'do', 'does')} not",
            ]
    clauses = []
    if faster:
        clauses.append(f"{listed(faster)} {_verb(faster, 'finish', 'finishes')} sooner than {base.name}")
    if slower:
        than = "" if faster else f" than {base.name}"
        clauses.append(f"{listed(slower)} {_verb(slower, 'take', 'takes')} longer{than}")
    if same and (faster or slower):
        clauses.append(f"{listed(same)} {_verb(same, 'take', 'takes')} as long")
    elif same:
        count = len(others) + 1
        named = listed([base.name, *same]) if count <= 3 else f"all {number(count)} versions"
        clauses.append(f"{named} take the same time")
    return clauses


def _verb(names: Sequence[str], several: str, one: str) -> str:
    """Return the form of the verb: a version called "threads" or "processes" is a plural, too."""
    is_plural = len(names) > 1 or (names[0].endswith("s") and not names[0].endswith(("ss", "us", "is")))
    return several if is_plural else one


def _subtitle(
    base: Version, others: Sequence[Version], versions: Sequence[Version], panels: Sequence[Panel | None]
) -> str:
    fastest, slowest = others[0], others[-1]
    speedup, slowdown = fastest.speedup or 1.0, 1 / (slowest.speedup or 1.0)
    if speedup >= CLEAR_DIFFERENCE:
        reason = ""
        if overlaps(fastest.trace):
            panel = panels[[version.name for version in versions].index(fastest.name)]
            reason = f": {_reason(fastest, panel)}"
        verb = _verb([fastest.name], "finish", "finishes")
        return f"{fastest.name} {verb} {speedup:.1f}× sooner than {base.name}{reason}"
    if slowdown >= CLEAR_DIFFERENCE:
        return f"{slowest.name} {_verb([slowest.name], 'take', 'takes')} {slowdown:.1f}× as long as {base.name}"
    times = sorted(version.wall_s or 0.0 for version in (base, *others))
    return f"{times[0]:.2f} s to {times[-1]:.2f} s: a difference under 10 %"


def _reason(version: Version, panel: Panel | None) -> str:
    """Return what happened at once, and where: "three waits at the same time, on one thread"."""
    spent: dict[str, int] = defaultdict(int)
    for row in panel.all_rows if panel is not None else ():
        for bar in row.bars:
            spent[bar.state] += bar.end_ns - bar.start_ns
    total = sum(spent[state] for state in ("running", "blocking", "waiting", "ready")) or 1
    many = number(version.peak_in_progress or 0)
    if spent["waiting"] >= _MOSTLY * total:
        what = f"{many} waits at the same time"
    elif spent["running"] + spent["blocking"] >= _MOSTLY * total:
        what = f"{many} at work at the same time"
    else:
        what = f"up to {many} in progress at the same time"
    processes, threads = _hosts(panel)
    if processes > 1:
        return f"{what}, in {number(processes)} processes"
    return f"{what}, on {number(threads)} {'threads' if threads > 1 else 'thread'}"


def _common_work(versions: Sequence[Version], panels: Sequence[Panel | None]) -> str | None:
    """Return what all versions did, and how often where they agree: "count ×3"."""
    counts: list[Counter[str]] = []
    spent_ns: Counter[str] = Counter()
    for version, panel in zip(versions, panels, strict=True):
        if panel is None or version.error is not None:
            continue
        units = [unit for row in panel.all_rows for unit in row.units]
        counts.append(Counter(unit.name for unit in units))
        for name in counts[-1]:
            spent_ns[name] += length(merged((unit.start_ns, unit.end_ns) for unit in units if unit.name == name))
    common = set(counts[0]).intersection(*counts[1:]) if counts else set()
    if not common:
        return None
    name = max(common, key=lambda name: (spent_ns[name], name))
    often = {count[name] for count in counts}
    return f"{name} ×{often.pop()}" if len(often) == 1 and often != {1} else name
