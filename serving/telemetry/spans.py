"""Requests as spans of OpenTelemetry. Only `tracing.py` beside it imports this, where traces are asked for."""

import threading
import time
from collections.abc import Iterable, Mapping

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import SpanKind, Status, StatusCode, set_span_in_context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from opentelemetry.util.types import AnyValue

from watchnext import __version__

_PATH = "/v1/traces"
_PATIENCE = 1.0
"""Seconds."""


class Tracing:
    """Makes the spans of a request after its answer, from the times that were measured anyway.

    Which requests are traced says the caller's `traceparent`, or where there is none OpenTelemetry's environment
    variables `OTEL_TRACES_SAMPLER` and `OTEL_TRACES_SAMPLER_ARG`. The processor has a thread: make this in each
    worker, after the fork.

    Args:
        processor: takes the spans.
    """

    def __init__(self, processor: SpanProcessor) -> None:
        resource = Resource.create({"service.name": "watchnext", "service.version": __version__})
        self._provider = TracerProvider(resource=resource, shutdown_on_exit=False)
        self._provider.add_span_processor(processor)
        self._tracer = self._provider.get_tracer("watchnext", __version__)
        self._propagator = TraceContextTextMapPropagator()

    def request(
        self,
        route: str,
        status: int,
        begun: int,
        ended: int,
        parts: Iterable[tuple[str, int, int]] = (),
        traceparent: str | None = None,
        tracestate: str | None = None,
        attributes: Mapping[str, AnyValue] | None = None,
    ) -> str | None:
        """Make the span of an answered request, a child of the caller's where there is one.

        Args:
            route: such as `GET /recommend`.
            status: of the answer; 500 and above marks the span as failed.
            begun: `time.perf_counter_ns()` at the request.
            ended: the same at the answer.
            parts: what it consisted of, each (name, begun, ended).
            traceparent: the request's header, of W3C Trace Context; a wrong one counts as none.
            tracestate: its second header.
            attributes: more about it, such as the release; nothing that names a user.

        Returns:
            The trace's id in hexadecimal for the log, None where the request is not traced.
        """
        headers = {"traceparent": traceparent, "tracestate": tracestate}
        caller = self._propagator.extract({name: value for name, value in headers.items() if value})
        method, _, path = route.partition(" ")
        about: dict[str, AnyValue] = {
            "http.request.method": method,
            "http.route": path,
            "http.response.status_code": status,
        }
        epoch = time.time_ns() - time.perf_counter_ns()
        span = self._tracer.start_span(
            route, caller, SpanKind.SERVER, about | dict(attributes or {}), start_time=epoch + begun
        )
        if not span.is_recording():
            return None
        if status >= 500:
            span.set_status(Status(StatusCode.ERROR))
        within = set_span_in_context(span)
        for name, start, end in parts:
            self._tracer.start_span(name, within, start_time=epoch + start).end(epoch + end)
        span.end(epoch + ended)
        return f"{span.get_span_context().trace_id:032x}"

    def stop(self) -> None:
        """Send what is left, for `_PATIENCE` at most: a collector that is gone must not keep a server from ending."""
        sending = threading.Thread(target=self._provider.shutdown, daemon=True)
        sending.start()
        sending.join(_PATIENCE)


def exporting(endpoint: str | None) -> Tracing:
    """Tracing that sends spans to a collector by OTLP over HTTP, in batches; what does not fit its queue is dropped.

    Args:
        endpoint: the collector's address, as `http://localhost:4318`; None takes it from the environment.
    """
    if endpoint is not None and not endpoint.endswith(_PATH):
        endpoint = endpoint.rstrip("/") + _PATH
    return Tracing(BatchSpanProcessor(OTLPSpanExporter(endpoint)))
