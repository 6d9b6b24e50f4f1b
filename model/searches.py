"""The mean of the last search tokens before each position, as one matrix product.

A position's tokens are a range of its user's: those before the label, the last `search_tokens` of them. Neighbouring
positions share nearly all of theirs, so the touched token rows are few, and a dense matrix of weights over them does
the averaging (and its gradient) for all positions at once. Paper, sections 3.3 to 3.5.
"""

from typing import NamedTuple

import numpy as np

from model.touched import touched
from watchnext.features import Float32
from watchnext.histories import Int32, Int64, spans


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
        position, flat = spans(starts, ends)
        rows, place = touched(tokens[flat])
        width = len(rows)
        weights = np.bincount(position * width + place, 1 / sizes[position], len(sizes) * width)
        return cls(rows, weights.reshape(len(sizes), width).astype(np.float32))
