"""A network whose first hidden layer reads a history in one of three ways, to measure what one-hot inputs cost.

The history is the mean of the one-hot vectors of its last watches, as wide as the catalogue, and the layer is

    h = activation(mean W + b),    W of shape [items + 1, width]

- `one-hot` computes this product as any dense layer, with a gradient and a step of the optimizer for all of W;
- `rows` computes the same h as the mean of the rows of W that are not multiplied with 0, and changes only these;
- `embeddings` has W = E K with a narrow table E [items + 1, dim], read by rows, and a dense K [dim, width].

All else is the same: what follows the layer, examples, negatives, loss, optimizer. `one-hot` and `rows` start from
the same values.
"""

from dataclasses import dataclass
from functools import partial
from typing import Literal, NamedTuple

import numpy as np
import tensorflow as tf

from model import encoders
from model.batches import Batch
from model.loss import sampled_softmax
from model.network import ACTIVATIONS, GAINS, scaled
from model.parameters import DENSE, TABLE, Parameters, Tensor, normal, normal_table, read
from model.prepare import Prepared, Preparer
from model.touched import touched
from model.trainer import SparseTrainer, differentiated
from watchnext.config import ModelConfig, TrainingConfig
from watchnext.features import FeatureSpec, Float32
from watchnext.histories import Histories, Int32, Int64, spans
from watchnext.tower import UserTower

Arm = Literal["one-hot", "rows", "embeddings"]
FIRST = "first"
"""The name of W where it is a dense weight."""


class OneHotNetwork(Parameters):
    """The parameters of one of the three networks.

    Args:
        config: with encoder `mean`, no `residual`, and a tower whose first width is that of the layer; `tied` is not
            read: the predicted items have a table of their own.
    """

    def __init__(self, config: ModelConfig, items: int, seed: int, arm: Arm) -> None:
        self.config, self.items, self.arm = config, items, arm
        rng, dim, width = np.random.default_rng([seed, 3]), config.dim, config.tower[0]
        table, kernel = config.init_scale * dim**-0.5, (GAINS[config.activation] / dim) ** 0.5
        shape = items + 1, dim if arm == "embeddings" else width
        std = table if arm == "embeddings" else table * kernel * dim**0.5  # that of E K
        self.tables = {"item": normal_table(rng, (items + 1, dim), table, "item")}
        values: dict[str, Float32] = {}
        if arm == "one-hot":
            values[FIRST] = normal(rng, shape, std)
        else:
            self.tables["watched"] = normal_table(rng, shape, std, "watched")
        if arm == "embeddings":
            values["kernel_0"] = normal(rng, (dim, width), kernel)
        for layer, units in enumerate(config.tower):
            if layer:
                values[f"kernel_{layer}"] = normal(rng, (width, units), (GAINS[config.activation] / width) ** 0.5)
            values[f"bias_{layer}"] = np.zeros(units, np.float32)
            width = units
        values["kernel_out"] = normal(rng, (width, dim), width**-0.5)
        values["bias_out"] = np.zeros(dim, np.float32)
        self.dense = {name: tf.Variable(value, name=name) for name, value in values.items()}

    def forget(self, items: Int64) -> None:
        """See `Parameters.forget`; W counts as a table wherever it is."""
        super().forget(items)
        if FIRST in self.dense and len(items):
            zeros = tf.zeros([len(items), self.dense[FIRST].shape[1]])
            self.dense[FIRST].scatter_update(tf.IndexedSlices(zeros, items))

    def user_vectors(self, dense: dict[str, Tensor], first: Tensor) -> Tensor:
        """[examples, dim] from the first layer's sums, [examples, width], without their bias."""
        config, activation = self.config, ACTIVATIONS[self.config.activation]
        h = activation(first + dense["bias_0"])
        for layer in range(1, len(config.tower)):
            h = activation(h @ dense[f"kernel_{layer}"] + dense[f"bias_{layer}"])
        u = scaled(config, h @ dense["kernel_out"] + dense["bias_out"])
        return u / config.temperature if config.similarity == "cosine" else u

    def item_vectors(self) -> Float32:
        """[items + 1, dim] whose products with user vectors are scores."""
        vectors: Float32 = scaled(self.config, read(self.tables["item"])).numpy()
        return vectors

    def tower(self) -> UserTower:
        """The weights as the numpy tower; where there is no K, the identity stands for it."""
        weights = {name: read(variable) for name, variable in self.dense.items()}
        watched = weights.pop(FIRST) if FIRST in weights else read(self.tables["watched"])
        weights.setdefault("kernel_0", np.eye(self.config.tower[0], dtype=np.float32))
        return UserTower(self.config, FeatureSpec(), watched, weights)


