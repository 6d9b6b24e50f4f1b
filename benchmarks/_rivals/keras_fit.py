"""The same network the obvious way: Keras 3, one row an example, `fit`. Variants: `adam` and `adagrad`.

One embedding for watched and for predicted items, the mean over the row, one hidden layer, TensorFlow's sampled
softmax. The arrays are in memory already, which is the fastest input of `fit`.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks._rivals.program import Figures, Task, compete, rounds
from benchmarks._rivals.world import examples, make

import model.network  # noqa: F401  isort: skip - silences TensorFlow
import keras  # isort: skip
import tensorflow as tf  # isort: skip


class SampledSoftmax(keras.layers.Layer):  # type: ignore[misc]
    """Adds the sampled softmax of user vectors and labels to the losses.

    Args:
        table: the embedding whose rows are the item vectors.
    """

    def __init__(self, table: Any, task: Task) -> None:
        super().__init__()
        self.table, self.negatives, self.classes = table, task.negatives, task.items + 1

    def build(self, shapes: Any) -> None:
        """Without a bias; TensorFlow's loss wants one all the same."""
        self.zeros = tf.zeros([self.classes])

    def call(self, inputs: Any) -> Any:
        """[examples, dim] the user vectors, unchanged."""
        users, labels = inputs
        weights = self.table.embeddings.value
        loss = tf.nn.sampled_softmax_loss(weights, self.zeros, labels, users, self.negatives, self.classes)
        self.add_loss(tf.reduce_mean(loss))
        return users


def network(task: Task) -> Any:
    """The compiled model, from watches [examples, history] and labels [examples, 1]."""
    watched = keras.Input([task.history], dtype="int32")
    label = keras.Input([1], dtype="int32")
    table = keras.layers.Embedding(task.items + 1, task.dim, mask_zero=True)
    hidden = keras.layers.GlobalAveragePooling1D()(table(watched))
    hidden = keras.layers.Dense(task.hidden, activation="relu")(hidden)
    users = keras.layers.Dense(task.dim)(hidden)
    result = keras.Model([watched, label], SampledSoftmax(table, task)([users, label]))
    # XLA has no kernel for the sampler of candidates.
    result.compile(optimizer=task.variant, jit_compile=False)
    return result


def prepare(task: Task) -> Callable[[], Figures]:
    """Build, compile, and find out how many steps a round can have."""
    rows, labels = examples(make(task.items), task.history, task.steps * task.examples)
    keras.utils.set_random_seed(0)
    fitted = network(task)

    def fit(steps: int) -> int:
        size = min(steps * task.examples, len(labels))
        fitted.fit([rows[:size], labels[:size, None]], np.zeros(size), task.examples, epochs=1, verbose=0)
        return size

    return rounds(task, fit)


if __name__ == "__main__":
    compete(prepare)
