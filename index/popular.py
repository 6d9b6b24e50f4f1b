"""What is recommended where nothing is known of a user: the most watched items."""

import numpy as np

from index.interface import Bool
from watchnext.features import Float32
from watchnext.histories import Int32, Int64

_STRETCH = 64
"""So many times as many items as are asked for are looked at from the top, before all that are allowed are."""


class MostWatched:
    """Finds the most watched items; equal ones in the order of their numbers.

    Args:
        counts: [items + 1] watches of each item.
        withdrawn: numbers of items that are never found; None: of none.

    >>> popular = MostWatched(np.array([0, 1, 5, 2]))
    >>> popular.search(k=2, exclude=np.array([3], np.int32))[1].tolist()
    [2, 1]
    """

    def __init__(self, counts: Int64, withdrawn: Int32 | None = None) -> None:
        counts = np.asarray(counts)
        there = np.ones(len(counts), bool)
        there[0] = False
        if withdrawn is not None:
            there[withdrawn] = False
        numbers = np.flatnonzero(there).astype(np.int32)
        self._numbers = numbers[np.argsort(-counts[numbers], kind="stable")]  # [found items] most watched first
        self._scores: Float32 = (counts[self._numbers] / max(1, counts[1:].sum())).astype(np.float32)
        self._places = np.full(len(counts), -1, np.int32)  # [items + 1] where in `numbers` an item is; -1: nowhere
        self._places[self._numbers] = np.arange(len(numbers), dtype=np.int32)

    def search(self, k: int, exclude: Int32, allowed: Bool | None = None) -> tuple[Float32, Int32]:
        """The `k` most watched items, or all that are left.

        Args:
            k: at least 1.
            exclude: item numbers that must not be found, in any order.
            allowed: [items + 1] whether an item may be found; None allows all.

        Returns:
            Shares of all watches [at most k], falling, and item numbers [at most k].
        """
        places = self._first(k + len(exclude), allowed)
        left = places[~np.isin(self._numbers[places], exclude)][:k]
        return self._scores[left], self._numbers[left]

    def _first(self, count: int, allowed: Bool | None) -> Int64 | Int32:
        """[at most count] where the most watched of the allowed items are, rising."""
        if allowed is None:
            return np.arange(min(count, len(self._numbers)))
        near = np.flatnonzero(allowed[self._numbers[: _STRETCH * count]])[:count]
        if len(near) == count or _STRETCH * count >= len(self._numbers):
            return near
        places = self._places[np.flatnonzero(allowed)]
        places = places[places >= 0]
        return np.sort(np.partition(places, count)[:count] if len(places) > count else places)
