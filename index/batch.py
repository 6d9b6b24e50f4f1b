"""Exact best items of many users: little more than the matrix product of their vectors and the items'. Arrays only.

A block of users meets the items tile by tile, small enough for the scores to stay in the cache. One comparison with
each user's threshold dismisses nearly all of them; what is left is kept sorted. The threshold is a guess. The items
are in random order, so the tiles seen so far are a sample: of the best k of all about `k * share` are among the
share seen, and hardly ever so many that the score at `_rank` would be too high. If it was, too few items reach the
highest threshold that was used, the user is searched again, and nothing is guessed this time.
"""

from collections.abc import Iterator
from itertools import pairwise
from math import ceil, sqrt

import numpy as np

from index.interface import NO_SCORE, Bool
from watchnext.features import Float32
from watchnext.histories import Int32, Int64

BLOCK_USERS = 512
"""Users of a block; with a tile they make 4 MB of scores."""
TILE_ITEMS = 2048
"""At most so many items a tile."""
GROUP = 16
"""At most so many scores of the first tile share a maximum."""
GROUPS_PER_PLACE = 8
"""At least so many maxima for each place of the threshold, so that few of the best share one."""
DEVIATIONS = 5
"""Standard deviations from the expected place to the threshold's: one user in 100,000 is searched again."""
_LOWEST = np.finfo(np.float32).min
_SEED = 0
_NUMPY_BUFFER = 1024


def small_buffers() -> None:
    """To be called first in a thread that searches.

    NumPy compares rows shorter than its buffer by way of the buffer, at four times the cost.
    """
    np.setbufsize(_NUMPY_BUFFER)


