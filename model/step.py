"""One training step: gather the touched rows, compute on them, scatter them back.

The cost does not depend on the size of the catalogue: a batch touches at most positions + examples + negatives rows,
the step sees only these, as one dense block, and so do the gradients and the optimizer.

Encoder and optimizer are compiled by XLA, which fuses their many small operations. Gathers, scatters, tower and loss
are not: on a CPU TensorFlow's own kernels and oneDNN's matrix products are faster than XLA's.
"""

from typing import Any

import numpy as np
import tensorflow as tf

from model.hierarchical import hierarchical_softmax
from model.item_features import composed
from model.loss import sampled_softmax
from model.network import DENSE, FEATURES, TABLE, Network, dropout_factors, read, scaled, write
from model.optimizer import slots, update
from model.prepare import Prepared
from watchnext.config import TrainingConfig

Tensor = Any

STEP = "step"
"""The name of the number of steps."""


def slot_name(variable: str, number: int) -> str:
    """The name of one of the slots of a variable."""
    return f"slot/{variable}/{number}"


class Trainer:
    """A network with its optimizer's state, and the compiled step that changes both.

    `gradient_norm` is the Euclidean norm of the last step's whole gradient.
    """

    def __init__(self, network: Network, config: TrainingConfig) -> None:
        self.network, self.config = network, config
        self.step_count = tf.Variable(0, dtype=tf.int64, name="step")
        self.gradient_norm = tf.Variable(0.0, name="gradient_norm")
        self.trained = network.variables()
        self.slots = {name: slots(config, v, name.startswith(TABLE)) for name, v in self.trained.items()}
        self._states = tf.function(network.states, jit_compile=True, autograph=False)
        self._update = tf.function(self._updated, jit_compile=True, autograph=False)
        self.step = tf.function(self._step, autograph=False)

    def variables(self) -> dict[str, Tensor]:
        """Everything that a checkpoint must hold, by name."""
        return {**self.trained, **self.optimizer()}

    def optimizer(self) -> dict[str, Tensor]:
        """The optimizer's state, by name: `STEP`, and for each variable its name as `slot_name` makes it."""
        slots = {slot_name(name, i): slot for name, of_one in self.slots.items() for i, slot in enumerate(of_one)}
        return {STEP: self.step_count, **slots}

    def optimizer_arrays(self) -> dict[str, np.ndarray]:
        """Copies of the optimizer's state."""
        return {name: read(variable) for name, variable in self.optimizer().items()}

    def arrays(self) -> dict[str, np.ndarray]:
        """Copies of all state, for `set_arrays`."""
        return {name: read(variable) for name, variable in self.variables().items()}

    def set_arrays(self, arrays: dict[str, np.ndarray]) -> None:
        """Set all state."""
        for name, variable in self.variables().items():
            write(variable, arrays[name])

    def _step(self, batch: Prepared) -> Tensor:
        """Apply one batch; returns the mean loss in nats."""
        self.step_count.assign_add(1)
        rows = {name: batch.rows for name in self.trained if name.startswith(TABLE)}
        if batch.features is not None:
            rows |= {name: batch.features.rows for name in rows if name.endswith(FEATURES)}
        if batch.searches is not None:
            rows[f"{TABLE}search"] = batch.searches.tokens
        if batch.nodes is not None:
            rows[f"{TABLE}node"] = batch.nodes

        def read(name: str, variable: Tensor) -> Tensor:
            return tf.gather(variable, rows[name]) if name in rows else tf.identity(variable)

        values = {name: read(name, variable) for name, variable in self.trained.items()}
        states = {name: [read(name, slot) for slot in self.slots[name]] for name in values}
        loss, gradients = self._gradients(batch, values)
        self.gradient_norm.assign(tf.linalg.global_norm(list(gradients.values())))
        updated = self._update(tf.cast(self.step_count, tf.float32), values, states, gradients)
        for name, variable in self.trained.items():
            for target, new in zip((variable, *self.slots[name]), updated[name], strict=True):
                if name in rows:
                    target.scatter_update(tf.IndexedSlices(new, rows[name]))
                else:
                    target.assign(new)
        return loss

    def _gradients(self, batch: Prepared, values: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        seed = tf.stack([tf.constant(self.config.seed * 1000, tf.int64), self.step_count])
        sizes = int(np.prod(batch.depth.shape)), batch.label.shape[0]
        kept = dropout_factors(self.network.config, self.config.dropout, sizes, seed)
        with tf.GradientTape() as tape:
            tape.watch(values)
            loss = self.loss(batch, values, kept)
        found = tape.gradient(loss, values, unconnected_gradients=tf.UnconnectedGradients.ZERO)
        return loss, {name: tf.convert_to_tensor(value) for name, value in found.items()}  # from IndexedSlices, too

    def _updated(
        self, step: Tensor, values: dict[str, Tensor], states: dict[str, list[Tensor]], gradients: dict[str, Tensor]
    ) -> dict[str, list[Tensor]]:
        """One step of the optimizer for all that is trained: the new value and states of each."""
        return {name: update(self.config, step, values[name], states[name], gradients[name]) for name in values}

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
