"""Counters in shared memory: what Prometheus reads, several processes, windows of scores."""

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics_families
from prometheus_client.parser import text_string_to_metric_families

from serving.telemetry.exposition import Metrics
from serving.telemetry.metrics import (
    CHECKS,
    NO_VARIANT,
    REFUSALS,
    SECONDS,
    SOURCES,
    VARIANTS,
    WorkerMetrics,
    families,
)
from watchnext.errors import UsageError

ROOT = Path(__file__).parent.parent
ROUTES = ("GET /recommend", "POST /watches")


def made(workers: int = 2) -> Metrics:
    metrics = Metrics.create(workers, ROUTES, window_seconds=10)
    for row in range(workers):
        assert metrics.worker(row).slots(("a", "b")) == [0, 1]
    return metrics


def told(metrics: Metrics) -> dict[str, float]:
    """Samples as `name{label=value,...}`, without the prefix."""
    text, kind = metrics.render()
    assert kind == "text/plain; version=0.0.4; charset=utf-8"
    samples = {}
    for family in text_string_to_metric_families(text.decode()):
        for sample in family.samples:
            labels = ",".join(f"{name}={value}" for name, value in sorted(sample.labels.items()))
            name = sample.name.removeprefix("watchnext_") + (f"{{{labels}}}" if labels else "")
            assert name not in samples
            samples[name] = sample.value
    return samples


def test_requests_of_all_workers_are_added_up() -> None:
    metrics = made()
    for worker in (metrics.worker(0), metrics.worker(1)):
        worker.request(0, 200, 1, 0.003)
        worker.request(0, 404, NO_VARIANT, 0.001)
    metrics.worker(1).request(2, 599, 0, 0.5)
    samples = told(metrics)
    assert samples["requests_total{route=GET /recommend,status=2xx,variant=b}"] == 2
    assert samples["requests_total{route=GET /recommend,status=4xx}"] == 2
    assert samples["requests_total{route=other,status=5xx,variant=a}"] == 1
    assert sum(name.startswith("requests_total") for name in samples) == 3  # no series of zeros
    assert samples["request_seconds_count{route=GET /recommend}"] == 4
    assert samples["request_seconds_sum{route=GET /recommend}"] == pytest.approx(0.008)


def test_a_bucket_holds_what_is_at_most_its_bound() -> None:
    metrics = made()
    for seconds in (5e-5, 6e-5, 0.0, 5.0, 5.1):
        metrics.worker(0).recommended(SOURCES.index("fresh"), 0, seconds, 0.002, 0.0)
    samples = told(metrics)
    counts = [
        samples[f"stage_seconds_bucket{{le={le},stage=vector}}"] for le in ("5e-05", "0.0001", "2.0", "5.0", "+Inf")
    ]
    assert counts == [2, 3, 3, 4, 5]
    assert samples["stage_seconds_sum{stage=search}"] == pytest.approx(0.01)
    assert samples["answers_total{source=fresh,variant=a}"] == 5
    assert samples["answers_total{source=fresh,variant=b}"] == 0


@given(st.lists(st.floats(0, 10)))
def test_buckets_are_counts_of_what_is_at_most_the_bound(values: list[float]) -> None:
    metrics = made()
    for value in values:
        metrics.worker(0).request(1, 201, NO_VARIANT, value)
    samples = told(metrics)
    for bound in SECONDS if values else ():
        expected = sum(value <= bound for value in values)
        assert samples[f"request_seconds_bucket{{le={bound},route=POST /watches}}"] == expected


CALLS: list[tuple[Callable[[WorkerMetrics], None], dict[str, float]]] = [
    (lambda w: w.degraded(), {"degraded_total": 1}),
    (lambda w: w.refused(REFUSALS.index("rate_limit")), {"refused_total{reason=rate_limit}": 1}),
    (lambda w: w.refused(REFUSALS.index("overload")), {"refused_total{reason=overload}": 1}),
    (lambda w: w.in_flight(3), {"in_flight": 3}),
    (lambda w: w.queued(4), {"queued": 4}),
    (lambda w: w.watches(5, 2), {"watches_total{result=added}": 5, "watches_total{result=duplicate}": 2}),
    (lambda w: w.swapped(1), {"swaps_total{result=ok}": 1}),
    (lambda w: w.swap_refused(), {"swaps_total{result=refused}": 1}),
    (lambda w: w.recall(1, 0.75), {"checked_recall_sum{variant=b}": 0.75, "checked_recall_count{variant=b}": 1}),
    (lambda w: w.overlap(0, 0.5), {"shadow_overlap_sum{shadow=a}": 0.5, "shadow_overlap_count{shadow=a}": 1}),
    (lambda w: w.check_dropped(CHECKS.index("shadow")), {"checks_dropped_total{check=shadow}": 1}),
    (lambda w: w.check_failed(CHECKS.index("recall")), {"checks_failed_total{check=recall}": 1}),
    (lambda w: w.scored(1, 9, 5.0), {"scores_total{decile=10,variant=b}": 1}),
]


