"""How much of what exact search finds another index finds, and what that costs."""

import time

import numpy as np

from index.interface import ItemIndex
from watchnext.features import Float32
from watchnext.histories import Int32

DEPTH = 50
"""Recall is measured among the exact best 50."""
_TOLERANCE = 1e-5
"""Scores that differ by less than this share of the query's best are equal."""


def recall(found: Int32, exact: Float32, queries: Float32, item_vectors: Float32) -> float:
    """The share of the exact best that an index found, between 0 and 1.

    An item counts as found when its true score is at least that of the last of the exact best, so that of two items
    with equal scores either is right.

    Args:
        found: [queries, k] item numbers, 0 where none was found.
        exact: [queries, k] scores of the exact best, falling; -inf where fewer than k exist.
        queries: [queries, dim].
        item_vectors: [items + 1, dim].
    """
    exists = np.isfinite(exact)
    if not exists.any():
        return 1.0
    least = np.where(exists, exact, np.inf).min(axis=1, keepdims=True)  # [queries, 1]
    least = least - _TOLERANCE * np.abs(np.where(exists, exact, 0)).max(axis=1, keepdims=True)
    true = np.einsum("qkd,qd->qk", item_vectors[found], queries)  # [queries, k]
    right = (true >= least) & (found > 0)
    return float(np.minimum(right.sum(axis=1), exists.sum(axis=1)).sum() / exists.sum())


def cpu_microseconds(index: ItemIndex, queries: Float32, seconds: float = 0.5) -> float:
    """Median CPU time of one query alone, in microseconds; measured on as many queries as `seconds` of CPU allow."""
    spent: list[int] = []
    for query in queries:
        start = time.thread_time_ns()
        index.search(query[None], DEPTH)
        spent.append(time.thread_time_ns() - start)
        if sum(spent) > seconds * 1e9:
            break
    return float(np.median(spent)) / 1e3
