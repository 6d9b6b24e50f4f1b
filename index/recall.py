"""How much of what exact search finds another index finds, and what that costs."""

import time
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
from numpy.typing import NDArray

from index.batch import BLOCK_USERS, BatchSearch
from index.interface import Bool, ItemIndex, trained_numbers
from watchnext.features import Float32
from watchnext.histories import Int32

DEPTH = 50
"""Recall is measured among the exact best 50."""
_TOLERANCE = 1e-5
"""Scores that differ by less than this share of the query's best are equal."""
_AT_ONCE = 256
_NOTHING = np.zeros(0, np.int32)
_TURN = 20
"""Queries in a row: the cache then holds what one index needs."""


def recall(found: Int32, exact: Float32, queries: Float32, item_vectors: Float32) -> float:
    """The share of the exact best that an index found, between 0 and 1; the mean of `recall_of_each`."""
    return float(recall_of_each(found, exact, queries, item_vectors).mean())


def recall_of_each(found: Int32, exact: Float32, queries: Float32, item_vectors: Float32) -> NDArray[np.float64]:
    """[queries] the share of each query's exact best that an index found, between 0 and 1.

    An item counts as found when its true score is at least that of the last of the exact best, so that of two items
    with equal scores either is right.

    Args:
        found: [queries, k] item numbers, 0 where none was found.
        exact: [queries, k] scores of the exact best, falling; -inf where fewer than k exist.
        queries: [queries, dim].
        item_vectors: [items + 1, dim].
    """
    exists = np.isfinite(exact)
    least = np.where(exists, exact, np.inf).min(axis=1, keepdims=True, initial=np.inf)  # [queries, 1]
    least = least - _TOLERANCE * np.abs(np.where(exists, exact, 0)).max(axis=1, keepdims=True, initial=0)
    right = np.zeros(len(found), np.int64)
    for start in range(0, len(found), _AT_ONCE):
        rows = slice(start, start + _AT_ONCE)
        true = np.einsum("qkd,qd->qk", item_vectors[found[rows]], queries[rows])  # [rows, k]
        right[rows] = ((true >= least[rows]) & (found[rows] > 0)).sum(axis=1)
    there = exists.sum(axis=1)
    return np.where(there > 0, np.minimum(right, there) / np.maximum(there, 1), 1.0)


@dataclass(frozen=True)
class Sample:
    """Queries and what exact search answers to them.

    Args:
        queries: [queries, dim].
        exact: [queries, at most 50] the best scores, falling.
        item_vectors: [items + 1, dim] what was searched.
        allowed: [items + 1] the items that may be found; None: all.
    """

    queries: Float32
    exact: Float32
    item_vectors: Float32
    allowed: Bool | None = None

    @classmethod
    def of(cls, queries: Float32, item_vectors: Float32, k: int = DEPTH, allowed: Bool | None = None) -> Self:
        """Search exactly for `k` items for each query, among `allowed` [items + 1] if that is given."""
        numbers = trained_numbers(item_vectors)
        search = BatchSearch(item_vectors, numbers if allowed is None else numbers[allowed[numbers]])
        blocks = (queries[start : start + BLOCK_USERS] for start in range(0, len(queries), BLOCK_USERS))
        found = [search.search(block, k, _NOTHING, np.zeros(len(block) + 1, np.int64))[0] for block in blocks]
        return cls(queries, np.concatenate(found), item_vectors, allowed)

    def one_in(self, every: int) -> "Sample":
        """A part of the queries."""
        return replace(self, queries=self.queries[::every], exact=self.exact[::every])

    def recall(self, index: ItemIndex) -> tuple[float, float]:
        """The mean recall of an index and its standard error, over the queries."""
        found = index.search(self.queries, self.exact.shape[1], allowed=self.allowed)[1]
        each = recall_of_each(found, self.exact, self.queries, self.item_vectors)
        return float(each.mean()), float(each.std() / np.sqrt(len(each)))

    def microseconds(self, *indexes: ItemIndex, seconds: float = 0.1) -> list[float]:
        """Median CPU time of one query alone, for each index; they take turns of some queries, on the same machine.

        Args:
            seconds: of CPU time for each index, about; every query is asked once at most.
        """
        spent: list[list[int]] = [[] for _ in indexes]
        for first in range(0, len(self.queries), _TURN):
            for index, times in zip(indexes, spent, strict=True):
                for query in self.queries[first : first + _TURN]:
                    start = time.thread_time_ns()
                    index.search(query[None], self.exact.shape[1], allowed=self.allowed)
                    times.append(time.thread_time_ns() - start)
            if min(map(sum, spent)) > seconds * 1e9:
                break
        return [float(np.median(times)) / 1e3 for times in spent]
