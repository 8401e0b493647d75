"""Who imports whom: downward only, as the design has it. Parsed from the source, imports inside functions included."""

import ast
import importlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import asynctrace

PACKAGE = Path(asynctrace.__file__).parent

VOCABULARY = {"errors", "clock", "events", "cores", "replacing", "__version__"}
BELOW_CHARTS = VOCABULARY | {"model", "analysis"}
RECORDER_SIDE = VOCABULARY | {"recorder", "probes"}
BELOW_FACES = BELOW_CHARTS | RECORDER_SIDE | {"charts", "formats", "otel", "recording", "runner", "decorator"}
MAY_IMPORT: dict[str, set[str]] = {
    "errors": set(),
    "clock": set(),
    "events": set(),
    "cores": {"errors"},
    "replacing": {"errors"},
    "recorder": VOCABULARY,
    "probes": VOCABULARY | {"recorder"},
    "model": VOCABULARY,
    "analysis": VOCABULARY | {"model"},
    "charts": BELOW_CHARTS,
    "formats": BELOW_CHARTS,
    "otel": BELOW_CHARTS,
    "stream": RECORDER_SIDE,
    # The one place where the recorder side and the model side meet.
    "recording": RECORDER_SIDE | {"stream", "streaming", "snapshots", "model"},
    "streaming": RECORDER_SIDE | {"formats"},
    "snapshots": RECORDER_SIDE | {"stream", "streaming"},
    "settings": {"errors", "recording", "stream"},
    "decorator": RECORDER_SIDE | {"stream"},
    "runner": RECORDER_SIDE | {"stream", "recording", "settings", "termination"},
    "script": {"errors"},
    "termination": set(),
    "version_runs": BELOW_FACES | {"script", "stream", ""},
    "comparison": BELOW_FACES | {"script", "version_runs"},
    "testing": BELOW_FACES,
    "pytest_plugin": BELOW_FACES | {"testing"},
    "jupyter": BELOW_FACES,
    "cli": BELOW_FACES | {"script", "settings", "stream", "termination", "comparison", "version_runs", ""},
    # The public names are imported on first use; the type checker sees them at once.
    "": {"comparison", "cores", "decorator", "errors", "formats", "model", "recorder", "recording", "runner"},
    "__main__": {"cli"},
}
# The convenience methods of Trace, which import inside the function.
EXCEPTIONS = {
    ("model.trace", "formats"),
    ("model.trace", "charts"),
    ("model.trace", "analysis"),
    ("model.trace", "otel"),
    # Spans while the program runs: the second place where the recorder side and the model side meet.
    ("otel.live", "recording"),
    ("otel.live", "stream"),
    ("otel.live_hooks", "probes"),
    ("otel.live_hooks", "recorder"),
    ("otel.live_reading", "recorder"),
}


def modules() -> Iterator[tuple[str, Path]]:
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        if parts[0] != "demo":  # scripts to run, not modules of ours
            yield ".".join(part for part in parts if part != "__init__"), path


def imports_of(path: Path) -> set[str]:
    """Return the modules of ours that `path` imports, without the package's name; "" for the package itself."""
    found: set[str] = set()
    for node in ast.walk(_without_type_checking(ast.parse(path.read_text(encoding="utf-8")))):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute"
            names = [node.module or ""]
            if node.module == "asynctrace":
                layers = {*MAY_IMPORT, "__version__"}
                names = [f"asynctrace.{alias.name}" if alias.name in layers else "asynctrace" for alias in node.names]
        else:
            continue
        found.update(name.removeprefix("asynctrace").removeprefix(".") for name in names if _is_ours(name))
    return found


def _is_ours(name: str) -> bool:
    return name == "asynctrace" or name.startswith("asynctrace.")


def _without_type_checking(tree: ast.Module) -> ast.Module:
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            node.body = [ast.Pass()]
    return tree


@pytest.mark.parametrize(("module", "path"), list(modules()), ids=[name or "__init__" for name, _ in modules()])
def test_imports_go_downward(module: str, path: Path) -> None:
    layer = module.partition(".")[0]
    allowed = MAY_IMPORT[layer] | {layer}
    layers = {imported.partition(".")[0] for imported in imports_of(path)}

    breaches = {lower for lower in layers - allowed if (module, lower) not in EXCEPTIONS}

    assert breaches == set()


def test_exceptions_import_inside_functions_only() -> None:
    tree = ast.parse((PACKAGE / "model" / "trace.py").read_text(encoding="utf-8"))

    top_level = {node.module for node in tree.body if isinstance(node, ast.ImportFrom)}

    assert {name for name in top_level if name and _is_ours(name)} == {"asynctrace.events"}


@pytest.mark.parametrize("name", sorted({*asynctrace.__all__, *asynctrace._HOMES}))
def test_public_name_exists_and_no_module_shadows_it(name: str) -> None:
    if name == "EventLoopPolicy" and sys.version_info >= (3, 16):
        pytest.skip("there are no policies any more")

    assert getattr(asynctrace, name) is not None
    assert not (PACKAGE / f"{name}.py").exists()
    assert not (PACKAGE / name).exists()
    assert name == "__version__" or name in dir(asynctrace)


@pytest.mark.parametrize("package", ["recorder", "formats", "model", "analysis", "charts", "otel", "probes", "cli"])
def test_no_submodule_shadows_a_function_of_its_package(package: str) -> None:
    module = importlib.import_module(f"asynctrace.{package}")
    submodules = {path.stem for path in (PACKAGE / package).glob("*.py")}

    functions = {name for name, value in vars(module).items() if callable(value)}

    assert functions & submodules == set()


def test_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'nothing_of_this_name'"):
        asynctrace.nothing_of_this_name  # type: ignore[attr-defined]


def test_a_python_without_policies_says_what_to_use(monkeypatch: pytest.MonkeyPatch) -> None:
    import asynctrace.runner

    monkeypatch.delattr(asynctrace.runner, "EventLoopPolicy", raising=False)
    monkeypatch.delitem(vars(asynctrace), "EventLoopPolicy", raising=False)

    with pytest.raises(AttributeError, match=r"loop_factory=asynctrace\.new_event_loop"):
        asynctrace.EventLoopPolicy


def loaded_by(statement: str) -> set[str]:
    """Return the top-level modules that `statement` loads in a fresh interpreter."""
    code = f"import sys; before = set(sys.modules); {statement}; print(*sorted(set(sys.modules) - before))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=PACKAGE.parent)
    return set(done.stdout.split())


def test_import_loads_next_to_nothing() -> None:
    assert loaded_by("import asynctrace") == {"asynctrace"}


@pytest.mark.parametrize(
    "statement",
    [
        "import asynctrace.cli.run, asynctrace.script, asynctrace.recording",
        "import asynctrace.formats",
        "import asynctrace.formats.chrome, asynctrace.formats.speedscope, asynctrace.cli.convert",
        "import asynctrace.analysis.summary, asynctrace.cli.summary",
        "from asynctrace import record, run, traced, load, new_event_loop, core",
        "from asynctrace import load_ipython_extension",
        "import asynctrace.cli.view",
    ],
)
def test_heavy_packages_are_not_loaded(statement: str) -> None:
    heavy = {"IPython", "bokeh", "matplotlib", "numpy", "opentelemetry", "pyarrow", "rich"}

    assert {name.partition(".")[0] for name in loaded_by(statement)} & heavy == set()
