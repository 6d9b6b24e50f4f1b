"""Sampled softmax cross-entropy with negatives shared by the batch."""

from collections.abc import Callable
from typing import Any

import tensorflow as tf

Tensor = Any

MOST_ODDS = 1e26
"""Where negatives are e^60 times as probable as the positive, numbers come near what 32 bits can hold."""


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
        hits: [examples] how many of the drawn items are the true one, each times exp(log Q(y) - its own log Q).

    Returns [examples] nats.
    """
    loss: Tensor = _sampled_softmax(users, positives, negatives, *log_q, hits)
    return loss


@tf.custom_gradient  # type: ignore[untyped-decorator]
def _sampled_softmax(
    users: Tensor, positives: Tensor, negatives: Tensor, positive_log_q: Tensor, negative_log_q: Tensor, hits: Tensor
) -> tuple[Tensor, Callable[[Tensor], tuple[Tensor | None, ...]]]:
    """The loss and its gradient with the three matrix products that are its limit and one pass over [examples, S].

    - log Q and the shift against overflow are two more columns of the first product.
    - An accidental hit has the score of the positive, so that the hits' share of the sum is known without a mask: it
      is taken out of the sum, and out of the true item's gradient.
    - The sum over negatives is one more column of the product that gives the users' gradient.
    - The softmax is never divided by its sum: rows of [examples, dim] are.
    """
    positive = tf.reduce_sum(users * positives, -1) - positive_log_q
    one, drawn_one = tf.ones_like(positive)[:, None], tf.ones_like(negative_log_q)[:, None]
    items = tf.concat([negatives, negative_log_q[:, None], drawn_one], 1)

    def odds(shift: Tensor) -> tuple[Tensor, Tensor]:
        drawn = tf.exp(tf.matmul(tf.concat([users, -one, -shift[:, None]], 1), items, transpose_b=True))
        return drawn, tf.matmul(drawn, tf.concat([negatives, drawn_one], 1))

    def with_highest() -> tuple[Tensor, Tensor, Tensor]:
        highest = tf.reduce_max(tf.matmul(tf.concat([users, -one], 1), items[:, :-1], transpose_b=True), 1)
        shift = tf.maximum(highest, positive)
        return shift, *odds(shift)

    drawn, sums = odds(positive)  # of negatives against the positive
    fine = tf.reduce_all(sums[:, -1] < MOST_ODDS)
    shift, drawn, sums = tf.cond(fine, lambda: (positive, drawn, sums), with_highest)
    true = tf.exp(positive - shift)
    total = true + tf.maximum(sums[:, -1] - hits * true, 0.0)

    def gradient(upstream: Tensor) -> tuple[Tensor | None, ...]:
        scale = upstream / total
        of_true = true * (1 - hits) * scale - upstream
        of_users = sums[:, :-1] * scale[:, None] + of_true[:, None] * positives
        # The narrow matrix first: a tenth faster than its transpose.
        of_negatives = tf.transpose(tf.matmul(users * scale[:, None], drawn, transpose_a=True))
        return of_users, of_true[:, None] * users, of_negatives, None, None, None

    return tf.math.log(total) + shift - positive, gradient
