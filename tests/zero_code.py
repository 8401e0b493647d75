"""Programs under `opentelemetry-instrument`, which know nothing of who traces them."""

from __future__ import annotations

import os
import shlex
import sys
import sysconfig
from pathlib import Path

_LEFT_OUT = ("OTEL_", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY")


def command(text: str) -> list[str]:
    """Return a command for Python, split into words, with the programs of the environment that the tests run in."""
    scripts = Path(sysconfig.get_path("scripts"))
    programs = {"python": sys.executable, "opentelemetry-instrument": str(scripts / "opentelemetry-instrument")}
    return [programs.get(word, word) for word in shlex.split(text)]


def environment(url: str, **variables: str) -> dict[str, str]:
    """Return an environment in which spans go to the receiver at `url`, and nothing else goes anywhere."""
    inherited = {name: value for name, value in os.environ.items() if not name.upper().startswith(_LEFT_OUT)}
    return {
        **inherited,
        "OTEL_TRACES_EXPORTER": "otlp",
        "OTEL_METRICS_EXPORTER": "none",
        "OTEL_LOGS_EXPORTER": "none",
        "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
        "OTEL_EXPORTER_OTLP_ENDPOINT": url,
        **variables,
    }
