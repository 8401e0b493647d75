"""Spans in software that is not ours: arize-phoenix gets them by OTLP, and its API says what it kept.

It is large and has pins of its own, so it has an environment of its own, too: ASYNCTRACE_TEST_PHOENIX names its Python.

Compared is what it keeps: ids, parents, names, status, attributes with their types, events and times. It divides a time
in nanoseconds as a float and rounds that to microseconds: half of one, and 247 ns that floats lose: 0.75 µs at most.
It takes the names of attributes apart at their dots, and its REST API puts them together again. Links, the kind, the
scope and the resource (but for the name of its project) are not there.
"""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SimpleSpanProcessor, SpanExporter
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

import asynctrace
from asynctrace.model.trace import Trace

PYTHON = os.environ.get("ASYNCTRACE_TEST_PHOENIX", "")
PROJECT = "openinference.project.name"  # of a resource: the project that phoenix puts its spans in

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not PYTHON,
        reason="set ASYNCTRACE_TEST_PHOENIX to the Python of an environment that has arize-phoenix to send it spans",
    ),
]


@asynctrace.traced(attributes={"unit": "euro", "shop.tier": "gold", "retries": 3, "ratio": 1.0, "is_new": True})
async def count() -> None:
    await asyncio.sleep(0.001)


@asynctrace.traced
def price() -> int:
    return 3


@asynctrace.traced
async def fail() -> None:
    await asyncio.sleep(0)
    raise ValueError("not to be recorded")


@asynctrace.traced
async def main() -> None:
    async with asyncio.TaskGroup() as group:
        group.create_task(count())
        group.create_task(count())
    price()
    await asyncio.gather(count(), fail(), return_exceptions=True)


NAMES = ["count", "count", "count", "fail", "main", "price"]


def recorded() -> Trace:
    with asynctrace.record() as recording:
        asyncio.run(main())
    return recording.trace


def send_recording(provider: TracerProvider) -> None:
    recorded().to_otel(provider, events=True)


def send_live(provider: TracerProvider) -> None:
    asynctrace.otel.instrument(tracer_provider=provider, events=True, metrics=False)
    try:
        asyncio.run(main())
    finally:
        asynctrace.otel.uninstrument()


# What has the spans of `main` go through a provider, by its name.
SOURCES: dict[str, Callable[[TracerProvider], None]] = {"recording": send_recording, "live": send_live}


@dataclass(frozen=True, slots=True)
class Told:
    """What phoenix keeps of a span, beside its id; values of attributes are texts that tell 1 from 1.0 and True."""

    trace_id: str
    parent_id: str | None
    name: str
    start_ns: object
    end_ns: object
    status: tuple[str, str]
    attributes: dict[str, str]
    events: list[tuple[str, object, dict[str, str]]]


def told_of_sent(span: ReadableSpan) -> Told:
    def near(time_ns: int | None) -> object:
        return pytest.approx(time_ns, rel=0, abs=750)

    return Told(
        trace_id=f"{span.context.trace_id:032x}",
        parent_id=f"{span.parent.span_id:016x}" if span.parent is not None else None,
        name=span.name,
        start_ns=near(span.start_time),
        end_ns=near(span.end_time),
        status=(span.status.status_code.name, span.status.description or ""),
        attributes=texts(span.attributes or {}),
        events=[(each.name, near(each.timestamp), texts(each.attributes or {})) for each in span.events],
    )


def told_of_kept(span: dict[str, Any]) -> Told:
    def nanoseconds(text: str) -> int:
        return (datetime.fromisoformat(text) - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1) * 1000

    return Told(
        trace_id=span["context"]["trace_id"],
        parent_id=span["parent_id"],
        name=span["name"],
        start_ns=nanoseconds(span["start_time"]),
        end_ns=nanoseconds(span["end_time"]),
        status=(span["status_code"], span["status_message"]),
        attributes=texts(span["attributes"]),
        events=[(each["name"], nanoseconds(each["timestamp"]), texts(each["attributes"])) for each in span["events"]],
    )


