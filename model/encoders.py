"""From packed histories to the encoder's state at every position. The numpy twin is in `watchnext.tower`."""

from typing import Any

import numpy as np
import tensorflow as tf

from watchnext.config import ModelConfig
from watchnext.features import Float32
from watchnext.tower import lag_weights

Tensor = Any


def encode(config: ModelConfig, x: Tensor, segment: Tensor) -> Tensor:
    """The state of the encoder after each position.

    Every part of the state is a weighted mean of the last `config.history` watches, so that one masked matrix of
    weights a row does it: state[t] = sum_s w[t - s] x[s] / sum_s w[t - s] over s <= t of the same segment.

    Args:
        x: [rows, length, dim] embeddings of the watched items.
        segment: [rows, length] which history a position belongs to; 0 is padding.

    Returns [rows, length, parts, dim]; the parts are those of `tower.lag_weights`.
    """
    length = segment.shape[1]
    same = tf.equal(segment[:, :, None], segment[:, None, :]) & (segment[:, :, None] > 0)  # [rows, t, s]
    kernel = tf.constant(lag_matrix(lag_weights(config), length)) * tf.cast(same, x.dtype)[:, :, None]
    total = tf.reduce_sum(kernel, -1, keepdims=True)  # [rows, t, parts, 1]
    weights = kernel / tf.maximum(total, 1e-9)
    rows, parts = tf.shape(x)[0], weights.shape[2]
    flat = tf.reshape(weights, [rows, length * parts, length])
    return tf.reshape(flat @ x, [rows, length, parts, x.shape[2]])


def lag_matrix(lags: Float32, length: int) -> Float32:
    """[parts, window] weights by lag -> [t, parts, s] weights of position s for position t, 0 where s > t."""
    lag = np.subtract.outer(np.arange(length), np.arange(length))  # [t, s]
    inside = (lag >= 0) & (lag < lags.shape[1])
    matrix = np.where(inside[None], lags[:, np.clip(lag, 0, lags.shape[1] - 1)], 0)  # [parts, t, s]
    return matrix.transpose(1, 0, 2).astype(np.float32)
