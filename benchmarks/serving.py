"""What HTTP adds to a search: a real server on a synthetic release, beside the bare FAISS index in this process.

Both answer the same users one after another. Ratios are what to compare between machines; the last line is JSON.

    python -m benchmarks.serving --quick
"""

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import contextmanager
from datetime import UTC, datetime
from http.client import HTTPConnection
from pathlib import Path
from subprocess import PIPE, Popen
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from index.build import IndexOptions, build_from_export
from index.publish import publish
from index.recommender import open_release
from watchnext.catalogue import USER_SCHEMA, Catalogue, empty_table
from watchnext.config import ModelConfig, TrainingConfig
from watchnext.export import Export, ExportManifest, write_export
from watchnext.features import FeatureSpec, Float32
from watchnext.histories import Histories
from watchnext.release import ReleaseStore
from watchnext.vocabulary import Vocabulary

if TYPE_CHECKING:
    from collections.abc import Iterator

K, DIM, WATCHES = 50, 64, 30


class Cost(NamedTuple):
    """Microseconds a request: CPU time of the answering process (mean), and latency (median, 99th percentile)."""

    cpu: float
    p50: float
    p99: float


def main() -> None:
    """Build the release, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer users and requests: under a minute")
    quick = parser.parse_args().quick
    items, users, requests = (100_000, 2_000, 1_000) if quick else (100_000, 10_000, 5_000)
    with tempfile.TemporaryDirectory() as folder:
        store, seconds = release(Path(folder), items, users)
        asked = np.random.default_rng(3).integers(1, users + 1, requests).tolist()
        search, recommend = measure_bare(store, asked)
        with server(store) as (process, port, ready):
            http = measure_http(process.pid, port, asked)
    rows = {"bare search": search, "search, exclusion, ids, titles": recommend, "HTTP": http}
    print(f"{items:,} items, {users:,} users, {K} candidates, one client; built and published in {seconds:.0f} s")
    print(f"{'':32}{'CPU µs':>10}{'p50 µs':>10}{'p99 µs':>10}{'CPU ratio':>10}{'p50 ratio':>10}")
    for name, cost in rows.items():
        ratios = f"{cost.cpu / search.cpu:10.2f}{cost.p50 / search.p50:10.2f}"
        print(f"{name:32}{cost.cpu:10.0f}{cost.p50:10.0f}{cost.p99:10.0f}{ratios}")
    figures = {
        name: cost._asdict() for name, cost in zip(("search", "recommend", "http"), rows.values(), strict=True)
    }
    over = {"http_cpu_over_search": http.cpu / search.cpu, "http_p50_over_search": http.p50 / search.p50}
    print(json.dumps({"items": items, "ready_seconds": ready, "microseconds": figures, **over}))


def release(folder: Path, items: int, users: int) -> tuple[ReleaseStore, float]:
    """Publish a synthetic release; returns its store and the seconds that index and publication took."""
    write_export(synthetic_export(items, users), folder / "export")
    start = time.perf_counter()
    build_from_export(folder / "export", folder / "index", IndexOptions())
    store = ReleaseStore(folder / "releases")
    publish(folder / "export", folder / "index", store)
    return store, time.perf_counter() - start


def synthetic_export(items: int, users: int) -> Export:
    """Items and users around shared centres, with items of uneven length, as training leaves them."""
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(300, DIM))

    def around(rows: int, skew: float) -> Float32:
        made = centres[rng.integers(300, size=rows + 1)] + rng.normal(size=(rows + 1, DIM))
        made *= rng.lognormal(0, skew, (rows + 1, 1))
        made[0] = 0
        return made.astype(np.float32)

    watches = (rng.beta(0.5, 2, users * WATCHES) * items).astype(np.int32) + 1
    offsets = np.concatenate([[0], np.arange(users + 1) * WATCHES])
    manifest = ExportManifest(
        created=datetime.now(UTC),
        files={},
        items=items,
        users=users,
        dim=DIM,
        model=ModelConfig(),
        training=TrainingConfig(),
        features=FeatureSpec(),
        holdout="none",
        holdout_share=0.1,
        epochs=1,
        metrics={},
    )
    return Export(
        manifest=manifest,
        item_vectors=around(items, 0.3),
        user_vectors=around(users, 0),
        watched_vectors=np.zeros((items + 1, 1), np.float32),
        weights={"none": np.zeros(1, np.float32)},
        item_counts=np.bincount(watches, minlength=items + 1),
        items=Vocabulary(f"video-{n}" for n in range(1, items + 1)),
        users=Vocabulary(f"user-{n}" for n in range(1, users + 1)),
        catalogue=Catalogue.empty(items),
        user_table=empty_table(USER_SCHEMA, users),
        histories=Histories(watches, np.arange(len(watches)), offsets),
    )


def measure_bare(store: ReleaseStore, asked: list[int]) -> tuple[Cost, Cost]:
    """The cost of the index alone, and of a recommendation without HTTP, in this process."""
    recommender = open_release(store.path(store.current()))
    vectors = np.asarray(recommender.export.user_vectors)
    search = measure(lambda user: recommender.index.search(vectors[user][None], K), asked, time.process_time)
    return search, measure(lambda user: recommender.recommend(f"user-{user}", K), asked, time.process_time)


@contextmanager
def server(store: ReleaseStore) -> "Iterator[tuple[Popen[str], int, float]]":
    """A server process, its port, and the seconds from its start until it was ready."""
    start = time.perf_counter()
    command = [sys.executable, "-m", "watchnext", "serve", str(store.root), "--port", "0", "--json", "--without-keys"]
    with Popen(command, stdout=PIPE, stderr=PIPE, text=True) as process:
        try:
            port = int(json.loads(next(iter(process.stdout or ())))["address"].rpartition(":")[2])
            while get(HTTPConnection("127.0.0.1", port, timeout=10), "/healthz/ready") != 200:
                time.sleep(0.01)
            yield process, port, time.perf_counter() - start
        finally:
            process.terminate()


def measure_http(pid: int, port: int, asked: list[int]) -> Cost:
    """The cost of requests over one kept-alive connection; CPU time is the server's (Linux only, else NaN)."""
    connection = HTTPConnection("127.0.0.1", port, timeout=10)
    return measure(lambda user: get(connection, f"/recommend?user_id=user-{user}&k={K}"), asked, cpu_clock(pid))


def cpu_clock(pid: int) -> Callable[[], float]:
    """Reads the CPU seconds that another process has used."""
    if not hasattr(time, "pthread_getcpuclockid"):
        return lambda: float("nan")
    clock = (~pid << 3) | 2  # CLOCK_CPUCLOCK of a process, see clock_getcpuclockid(3)
    return lambda: time.clock_gettime(clock)


def get(connection: HTTPConnection, path: str) -> int:
    """Request a path and read the answer; returns the status."""
    connection.request("GET", path)
    response = connection.getresponse()
    response.read()
    return response.status


def measure(answer: Callable[[int], object], asked: list[int], cpu: Callable[[], float]) -> Cost:
    """Answer for all users, after a tenth of them to warm up."""
    for user in asked[: len(asked) // 10]:
        answer(user)
    latencies, before = [], cpu()
    for user in asked:
        start = time.perf_counter()
        answer(user)
        latencies.append(time.perf_counter() - start)
    spent = (cpu() - before) / len(asked)
    p50, p99 = np.quantile(latencies, [0.5, 0.99])
    return Cost(*(round(float(seconds) * 1e6, 1) for seconds in (spent, p50, p99)))


if __name__ == "__main__":
    main()
