"""The training step of the network, from examples to gradients.

The encoder is compiled by XLA, which fuses its many small operations. Gathers, scatters, tower and loss are not: on a
CPU TensorFlow's own kernels and oneDNN's matrix products are faster than XLA's.
"""

from functools import partial
from typing import Any

import numpy as np
import tensorflow as tf

from model.hierarchical import hierarchical_softmax
from model.item_features import composed
from model.loss import sampled_softmax
from model.network import FEATURES, Network, dropout_factors, scaled
from model.parameters import DENSE, TABLE
from model.prepare import Prepared
from model.trainer import SparseTrainer, differentiated
from watchnext.config import TrainingConfig

Tensor = Any


class Trainer(SparseTrainer[Prepared]):
    """Trains a network to predict the next watch.

    Args:
        steps: how many there will be, for a falling learning rate.
    """

    def __init__(self, network: Network, config: TrainingConfig, steps: int = 0) -> None:
        super().__init__(network, config, steps)
        self.network, self.dropout = network, config.dropout
        self._states = tf.function(network.states, jit_compile=True, autograph=False)

    def rows(self, batch: Prepared) -> dict[str, Tensor]:
        """See `SparseTrainer.rows`."""
        rows = {name: batch.rows for name in self.trained if name.startswith(TABLE)}
        if batch.features is not None:
            rows |= {name: batch.features.rows for name in rows if name.endswith(FEATURES)}
        if batch.searches is not None:
            rows[f"{TABLE}search"] = batch.searches.tokens
        if batch.nodes is not None:
            rows[f"{TABLE}node"] = batch.nodes
        return rows

    def gradients(self, batch: Prepared, values: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        """See `SparseTrainer.gradients`."""
        seed = tf.stack([tf.constant(self.config.seed * 1000, tf.int64), self.step_count])
        sizes = int(np.prod(batch.depth.shape)), batch.label.shape[0]
        kept = dropout_factors(self.network.config, self.dropout, sizes, seed)
        return differentiated(partial(self.loss, batch, kept=kept), values)

    def loss(self, batch: Prepared, values: dict[str, Tensor], kept: list[Tensor] | None = None) -> Tensor:
        """The mean loss of a batch, in nats.

        Args:
            values: of everything trained, named as in `Network.variables`; of tables the touched rows only.
            kept: factors of dropout, see `network.dropout_factors`.
        """
        tables, dense = ({n.removeprefix(k): v for n, v in values.items() if n.startswith(k)} for k in (TABLE, DENSE))
        network = self.network
        if batch.features is not None:
            for name in [name.removesuffix(FEATURES) for name in tables if name.endswith(FEATURES)]:
                tables[name] = composed(tables[name], tables[name + FEATURES], batch.features)
        watched = tables[network.watched]
        context = dict(batch.context)
        if batch.searches is not None:
            context["search"] = tf.matmul(batch.searches.weights, tables["search"])
        states = self._states(dense, tf.gather(watched, batch.watched), batch.depth, kept, batch.gaps)
        state = tf.gather(states, batch.position)
        users = network.user_vectors(dense, state, context, kept)
        total = tf.reduce_sum(self._losses(batch, tables, users) * batch.weight)
        return total / tf.maximum(tf.reduce_sum(batch.weight), 1.0)

    def _losses(self, batch: Prepared, tables: dict[str, Tensor], users: Tensor) -> Tensor:
        """[examples] nats."""
        network = self.network
        if batch.paths is not None:
            nodes = tf.gather(scaled(network.config, tables["node"]), batch.paths.nodes)
            return hierarchical_softmax(users, nodes, batch.paths.signs)
        vectors = scaled(network.config, tables["item"])
        if network.config.bias:
            vectors = tf.concat([vectors, tables["item_bias"]], 1)
            users = tf.concat([users, tf.ones([users.shape[0], 1])], 1)
        return sampled_softmax(
            users, tf.gather(vectors, batch.label), tf.gather(vectors, batch.negative), batch.log_q, batch.hits
        )
