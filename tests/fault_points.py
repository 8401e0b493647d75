"""Faults in our own hooks: each of their functions, methods and closures compiled anew with points that can raise.

A point stands at the beginning of every function, or before every statement of it that is guarded. The package's
functions get the new code, closures come along inside of it; what raises is a function of a file in the package.
"""

from __future__ import annotations

import ast
import contextlib
import fnmatch
import functools
import importlib
import inspect
import pkgutil
from collections.abc import Iterator
from pathlib import Path
from types import CodeType, FunctionType, ModuleType
from typing import Any

import asynctrace
import asynctrace.probes
import asynctrace.recorder
import asynctrace.stream

FILE = str(Path(asynctrace.__file__).parent / "injected.py")
_NAME = "__asynctrace_fault_point__"

_SOURCE = """
def fault_point(point):
    if points.is_suspended:
        return
    if points.armed is None:
        points.reached.add(point)
    elif point == points.armed and (points.is_persistent or not points.fired):
        points.fired += 1
        raise points.error("injected")

def count_down(original, *args):
    if not points.is_suspended:
        points.count += 1
    if points.count == points.armed_count and not points.fired:
        points.fired += 1
        raise points.error("injected")
    return original(*args)
"""


class FaultPoints:
    """Which point raises what, and which were reached while none did."""

    def __init__(self, file: str = FILE) -> None:
        self.disarm()
        made: dict[str, Any] = {"points": self}
        exec(compile(_SOURCE, file, "exec"), made)
        self.fault_point = made["fault_point"]
        self.count_down = made["count_down"]

    def disarm(self) -> None:
        self.reached: set[str] = set()
        self.armed: str | None = None  # None: note what is reached
        self.is_persistent = False
        self.error: type[BaseException] = RuntimeError
        self.fired = 0
        self.count = 0
        self.is_suspended = False
        self.armed_count = 0

    def arm(self, point: str, *, is_persistent: bool, error: type[BaseException] = RuntimeError) -> None:
        self.disarm()
        self.armed, self.is_persistent, self.error = point, is_persistent, error

    def arm_count(self, count: int, error: type[BaseException] = RuntimeError) -> None:
        self.disarm()
        self.armed, self.armed_count, self.error = "", count, error

    def counted(self, original: Any) -> Any:
        """Return what calls `original` and raises at the call whose number is armed."""
        return functools.partial(self.count_down, original)


def modules() -> list[ModuleType]:
    """Return the modules whose code can run while the program runs."""
    names = ["asynctrace.stream"]
    for package in (asynctrace.probes, asynctrace.recorder):
        names += [f"{package.__name__}.{info.name}" for info in pkgutil.iter_modules(package.__path__)]
    # The guard itself has to be trusted: what it rests on cannot be caught by it.
    trusted = {"asynctrace.probes.failure", "asynctrace.probes.tracebacks"}
    found = [importlib.import_module(name) for name in sorted(names) if name not in trusted]
    return [module for module in found if str(module.__file__).endswith(".py")]  # of the native core there is no source


def functions() -> list[str]:
    """Return the names of all functions, methods, closures and lambdas, such as "loop.LoopProbe.install"."""
    return sorted({name for module in modules() for name in _Marker(module, every_statement=False).names})


