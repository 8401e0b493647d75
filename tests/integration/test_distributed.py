"""One trace over two processes: a request's `traceparent` is the parent of a service's spans, and goes on to the next.

What is run is examples/distributed, by the commands of its README, which shows the spans that come of it.
"""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from opentelemetry.proto.trace.v1.trace_pb2 import Span
from otlp_receiver import ReceivedSpan, Receiver, receiving
from zero_code import command, environment

pytestmark = pytest.mark.skipif(os.name == "nt", reason="ends the services by SIGTERM")

_FOLDER = Path(__file__).resolve().parents[2] / "examples" / "distributed"
_README = (_FOLDER / "README.md").read_text(encoding="utf-8")
_TRACE, _CALLER = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
_UNSAMPLED_TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
_STARTED_WITHIN_S = 60


def _blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)\n```$", _README, re.MULTILINE | re.DOTALL)


def _line(*words: str) -> str:
    """Return the line of the README's commands that has all these words."""
    lines = [line for block in _blocks("sh") for line in block.splitlines()]
    (line,) = (line for line in lines if all(word in line for word in words))
    return line


def _exported(line: str) -> dict[str, str]:
    return dict(word.split("=", 1) for word in shlex.split(line) if "=" in word)


class Service:
    """A service of the example, as its README starts it, on a port of its own."""

    def __init__(self, name: str, receiver: Receiver, *more: str) -> None:
        settings, _, program = _line(f"{name}.py").partition(" ")
        collector = {**_exported(_line("OTEL_TRACES_EXPORTER=otlp")), "OTEL_EXPORTER_OTLP_ENDPOINT": receiver.url}
        self.process = subprocess.Popen(
            [*command(program), "--port", "0", *more],
            cwd=_FOLDER,
            env={**environment(receiver.url), **collector, **_exported(settings), "PYTHONUNBUFFERED": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def address(self) -> str:
        """Return where it listens, as soon as it says that it does."""
        assert self.process.stdout is not None and self.process.stderr is not None
        too_late = threading.Timer(_STARTED_WITHIN_S, self.process.kill)
        too_late.start()
        try:
            said = self.process.stdout.readline()
        finally:
            too_late.cancel()
        found = re.search(r"Running on (http://\S+)", said)
        if found is None:
            self.process.kill()
            raise AssertionError(said + self.process.stderr.read())
        return found[1]

    def finish(self) -> tuple[int, str]:
        """Have it end as a supervisor does; return its exit code, and what it has complained of."""
        self.process.send_signal(signal.SIGTERM)
        _, complaints = self.process.communicate(timeout=60)
        return self.process.returncode, complaints


@contextmanager
def _running(*services: Service) -> Iterator[None]:
    try:
        yield
    finally:
        for service in services:
            if service.process.poll() is None:
                service.process.kill()
            service.process.communicate()


@pytest.fixture(scope="module")
def received(recording_core: str) -> list[ReceivedSpan]:
    """Send three requests on one connection, with three headers, and return all spans of both services."""
    headers = [
        {"traceparent": f"00-{_TRACE}-{_CALLER}-01", "tracestate": "caller=1"},
        {"traceparent": f"00-{_UNSAMPLED_TRACE}-{_CALLER}-00"},
        {},
    ]
    with receiving() as receiver:
        stock = Service("stock", receiver)
        with _running(stock):
            shop = Service("shop", receiver, "--stock", stock.address())
            with _running(shop):
                with httpx.Client(base_url=shop.address(), trust_env=False, timeout=60) as client:
                    answers = [client.get("/buy/apple,pear", headers=each).json() for each in headers]
                ended = [shop.finish(), stock.finish()]
        assert answers == [{"total": 4.5, "reserved": 2}] * 3
        assert ended == [(0, "")] * 2
        return receiver.received


def _tree(spans: list[ReceivedSpan]) -> list[str]:
    """Return the spans of one trace as lines: name, service, and who made it."""
    ids = {each.span.span_id for each in spans}
    lines: list[tuple[str, ReceivedSpan]] = []

    def add(parent: bytes | None, indent: str) -> None:
        children = [
            each
            for each in spans
            if (each.span.parent_span_id == parent if parent is not None else each.span.parent_span_id not in ids)
        ]
        children.sort(key=lambda each: each.span.name)
        for number, child in enumerate(children, 1):
            is_last = number == len(children)
            branch, below = ("", "") if parent is None else ("└─ ", "   ") if is_last else ("├─ ", "│  ")
            lines.append((indent + branch + child.span.name, child))
            add(child.span.span_id, indent + below)

    add(None, "")
    width = max(len(name) for name, _ in lines)
    return [f"{name:{width}}  {each.service:5}  {each.scope.rpartition('.')[2]}" for name, each in lines]


def _of_trace(received: list[ReceivedSpan], trace_id: str) -> list[ReceivedSpan]:
    return [each for each in received if each.span.trace_id.hex() == trace_id]


def _documented_tree() -> list[str]:
    (block,) = _blocks("text")
    return [re.sub(r" {2,}(?=\w)", "  ", line) for line in block.splitlines()]


def test_spans_of_both_services_are_one_tree_under_the_callers(received: list[ReceivedSpan]) -> None:
    spans = _of_trace(received, _TRACE)

    assert [re.sub(r" {2,}(?=\w)", "  ", line) for line in _tree(spans)] == _documented_tree()
    (root,) = (each for each in spans if each.span.parent_span_id.hex() == _CALLER)
    assert root.span.name == "GET /buy/{items}"
    assert {each.span.trace_state for each in spans} == {"caller=1"}
    made_by = {each.scope.rpartition(".")[2]: each.span.kind for each in spans}
    assert made_by == {
        "aiohttp_server": Span.SPAN_KIND_SERVER,
        "aiohttp_client": Span.SPAN_KIND_CLIENT,
        "asynctrace": Span.SPAN_KIND_INTERNAL,
    }


def test_handler_says_what_it_waited_for(received: list[ReceivedSpan]) -> None:
    by_name = {(each.service, each.span.name): each.attributes for each in _of_trace(received, _TRACE)}

    buy = by_name["shop", "buy"]
    assert buy["asynctrace.waiting.io_s"] > 0  # type: ignore[operator]
    assert buy["asynctrace.waiting.gather_s"] > 0  # type: ignore[operator]
    assert by_name["shop", "ask_price"]["asynctrace.waiting.io_s"] > 0  # type: ignore[operator]
    assert by_name["stock", "get_price"]["asynctrace.waiting.sleep_s"] > 0  # type: ignore[operator]


def test_request_that_its_caller_does_not_sample_has_no_spans_anywhere(received: list[ReceivedSpan]) -> None:
    traces = {each.span.trace_id.hex() for each in received}

    assert _UNSAMPLED_TRACE not in traces
    assert len(traces) == 2, "of a service that does not know of the flag it would be in a trace of its own"


def test_request_without_a_caller_begins_a_trace(received: list[ReceivedSpan]) -> None:
    (trace,) = {each.span.trace_id.hex() for each in received} - {_TRACE}
    spans = _of_trace(received, trace)

    assert [each.span.name for each in spans if not each.span.parent_span_id] == ["GET /buy/{items}"]
    assert _tree(spans) == _tree(_of_trace(received, _TRACE))
