"""Which items the true one is told from: drawn from a background distribution, or all of them."""

from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from watchnext.config import TrainingConfig
from watchnext.errors import TrainingError
from watchnext.features import Float32
from watchnext.histories import Int32, Int64


class Negatives(NamedTuple):
    """What a batch's labels are told from."""

    items: Int32
    """[negatives] item numbers."""
    log_q: Float32
    """[negatives] is taken off their scores."""
    label_log_q: Float32
    """[examples] is taken off the scores of the true items."""


@dataclass(frozen=True)
class Noise:
    """Draws item numbers with replacement, each with probability proportional to count^exponent.

    Items that training never saw are never drawn.

    Args:
        probabilities: [items + 1] of each item.
    """

    probabilities: NDArray[np.float64]

    @classmethod
    def of(cls, counts: Int64, exponent: float) -> Self:
        """The distribution for watch counts: [items + 1], row 0 ignored. Raises TrainingError where all are 0.

        >>> Noise.of(np.array([0, 3, 1]), 1.0).probabilities.tolist()
        [0.0, 0.75, 0.25]
        """
        seen = seen_counts(counts)
        weights = np.where(seen > 0, np.maximum(seen, 1.0) ** exponent, 0.0)
        return cls(weights / weights.sum())

    @cached_property
    def _cumulative(self) -> NDArray[np.float64]:
        return np.cumsum(self.probabilities)

    def draw(self, rng: np.random.Generator, size: int) -> Int32:
        """[size] item numbers."""
        cdf = self._cumulative
        last = np.searchsorted(cdf, cdf[-1])
        drawn: Int32 = np.minimum(np.searchsorted(cdf, rng.random(size), side="right"), last).astype(np.int32)
        return drawn


def seen_counts(counts: Int64) -> Int64:
    """[items + 1] the counts without row 0's. Raises TrainingError where none is left."""
    seen = np.where(np.arange(len(counts)) > 0, counts, 0)
    if not seen.any():
        raise TrainingError("corpus", "no watch to train on", "Ingest a log with more watches a user.")
    return seen


@dataclass(frozen=True)
class NegativeSampler:
    """Draws negatives, or takes all items once, and corrects for the drawing.

    Paper, section 3.1: "sample negative classes from the background distribution and then correct for this sampling
    via importance weighting". With a share of the negatives drawn from the labels of the batch, which follow the
    counts themselves, Q is the mixture of both.

    Args:
        log_q: [items + 1] log of the probability of each item, -inf where it is 0.
        noise: what is not drawn from the batch.
    """

    log_q: Float32
    noise: Noise
    config: TrainingConfig

    @classmethod
    def of(cls, counts: Int64, config: TrainingConfig) -> Self:
        """The distribution for watch counts: [items + 1], row 0 ignored.

        >>> sampler = NegativeSampler.of(np.array([0, 3, 1]), TrainingConfig(noise_exponent=1.0))
        >>> np.exp(sampler.log_q).round(2).tolist()
        [0.0, 0.75, 0.25]
        """
        seen, noise = seen_counts(counts), Noise.of(counts, config.noise_exponent)
        q = (1 - config.in_batch) * noise.probabilities + config.in_batch * seen / seen.sum()
        with np.errstate(divide="ignore"):
            return cls(np.log(q).astype(np.float32), noise, config)

    def draw(self, labels: Int32, epoch: int, batch: int) -> Negatives:
        """Negatives for the labels of a batch (0 is padding); the same for the same seed, epoch, batch and labels."""
        if self.config.loss != "sampled":  # hierarchical softmax needs none
            items = self._seen if self.config.loss == "full" else self._seen[:0]
            return Negatives(items, np.zeros(len(items), np.float32), np.zeros(len(labels), np.float32))
        rng = np.random.default_rng([self.config.seed, 2, epoch, batch])
        items = self.noise.draw(rng, self.config.negatives)
        true = labels[labels > 0]
        borrowed = round(self.config.in_batch * len(items)) if len(true) else 0
        items[:borrowed] = rng.choice(true, borrowed)
        return Negatives(items, self.log_q[items], self._of_labels(labels))

    @cached_property
    def _seen(self) -> Int32:
        """All items that training sees."""
        return np.flatnonzero(np.isfinite(self.log_q)).astype(np.int32)

    def _of_labels(self, labels: Int32) -> Float32:
        if not self.config.corrected_positive:  # it stands for exp(score), each negative for exp(score) / (S Q)
            return np.full(len(labels), -np.log(self.config.negatives), np.float32)
        return np.where(labels > 0, self.log_q[labels], np.float32(0))
