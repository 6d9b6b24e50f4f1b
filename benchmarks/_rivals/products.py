"""The limit: the matrix products that no step of this network can do without, and nothing else."""

from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf


def products(examples: int, negatives: int, dim: int, layers: Sequence[tuple[int, int]]) -> Callable[[], Any]:
    """The bare products of one step, each as TensorFlow multiplies matrices without XLA.

    Args:
        layers: inputs and outputs of each layer of the tower.

    Returns what runs them once: of the loss the logits [examples, negatives] and two gradients, of each layer of the
    tower its output and two gradients.
    """
    users, drawn = tf.random.normal([examples, dim]), tf.random.normal([negatives, dim])
    tower = [
        (tf.random.normal([examples, width]), tf.random.normal([width, units]), tf.random.normal([examples, units]))
        for width, units in layers
    ]

    def run() -> list[Any]:
        logits = tf.matmul(users, drawn, transpose_b=True)
        found = [tf.matmul(logits, drawn), tf.matmul(logits, users, transpose_a=True)]
        for inputs, kernel, gradient in tower:
            found.append(tf.matmul(inputs, kernel))
            found.append(tf.matmul(gradient, kernel, transpose_b=True))
            found.append(tf.matmul(inputs, gradient, transpose_a=True))
        return found

    compiled: Callable[[], Any] = tf.function(run)
    return compiled
