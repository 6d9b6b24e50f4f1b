"""Everything that the training loop turns over, put together for a configuration: the network's, or word2vec's."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np

from model.batches import BatchBuilder
from model.buffers import cut_blocks
from model.checkpoint import Arrays
from model.huffman import HuffmanTree
from model.network import Network
from model.prepare import Prepared, Preparer
from model.sampler import NegativeSampler, Noise
from model.step import Trainer
from model.word2vec.prepare import PreparedWindows, WindowPreparer
from model.word2vec.step import Word2vecTrainer
from model.word2vec.vectors import WordVectors
from model.word2vec.windows import WindowBuilder
from watchnext.config import ModelConfig, TrainingConfig, Word2vecConfig
from watchnext.errors import TrainingError
from watchnext.features import FeatureSpec
from watchnext.histories import Int64, spans
from watchnext.inputs import UserInputs
from watchnext.item_features import ItemBags

Config = TrainingConfig | Word2vecConfig
AnyTrainer = Trainer | Word2vecTrainer
AnyPrepared = Prepared | PreparedWindows
NOTHING = "no user with two watches to learn from"
Start = Callable[[Trainer], Arrays]
"""Gives the values and the optimizer's state that a trainer starts with."""


@dataclass(frozen=True)
class TrainingData:
    """What a network is fitted to.

    Args:
        inputs: histories and everything else that is known of users.
        ends: [users + 1] how many watches of each user training may see.
        items: items in the vocabulary.
        bags: features of items, see `ModelConfig.item_features`.
        known: [users + 1] how many of them an earlier training has learned; None for none.
    """

    inputs: UserInputs
    ends: Int64
    items: int
    features: FeatureSpec
    bags: ItemBags | None = None
    known: Int64 | None = None

    def counts(self) -> Int64:
        """[items + 1] watches of each item that training may see."""
        h, counts = self.inputs.histories, np.zeros(self.items + 1, np.int64)
        for block in cut_blocks(h.offsets):
            begin = np.asarray(h.offsets[slice(*block)])
            _, places = spans(begin - begin[0], begin - begin[0] + self.ends[slice(*block)])
            np.add.at(counts, h.items[begin[0] : h.offsets[block.last]][places], 1)
        return counts


class Batches(Protocol):
    """One pass over the examples."""

    def batches(self, start: int = 0) -> Iterator[Any]:
        """The batches from number `start` on."""
        ...


class Builder(Protocol):
    """Makes the batches of any epoch, each a function of (seed, epoch, position) only."""

    @property
    def expected(self) -> int:
        """Batches of an epoch, more or less."""
        ...

    def epoch(self, epoch: int) -> Batches:
        """One pass."""
        ...


@dataclass(frozen=True)
class Parts:
    """What is trained, by which batches.

    Args:
        prepare: from a batch, its epoch and its number there to what the trainer's step takes.
        counts: [items + 1] watches of each item that training sees.
    """

    trainer: AnyTrainer
    builder: Builder
    prepare: Callable[[Any, int, int], AnyPrepared]
    counts: Int64


def assembled(data: TrainingData, model: ModelConfig, config: Config, start: Start | None = None) -> Parts:
    """The parts for a configuration.

    Args:
        start: for the network; None for the usual random start.

    Raises TrainingError where there is nothing to learn from.
    """
    if isinstance(config, Word2vecConfig):
        ends = np.where(data.ends > 1, data.ends, 0)  # what stands alone has no window
        if not ends.any():
            raise TrainingError("corpus", NOTHING, "Ingest a log with longer histories.")
        paired = replace(data, ends=ends)
        parts = _word2vec(paired, config, paired.counts())
    else:
        parts = _network(data, model, config, data.counts(), start)
    parts.trainer.network.forget(np.flatnonzero(parts.counts == 0))
    return parts


def _network(
    data: TrainingData, model: ModelConfig, config: TrainingConfig, counts: Int64, start: Start | None
) -> Parts:
    sampler = NegativeSampler.of(counts, config)
    builder = BatchBuilder.of(data.inputs.histories, data.ends, model, config, known=data.known)
    if not builder.examples:
        if data.known is not None:
            raise TrainingError("corpus", "no watch that the earlier export has not learned", "Ingest newer watches.")
        raise TrainingError("corpus", NOTHING, "Ingest a log with longer histories.")
    tree = HuffmanTree.of(counts) if config.loss == "hierarchical" else None
    network = Network(model, data.features, data.items, config.seed, tree, data.bags)
    trainer = Trainer(network, config, builder.expected * config.epochs)
    if start is not None:
        trainer.set_arrays(start(trainer))
    return Parts(trainer, builder, Preparer(sampler, model, data.features, data.inputs, tree, data.bags), counts)


def _word2vec(data: TrainingData, config: Word2vecConfig, counts: Int64) -> Parts:
    noise = Noise.of(counts, config.noise_exponent)
    builder = WindowBuilder.of(data.inputs.histories, data.ends, counts, config)
    tree = HuffmanTree.of(counts) if config.loss == "hierarchical" else None
    vectors = WordVectors(config, data.items, tree, data.features)
    trainer = Word2vecTrainer(vectors, config, builder.expected * config.epochs)
    return Parts(trainer, builder, WindowPreparer(noise, config, tree), counts)
