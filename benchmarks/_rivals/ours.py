"""This project's step, driven as `model.fit` drives it, and the bare matrix products of its shapes beside it.

Variants: `plain`, the network that the others train too (mean of the watches, one hidden layer, dot products), and
`default`, what `watchnext train` does without options (decayed means, residual, cosine, dropout).
"""

import statistics
import time
from collections.abc import Callable, Iterator
from itertools import islice, pairwise

import numpy as np

from benchmarks._rivals.products import products
from benchmarks._rivals.program import Figures, Task, Timer, compete
from benchmarks._rivals.world import make
from model.batches import Batch, BatchBuilder
from model.network import Network
from model.prefetch import prefetch
from model.prepare import Prepared, Preparer
from model.sampler import NegativeSampler
from model.step import Trainer
from watchnext.config import ModelConfig, TrainingConfig
from watchnext.encoders import parts
from watchnext.features import FeatureSpec
from watchnext.histories import Histories
from watchnext.inputs import UserInputs
from watchnext.presets import Preset, changed, preset

DRAWS = 50
PLAIN = ("encoder=mean", "residual=false", "similarity=dot", "dropout=0")


def settings(task: Task) -> Preset:
    """The configuration of a variant."""
    shapes = (
        f"dim={task.dim}",
        f"tower={task.hidden}",
        f"history={task.history}",
        f"negatives={task.negatives}",
        f"batch_examples={task.examples}",
    )
    return changed(preset("default"), [*shapes, *(PLAIN if task.variant == "plain" else ())])


def layers(model: ModelConfig) -> list[tuple[int, int]]:
    """Inputs and outputs of each of the tower's products."""
    widths = [model.dim * parts(model), *model.tower, model.dim]
    return list(pairwise(widths))


class Ours:
    """A trainer with its batches."""

    def __init__(self, task: Task) -> None:
        world, chosen = make(task.items), settings(task)
        offsets = np.concatenate([[0, 0], np.cumsum(world.lengths)])
        histories = Histories(world.items, np.arange(len(world.items)), offsets)
        self.task, features = task, FeatureSpec()
        assert isinstance(chosen.training, TrainingConfig)  # noqa: S101  (the preset's)
        self.sampler = NegativeSampler.of(world.counts, chosen.training)
        builder = BatchBuilder.of(histories, histories.lengths, chosen.model, chosen.training)
        self.epoch = builder.epoch(0)
        self.steps = min(task.steps, len(self.epoch))
        self.prepare = Preparer(self.sampler, chosen.model, features, UserInputs(histories))
        self.trainer = Trainer(Network(chosen.model, features, task.items, 0), chosen.training)
        self.prepared = list(self.source())
        self.examples = float(sum(batch.weight.sum() for batch in self.prepared))
        mean = round(self.examples / self.steps)
        self.products = products(mean, task.negatives, task.dim, layers(chosen.model))

    def source(self) -> Iterator[Prepared]:
        """The batches of a round, prepared one by one."""
        batches: Iterator[Batch] = islice(self.epoch.batches(), self.steps)
        return (self.prepare(batch, 0, i) for i, batch in enumerate(batches))

    def driven(self) -> float:
        """A round as training does it, batches prepared by another thread; returns the seconds spent waiting."""
        source, waited = prefetch(self.source()), 0.0
        while True:
            start = time.perf_counter()
            batch = next(source, None)
            waited += time.perf_counter() - start
            if batch is None:
                return waited
            float(self.trainer.step(batch))

    def draw_seconds(self) -> float:
        """Median time of drawing a batch's negatives."""
        times, labels = [], np.ones(1, np.int32)
        for number in range(DRAWS):
            start = time.perf_counter()
            self.sampler.draw(labels, 1, number)
            times.append(time.perf_counter() - start)
        return statistics.median(times)

    def round(self) -> Figures:
        """Steps alone, the bare products alone, then steps with the preparation of their batches beside them."""
        step = timed(lambda: [float(self.trainer.step(batch)) for batch in self.prepared])
        product = timed(lambda: [self.products() for _ in range(self.steps)])
        timer = Timer()
        waiting = self.driven()
        return {
            "examples": self.examples,
            **timer.figures(),
            "waiting_seconds": waiting,
            **{f"step_{name}": value for name, value in step.items()},
            **{f"product_{name}": value for name, value in product.items()},
            "draw_seconds": self.draw_seconds(),
            "steps": self.steps,
            "filled": self.examples / self.steps / self.task.examples,
        }


def timed(run: Callable[[], object]) -> Figures:
    """`seconds` and `cpu_seconds` of one call."""
    timer = Timer()
    run()
    return timer.figures()


def prepare(task: Task) -> Callable[[], Figures]:
    """Compile and warm up."""
    ours = Ours(task)
    ours.round()
    return ours.round


if __name__ == "__main__":
    compete(prepare)
