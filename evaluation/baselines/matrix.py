"""Watched items as a sparse binary matrix, which most baselines start from."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from watchnext.errors import TrainingError
from watchnext.features import Float32
from watchnext.histories import Histories, Int32, Int64


def prefix_positions(histories: Histories, users: Int32, ends: Int64) -> Int64:
    """[sum of ends] where the first `ends` watches of each user are in the flat arrays, user after user.

    Args:
        users: [users] user numbers.
        ends: [users] how many of each user's first watches to take.
    """
    before = np.cumsum(ends) - ends
    positions: Int64 = np.repeat(histories.offsets[users] - before, ends) + np.arange(ends.sum())
    return positions


def watched_matrix(histories: Histories, users: Int32, ends: Int64, items: int) -> Any:
    """[users, items + 1] sparse rows: 1 for every item among the first `ends` watches of a user, however often.

    Args:
        users: [users] user numbers.
        ends: [users] how many of each user's first watches count.
        items: the number of items.
    """
    columns = histories.items[prefix_positions(histories, users, ends)]
    starts = np.concatenate([[0], np.cumsum(ends)])
    matrix = sparse.csr_matrix((np.ones(len(columns), np.float32), columns, starts), shape=(len(users), items + 1))
    matrix.sum_duplicates()
    matrix.data[:] = 1
    return matrix


def training_matrix(histories: Histories, ends: Int64, items: int) -> Any:
    """[users + 1, items + 1] sparse: 1 for every item among the first `ends` watches of each user.

    Args:
        ends: [users + 1] how many of each user's first watches are trained on.

    Raises TrainingError when that is nothing at all.
    """
    refuse_empty(ends)
    return watched_matrix(histories, np.arange(len(histories), dtype=np.int32), ends, items)


def training_counts(histories: Histories, ends: Int64, items: int) -> Int64:
    """[items + 1] how often each item is among the first `ends` watches of all users.

    Raises TrainingError when there is no watch to train on.
    """
    refuse_empty(ends)
    positions = prefix_positions(histories, np.arange(len(histories), dtype=np.int32), ends)
    return np.bincount(histories.items[positions], minlength=items + 1)


def refuse_empty(ends: Int64) -> None:
    """Raise TrainingError when there is no watch to train on."""
    if not ends.any():
        raise TrainingError("watches to train on", 0, "Ingest more watches, or choose another holdout.")


def only(scores: Float32, known: NDArray[np.bool_]) -> Float32:
    """Set the scores of items that training never saw, and of row 0, to -inf, in place.

    Args:
        scores: [users, items + 1].
        known: [items + 1] which items training saw.
    """
    scores[:, ~known] = -np.inf
    scores[:, 0] = -np.inf
    return scores
