"""What lists are like, whether or not they hit: how varied, how popular, how new. Arrays in, arrays out.

A list is a row of item numbers, the best first, filled up with 0 where fewer items can be recommended. Tied items
stand in the order of their numbers, so a scorer with many ties shows fewer different items than it could.
"""

import numpy as np
from numpy.typing import NDArray

from evaluation.training import TrainingCounts
from watchnext.histories import Int32, Int64

Float64 = NDArray[np.float64]

DAY = 86_400


def exposure(lists: Int32, items: int) -> Int64:
    """[items + 1] on how many lists each item stands; lists: [users, k].

    >>> exposure(np.array([[1, 3], [3, 0]]), 3).tolist()
    [0, 1, 0, 2]
    """
    counts: Int64 = np.bincount(lists.ravel(), minlength=items + 1)
    counts[0] = 0
    return counts


def coverage(shown: Int64) -> float:
    """Catalogue coverage: the share of items that stand on at least one list (Herlocker et al. 2004).

    Args:
        shown: [items] from `exposure`, of the items that could be recommended.

    >>> coverage(np.array([1, 0, 2, 0]))
    0.5
    """
    return float((shown > 0).mean()) if len(shown) else float("nan")


def gini(shown: Int64) -> float:
    """Gini coefficient of exposure: 0 where all items are shown equally often, near 1 where one has it all.

        G = sum_i (2 i - n - 1) x_(i) / (n sum_i x_i),    x_(1) <= ... <= x_(n)

    Fleder and Hosanagar 2009, "Blockbuster culture's next rise or fall".

    Args:
        shown: [items] from `exposure`, of the items that could be recommended.

    >>> gini(np.array([1, 1, 1, 1])), gini(np.array([0, 0, 0, 8]))
    (0.0, 0.75)
    """
    n, total = len(shown), int(shown.sum())
    if not total:
        return float("nan")
    weights = 2 * np.arange(1, n + 1) - n - 1
    return float((weights * np.sort(shown)).sum() / (n * total))


def novelty(lists: Int32, counts: TrainingCounts) -> Float64:
    """[users] mean self-information of the recommended items in bits: -log2(share of users who watched the item).

    Zhou et al. 2010, "Solving the apparent diversity-accuracy dilemma of recommender systems". Items that nobody
    watched have no finite one and are left out; NaN for a list without any other.

    >>> counts = TrainingCounts(np.array([0, 9, 2, 0]), np.array([0, 8, 2, 0]), users=8)
    >>> novelty(np.array([[1, 2], [2, 3]]), counts).tolist()
    [1.0, 2.0]
    """
    with np.errstate(divide="ignore"):
        bits = -np.log2(counts.viewers / max(counts.users, 1))
    bits[counts.viewers == 0] = np.nan
    return _mean_of_known(bits, lists)


def popularity(lists: Int32, counts: TrainingCounts) -> Float64:
    """[users] mean number of training watches of the recommended items; its mean over users is the ARP.

    Average recommendation popularity: Yin et al. 2012, "Challenging the long tail recommendation". NaN for an empty
    list.

    >>> popularity(np.array([[1, 2], [2, 0]]), TrainingCounts(np.array([0, 9, 2]), np.array([0, 8, 2]), 8)).tolist()
    [5.5, 2.0]
    """
    return _mean_of_known(counts.watches.astype(np.float64), lists)


def age(lists: Int32, uploaded: Float64, asked: Int64) -> Float64:
    """[users] mean days between the upload of the recommended items and the moment of asking.

    Args:
        uploaded: [items + 1] seconds since 1970, NaN where unknown; such items are left out.
        asked: [users] seconds since 1970.

    >>> age(np.array([[1, 2], [2, 0]]), np.array([np.nan, 0.0, 86400.0]), np.array([172800, 86400])).tolist()
    [1.5, 0.0]
    """
    return (asked - _mean_of_known(uploaded, lists)) / DAY


def _mean_of_known(values: Float64, lists: Int32) -> Float64:
    """[users] mean of the values [items + 1] of the items on each list, those without one left out."""
    values = values.copy()
    values[0] = np.nan
    shown = values[lists]
    known = ~np.isnan(shown)
    counted = known.sum(1)
    means = np.full(len(lists), np.nan)
    np.divide(np.where(known, shown, 0).sum(1), counted, out=means, where=counted > 0)
    return means
