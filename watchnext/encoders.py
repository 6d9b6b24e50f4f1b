"""From histories to the encoder's state, in numpy; `model.encoders` is the twin in TensorFlow.

The state is one or more vectors, its parts. For the encoders `mean` and `decay` they are weighted means of the last
watches:

    part_k = sum_j w_k[j] x_j / sum_j w_k[j],    j = 0 for the last watch, 1 for the one before, ...

with w = 1 (encoder `mean`, paper 3.2), or w_k[j] = decay_k^j for each decay and w = (1, 0, 0, ...), the last watch
(encoders `decay` and `attention`). A part with weights decay^j is a linear recurrence: one more watch updates it in
O(1), see `watchnext.running`. Encoder `attention` has one part more, see `watchnext.attention`.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from watchnext.attention import attend
from watchnext.config import ModelConfig
from watchnext.features import Float32, gap_buckets
from watchnext.histories import Int32, Int64

GAPS = "gaps"
"""The weight, [GAP_BUCKETS, dim], that is added to watches by the time to the next one; row 0 is not read."""
DECAY_LOGITS = "decay_logits"
"""The weight, [decays], whose logistic function is the learned decays."""


def parts(config: ModelConfig) -> int:
    """How many vectors the encoder's state has."""
    return {"mean": 1, "decay": len(config.decays) + 1, "attention": len(config.decays) + 2}[config.encoder]


def decays(config: ModelConfig, weights: Mapping[str, Float32]) -> Float32:
    """[decays] learned or fixed; 1 for encoder `mean`."""
    if config.encoder == "mean":
        return np.ones(1, np.float32)
    if config.learned_decays:
        return (1 / (1 + np.exp(-weights[DECAY_LOGITS]))).astype(np.float32)
    return np.array(config.decays, np.float32)


def lag_weights(config: ModelConfig, weights: Mapping[str, Float32]) -> Float32:
    """[parts, history] how much the watch j places before the last weighs in each part of the state.

    Args:
        weights: the dense weights by name; read for learned decays.

    >>> lag_weights(ModelConfig(encoder="decay", decays=(0.5,), history=3), {}).tolist()
    [[1.0, 0.5, 0.25], [1.0, 0.0, 0.0]]
    """
    lags = np.arange(config.history)
    powers = decays(config, weights)[:, None] ** lags
    last = [] if config.encoder == "mean" else [lags == 0]
    return np.array([*powers, *last], np.float32)


def encode(
    config: ModelConfig,
    weights: Mapping[str, Float32],
    watched: Float32,
    histories: Sequence[Int32],
    gaps: Int32 | None = None,
) -> Float32:
    """[users, parts, dim] the state after each history, which may be empty.

    Args:
        weights: the dense weights by name.
        watched: [items + 1, dim] input embeddings.
        histories: [users] item numbers in time order, of any length; the last `history` are read.
        gaps: [users, history] buckets from `last_gaps`, for a configuration with `time_gaps`; None is unknown.
    """
    recent = last_watches(histories, config.history)
    x = watched[recent] * (recent > 0)[..., None]
    if config.time_gaps and gaps is not None:
        x = x + weights[GAPS][gaps] * ((gaps > 0) & (recent > 0))[..., None]
    by_lag = lag_weights(config, weights)[None, :, ::-1] * (recent > 0)[:, None]  # [users, parts, history]
    total = np.maximum(by_lag.sum(-1, keepdims=True), 1e-9)
    state: Float32 = np.matmul(by_lag / total, x)
    if config.encoder == "attention":
        state = np.concatenate([state, attend(config, weights, x, recent > 0)[:, None]], 1)
    return state


def last_watches(histories: Sequence[Int32], window: int) -> Int32:
    """[users, window] the last watches in time order, the last one in the last column; 0 where there is none.

    >>> last_watches([np.array([4, 5, 6]), np.array([7])], 2).tolist()
    [[5, 6], [0, 7]]
    """
    recent = np.zeros((len(histories), window), np.int32)
    for row, history in zip(recent, histories, strict=True):
        row[window - len(history[-window:]) :] = history[-window:]
    return recent


def last_gaps(times: Sequence[Int64], asked: Int64, window: int) -> Int32:
    """[users, window] for the watches of `last_watches`, buckets of the time to the next one; 0 where there is none.

    Args:
        times: [users] seconds since 1970 of each watch.
        asked: [users] seconds since 1970 of the moment of asking, which the last gap ends with.

    >>> last_gaps([np.array([4, 5, 8])], np.array([15]), 4).tolist()
    [[0, 2, 3, 4]]
    """
    gaps = np.zeros((len(times), window), np.int32)
    for row, own, moment in zip(gaps, times, asked.tolist(), strict=True):
        recent = own[-window:]
        row[window - len(recent) :] = gap_buckets(np.diff(recent, append=moment))
    return gaps
