"""Chrome trace JSON, for ui.perfetto.dev, profiler.firefox.com, and what else reads that format.

Follows the "Trace Event Format" of the Chromium project. What viewers make of it decides the details:

- times are microseconds with three decimals from the start of the recording: counted from 1970 they would not fit
  into the floating-point numbers that viewers read them as;
- X events of one thread must nest, and an arrow (s, f) that does not begin and end inside of X events is lost;
- b and e events of one id must come in their order, what is outer first: events of the same time stay as they are here.

The events of a thread or task come together, not sorted with all others: every viewer sorts them, keeping the order of
those of one time. So nothing has to be held in memory but the steps of one process.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import BinaryIO

from asynctrace.analysis.counts import counted
from asynctrace.analysis.processes import is_merged
from asynctrace.analysis.stretches import task_stretches
from asynctrace.formats.chrome_names import Names, microseconds
from asynctrace.formats.chrome_tasks import task_events
from asynctrace.formats.chrome_threads import thread_events
from asynctrace.formats.json_text import EXPORTER, Items, members, quoted
from asynctrace.formats.shown_names import notes, program_name
from asynctrace.model.trace import Process, Task, Trace

MARK = b'{"otherData":{"exporter":"asynctrace '


def write_chrome(trace: Trace, file: BinaryIO, on_progress: Callable[[int], None] | None = None) -> None:
    """Write a trace as Chrome trace JSON.

    Args:
        trace: The trace.
        file: Where it goes.
        on_progress: Called now and then with how many of the tasks' states have been written.
    """
    names = Names(trace)
    said = ",".join(map(quoted, notes(trace)))
    about = members(
        exporter=EXPORTER,
        program=trace.parts[0].program if trace.parts else trace.source,
        started_at=trace.started_at.isoformat(),
        lost=trace.lost,
    )
    file.write(f'{{"otherData":{{{about},"notes":[{said}]}},"displayTimeUnit":"ns","traceEvents":[\n'.encode("ascii"))
    items = Items(file)
    items.extend(_described(trace, names))
    items.extend(thread_events(trace, names))
    items.extend(task_events(trace, names, on_progress))
    items.extend(_counters(trace, names))
    items.extend(_instants(trace, names))
    items.flush()
    file.write(b"\n]}\n")


def _described(trace: Trace, names: Names) -> Iterator[str]:
    program = program_name(trace)
    for number, process in enumerate(trace.processes):
        pid = names.pid(process)
        name = program if process.is_main and program and not is_merged(trace) else process.name
        yield f'{{"ph":"M","pid":{pid},"name":"process_name","args":{{"name":{quoted(name)}}}}}'
        yield f'{{"ph":"M","pid":{pid},"name":"process_sort_index","args":{{"sort_index":{number}}}}}'
    for thread in trace.threads:
        at = names.at_thread(thread)
        yield f'{{"ph":"M",{at},"name":"thread_name","args":{{"name":{quoted(thread.name)}}}}}'
        yield f'{{"ph":"M",{at},"name":"thread_sort_index","args":{{"sort_index":{0 if thread.is_main else 1}}}}}'


def _counters(trace: Trace, names: Names) -> Iterator[str]:
    tasks: dict[Process | None, list[Task]] = {}
    for task in trace.tasks:
        tasks.setdefault(names.process_of(task), []).append(task)
    for process, own in tasks.items():
        start = f'{{"ph":"C",{names.at_process(process)},"name":"tasks","ts":'
        last: tuple[int, int] | None = None
        stretches = (stretch for task in own for stretch in task_stretches(task))
        for each in counted(stretches, trace.start_ns):
            counts = each.total, each.ready
            if counts != last:
                time = microseconds(each.time_ns - trace.start_ns)
                yield f'{start}{time},"args":{{"live":{counts[0]},"ready":{counts[1]}}}}}'
                last = counts


def _instants(trace: Trace, names: Names) -> Iterator[str]:
    at = names.at_process(trace.processes[0] if trace.processes else None)
    for mark in trace.marks:
        time = microseconds(mark.time_ns - trace.start_ns)
        yield f'{{"ph":"i","s":"p",{at},"name":{quoted(mark.text)},"cat":"mark","ts":{time}}}'
    for note in notes(trace):
        yield f'{{"ph":"i","s":"g",{at},"name":{quoted(note)},"cat":"note","ts":0.000}}'
