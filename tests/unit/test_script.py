"""A program run by us behaves as under `python`: the same output, errors and exit code."""

import os
import signal
import stat
import subprocess
import sys
import textwrap
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from asynctrace.errors import UsageError
from asynctrace.script import find_program

ROOT = Path(__file__).parents[2]
RUNNER = """
import sys
from asynctrace.script import Program, find_program, run
words = sys.argv[1:]
program = Program(words[1], tuple(words[2:]), "module") if words[0] == "-m" else find_program(words)
sys.exit(run(program, lambda: None))
"""
Write = Callable[[str, str], Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def write(name: str, text: str) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(text), encoding="utf-8")
        return path

    return write


# Alone, it tells whether a difference is the runner's or the recorder's; as a rule there is none.
@pytest.fixture(params=["asynctrace run", pytest.param("script.py alone", marks=pytest.mark.slow)])
def ours(request: pytest.FixtureRequest, tmp_path: Path) -> list[str]:
    """The words that stand for `python` when we run the program."""
    if request.param == "asynctrace run":
        return [sys.executable, "-m", "asynctrace", "run", "-q", "-o", str(tmp_path / "out.pftrace")]
    return [sys.executable, "-c", RUNNER]


def outcome(words: list[str], folder: Path, **options: object) -> tuple[int, str, str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(
        words, cwd=folder, env=environment, capture_output=True, text=True, timeout=60, check=False, **options
    )  # type: ignore[call-overload]
    return done.returncode, done.stdout, done.stderr


def assert_same(ours: list[str], words: list[str], folder: Path, **options: object) -> tuple[int, str, str]:
    expected = outcome([sys.executable, *words], folder, **options)
    assert outcome([*ours, *words], folder, **options) == expected
    return expected


MAIN_ATTRIBUTES = """
import sys
main = sys.modules["__main__"]
assert main.__dict__ is globals()
for name, value in sorted(vars(main).items()):
    if name == "__loader__":
        print(name, type(value).__name__, value.name, value.path)
    elif name == "__builtins__":
        print(name, type(value).__name__, value.__name__)
    else:
        print(name, repr(value) if not hasattr(value, "loader") else (value.name, value.origin, value.cached))
print(sys.argv, sys.path[:2])
"""


@pytest.mark.parametrize(
    "words", [["script.py"], ["script.py", "-q", "--workers", "2", "--", "-o", "x"], ["./script.py"]]
)
def test_main_of_a_script(ours: list[str], write: Write, tmp_path: Path, words: list[str]) -> None:
    write("script.py", MAIN_ATTRIBUTES)

    assert_same(ours, words, tmp_path)


def test_main_of_a_module_in_a_package(ours: list[str], write: Write, tmp_path: Path) -> None:
    write("package/__init__.py", "import sys; print('package sees', sys.argv, __name__)")
    write("package/module.py", MAIN_ATTRIBUTES + "\nfrom . import __name__ as parent; print(parent)")

    assert_same(ours, ["-m", "package.module", "-q", "-m", "x"], tmp_path)


def test_main_of_a_package_a_folder_and_an_archive(ours: list[str], write: Write, tmp_path: Path) -> None:
    main = write("package/__main__.py", MAIN_ATTRIBUTES)
    with zipfile.ZipFile(tmp_path / "archive.pyz", "w") as archive:
        archive.writestr("__main__.py", "import sys; print(__name__, __file__, sys.argv, sys.path[0])")

    assert main.exists()
    assert_same(ours, ["-m", "package"], tmp_path)
    assert_same(ours, ["package", "a"], tmp_path)
    assert_same(ours, ["archive.pyz", "a"], tmp_path)


def test_script_behind_a_link_finds_the_modules_beside_it(ours: list[str], write: Write, tmp_path: Path) -> None:
    write("real/beside.py", "print('beside')")
    write("real/script.py", "import beside, sys; print(sys.path[0], __file__)")
    (tmp_path / "link.py").symlink_to(tmp_path / "real" / "script.py")

    assert_same(ours, ["link.py"], tmp_path)


def test_compiled_script(ours: list[str], write: Write, tmp_path: Path) -> None:
    import py_compile

    py_compile.compile(str(write("script.py", MAIN_ATTRIBUTES)), str(tmp_path / "script.pyc"))

    assert_same(ours, ["script.pyc"], tmp_path)


ENDINGS = {
    "returns": "print('done')",
    "exits with nothing": "import sys; sys.exit()",
    "exits with a code": "import sys; sys.exit(7)",
    "exits with a text": "import sys; sys.exit('what happened')",
    "exits with an object": "import sys; sys.exit([1, 2])",
    "raises": """
        def inner():
            raise ValueError("no such value")
        def outer():
            try:
                inner()
            except ValueError as error:
                raise RuntimeError("failed") from error
        outer()
        """,
    "raises a group": "raise ExceptionGroup('several', [ValueError(1), KeyError('a')])",
    "raises one of ours": "from asynctrace.errors import UsageError; raise UsageError('mine')",
    "has a syntax error": "x = (1,\ny = 2\n",
    "has its own excepthook": """
        import sys
        def hook(kind, value, traceback):
            print("hook", kind, value, traceback.tb_next, value.__traceback__ is traceback)
        sys.excepthook = hook
        raise KeyError("mine")
        """,
    "has an excepthook that exits": "import sys; sys.excepthook = lambda *_: sys.exit(5); raise KeyError",
    "os._exit": "import os; print('bye', flush=True); os._exit(9)",
    "killed": "import os, signal; os.kill(os.getpid(), signal.SIGKILL)",
    "Ctrl-C": "import os, signal; os.kill(os.getpid(), signal.SIGINT); print('not reached')",
    "Ctrl-C with a handler at exit": """
        import atexit, os, signal
        atexit.register(print, "handler")
        os.kill(os.getpid(), signal.SIGINT)
        """,
    "raises in a thread": """
        import threading
        def target(): raise ValueError("in a thread")
        thread = threading.Thread(target=target); thread.start(); thread.join()
        """,
    "threads and exit handlers go on after the main code": """
        import atexit, threading, time
        atexit.register(print, "exit handler")
        def target():
            time.sleep(0.05)
            print("thread")
        threading.Thread(target=target).start()
        raise ValueError("main code")
        """,
    "raises with its last exception kept": """
        import atexit, sys
        def look():
            print(sys.last_type, sys.last_value, sys.last_traceback.tb_frame.f_code.co_name, sys.last_traceback.tb_next)
        atexit.register(look)
        raise ValueError(3)
        """,
    "warns of its own deprecations": "import warnings; warnings.warn('old', DeprecationWarning, stacklevel=1)",
    "never awaits": "async def main(): pass\nmain()",
    "annotations": "x: int = 3\nprint(__annotations__)",
    "future annotations do not leak in": "def f(a: 1 + 1): pass\nprint(f.__annotations__)",
    "inspects itself": """
        import inspect, linecache, sys
        def f(): return 1
        class C:
            a = 1
        print(inspect.getsource(f), inspect.getsource(C), inspect.getsourcefile(f), linecache.getline(__file__, 2))
        print(inspect.getmodule(f) is sys.modules["__main__"])
        """,
    "pickles its functions": """
        import pickle
        def f(): return 1
        class C: pass
        print(pickle.loads(pickle.dumps(f)) is f, type(pickle.loads(pickle.dumps(C()))) is C)
        """,
    "imports itself as __main__": "import __main__\nx = 4\nprint(__main__.x)",
    "unicode": "print('naïve ☃ 🎉')",
}


@pytest.mark.parametrize("ending", ENDINGS)
def test_ending(ours: list[str], write: Write, tmp_path: Path, ending: str) -> None:
    if ending == "annotations" and sys.version_info >= (3, 14):
        pytest.skip("__annotations__ is no global any more")
    write("script.py", ENDINGS[ending])

    assert_same(ours, ["script.py"], tmp_path)


def test_excepthook_that_fails_shows_both(ours: list[str], write: Write, tmp_path: Path) -> None:
    write(
        "script.py",
        "import sys\ndef hook(*_):\n    raise TypeError('in hook')\nsys.excepthook = hook\nraise KeyError(1)\n",
    )

    code, _, errors = outcome([*ours, "script.py"], tmp_path)

    assert code == 1
    assert "Error in sys.excepthook" in errors
    assert "TypeError: in hook" in errors
    assert "Original exception was" in errors
    assert "KeyError: 1" in errors
    assert "asynctrace" not in errors


def test_uncaught_exception_of_a_module_shows_no_frame_of_ours(ours: list[str], write: Write, tmp_path: Path) -> None:
    write("package/__init__.py", "")
    write("package/module.py", "def f():\n    1 / 0\nf()\n")
    write("broken/__init__.py", "import nowhere_to_be_found\n")

    code, _, errors = outcome([*ours, "-m", "package.module"], tmp_path)
    assert code == 1
    assert errors.count("  File ") == 2
    code, _, errors = outcome([*ours, "-m", "broken"], tmp_path)
    assert code == 1
    assert errors.count("  File ") == 1
    assert errors.endswith("ModuleNotFoundError: No module named 'nowhere_to_be_found'\n")


def test_standard_input_is_the_programs(ours: list[str], write: Write, tmp_path: Path) -> None:
    write("script.py", "import sys; print(input(), sys.stdin.read())")

    assert_same(ours, ["script.py"], tmp_path, input="first\nsecond\nthird")


def test_ctrl_c_ends_the_process_as_killed_by_the_signal(ours: list[str], write: Write, tmp_path: Path) -> None:
    write("script.py", ENDINGS["Ctrl-C"])

    assert assert_same(ours, ["script.py"], tmp_path)[0] == -signal.SIGINT


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_multiprocessing_finds_main_again(ours: list[str], write: Write, tmp_path: Path, method: str) -> None:
    text = """
        import multiprocessing, sys
        def square(x):
            return x * x, __name__ in ("__main__", "__mp_main__")
        if __name__ == "__main__":
            with multiprocessing.get_context(sys.argv[1]).Pool(2) as pool:
                print(pool.map(square, range(3)))
        """
    write("script.py", text)
    write("package/__init__.py", "")
    write("package/__main__.py", text)
    write("package/module.py", text)

    assert assert_same(ours, ["script.py", method], tmp_path)[0] == 0
    assert assert_same(ours, ["-m", "package.module", method], tmp_path)[0] == 0


def test_process_pool_executor(ours: list[str], write: Write, tmp_path: Path) -> None:
    write(
        "script.py",
        """
        import asyncio
        from concurrent.futures import ProcessPoolExecutor
        from multiprocessing import get_context
        def square(x): return x * x
        async def main():
            loop = asyncio.get_running_loop()
            with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
                print(await asyncio.gather(*(loop.run_in_executor(pool, square, x) for x in range(3))))
        if __name__ == "__main__":
            asyncio.run(main())
        """,
    )

    assert assert_same(ours, ["script.py"], tmp_path)[0] == 0


def console_script(path: Path, text: str) -> None:
    path.write_text(f"#!{sys.executable}\n{textwrap.dedent(text)}", encoding="utf-8")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)


