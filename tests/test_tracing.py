"""Spans of requests, in OpenTelemetry's own memory, and over HTTP."""

import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from serving.telemetry.spans import Tracing
from serving.telemetry.tracing import VARIABLES, start_tracing, tracing_wanted
from watchnext.errors import UsageError

TRACE, CALLER = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
PARTS = [("vector", 1000, 1200), ("search", 1200, 1900), ("filter", 1900, 1950)]


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (*VARIABLES, "OTEL_SDK_DISABLED", "OTEL_TRACES_SAMPLER", "OTEL_TRACES_SAMPLER_ARG"):
        monkeypatch.delenv(name, raising=False)


def traced(traceparent: str | None = None, status: int = 200) -> tuple[str | None, dict[str, ReadableSpan]]:
    exporter = InMemorySpanExporter()
    tracing = Tracing(SimpleSpanProcessor(exporter))
    trace = tracing.request(
        "GET /recommend", status, 900, 2000, PARTS, traceparent, None, {"watchnext.release": "r1"}
    )
    tracing.stop()
    return trace, {span.name: span for span in exporter.get_finished_spans()}


def times(span: ReadableSpan, since: int) -> tuple[int, int]:
    assert span.start_time is not None
    assert span.end_time is not None
    return span.start_time - since, span.end_time - since


def test_a_request_and_its_parts() -> None:
    trace, spans = traced()
    request = spans["GET /recommend"]
    assert list(spans) == ["vector", "search", "filter", "GET /recommend"]
    assert request.start_time is not None
    assert [times(span, request.start_time) for span in spans.values()] == [
        (100, 300),
        (300, 1000),
        (1000, 1050),
        (0, 1100),
    ]
    assert request.kind == SpanKind.SERVER
    assert request.parent is None
    assert request.context.trace_id == int(trace or "", 16)
    for name, _, _ in PARTS:
        parent = spans[name].parent
        assert parent is not None
        assert parent.span_id == request.context.span_id
    assert dict(request.attributes or {}) == {
        "http.request.method": "GET",
        "http.route": "/recommend",
        "http.response.status_code": 200,
        "watchnext.release": "r1",
    }
    assert request.resource.attributes["service.name"] == "watchnext"


def test_a_caller_that_is_traced_is_the_parent() -> None:
    trace, spans = traced(f"00-{TRACE}-{CALLER}-01")
    assert trace == TRACE
    parent = spans["GET /recommend"].parent
    assert parent is not None
    assert (f"{parent.trace_id:032x}", f"{parent.span_id:016x}") == (TRACE, CALLER)


def test_a_caller_that_is_not_sampled_is_not_traced() -> None:
    assert traced(f"00-{TRACE}-{CALLER}-00") == (None, {})


@pytest.mark.parametrize("header", ["", "x", f"00-{'0' * 32}-{CALLER}-01", f"00-{TRACE}-{CALLER}", "\xff" * 1000])
def test_a_wrong_header_counts_as_none(header: str) -> None:
    trace, spans = traced(header)
    assert trace not in {None, TRACE}
    assert spans["GET /recommend"].parent is None


@pytest.mark.parametrize(
    ("status", "code"), [(200, StatusCode.UNSET), (404, StatusCode.UNSET), (503, StatusCode.ERROR)]
)
def test_errors_of_the_server_are_marked(status: int, code: StatusCode) -> None:
    assert traced(status=status)[1]["GET /recommend"].status.status_code == code


def test_without_a_collector_nothing_is_imported() -> None:
    script = (
        "import sys; from serving.telemetry.tracing import *; assert start_tracing(None) is None; print(*sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert "serving.telemetry.tracing" in done.stdout
    assert "opentelemetry" not in done.stdout


def test_the_environment_asks_for_traces_and_refuses_them(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not tracing_wanted(None)
    monkeypatch.setenv(VARIABLES[0], "http://127.0.0.1:9")
    assert tracing_wanted(None)
    monkeypatch.setenv("OTEL_SDK_DISABLED", "true")
    assert not tracing_wanted("http://127.0.0.1:9")


def test_a_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "serving.telemetry.spans")
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.trace", None)
    with pytest.raises(UsageError, match=r"--traces: got no package opentelemetry.*watchnext\[otel\]"):
        start_tracing("http://127.0.0.1:9")


@pytest.fixture
def collector() -> Iterator[tuple[str, list[tuple[str, bytes]]]]:
    got = list[tuple[str, bytes]]()

    class Collector(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            got.append((self.path, self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Collector) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}", got
        server.shutdown()
        thread.join()


def test_spans_reach_a_collector(collector: tuple[str, list[tuple[str, bytes]]]) -> None:
    address, got = collector
    tracing = start_tracing(address)
    assert tracing is not None
    tracing.request("GET /recommend", 200, 900, 2000, PARTS)
    tracing.stop()
    ((path, body),) = got
    assert path == "/v1/traces"
    assert b"GET /recommend" in body
    assert b"search" in body
