"""What every index of items can do. Arrays in, arrays out; knows nothing of ids, users or releases."""

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from watchnext.features import Float32
from watchnext.histories import Int32

Bool = NDArray[np.bool_]
NO_SCORE = np.float32(-np.inf)
"""The score beside item number 0, where an index has fewer items left than asked for."""


class ItemIndex(Protocol):
    """Finds the items whose vectors have the largest dot products with a query.

    Row 0 of the item vectors and rows of zeros (items that were never trained) are never found. What it takes
    to build and to open an index differs: `ExactIndex` and its `open`, `FaissIndex.build` and its `open`.
    """

    def search(
        self, queries: Float32, k: int, exclude: Sequence[Int32] | None = None, allowed: Bool | None = None
    ) -> tuple[Float32, Int32]:
        """The best items of each query.

        Args:
            queries: [batch, dim] float32, for instance user vectors.
            k: how many items a query gets, at least 1.
            exclude: for each query the item numbers it must not get, in any order; None excludes nothing.
            allowed: [items + 1] whether an item may be found by any of the queries; None allows all.

        Returns:
            Scores [batch, k], falling, and item numbers [batch, k]; -inf and 0 where fewer than k items are left.
        """
        ...

    def findable(self) -> Int32:
        """[items that can be found] their numbers, rising."""
        ...

    def save(self, folder: Path) -> None:
        """Write the index into an existing folder."""
        ...

    def describe(self) -> str:
        """What kind of index this is, with its search parameters: `IVF512,Flat nprobe=32`."""
        ...


def trained_numbers(item_vectors: Float32) -> Int32:
    """[trained items] the numbers, rising, whose row of item vectors [items + 1, dim] is not zero; never 0."""
    return (np.flatnonzero(np.any(item_vectors[1:], axis=1)) + 1).astype(np.int32)
