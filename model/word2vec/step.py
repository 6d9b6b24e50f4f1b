"""The training step of word2vec: all pairs of a batch as a few matrix products.

A pair's score is the product of two vectors of its row, so one product of a row's vectors with themselves and their
neighbours has the scores of all its pairs, and a mask says which are pairs. Negatives are drawn for the whole batch,
so that one more product has the scores of all of them for all watches (Ji et al. 2016, *Parallelizing Word2Vec in
Shared and Distributed Memory*).
"""

import math
from functools import partial
from typing import NamedTuple

import tensorflow as tf

from model.parameters import TABLE, Tensor
from model.trainer import SparseTrainer, Values, differentiated
from model.word2vec.loss import logistic_loss, window_pairs
from model.word2vec.prepare import PreparedWindows
from model.word2vec.vectors import WordVectors
from model.word2vec.windows import edge_of
from watchnext.config import Word2vecConfig

WATCHED, ITEM, NODE = f"{TABLE}watched", f"{TABLE}item", f"{TABLE}node"


class Gathered(NamedTuple):
    """A batch with its vectors."""

    inputs: Tensor
    """[rows, width, dim] hidden layers of all watches, those of the edges too."""
    outputs: Tensor | None
    """[rows, width, dim] their output vectors; None with hierarchical softmax."""
    drawn: Tensor | None
    """[shared negatives, dim] output vectors of the negatives, likewise."""
    nodes: Tensor | None
    """Vectors of the inner nodes on the ways to the watches: [rows * length, longest, dim], or with `skipgram` of all
    nodes of a row, [rows, longest, dim]."""
    signs: Tensor | None
    """The turns there: [rows * length, longest], or [rows, length, longest]; 0 for padding."""
    pairs: Tensor
    """[rows, length, width] which watches stand together."""
    middle: slice
    """Where in a row its own watches are."""


class Word2vecTrainer(SparseTrainer[PreparedWindows]):
    """Trains `WordVectors`.

    Args:
        steps: how many there will be, for a falling learning rate.
    """

    def __init__(self, network: WordVectors, config: Word2vecConfig, steps: int = 0) -> None:
        super().__init__(network, config, steps)
        self.network = network
        self._compiled = tf.function(self._gradients, jit_compile=True, autograph=False)

    def rows(self, batch: PreparedWindows) -> Values:
        """See `SparseTrainer.rows`."""
        return {name: batch.nodes if name == NODE else batch.rows for name in self.trained}

    @property
    def guessing(self) -> float:
        """See `SparseTrainer.guessing`: of all items, or whether the true one and each negative is the true one."""
        return super().guessing if self.network.tree else (1 + self.network.config.negatives) * math.log(2)

    def gradients(self, batch: PreparedWindows, values: Values) -> tuple[Tensor, Values]:
        """See `SparseTrainer.gradients`."""
        compiled: tuple[Tensor, Values] = self._compiled(batch, values)
        return compiled

    def _gradients(self, batch: PreparedWindows, values: Values) -> tuple[Tensor, Values]:
        return differentiated(partial(self.loss, batch), values)

    def loss(self, batch: PreparedWindows, values: Values) -> Tensor:
        """The mean loss of a batch in nats: of its pairs, or with `cbow` of its watches."""
        config, gathered = self.network.config, self.gathered(batch, values)
        if config.architecture == "cbow":
            return _cbow(gathered, config)
        pairs = gathered.pairs
        total = _skipgram_nodes(gathered) if gathered.nodes is not None else _skipgram(gathered, config)
        return total / tf.maximum(tf.reduce_sum(pairs), 1.0)

    def gathered(self, batch: PreparedWindows, values: Values) -> Gathered:
        """The vectors that a batch needs."""
        edge, length = edge_of(self.network.config), batch.reach.shape[1]
        pairs = window_pairs(batch.history, batch.reach, edge)
        inputs = self.network.hidden(tf.gather(values[WATCHED], batch.items))
        middle = slice(edge, edge + length)
        if batch.paths is not None:
            ways = batch.paths if batch.turns is None else batch.turns
            return Gathered(inputs, None, None, tf.gather(values[NODE], ways.nodes), ways.signs, pairs, middle)
        outputs, drawn = (tf.gather(values[ITEM], places) for places in (batch.items, batch.negative))
        return Gathered(inputs, outputs, drawn, None, None, pairs, middle)


def _skipgram(g: Gathered, config: Word2vecConfig) -> Tensor:
    """The sum of the losses of all pairs of a watch and one in its window, which it predicts."""
    given = g.inputs[:, g.middle]
    return logistic_loss(given, g.outputs, g.pairs, 1.0) + _negatives(g, config, given, tf.reduce_sum(g.pairs, 2))


def _skipgram_nodes(g: Gathered) -> Tensor:
    """The same by hierarchical softmax, of a watch and one in its window that predicts it.

    Windows are symmetric: which of the two predicts the other makes no difference on average, and the ways through
    the tree are then those of the row alone. They begin with the same nodes, so an input vector meets a node once for
    all the watches in its window whose ways lead there.
    """
    turns = tf.matmul(g.pairs, tf.abs(g.signs), transpose_a=True)  # [rows, width, longest] how many
    signs = tf.matmul(g.pairs, g.signs, transpose_a=True) / tf.maximum(turns, 1.0)
    return logistic_loss(g.inputs, g.nodes, turns, signs)


def _cbow(g: Gathered, config: Word2vecConfig) -> Tensor:
    """The mean of the losses of all watches with a window, predicted from its mean."""
    count = tf.reduce_sum(g.pairs, 2)
    means = tf.matmul(g.pairs / tf.maximum(count, 1.0)[..., None], g.inputs)  # [rows, length, dim]
    some = tf.cast(count > 0, tf.float32)
    if g.outputs is None:
        given, signs = tf.reshape(means, [-1, 1, means.shape[2]]), tf.expand_dims(g.signs, 1)
        total = logistic_loss(given, g.nodes, tf.reshape(some, [-1, 1, 1]) * tf.abs(signs), signs)
    else:
        scores = tf.reduce_sum(means * g.outputs[:, g.middle], -1)
        total = tf.reduce_sum(some * tf.nn.softplus(-scores)) + _negatives(g, config, means, some)
    return total / tf.maximum(tf.reduce_sum(some), 1.0)


def _negatives(g: Gathered, config: Word2vecConfig, given: Tensor, counts: Tensor) -> Tensor:
    """The sum of the losses of the negatives, as often as `counts` [rows, length] says for each `given` vector."""
    weight = tf.reshape(counts, [-1, 1]) * (config.negatives / config.shared_negatives)
    return logistic_loss(tf.reshape(given, [-1, given.shape[2]]), g.drawn, weight, -1.0)
