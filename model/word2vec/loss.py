"""The losses of word2vec: logistic ones, of scores that are products of two vectors."""

from collections.abc import Callable

import numpy as np
import tensorflow as tf

from model.parameters import Tensor


def logistic_loss(given: Tensor, other: Tensor, weight: Tensor, sign: Tensor | float) -> Tensor:
    """The sum over all pairs of weight * -log sigmoid(sign * given . other), in nats.

    With sign 1 for what stands together and -1 for what was drawn, this is negative sampling (Mikolov et al. 2013b,
    equation 4); with the turns of a way through a tree it is hierarchical softmax (equation 3).

    Args:
        given: [.., n, dim].
        other: [.., m, dim].
        weight: [.., n, m] or what broadcasts to it.
        sign: 1 or -1, likewise; between them where a pair stands for several with the same scores and either sign:
            their mean, and `weight` is how many they are.
    """
    loss: Tensor = _logistic_loss(given, other, weight, tf.convert_to_tensor(sign, tf.float32))
    return loss


@tf.custom_gradient  # type: ignore[untyped-decorator]
def _logistic_loss(
    given: Tensor, other: Tensor, weight: Tensor, sign: Tensor
) -> tuple[Tensor, Callable[[Tensor], tuple[Tensor | None, ...]]]:
    """The loss and its gradient: three matrix products and one pass over the scores."""
    total, slope = _terms(tf.matmul(given, other, transpose_b=True), weight, sign)

    def gradient(upstream: Tensor) -> tuple[Tensor | None, ...]:
        return upstream * tf.matmul(slope, other), upstream * tf.matmul(slope, given, transpose_a=True), None, None

    return total, gradient


def _sum_and_slope(scores: Tensor, weight: Tensor, sign: Tensor) -> tuple[Tensor, Tensor]:
    """The sum of the losses, and its derivative by each score."""
    right = (1 + sign) / 2
    return tf.reduce_sum(weight * (tf.nn.softplus(scores) - right * scores)), weight * (tf.sigmoid(scores) - right)


_terms = tf.function(_sum_and_slope, jit_compile=True, autograph=False)


def window_pairs(history: Tensor, reach: Tensor, edge: int) -> Tensor:
    """[rows, length, edge + length + edge] 1 where a watch of a row has another one in its window, else 0.

    Args:
        history: [rows, edge + length + edge] which history each watch is of, 0 for padding.
        reach: [rows, length] how far each window goes.
        edge: watches on each side that are no middles of windows.
    """
    length, width = reach.shape[1], history.shape[1]
    distance = np.abs(np.arange(length)[:, None] + edge - np.arange(width)).astype(np.int32)
    own = history[:, edge : edge + length, None]
    inside = (own == history[:, None]) & (own > 0) & (distance > 0) & (distance <= reach[..., None])
    return tf.cast(inside, tf.float32)