class _Marker(ast.NodeTransformer):
    """Puts a call of the fault point into each function."""

    def __init__(self, module: ModuleType, every_statement: bool) -> None:
        self._every_statement = every_statement
        self._path = [module.__name__.rpartition(".")[2]]
        self.names: list[str] = []
        assert module.__file__ is not None
        self.tree = self.visit(ast.parse(Path(module.__file__).read_text()))
        ast.fix_missing_locations(self.tree)

    def visit_ClassDef(self, node: ast.ClassDef) -> Any:
        bases = [ast.unparse(base) for base in node.bases]
        if "Protocol" in bases:
            return node
        self._path.append(node.name)
        self.generic_visit(node)
        self._path.pop()
        return node

    def visit_FunctionDef(self, node: ast.FunctionDef) -> Any:
        self._path.append(node.name)
        name = ".".join(self._path)
        self.names.append(name)
        self._path.append("<locals>")
        self.generic_visit(node)
        del self._path[-2:]
        if self._every_statement:
            _mark_statements(node.body, name, is_guarded=not is_outermost(name))
        if not is_outermost(name):
            after_docstring = int(ast.get_docstring(node) is not None)
            node.body.insert(after_docstring, _call(name, node))
        return node

    def visit_Lambda(self, node: ast.Lambda) -> Any:
        name = ".".join([*self._path, f"<lambda {ast.unparse(node.body)}>"])
        self.names.append(name)
        self.generic_visit(node)
        if not is_outermost(name):
            pair = ast.Tuple([_call(name, node).value, node.body], ast.Load())
            node.body = ast.copy_location(ast.Subscript(pair, ast.Constant(1), ast.Load()), node.body)
        return node


def _call(name: str, at: Any) -> ast.Expr:
    call = ast.Call(ast.Name(_NAME, ast.Load()), [ast.Constant(name)], [])
    return ast.copy_location(ast.Expr(ast.copy_location(call, at)), at)


def _mark_statements(body: list[ast.stmt], name: str, is_guarded: bool) -> None:
    for statement in list(body):
        if isinstance(statement, ast.FunctionDef | ast.ClassDef):
            continue
        inner = is_guarded
        for field in ("body", "orelse", "finalbody"):
            below = getattr(statement, field, None)
            if isinstance(below, list):
                if isinstance(statement, ast.Try) and field == "body":
                    inner = is_guarded or any(f"check({each.name})" in ast.unparse(each) for each in statement.handlers)
                _mark_statements(below, name, inner if field == "body" else is_guarded)
        is_docstring = isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)
        if is_guarded and not is_docstring and not isinstance(statement, ast.Nonlocal | ast.Global):
            body.insert(body.index(statement), _call(f"{name}:{statement.lineno}", statement))


