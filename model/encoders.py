"""From packed histories to the encoder's state at every position. The numpy twin is in `watchnext.tower`."""

from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from watchnext.config import ModelConfig

Tensor = Any


def encode(config: ModelConfig, x: Tensor, depth: Tensor) -> Tensor:
    """The state of the encoder after each position.

    A part with weights rate^j for the watch j places back, over a window of W, is a linear recurrence within a piece:

        z[t] = rate z[t - 1] + x[t] - rate^W x[t - W],    part[t] = z[t] / (1 + rate + ... + rate^(min(depth, W) - 1))

    The mean has rate 1; the last watch is a part of its own. One pass over the positions does it for all parts.

    Args:
        x: [length, rows, dim] embeddings of the watched items.
        depth: [length, rows] how many watches of its piece there are up to a position, itself included; 0 is padding.

    Returns [length, rows, parts * dim]; the parts are those of `tower.lag_weights`.
    """
    rates = np.array([1.0] if config.encoder == "mean" else config.decays, np.float32)
    window = config.history
    old = (
        tf.pad(x[:-window], [[window, 0], [0, 0], [0, 0]])[: x.shape[0]] if window < x.shape[0] else tf.zeros_like(x)
    )
    old *= tf.cast(depth > window, x.dtype)[..., None]
    new = x[:, :, None] - (rates**window)[:, None] * old[:, :, None]  # [length, rows, rates, dim]
    kept = rates * tf.cast(depth > 1, x.dtype)[..., None]  # [length, rows, rates]
    sums = np.cumsum(rates ** np.arange(window)[:, None], 0, dtype=np.float32)  # [window, rates]
    total = tf.gather(tf.constant(sums), tf.clip_by_value(depth, 1, window) - 1)
    state = _recurrence(new, kept[..., None]) / total[..., None]
    flat = tf.reshape(state, [*x.shape[:2], len(rates) * x.shape[2]])
    return flat if config.encoder == "mean" else tf.concat([flat, x], -1)


@tf.custom_gradient  # type: ignore[untyped-decorator]
def _recurrence(new: Tensor, kept: Tensor) -> tuple[Tensor, Callable[[Tensor], tuple[Tensor, None]]]:
    """z[t] = kept[t] z[t - 1] + new[t] along the first axis; its gradient is the same recurrence backwards."""
    zero = tf.zeros(new.shape[1:])
    z = tf.scan(lambda before, now: now[0] * before + now[1], (kept, new), zero)

    def gradient(upstream: Tensor) -> tuple[Tensor, None]:
        after = tf.concat([kept[1:], tf.zeros_like(kept[:1])], 0)
        return tf.scan(lambda later, now: now[0] * later + now[1], (after, upstream), zero, reverse=True), None

    return z, gradient