def texts(attributes: Mapping[str, object]) -> dict[str, str]:
    return {key: repr(value) for key, value in attributes.items()}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Phoenix:
    """A server of its own, with all that it writes in `folder`."""

    def __init__(self, folder: Path) -> None:
        port, self.grpc_port = free_port(), free_port()
        self.url = f"http://127.0.0.1:{port}"
        self._client = httpx.Client(base_url=self.url, trust_env=False, timeout=60)
        self._log = folder / "log"
        inherited = {
            name: value for name, value in os.environ.items() if not name.startswith(("PHOENIX_", "OTEL_", "PYTHON"))
        }
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [os.path.abspath(PYTHON), "-m", "phoenix.server.main", "serve"],
                cwd=folder,
                env={
                    **inherited,
                    "TMPDIR": str(folder),  # where it notes which servers run
                    "PHOENIX_WORKING_DIR": str(folder),
                    "PHOENIX_HOST": "127.0.0.1",  # not for gRPC, which it serves on every address
                    "PHOENIX_PORT": str(port),
                    "PHOENIX_GRPC_PORT": str(self.grpc_port),
                    "PHOENIX_TELEMETRY_ENABLED": "false",
                    "PHOENIX_ALLOW_EXTERNAL_RESOURCES": "false",
                },
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    def wait_until_up(self) -> None:
        end = time.monotonic() + 120
        while time.monotonic() < end and self._process.poll() is None:
            try:
                if self._client.get("/readyz").is_success:
                    return
            except httpx.TransportError:
                pass
            time.sleep(0.1)
        raise AssertionError(f"phoenix did not start: {self._log.read_text(encoding='utf-8', errors='replace')}")

    def stop(self) -> None:
        self._client.close()
        self._process.terminate()
        try:
            self._process.wait(timeout=30)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def kept(self, project: str, expected: int) -> dict[str, Told]:
        """Return the spans of a project by their ids, once there are as many as `expected` or a minute is over."""
        end = time.monotonic() + 60
        while True:
            answer = self._client.get(f"/v1/projects/{quote(project)}/spans", params={"limit": 1000})
            # It answers a sender before it stores what was sent; the first span makes the project.
            spans = [] if answer.status_code == httpx.codes.NOT_FOUND else answer.raise_for_status().json()["data"]
            if len(spans) >= expected or time.monotonic() > end:
                return {span["context"]["span_id"]: told_of_kept(span) for span in spans}
            time.sleep(0.05)


@pytest.fixture(scope="module")
def phoenix(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Phoenix]:
    server = Phoenix(tmp_path_factory.mktemp("phoenix"))
    try:
        server.wait_until_up()
        yield server
    finally:
        server.stop()


@pytest.fixture
def project() -> str:
    return uuid.uuid4().hex


@pytest.fixture(autouse=True)
def plain_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have neither limits nor headers nor proxies between a span and its receiver."""
    for name in list(os.environ):
        if name.startswith("OTEL_") or name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)


def over_http(phoenix: Phoenix) -> SpanExporter:
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

    return OTLPSpanExporter(endpoint=f"{phoenix.url}/v1/traces")


def over_grpc(phoenix: Phoenix) -> SpanExporter:
    # Not at the top of the file: gRPC may mind forks, and others' tests fork in the process that collects this one.
    from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter

    return OTLPSpanExporter(endpoint=f"http://127.0.0.1:{phoenix.grpc_port}", insecure=True)


def sent_through(provider: TracerProvider, send: Callable[[TracerProvider], object]) -> dict[str, Told]:
    """Have `send` send spans through a provider, which ends then; return them by their ids."""
    memory = InMemorySpanExporter()
    provider.add_span_processor(SimpleSpanProcessor(memory))
    try:
        send(provider)
    finally:
        provider.shutdown()
    return {f"{span.context.span_id:016x}": told_of_sent(span) for span in memory.get_finished_spans()}


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("exporter", [over_http, over_grpc])
def test_phoenix_keeps_the_spans_that_a_provider_sends(
    phoenix: Phoenix, project: str, exporter: Callable[[Phoenix], SpanExporter], source: str
) -> None:
    provider = TracerProvider(resource=Resource({PROJECT: project}), shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(exporter(phoenix)))

    sent = sent_through(provider, SOURCES[source])

    assert sorted(told.name for told in sent.values()) == NAMES
    assert phoenix.kept(project, len(sent)) == sent


def test_phoenix_keeps_the_spans_that_convert_sends(phoenix: Phoenix, project: str, tmp_path: Path) -> None:
    recorded().save(tmp_path / "trace.pftrace")
    endpoint = f"{phoenix.url}/v1/traces"

    ran = subprocess.run(
        [sys.executable, "-m", "asynctrace", "convert", "trace.pftrace", "--otlp", endpoint, "--events"],
        cwd=tmp_path,
        env={**os.environ, "OTEL_RESOURCE_ATTRIBUTES": f"{PROJECT}={project}"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )

    assert (ran.returncode, ran.stdout, ran.stderr) == (0, f"sent 6 spans to {endpoint}\n", "")
    saved = asynctrace.load(tmp_path / "trace.pftrace")
    nowhere = TracerProvider(shutdown_on_exit=False)
    expected = sent_through(nowhere, lambda provider: saved.to_otel(provider, events=True))
    assert {told.name for told in expected.values() if told.events} == {"count", "fail", "main"}
    assert {told.name: told.status for told in expected.values()}["fail"] == ("ERROR", "ValueError")
    assert without_ids(phoenix.kept(project, len(expected))) == without_ids(expected)


def without_ids(spans: dict[str, Told]) -> dict[str, Told]:
    """Return spans of one trace by what else tells them apart: each that sends them makes new ids."""
    assert len({told.trace_id for told in spans.values()}) == 1
    names = {span_id: f"{told.name} {sorted(told.attributes.items())}" for span_id, told in spans.items()}
    assert len(set(names.values())) == len(spans)
    return {
        names[span_id]: replace(told, trace_id="", parent_id=names[told.parent_id] if told.parent_id else None)
        for span_id, told in spans.items()
    }