# Functions at whose beginning nothing of ours can catch a fault: what they call is made to fail instead.
OUTERMOST = {
    # The program calls them: their guards are inside.
    "loop.LoopProbe._make_*.<locals>.*": "shim",
    "monitoring._make_callbacks.<locals>.*": "callback of the interpreter",
    "runs.CallbackRun.__call__": "shim",
    "runs.StepRun.__call__": "shim",
    "jobs.JobProbe._replace_submit.<locals>.submit": "shim",
    "threads.ThreadProbe._make_run.<locals>.run": "shim",
    "processes.ProcessProbe._replace_start.<locals>.start": "shim",
    "processes._before_fork": "callback of the interpreter",
    "processes._after_fork_in_child": "callback of the interpreter",
    "children.Child._replace_run.<locals>.run": "shim",
    "children.Child._replace_exit.<locals>._exit": "shim",
    "children.Child.flush": "callback of the interpreter (atexit)",
    "children.Child._finish_with_multiprocessing": "callback of multiprocessing, after the fork: one call",
    "children.start_child": "called by what a spawned process unpickles",
    "pools.JobQueue.get": "shim",
    "runs._check_begin": "guard",
    "loop.LoopProbe._met": "guard",
    "loop._loop_gone": "callback of the interpreter",
    "keeper.Keeper._run": "what the keeper's thread runs: its guard is inside",
    "stream._nothing": "does nothing",
    "imports.ImportWatch.find_spec": "callback of the interpreter",
    "imports._TellingLoader.[!_]*": "shim",
    "meeting.LoopWatch.*.<locals>.*.<locals>.*": "shim",
    "profiling.Profiling._make_profile.<locals>.profile": "callback of the interpreter",
    "profiling.Profiling._make_loop_run.<locals>.run": "shim",
    "calls.trace_function.<locals>.traced": "shim",
    "wrapping.wrap_coroutine_function.<locals>.wrapper": "shim",
    "wrapping.Traced*": "stands in for a coroutine",
    "wrapping._TracedGeneratorStep.[!_]*": "stands in for a generator's step",
    "wrapping._TracedGeneratorStep.__*": "stands in for a generator's step",
    "wrapping._TracedGeneratorStep._run": "the stand-in's own call: its guards are inside",
    "wrapping._flags_of_throw": "two type checks",
    "wrapping._generator_gone": "callback of the interpreter",
    "tasks._collected": "callback of the interpreter",
    "tasks.TaskTable.collected": "callback of the interpreter: its guard is inside",
    # One attribute read or one call of what they stand for: it is theirs to fail.
    "runs.Run.__[!i]*": "stands in for a callback",
    "runs.callback_of": "reads an attribute for the stand-in",
    "jobs.JobId.__*": "called by the interpreter: the guard is inside, and relies on the first assignments",
    "jobs.JobCall.__*": "stands in for a function",
    "sleeping._Sleep.*": "stands in for a function",
    "sleeping._ByName.*": "pickled for a function",
    "processes._Passenger.*": "pickled with a process",
    "pools.JobQueue.__getattr__": "stands in for a queue",
    "imports._TellingLoader.__getattr__": "stands in for a loader",
    "loop._original.<locals>.through": "the program's call goes through it",
    "loop._keywords": "of the program's call",
    "loop._without_our_frame": "of the program's call",
    # They run where a function is decorated: that is no hook.
    "calls.trace_function": "decorator",
    "targets.note_wrapper": "decorator",
    "wrapping.wrap_coroutine_function": "decorator",
    # They are guards, or what the end of a recording rests on.
    "calls._close": "guard",
    "wrapping._finish": "guard",
    "wrapping._Watch.gone": "guard",
    "stream.check_failure*": "guard",
    "*.cpu_ns": "reads a clock when a recording starts and ends",
    "stream.Stream.start": "guards the installation",
    "stream.Stream.stop": "guards each removal",
    "stream.Stream._removals": "what is to be removed",
    "children.Child.stop": "ends a child's recording",
    "children._end_recording": "guard",
}


def is_outermost(name: str) -> bool:
    """Tell a function that no other of ours surrounds with a guard."""
    return any(fnmatch.fnmatchcase(name, pattern) for pattern in OUTERMOST)


@contextlib.contextmanager
def installed(points: FaultPoints, every_statement: bool = False) -> Iterator[None]:
    """Have the package's functions pass their points."""
    replaced: list[tuple[FunctionType, CodeType]] = []
    for module in modules():
        marked = compile(_Marker(module, every_statement).tree, module.__file__ or "", "exec")
        codes = {(code.co_qualname, code.co_firstlineno): code for code in _inner_codes(marked)}
        setattr(module, _NAME, points.fault_point)
        for function in _functions_of(module):
            code = codes[function.__code__.co_qualname, function.__code__.co_firstlineno]
            assert code.co_freevars == function.__code__.co_freevars, code
            replaced.append((function, function.__code__))
            function.__code__ = code
    try:
        yield
    finally:
        for function, code in replaced:
            function.__code__ = code
        for module in modules():
            delattr(module, _NAME)


def _inner_codes(code: CodeType) -> Iterator[CodeType]:
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield constant
            yield from _inner_codes(constant)


def _functions_of(module: ModuleType) -> Iterator[FunctionType]:
    for value in list(vars(module).values()):
        if inspect.isclass(value) and value.__module__ == module.__name__:
            for member in list(vars(value).values()):
                yield from _plain(member, module)
        else:
            yield from _plain(value, module)


def _plain(value: Any, module: ModuleType) -> Iterator[FunctionType]:
    if isinstance(value, property):
        for part in (value.fget, value.fset):
            yield from _plain(part, module)
        return
    value = inspect.unwrap(getattr(value, "__func__", value)) if callable(value) else value
    own = isinstance(value, FunctionType) and value.__code__.co_filename == module.__file__
    if own and value.__globals__ is vars(module):
        yield value
