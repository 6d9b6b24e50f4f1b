"""How sure a mean over users is: resampling of users (Efron and Tibshirani 1993, "An introduction to the bootstrap").

A resample draws as many users as there are, with replacement. All columns are resampled together: the weights of a
resample, how often each user was drawn, make one row of a matrix, and its product with the values gives all sums.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Float64 = NDArray[np.float64]

RESAMPLES = 1000
BLOCK_WEIGHTS = 1 << 22
"""Weights in memory at once: 32 MiB."""


class Estimate(NamedTuple):
    """A mean over users and its standard error; NaN where there is nothing to average."""

    value: float
    error: float


class Difference(NamedTuple):
    """How much higher one model's mean is than another's for the same users.

    Args:
        value: difference of the means.
        error: its standard error.
        low, high: 95 % interval, from the percentiles of the resamples.
        p: how likely a difference at least as large would be if there was none.
    """

    value: float
    error: float
    low: float
    high: float
    p: float


def resampled_means(values: Float64, resamples: int = RESAMPLES, seed: int = 0) -> Float64:
    """[resamples, columns] means of each column over resampled users.

    Args:
        values: [users, columns]; NaN where a column does not apply to a user, who then does not count in its mean.
    """
    users = len(values)
    applies = ~np.isnan(values)
    known, weight = np.where(applies, values, 0.0), applies.astype(np.float64)
    rng = np.random.default_rng([seed, 6])
    rows = max(1, BLOCK_WEIGHTS // max(users, 1))
    means = np.full((resamples, values.shape[1]), np.nan)
    for start in range(0, resamples, rows):
        drawn = _weights(rng, min(rows, resamples - start), users)
        counted = drawn @ weight
        np.divide(drawn @ known, counted, out=means[start : start + rows], where=counted > 0)
    return means


def _weights(rng: np.random.Generator, rows: int, users: int) -> Float64:
    """[rows, users] how often each user is drawn in each of some resamples."""
    drawn = rng.integers(0, users, (rows, users)) + users * np.arange(rows)[:, None]
    return np.bincount(drawn.ravel(), minlength=rows * users).reshape(rows, users).astype(np.float64)


def estimates(values: dict[str, Float64], resamples: int = RESAMPLES, seed: int = 0) -> dict[str, Estimate]:
    """The mean of each [users] array, with the spread of its resampled means as standard error.

    >>> estimates({"hr@10": np.array([0.0, 1.0, 1.0, 0.0])})["hr@10"].value
    0.5
    """
    if not values:
        return {}
    table = np.column_stack(list(values.values()))
    means, resampled = _means(table), resampled_means(table, resamples, seed)
    errors = [_spread(column) for column in resampled.T]
    return {name: Estimate(float(m), e) for name, m, e in zip(values, means, errors, strict=True)}


def paired(
    one: dict[str, Float64], other: dict[str, Float64], resamples: int = RESAMPLES, seed: int = 0
) -> dict[str, Difference]:
    """`one` minus `other` for each [users] array of both, row by row the same users.

    p is two-sided: the share of resamples whose difference is as far from the observed one as that is from 0, the
    observed one counted among them.
    """
    names = [name for name in one if name in other]
    if not names:
        return {}
    table = np.column_stack([one[name] - other[name] for name in names])
    means, resampled = _means(table), resampled_means(table, resamples, seed)
    return {name: _difference(float(m), r) for name, m, r in zip(names, means, resampled.T, strict=True)}


def _difference(value: float, resampled: Float64) -> Difference:
    resampled = resampled[~np.isnan(resampled)]
    if not len(resampled):
        return Difference(*[float("nan")] * 5)
    low, high = np.quantile(resampled, [0.025, 0.975])
    slack = 1e-12 * max(abs(value), 1e-300)  # rounding must not decide between equal differences
    as_far = int((np.abs(resampled - value) >= abs(value) - slack).sum())
    return Difference(value, _spread(resampled), float(low), float(high), (as_far + 1) / (len(resampled) + 1))


def _means(table: Float64) -> Float64:
    """[columns] means of what is not NaN."""
    counted = (~np.isnan(table)).sum(0)
    means = np.full(table.shape[1], np.nan)
    np.divide(np.nansum(table, 0), counted, out=means, where=counted > 0)
    return means


def _spread(resampled: Float64) -> float:
    """Standard deviation of what is not NaN; NaN for fewer than two."""
    known = resampled[~np.isnan(resampled)]
    return float(known.std(ddof=1)) if len(known) > 1 else float("nan")
