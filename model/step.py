"""One training step: gather the touched rows, run one XLA-compiled function on them, scatter them back.

The cost does not depend on the size of the catalogue: a batch touches at most 2 x positions + negatives rows, the
function sees only these, as one dense block, and so do the gradients and the optimizer.
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
        self._core = tf.function(self._on_rows, jit_compile=True)
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
        seed = tf.stack([tf.constant(self.config.seed * 1000, tf.int64), self.step_count])
        kept = dropout_factors(self.network.config, self.config.dropout, batch.label.shape[0], seed)
        loss, blocks, states = self._core(batch, blocks, states, self.step_count, kept)
        for name, table in tables.items():
            table.scatter_update(tf.IndexedSlices(blocks[name], rows[name]))
            for slot, state in zip(self.table_slots[name], states[name], strict=True):
                slot.scatter_update(tf.IndexedSlices(state, rows[name]))
        return loss

    def _on_rows(
        self,
        batch: Prepared,
        blocks: dict[str, Tensor],
        states: dict[str, list[Tensor]],
        step: Tensor,
        kept: list[Tensor],
    ) -> tuple[Tensor, dict[str, Tensor], dict[str, list[Tensor]]]:
        dense = {name: tf.identity(variable) for name, variable in self.network.dense.items()}
        with tf.GradientTape() as tape:
            tape.watch([blocks, dense])
            loss = self.loss(batch, blocks, dense, kept)
        block_gradients, dense_gradients = tape.gradient(
            loss, [blocks, dense], unconnected_gradients=tf.UnconnectedGradients.ZERO
        )
        count = tf.cast(step, tf.float32)
        for name, variable in self.network.dense.items():
            slot = self.dense_slots[name]
            value, state = update(self.config, count, dense[name], list(slot), dense_gradients[name])
            for target, new in zip((variable, *slot), (value, *state), strict=True):
                target.assign(new)
        updated = {
            name: update(self.config, count, block, states[name], block_gradients[name])
            for name, block in blocks.items()
        }
        return loss, {name: new[0] for name, new in updated.items()}, {name: new[1] for name, new in updated.items()}

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
        x = tf.gather(watched, batch.watched) * tf.cast(batch.segment > 0, tf.float32)[..., None]
        context = dict(batch.context)
        if batch.searches is not None:
            context["search"] = tf.matmul(batch.searches.weights, blocks["search"])
        users = network.user_vectors(dense, x, batch.segment, context, kept)
        vectors = scaled(network.config, blocks["item"])
        if network.config.bias:
            vectors = tf.concat([vectors, blocks["item_bias"]], 1)
            users = tf.concat([users, tf.ones([users.shape[0], 1])], 1)
        losses = sampled_softmax(
            users,
            tf.gather(vectors, batch.label),
            tf.gather(vectors, batch.negative),
            batch.log_q,
            batch.label[:, None] == batch.negative[None],
        )
        return tf.reduce_sum(losses * batch.weight) / tf.maximum(tf.reduce_sum(batch.weight), 1.0)
