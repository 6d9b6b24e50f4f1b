"""Whether scores of answers are still distributed as they were when the release was loaded.

Scores drift where users, their histories or the way they are encoded are no more those that the release was trained
on, long before anybody has watched enough to measure accuracy again.
"""

import math
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np

from watchnext.features import Float32

BINS = 10
"""Deciles."""
LEAST = 500
"""So many scores are needed: by chance alone the index is about (BINS - 1) * (1 / reference + 1 / scores)."""


def population_stability_index(expected: Sequence[float], actual: Sequence[float]) -> float:
    """How far one distribution over bins is from another.

    PSI = sum over bins of (actual - expected) * ln(actual / expected)

    It is Jeffreys' divergence, the sum of both Kullback-Leibler divergences: never negative, the same both ways, 0
    for equal distributions. By the rule of thumb of credit scoring (N. Siddiqi, "Credit Risk Scorecards", 2006),
    below 0.1 nothing has changed, up to 0.25 something has that is worth a look, above it is another population.

    Args:
        expected: [bins] shares, each above 0, with the sum 1.
        actual: [bins] the same.

    >>> round(population_stability_index([0.5, 0.5], [0.25, 0.75]), 4)  # ln(3) / 4
    0.2747
    """
    return math.fsum((a - e) * math.log(a / e) for e, a in zip(expected, actual, strict=True))


def shares(counts: Sequence[float]) -> list[float]:
    """[bins] shares of counts, half a count added to each, so that an empty bin has a logarithm.

    >>> shares([1, 0])
    [0.75, 0.25]
    """
    total = sum(counts) + len(counts) / 2
    return [(count + 0.5) / total for count in counts]


@dataclass(frozen=True)
class ScoreReference:
    """How the best scores of answers were distributed when a release was loaded.

    Args:
        bounds: [BINS - 1] the deciles, never falling.
        counts: [BINS] scores of the sample between them; not all the same where scores are equal.
    """

    bounds: tuple[float, ...]
    counts: tuple[int, ...]

    @classmethod
    def of(cls, scores: Float32) -> Self | None:
        """The reference of a sample of scores; None where there are none."""
        if not len(scores):
            return None
        bounds = tuple(np.quantile(scores.astype(np.float64), np.arange(1, BINS) / BINS).tolist())
        bins = np.searchsorted(bounds, scores, side="right")
        return cls(bounds, tuple(np.bincount(bins, minlength=BINS).tolist()))

    def bin(self, score: float) -> int:
        """Which decile a score is in, 0 to 9."""
        return bisect_right(self.bounds, score)

    def drift(self, counts: Sequence[float]) -> float:
        """The population stability index of scores, counted by `bin`; NaN where they are fewer than `LEAST`."""
        if sum(counts) < LEAST:
            return math.nan
        return population_stability_index(shares(self.counts), shares(counts))
