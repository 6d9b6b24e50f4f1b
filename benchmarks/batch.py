"""What recommending to all users costs beside the matrix product of their vectors and the items'.

    python -m benchmarks.batch [--quick]

The bare product computes the same blocks and tiles in the same threads, and keeps nothing. Slices of the users take
turns: the bare product, then the lists. Then comes the whole: the lists of all users and the Parquet files. Where
other programs take turns on the cores, the ratio of CPU seconds counts. FAISS, on some of the users and with one
thread, fetches as many more items as were watched, of which the watched would still have to be dropped. Memory is
what is added to vectors and histories, which are there before. Vectors are synthetic, of 64 dimensions; a user gets
100 items and has watched 30. The last line is JSON.
"""

import argparse
import json
import math
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import faiss
import numpy as np
from rich.console import Console
from rich.table import Table
from threadpoolctl import threadpool_limits

from benchmarks._serving.world import DIM, WATCHES, synthetic_export
from index.batch import BLOCK_USERS, BatchSearch, row_length
from index.everyone import THREADS, Everyone
from index.exact import ExactIndex
from index.recommendations import PART_USERS, encoded, recommend_all, table
from index.recommender import Recommender
from watchnext.export import Export
from watchnext.release import ReleaseManifest

K, SLICES, FAISS_USERS = 100, 8, 4096


class Cost:
    """Seconds on the clock, and of all cores together, of several calls."""

    def __init__(self) -> None:
        self.wall = self.cpu = 0.0

    def add(self, run: Callable[[], object]) -> None:
        """Call it."""
        wall, cpu = time.perf_counter(), time.process_time()
        run()
        self.wall += time.perf_counter() - wall
        self.cpu += time.process_time() - cpu


class BareProduct:
    """The products of blocks of users and tiles of items, each thread into one buffer of its own."""

    def __init__(self, export: Export) -> None:
        self.users = export.user_vectors
        self.tiles = BatchSearch(export.item_vectors, np.arange(1, export.manifest.items + 1, dtype=np.int32)).tiles
        self._own = threading.local()

    def run(self, users: range) -> None:
        """Multiply all blocks."""
        with threadpool_limits(1, "blas"), ThreadPoolExecutor(THREADS) as pool:
            for _ in pool.map(self._block, [users[i : i + BLOCK_USERS] for i in range(0, len(users), BLOCK_USERS)]):
                pass

    def _block(self, users: range) -> None:
        if not hasattr(self._own, "scores"):
            width = row_length(max(tile.shape[1] for tile in self.tiles))
            self._own.scores = np.empty((BLOCK_USERS, width), np.float32)
        block = self.users[users.start : users.stop]
        for tile in self.tiles:
            np.matmul(block, tile, out=self._own.scores[: len(block), : tile.shape[1]])


def measure(users: int, items: int) -> dict[str, Any]:
    """Seconds of the bare product, ratios to it, and seconds of the parts of writing."""
    export = synthetic_export(items, users)
    recommender, before = Recommender(export, ExactIndex(export.item_vectors), "benchmark"), peak_gib(anew=True)
    everyone, product = Everyone(recommender), BareProduct(export)
    product.run(range(1, min(users, FAISS_USERS)))
    bare, lists, whole = Cost(), Cost(), Cost()
    size = -(-users // SLICES)
    for start in range(1, users + 1, size):
        users_of_slice = range(start, min(start + size, users + 1))
        bare.add(lambda: product.run(users_of_slice))  # noqa: B023 - called at once
        lists.add(lambda: drop(everyone, users_of_slice))  # noqa: B023
    size_written = written(recommender, whole)
    peak = peak_gib() - before
    few = next(everyone.parts([range(1, min(users, PART_USERS) + 1)], K))
    building, encoding, searching = Cost(), Cost(), Cost()
    building.add(lambda: table(few, export.users, export.items))
    rows = table(few, export.users, export.items)
    encoding.add(lambda: encoded(rows))
    searching.add(lambda: with_faiss(export))
    return {
        "users": users,
        "items": items,
        "product_seconds": bare.wall,
        "product_cpu_seconds": bare.cpu,
        "lists_over_product": lists.wall / bare.wall,
        "lists_over_product_cpu": lists.cpu / bare.cpu,
        "whole_over_product": whole.wall / bare.wall,
        "whole_over_product_cpu": whole.cpu / bare.cpu,
        "faiss_over_product_cpu": searching.cpu / FAISS_USERS / (bare.cpu / users),
        "table_cpu_seconds": building.cpu * users / len(few.users),
        "parquet_cpu_seconds": encoding.cpu * users / len(few.users),
        "users_per_second": users / whole.wall,
        "bytes_a_row": size_written / users / K,
        "added_peak_gib": peak,
    }


def drop(everyone: Everyone, users: range) -> None:
    """Make lists, and keep none."""
    parts = [users[i : i + PART_USERS] for i in range(0, len(users), PART_USERS)]
    for _ in everyone.parts(parts, K):
        pass


def written(recommender: Recommender, cost: Cost) -> int:
    """Recommend to everyone into a folder; returns the bytes of its files."""
    manifest = recommender.export.manifest
    release = ReleaseManifest(
        created=datetime.now(UTC),
        files={},
        name=recommender.release,
        items=manifest.items,
        users=manifest.users,
        dim=manifest.dim,
        index="Exact",
        recall_at_50=1,
        metrics={},
    )
    with tempfile.TemporaryDirectory() as folder:
        to = Path(folder) / "all"
        cost.add(lambda: recommend_all(recommender, release, to, K))
        return sum(path.stat().st_size for path in to.iterdir())


def with_faiss(export: Export) -> None:
    """FAISS's exact search for some users at once, as it does best; further threads would spin where they wait."""
    faiss.omp_set_num_threads(1)
    index = faiss.IndexFlatIP(DIM)
    index.add(export.item_vectors[1:])
    users = np.arange(FAISS_USERS) % export.manifest.users + 1
    with threadpool_limits(1, "blas"):
        index.search(export.user_vectors[users], K + WATCHES)


def peak_gib(anew: bool = False) -> float:
    """The most memory that this process has had; anew: count from now on (Linux only, else NaN)."""
    try:
        if anew:
            Path("/proc/self/clear_refs").write_text("5")
        status = Path("/proc/self/status").read_text()
    except OSError:
        return math.nan
    return int(status.partition("VmHWM:")[2].split()[0]) / 2**20


def main() -> int:
    """Print a table, then one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer users and items: under a minute")
    sizes = [(65_536, 10_000), (32_768, 100_000)] if parser.parse_args().quick else [(1_000_000, 100_000)]
    results = [measure(users, items) for users, items in sizes]
    shown = Table("", *(f"{r['users']:,} x {r['items']:,}" for r in results))
    for name in list(results[0])[2:]:
        shown.add_row(name.replace("_", " "), *(f"{r[name]:,.2f}" for r in results))
    Console().print(shown)
    sys.stdout.write(json.dumps({"benchmark": "batch", "dim": DIM, "k": K, "results": results}) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
