"""`%load_ext asynctrace`: the magic `%%asynctrace`, which records a cell and shows its chart.

The cell has to run as it would without us: with its top-level `await`, in the loop that runs already, with the value
of its last line shown, its names kept and its exceptions told. A cell magic gets the cell as a text, outside of all
that. So before IPython reads the cell, its first line `%%asynctrace` becomes `%asynctrace`: a line of the cell, which
begins the recording. It ends when IPython says that the cell has been executed.
"""

from __future__ import annotations

import argparse
import re
import shlex
import sys
from html import escape
from typing import Any, NoReturn

from asynctrace.errors import AsynctraceError
from asynctrace.model.trace import Trace
from asynctrace.recording import Recording, record

_NAME = "asynctrace"
_FIRST_LINE = re.compile(rf"%%{_NAME}(?!\w)")
_FRAME_PX = 560
_NOTHING_RAN = "no coroutine of yours ran in this cell: did it await what it calls?"


def load_ipython_extension(shell: Any) -> None:
    """Add the magic to an IPython shell: what `%load_ext asynctrace` calls."""
    unload_ipython_extension(shell)
    magic = CellMagic(shell)
    shell.register_magic_function(magic.asynctrace, "line_cell", _NAME)
    shell.input_transformers_cleanup.append(magic.as_line)
    for event, listener in magic.listeners.items():
        shell.events.register(event, listener)


def unload_ipython_extension(shell: Any) -> None:
    """Take the magic out again: what `%unload_ext asynctrace` calls."""
    for transform in list(shell.input_transformers_cleanup):
        magic = getattr(transform, "__self__", None)
        if isinstance(magic, CellMagic):
            magic.finish()
            shell.input_transformers_cleanup.remove(transform)
            for event, listener in magic.listeners.items():
                shell.events.unregister(event, listener)
            for kind in ("line", "cell"):
                shell.magics_manager.magics[kind].pop(_NAME, None)


class CellMagic:
    """The magic of one shell, and the recording that it has begun."""

    def __init__(self, shell: Any) -> None:
        self._shell = shell
        self._recording: Recording | None = None
        self._options = argparse.Namespace()
        self._has_raised = False
        self._depth = 0  # of cells that the recorded one has IPython run
        self.listeners = {"pre_execute": self._on_begin, "post_execute": self._on_end}

    def as_line(self, lines: list[str]) -> list[str]:
        """Return the lines of a cell, `%%asynctrace` in the first one made a line magic."""
        if lines and _FIRST_LINE.match(lines[0]) and any(line.strip() for line in lines[1:]):
            return [lines[0][1:], *lines[1:]]
        return lines

    def asynctrace(self, line: str, cell: str | None = None) -> None:
        """Record this cell, and show when each of its tasks ran, was ready and waited.

        Usage, in the first line of a cell: %%asynctrace [-o FILE] [--html] [NAME]

        As a line, %asynctrace records from there to the end of the cell.

          NAME         a variable for the trace
          -o FILE      save it, too: .pftrace, .html, .png, .svg or .pdf
          --html       show an interactive page instead of a picture (needs bokeh)
        """
        if cell is not None:
            self._refuse("%%asynctrace records a cell, and there is nothing in this one")
        self.finish()
        self._options = self._parsed(line)
        try:
            recording = record(output=self._options.output)
            recording.start()
        except AsynctraceError as error:
            self._refuse(str(error))
        self._depth = 0
        self._has_raised = False
        self._recording = recording
        self._stop_before_tracebacks(recording)

    def finish(self) -> None:
        """End the recording, if one runs, save it and show it."""
        recording, self._recording = self._recording, None
        if recording is None:
            return
        recording.stop()
        vars(self._shell).pop("showtraceback", None)
        try:
            recording.save_output()
            trace = recording.trace
            if self._options.name:
                self._shell.push({self._options.name: trace})
            if trace.calls or any(task.is_user for task in trace.tasks):
                _display(_Shown(trace, is_page=self._options.html))
            elif not self._has_raised:
                raise AsynctraceError(_NOTHING_RAN)
        except AsynctraceError as error:
            print(f"asynctrace: {error}", file=sys.stderr)
            return
        if recording.output_error is not None:
            print(f"asynctrace: {self._options.output} {recording.output_error}", file=sys.stderr)

    def _stop_before_tracebacks(self, recording: Recording) -> None:
        """Have the recording end where the cell does when that raises: IPython takes long to tell of it."""
        show = self._shell.showtraceback

        def showtraceback(*args: Any, **options: Any) -> Any:
            if options.get("running_compiled_code") and not self._depth:
                recording.stop()
                self._has_raised = True
            return show(*args, **options)

        self._shell.showtraceback = showtraceback

    def _on_begin(self) -> None:
        self._depth += 1

    def _on_end(self) -> None:
        if self._depth:
            self._depth -= 1
        else:
            self.finish()

    def _parsed(self, line: str) -> argparse.Namespace:
        parser = _Parser(prog=f"%%{_NAME}", add_help=False, allow_abbrev=False)
        parser.add_argument("name", nargs="?")
        parser.add_argument("-o", "--output")
        parser.add_argument("--html", action="store_true")
        try:
            options = parser.parse_args(shlex.split(line))
        except ValueError as error:
            self._refuse(f"%%{_NAME}: {error}")
        if options.name and not options.name.isidentifier():
            self._refuse(f"%%{_NAME}: {options.name} cannot be the name of a variable")
        return options

    @staticmethod
    def _refuse(sentence: str) -> NoReturn:
        from IPython.core.error import UsageError

        raise UsageError(sentence)  # which IPython tells in a line, without a traceback


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise ValueError(f"{message}: see %%{_NAME}?")


class _Shown:
    """A trace as a cell shows it: its chart or page; its title where only text is shown."""

    def __init__(self, trace: Trace, *, is_page: bool) -> None:
        from asynctrace.charts.gantt_text import headline

        self.text = headline(trace, len(trace.threads))
        self.picture: bytes | None = None
        self.frame: str | None = None
        if is_page:
            from asynctrace.charts.timeline import timeline_html

            page = escape(timeline_html(trace))
            style = f"width: 100%; height: {_FRAME_PX}px; border: 0"
            self.frame = f'<iframe sandbox="allow-scripts" style="{style}" srcdoc="{page}"></iframe>'
        else:
            from asynctrace.charts.gantt import draw_gantt
            from asynctrace.charts.output import figure_png

            self.picture = figure_png(draw_gantt(trace))

    def __repr__(self) -> str:
        return self.text

    def _repr_png_(self) -> bytes | None:
        return self.picture

    def _repr_html_(self) -> str | None:
        return self.frame


def _display(shown: _Shown) -> None:
    from IPython.display import display

    display(shown)  # type: ignore[no-untyped-call]  # IPython has types for some of its functions only
