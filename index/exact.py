"""The exact index in plain numpy: the reference that every other index is measured against."""

from collections.abc import Sequence
from pathlib import Path
from typing import Self

import numpy as np

from index.interface import NO_SCORE, Bool, trained_numbers
from watchnext.features import Float32
from watchnext.histories import Int32

_FILE = "exact.npy"
_GATHERED = 1 << 13
"""So many vectors are copied at a time: they fit into the cache."""
_BLOCK_SCORES = 1 << 23
"""At most so many scores (32 MB) are in memory at a time."""


class ExactIndex:
    """All dot products, then the largest; equal scores are ordered by item number.

    Args:
        item_vectors: [items + 1, dim] float32.

    >>> index = ExactIndex(np.array([[0, 0], [1, 0], [0, 1], [2, 0]], np.float32))
    >>> index.search(np.array([[1, 0]], np.float32), k=2)[1].tolist()
    [[3, 1]]
    """

    def __init__(self, item_vectors: Float32) -> None:
        self._vectors = np.asarray(item_vectors)
        self._untrained = np.ones(len(self._vectors), bool)
        self._untrained[trained_numbers(self._vectors)] = False

    def search(
        self, queries: Float32, k: int, exclude: Sequence[Int32] | None = None, allowed: Bool | None = None
    ) -> tuple[Float32, Int32]:
        """See `ItemIndex.search`."""
        scores = np.empty((len(queries), k), np.float32)
        numbers = np.empty((len(queries), k), np.int32)
        block = max(1, _BLOCK_SCORES // len(self._vectors))
        never = self._untrained if allowed is None else self._untrained | ~allowed
        for start in range(0, len(queries), block):
            rows = slice(start, start + block)
            found = queries[rows] @ self._vectors.T  # [block, items + 1]
            found[:, never] = NO_SCORE
            for row, watched in zip(found, [] if exclude is None else exclude[rows], strict=False):
                row[watched] = NO_SCORE
            scores[rows], numbers[rows] = largest(found, k)
        return scores, numbers

    def findable(self) -> Int32:
        """See `ItemIndex.findable`."""
        return trained_numbers(self._vectors)

    def save(self, folder: Path) -> None:
        """Write `exact.npy`."""
        np.save(folder / _FILE, self._vectors)

    @classmethod
    def open(cls, folder: Path) -> Self:
        """Memory-map what `save` wrote."""
        return cls(np.load(folder / _FILE, mmap_mode="r"))

    def describe(self) -> str:
        """See `ItemIndex.describe`."""
        return "Exact"


def best_of(vectors: Float32, query: Float32, numbers: Int32, k: int) -> tuple[Float32, Int32]:
    """The `k` best of some items, equal scores in the order of their numbers.

    Args:
        vectors: [items + 1, dim].
        query: [dim].
        numbers: [items to choose from] item numbers, in any order.
        k: at least 1.

    Returns:
        Scores [at most k], falling, and item numbers.
    """
    if len(numbers) <= _GATHERED:
        scores = np.vecdot(vectors.take(numbers, 0), query)
    else:
        parts = (numbers[start : start + _GATHERED] for start in range(0, len(numbers), _GATHERED))
        scores = np.concatenate([np.vecdot(vectors.take(part, 0), query) for part in parts])
    if len(scores) > 2 * k:
        enough = np.flatnonzero(scores >= np.partition(scores, -k)[-k])  # more than k where scores are equal
        scores, numbers = scores.take(enough), numbers.take(enough)
    order = np.lexsort((numbers, -scores))[:k]
    return scores.take(order), numbers.take(order)


def largest(found: Float32, k: int) -> tuple[Float32, Int32]:
    """The `k` largest of each row of scores, equal ones in the order of their numbers.

    Args:
        found: [batch, items + 1]; -inf is never chosen.
        k: at least 1.

    Returns:
        Scores [batch, k], falling, and item numbers [batch, k]; -inf and 0 where fewer than k items are left.

    >>> scores, numbers = largest(np.array([[-np.inf, 1, 3, 1]], np.float32), 2)
    >>> scores.tolist(), numbers.tolist()
    ([[3.0, 1.0]], [[2, 1]])
    """
    scores = np.full((len(found), k), NO_SCORE, np.float32)
    numbers = np.zeros((len(found), k), np.int32)
    k = min(k, found.shape[1])
    least = np.partition(found, -k, axis=1)[:, -k]  # [batch] the k-th largest
    for row, threshold, row_scores, row_numbers in zip(found, least, scores, numbers, strict=True):
        enough = np.flatnonzero((row >= threshold) & (row > NO_SCORE))  # more than k where scores are equal
        best = enough[np.argsort(-row[enough], kind="stable")[:k]]
        row_scores[: len(best)] = row[best]
        row_numbers[: len(best)] = best
    return scores, numbers
