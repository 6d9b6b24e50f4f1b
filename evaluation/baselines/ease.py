"""EASE: a linear model from watched items to items, in closed form (Steck 2019)."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from pydantic import Field
from scipy.linalg import lapack

from evaluation.baselines.interface import Baseline
from evaluation.baselines.matrix import training_matrix, watched_matrix
from watchnext.config import Closed
from watchnext.errors import UsageError
from watchnext.features import Float32
from watchnext.histories import Histories, Int32, Int64

BLOCK = 1024
"""Rows of a square matrix that are handled at once."""


class EaseSettings(Closed):
    """Settings of EASE."""

    regularisation: float = Field(100.0, gt=0)
    """Weight of the squared norm of B, lambda in the paper, in watches."""


@dataclass(frozen=True)
class EaseScorer:
    """Scores are the sum of the weights from each watched item.

    Args:
        weights: [known items, known items] from a watched item (row) to a scored one (column); the diagonal is 0.
        known: [known items] the numbers of the items that training saw.
        items: the number of items.
    """

    weights: Float32
    known: Int64
    items: int
    histories: Histories

    def scores(self, users: Int32, ends: Int64) -> Float32:
        """[users, items + 1] the rows of watched items times the weights."""
        scores = np.full((len(users), self.items + 1), -np.inf, np.float32)
        watched = watched_matrix(self.histories, users, ends, self.items)[:, self.known]
        scores[:, self.known] = watched @ self.weights
        return scores


class Ease(Baseline[EaseSettings]):
    """B that minimises |X - X B|² + lambda |B|² with a zero diagonal, for binary watches X [users, items].

    With P = (X'X + lambda I)^-1 it is B[i, j] = -P[i, j] / P[j, j] off the diagonal. Harald Steck, *Embarrassingly
    Shallow Autoencoders for Sparse Data*, WWW 2019. Computed in float32 by a Cholesky factorisation in place.

    Args:
        memory: bytes for X'X, the best B so far and the next; 12 * items² are needed, while tuning.
    """

    name = "ease"
    grid = tuple(EaseSettings(regularisation=weight) for weight in (100, 10, 30, 300, 1000))

    def __init__(self, memory: int = 8 << 30) -> None:
        self.memory = memory

    def fit(self, histories: Histories, ends: Int64, items: int, settings: EaseSettings, seed: int) -> EaseScorer:
        """Fit for one lambda. Raises UsageError when there are too many items for the memory."""
        return next(self.fit_each(histories, ends, items, [settings], seed))

    def fit_each(
        self, histories: Histories, ends: Int64, items: int, grid: Sequence[EaseSettings], seed: int
    ) -> Iterator[EaseScorer]:
        """Fit for several lambda, with one X'X."""
        watched = training_matrix(histories, ends, items)
        known = np.flatnonzero(watched.getnnz(axis=0))
        self._refuse_too_many(len(known))
        gram = _gram(watched[:, known])
        for settings in grid:
            yield EaseScorer(_weights(gram, settings.regularisation), known, items, histories)

    def _refuse_too_many(self, items: int) -> None:
        limit = int((self.memory / 12) ** 0.5)
        if items > limit:
            raise UsageError(
                "baseline ease",
                f"{items:,} items, which need {12 * items**2 / 2**30:.1f} GiB",
                f"Leave ease out, ingest with a higher --min-item-watches until at most {limit:,} items are left, "
                "or allow it more: Ease(memory=...).",
            )


def _gram(watched: Any) -> Float32:
    """[items, items] X'X, in how many histories two items are together; made by blocks of rows."""
    transposed, items = watched.T.tocsr(), watched.shape[1]
    gram = np.empty((items, items), np.float32)
    for start in range(0, items, BLOCK):
        gram[start : start + BLOCK] = (transposed[start : start + BLOCK] @ watched).toarray()
    return gram


def _weights(gram: Float32, regularisation: float) -> Float32:
    """[items, items] B of EASE from X'X."""
    inverse = gram.copy(order="F")
    inverse[np.diag_indices_from(inverse)] += regularisation
    inverse, failed = lapack.spotrf(inverse, lower=1, overwrite_a=1)
    inverse, failed = lapack.spotri(inverse, lower=1, overwrite_c=1) if not failed else (inverse, failed)
    if failed:
        raise UsageError(
            "ease regularisation", regularisation, "Give a larger one: the matrix is singular in float32."
        )
    weights: Float32 = inverse.T  # [items, items] in C order; its upper triangle is filled
    _mirror_upper(weights)
    weights /= -np.diag(weights).copy()
    np.fill_diagonal(weights, 0)
    return weights


def _mirror_upper(matrix: Float32) -> None:
    """Make a square matrix symmetric, from its upper triangle, in place and by blocks."""
    for start in range(0, len(matrix), BLOCK):
        end = start + BLOCK
        corner = np.triu(matrix[start:end, start:end])
        matrix[start:end, start:end] = corner + np.triu(corner, 1).T
        matrix[end:, start:end] = matrix[start:end, end:].T
