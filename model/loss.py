"""Sampled softmax cross-entropy with negatives shared by the batch."""

from typing import Any

import tensorflow as tf

Tensor = Any


def sampled_softmax(
    users: Tensor, positives: Tensor, negatives: Tensor, log_q: tuple[Tensor, Tensor], hits: Tensor
) -> Tensor:
    r"""Cross-entropy of the true item against S items drawn from Q, corrected for the drawing.

    With s(i) the score of item i,

        loss = -log( exp(s(y) - log Q(y)) / (exp(s(y) - log Q(y)) + sum_j exp(s(j) - log Q(j))) )

    where the sum is over the drawn items that are not y itself (accidental hits). Jean et al. 2015, section 3;
    Covington et al. 2016, section 3.1. The constant log S cancels.

    Args:
        users: [examples, dim] user vectors.
        positives: [examples, dim] item vectors of the true items.
        negatives: [S, dim] item vectors of the drawn items.
        log_q: [examples] and [S], log Q of the true and of the drawn items.
        hits: [examples, S] True where a drawn item is the true one.

    Returns [examples] nats.
    """
    positive = tf.reduce_sum(users * positives, -1) - log_q[0]
    negative = tf.matmul(users, negatives, transpose_b=True) - log_q[1]
    negative = tf.where(hits, negative.dtype.min, negative)
    top = tf.stop_gradient(tf.maximum(tf.reduce_max(negative, 1), positive))
    total = tf.exp(positive - top) + tf.reduce_sum(tf.exp(negative - top[:, None]), 1)
    return tf.math.log(total) + top - positive
