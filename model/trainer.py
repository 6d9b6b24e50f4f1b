"""One training step of any model: gather the touched rows, compute on them, scatter them back.

The cost does not depend on the size of the catalogue: a batch touches few rows of the tables, the step sees only
these, as one dense block, and so do the gradients and the optimizer, which XLA compiles.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Generic, TypeVar

import numpy as np
import tensorflow as tf

from model.optimizer import slots, update
from model.parameters import TABLE, Parameters, Tensor, read, write
from watchnext.config import FitConfig

Values = dict[str, Tensor]
Batch = TypeVar("Batch")

STEP = "step"
"""The name of the number of steps."""


def slot_name(variable: str, number: int) -> str:
    """The name of one of the slots of a variable."""
    return f"slot/{variable}/{number}"


class SparseTrainer(ABC, Generic[Batch]):
    """Parameters with their optimizer's state, and the compiled step that changes both.

    `gradient_norm` is the Euclidean norm of the last step's whole gradient.

    Args:
        steps: how many there will be, for a falling learning rate.
    """

    def __init__(self, parameters: Parameters, config: FitConfig, steps: int = 0) -> None:
        self.config, self.steps, self.items = config, steps, parameters.items
        self.step_count = tf.Variable(0, dtype=tf.int64, name="step")
        self.gradient_norm = tf.Variable(0.0, name="gradient_norm")
        self.trained = parameters.variables()
        self.slots = {name: slots(config, v, name.startswith(TABLE)) for name, v in self.trained.items()}
        self._update = tf.function(self._updated, jit_compile=True, autograph=False)
        self.step = tf.function(self._step, autograph=False)

    @abstractmethod
    def rows(self, batch: Batch) -> Values:
        """The touched rows of each table, by its variable's name."""

    @property
    def guessing(self) -> float:
        """The loss of guessing, in nats: that of a softmax over all items."""
        return math.log(self.items)

    @abstractmethod
    def gradients(self, batch: Batch, values: Values) -> tuple[Tensor, Values]:
        """The mean loss of a batch, in nats, and its gradient.

        Args:
            values: of everything trained, named as in `Parameters.variables`; of tables the touched rows only.
        """

    def variables(self) -> Values:
        """Everything that a checkpoint must hold, by name."""
        return {**self.trained, **self.optimizer()}

    def optimizer(self) -> Values:
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

    def _step(self, batch: Batch) -> Tensor:
        """Apply one batch; returns the mean loss in nats."""
        self.step_count.assign_add(1)
        rows = self.rows(batch)

        def taken(name: str, variable: Tensor) -> Tensor:
            return tf.gather(variable, rows[name]) if name in rows else tf.identity(variable)

        values = {name: taken(name, variable) for name, variable in self.trained.items()}
        states = {name: [taken(name, slot) for slot in self.slots[name]] for name in values}
        loss, gradients = self.gradients(batch, values)
        self.gradient_norm.assign(tf.linalg.global_norm(list(gradients.values())))
        updated = self._update(tf.cast(self.step_count, tf.float32), values, states, gradients)
        for name, variable in self.trained.items():
            for target, new in zip((variable, *self.slots[name]), updated[name], strict=True):
                if name in rows:
                    target.scatter_update(tf.IndexedSlices(new, rows[name]))
                else:
                    target.assign(new)
        return loss

    def _updated(
        self, step: Tensor, values: Values, states: dict[str, list[Tensor]], gradients: Values
    ) -> dict[str, list[Tensor]]:
        """One step of the optimizer for all that is trained: the new value and states of each."""
        rate = self.rate(step)
        return {name: update(self.config, rate, step, values[name], states[name], gradients[name]) for name in values}

    def rate(self, step: Tensor) -> Tensor:
        """The learning rate of a step, 1 for the first."""
        done = tf.minimum(step / max(self.steps, 1), 1.0)
        return self.config.learning_rate * (1 - (1 - self.config.final_rate) * done)


def differentiated(loss: Callable[[Values], Tensor], values: Values) -> tuple[Tensor, Values]:
    """A loss and its gradient by each of the values; zeros by those that it does not depend on."""
    with tf.GradientTape() as tape:
        tape.watch(values)
        found = loss(values)
    gradients = tape.gradient(found, values, unconnected_gradients=tf.UnconnectedGradients.ZERO)
    return found, {name: tf.convert_to_tensor(value) for name, value in gradients.items()}  # from IndexedSlices, too
