"""The network: tables of item embeddings and a tower from the encoder's state to the user vector.

Paper, section 3.2: features are concatenated into a wide first layer, followed by fully connected ReLU layers; the
last hidden layer is the user vector, the rows of the softmax weights are the item vectors.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
import tensorflow as tf

from model import encoders
from model.hierarchical import linear_item_vectors
from model.huffman import HuffmanTree
from model.parameters import Parameters, blocks, normal, normal_table, read
from watchnext.config import ModelConfig
from watchnext.encoders import GAPS, parts
from watchnext.features import GAP_BUCKETS, POWERS, REALS, FeatureSpec, Float32
from watchnext.histories import Int64
from watchnext.item_features import ItemBags
from watchnext.tower import UserTower, uses_context, uses_example_age, uses_searches

Tensor = Any
Dense = dict[str, Tensor]

FEATURES = "_features"
"""What the names of tables with features of items end with, after that of the items' table."""
CONTEXT_DIM = 8
"""Dimensions of the country and device embeddings."""
ACTIVATIONS = {"relu": tf.nn.relu, "linear": tf.identity, "sigmoid": tf.sigmoid}
"""What a hidden layer applies to its sums; the twins of `watchnext.tower.ACTIVATIONS`."""
GAINS = {"relu": 2, "linear": 1, "sigmoid": 1}
"""Variance that the kernels of hidden layers start with, times the width of their input. 1 keeps the size of what
passes (Glorot and Bengio 2010, of whose two widths the input's), and a sigmoid, near 0, is a line, too; a ReLU halves
the squares, which 2 makes up for (He et al. 2015)."""


