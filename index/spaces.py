"""Where FAISS searches: among the vectors as they are, or where the largest dot product is the nearest neighbour.

Knows nothing of kinds of index. Whatever a space does to the scores, `FaissIndex` scores what was found there again.
"""

from typing import Any, Literal, get_args

import faiss
import numpy as np

from watchnext.features import Float32

Space = Literal["dot", "l2", "cosine"]
"""
`dot`: the inner product of the vectors as they are. Graphs lose recall with it where lengths differ much.
`l2`: x becomes (x / M, sqrt(1 - |x|^2 / M^2)), where M is the largest length, and q becomes (q / |q|, 0). All of them
lie on one sphere, where the nearest item is that of the largest dot product (Bachrach et al. 2014, "Speeding Up the
Xbox Recommender System Using a Euclidean Transformation for Inner-Product Spaces").
`cosine`: items are scaled to length 1. Finds directions only, so that more candidates have to be scored again.
"""
SPACES: tuple[Space, ...] = get_args(Space)
_WIDTH = 16
"""FAISS's scalar quantisers are fast for multiples of so many dimensions."""
_TINY = np.float32(1e-30)
_faiss: Any = faiss


def metric(space: Space) -> int:
    """FAISS's number of the measure that it compares vectors of a space by."""
    return int(_faiss.METRIC_L2 if space == "l2" else _faiss.METRIC_INNER_PRODUCT)


def lengths(vectors: Float32) -> Float32:
    """[rows] Euclidean lengths of vectors [rows, dim]."""
    found: Float32 = np.sqrt(np.vecdot(vectors, vectors))
    return found


def skew(vectors: Float32) -> float:
    """How much the lengths of vectors [rows, dim] differ; 1 where they don't.

    How many times as long as the shortest hundredth the longest is, or as the median the longest of all, whichever is
    more: a few very long vectors are the best of most queries, and a graph leads to them alone.
    """
    shortest, middle, long, longest = np.quantile(lengths(vectors), [0.01, 0.5, 0.99, 1])
    return float(max(long / shortest, longest / middle))


def items_in(space: Space, vectors: Float32, longest: float) -> Float32:
    """Item vectors [rows, dim] as they lie in a space, contiguous.

    Args:
        longest: the largest length of all items, not only of these rows.

    >>> items_in("l2", np.array([[0, 0.6], [1, 0]], np.float32), 1.0)[:, :3].round(4).tolist()
    [[0.0, 0.6000000238418579, 0.800000011920929], [1.0, 0.0, 0.0]]
    """
    vectors = np.ascontiguousarray(vectors, np.float32)
    if space == "dot":
        return vectors
    norms = lengths(vectors)
    if space == "cosine":
        return vectors / norms[:, None]
    added = _widened(vectors / np.float32(longest))
    added[:, vectors.shape[1]] = np.sqrt(np.maximum(1 - (norms / np.float32(longest)) ** 2, 0))
    return added


def queries_in(space: Space, queries: Float32) -> Float32:
    """Queries [rows, dim] as they lie in a space, contiguous."""
    queries = np.ascontiguousarray(queries, np.float32)
    if space != "l2":
        return queries
    norms: Float32 = np.maximum(lengths(queries), _TINY)
    return _widened(queries / norms[:, None])


def _widened(vectors: Float32) -> Float32:
    """[rows, a multiple of 16] vectors [rows, dim] with at least one more dimension, of zeros."""
    rows, dim = vectors.shape
    added = np.zeros((rows, -(-(dim + 1) // _WIDTH) * _WIDTH), np.float32)
    added[:, :dim] = vectors
    return added
