"""Causal self-attention over the last watches, in numpy; `model.attention` is its twin in TensorFlow.

A block is one of SASRec (Kang and McAuley 2018) with the norms first, as in Xiong et al. 2020:

    x <- x + sum_h softmax_h(q k' / sqrt(dim / heads) + b_h[lag]) v,    q, k, v = products of norm(x)
    x <- x + W_2 relu(W_1 norm(x))

Where watches stand enters as a bias b_h[lag] for each head and lag (Raffel et al. 2020, 2.1) and not as an embedding
of a place: a watch keeps its state when the window moves on, so that one pass gives the states at all positions.

A block sees `span` watches back. With several blocks a state depends on what the states before it saw: the spans are
such that all of it lies within the last `history` watches, which is all that serving reads.
"""

from collections.abc import Mapping

import numpy as np

from watchnext.config import ModelConfig
from watchnext.features import Float32

EPSILON = 1e-6
"""Added to variances."""
HIDDEN = -1e9
"""The logit of what a position may not see."""


def span(config: ModelConfig) -> int:
    """How many watches a block sees from each position, its own included.

    >>> span(ModelConfig(history=50, attention_blocks=2))
    25
    """
    return 1 + (config.history - 1) // config.attention_blocks


def attend(config: ModelConfig, weights: Mapping[str, Float32], x: Float32, known: np.ndarray) -> Float32:
    """The state after the last watch.

    Args:
        weights: the dense weights by name, see `model.attention.initial`.
        x: [users, history, dim] embeddings of the last watches in time order, the last one in the last column.
        known: [users, history] where there is a watch.

    Returns [users, dim], 0 for users without a watch.
    """
    for block in range(config.attention_blocks):
        reach = 1 + (config.attention_blocks - 1 - block) * (span(config) - 1)  # positions that later blocks read
        x, known = x[:, -(reach + span(config) - 1) :], known[:, -(reach + span(config) - 1) :]
        own = {name.removeprefix(f"block_{block}_"): value for name, value in weights.items()}
        x = _block(config, own, x, known, reach)
        known = known[:, -reach:]
    state: Float32 = x[:, -1] * known[:, -1:]
    return state


def _block(config: ModelConfig, own: dict[str, Float32], x: Float32, known: np.ndarray, reach: int) -> Float32:
    """[users, reach, dim] a block's states at the last `reach` positions of x: [users, watches, dim]."""
    users, watches, dim = x.shape
    heads = config.attention_heads
    normed = norm(x, own["norm_1"], own["shift_1"])

    def split(values: Float32) -> Float32:
        return values.reshape(users, -1, heads, dim // heads).transpose(0, 2, 1, 3)

    q, k, v = split(normed[:, -reach:] @ own["query"]), split(normed @ own["key"]), split(normed @ own["value"])
    lag = np.arange(watches - reach, watches)[:, None] - np.arange(watches)
    near = (lag >= 0) & (lag < span(config))
    bias = own["lag"][:, np.clip(lag, 0, span(config) - 1)]  # [heads, reach, watches]
    logits = q @ k.swapaxes(2, 3) * np.float32((dim // heads) ** -0.5) + bias
    logits = np.where(near & known[:, None, None, :], logits, np.float32(HIDDEN))
    odds = np.exp(logits - logits.max(-1, keepdims=True))
    mixed = (odds / odds.sum(-1, keepdims=True)) @ v  # [users, heads, reach, dim / heads]
    x = x[:, -reach:] + mixed.transpose(0, 2, 1, 3).reshape(users, reach, dim) @ own["out"]
    hidden = np.maximum(norm(x, own["norm_2"], own["shift_2"]) @ own["kernel_1"] + own["bias_1"], 0)
    after: Float32 = x + hidden @ own["kernel_2"] + own["bias_2"]
    return after


def norm(x: Float32, scale: Float32, shift: Float32) -> Float32:
    """Layer normalization (Ba et al. 2016) of the last axis."""
    centred = x - x.mean(-1, keepdims=True)
    variance = (centred**2).mean(-1, keepdims=True)
    normed: Float32 = centred / np.sqrt(variance + np.float32(EPSILON)) * scale + shift
    return normed
