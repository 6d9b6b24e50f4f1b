"""TensorFlow Recommenders: two towers with a table each and in-batch softmax, as its tutorials do it.

Runs in an environment of its own, from requirements/benchmark-tfrs.txt: it needs Keras 2. Imports nothing of this
project but the world and the protocol. A batch is as large as the others' number of negatives, since in-batch softmax
has as many negatives as examples. Variant: the optimizer.
"""

import os
from collections.abc import Callable
from typing import Any

from benchmarks._rivals.program import Figures, Task, compete, rounds
from benchmarks._rivals.world import examples, make

os.environ["TF_USE_LEGACY_KERAS"] = "1"
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import tensorflow as tf
import tensorflow_recommenders as tfrs


class TwoTowers(tfrs.models.Model):  # type: ignore[misc]
    """Mean of the watched items' embeddings and a hidden layer, against a second table of items."""

    def __init__(self, task: Task) -> None:
        super().__init__()
        layers = tf.keras.layers
        self.user = tf.keras.Sequential(
            [
                layers.Embedding(task.items + 1, task.dim, mask_zero=True),
                layers.GlobalAveragePooling1D(),
                layers.Dense(task.hidden, activation="relu"),
                layers.Dense(task.dim),
            ]
        )
        self.item = layers.Embedding(task.items + 1, task.dim)
        self.task = tfrs.tasks.Retrieval()

    def compute_loss(self, features: Any, training: bool = False) -> Any:
        """In-batch softmax: the labels of the other examples are the negatives."""
        return self.task(self.user(features["watched"]), self.item(features["label"]), compute_metrics=False)


def prepare(task: Task) -> Callable[[], Figures]:
    """Build, compile, and find out how many steps a round can have."""
    batch = task.negatives
    rows, labels = examples(make(task.items), task.history, task.steps * task.examples)
    model = TwoTowers(task)
    model.compile(optimizer=task.variant)

    def fit(steps: int) -> int:
        size = min(steps * batch, len(labels))
        data = {"watched": rows[:size], "label": labels[:size]}
        model.fit(data, batch_size=batch, epochs=1, verbose=0)
        return size

    return rounds(task, fit)


if __name__ == "__main__":
    compete(prepare)