class Network(Parameters):
    """Parameters as TensorFlow variables, and the functions of them that training needs.

    Args:
        items: items in the vocabulary; tables have one row more, for padding.
        seed: initial values follow from it.
        tree: of hierarchical softmax, whose inner nodes have vectors in place of the predicted items.
        bags: features of items; None for a network that reads none.
    """

    def __init__(
        self,
        config: ModelConfig,
        features: FeatureSpec,
        items: int,
        seed: int,
        tree: HuffmanTree | None = None,
        bags: ItemBags | None = None,
    ) -> None:
        self.config, self.features, self.items, self.tree, self.bags = config, features, items, tree, bags
        rng = np.random.default_rng([seed, 3])
        shape, std = (items + 1, config.dim), config.dim**-0.5
        names = ["item"] if config.tied else ["watched"] if tree else ["watched", "item"]
        self.tables = {name: normal_table(rng, shape, config.init_scale * std, name) for name in names}
        if bags:
            none = tf.zeros([len(bags.vocabulary) + 1, config.dim])
            self.tables |= {name + FEATURES: tf.Variable(none, name=name + FEATURES) for name in names}
        if uses_searches(config, features):
            shape = (features.search_tokens + 1, config.dim)
            self.tables["search"] = normal_table(rng, shape, std, "search")
        if tree:
            self.tables["node"] = normal_table(rng, (tree.inner + 1, config.dim), std, "node")
        elif config.bias:
            self.tables["item_bias"] = tf.Variable(tf.zeros([items + 1, 1]), name="item_bias")
        self.dense = {name: tf.Variable(value, name=name) for name, value in self._initial_dense(rng).items()}
        self._finish = tf.function(self._finished, jit_compile=True, autograph=False)

    def _initial_dense(self, rng: np.random.Generator) -> dict[str, Float32]:
        config = self.config
        width = config.dim * (parts(config) + uses_searches(config, self.features))
        values = encoders.initial(config, rng)
        if config.time_gaps:
            values[GAPS] = np.zeros((GAP_BUCKETS, config.dim), np.float32)
        if uses_context(config, self.features):
            for name, known in (("country", self.features.countries), ("device", self.features.devices)):
                values[name] = normal(rng, (len(known) + 1, CONTEXT_DIM), 0.1)
            width += 2 * CONTEXT_DIM + REALS
        if uses_example_age(config, self.features):
            width += POWERS
        for layer, units in enumerate(config.tower):
            values[f"kernel_{layer}"] = normal(rng, (width, units), (GAINS[config.activation] / width) ** 0.5)
            values[f"bias_{layer}"] = np.zeros(units, np.float32)
            width = units
        values["kernel_out"] = normal(rng, (width, config.dim), width**-0.5)
        values["bias_out"] = np.zeros(config.dim, np.float32)
        if config.residual:
            values["residual"] = np.full(parts(config), 1 / parts(config), np.float32)
        return values

    @property
    def watched(self) -> str:
        """The table of embeddings that the encoder reads."""
        return "item" if self.config.tied else "watched"

    def states(
        self, dense: Dense, x: Tensor, depth: Tensor, kept: list[Tensor] | None = None, gaps: Tensor | None = None
    ) -> Tensor:
        """The encoder's state after each position.

        Args:
            dense: values of `self.dense`.
            x: [length, rows, dim] embeddings of the watched items.
            depth: [length, rows] as in `batches.Batch`.
            kept: factors of dropout from `dropout_factors`; None outside training.
            gaps: [length, rows] as in `prepare.Prepared`; None without `time_gaps`.

        Returns [length * rows, parts * dim].
        """
        if gaps is not None:
            one_hot = tf.one_hot(gaps - 1, GAP_BUCKETS - 1)  # of which a product is faster than a gather in XLA
            x += tf.tensordot(one_hot, dense[GAPS][1:], 1)
        if kept:
            x *= tf.reshape(kept[0], [*x.shape[:2], 1])
        config = self.config
        state = encoders.encode(config, dense, x, depth, kept[1 + len(config.tower) :] if kept else ())
        return tf.reshape(state, [-1, parts(config) * config.dim])

    def user_vectors(self, dense: Dense, state: Tensor, context: Dense, kept: list[Tensor] | None = None) -> Tensor:
        """User vectors of examples; `watchnext.tower` is the numpy twin.

        Args:
            dense: values of `self.dense`.
            state: [examples, parts * dim] the encoder's.
            context: what else the tower reads, [examples] rows each: `search` [.., dim], `country`, `device`,
                `reals` [.., REALS], `age` [.., POWERS]; only those that it reads.
            kept: factors of dropout from `dropout_factors`; None outside training.

        Returns [examples, dim].
        """
        config = self.config
        inputs = [state]
        for name in ("search", "country", "device", "reals", "age"):
            if name in context:
                value = context[name]
                inputs.append(tf.gather(dense[name], value) if name in dense else value)
        h, activation = tf.concat(inputs, 1) if len(inputs) > 1 else state, ACTIVATIONS[config.activation]
        for layer in range(len(config.tower)):
            h = activation(tf.nn.bias_add(h @ dense[f"kernel_{layer}"], dense[f"bias_{layer}"]))
            if kept:
                h *= kept[layer + 1]
        return self._finish(h @ dense["kernel_out"], dense, state)

    def _finished(self, u: Tensor, dense: Dense, state: Tensor) -> Tensor:
        """From the last product to the user vector."""
        config = self.config
        u += dense["bias_out"]
        if config.output_relu:
            u = tf.nn.relu(u)
        if config.residual:
            u += sum(dense["residual"][i] * part for i, part in enumerate(tf.split(state, parts(config), 1)))
        return scaled(config, u) / (config.temperature if config.similarity == "cosine" else 1.0)

    def tower(self) -> UserTower:
        """The current weights as the numpy tower."""
        weights = {name: variable.numpy() for name, variable in self.dense.items()}
        searched = read(self.tables["search"]) if "search" in self.tables else None
        watched = np.empty((self.items + 1, self.config.dim), np.float32)
        for rows, block in self._composed(self.watched):
            watched[rows] = block
        return UserTower(self.config, self.features, watched, weights, searched)

    def item_vectors(self) -> Float32:
        """[items + 1, dim (+ 1 with bias)] such that their dot products with user vectors are the model's scores.

        With hierarchical softmax these are the first-order approximation of the scores.
        """
        if self.tree:
            found = linear_item_vectors(self.tree, scaled(self.config, self.tables["node"]).numpy())
            return np.concatenate(found[: 1 + self.config.bias], 1)
        vectors = np.empty((self.items + 1, self.config.dim + self.config.bias), np.float32)
        for rows, block in self._composed("item"):
            vectors[rows, : self.config.dim] = scaled(self.config, block)
        if self.config.bias:
            vectors[:, self.config.dim :] = read(self.tables["item_bias"])
        return vectors

    def _composed(self, name: str) -> Iterator[tuple[Int64, Float32]]:
        """Numbers of items, block by block, and their embeddings in a table with what features add to them."""
        features = read(self.tables[name + FEATURES]) if self.bags else None
        for rows in blocks(self.items + 1):
            own = tf.gather(self.tables[name], rows).numpy()
            yield rows, own if self.bags is None or features is None else own + self.bags.sums(features, rows)


def scaled(config: ModelConfig, vectors: Tensor) -> Tensor:
    """Vectors of length 1 for similarity `cosine`, unchanged for `dot`."""
    if config.similarity == "dot":
        return vectors
    return tf.math.l2_normalize(vectors, -1)


def dropout_factors(config: ModelConfig, rate: float, sizes: tuple[int, int], seed: Tensor) -> list[Tensor]:
    """What dropout multiplies with: 0 or 1 / (1 - rate), for watches and for each hidden layer's units.

    Args:
        rate: is rounded to a 256th: a byte decides about a unit, since random numbers are dear.
        sizes: positions and examples of the batch.
        seed: [2] integers; the same seed gives the same factors.

    Returns [positions, 1], then [examples, units] for each layer of the tower, then those of `encoders.drops`;
    nothing for rate 0.
    """
    least = min(round(256 * rate), 255)
    if not least:
        return []
    shapes = [[sizes[0], 1], *([sizes[1], width] for width in config.tower)]
    shapes += [[sizes[0], config.dim]] * encoders.drops(config)
    factors = []
    for i, (rows, columns) in enumerate(shapes):
        count = -(-rows * columns // 4)
        drawn = tf.random.stateless_uniform([count], seed + tf.constant([i, 0], seed.dtype), None, None, tf.int32)
        bytes_ = tf.reshape(tf.bitcast(drawn, tf.uint8), [-1])[: rows * columns]
        factors.append(tf.reshape(tf.cast(bytes_ >= least, tf.float32) * (256 / (256 - least)), [rows, columns]))
    return factors
