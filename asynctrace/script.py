"""Run someone's program in this process, exactly as `python` would: script, folder, module or console script.

What `python` does before a script's first line and after its last one is in CPython's Modules/main.c, Lib/runpy.py and
Python/pythonrun.c. Knows nothing of recorders: it calls back when the first line is about to run.
"""

from __future__ import annotations

import builtins
import importlib.machinery
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import CodeType, ModuleType, TracebackType
from typing import TYPE_CHECKING, Any, Literal

from asynctrace.errors import UsageError

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint


class _NotRunnableError(Exception):
    """There is no such module, or it cannot be run. An ImportError could also be the program's own."""


@dataclass(frozen=True, slots=True)
class Program:
    """A program to run: `target` is a path, the name of a module, or that of a console script without a file."""

    target: str
    arguments: tuple[str, ...]
    kind: Literal["path", "module", "entry point"] = "path"


def find_program(words: Sequence[str]) -> Program:
    """Return the script, folder, archive or console script that the first of `words` names, with its arguments.

    Raises:
        UsageError: If there is none.
    """
    name = words[0]
    if os.path.isfile(name) or _is_runnable_folder(name):
        return Program(name, tuple(words[1:]))
    if os.path.basename(name) == name:
        script = _console_script(name)
        if script is not None:
            return Program(script, tuple(words[1:]))
        if _entry_point(name) is not None:
            return Program(name, tuple(words[1:]), "entry point")
    if os.path.isdir(name):
        raise UsageError(f"{name} is a folder without a __main__.py: name a script in it, or use -m MODULE")
    raise UsageError(f"there is no script {name}, and no Python program of that name on PATH: check the path")


def run(program: Program, on_first_line: Callable[[], None]) -> int:
    """Run `program` as `__main__`; return when its main code has ended, before its threads and exit handlers have.

    An exception that nobody caught is shown by `sys.excepthook`, without a frame of ours.

    Args:
        program: From `find_program`, or of the kind "module" for `-m`.
        on_first_line: Called when everything is ready and only the program's code is left to run.

    Returns:
        The exit code.

    Raises:
        UsageError: If the module does not exist or cannot be run.
        SystemExit: What the program raised, for Python itself to handle.
        KeyboardInterrupt: After it was shown; Python then ends the process as killed by SIGINT.
    """
    try:
        module, code = _LOADERS[program.kind](program)
    except (SystemExit, UsageError):
        raise
    except BaseException as error:  # a syntax error, or what the module's package raised while it was imported
        return _end_uncaught(error, None)
    sys.modules["__main__"] = module
    on_first_line()
    try:
        exec(code, module.__dict__)
    except SystemExit:
        raise
    except BaseException as error:
        return _end_uncaught(error, code)
    return 0


def _is_runnable_folder(path: str) -> bool:
    return os.path.isfile(os.path.join(path, "__main__.py"))


def _console_script(name: str) -> str | None:
    """Return the path of the Python program that `name` starts: of this environment, else on PATH."""
    import shutil
    import sysconfig

    here = sysconfig.get_path("scripts")
    # An environment that is not activated is not on PATH, yet its own scripts are the ones that are meant.
    for found in (shutil.which(name, path=here), shutil.which(name)):
        if found is not None and _is_python_script(found):
            return found
    return None


def _entry_point(name: str) -> EntryPoint | None:
    """Return what the console script `name` calls; on Windows the script itself is no Python file."""
    from importlib.metadata import entry_points

    return next(iter(entry_points(group="console_scripts", name=name)), None)


def _is_python_script(path: str) -> bool:
    try:
        with open(path, "rb") as file:
            head = file.read(512)
    except OSError:
        return False
    # A long path to the interpreter is started through the shell: "#!/bin/sh", then "'''exec' /…/python".
    lines = head.split(b"\n", 2)
    return lines[0].startswith(b"#!") and any(b"python" in line for line in lines[:2])


def _load_path(program: Program) -> tuple[ModuleType, CodeType]:
    # Absolute as `python` makes it: "./" stays.
    path = os.path.join(os.getcwd(), program.target)
    sys.argv[:] = [program.target, *program.arguments]
    if _is_runnable_folder(path) or _is_archive(path):
        _set_first_path(path, is_forced=True)
        return _found(program)
    # `python` resolves links here, so that modules beside the real script are found.
    _set_first_path(os.path.dirname(os.path.realpath(path)))
    loader: importlib.machinery.SourceFileLoader | importlib.machinery.SourcelessFileLoader
    if path.endswith(".pyc"):
        loader = importlib.machinery.SourcelessFileLoader("__main__", path)
        code = loader.get_code("__main__")
        assert code is not None  # a file that is no bytecode raised ImportError
    else:
        loader = importlib.machinery.SourceFileLoader("__main__", path)
        code = compile(loader.get_data(path), path, "exec", dont_inherit=True)
    module = _main_module(__package__=None, __loader__=loader, __spec__=None, __file__=path)
    if sys.version_info < (3, 15):
        module.__dict__["__cached__"] = None
    return module, code


