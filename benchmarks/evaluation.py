"""What full ranking adds to the matrix product that it cannot do without, and how much memory it takes.

    python -m benchmarks.evaluation [--quick]

The bare product computes the same scores in the same blocks and threads. Both run alternately in one process; the
median ratio counts, and where other programs take turns on the cores that of CPU seconds. `evaluation` adds the
metrics and 1,000 resamples for standard errors. Memory is the process's maximum. With few items, selecting 50 of
them costs more than the product.
"""

import argparse
import json
import resource
import statistics
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import NamedTuple, Self

import numpy as np
from rich.console import Console
from rich.table import Table
from threadpoolctl import threadpool_limits

from evaluation import ranking
from evaluation.protocol import evaluate
from evaluation.training import TrainingCounts
from watchnext.features import Float32
from watchnext.histories import Histories, Int32, Int64
from watchnext.split import split

DIM, K, WATCHES = 64, 50, 20


@dataclass
class Vectors:
    """Scores are dot products of given vectors."""

    users: Float32
    items: Float32

    def scores(self, users: Int32, ends: Int64) -> Float32:
        """[users, items + 1] dot products."""
        scores: Float32 = self.users[users] @ self.items.T
        return scores


def world(users: int, items: int) -> tuple[Vectors, Histories]:
    """Random vectors and histories; row 0 belongs to nobody."""
    rng = np.random.default_rng(0)
    vectors = (rng.normal(size=(rows + 1, DIM)).astype(np.float32) for rows in (users, items))
    watched = rng.integers(1, items + 1, users * WATCHES).astype(np.int32)
    offsets = np.concatenate([[0], WATCHES * np.arange(users + 1)])
    return Vectors(*vectors), Histories(watched, np.tile(np.arange(WATCHES), users), offsets)


def bare_product(vectors: Vectors) -> None:
    """The bare matrix products, in the blocks and threads of ranking, each thread into one buffer of its own."""
    rows = max(1, min(ranking.BLOCK_USERS, ranking.BLOCK_SCORES // len(vectors.items)))
    own = threading.local()

    def multiply(start: int) -> None:
        if not hasattr(own, "out"):
            own.out = np.empty((rows, len(vectors.items)), np.float32)
        block = vectors.users[start : start + rows]
        np.matmul(block, vectors.items.T, out=own.out[: len(block)])

    with threadpool_limits(1, "blas"), ThreadPoolExecutor(ranking.THREADS) as pool:
        for _ in pool.map(multiply, range(1, len(vectors.users), rows)):
            pass


class Cost(NamedTuple):
    """Seconds of one call on the clock, and of all cores together."""

    wall: float
    cpu: float

    @classmethod
    def of(cls, run: Callable[[], object]) -> Self:
        """Call it."""
        wall, cpu = time.perf_counter(), time.process_time()
        run()
        return cls(time.perf_counter() - wall, time.process_time() - cpu)


def measure(users: int, items: int, pairs: int) -> dict[str, float]:
    """Seconds of both, and the ratio."""
    vectors, histories = world(users, items)
    cut = split(histories, "leave-one-out")
    everybody = np.arange(1, users + 1, dtype=np.int32)
    counts = TrainingCounts.of(histories, cut.train, items)
    few = everybody[: users // 20]
    ranking.rank(vectors, histories, cut.test, few, K)
    bare_product(Vectors(vectors.users[: len(few)], vectors.items))
    costs = [
        (
            Cost.of(lambda: ranking.rank(vectors, histories, cut.test, everybody, K)),
            Cost.of(lambda: bare_product(vectors)),
        )
        for _ in range(pairs)
    ]
    whole = Cost.of(lambda: evaluate(vectors, histories, cut, counts, (10, K)).estimates())
    bare = statistics.median(product.wall for _, product in costs)
    return {
        "users": users,
        "items": items,
        "product_seconds": bare,
        "ranking_seconds": statistics.median(ours.wall for ours, _ in costs),
        "ranking_over_product": statistics.median(ours.wall / product.wall for ours, product in costs),
        "ranking_over_product_cpu": statistics.median(ours.cpu / product.cpu for ours, product in costs),
        "evaluation_over_product": whole.wall / bare,
        "peak_gib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20,
    }


def main() -> int:
    """Print a table, then one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer users and items: under a minute")
    quick = parser.parse_args().quick
    sizes = [(20_000, 5_000), (5_000, 100_000)] if quick else [(100_000, 10_000), (100_000, 100_000)]
    results = [measure(users, items, 3) for users, items in sizes]
    table = Table(
        "users",
        "items",
        "product s",
        "ranking s",
        "ranking / product",
        "in CPU seconds",
        "evaluation / product",
        "peak GiB",
    )
    for r in results:
        counts, figures = list(r.values())[:2], list(r.values())[2:]
        table.add_row(*(f"{v:,}" for v in counts), *(f"{v:.2f}" for v in figures))
    Console().print(table)
    sys.stdout.write(json.dumps({"benchmark": "evaluation", "dim": DIM, "k": K, "results": results}) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
