"""The mean of the last search tokens before each position, as one matrix product.

A position's tokens are a range of its user's: those before the label, the last `search_tokens` of them. Neighbouring
positions share nearly all of theirs, so the touched token rows are few, and a dense matrix of weights over them does
the averaging (and its gradient) for all positions at once. Paper, sections 3.3 to 3.5.
"""

from typing import NamedTuple

import numpy as np

from model.pieces import spread
from watchnext.features import Float32
from watchnext.histories import Int32, Int64

LEAST = 256
"""Rows are padded to a power of two from this on, so that XLA compiles few shapes."""


class Bags(NamedTuple):
    """Averages over search tokens for the positions of a batch."""

    tokens: Int32
    """[touched] token numbers, each once; the rest is 0."""
    weights: Float32
    """[positions, touched] the share of a token in a position's average; rows without searches are 0."""

    @classmethod
    def of(cls, tokens: Int32, starts: Int64, ends: Int64) -> "Bags":
        """Averages over the ranges `tokens[starts[i]:ends[i]]`, one for each position.

        >>> bags = Bags.of(np.array([5, 7, 5, 5], np.int32), np.array([0, 0]), np.array([4, 0]))
        >>> bags.tokens[:2].tolist(), bags.weights[:, :2].tolist()
        ([5, 7], [[0.75, 0.25], [0.0, 0.0]])
        """
        sizes = ends - starts
        flat, position, _ = spread(starts, sizes)
        rows, place = touched(tokens[flat])
        width = len(rows)
        weights = np.bincount(position * width + place, 1 / sizes[position], len(sizes) * width)
        return cls(rows, weights.reshape(len(sizes), width).astype(np.float32))


def touched(numbers: Int32) -> tuple[Int32, Int32]:
    """The numbers, each once and padded with 0, and the place of each among them.

    >>> rows, places = touched(np.array([7, 5, 7], np.int32))
    >>> rows[:3].tolist(), len(rows), places.tolist()
    ([5, 7, 0], 256, [1, 0, 1])
    """
    found, places = np.unique(numbers, return_inverse=True)
    padded = np.zeros(max(LEAST, 1 << int(max(len(found), 1) - 1).bit_length()), np.int32)
    padded[: len(found)] = found
    return padded, places.astype(np.int32)
