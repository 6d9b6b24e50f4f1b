"""Causal self-attention over packed histories, in TensorFlow; `watchnext.attention` is its twin in numpy.

All positions of a batch are computed at once: a position sees the last `span` watches of its own piece and no others.
"""

from typing import Any

import numpy as np
import tensorflow as tf

from watchnext.attention import EPSILON, HIDDEN, span
from watchnext.config import ModelConfig
from watchnext.features import Float32

Tensor = Any
Dense = dict[str, Tensor]

DROPS = 2
"""Places in a block where dropout acts: what attention adds, what the layers after it add."""


def initial(config: ModelConfig, rng: np.random.Generator) -> dict[str, Float32]:
    """Initial weights of all blocks, by name.

    A block begins as nearly the mean of the watches with falling weights: biases of lags are logs of powers of the
    decays, values are passed on as they are, in the size of embeddings, and the layers after attention add nothing.
    """
    dim = config.dim
    values: dict[str, Float32] = {}
    logs = np.log(np.resize(np.array(config.decays or (1.0,), np.float32), config.attention_heads))
    eye, one, zero = np.eye(dim, dtype=np.float32), np.ones(dim, np.float32), np.zeros(dim, np.float32)

    def normal() -> Float32:
        return rng.standard_normal((dim, dim), np.float32) * np.float32(dim**-0.5)

    for block in range(config.attention_blocks):
        own = {
            "norm_1": one,
            "shift_1": zero,
            "query": 0 * eye,
            "key": normal(),
            "value": eye,
            "out": eye * np.float32(dim**-0.5),
            "lag": logs[:, None] * np.arange(span(config), dtype=np.float32),
            "norm_2": one,
            "shift_2": zero,
            "kernel_1": normal() * np.float32(2**0.5),
            "bias_1": zero,
            "kernel_2": 0 * eye,
            "bias_2": zero,
        }
        values |= {f"block_{block}_{name}": value for name, value in own.items()}
    return values


def attend(config: ModelConfig, dense: Dense, x: Tensor, depth: Tensor, kept: list[Tensor]) -> Tensor:
    """The state after each position.

    Args:
        dense: the weights that `initial` names.
        x: [length, rows, dim] embeddings of the watched items.
        depth: [length, rows] as in `batches.Batch`.
        kept: factors of dropout, [positions, dim], `DROPS` for each block; none outside training.

    Returns [length, rows, dim].
    """
    length = x.shape[0]
    lag = np.subtract.outer(np.arange(length), np.arange(length))  # [length, length] from a position to what it sees
    seen = (lag >= 0) & (lag < tf.minimum(tf.transpose(depth), span(config))[:, :, None])  # [rows, length, length]
    x = tf.transpose(x, [1, 0, 2])
    for block in range(config.attention_blocks):
        own = {n.removeprefix(f"block_{block}_"): v for n, v in dense.items() if n.startswith(f"block_{block}_")}
        x = _block(config, own, x, (lag, seen), kept[DROPS * block :])
    return tf.transpose(x, [1, 0, 2])


def _block(config: ModelConfig, own: Dense, x: Tensor, mask: tuple[np.ndarray, Tensor], kept: list[Tensor]) -> Tensor:
    """[rows, length, dim] the states of a block after x: [rows, length, dim]."""
    rows, length, dim = x.shape
    heads = config.attention_heads
    lag, seen = mask
    normed = tf.reshape(_norm(x, own["norm_1"], own["shift_1"]), [-1, dim])

    def split(name: str) -> Tensor:
        return tf.transpose(tf.reshape(normed @ own[name], [rows, length, heads, dim // heads]), [0, 2, 1, 3])

    logits = tf.matmul(split("query") * (dim // heads) ** -0.5, split("key"), transpose_b=True)
    logits += tf.gather(own["lag"], np.clip(lag, 0, span(config) - 1), axis=1)  # [rows, heads, length, length]
    mixed = tf.matmul(tf.nn.softmax(tf.where(seen[:, None], logits, HIDDEN)), split("value"))
    added = tf.reshape(tf.transpose(mixed, [0, 2, 1, 3]), [-1, dim]) @ own["out"]
    x = tf.reshape(x, [-1, dim]) + (added * kept[0] if kept else added)
    hidden = tf.nn.relu(_norm(x, own["norm_2"], own["shift_2"]) @ own["kernel_1"] + own["bias_1"])
    added = hidden @ own["kernel_2"] + own["bias_2"]
    return tf.reshape(x + (added * kept[1] if kept else added), [rows, length, dim])


def _norm(x: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    """Layer normalization of the last axis."""
    centred = x - tf.reduce_mean(x, -1, keepdims=True)
    variance = tf.reduce_mean(centred**2, -1, keepdims=True)
    return centred * tf.math.rsqrt(variance + EPSILON) * scale + shift