@pytest.mark.parametrize(("call", "changed"), CALLS)
def test_each_call_changes_its_own_cells_only(
    call: Callable[[WorkerMetrics], None], changed: dict[str, float]
) -> None:
    metrics = made()
    before = told(metrics)
    call(metrics.worker(0))
    assert told(metrics) == before | changed
    assert not any(before.values())


def test_openmetrics_where_it_is_accepted() -> None:
    metrics = made()
    metrics.worker(0).request(0, 200, 0, 0.1)
    accept = "application/openmetrics-text;version=x;q=0.6,text/plain;version=0.0.4;q=0.3,*/*;q=0.2"  # any version
    text, kind = metrics.render(accept)
    assert kind == "application/openmetrics-text; version=1.0.0; charset=utf-8"
    (requests,) = [f for f in openmetrics_families(text.decode()) if f.name == "watchnext_requests"]  # type: ignore[no-untyped-call]
    assert [(s.name, s.value) for s in requests.samples] == [("watchnext_requests_total", 1)]


def test_only_slots_with_a_name_are_told() -> None:
    metrics = made()
    metrics.worker(0).request(0, 200, 2, 0.1)
    assert "requests_total" not in " ".join(told(metrics))
    assert metrics.worker(0).slots(("a", "b", 'c"\n')) == [0, 1, 2]
    assert told(metrics)['requests_total{route=GET /recommend,status=2xx,variant=c"\n}'] == 1


def test_a_variant_keeps_its_counts_in_another_split_and_in_another_process() -> None:
    metrics = made()
    first, second = metrics.worker(0), metrics.worker(1)
    for worker, count in ((first, 3), (second, 4)):
        for _ in range(count):
            worker.request(0, 200, 0, 0.1)  # a
        worker.request(0, 200, 1, 0.1)  # b
        worker.recall(1, 0.5)
        worker.scored(1, 3, 1000.0)
    name = "requests_total{route=GET /recommend,status=2xx,variant=%s}"
    assert first.slots(("c", "a")) == [2, 0]  # the second has not heard of it yet
    first.request(0, 200, 2, 0.1)
    samples = told(metrics)
    assert [samples[name % variant] for variant in "abc"] == [7, 2, 1]
    assert samples["checked_recall_count{variant=b}"] == 2
    assert metrics.window_counts("b", 1001.0)[3] == 2
    successor = metrics.worker(1)
    assert successor.slots(("c", "a")) == [2, 0]
    assert told(metrics)[name % "a"] == 7


def test_a_slot_that_another_variant_takes_begins_anew() -> None:
    metrics = made(workers=1)
    worker = metrics.worker(0)
    worker.request(0, 200, 1, 0.1)
    worker.request(1, 404, 1, 0.1)
    worker.recommended(0, 1, 0.1, 0.1, 0.1)
    worker.scored(1, 3, 1000.0)
    worker.overlap(1, 0.5)
    worker.request(0, 200, 0, 0.1)
    before = told(metrics)
    assert worker.slots(("a", *"cdefghij")) == [0, 2, 3, 4, 5, 6, 7, 8, 1]
    samples = told(metrics)
    assert not [sample for sample in samples if "variant=b" in sample or "shadow=b" in sample]
    assert not any(value for sample, value in samples.items() if "variant=j" in sample or "shadow=j" in sample)
    of_a = {name: value for name, value in before.items() if "variant=a" in name}
    assert {name: samples[name] for name in of_a} == of_a
    assert metrics.window_counts("j", 1001.0) == [0] * 10


@pytest.mark.parametrize("names", [("a", "a"), tuple("abcdefghij")])
def test_names_of_variants_must_be_few_and_different(names: tuple[str, ...]) -> None:
    assert len(set(names)) < 2 or len(names) > VARIANTS
    with pytest.raises(UsageError, match=r"variants: got a, .*\. Give at most 9 different names"):
        made().worker(0).slots(names)


