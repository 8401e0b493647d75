"""Names as people read them: short ones of threads, worker processes and functions, and any text on one line."""

from __future__ import annotations

import ntpath
import re

from asynctrace.model.trace import Process, Thread, Trace

_MOST = 22  # characters of a name: a row's label has two of them at most
_OF_THREAD = re.compile(r"(Thread-\d+) \(.*\)")
_OF_POOL = re.compile(r"ThreadPoolExecutor-(\d+)_(\d+)")
_OF_CELL = re.compile(r"[/\\]ipykernel_\d+[/\\][^/\\]+$")
_OF_PROCESS = re.compile(r"(Fork|Spawn|ForkServer)?(Process|PoolWorker)-[\d:]+|MainProcess|")


def visible(text: str) -> str:
    """Return `text` on one line that can be shown anywhere: control characters and lone surrogates are escaped."""
    if text.isprintable():
        return text
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode("ascii")
        for character in text
    )


def short_name(name: str) -> str:
    """Return the last part of a qualified name: "main.<locals>.count" gives "count", methods keep their class."""
    name = name.rpartition("<locals>.")[2]
    if len(name) > _MOST and "." in name:
        name = name.rpartition(".")[2]
    return name if len(name) <= _MOST else name[: _MOST - 1] + "…"


def file_name(file: str) -> str:
    """Return the last part of a path of any system; "cell" for the file that ipykernel makes of a notebook's cell."""
    return "cell" if _OF_CELL.search(file) else ntpath.basename(file)


def source_name(source: str) -> str:
    """Return the last part of a trace's source; "notebook" for one recorded in a notebook."""
    name = ntpath.basename(source)
    return "notebook" if name == "ipykernel_launcher.py" else name


def thread_name(thread: Thread) -> str:
    """Return a thread's name without what the row says anyway: its target's name, its executor's class."""
    if match := _OF_THREAD.fullmatch(thread.name):
        return match[1]
    if match := _OF_POOL.fullmatch(thread.name):
        pool, number = int(match[1]) + 1, int(match[2]) + 1
        return f"pool thread {number}" if pool == 1 else f"pool {pool} thread {number}"
    return short_name(thread.name)


def name_order(name: str) -> list[str | int]:
    """Return a key that sorts names by the numbers in them: "Thread-2" before "Thread-10"."""
    return [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", name)]


def is_given(name: str) -> bool:
    """Tell whether somebody gave a process its name, so that it is none of multiprocessing's."""
    return not _OF_PROCESS.fullmatch(name)


def worker_names(trace: Trace) -> dict[Process, str]:
    """Return a name for each child process: its own where somebody gave it one, else "worker 1", "worker 2".

    In a merged trace every process has one.
    """
    names: dict[Process, str] = {}
    numbered = 0
    is_merged = sum(process.is_root for process in trace.processes) > 1
    children = [process for process in trace.processes if is_merged or not process.is_main]
    for process in sorted(children, key=lambda process: (process.started_ns, process.first_event_ns, process.pid)):
        if is_given(process.name):
            names[process] = short_name(process.name)
        else:
            numbered += 1
            names[process] = f"worker {numbered}"
    return names
