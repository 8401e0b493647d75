"""Send spans to an OTLP endpoint over HTTP (opentelemetry.io/docs/specs/otlp, OTLP/HTTP with binary protobuf).

The exporter of OpenTelemetry encodes and sends: OTEL_EXPORTER_OTLP_HEADERS, _CERTIFICATE, _COMPRESSION and _TIMEOUT
apply, and an overloaded receiver is asked again. It tells its caller only that it failed, takes a redirection for an
answer, and does not read what a receiver says that it rejected: so its HTTP session is one of ours, which looks.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit, urlunsplit

from opentelemetry.sdk.trace.export import SpanExportResult

from asynctrace.errors import UsageError
from asynctrace.otel.converting import Delivery, Rejection, UndeliveredError, missing_package

if TYPE_CHECKING:
    import requests
    from opentelemetry.sdk.trace import ReadableSpan

_PATH = "/v1/traces"
_GRPC_PORT = 4317


def traces_url(endpoint: str) -> str:
    """Return where spans are sent: `/v1/traces` is appended, as the standard exporter does, unless it is there.

    Raises:
        UsageError: If the endpoint is no URL of HTTP.
    """
    try:
        parts = urlsplit(endpoint)
        has_host = bool(parts.hostname) and parts.port != 0
    except ValueError:
        has_host = False
    if not has_host or parts.scheme not in ("http", "https"):
        raise UsageError(f"{endpoint!r} is no URL of an OTLP endpoint: use one such as http://localhost:4318")
    path = parts.path.rstrip("/")
    return urlunsplit(parts._replace(path=path if path.endswith(_PATH) else path + _PATH))


def http_delivery(url: str, on_progress: Callable[[int], None] | None = None) -> Delivery:
    """Return what sends spans to `url` (from `traces_url`).

    Raises:
        MissingPackageError: If the exporter is not installed.
    """
    try:
        import requests
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    except ImportError as error:
        raise missing_package("--otlp", "opentelemetry-exporter-otlp-proto-http") from error

    class Session(requests.Session):
        """Keeps what came of the last request."""

        answer: requests.Response | None = None
        error: requests.RequestException | None = None

        def forget(self) -> None:
            self.answer = self.error = None

        def request(self, *args: Any, **kwargs: Any) -> requests.Response:
            self.forget()
            answer: requests.Response | None = None
            try:
                answer = super().request(*args, **kwargs)
            except requests.exceptions.Timeout as error:
                self.error = error
            except requests.exceptions.ConnectionError as error:
                self.error = error
                if not _is_refused(error):
                    # Perhaps only a connection that was kept for reuse, and closed since: once again, with a new one.
                    try:
                        answer = super().request(*args, **kwargs)
                    except requests.RequestException as again:
                        self.error = again
            except requests.RequestException as error:
                self.error = error
            if answer is None:
                raise _UnansweredError  # nothing that the exporter would wait for and try again
            self.answer = answer
            return answer

    session = Session()
    exporter = OTLPSpanExporter(endpoint=url, session=session)

    def deliver(chunk: Sequence[ReadableSpan]) -> Rejection | None:
        session.forget()
        result = None
        try:
            result = exporter.export(chunk)
        except _UnansweredError:
            pass
        if session.answer is not None and not 200 <= session.answer.status_code < 300:
            raise UndeliveredError(f"it answered {session.answer.status_code} {session.answer.reason or ''}".rstrip())
        if session.answer is None and session.error is not None:
            raise _undelivered(session.error, url)
        if result is not SpanExportResult.SUCCESS:
            raise UndeliveredError("the exporter could not encode them")
        return _rejection(session.answer, len(chunk)) if session.answer is not None else None

    return Delivery(deliver, on_progress)


class _UnansweredError(Exception):
    """No answer came; what happened is in the session."""


def _is_refused(error: Exception) -> bool:
    from urllib3.exceptions import NewConnectionError

    return any(isinstance(each, NewConnectionError) for each in _causes(error))


def _causes(error: BaseException) -> list[BaseException]:
    """Return an error with those inside it: requests and urllib3 wrap each other's, as arguments and as contexts."""
    found: list[BaseException] = []
    waiting: list[object] = [error]
    while waiting:
        one = waiting.pop()
        if isinstance(one, BaseException) and one not in found:
            found.append(one)
            waiting += [one.__cause__, one.__context__, getattr(one, "reason", None), *one.args]
    return found


def _undelivered(error: requests.RequestException, url: str) -> UndeliveredError:
    import requests
    from urllib3.exceptions import NameResolutionError

    causes = _causes(error)
    hint = ""
    if urlsplit(url).port == _GRPC_PORT:
        hint = f" (port {_GRPC_PORT} is that of OTLP over gRPC: over HTTP it is most often 4318)"
    if any(isinstance(each, NameResolutionError) for each in causes):
        return UndeliveredError("its host is not known: check the name")
    if isinstance(error, requests.exceptions.ConnectTimeout):
        return UndeliveredError(f"no connection in time: check the host{hint}")
    if isinstance(error, requests.exceptions.Timeout):
        return UndeliveredError("no answer in time (OTEL_EXPORTER_OTLP_TIMEOUT says how long to wait)", is_unknown=True)
    if isinstance(error, requests.exceptions.SSLError):
        return UndeliveredError(f"no secure connection ({causes[-1]}): check https, or OTEL_EXPORTER_OTLP_CERTIFICATE")
    if any(isinstance(each, ConnectionRefusedError) for each in causes):
        return UndeliveredError(f"the connection was refused: check that a receiver runs there{hint}")
    if _is_refused(error):
        return UndeliveredError(f"no connection ({causes[-1]}){hint}")
    if isinstance(error, requests.exceptions.ConnectionError | requests.exceptions.ChunkedEncodingError):
        return UndeliveredError(f"the connection was closed without an answer{hint}", is_unknown=True)
    return UndeliveredError(str(error))


def _rejection(answer: requests.Response, sent: int) -> Rejection | None:
    """Return what an answer to `sent` spans says that was not accepted."""
    from google.protobuf.message import DecodeError
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse

    try:
        partial = ExportTraceServiceResponse.FromString(answer.content).partial_success
    except DecodeError:
        return None  # some receivers answer with a text, which says nothing against it
    return Rejection(max(0, min(partial.rejected_spans, sent)), partial.error_message)
