"""One training step: gather the touched rows, compute on them, scatter them back.

The cost does not depend on the size of the catalogue: a batch touches at most positions + examples + negatives rows,
the step sees only these, as one dense block, and so do the gradients and the optimizer.

Encoder and optimizer are compiled by XLA, which fuses their many small operations. Gathers, scatters, tower and loss are
not: on a CPU TensorFlow's own kernels and oneDNN's matrix products are faster than XLA's.
"""

from typing import Any

import numpy as np
import tensorflow as tf

from model.loss import sampled_softmax
from model.network import Network, dropout_factors, scaled
from model.optimizer import slots, update
from model.prepare import Prepared
from watchnext.config import TrainingConfig

Tensor = Any


class Trainer:
    """A network with its optimizer's state, and the compiled step that changes both."""

    def __init__(self, network: Network, config: TrainingConfig) -> None:
        self.network, self.config = network, config
        self.step_count = tf.Variable(0, dtype=tf.int64, name="step")
        self.table_slots = {name: slots(config, table) for name, table in network.tables.items()}
        self.dense_slots = {name: slots(config, value) for name, value in network.dense.items()}
        self._states = tf.function(network.states, jit_compile=True)
        self._update = tf.function(self._updated, jit_compile=True)
        self.step = tf.function(self._step)

    def variables(self) -> dict[str, Tensor]:
        """Everything that a checkpoint must hold, by name."""
        named = {"step": self.step_count, **self.network.variables()}
        for kind, all_slots in (("table", self.table_slots), ("dense", self.dense_slots)):
            for name, of_one in all_slots.items():
                named |= {f"slot/{kind}/{name}/{i}": slot for i, slot in enumerate(of_one)}
        return named

    def arrays(self) -> dict[str, np.ndarray]:
        """Copies of all state, for `set_arrays`."""
        return {name: np.asarray(variable.numpy()) for name, variable in self.variables().items()}

    def set_arrays(self, arrays: dict[str, np.ndarray]) -> None:
        """Set all state."""
        for name, variable in self.variables().items():
            variable.assign(arrays[name])

    def _step(self, batch: Prepared) -> Tensor:
        """Apply one batch; returns the mean loss in nats and the number of examples, both scalars."""
        self.step_count.assign_add(1)
        tables = self.network.tables
        rows = dict.fromkeys(tables, batch.rows)
        if batch.searches is not None:
            rows["search"] = batch.searches.tokens
        blocks = {name: tf.gather(table, rows[name]) for name, table in tables.items()}
        states = {name: [tf.gather(s, rows[name]) for s in self.table_slots[name]] for name in tables}
        dense = {name: tf.identity(variable) for name, variable in self.network.dense.items()}
        seed = tf.stack([tf.constant(self.config.seed * 1000, tf.int64), self.step_count])
        sizes = batch.depth.shape.num_elements(), batch.label.shape[0]
        kept = dropout_factors(self.network.config, self.config.dropout, sizes, seed)
        with tf.GradientTape() as tape:
            tape.watch([blocks, dense])
            loss = self.loss(batch, blocks, dense, kept)
        unconnected = tf.UnconnectedGradients.ZERO
        gradients = tape.gradient(loss, [blocks, dense], unconnected_gradients=unconnected)
        gradients = tf.nest.map_structure(tf.convert_to_tensor, gradients)  # those of gathers come as IndexedSlices
        values = [*blocks.values(), *dense.values()]
        state = [*states.values(), *(list(self.dense_slots[name]) for name in dense)]
        found = [*gradients[0].values(), *gradients[1].values()]
        updated = self._update(tf.cast(self.step_count, tf.float32), values, state, found)
        for (name, table), (block, of_block) in zip(tables.items(), updated, strict=False):
            for variable, value in zip((table, *self.table_slots[name]), (block, *of_block), strict=True):
                variable.scatter_update(tf.IndexedSlices(value, rows[name]))
        for (name, weight), (value, of_weight) in zip(
            self.network.dense.items(), updated[len(tables) :], strict=True
        ):
            for variable, new in zip((weight, *self.dense_slots[name]), (value, *of_weight), strict=True):
                variable.assign(new)
        return loss

    def _updated(
        self, step: Tensor, values: list[Tensor], states: list[list[Tensor]], gradients: list[Tensor]
    ) -> list[tuple[Tensor, list[Tensor]]]:
        """One step of the optimizer for all that is trained: new values and states."""
        each = zip(values, states, gradients, strict=True)
        return [update(self.config, step, value, state, gradient) for value, state, gradient in each]

    def loss(
        self, batch: Prepared, blocks: dict[str, Tensor], dense: dict[str, Tensor], kept: list[Tensor] | None = None
    ) -> Tensor:
        """The mean sampled-softmax loss of a batch, in nats.

        Args:
            blocks: the touched rows of each table, [touched, dim].
            dense: the dense weights.
            kept: factors of dropout, see `network.dropout_factors`.
        """
        network = self.network
        watched = blocks["item" if network.config.tied else "watched"]
        context = dict(batch.context)
        if batch.searches is not None:
            context["search"] = tf.matmul(batch.searches.weights, blocks["search"])
        state = tf.gather(self._states(tf.gather(watched, batch.watched), batch.depth, kept), batch.position)
        users = network.user_vectors(dense, state, context, kept)
        vectors = scaled(network.config, blocks["item"])
        if network.config.bias:
            vectors = tf.concat([vectors, blocks["item_bias"]], 1)
            users = tf.concat([users, tf.ones([users.shape[0], 1])], 1)
        losses = sampled_softmax(
            users, tf.gather(vectors, batch.label), tf.gather(vectors, batch.negative), batch.log_q, batch.hits
        )
        return tf.reduce_sum(losses * batch.weight) / tf.maximum(tf.reduce_sum(batch.weight), 1.0)
