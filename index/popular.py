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

    >>> popular = MostWatched(np.array([0, 1, 5, 2]))
    >>> popular.search(k=2, exclude=np.array([3], np.int32))[1].tolist()
    [2, 1]
    """

    def __init__(self, counts: Int64) -> None:
        counts = np.asarray(counts)[1:]
        order = np.argsort(-counts, kind="stable")
        self._numbers = (order + 1).astype(np.int32)  # [items] most watched first
        self._scores: Float32 = (counts[order] / max(1, counts.sum())).astype(np.float32)  # [items] falling
        self._places = np.zeros(len(counts) + 1, np.int32)  # [items + 1] where in `numbers` an item is
        self._places[self._numbers] = np.arange(len(counts), dtype=np.int32)

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
        return np.sort(np.partition(places, count)[:count] if len(places) > count else places)