def row_length(width: int) -> int:
    """Floats from one row of scores to the next: an odd number of cache lines, which keeps rows of one column apart.

    With a power of two they share their place in the cache, and the matrix product takes a fifth longer.
    """
    return 16 * (-(-width // 16) | 1)


class BatchSearch:
    """Finds the items with the largest dot products for blocks of users, exactly.

    It holds one copy of the vectors, and 15 MB for each block that is searched at a time. Searching takes one thread
    beside BLAS: many blocks go through as many threads, with BLAS limited to one (`index.everyone`).

    Args:
        item_vectors: [items + 1, dim] float32.
        numbers: [findable] numbers of the items that can be found.
    """

    def __init__(self, item_vectors: Float32, numbers: Int32) -> None:
        numbers = np.random.default_rng(_SEED).permutation(numbers)
        self._numbers = numbers.astype(np.int64)  # [findable] by position
        self._position = np.full(len(item_vectors), -1, np.int64)
        self._position[numbers] = np.arange(len(numbers))
        count = -(-len(numbers) // TILE_ITEMS)
        self._starts = np.linspace(0, len(numbers), count + 1).astype(np.int64)  # [tiles + 1] positions
        vectors = np.asarray(item_vectors)
        self.tiles: list[Float32] = [  # [dim, items of the tile]
            np.ascontiguousarray(vectors[numbers[start:end]].T) for start, end in self._spans()
        ]

    def _spans(self) -> Iterator[tuple[int, int]]:
        return pairwise(self._starts.tolist())

    def search(self, queries: Float32, k: int, excluded: Int32, offsets: Int64) -> tuple[Float32, Int32]:
        """The best items of each query; equal scores are ordered by item number.

        Args:
            queries: [queries, dim] float32; about `BLOCK_USERS` of them.
            k: how many items a query gets, at least 1.
            excluded: [excluded] item numbers that a query must not get, query by query.
            offsets: [queries + 1] query q must not get `excluded[offsets[q]:offsets[q + 1]]`.

        Returns:
            Scores [queries, k], falling, and item numbers [queries, k]; -inf and 0 where fewer than k items are left.
        """
        rows = np.repeat(np.arange(len(queries)), np.diff(offsets))
        positions = self._position[excluded]
        there = positions >= 0
        rows, positions = rows[there], positions[there]
        keys, sure = self._keys(queries, k, rows, positions, DEVIATIONS)
        again = np.flatnonzero(~sure)
        if len(again):
            place = np.full(len(queries), -1)
            place[again] = np.arange(len(again))
            of_these = place[rows] >= 0
            keys[again] = self._keys(queries[again], k, place[rows[of_these]], positions[of_these], np.inf)[0]
        return _scores(keys), (keys & _NUMBER).astype(np.int32)

    def _keys(self, queries: Float32, k: int, rows: Int64, positions: Int64, deviations: float) -> tuple[Int64, Bool]:
        """[queries, k] keys, rising, and for each query whether they are certainly the best."""
        widest = max((tile.shape[1] for tile in self.tiles), default=0)
        best = _Best(len(queries), k, widest)
        scores = np.full((len(queries), best.stride), NO_SCORE, np.float32)
        mask = np.empty(scores.shape, bool)
        order = np.argsort(positions)
        bounds = np.searchsorted(positions[order], self._starts)
        places = (rows * best.stride + positions)[order]
        for number, (tile, (start, end)) in enumerate(zip(self.tiles, self._spans(), strict=True)):
            width = end - start
            np.matmul(queries, tile, out=scores[:, :width])
            scores[:, width:widest] = NO_SCORE
            scores.ravel()[places[bounds[number] : bounds[number + 1]] - start] = NO_SCORE
            rank = _rank(k, end / len(self._numbers), deviations)
            if number == 0:
                best.start(_lower_bound(scores[:, :width], rank))
            np.greater_equal(scores, best.threshold[:, None], out=mask)
            found = _true_places(mask)
            row = found // best.stride
            column = found - row * best.stride
            best.add(row, scores.ravel()[found], self._numbers[start + column])
            if best.is_full() or (number + 1) & number == 0:  # the tile is the first, second, fourth, eighth, ...
                best.sort(rank)
        return best.finish()


class _Best:
    """The best items so far of each query, as keys, and the threshold that others must reach.

    Args:
        k: how many are wanted.
        width: of the widest tile.
    """

    def __init__(self, queries: int, k: int, width: int) -> None:
        self.k = k
        self.stride = row_length(width)
        self._most = 2 * k + 64
        self._keys = np.empty((queries, self._most + self.stride), np.int64)
        self._count = np.zeros(queries, np.int64)
        self._first = np.arange(queries) * self._keys.shape[1]
        self.threshold = np.full(queries, _LOWEST)
        self._highest = self.threshold

    def start(self, threshold: Float32) -> None:
        """Set the first threshold, [queries]."""
        self.threshold = self._highest = threshold

    def add(self, row: Int64, scores: Float32, numbers: Int64) -> None:
        """Take items of a tile that reach the threshold, row by row: [found] all three."""
        more = np.bincount(row, minlength=len(self._count))
        first = self._first + self._count - (np.cumsum(more) - more)
        self._keys.ravel()[first[row] + np.arange(len(row))] = _pack(scores, numbers)
        self._count += more

    def is_full(self) -> bool:
        """Whether another tile might not fit."""
        return int(self._count.max(initial=0)) > self._most

    def sort(self, rank: int) -> None:
        """Sort, keep k, and let the score at a rank be the threshold wherever so many were found."""
        width = max(int(self._count.max(initial=0)), self.k)
        keys = self._keys[:, :width]
        keys[np.arange(width) >= self._count[:, None]] = _NONE
        keys.sort(axis=1)
        self.threshold = np.where(self._count >= rank, _scores(keys[:, rank - 1]), self.threshold)
        self._highest = np.maximum(self._highest, self.threshold)
        self._count = np.minimum(self._count, self.k)

    def finish(self) -> tuple[Int64, Bool]:
        """[queries, k] keys and [queries] whether no threshold was too high."""
        highest = self._highest
        self.sort(self.k)
        keys = self._keys[:, : self.k]
        return keys, (_scores(keys[:, -1]) >= highest) | (highest == _LOWEST)


def _rank(k: int, share: float, deviations: float) -> int:
    """The place in a sample, from 1 to k, whose score is hardly ever above the k-th of all.

    Args:
        share: of all items that are in the sample. The number of the best k among them is near a Poisson variable.
        deviations: how many standard deviations are allowed for; inf for a threshold that is never too high.
    """
    expected = k * share
    return k if deviations == np.inf else min(k, ceil(expected + deviations * sqrt(expected)) + 2)


def _lower_bound(scores: Float32, rank: int) -> Float32:
    """[queries] a score that at least `rank` of each row's [queries, width] reach: of as many groups the maximum."""
    width = scores.shape[1]
    size = max(1, min(GROUP, width // (GROUPS_PER_PLACE * rank)))
    groups = width // size
    if groups < rank:
        return np.full(len(scores), _LOWEST)
    maxima = scores[:, : size * groups].reshape(-1, size, groups).max(1) if size > 1 else scores
    bound: Float32 = np.maximum(np.partition(maxima, groups - rank, axis=1)[:, groups - rank], _LOWEST)
    return bound


def _true_places(mask: Bool) -> Int64:
    """The places in the flattened mask where it is True, rising, if these are few; its size is a multiple of 8."""
    words = mask.ravel().view(np.uint64)
    some = np.flatnonzero(words != 0)
    inside = np.flatnonzero(words[some].view(np.bool_))
    places: Int64 = 8 * some[inside >> 3] + (inside & 7)
    return places


_NUMBER = 0xFFFFFFFF
"""The part of a key that is the item number."""
_SIGNS = np.int32(0x7FFFFFFF)


def _pack(scores: Float32, numbers: Int64) -> Int64:
    """Keys that rise as scores fall, and with the number where scores are equal: [found] all.

    The bits of a float32, read as an integer, rise with it as long as it is positive, and fall where it is negative.

    >>> _pack(np.array([1, 2, 1, -1, -2, 0, -0.0], np.float32), np.array([8, 9, 7, 1, 2, 4, 3])).argsort().tolist()
    [1, 2, 0, 6, 5, 3, 4]
    """
    bits = (scores + np.float32(0)).view(np.int32)  # -0 + 0 is 0
    bits ^= (bits >> 31) & _SIGNS
    keys: Int64 = (~bits.astype(np.int64) << 32) | numbers
    return keys


def _scores(keys: Int64) -> Float32:
    """The scores of keys."""
    bits = ~(keys >> 32).astype(np.int32)
    scores: Float32 = (bits ^ ((bits >> 31) & _SIGNS)).view(np.float32)
    return scores


_NONE = _pack(np.array([NO_SCORE]), np.array([0]))[0]
"""The key of no item: it has no score and comes after all others."""
