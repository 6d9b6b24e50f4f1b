"""What the training part of a log shows of each item: the yardstick of popularity."""

from dataclasses import dataclass
from typing import Self

import numpy as np

from watchnext.histories import Histories, Int64

RARE = 5
BUCKETS = ("head", "middle", "tail", "rare", "untrained")
"""A third of the training watches each, from the most to the least popular items; then items with fewer than `RARE`
watches, wherever these are, and items without any."""


@dataclass(frozen=True)
class TrainingCounts:
    """How often items are watched in the part that was trained on.

    Args:
        watches: [items + 1] watches of each item.
        viewers: [items + 1] different users who watched each item.
        users: users with at least one watch.
    """

    watches: Int64
    viewers: Int64
    users: int

    @classmethod
    def of(cls, histories: Histories, train: Int64, items: int) -> Self:
        """Count the watches `[0, train)` of each user.

        >>> TrainingCounts.of(Histories.of([[1, 1, 2], [1]]), np.array([0, 2, 1]), 2).watches.tolist()
        [0, 3, 0]
        """
        users = np.arange(len(histories), dtype=np.int32)
        row, position = histories.positions(users, np.zeros_like(train), train)
        watched = histories.items[position]
        once = np.unique(row * (items + 1) + watched) % (items + 1)
        return cls(
            np.bincount(watched, minlength=items + 1),
            np.bincount(once, minlength=items + 1),
            int((train > 0).sum()),
        )

    def buckets(self) -> Int64:
        """[items + 1] which of `BUCKETS` each item is in.

        An item is in the head if the more popular ones have less than a third of all watches together.
        """
        order = np.argsort(-self.watches, kind="stable")
        before = np.cumsum(self.watches[order]) - self.watches[order]
        bucket = np.empty(len(order), np.int64)
        bucket[order] = np.minimum(3 * before // max(int(self.watches.sum()), 1), 2)
        bucket[self.watches < RARE] = 3
        bucket[self.watches == 0] = 4
        return bucket
