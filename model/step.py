"""One training step: gather the touched rows, run one XLA-compiled function on them, scatter them back.

The cost does not depend on the size of the catalogue: a batch touches at most 2 x positions + negatives rows, the
function sees only these, as one dense block, and so do the gradients and the optimizer.
"""

from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from model.batches import Batch
from model.loss import sampled_softmax
from model.network import Network, dropout_factors, scaled
from model.optimizer import slots, update
from model.sampler import NegativeSampler
from watchnext.config import TrainingConfig
from watchnext.features import ContextArrays
from watchnext.histories import Int32

Tensor = Any


class Prepared(NamedTuple):
    """A batch as the step wants it: item numbers replaced by places in the list of touched rows."""

    rows: Int32
    """[2 x positions + negatives] touched rows of the tables, each once; the rest is 0."""
    watched: Int32
    """[rows, length] places in `rows`."""
    label: Int32
    """[positions] places in `rows`."""
    negative: Int32
    """[negatives] places in `rows`."""
    segment: Int32
    weight: np.ndarray
    log_q: tuple[np.ndarray, np.ndarray]
    context: dict[str, np.ndarray]


class Preparer:
    """What is done beside the step, in numpy, by another thread: drawing negatives, finding touched rows."""

    def __init__(self, sampler: NegativeSampler, negatives: int, context: ContextArrays | None) -> None:
        self.sampler, self.negatives, self.context = sampler, negatives, context

    def __call__(self, batch: Batch, epoch: int, number: int) -> Prepared:
        """Prepare batch `number` of an epoch."""
        negative = self.sampler.draw(self.negatives, epoch, number)
        label = batch.label.ravel()
        numbers = np.concatenate([batch.watched.ravel(), label, negative])
        touched, inverse = np.unique(numbers, return_inverse=True)
        rows = np.zeros(len(numbers), np.int32)
        rows[: len(touched)] = touched
        place: Int32 = inverse.astype(np.int32)
        positions = len(label)
        log_q = self.sampler.log_q
        return Prepared(
            rows,
            place[:positions].reshape(batch.watched.shape),
            place[positions : 2 * positions],
            place[2 * positions :],
            batch.segment,
            batch.weight.ravel(),
            (np.where(batch.weight.ravel() > 0, log_q[label], 0.0).astype(np.float32), log_q[negative]),
            self._context(batch.user),
        )

    def _context(self, user: Int32) -> dict[str, np.ndarray]:
        if self.context is None:
            return {}
        return {name: values[user] for name, values in self.context._asdict().items()}


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
        blocks = {name: tf.gather(table, batch.rows) for name, table in tables.items()}
        states = {name: [tf.gather(s, batch.rows) for s in self.table_slots[name]] for name in tables}
        seed = tf.stack([tf.constant(self.config.seed * 1000, tf.int64), self.step_count])
        kept = dropout_factors(self.network.config, self.config.dropout, batch.label.shape[0], seed)
        loss, blocks, states = self._core(batch, blocks, states, self.step_count, kept)
        for name, table in tables.items():
            table.scatter_update(tf.IndexedSlices(blocks[name], batch.rows))
            for slot, state in zip(self.table_slots[name], states[name], strict=True):
                slot.scatter_update(tf.IndexedSlices(state, batch.rows))
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
        users = network.user_vectors(dense, x, batch.segment, batch.context, kept)
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
