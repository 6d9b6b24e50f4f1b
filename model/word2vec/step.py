"""The training step of word2vec: all pairs of a batch as a few matrix products.

A pair's score is the product of two vectors of its row, so one product of a row's vectors with themselves and their
neighbours has the scores of all its pairs, and a mask says which are pairs. Negatives are drawn for the whole batch,
so that one more product has the scores of all of them for all watches (Ji et al. 2016, *Parallelizing Word2Vec in
Shared and Distributed Memory*).
"""

import numpy as np
import tensorflow as tf

from model.hierarchical import hierarchical_softmax
from model.parameters import TABLE, Tensor
from model.trainer import SparseTrainer
from model.word2vec.prepare import PreparedWindows
from model.word2vec.vectors import WordVectors
from model.word2vec.windows import edge_of
from watchnext.config import Word2vecConfig

Values = dict[str, Tensor]
WATCHED, ITEM, NODE = f"{TABLE}watched", f"{TABLE}item", f"{TABLE}node"


class Word2vecTrainer(SparseTrainer[PreparedWindows]):
    """Trains `WordVectors`.

    Args:
        steps: how many there will be, for a falling learning rate.
    """

    def __init__(self, network: WordVectors, config: Word2vecConfig, steps: int = 0) -> None:
        super().__init__(network, config, steps)
        self.network = network

    def rows(self, batch: PreparedWindows) -> Values:
        """See `SparseTrainer.rows`."""
        return {name: batch.nodes if name == NODE else batch.rows for name in self.trained}

    def gradients(self, batch: PreparedWindows, values: Values) -> tuple[Tensor, Values]:
        """See `SparseTrainer.gradients`."""
        with tf.GradientTape() as tape:
            tape.watch(values)
            loss = self.loss(batch, values)
        found = tape.gradient(loss, values, unconnected_gradients=tf.UnconnectedGradients.ZERO)
        return loss, {name: tf.convert_to_tensor(value) for name, value in found.items()}  # from IndexedSlices, too

    def loss(self, batch: PreparedWindows, values: Values) -> Tensor:
        """The mean loss of a batch's pairs, with `cbow` of its watches, in nats."""
        config = self.network.config
        edge, length = edge_of(config), batch.reach.shape[1]
        middle = slice(edge, edge + length)
        pairs = window_pairs(batch.history, batch.reach, edge)  # [rows, length, width]
        inputs = self.network.hidden(tf.gather(values[WATCHED], batch.items))  # [rows, width, dim]
        if config.architecture == "cbow":
            count = tf.reduce_sum(pairs, 2, keepdims=True)
            means = tf.matmul(pairs / tf.maximum(count, 1.0), inputs)  # [rows, length, dim]
            some = tf.cast(count[..., 0] > 0, tf.float32)
            return self._of_means(batch, values, means, some, middle) / tf.maximum(tf.reduce_sum(some), 1.0)
        of_pairs = self._of_nodes if batch.paths is not None else self._of_pairs
        return of_pairs(batch, values, inputs, pairs, middle) / tf.maximum(tf.reduce_sum(pairs), 1.0)

    def _of_means(self, batch: PreparedWindows, values: Values, means: Tensor, some: Tensor, middle: slice) -> Tensor:
        """The sum of the losses of the watches in the middle, given the means of their windows."""
        dim = means.shape[2]
        if batch.paths is not None:
            nodes = tf.gather(values[NODE], batch.paths.nodes)
            return tf.reduce_sum(
                tf.reshape(some, [-1]) * hierarchical_softmax(tf.reshape(means, [-1, dim]), nodes, batch.paths.signs)
            )
        true = tf.reduce_sum(means * tf.gather(values[ITEM], batch.items[:, middle]), -1)
        return tf.reduce_sum(some * tf.nn.softplus(-true)) + self._of_negatives(batch, values, means, some)

    def _of_pairs(
        self, batch: PreparedWindows, values: Values, inputs: Tensor, pairs: Tensor, middle: slice
    ) -> Tensor:
        """The sum of the losses of all pairs, of a watch in the middle of a window and one that it predicts."""
        given = inputs[:, middle]
        true = tf.matmul(given, tf.gather(values[ITEM], batch.items), transpose_b=True)  # [rows, length, width]
        return tf.reduce_sum(pairs * tf.nn.softplus(-true)) + self._of_negatives(
            batch, values, given, tf.reduce_sum(pairs, 2)
        )

    def _of_negatives(self, batch: PreparedWindows, values: Values, given: Tensor, counts: Tensor) -> Tensor:
        """The sum over watches of how often their negatives count times the negatives' losses, given [.., dim]."""
        config = self.network.config
        drawn = tf.gather(values[ITEM], batch.negative)
        scores = tf.matmul(tf.reshape(given, [-1, given.shape[2]]), drawn, transpose_b=True)
        weight = config.negatives / config.shared_negatives
        return weight * tf.reduce_sum(tf.reshape(counts, [-1, 1]) * tf.nn.softplus(scores))

    def _of_nodes(
        self, batch: PreparedWindows, values: Values, inputs: Tensor, pairs: Tensor, middle: slice
    ) -> Tensor:
        """The sum of the losses of all pairs, of a watch in the middle and one of its window that predicts it.

        Windows are symmetric: which of the two predicts the other makes no difference on average, and the ways
        through the tree are then those of the row alone.
        """
        assert batch.paths is not None  # noqa: S101
        rows, length, width = pairs.shape
        nodes = tf.gather(values[NODE], tf.reshape(batch.paths.nodes, [rows, -1]))  # [rows, length * longest, dim]
        scores = tf.reshape(tf.matmul(nodes, inputs, transpose_b=True), [rows, length, -1, width])
        signs = tf.reshape(batch.paths.signs, [rows, length, -1, 1])
        turns = tf.where(signs == 0, 0.0, tf.nn.softplus(-signs * scores))
        return tf.reduce_sum(pairs[:, :, None] * turns)


def window_pairs(history: Tensor, reach: Tensor, edge: int) -> Tensor:
    """[rows, length, edge + length + edge] 1 where a watch of a row has another one in its window, else 0.

    Args:
        history: [rows, edge + length + edge] which history each watch is of, 0 for padding.
        reach: [rows, length] how far each window goes.
        edge: watches on each side that are no middles of windows.
    """
    length, width = reach.shape[1], history.shape[1]
    distance = np.abs(np.arange(length)[:, None] + edge - np.arange(width)).astype(np.int32)
    own = history[:, edge : edge + length, None]
    inside = (own == history[:, None]) & (own > 0) & (distance > 0) & (distance <= reach[..., None])
    return tf.cast(inside, tf.float32)
