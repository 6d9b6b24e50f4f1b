"""How good a list is for each user, from where the targets stand. Ties count as if broken at random.

A run is the tied items of one score: it begins after `greater` better items and has n items, m of them targets, in
any order with the same probability. Each metric is the exact mean over all orders (McSherry and Najork 2008,
"Computing information retrieval performance measures efficiently in the presence of tied scores"), so a scorer that
gives all items one score gets what chance would get. Every item the user has not watched is ranked.

Below, T is the number of targets of the user; a target that cannot be found is one of them.
"""

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from evaluation.ranking import Ranking
from watchnext.histories import Int64

Float64 = NDArray[np.float64]

ACCURACY = ("hr", "recall", "capped_recall", "ndcg", "mrr", "map")
"""The metrics of `by_user`; a k is added to each name, as in `hr@10`."""


def gains_until(k: int) -> Float64:
    """[k + 1] sum of the discounts 1 / log2(rank + 2) of the ranks before each (Järvelin and Kekäläinen 2002)."""
    return np.concatenate([[0.0], np.cumsum(1 / np.log2(np.arange(k) + 2))])


@dataclass(frozen=True)
class Runs:
    """Tied items with a target among them, user by user, the best first.

    Args:
        users: how many users were ranked for.
        targets: [users] T, found or not.
        row: [runs] the user's row, rising.
        begin: [runs] items of higher score.
        size: [runs] n.
        hits: [runs] m.
    """

    users: int
    targets: Int64
    row: Int64
    begin: Int64
    size: Int64
    hits: Int64

    @classmethod
    def of(cls, ranking: Ranking) -> Self:
        """The runs of all found targets."""
        users = len(ranking.users)
        row, greater, equal = (a[ranking.found] for a in (ranking.row, ranking.greater, ranking.equal))
        _, first, hits = np.unique(row * ranking.items.shape[1] + greater, return_index=True, return_counts=True)
        targets = np.bincount(ranking.row, minlength=users)
        return cls(users, targets, row[first], greater[first], equal[first] + 1, hits)

    def total(self, values: Float64) -> Float64:
        """[users] the sum over the runs of each."""
        return np.bincount(self.row, values, self.users).astype(np.float64)


def by_user(ranking: Ranking, k: int) -> dict[str, Float64]:
    """Accuracy of the first k, which must not be more than the ranking's: [users] for each name in `ACCURACY`."""
    if k > ranking.items.shape[1]:
        raise ValueError(f"ranked {ranking.items.shape[1]} places, cannot judge {k}")
    runs = Runs.of(ranking)
    hit, reciprocal = first_hit(runs, k)
    values = (hit, recall(runs, k), capped_recall(runs, k), ndcg(runs, k), reciprocal, average_precision(runs, k))
    return {f"{name}@{k}": value for name, value in zip(ACCURACY, values, strict=True)}


def recall(runs: Runs, k: int) -> Float64:
    """[users] the share of the targets that are among the first k: each run adds m / n for each of its places.

    NaN for a user without targets.
    """
    share = np.full(runs.users, np.nan)
    np.divide(runs.total(runs.hits / runs.size * _places(runs, k)), runs.targets, out=share, where=runs.targets > 0)
    return share


def capped_recall(runs: Runs, k: int) -> Float64:
    """[users] the targets among the first k over min(k, T), the most that can be there (Liang et al. 2018, 4.2)."""
    return recall(runs, k) * (runs.targets / np.minimum(runs.targets, k))


def ndcg(runs: Runs, k: int) -> Float64:
    """[users] the sum of 1 / log2(rank + 1) over the targets among the first k, over that of the best possible list.

    Ranks count from 1. The best possible list begins with all targets (Järvelin and Kekäläinen 2002).
    """
    until = gains_until(k)
    begin = np.minimum(runs.begin, k)
    gain = until[begin + _places(runs, k)] - until[begin]
    return runs.total(runs.hits / runs.size * gain) / until[np.minimum(runs.targets, k)]


def first_hit(runs: Runs, k: int) -> tuple[Float64, Float64]:
    """HR and MRR: [users] whether any target is among the first k, and 1 / rank of the first one, 0 beyond k.

    Only the best run with a target decides. Its j-th item is the first target with the probability

        C(n - j, m - 1) / C(n, m) = m / (n - j + 1) * prod_{i < j} (n - i + 1 - m) / (n - i + 1)
    """
    row, first = np.unique(runs.row, return_index=True)
    begin, n, m = (a[first].astype(np.float64) for a in (runs.begin, runs.size, runs.hits))
    none_before, hit, reciprocal = np.ones(len(row)), np.zeros(runs.users), np.zeros(runs.users)
    for j in range(1, k + 1):
        left = np.maximum(n - j + 1, 1)
        here = none_before * m / left * ((j <= n) & (begin + j <= k))
        hit[row] += here
        reciprocal[row] += here / (begin + j)
        none_before *= np.maximum(left - m, 0) / left
    return hit, reciprocal


def average_precision(runs: Runs, k: int) -> Float64:
    """MAP: [users] the sum of the precision at the rank of each target among the first k, over min(k, T).

    With R targets before a run that begins after g items, its j-th item is a target with the probability m / n, and
    the expected precision there is then (R + 1 + (j - 1)(m - 1) / (n - 1)) / (g + j). The sums over the s places of
    the run have closed forms in the harmonic numbers H: sum_j 1 / (g + j) = H(g + s) - H(g).
    """
    harmonic = np.concatenate([[0.0], np.cumsum(1 / np.arange(1.0, k + 1))])
    begin, places = np.minimum(runs.begin, k), _places(runs, k)
    reciprocals = harmonic[begin + places] - harmonic[begin]  # sum_j 1 / (g + j)
    ramp = places - (begin + 1) * reciprocals  # sum_j (j - 1) / (g + j)
    slope = (runs.hits - 1) / np.maximum(runs.size - 1, 1)
    precision = runs.hits / runs.size * ((_hits_before(runs) + 1) * reciprocals + slope * ramp)
    return runs.total(precision) / np.minimum(runs.targets, k)


def _places(runs: Runs, k: int) -> Int64:
    """[runs] how many of the first k places a run takes."""
    return np.clip(k - runs.begin, 0, runs.size)


def _hits_before(runs: Runs) -> Int64:
    """[runs] targets in better runs of the same user."""
    before = np.cumsum(runs.hits) - runs.hits
    _, first, inverse = np.unique(runs.row, return_index=True, return_inverse=True)
    hits: Int64 = before - before[first][inverse]
    return hits