def test_console_script_is_found_on_path(ours: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "bin").mkdir()
    console_script(tmp_path / "bin" / "our-tool", "import sys; print(sys.argv, __name__, __file__); sys.exit(3)")
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}")

    program = str(tmp_path / "bin" / "our-tool")
    expected = outcome([sys.executable, program, "--its", "-q"], tmp_path)
    assert outcome([*ours, "our-tool", "--its", "-q"], tmp_path) == expected
    assert expected[0] == 3


def test_console_script_without_a_python_file_is_called(
    ours: list[str], write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write("site/tool_package.py", "import sys\nclass Tool:\n    main = staticmethod(lambda: print(sys.argv) or 3)\n")
    write("site/tool_package-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: tool-package\nVersion: 1.0\n")
    write("site/tool_package-1.0.dist-info/entry_points.txt", "[console_scripts]\nour-tool = tool_package:Tool.main\n")
    code = f"import sys; sys.path.append({str(tmp_path / 'site')!r}); from asynctrace.cli import main; sys.exit(main())"
    run = (
        [sys.executable, "-c", code, "run", "-q"]
        if "-m" in ours
        else [*ours[:2], f"{code[: code.index('from')]}{RUNNER}"]
    )

    assert outcome([*run, "our-tool", "-x"], tmp_path) == (3, "['our-tool', '-x']\n", "")


def test_a_program_of_another_language_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "tool").write_text("#!/bin/sh\necho hello\n")
    (tmp_path / "tool").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))

    with pytest.raises(UsageError, match="no script tool, and no Python program"):
        find_program(["tool"])


def test_a_folder_that_cannot_be_run_is_told(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"without a __main__\.py"):
        find_program([str(tmp_path)])


def test_a_module_that_is_missing_is_wrong_usage(tmp_path: Path) -> None:
    from asynctrace.script import Program, run

    with pytest.raises(UsageError, match="cannot run nowhere_to_be_found: No module named nowhere_to_be_found"):
        run(Program("nowhere_to_be_found", (), "module"), lambda: None)
