"""`asynctrace convert`: to a receiver of OTLP over HTTP that takes it, refuses it or goes away, and to OTLP JSON."""

from __future__ import annotations

import base64
import gzip
import http.server
import json
import re
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from google.protobuf import json_format
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTracePartialSuccess,
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from otlp_receiver import Receiver, receiving, respond

from asynctrace import events as kinds
from asynctrace.cli import main
from asynctrace.cli.convert import FORMATS
from asynctrace.events import Event, Part, Site, ThreadInfo
from asynctrace.formats import load, save_parts
from asynctrace.formats.exporting import EXPORT_SUFFIXES
from tests.perfetto_view import view

START_NS, WALL_NS = 10**15, 1_700_000_000 * 10**9
INSTALL = "install asynctrace[otel] (pip install 'asynctrace[otel]')"


def part_of(count: int, pid: int = 100, program: str = "app.py") -> Part:
    """Return what a program records that has `main` await `count` decorated tasks, one after the other."""
    events: list[Event] = []

    def add(kind: int, subject: int, other: int = 0, site: int = 0, flags: int = 0) -> None:
        events.append((START_NS + 1000 * len(events), 1, kind, subject, other, site, flags))

    loop, main_task = (pid << 32) + 1, (pid << 32) + 2
    add(kinds.LOOP_SEEN, loop, 0, 1)
    add(kinds.TASK_CREATED, main_task, 0, 2)
    add(kinds.STEP_STARTED, main_task, loop)
    add(kinds.COROUTINE_STARTED, main_task + 1, 0, 2)
    for number in range(count - 1):
        child = main_task + 2 + 2 * number
        add(kinds.TASK_CREATED, child, main_task, 3)
        add(kinds.COROUTINE_SUSPENDED, main_task + 1, child)
        add(kinds.STEP_FINISHED, main_task, child)
        add(kinds.STEP_STARTED, child, loop)
        add(kinds.COROUTINE_STARTED, child + 1, 0, 3)
        add(kinds.COROUTINE_FINISHED, child + 1, 0, 4 if number == 0 else 0, 2 if number == 0 else 1)
        add(kinds.TASK_READY, main_task, child, 0, kinds.CAUSE_TASK)
        add(kinds.STEP_FINISHED, child, 0, 0, kinds.RETURNED)
        add(kinds.STEP_STARTED, main_task, loop)
        add(kinds.COROUTINE_RESUMED, main_task + 1)
    add(kinds.COROUTINE_FINISHED, main_task + 1, 0, 0, kinds.RETURNED)
    add(kinds.STEP_FINISHED, main_task, 0, 0, kinds.RETURNED)
    return Part(
        pid=pid,
        process_name="MainProcess",
        parent_pid=1,
        python="3.13.0",
        start_ns=START_NS,
        end_ns=START_NS + 1000 * len(events),
        wall_ns=WALL_NS,
        cpu_ns=1,
        program=program,
        sees_coroutines=True,
        threads={1: ThreadInfo("MainThread", pid, True)},
        sites={
            1: Site("Loop"),
            2: Site("main", "app.py", 7, True, True),
            3: Site("count", "app.py", 3, True, True, (("tier", "gold"), ("caf\udce9", 1.5))),
            4: Site("ValueError"),
        },
        events=events,
    )


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the present folder, with a trace of 1,300 spans in it: three requests."""
    monkeypatch.chdir(tmp_path)
    for name in ("OTEL_SERVICE_NAME", "OTEL_RESOURCE_ATTRIBUTES", "OTEL_SDK_DISABLED"):
        monkeypatch.delenv(name, raising=False)
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    save_parts((part_of(1300),), "trace.pftrace")
    return tmp_path


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as receiver:
        yield receiver


def test_spans_are_sent_with_their_own_times(
    folder: Path, receiver: Receiver, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "authorization=secret")

    assert main(["convert", "trace.pftrace", "--otlp", receiver.url]) == 0

    said = capsys.readouterr()
    assert (said.out, said.err) == (f"sent 1,300 spans to {receiver.url}/v1/traces\n", "")
    assert receiver.paths == ["/v1/traces"] * 3
    assert {headers["authorization"] for headers in receiver.headers} == {"secret"}
    spans = {span.span_id: span for span in receiver.spans}
    assert len(spans) == 1300
    (root,) = (span for span in spans.values() if not span.parent_span_id)
    assert (root.name, root.start_time_unix_nano) == ("main", WALL_NS + 1000)
    assert {span.trace_id for span in spans.values()} == {root.trace_id}
    assert {span.parent_span_id for span in spans.values()} == {b"", root.span_id}
    assert len(root.links) == 32
    assert all(spans[link.span_id].name == "count" for link in root.links)
    failed = [span.status.message for span in spans.values() if span.status.code == span.status.STATUS_CODE_ERROR]
    assert failed == ["ValueError"]


@pytest.mark.parametrize(
    ("given", "path"),
    [("", "/v1/traces"), ("/", "/v1/traces"), ("/otlp/", "/otlp/v1/traces"), ("/a/v1/traces", "/a/v1/traces")],
)
def test_path_is_appended_as_the_standard_exporter_does(
    folder: Path, receiver: Receiver, given: str, path: str
) -> None:
    save_parts((part_of(2),), "small.pftrace")

    assert main(["convert", "small.pftrace", "--otlp", receiver.url + given]) == 0
    assert receiver.paths == [path]


def test_resource_is_the_programs_and_each_process_has_its_own(
    folder: Path, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_parts((part_of(2), part_of(2, pid=200, program="")), "two.pftrace")

    assert main(["convert", "two.pftrace", "--otlp", receiver.url]) == 0
    monkeypatch.setenv("OTEL_SERVICE_NAME", "shop")
    assert main(["convert", "two.pftrace", "--otlp", receiver.url]) == 0

    found = [
        {attribute.key: attribute.value for attribute in each.resource.attributes}
        for request in receiver.requests
        for each in request.resource_spans
    ]
    assert sorted((about["service.name"].string_value, about["process.pid"].int_value) for about in found) == [
        ("app.py", 100),
        ("app.py", 200),
        ("shop", 100),
        ("shop", 200),
    ]
    assert {about["telemetry.sdk.name"].string_value for about in found} == {"opentelemetry"}


def hang_up(handler: http.server.BaseHTTPRequestHandler) -> bool:
    handler.close_connection = True
    handler.connection.shutdown(socket.SHUT_RDWR)
    return False


def reject(handler: http.server.BaseHTTPRequestHandler) -> bool:
    partial = ExportTracePartialSuccess(rejected_spans=7, error_message="too old")
    return respond(handler, 200, ExportTraceServiceResponse(partial_success=partial).SerializeToString())


# What the receiver does from its second request on -> what is said, after the endpoint.
TROUBLE: dict[str, tuple[Callable[[http.server.BaseHTTPRequestHandler], bool], str]] = {
    "an error": (
        lambda handler: respond(handler, 500),
        "it answered 500 Internal Server Error; 512 of 1,300 spans accepted",
    ),
    "too many": (
        lambda handler: respond(handler, 429, **{"Retry-After": "1000"}),
        "it answered 429 Too Many Requests; 512 of 1,300 spans accepted",
    ),
    "elsewhere": (
        lambda handler: respond(handler, 302, Location="/login"),
        "it answered 302 Found; 512 of 1,300 spans accepted",
    ),
    "hangs up": (
        hang_up,
        "the connection was closed without an answer; 512 of 1,300 spans accepted, and 512 more perhaps",
    ),
    "rejects some": (
        reject,
        "it rejected 14 spans (too old); 1,286 of 1,300 spans accepted",
    ),
}


@pytest.mark.parametrize("trouble", TROUBLE)
def test_trouble_in_the_middle_is_one_sentence_that_says_how_many_were_accepted(
    folder: Path, receiver: Receiver, capfd: pytest.CaptureFixture[str], trouble: str
) -> None:
    act, sentence = TROUBLE[trouble]
    receiver.answer = lambda number, handler: number == 1 or act(handler)

    assert main(["convert", "trace.pftrace", "--otlp", receiver.url]) == 1

    said = capfd.readouterr()
    assert (said.out, said.err) == ("", f"asynctrace: {receiver.url}: {sentence}\n")


def test_connection_that_was_closed_between_two_requests_is_made_again(
    folder: Path, receiver: Receiver, capsys: pytest.CaptureFixture[str]
) -> None:
    receiver.answer = lambda number, handler: number != 2 or hang_up(handler)

    assert main(["convert", "trace.pftrace", "--otlp", receiver.url]) == 0
    assert len({span.span_id for span in receiver.spans}) == 1300


def test_receiver_that_does_not_answer_in_time(
    folder: Path, receiver: Receiver, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "0.3")
    is_over = threading.Event()
    receiver.answer = lambda number, handler: not is_over.wait(30)

    try:
        assert main(["convert", "trace.pftrace", "--otlp", receiver.url]) == 1
    finally:
        is_over.set()

    assert capfd.readouterr().err == (
        f"asynctrace: {receiver.url}: no answer in time (OTEL_EXPORTER_OTLP_TIMEOUT says how long to wait); "
        "none of 1,300 spans accepted, and 512 more perhaps\n"
    )


def test_refused_connection_is_told_at_once(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{probe.getsockname()[1]}"

        assert main(["convert", "trace.pftrace", "--otlp", url]) == 1

    assert capfd.readouterr().err == (
        f"asynctrace: {url}: the connection was refused: check that a receiver runs there; "
        "none of 1,300 spans accepted\n"
    )


def test_interruption_says_how_many_were_accepted(
    folder: Path, receiver: Receiver, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)
    from asynctrace.otel import sending

    made = sending.http_delivery

    def interrupted(url: str, on_progress: object = None) -> object:
        delivery = made(url)
        deliver = delivery._deliver

        def first_only(chunk: object) -> None:
            if delivery.accepted:
                raise KeyboardInterrupt
            deliver(chunk)  # type: ignore[arg-type]

        delivery._deliver = first_only  # type: ignore[assignment]
        return delivery

    monkeypatch.setattr(sending, "http_delivery", interrupted)

    with pytest.raises(KeyboardInterrupt):
        main(["convert", "trace.pftrace", "--otlp", receiver.url])

    assert capsys.readouterr().err == (
        f"asynctrace: {receiver.url}: interrupted; 512 of 1,300 spans accepted, and 512 more perhaps\n"
    )


# The words after `convert trace.pftrace`, the exit code, stderr.
BAD_USAGE: dict[str, tuple[list[str], str]] = {
    "nowhere": ([], "name a file to write, or an endpoint to send to: asynctrace convert FILE (OUT | --otlp URL)"),
    "both": (
        ["x.otlp.json", "--otlp", "http://localhost"],
        "name a file to write, or an endpoint to send to: asynctrace convert FILE (OUT | --otlp URL)",
    ),
    "no scheme": (
        ["--otlp", "localhost:4318"],
        "'localhost:4318' is no URL of an OTLP endpoint: use one such as http://localhost:4318",
    ),
    "no host": (
        ["--otlp", "http://"],
        "'http://' is no URL of an OTLP endpoint: use one such as http://localhost:4318",
    ),
    "no port": (
        ["--otlp", "http://localhost:many"],
        "'http://localhost:many' is no URL of an OTLP endpoint: use one such as http://localhost:4318",
    ),
    "unknown suffix": (
        ["x.xml"],
        f"x.xml: cannot write a file with the suffix '.xml': use {', '.join(FORMATS)}",
    ),
    "spans that are compressed": (
        ["x.otlp.json.gz"],
        f"x.otlp.json.gz: no format has this suffix: use {', '.join(EXPORT_SUFFIXES)}",
    ),
    "rows of what has none": (
        ["x.json", "--rows", "task"],
        "--rows is about the tasks of a recording: name a .pftrace or .pftrace.gz to write",
    ),
    "foreign trace": (
        ["mine.json"],
        "mine.json exists and was not written by asynctrace: pass --force to replace it",
    ),
    "foreign flame graph": (
        ["mine.speedscope.json"],
        "mine.speedscope.json exists and was not written by asynctrace: pass --force to replace it",
    ),
    "foreign table": (
        ["mine.parquet"],
        "mine.parquet exists and was not written by asynctrace: pass --force to replace it",
    ),
    "foreign trace, compressed": (
        ["mine.json.gz"],
        "mine.json.gz exists and was not written by asynctrace: pass --force to replace it",
    ),
    "foreign file": (
        ["mine.otlp.json"],
        "mine.otlp.json exists and was not written by asynctrace: pass --force to replace it",
    ),
}


@pytest.mark.parametrize("case", BAD_USAGE)
def test_wrong_usage(folder: Path, capsys: pytest.CaptureFixture[str], case: str) -> None:
    Path("mine.otlp.json").write_text('{"resourceSpans":[]}\n', encoding="utf-8")
    Path("mine.json").write_text('{"traceEvents":[]}\n', encoding="utf-8")
    Path("mine.speedscope.json").write_text('{"exporter":"speedscope"}', encoding="utf-8")
    Path("mine.parquet").write_bytes(b"PAR1")
    Path("mine.json.gz").write_bytes(gzip.compress(b'{"traceEvents":[]}'))
    before = sorted(folder.iterdir())
    words, sentence = BAD_USAGE[case]

    assert main(["convert", "trace.pftrace", *words]) == 2
    assert capsys.readouterr().err == f"asynctrace: {sentence}\n"
    assert sorted(folder.iterdir()) == before


@pytest.mark.parametrize(
    ("words", "module", "sentence"),
    [
        (
            ["--otlp", "http://localhost:4318"],
            "opentelemetry.exporter.otlp.proto.http.trace_exporter",
            f"--otlp needs opentelemetry-exporter-otlp-proto-http: {INSTALL}",
        ),
        (
            ["x.otlp.json"],
            "opentelemetry.exporter.otlp.json.file",
            f"OTLP JSON needs opentelemetry-exporter-otlp-json-file: {INSTALL}",
        ),
        (
            ["x.parquet"],
            "pyarrow",
            "Parquet needs pyarrow: install asynctrace[parquet] (pip install 'asynctrace[parquet]')",
        ),
        (
            ["x.otlp.json"],
            "opentelemetry.sdk.trace",
            "spans need opentelemetry-sdk: install it (pip install opentelemetry-sdk)",
        ),
    ],
)
def test_missing_package_is_named(
    folder: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    words: list[str],
    module: str,
    sentence: str,
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    monkeypatch.delitem(sys.modules, "asynctrace.formats.parquet", raising=False)

    assert main(["convert", "trace.pftrace", *words]) == 1
    assert capsys.readouterr().err == f"asynctrace: {sentence}\n"
    assert [path.name for path in folder.iterdir()] == ["trace.pftrace"]


def test_sdk_that_is_switched_off(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_SDK_DISABLED", "true")

    assert main(["convert", "trace.pftrace", "x.otlp.json"]) == 2
    assert capsys.readouterr().err == "asynctrace: OTEL_SDK_DISABLED switches OpenTelemetry off: unset it\n"
    assert [path.name for path in folder.iterdir()] == ["trace.pftrace"]


def test_trace_without_anything_says_that_nothing_ran(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save_parts((replace(part_of(2), events=[]),), "x.pftrace")

    assert main(["convert", "x.pftrace", "x.otlp.json"]) == 1
    assert capsys.readouterr().err == "asynctrace: no coroutine ran: was main() called without awaiting it?\n"


def parsed(line: str) -> ExportTraceServiceRequest:
    """Read a line of OTLP JSON by the protobuf messages: unknown fields are errors, ids are hex and not base64."""
    ids = re.compile(r'"(traceId|spanId|parentSpanId)":"([0-9a-f]+)"')

    def to_base64(found: re.Match[str]) -> str:
        return f'"{found[1]}":"{base64.b64encode(bytes.fromhex(found[2])).decode()}"'

    return json_format.Parse(ids.sub(to_base64, line), ExportTraceServiceRequest())


def test_json_lines_are_what_is_sent(folder: Path, receiver: Receiver, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["convert", "trace.pftrace", "out.otlp.json", "--events"]) == 0
    assert main(["convert", "trace.pftrace", "--otlp", receiver.url, "--events"]) == 0
    assert capsys.readouterr().out.startswith("saved out.otlp.json: 1,300 spans\n")

    lines = Path("out.otlp.json").read_text(encoding="utf-8").splitlines()
    requests = [parsed(line) for line in lines]

    assert len(lines) == 3
    assert all(re.fullmatch(r"\d+", time) for time in re.findall(r'"(?:start|end)TimeUnixNano":"?(.*?)"?,', lines[0]))
    assert isinstance(json.loads(lines[0])["resourceSpans"][0]["scopeSpans"][0]["spans"][0]["startTimeUnixNano"], str)

    def without_ids(request: ExportTraceServiceRequest) -> ExportTraceServiceRequest:
        names: dict[bytes, bytes] = {b"": b""}
        for resource in request.resource_spans:
            for attribute in resource.resource.attributes:
                if attribute.key == "service.instance.id":  # a new one for each run of the converter
                    attribute.value.string_value = ""
            for scope in resource.scope_spans:
                for span in scope.spans:
                    for each in (span, *span.links):
                        each.trace_id = b""
                        each.span_id = names.setdefault(each.span_id, str(len(names)).encode())
                    span.parent_span_id = names.setdefault(span.parent_span_id, str(len(names)).encode())
        return request

    assert [without_ids(each) for each in requests] == [without_ids(each) for each in receiver.requests]


def test_file_of_ours_is_replaced_and_any_other_by_force(folder: Path) -> None:
    save_parts((part_of(2),), "small.pftrace")

    assert main(["convert", "trace.pftrace", "out.otlp.json"]) == 0
    assert main(["convert", "small.pftrace", "out.otlp.json"]) == 0
    assert len(Path("out.otlp.json").read_text(encoding="utf-8").splitlines()) == 1
    Path("mine.otlp.json").write_text("{}", encoding="utf-8")
    assert main(["convert", "small.pftrace", "mine.otlp.json", "--force"]) == 0
    assert main(["convert", "small.pftrace", "mine.otlp.json"]) == 0


@pytest.mark.skipif(not Path("/proc").exists(), reason="needs RLIMIT_FSIZE")
def test_full_disk_leaves_the_earlier_file(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert main(["convert", "trace.pftrace", "out.otlp.json"]) == 0
    before = Path("out.otlp.json").read_bytes()
    capsys.readouterr()
    import resource
    import signal

    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
    try:
        assert main(["convert", "trace.pftrace", "out.otlp.json"]) == 1
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)

    assert capsys.readouterr().err == "asynctrace: out.otlp.json cannot be written: File too large\n"
    assert Path("out.otlp.json").read_bytes() == before
    assert sorted(path.name for path in folder.iterdir()) == ["out.otlp.json", "trace.pftrace"]


def test_progress_is_shown_on_a_terminal_when_there_is_much_to_do(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from asynctrace.cli import convert

    monkeypatch.setattr(convert, "_MANY", 1000)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.setenv("FORCE_COLOR", "1")

    assert main(["convert", "trace.pftrace", "out.otlp.json"]) == 0

    said = capsys.readouterr()
    assert said.out == "saved out.otlp.json: 1,300 spans\n"
    assert "writing spans" in said.err


SHARED = (".json", ".json.gz", ".speedscope.json", ".speedscope.json.gz", ".parquet", ".pftrace", ".pftrace.gz")


def needs(suffix: str) -> None:
    if suffix == ".parquet":
        pytest.importorskip("pyarrow")


@pytest.mark.parametrize("suffix", SHARED)
def test_each_format_is_written_and_replaced_and_others_by_force(
    folder: Path, capsys: pytest.CaptureFixture[str], suffix: str
) -> None:
    needs(suffix)
    output = Path(f"out{suffix}")
    assert main(["convert", "trace.pftrace", str(output)]) == 0
    assert capsys.readouterr().out == f"saved {output}\n"
    large = output.stat().st_size
    save_parts((part_of(2),), "small.pftrace")
    assert main(["convert", "small.pftrace", str(output)]) == 0
    assert output.stat().st_size < large
    output.write_bytes(b"mine")
    assert main(["convert", "small.pftrace", str(output)]) == 2
    assert output.read_bytes() == b"mine"
    assert main(["convert", "small.pftrace", str(output), "--force"]) == 0
    assert output.read_bytes() != b"mine"
    assert sorted(path.name for path in folder.iterdir()) == sorted(["trace.pftrace", "small.pftrace", output.name])


@pytest.mark.parametrize("suffix", SHARED[:5])
def test_what_is_for_other_tools_is_not_read(folder: Path, capsys: pytest.CaptureFixture[str], suffix: str) -> None:
    needs(suffix)
    assert main(["convert", "trace.pftrace", f"out{suffix}"]) == 0
    for command in (["convert", f"out{suffix}", "again.json"], ["summary", f"out{suffix}"]):
        assert main(command) == 1
        sentence = "is for other tools: asynctrace reads the recording that it was made of, a .pftrace"
        assert capsys.readouterr().err == f"asynctrace: out{suffix} {sentence}\n"


def test_a_recording_is_compressed_and_unpacked_byte_for_byte(folder: Path) -> None:
    content = Path("trace.pftrace").read_bytes()
    assert main(["convert", "trace.pftrace", "packed.pftrace.gz"]) == 0
    assert main(["convert", "packed.pftrace.gz", "unpacked.pftrace"]) == 0
    assert Path("unpacked.pftrace").read_bytes() == content
    assert load("packed.pftrace.gz") == load("trace.pftrace")
    assert Path("packed.pftrace.gz").stat().st_size < len(content)


def test_a_cut_recording_stays_a_cut_one(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    content = Path("trace.pftrace").read_bytes()
    Path("cut.pftrace").write_bytes(content[: len(content) // 2])
    assert main(["convert", "cut.pftrace", "packed.pftrace.gz"]) == 0
    assert "cut short" in capsys.readouterr().err
    packed = Path("packed.pftrace.gz").read_bytes()
    Path("packed.pftrace.gz").write_bytes(packed[: len(packed) // 2])
    assert main(["convert", "packed.pftrace.gz", "unpacked.pftrace"]) == 0
    assert "cut short" in capsys.readouterr().err
    assert content.startswith(Path("unpacked.pftrace").read_bytes())
    assert load("unpacked.pftrace").notes == ("the file was cut short: what was recorded after the cut is missing",)


def test_each_task_gets_a_row_and_all_else_stays(folder: Path) -> None:
    assert main(["convert", "trace.pftrace", "rows.pftrace", "--rows", "task"]) == 0
    assert main(["convert", "rows.pftrace", "lanes.pftrace.gz", "--rows", "name"]) == 0
    assert main(["convert", "lanes.pftrace.gz", "again.pftrace"]) == 0

    trace = load("trace.pftrace")
    assert trace == load("rows.pftrace") == load("again.pftrace")
    by_task, by_name = view(Path("rows.pftrace")), view(Path("again.pftrace"))
    assert {one.track[-1] for one in by_task.slices if one.number and one.track[1:2] == ("asyncio tasks",)} == {
        one.name for one in by_task.slices if one.number
    }
    assert [one.name for one in by_task.slices] == [one.name for one in by_name.slices]


def test_what_a_cut_recording_lacks_is_said_where_it_is_written_anew(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    content = Path("trace.pftrace").read_bytes()
    Path("cut.pftrace").write_bytes(content[: len(content) // 2])
    assert main(["convert", "cut.pftrace", "rows.pftrace", "--rows", "task"]) == 0
    assert capsys.readouterr().err.count("cut short") == 1
    assert load("rows.pftrace").notes == load("cut.pftrace").notes


def test_a_recording_can_take_its_own_place(folder: Path) -> None:
    content = Path("trace.pftrace").read_bytes()
    assert main(["convert", "trace.pftrace", "trace.pftrace"]) == 0
    assert Path("trace.pftrace").read_bytes() == content


@pytest.mark.parametrize("suffix", SHARED[:5])
def test_progress_of_large_ones_is_shown(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], suffix: str
) -> None:
    needs(suffix)
    from asynctrace.cli import convert

    monkeypatch.setattr(convert, "_MANY", 1000)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.setenv("FORCE_COLOR", "1")

    assert main(["convert", "trace.pftrace", f"out{suffix}"]) == 0

    said = capsys.readouterr()
    assert said.out == f"saved out{suffix}\n"
    assert f"writing out{suffix}" in said.err


@pytest.mark.skipif(not Path("/proc").exists(), reason="needs RLIMIT_FSIZE")
@pytest.mark.parametrize("suffix", SHARED)
def test_a_full_disk_leaves_the_earlier_file_whatever_the_format(
    folder: Path, capsys: pytest.CaptureFixture[str], suffix: str
) -> None:
    needs(suffix)
    import resource
    import signal

    output = Path(f"out{suffix}")
    assert main(["convert", "trace.pftrace", str(output)]) == 0
    before = output.read_bytes()
    capsys.readouterr()
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (500, limits[1]))
    try:
        assert main(["convert", "trace.pftrace", str(output)]) == 1
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)

    assert capsys.readouterr().err == f"asynctrace: {output} cannot be written: File too large\n"
    assert output.read_bytes() == before
    assert sorted(path.name for path in folder.iterdir()) == sorted([output.name, "trace.pftrace"])
