"""iALS: matrix factorisation of watched and unwatched items by alternating least squares, with `implicit`."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from threadpoolctl import threadpool_limits

from evaluation.baselines.interface import Baseline, baseline_library
from evaluation.baselines.matrix import only, training_matrix, watched_matrix
from watchnext.config import Closed
from watchnext.features import Float32
from watchnext.histories import Histories, Int32, Int64


class IalsSettings(Closed):
    """Settings of iALS."""

    factors: int = Field(256, ge=1)
    """Dimensions of user and item factors."""
    alpha: float = Field(20.0, gt=0)
    """Weight of a watch against that of an item that was not watched, 1."""
    regularisation: float = Field(10.0, gt=0)
    """Weight of the squared norms of all factors."""
    iterations: int = Field(16, ge=1)
    """How often user and item factors are solved for in turn (Rendle et al.: 16)."""


@dataclass(frozen=True)
class IalsScorer:
    """Scores are dot products; the user's factors are solved for anew from the visible prefix.

    Args:
        model: a fitted `implicit` model, only read here.
        known: [items + 1] which items training saw.
    """

    model: Any
    known: NDArray[np.bool_]
    histories: Histories

    def user_factors(self, users: Int32, ends: Int64) -> Float32:
        """[users, factors] the least squares solution for each user's first `ends` watches."""
        watched = watched_matrix(self.histories, users, ends, len(self.known) - 1)
        with _one_blas_thread():
            factors: Float32 = self.model.recalculate_user(np.arange(len(users)), watched)
        return factors

    def scores(self, users: Int32, ends: Int64) -> Float32:
        """[users, items + 1] user factors times item factors."""
        return only(self.user_factors(users, ends) @ self.model.item_factors.T, self.known)


class Ials(Baseline[IalsSettings]):
    """Factors that minimise the sum over all users and items of c (p - x.y)² + regularisation * (|x|² + |y|²).

    p is 1 and c is alpha where the user watched the item, p is 0 and c is 1 elsewhere. Hu, Koren and Volinsky,
    *Collaborative Filtering for Implicit Feedback Datasets*, ICDM 2008; tuned as in Rendle, Krichene, Zhang and
    Koren, *Revisiting the Performance of iALS on Item Recommendation Benchmarks*, RecSys 2022, whose unobserved
    weight is 1 / alpha here. `implicit` regularises all users and items alike, without their scaling by frequency.
    """

    name = "ials"
    grid = tuple(
        IalsSettings(factors=factors, alpha=alpha, regularisation=weight)
        for factors in (256, 64)
        for alpha in (20, 5, 80)
        for weight in (10, 50)
    )

    def fit(self, histories: Histories, ends: Int64, items: int, settings: IalsSettings, seed: int) -> IalsScorer:
        """Fit with `implicit`. Raises UsageError when it is not installed."""
        als = baseline_library("implicit.cpu.als")
        watched = training_matrix(histories, ends, items)
        with _one_blas_thread():
            model = als.AlternatingLeastSquares(
                factors=settings.factors,
                alpha=settings.alpha,
                regularization=settings.regularisation,
                iterations=settings.iterations,
                random_state=seed,
            )
            model.fit(watched, show_progress=False)
            _ = model.YtY  # cached by the model, so that scoring only reads it
        return IalsScorer(model, watched.getnnz(axis=0) > 0, histories)


_LIMITING = Lock()


@contextmanager
def _one_blas_thread() -> Iterator[None]:
    """Keep BLAS to one thread: `implicit` has threads of its own, each of which solves small systems.

    The limit is the whole process's, so only one caller at a time may set and restore it.
    """
    with _LIMITING, threadpool_limits(1, "blas"):
        yield