def test_gauges_are_read_when_somebody_asks(caplog: pytest.LogCaptureFixture) -> None:
    metrics, ages = made(), {"a": 7.0}
    metrics.gauge(
        "release_age_seconds", "Since it was made.", lambda: [([n], v) for n, v in ages.items()], ["variant"]
    )
    metrics.gauge("broken", "Cannot be read.", lambda: [([], 1 / 0)])
    metrics.gauge("fresh_users", "Users with fresh watches.", lambda: [((), 2)])
    ages["b"] = 8.0
    samples = told(metrics)
    assert samples["release_age_seconds{variant=a}"] == 7
    assert samples["release_age_seconds{variant=b}"] == 8
    assert samples["fresh_users"] == 2
    assert "broken" not in samples
    assert "The gauge broken cannot be read" in caplog.text


def test_a_row_keeps_its_counts_when_another_process_takes_it() -> None:
    metrics = made(workers=1)
    killed = metrics.worker(0)
    killed.watches(3, 0)
    killed.in_flight(2)
    killed.queued(5)
    metrics.worker(0).watches(1, 0)
    samples = told(metrics)
    assert (samples["watches_total{result=added}"], samples["in_flight"], samples["queued"]) == (4, 0, 0)


FORKING = """
import os
from serving.telemetry.exposition import Metrics
metrics = Metrics.create(2, ["GET /x"])
children = []
for row in range(2):
    child = os.fork()
    if not child:
        worker = metrics.worker(row)
        for n in range(20_000):
            worker.watches(1, row)
        os._exit(0)
    children.append(child)
assert not any(os.waitpid(child, 0)[1] for child in children)
print(metrics.render()[0].decode())
"""


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no fork.")
def test_processes_that_add_at_the_same_time_lose_nothing() -> None:
    done = subprocess.run([sys.executable, "-c", FORKING], capture_output=True, text=True, check=True)
    assert 'watchnext_watches_total{result="added"} 40000.0' in done.stdout
    assert 'watchnext_watches_total{result="duplicate"} 20000.0' in done.stdout


Scored = tuple[float, int, int]
"""Seconds since the last one, worker, decile."""


@given(st.lists(st.tuples(st.floats(0, 25), st.integers(0, 1), st.integers(0, 9))), st.floats(0, 25))
def test_scores_of_this_window_and_the_one_before(scored: list[Scored], later: float) -> None:
    metrics, now, kept = made(), 1000.0, list[tuple[float, int]]()
    workers = [metrics.worker(0), metrics.worker(1)]
    for passed, worker, decile in scored:
        now += passed
        workers[worker].scored(1, decile, now)
        kept.append((now, decile))
    now += later
    recent = [decile for at, decile in kept if now // 10 - at // 10 <= 1]
    assert metrics.window_counts("b", now) == [recent.count(decile) for decile in range(10)]
    assert metrics.window_counts("a", now) == [0] * 10


def test_scores_of_a_release_that_was_swapped_out_are_forgotten() -> None:
    metrics = made()
    worker = metrics.worker(0)
    for slot in (0, 1):
        worker.scored(slot, 3, 1000.0)
    worker.swapped(0)
    worker.scored(0, 5, 1001.0)
    assert metrics.window_counts("a", 1002.0) == [0, 0, 0, 0, 0, 1, 0, 0, 0, 0]
    assert metrics.window_counts("b", 1002.0) == [0, 0, 0, 1, 0, 0, 0, 0, 0, 0]


def test_a_process_that_takes_a_row_over_goes_on_with_its_window() -> None:
    metrics = made()
    metrics.worker(0).scored(0, 1, 1000.0)
    metrics.worker(0).scored(0, 2, 1001.0)
    assert metrics.window_counts("a", 1002.0)[:4] == [0, 1, 1, 0]


def test_every_metric_is_documented_and_the_dashboard_shows_no_other() -> None:
    metrics = made()
    metrics.worker(0).request(0, 200, 0, 0.1)
    samples = {sample.name for metric in metrics.collect() for sample in metric.samples}
    text = (ROOT / "docs" / "serving.md").read_text()
    table = {name for row in re.findall(r"^\| (`.*?) \|", text, re.M) for name in re.findall(r"`(\w+)`", row)}
    kinds = {
        family.name + ("_total" if family.kind == "counter" else "")
        for family in families(ROUTES)
        if family.kind != "hidden"
    }
    assert kinds <= table
    dashboard = json.loads((ROOT / "docker" / "grafana-dashboard.json").read_text())
    shown = " ".join(target["expr"] for panel in dashboard["panels"] for target in panel["targets"])
    names = set(re.findall(r"watchnext_\w+", shown))
    assert len(names) > 10
    assert names <= samples
