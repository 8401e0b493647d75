"""Turn code objects and offsets into names, files, lines and source text, once the program no longer waits for us."""

from __future__ import annotations

import functools
import itertools
import linecache
import os
import re
import site
import sys
import sysconfig
from types import CodeType

from asynctrace.events import Expression, Site

_TYPED = ("<stdin>", "<console>", "<ipython", "<python-input", "<doctest")
_OF_CELL = re.compile(r"[/\\]ipykernel_\d+[/\\][^/\\]+$|<ipython")


@functools.cache
def _library_folders() -> tuple[str, ...]:
    paths = sysconfig.get_paths()
    folders = {paths[name] for name in ("stdlib", "platstdlib", "purelib", "platlib") if paths.get(name)}
    folders.update(site.getsitepackages())
    folders.add(site.getusersitepackages())
    folders.add(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))  # our own code is no user's
    folders.update(os.path.realpath(folder) for folder in list(folders))
    return tuple(folder + os.sep for folder in sorted(folders))


def is_user_file(path: str) -> bool:
    """Tell whether a file lies outside the standard library and site-packages.

    Notebook cells are the user's code, and so is the script that runs, wherever it is installed.
    """
    return _is_outside_libraries(path) or any(
        path == getattr(sys.modules.get(name), "__file__", None) for name in ("__main__", "__mp_main__")
    )


@functools.lru_cache(maxsize=4096)
def _is_outside_libraries(path: str) -> bool:
    if path.startswith("<"):
        # What a person typed is theirs. The rest is the interpreter's (<frozen …>) or made by a library: dataclasses,
        # attrs and others compile functions under names such as <string>.
        return path.startswith(_TYPED) or (path == "<string>" and sys.argv[:1] == ["-c"])
    return not os.path.abspath(path).startswith(_library_folders())


def describe_code(
    code: CodeType,
    traced: tuple[object, str | None, tuple[tuple[str, str | int | float | bool], ...]] | None,
) -> Site:
    """Name a code object; `traced` is what the decorator said of it."""
    file, name = code.co_filename, code.co_qualname
    title = _cell_title(file)
    if title is not None:
        file, name = title, title if name == "<module>" else name
    attributes: tuple[tuple[str, str | int | float | bool], ...] = ()
    if traced is not None:
        name = traced[1] or name
        attributes = traced[2]
    return Site(
        name=name,
        file=file,
        line=code.co_firstlineno,
        is_user=is_user_file(code.co_filename),
        is_traced=traced is not None,
        attributes=attributes,
    )


def _cell_title(file: str) -> str | None:
    """Return "cell [3]" for the file that IPython made of a cell, whose path says nothing; None for any other."""
    ipython = sys.modules.get("IPython.core.getipython")
    if ipython is None or not _OF_CELL.search(file):
        return None
    name_of = getattr(getattr(ipython.get_ipython(), "compile", None), "format_code_name", None)
    known = name_of(file) if name_of is not None else None  # ("Cell", "In[3]"), as in a traceback
    return f"cell {known[1].removeprefix('In')}" if known is not None else None


def expression_at(code: CodeType, offset: int) -> Expression | None:
    """Return the source text at a bytecode offset, with its line; None where the code carries no positions.

    An expression over several lines gives its first line.
    """
    nowhere = None, None, None, None
    line, end_line, column, end_column = next(itertools.islice(code.co_positions(), offset // 2, None), nowhere)
    if line is None:
        return None
    source = _source_lines(code.co_filename)
    text = source[line - 1] if line <= len(source) else ""
    if column is not None and end_column is not None and text:
        # Columns count bytes of the UTF-8 source.
        encoded = text.encode("utf-8", "surrogatepass")
        cut = encoded[column:end_column] if end_line == line else encoded[column:]
        text = cut.decode("utf-8", "replace")
    text = text.strip()
    return Expression(text=text.removeprefix("await ").strip(), line=line)


def _source_lines(filename: str) -> list[str]:
    lines = linecache.getlines(filename)
    if not lines and filename.startswith("<") and "__main__" in sys.modules:
        lines = linecache.getlines(filename, vars(sys.modules["__main__"]))
    return lines
