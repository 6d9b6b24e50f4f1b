"""Adam and Adagrad as pure functions of one block of values: a dense weight, or the touched rows of a table.

Applied to rows, Adam is "lazy": moments of rows that a batch does not touch stay as they are.
"""

from typing import Any

import tensorflow as tf

from watchnext.config import TrainingConfig

Tensor = Any

BETA_1, BETA_2, EPSILON = 0.9, 0.999, 1e-8
ADAGRAD_START = 0.1


def slots(config: TrainingConfig, variable: Tensor) -> list[Tensor]:
    """The optimizer's state for a variable: two moments for Adam, one sum of squares for Adagrad."""
    if config.optimizer == "adagrad":
        return [tf.Variable(tf.fill(variable.shape, ADAGRAD_START))]
    return [tf.Variable(tf.zeros(variable.shape)), tf.Variable(tf.zeros(variable.shape))]


def update(
    config: TrainingConfig, step: Tensor, value: Tensor, state: list[Tensor], gradient: Tensor
) -> list[Tensor]:
    """One step of the optimizer.

    Args:
        step: scalar float, 1 for the first step.
        value, gradient: any shape.
        state: the tensors of `slots`, of the same shape.

    Returns the new value, then the new state. Kingma and Ba 2015, algorithm 1; Duchi et al. 2011.
    """
    if config.optimizer == "adagrad":
        total = state[0] + gradient**2
        return [value - config.learning_rate * gradient / tf.sqrt(total), total]
    mean = BETA_1 * state[0] + (1 - BETA_1) * gradient
    square = BETA_2 * state[1] + (1 - BETA_2) * gradient**2
    rate = config.learning_rate * tf.sqrt(1 - BETA_2**step) / (1 - BETA_1**step)
    return [value - rate * mean / (tf.sqrt(square) + EPSILON), mean, square]
