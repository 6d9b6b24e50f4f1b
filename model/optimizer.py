"""Adam and Adagrad as pure functions of one block of values: a dense weight, or the touched rows of a table.

Applied to rows, Adam is "lazy": moments of rows that a batch does not touch stay as they are. The row-wise kinds keep
one float for each row of a table instead of one for each value, the mean of the squares over the row; dense weights,
which are small, keep theirs in full.
"""

from typing import Any

import tensorflow as tf

from watchnext.config import FitConfig

Tensor = Any

BETA_1, BETA_2, EPSILON = 0.9, 0.999, 1e-8
ADAGRAD_START = 0.1


def slots(config: FitConfig, variable: Tensor, table: bool = False) -> list[Tensor]:
    """The optimizer's state for a variable: two moments for Adam, one sum of squares for Adagrad.

    Args:
        table: whether a step touches only some rows of it; then the row-wise kinds keep squares of shape [rows, 1].
    """
    squares = [variable.shape[0], 1] if table and config.optimizer.startswith("rowwise") else variable.shape
    if config.optimizer == "adagrad":
        return [tf.Variable(tf.fill(squares, ADAGRAD_START))]
    if config.optimizer == "rowwise_adagrad":
        return [tf.Variable(tf.zeros(squares))]
    return [tf.Variable(tf.zeros(variable.shape)), tf.Variable(tf.zeros(squares))]


def update(
    config: FitConfig, rate: Tensor, step: Tensor, value: Tensor, state: list[Tensor], gradient: Tensor
) -> list[Tensor]:
    """One step of the optimizer.

    Args:
        rate: the learning rate.
        step: scalar float, 1 for the first step.
        value, gradient: any shape.
        state: the tensors of `slots` or the same rows of them; where the squares' shape is [rows, 1], they are means
            over the rows of the gradient.

    Returns the new value, then the new state. Kingma and Ba 2015, algorithm 1; Duchi et al. 2011; the row-wise kinds
    as in Naumov et al. 2019 (DLRM, arXiv 1906.00091) and in TorchRec's `EXACT_ROWWISE_ADAGRAD` and
    `PARTIAL_ROWWISE_ADAM`.
    """
    squared = gradient**2
    if state[-1].shape != value.shape:
        squared = tf.reduce_mean(squared, -1, keepdims=True)
    if config.optimizer in {"adagrad", "rowwise_adagrad"}:
        total = state[0] + squared
        return [value - rate * gradient / (tf.sqrt(total) + EPSILON), total]
    mean = BETA_1 * state[0] + (1 - BETA_1) * gradient
    square = BETA_2 * state[1] + (1 - BETA_2) * squared
    rate *= tf.sqrt(1 - BETA_2**step) / (1 - BETA_1**step)
    return [value - rate * mean / (tf.sqrt(square) + EPSILON), mean, square]
