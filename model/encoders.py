"""From packed histories to the encoder's state at every position. The numpy twin is `watchnext.encoders`."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from model import attention
from watchnext.config import ModelConfig
from watchnext.encoders import DECAY_LOGITS
from watchnext.features import Float32

Tensor = Any
Dense = dict[str, Tensor]

MOST_DECAY = 0.999
"""What learned decays start with at most: the logit of 1 is infinite."""


def initial(config: ModelConfig, rng: np.random.Generator) -> dict[str, Float32]:
    """Initial values of the encoder's dense weights, by name; none for fixed means."""
    values = attention.initial(config, rng) if config.encoder == "attention" else {}
    if config.encoder != "mean" and config.learned_decays:
        decays = np.minimum(np.array(config.decays, np.float32), MOST_DECAY)
        values[DECAY_LOGITS] = np.log(decays / (1 - decays))
    return values


def drops(config: ModelConfig) -> int:
    """How many factors of dropout the encoder takes, [positions, dim] each."""
    return attention.DROPS * config.attention_blocks if config.encoder == "attention" else 0


def encode(config: ModelConfig, dense: Dense, x: Tensor, depth: Tensor, kept: Sequence[Tensor] = ()) -> Tensor:
    """The state of the encoder after each position.

    Args:
        dense: values of the weights that `initial` names, others besides.
        x: [length, rows, dim] embeddings of the watched items.
        depth: [length, rows] how many watches of its piece there are up to a position, itself included; 0 is padding.
        kept: factors of dropout, see `drops`; none outside training.

    Returns [length, rows, parts * dim]; the parts are those of `watchnext.encoders`.
    """
    if config.encoder == "mean":
        return _means(config.history, tf.ones(1), x, depth)
    rates = tf.sigmoid(dense[DECAY_LOGITS]) if config.learned_decays else tf.constant(config.decays, x.dtype)
    found = [_means(config.history, rates, x, depth), x]
    if config.encoder == "attention":
        found.append(attention.attend(config, dense, x, depth, list(kept)))
    return tf.concat(found, -1)


def _means(window: int, rates: Tensor, x: Tensor, depth: Tensor) -> Tensor:
    """Means with weights rate^j for the watch j places back, [length, rows, rates * dim].

    Such a mean over a window of W is a linear recurrence within a piece; one pass does it for all rates:

        z[t] = rate z[t - 1] + x[t] - rate^W x[t - W],    mean[t] = z[t] / (1 + rate + ... + rate^(min(depth, W) - 1))
    """
    old = (
        tf.pad(x[:-window], [[window, 0], [0, 0], [0, 0]])[: x.shape[0]] if window < x.shape[0] else tf.zeros_like(x)
    )
    old *= tf.cast(depth > window, x.dtype)[..., None]
    new = x[:, :, None] - (rates**window)[:, None] * old[:, :, None]  # [length, rows, rates, dim]
    kept = rates * tf.cast(depth > 1, x.dtype)[..., None]  # [length, rows, rates]
    sums = tf.cumsum(rates ** np.arange(window, dtype=np.float32)[:, None])  # [window, rates]
    total = tf.gather(sums, tf.clip_by_value(depth, 1, window) - 1)
    state = _recurrence(new, kept[..., None]) / total[..., None]
    return tf.reshape(state, [*x.shape[:2], rates.shape[0] * x.shape[2]])


@tf.custom_gradient  # type: ignore[untyped-decorator]
def _recurrence(new: Tensor, kept: Tensor) -> tuple[Tensor, Callable[[Tensor], tuple[Tensor, Tensor]]]:
    """z[t] = kept[t] z[t - 1] + new[t] along the first axis, for `new` [.., dim] and `kept` [.., 1].

    Its gradient is the same recurrence backwards; that of kept[t] is the dot product of z[t - 1] with it.
    """
    zero = tf.zeros(new.shape[1:])
    z = tf.scan(lambda before, now: now[0] * before + now[1], (kept, new), zero)

    def gradient(upstream: Tensor) -> tuple[Tensor, Tensor]:
        after = tf.concat([kept[1:], tf.zeros_like(kept[:1])], 0)
        back = tf.scan(lambda later, now: now[0] * later + now[1], (after, upstream), zero, reverse=True)
        before = tf.concat([tf.zeros_like(z[:1]), z[:-1]], 0)
        return back, tf.reduce_sum(back * before, -1, keepdims=True)

    return z, gradient
