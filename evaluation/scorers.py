"""What is evaluated: anything that scores all items for users whose histories are cut at given positions."""

from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np

from watchnext.features import Float32
from watchnext.histories import Int32, Int64
from watchnext.inputs import UserInputs
from watchnext.tower import UserTower


class Scorer(Protocol):
    """A recommender, seen from evaluation."""

    def scores(self, users: Int32, ends: Int64) -> Float32:
        """[users, items + 1] a score for every item, -inf (or NaN) for what it cannot recommend.

        The array is the caller's to write into. Several threads call this at once, each for other users: it must
        change nothing that they share, and its BLAS products run on one thread each.

        Args:
            users: [users] user numbers.
            ends: [users] how many of each user's first watches may be looked at.
        """
        ...


@dataclass(frozen=True)
class VectorScorer:
    """Dot products of user vectors, made by the tower from the visible prefix, with item vectors.

    Args:
        item_vectors: [items + 1, dim]; items whose vector is zero cannot be recommended.
        inputs: what the tower reads of users.
    """

    item_vectors: Float32
    tower: UserTower
    inputs: UserInputs

    def scores(self, users: Int32, ends: Int64) -> Float32:
        """[users, items + 1] dot products."""
        scores: Float32 = self.tower.user_vectors(*self.inputs.at(users, ends)) @ self.item_vectors.T
        scores[:, self._without_vector] = -np.inf
        return scores

    @cached_property
    def _without_vector(self) -> Int64:
        """Numbers of the items whose vector is zero."""
        return np.flatnonzero(~self.item_vectors.any(1))


@dataclass(frozen=True)
class Popularity:
    """The same list for everybody: items by how often they were watched.

    Args:
        counts: [items + 1] watches of each item in the part that was trained on.
    """

    counts: Int64

    def scores(self, users: Int32, ends: Int64) -> Float32:
        """[users, items + 1] the watch counts; never-watched items cannot be recommended."""
        one = np.where(self.counts > 0, self.counts, -np.inf).astype(np.float32)
        one[0] = -np.inf
        return np.repeat(one[None], len(users), 0)
