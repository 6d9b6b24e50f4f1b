"""Full ranking: where the held-out watches stand among all items that the user has not watched before."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from evaluation.scorers import Scorer
from watchnext.histories import Histories, Int32, Int64

BLOCK_SCORES = 1 << 25
"""Scores computed at once: 128 MiB of float32."""


@dataclass(frozen=True)
class Ranks:
    """One row for each target, that is each distinct held-out item of each user.

    Args:
        user: [targets] user numbers, rising.
        greater: [targets] items that score higher; the number of candidates where the target cannot be found.
        equal: [targets] other items with the same score.
    """

    user: Int32
    greater: Int64
    equal: Int64


def rank_targets(
    scorer: Scorer,
    histories: Histories,
    begin: Int64,
    end: Int64,
    users: Int32,
    advance: Callable[[int], None] = lambda _: None,
) -> Ranks:
    """Rank the watches `[begin, end)` of users given those before `begin`; everything before is excluded.

    A target that the user has watched before, or that the scorer cannot recommend, is a miss: it stays in the count
    with the worst rank, since a service that excludes watched items could not have shown it.

    Args:
        begin, end: [users + 1] positions in the histories.
        users: the user numbers to rank for.
        advance: called with the number of users done.
    """
    rows: list[tuple[int, int, int]] = []
    size: int | None = None
    start = 0
    while start < len(users):
        block = users[start : start + (size or 1)]
        scores = scorer.scores(block, begin[block])
        for user, row in zip(block.tolist(), scores, strict=True):
            history = histories[user]
            seen, targets = history[: begin[user]], np.unique(history[begin[user] : end[user]])
            row[seen] = -np.inf
            row[0] = -np.inf
            rows.extend((user, *place) for place in _places(row, targets))
        start += len(block)
        advance(len(block))
        size = max(1, min(512, BLOCK_SCORES // scores.shape[1]))
    table = np.array(rows, np.int64).reshape(-1, 3)
    return Ranks(table[:, 0].astype(np.int32), table[:, 1], table[:, 2])


def _places(row: np.ndarray, targets: Int32) -> list[tuple[int, int]]:
    places = []
    for score in row[targets]:
        if score == -np.inf or np.isnan(score):
            places.append((len(row), 0))
        else:
            places.append((int((row > score).sum()), int((row == score).sum()) - 1))
    return places
