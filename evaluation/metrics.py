"""Metrics from ranks. Ties count as if broken at random: a scorer that gives all items one score gets chance.

A target with g items above it and e others of the same score stands at each of the ranks g, ..., g + e with the same
probability; a metric is the mean over them.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from evaluation.ranking import Ranks

Float64 = NDArray[np.float64]


class Estimate(NamedTuple):
    """A mean over users and its standard error."""

    value: float
    error: float


def gains_until(k: int) -> Float64:
    """[k + 1] sum of the discounts 1 / log2(rank + 2) of the ranks before each (Järvelin and Kekäläinen 2002)."""
    return np.concatenate([[0.0], np.cumsum(1 / np.log2(np.arange(k) + 2))])


def hit_probability(ranks: Ranks, k: int) -> Float64:
    """[targets] the probability that a target is among the first k."""
    return np.clip((k - ranks.greater) / (ranks.equal + 1), 0, 1)


def discounted_gain(ranks: Ranks, k: int) -> Float64:
    """[targets] the expected discount of a target's rank, 0 beyond k."""
    until = gains_until(k)
    low, high = np.minimum(ranks.greater, k), np.minimum(ranks.greater + ranks.equal + 1, k)
    gain: Float64 = (until[high] - until[low]) / (ranks.equal + 1)
    return gain


def by_user(ranks: Ranks, k: int) -> dict[str, Float64]:
    """HR, recall and NDCG at k of each user: [users] each.

    HR@k is the probability that any target is among the first k (with several tied targets, as if independent);
    recall@k the share of the targets that are; NDCG@k the discounted gain over that of the best possible list.
    """
    _, first, count = np.unique(ranks.user, return_index=True, return_counts=True)
    if not len(first):
        nothing = np.zeros(0)
        return dict.fromkeys((f"hr@{k}", f"recall@{k}", f"ndcg@{k}"), nothing)
    hit = hit_probability(ranks, k)
    return {
        f"hr@{k}": 1 - np.multiply.reduceat(1 - hit, first),
        f"recall@{k}": np.add.reduceat(hit, first) / count,
        f"ndcg@{k}": np.add.reduceat(discounted_gain(ranks, k), first) / gains_until(k)[np.minimum(count, k)],
    }


def estimate(values: Float64) -> Estimate:
    """The mean over users, with the standard error of a mean."""
    if not len(values):
        return Estimate(float("nan"), float("nan"))
    spread = float(values.std(ddof=1)) if len(values) > 1 else float("nan")
    return Estimate(float(values.mean()), spread / len(values) ** 0.5)
