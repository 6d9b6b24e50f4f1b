"""Histories: every user's watches in time order, as three flat arrays that can be memory-mapped."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

Int32 = NDArray[np.int32]
Int64 = NDArray[np.int64]


@dataclass(frozen=True)
class Histories:
    """Watches of all users. Row u belongs to user number u; row 0 (the unknown user) is empty.

    Args:
        items: [watches] item numbers, the watches of one user together, in time order.
        times: [watches] seconds since 1970, never falling within a user.
        offsets: [users + 2] user u's watches are `items[offsets[u]:offsets[u + 1]]`.
    """

    items: Int32
    times: Int64
    offsets: Int64

    @classmethod
    def of(cls, rows: Sequence[Sequence[int]], times: Sequence[Sequence[int]] | None = None) -> Self:
        """Histories from lists, for users 1, 2, ...; without times, a watch's time is its position.

        >>> Histories.of([[3, 1], [2]])[1].tolist()
        [3, 1]
        """
        times = times or [range(len(row)) for row in rows]
        lengths = [0, 0, *(len(row) for row in rows)]
        return cls(
            np.array([i for row in rows for i in row], np.int32),
            np.array([t for row in times for t in row], np.int64),
            np.cumsum(lengths, dtype=np.int64),
        )

    @classmethod
    def open(cls, folder: Path) -> Self:
        """Memory-map the three arrays that `save` wrote."""
        items, times, offsets = (np.load(folder / f"{name}.npy", mmap_mode="r") for name in _NAMES)
        return cls(items, times, offsets)

    def save(self, folder: Path) -> None:
        """Write `items.npy`, `times.npy` and `offsets.npy` into an existing folder."""
        for name in _NAMES:
            np.save(folder / f"{name}.npy", getattr(self, name))

    def __len__(self) -> int:
        """The number of rows: users + 1."""
        return len(self.offsets) - 1

    def __getitem__(self, user: int) -> Int32:
        """[watches of the user] item numbers in time order."""
        return self.items[self.offsets[user] : self.offsets[user + 1]]

    def until(self, ends: Int64) -> "Histories":
        """The first `ends[u]` watches of each user u; copies.

        >>> Histories.of([[3, 1], [2]]).until(np.array([0, 1, 1])).items.tolist()
        [3, 2]
        """
        _, kept = self.positions(np.arange(len(self), dtype=np.int32), np.zeros_like(ends), ends)
        return Histories(self.items[kept], self.times[kept], np.concatenate([[0], np.cumsum(ends)]).astype(np.int64))

    def times_of(self, user: int) -> Int64:
        """[watches of the user] seconds since 1970."""
        return self.times[self.offsets[user] : self.offsets[user + 1]]

    def positions(self, users: Int32, begin: Int64, end: Int64) -> tuple[Int64, Int64]:
        """Where the watches `[begin, end)` of some users stand in `items` and `times`, user by user.

        Args:
            begin, end: [users] counted from each user's first watch.

        Returns the row of `users` and the position of each of these watches: [watches] both.

        >>> Histories.of([[5, 6, 7], [8, 9]]).positions(np.array([2, 1]), np.array([1, 0]), np.array([2, 2]))
        (array([0, 1, 1]), array([4, 0, 1]))
        """
        first = self.offsets[users]
        return spans(first + begin, first + end)

    @property
    def lengths(self) -> Int64:
        """[users + 1] the number of watches of each user."""
        return np.diff(self.offsets)

    def before(self, time: int | Int64) -> Int64:
        """[users + 1] how many watches each user has strictly before a time, by binary search.

        Args:
            time: seconds since 1970: one for all or [users + 1].

        >>> Histories.of([[5, 6, 7], [8, 9]]).before(np.array([0, 2, 9])).tolist()
        [0, 2, 2]
        """
        low, high = np.array(self.offsets[:-1]), np.array(self.offsets[1:])
        limit = np.broadcast_to(time, low.shape)
        rows = np.flatnonzero(low < high)
        while len(rows):
            middle = (low[rows] + high[rows]) // 2
            earlier = self.times[middle] < limit[rows]
            low[rows[earlier]] = middle[earlier] + 1
            high[rows[~earlier]] = middle[~earlier]
            rows = rows[low[rows] < high[rows]]
        return low - self.offsets[:-1]


def spans(begin: Int64, end: Int64) -> tuple[Int64, Int64]:
    """All numbers of the half-open ranges `[begin, end)`, one range after the other.

    Args:
        begin, end: [ranges], no end below its begin.

    Returns the row of the range and the number: [numbers] both.

    >>> spans(np.array([4, 9, 0]), np.array([6, 9, 1]))
    (array([0, 0, 2]), array([4, 5, 0]))
    """
    counts = end - begin
    rows = np.repeat(np.arange(len(counts)), counts)
    return rows, np.arange(len(rows)) + (begin - (np.cumsum(counts) - counts))[rows]


_NAMES = ("items", "times", "offsets")
