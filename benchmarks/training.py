"""How fast a training step is, against the bare matrix products of its shapes, for growing catalogues.

    python benchmarks/training.py [--quick]

Ours and the bare products run alternately in one process, so that a noisy machine slows both; the median counts.
The products are those of the loss, which dominate: logits [examples, negatives] and their two gradients.
"""

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable

import numpy as np
from rich.console import Console
from rich.table import Table

from model.batches import BatchBuilder
from model.network import Network
from model.prepare import Prepared, Preparer
from model.sampler import NegativeSampler
from model.step import Trainer
from watchnext.config import preset
from watchnext.features import FeatureSpec
from watchnext.histories import Histories
from watchnext.inputs import UserInputs

import tensorflow as tf  # isort: skip - after model, which silences it

STEPS = 10


def world(items: int, rng: np.random.Generator) -> Histories:
    """Histories of 2 to 100 watches, items by a power law."""
    lengths = rng.integers(2, 100, 3000)
    offsets = np.concatenate([[0, 0], np.cumsum(lengths)])
    numbers = np.minimum((items * rng.random(offsets[-1]) ** 3).astype(np.int32) + 1, items)
    return Histories(numbers, np.arange(len(numbers)), offsets)


def seconds(run: Callable[[], object]) -> float:
    """Wall time of one call."""
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def products(examples: int, negatives: int, dim: int) -> Callable[[], object]:
    """The three matrix products that no sampled softmax can do without."""
    users, drawn = tf.random.normal([examples, dim]), tf.random.normal([negatives, dim])

    def run() -> tf.Tensor:
        logits = tf.matmul(users, drawn, transpose_b=True)
        return tf.reduce_sum(tf.matmul(logits, drawn)) + tf.reduce_sum(tf.matmul(logits, users, transpose_a=True))

    compiled = tf.function(run)
    return lambda: [float(compiled()) for _ in range(STEPS)]


def measure(items: int, pairs: int) -> dict[str, float]:
    """Examples a second and the ratio to the limit for one catalogue size."""
    chosen = preset("default")
    model, training = chosen.model, chosen.training
    histories = world(items, np.random.default_rng(0))
    builder = BatchBuilder.of(histories, histories.lengths, model, training)
    counts = np.bincount(histories.items, minlength=items + 1)
    prepare = Preparer(
        NegativeSampler.of(counts, training),
        model,
        FeatureSpec(),
        UserInputs(histories),
    )
    trainer = Trainer(Network(model, FeatureSpec(), items, 0), training)
    epoch = builder.epoch(0)
    batches = [epoch.batch(i) for i in range(STEPS)]
    preparation = seconds(lambda: [prepare(batch, 0, i) for i, batch in enumerate(batches)]) / STEPS
    prepared = [prepare(batch, 0, i) for i, batch in enumerate(batches)]
    bare = products(builder.rows * builder.length, training.negatives, model.dim)

    def steps(batches: list[Prepared] = prepared) -> None:
        for batch in batches:
            float(trainer.step(batch))

    steps()  # compile
    bare()
    times = [(seconds(steps), seconds(bare)) for _ in range(pairs)]
    examples = float(np.mean([batch.weight.sum() for batch in batches]))
    step = statistics.median(t[0] for t in times) / STEPS
    return {
        "items": items,
        "examples_per_second": examples / step,
        "share_of_limit": statistics.median(b / s for s, b in times),
        "step_ms": 1000 * step,
        "preparation_ms": 1000 * preparation,
        "filled": examples / (builder.rows * builder.length),
    }


def main() -> int:
    """Print a table, then one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="two sizes, few repetitions: under a minute")
    quick = parser.parse_args().quick
    results = [measure(items, 3 if quick else 9) for items in ([10_000, 100_000] if quick else [10**4, 10**5, 10**6])]
    table = Table("items", "examples/s", "share of the limit", "step ms", "preparation ms", "positions filled")
    for r in results:
        table.add_row(
            f"{r['items']:,}",
            f"{r['examples_per_second']:,.0f}",
            f"{r['share_of_limit']:.2f}",
            f"{r['step_ms']:.1f}",
            f"{r['preparation_ms']:.2f}",
            f"{r['filled']:.2f}",
        )
    Console().print(table)
    sys.stdout.write(json.dumps({"benchmark": "training", "results": results}) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
