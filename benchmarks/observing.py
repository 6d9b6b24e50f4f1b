"""What it costs a request to be counted, logged and traced, and what an exact check of one answer costs beside it.

Least mean CPU time of several rounds in one thread; log lines go to the null device. The last line is JSON.

    python -m benchmarks.observing --quick
"""

import argparse
import json
import logging
import os
import sys
import time
import tracemalloc
from collections.abc import Callable
from functools import partial

import numpy as np
import structlog
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from index.exact import ExactIndex
from serving.telemetry.checks import exact_best
from serving.telemetry.drift import ScoreReference
from serving.telemetry.exposition import Metrics
from serving.telemetry.logs import Logs
from serving.telemetry.metrics import SECONDS, STAGES
from serving.telemetry.request_log import RequestIds, RequestLog, user_names
from serving.telemetry.spans import Tracing

CALLER = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-0"
ROUTES = [f"GET /route-{n}" for n in range(15)]


def main() -> None:
    """Measure, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--quick", action="store_true", help="exact checks of 100 thousand items instead of a million"
    )
    items = 100_000 if parser.parse_args().quick else 1_000_000
    figures = counting() | logging_() | tracing() | checking(items)
    for name, value in figures.items():
        print(f"{name:56} {value:12.1f}")
    json.dump({"items": items, "figures": figures}, sys.stdout)
    print()


def counting() -> dict[str, float]:
    """Metrics of a request, and telling them all."""
    metrics = Metrics.create(4, ROUTES)
    worker, reference = metrics.worker(0), ScoreReference.of(np.arange(1000, dtype=np.float32))
    assert reference is not None  # noqa: S101
    worker.slots(["a", "b"])

    def request() -> None:
        worker.in_flight(1)
        worker.recommended(0, 1, 1e-5, 2e-4, 1e-6)
        worker.scored(1, reference.bin(500.0), 100.0)
        worker.request(0, 200, 1, 5e-4)
        worker.in_flight(0)

    for route in range(len(ROUTES)):
        worker.request(route, 200, 0, 1e-3)
    return {
        "metrics of a recommendation, µs": microseconds(request),
        "the same by prometheus_client, µs": microseconds(theirs()),
        "answering /metrics, µs": microseconds(metrics.render, 5),
    }


def theirs() -> Callable[[], None]:
    """The same with objects of prometheus_client, in one process, with their labels looked up once."""
    registry = CollectorRegistry()
    requests = Counter("requests", "", ["route", "status", "variant"], registry=registry).labels("r", "2xx", "a")
    answers = Counter("answers", "", ["source", "variant"], registry=registry).labels("stored", "a")
    scores = Counter("scores", "", ["variant", "decile"], registry=registry).labels("a", "1")
    in_flight = Gauge("in_flight", "", registry=registry)
    seconds = Histogram("seconds", "", ["route"], registry=registry, buckets=SECONDS).labels("r")
    stages = Histogram("stages", "", ["stage"], registry=registry, buckets=SECONDS)
    vector, search, filtering = map(stages.labels, STAGES)

    def request() -> None:
        in_flight.set(1)
        answers.inc()
        vector.observe(1e-5)
        search.observe(2e-4)
        filtering.observe(1e-6)
        scores.inc()
        requests.inc()
        seconds.observe(5e-4)
        in_flight.set(0)

    return request


def logging_() -> dict[str, float]:
    """The line of a request, by how it names users, and the same by structlog's chain."""
    logs, ids = Logs(file=os.open(os.devnull, os.O_WRONLY)), RequestIds()
    about = {"user": "u-1042", "release": "20260101-120000", "variant": "a", "key": "k1", "source": "stored"}
    logs_of = {how: RequestLog(logs, user_names(how)) for how in ("hash", "plain", "none")}
    event = {
        "request_id": "r",
        "method": "GET",
        "route": "/recommend",
        "status": 200,
        "ms": 1.2,
        "bytes": 4000,
        **about,
    }
    figures = {
        f"log line, users by {how}, µs": microseconds(
            partial(log, "abcdef0123456789", "GET", "/recommend", 200, 0.0012, 4000, **about)
        )
        for how, log in logs_of.items()
    }
    figures["the same by structlog's processors, µs"] = microseconds(
        lambda: structlog.get_logger().info("request", **event)
    )
    figures["the same by logging and structlog, µs"] = microseconds(
        lambda: logging.getLogger("x").info("request", extra=event)
    )
    figures["an id that was sent, µs"] = microseconds(lambda: ids.of(b"abcdef0123456789"))
    figures["a made id, µs"] = microseconds(lambda: ids.of(None))
    return figures


def tracing() -> dict[str, float]:
    """The spans of a request; without their way to a collector, which a thread has."""
    made = Tracing(BatchSpanProcessor(InMemorySpanExporter()))
    parts = [("vector", 0, 1000), ("search", 1000, 200_000), ("filter", 200_000, 201_000)]
    figures = {
        f"spans, {name}, µs": microseconds(
            partial(made.request, "GET /recommend", 200, 0, 500_000, parts, caller), 300
        )
        for name, caller in {"traced": None, "the caller is not traced": CALLER + "0"}.items()
    }
    made.stop()
    return figures


def checking(items: int, dim: int = 64) -> dict[str, float]:
    """One exact search in the thread of checks, and by the exact index, which is built once."""
    rng = np.random.default_rng(0)
    vectors = rng.standard_normal((items + 1, dim), np.float32)
    query, allowed, exclude = vectors[1], np.ones(items + 1, bool), np.arange(1, 201, dtype=np.int32)
    exact = ExactIndex(vectors)
    ours, theirs = (
        lambda: exact_best(vectors, query, 50, allowed, exclude),
        lambda: exact.search(query[None], 50, [exclude]),
    )
    return {
        "an exact check, µs": microseconds(ours, 5),
        "the same by ExactIndex, all threads, µs": microseconds(theirs, 5, time.process_time_ns),
        "an exact check, MB": megabytes(ours),
        "the vectors, MB": vectors.nbytes / 1e6,
    }


def megabytes(function: Callable[[], object]) -> float:
    """Most memory that a call has allocated at a time."""
    tracemalloc.start()
    function()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak / 1e6


def microseconds(
    function: Callable[[], object], calls: int = 3000, clock: Callable[[], int] = time.thread_time_ns
) -> float:
    """CPU time of a call: the least mean of seven rounds."""
    means = []
    for _ in range(7):
        start = clock()
        for _ in range(calls):
            function()
        means.append((clock() - start) / calls / 1e3)
    return min(means)


if __name__ == "__main__":
    main()
