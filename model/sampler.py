"""The background distribution of sampled softmax: negatives drawn from it, and log Q to correct for it."""

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from watchnext.errors import TrainingError
from watchnext.features import Float32
from watchnext.histories import Int32, Int64


@dataclass(frozen=True)
class NegativeSampler:
    """Draws item numbers with replacement, each with probability proportional to count^exponent.

    Items that training never saw are never drawn. Paper, section 3.1: "sample negative classes from the background
    distribution and then correct for this sampling via importance weighting".

    Args:
        log_q: [items + 1] log of the probability of each item, -inf where it is 0.
        cdf: [items + 1] cumulative probabilities.
    """

    log_q: Float32
    cdf: NDArray[np.float64]
    seed: int

    @classmethod
    def of(cls, counts: Int64, exponent: float, seed: int) -> Self:
        """The distribution for watch counts: [items + 1], row 0 ignored.

        >>> sampler = NegativeSampler.of(np.array([0, 3, 1]), exponent=1.0, seed=0)
        >>> np.exp(sampler.log_q).round(2).tolist()
        [0.0, 0.75, 0.25]
        """
        weights = np.where(counts > 0, np.maximum(counts, 1.0) ** exponent, 0.0)
        weights[0] = 0.0
        if not weights.any():
            raise TrainingError("corpus", "no watch to train on", "Ingest a log with more watches a user.")
        q = weights / weights.sum()
        with np.errstate(divide="ignore"):
            return cls(np.log(q).astype(np.float32), np.cumsum(q), seed)

    def draw(self, size: int, epoch: int, batch: int) -> Int32:
        """[size] item numbers; the same for the same (seed, epoch, batch)."""
        uniform = np.random.default_rng([self.seed, 2, epoch, batch]).random(size)
        last = np.searchsorted(self.cdf, self.cdf[-1])
        numbers: Int32 = np.minimum(np.searchsorted(self.cdf, uniform, side="right"), last).astype(np.int32)
        return numbers