class OneHotBatch(NamedTuple):
    """A batch as the step wants it."""

    prepared: Prepared
    """Labels, negatives and the rows of their table."""
    rows: Int32
    """[positions] rows of W or E, each once; the rest is 0."""
    watched: Int32
    """[length, rows] places in `rows`."""
    inputs: Float32 | None
    """[examples, items + 1] means of one-hot vectors; None but for `one-hot`."""


@dataclass(frozen=True)
class OneHotPreparer:
    """Turns batches into what the step wants, beside it, in numpy."""

    preparer: Preparer
    items: int
    arm: Arm

    def __call__(self, batch: Batch, epoch: int, number: int) -> OneHotBatch:
        """Prepare batch `number` of an epoch."""
        rows, places = touched(batch.watched.ravel(), batch.watched.size)
        inputs = None
        if self.arm == "one-hot":
            seen = np.minimum(batch.depth.ravel()[batch.position], self.preparer.model.history)
            counts = np.where(batch.weight > 0, seen, 0)
            inputs = multi_hot(self.preparer.inputs.histories, batch.place, counts, self.items)
        prepared = self.preparer(batch, epoch, number)
        return OneHotBatch(prepared, rows, places.reshape(batch.watched.shape), inputs)


def multi_hot(histories: Histories, place: Int64, counts: Int32 | Int64, items: int) -> Float32:
    """[examples, items + 1] the mean of the one-hot vectors of the `counts` watches before each place of the log.

    Args:
        place, counts: [examples] each; a count of 0 gives a row of zeros.

    >>> multi_hot(Histories.of([[3, 1, 3, 2]]), np.array([3, 0]), np.array([2, 0]), 3).tolist()
    [[0.0, 0.5, 0.0, 0.5], [0.0, 0.0, 0.0, 0.0]]
    """
    row, watch = spans(place - counts, place)
    found = np.zeros((len(place), items + 1), np.float32)
    np.add.at(found, (row, histories.items[watch]), (1 / np.maximum(counts, 1)).astype(np.float32)[row])
    return found


class OneHotTrainer(SparseTrainer[OneHotBatch]):
    """Trains an `OneHotNetwork` to predict the next watch; of a dense weight, all is changed in every step."""

    def __init__(self, network: OneHotNetwork, config: TrainingConfig) -> None:
        super().__init__(network, config)
        self.network = network
        mean = partial(encoders.encode, network.config, {})
        self._means = tf.function(mean, jit_compile=True, autograph=False)

    def rows(self, batch: OneHotBatch) -> dict[str, Tensor]:
        """See `SparseTrainer.rows`."""
        rows = {TABLE + "item": batch.prepared.rows, TABLE + "watched": batch.rows}
        return {name: rows[name] for name in self.trained if name in rows}

    def gradients(self, batch: OneHotBatch, values: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        """See `SparseTrainer.gradients`."""
        return differentiated(partial(self.loss, batch), values)

    def loss(self, batch: OneHotBatch, values: dict[str, Tensor]) -> Tensor:
        """The mean loss of a batch, in nats."""
        prepared, network = batch.prepared, self.network
        dense = {name.removeprefix(DENSE): value for name, value in values.items() if name.startswith(DENSE)}
        if batch.inputs is not None:
            first = tf.matmul(batch.inputs, dense[FIRST])
        else:
            means = self._means(tf.gather(values[TABLE + "watched"], batch.watched), prepared.depth)
            first = tf.gather(tf.reshape(means, [-1, means.shape[2]]), prepared.position)
            first = first @ dense["kernel_0"] if network.arm == "embeddings" else first
        users, vectors = network.user_vectors(dense, first), scaled(network.config, values[TABLE + "item"])
        positives, negatives = (tf.gather(vectors, places) for places in (prepared.label, prepared.negative))
        losses = sampled_softmax(users, positives, negatives, prepared.log_q, prepared.hits)
        return tf.reduce_sum(losses * prepared.weight) / tf.maximum(tf.reduce_sum(prepared.weight), 1.0)