def _load_module(program: Program) -> tuple[ModuleType, CodeType]:
    _set_first_path(os.getcwd())
    # What a package that is imported on the way sees under `python -m`.
    sys.argv[:] = ["-m", *program.arguments]
    return _found(program)


def _load_entry_point(program: Program) -> tuple[ModuleType, CodeType]:
    called = _entry_point(program.target)
    assert called is not None  # found before
    sys.argv[:] = [program.target, *program.arguments]
    # What pip writes into such a script.
    text = f"import sys\nfrom {called.module} import {called.attr.partition('.')[0]}\nsys.exit({called.attr}())\n"
    module = _main_module(__package__=None, __loader__=None, __spec__=None)
    return module, compile(text, f"<console script {program.target}>", "exec", dont_inherit=True)


_LOADERS = {"path": _load_path, "module": _load_module, "entry point": _load_entry_point}


def _found(program: Program) -> tuple[ModuleType, CodeType]:
    """Return a fresh `__main__` and its code: of the module, or of the `__main__.py` at `sys.path[0]`."""
    import runpy

    # Private in name only: the standard library's own tools (pdb, trace) find a module through it, too.
    finder: Any = runpy
    try:
        if program.kind == "module":
            details = finder._get_module_details(program.target, _NotRunnableError)
        else:
            details = finder._get_main_module_details(_NotRunnableError)
    except _NotRunnableError as error:
        raise UsageError(f"cannot run {program.target}: {error}") from error
    _, spec, code = details
    if program.kind == "module":
        sys.argv[0] = spec.origin
    module = _main_module(__package__=spec.parent, __loader__=spec.loader, __spec__=spec, __file__=spec.origin)
    if sys.version_info < (3, 15):
        module.__dict__["__cached__"] = spec.cached
    return module, code


def _main_module(**attributes: object) -> ModuleType:
    module = ModuleType("__main__")
    if sys.version_info < (3, 14):
        attributes["__annotations__"] = {}
    module.__dict__.update(attributes, __builtins__=builtins)
    return module


def _is_archive(path: str) -> bool:
    from zipimport import ZipImportError, zipimporter

    try:
        zipimporter(path)
    except ZipImportError:
        return False
    return True


def _set_first_path(path: str, is_forced: bool = False) -> None:
    """Put `path` where `python` puts it: in place of the folder of our own command."""
    if not sys.flags.safe_path:
        sys.path[0] = path
    elif is_forced:
        sys.path.insert(0, path)


def _end_uncaught(error: BaseException, code: CodeType | None) -> int:
    _show(error, code)
    if isinstance(error, KeyboardInterrupt):
        # Python, too, would show it, with our frames.
        sys.excepthook = lambda *_: None
        raise error
    return 1


def _show(error: BaseException, code: CodeType | None) -> None:
    """Show an uncaught exception of the program as Python does, from the frame of `code` on."""
    frames = _frames_of_program(error.__traceback__, code)
    error = error.with_traceback(frames)
    sys.last_type, sys.last_value, sys.last_traceback = type(error), error, frames
    if sys.version_info >= (3, 12):
        sys.last_exc = error
    try:
        sys.excepthook(type(error), error, frames)
    except SystemExit:
        raise
    except BaseException as failure:
        import traceback

        print("Error in sys.excepthook:", file=sys.stderr)
        failure.__context__ = None
        traceback.print_exception(failure.with_traceback(_frames_after_ours(failure.__traceback__)))
        print("\nOriginal exception was:", file=sys.stderr)
        sys.__excepthook__(type(error), error, frames)


def _frames_of_program(frames: TracebackType | None, code: CodeType | None) -> TracebackType | None:
    step = frames
    while step is not None and code is not None:
        if step.tb_frame.f_code is code:
            return step
        step = step.tb_next
    return _frames_after_ours(frames)


def _frames_after_ours(frames: TracebackType | None) -> TracebackType | None:
    """Drop what leads to the program: our frames, and those of the machinery that imports it."""
    while frames is not None:
        frame = frames.tb_frame
        if frame.f_globals.get("__name__") != __name__ and not frame.f_code.co_filename.startswith("<frozen "):
            break
        frames = frames.tb_next
    return frames
