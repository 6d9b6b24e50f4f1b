"""Trains the networks of `model.one_hot` for some steps, validates as they go, and takes the time of training."""

import time
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np

from model.assembly import TrainingData
from model.batches import BatchBuilder
from model.fit import METRIC, Validate
from model.one_hot import Arm, OneHotBatch, OneHotNetwork, OneHotPreparer, OneHotTrainer
from model.prefetch import prefetch
from model.prepare import Preparer
from model.sampler import NegativeSampler
from watchnext.config import ModelConfig, TrainingConfig
from watchnext.errors import TrainingError
from watchnext.features import Float32
from watchnext.tower import UserTower


class Point(NamedTuple):
    """Where a run is."""

    steps: int
    cpu_seconds: float
    """Of training, all threads; without validation and without the first step, which compiles."""
    ndcg: float
    """NDCG@10 of the validation part."""


class OneHotRun(NamedTuple):
    """What a run gave."""

    points: list[Point]
    item_vectors: Float32
    """Of the point of the highest NDCG@10."""
    tower: UserTower
    """Likewise."""
    touched: float
    """Rows of W or E with a gradient in a step, on average."""
    examples: int
    """That a batch has room for."""
    positions: int
    """Likewise."""


def learn(
    data: TrainingData,
    model: ModelConfig,
    config: TrainingConfig,
    arm: Arm,
    steps: int,
    every: int,
    validate: Validate,
    advance: Callable[[int], None] = lambda _: None,
) -> OneHotRun:
    """Train for some steps.

    Args:
        every: validate after so many.
        advance: called with the number of steps done since the last call.

    Raises TrainingError where there is nothing to learn from.
    """
    counts = data.counts()
    builder = BatchBuilder.of(data.inputs.histories, data.ends, model, config)
    if not builder.examples:
        raise TrainingError("corpus", "no user with two watches to learn from", "Ingest a log of longer histories.")
    preparer = Preparer(NegativeSampler.of(counts, config), model, data.features, data.inputs)
    network = OneHotNetwork(model, data.items, config.seed, arm)
    network.forget(np.flatnonzero(counts == 0))
    trainer = OneHotTrainer(network, config)
    points: list[Point] = []
    touched, spent, begin = 0, 0.0, time.process_time()
    batches = prefetch(_batches(builder, OneHotPreparer(preparer, data.items, arm), steps))
    for step, batch in enumerate(batches, 1):
        float(trainer.step(batch))
        touched += int((batch.rows > 0).sum())
        if step == 1:
            begin = time.process_time()
        if step % every == 0 or step == steps:
            spent += time.process_time() - begin
            now = network.item_vectors(), network.tower()
            ndcg = validate(*now)[METRIC]
            if not points or ndcg > max(point.ndcg for point in points):
                vectors, tower = now
            points.append(Point(step, spent, ndcg))
            begin = time.process_time()
        advance(1)
    room = builder.room
    return OneHotRun(points, vectors, tower, touched / steps, room.examples, room.rows * room.length)


def _batches(builder: BatchBuilder, prepare: OneHotPreparer, steps: int) -> Iterator[OneHotBatch]:
    """The first `steps` batches, epoch by epoch."""
    epoch = 0
    while True:
        for number, batch in enumerate(builder.epoch(epoch).batches()):
            if not steps:
                return
            yield prepare(batch, epoch, number)
            steps -= 1
        epoch += 1
