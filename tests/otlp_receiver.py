"""A receiver of OTLP over HTTP, as small as it can be."""

from __future__ import annotations

import http.server
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span


@dataclass(frozen=True, slots=True)
class ReceivedSpan:
    """A span, and who it comes from: the service of its resource, and the scope, which is who made it."""

    service: str
    scope: str
    span: Span

    @property
    def attributes(self) -> dict[str, str | bool | int | float]:
        """Return the attributes of one value each."""
        return {
            each.key: getattr(each.value, kind)
            for each in self.span.attributes
            if (kind := each.value.WhichOneof("value")) not in (None, "array_value", "kvlist_value")
        }


class Receiver:
    """A receiver of OTLP; `answer` says what it does with each request, by its number."""

    def __init__(self) -> None:
        self.requests: list[ExportTraceServiceRequest] = []
        self.paths: list[str] = []
        self.headers: list[dict[str, str]] = []
        self.answer: Callable[[int, http.server.BaseHTTPRequestHandler], bool] = lambda number, handler: True
        receiver = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                receiver.paths.append(self.path)
                receiver.headers.append(dict(self.headers))
                if receiver.answer(len(receiver.paths), self):
                    receiver.requests.append(ExportTraceServiceRequest.FromString(body))
                    respond(self, 200)

            def log_message(self, *args: object) -> None: ...

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_port}"

    @property
    def received(self) -> list[ReceivedSpan]:
        return [
            ReceivedSpan(_service(resource.resource.attributes), scope.scope.name, span)
            for request in self.requests
            for resource in request.resource_spans
            for scope in resource.scope_spans
            for span in scope.spans
        ]

    @property
    def spans(self) -> list[Span]:
        return [received.span for received in self.received]


def _service(attributes: Iterable[KeyValue]) -> str:
    return next((each.value.string_value for each in attributes if each.key == "service.name"), "")


def respond(handler: http.server.BaseHTTPRequestHandler, status: int, body: bytes = b"", **headers: str) -> bool:
    handler.send_response(status)
    for name, value in headers.items():
        handler.send_header(name, value)
    handler.send_header("Content-Length", str(len(body)))
    handler.end_headers()
    handler.wfile.write(body)
    return False


@contextmanager
def receiving() -> Iterator[Receiver]:
    """Run a receiver on a thread."""
    receiver = Receiver()
    thread = threading.Thread(target=receiver.server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield receiver
    finally:
        receiver.server.shutdown()
        thread.join()
        receiver.server.server_close()
