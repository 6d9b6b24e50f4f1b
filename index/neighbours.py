"""Which items lie near an item, or near a sum of items: exact search over the vectors of an export.

The index does not help here: it knows item vectors and dot products only. Knows nothing of users and HTTP.
"""

from collections.abc import Sequence
from functools import cached_property
from typing import Literal, get_args

import numpy as np

from index.candidates import Candidate, candidates
from index.denied import DeniedItems
from index.exact import largest
from index.interface import NO_SCORE
from watchnext.errors import CorruptError, UsageError
from watchnext.export import Export
from watchnext.features import Float32
from watchnext.histories import Int32

Measure = Literal["cosine", "dot", "euclidean"]
VectorsName = Literal["item", "watched"]
MEASURES: tuple[Measure, ...] = get_args(Measure)
VECTORS: tuple[VectorsName, ...] = get_args(VectorsName)
"""`item`: what is scored, `item_vectors` of an export; `watched`: input embeddings, `watched_vectors`."""

_BLOCK = 8192
"""Rows whose differences from a query are in memory at a time."""
_CANCELLED = 1e-6
"""A sum shorter than this share of its terms' lengths is rounding, not a direction."""


class Neighbours:
    """Finds the nearest items in an export; all methods may be called from several threads at once.

    The measures, for a query q and the vector x of an item:

        cosine     x . q / (|x| |q|)   largest first; from -1 to 1
        dot        x . q               largest first, so that long vectors come before short ones
        euclidean  |x - q|             smallest first: a distance

    Equal scores are ordered by item number. Items whose vector is zero (never trained) are not found, nor are
    withdrawn ones.

    Args:
        export: its vectors may be memory-mapped; they are read where they lie. The lengths of all vectors are taken
            at the first question: 4 bytes an item stay in memory.
        denied: items that are not found; they may be asked for. None denies nothing.
    """

    def __init__(self, export: Export, denied: DeniedItems | None = None) -> None:
        self.export, self._denied = export, denied
        self._tables = {
            "item": _Table("item_vectors", export.item_vectors, export.withdrawn),
            "watched": _Table("watched_vectors", export.watched_vectors, export.withdrawn),
        }

    def has_vector(self, number: int, vectors: VectorsName = "item") -> bool:
        """Whether an item can be asked for: its vector is not zero, and it is not withdrawn."""
        return bool(self._tables[vectors].lengths[number])

    def similar(
        self, number: int, k: int, measure: Measure = "cosine", vectors: VectorsName = "item"
    ) -> list[Candidate]:
        """The `k` items nearest to one, nearest first, without itself; fewer where no more have a vector.

        Args:
            number: the item, from 1.
            k: at least 1.
            measure: what near means; the score is its value.
            vectors: of which table.

        Raises UsageError for an item without a vector and k below 1, IndexError for a number that no item has.
        """
        return self.analogy([number], [], k, measure, vectors)

    def analogy(
        self,
        positive: Sequence[int],
        negative: Sequence[int],
        k: int,
        measure: Measure = "cosine",
        vectors: VectorsName = "item",
    ) -> list[Candidate]:
        """The `k` items nearest to a sum of items, nearest first, without these: Madrid - Spain + France is Paris.

        The query is the sum of the positive items' vectors minus those of the negative ones. For `cosine` each of
        them is scaled to length 1 before, which is 3CosAdd (Mikolov, Yih, Zweig 2013, "Linguistic Regularities in
        Continuous Space Word Representations"; so named by Levy and Goldberg 2014, "Linguistic Regularities in Sparse
        and Explicit Word Representations"); the score is the cosine with the sum. `dot` and `euclidean` add the
        vectors as they are; `euclidean` is then the distance from the fourth corner of the parallelogram.

        Args:
            positive: numbers of the items that are added, at least one.
            negative: numbers of the items that are taken off.
            k: at least 1.
            measure: what near means; the score is its value.
            vectors: of which table.

        Raises UsageError for an item without a vector, items that cancel each other out, no positive item and k below
        1; IndexError for a number that no item has.
        """
        if k < 1:
            raise UsageError("k", k, "Ask for at least 1 item.")
        if not positive:
            raise UsageError("positive items", "none", "Name at least one.")
        table, asked = self._tables[vectors], [*positive, *negative]
        for number, id_ in zip(asked, self.export.items.ids(asked), strict=True):
            if not table.lengths[number]:
                got = "no vector: training has not seen it, or it is withdrawn"
                raise UsageError(f"item {id_!r}", got, "Ask for an item that was watched.")
        signs = np.repeat([1.0, -1.0], [len(positive), len(negative)])
        scores = table.scores(_query(table.rows[asked], signs, measure), measure)
        scores[asked] = NO_SCORE
        if self._denied is not None:
            scores[self._denied.now().numbers] = NO_SCORE
        found, numbers = largest(scores[None], min(k, len(scores)))
        return candidates(self.export, numbers[0], -found[0] if measure == "euclidean" else found[0])


def _query(terms: Float32, signs: np.ndarray[tuple[int], np.dtype[np.float64]], measure: Measure) -> Float32:
    """[dim] the sum of `terms` [terms, dim] with their `signs` [terms]; of length 1 for `cosine`."""
    rows = terms.astype(np.float64)
    lengths = np.linalg.norm(rows, axis=1)
    if measure == "cosine":
        rows, lengths = rows / lengths[:, None], np.ones_like(lengths)
    query = signs @ rows
    length = np.linalg.norm(query)
    if length <= _CANCELLED * lengths.sum():
        raise UsageError("items", "terms that cancel each other out", "Name others.")
    return (query / length if measure == "cosine" else query).astype(np.float32)


class _Table:
    """One table of vectors, `rows` [items + 1, dim], without those of `withdrawn` items."""

    def __init__(self, name: str, rows: Float32, withdrawn: Int32) -> None:
        self.name, self.rows = name, np.asarray(rows)  # a view: slices of a memmap are slow to take
        self._withdrawn = withdrawn

    @cached_property
    def lengths(self) -> Float32:
        """[items + 1] lengths; 0 for row 0 and withdrawn items. Two threads that ask first compute the same."""
        lengths: Float32 = np.sqrt(np.einsum("nd,nd->n", self.rows, self.rows, dtype=np.float64)).astype(np.float32)
        if not np.isfinite(lengths).all():
            raise CorruptError(self.name, "a value that is not finite", "Train again, with a smaller learning rate.")
        lengths[0] = lengths[self._withdrawn] = 0
        return lengths

    def scores(self, query: Float32, measure: Measure) -> Float32:
        """[items + 1] how near every item is to `query` [dim], the largest nearest; -inf for those without a vector.

        Row by row, not as one matrix product, whose kernels round equal rows differently: ties must stay ties.
        """
        scores = np.empty(len(self.rows), np.float32)
        if measure == "euclidean":
            # Not from lengths and dot products, whose difference has no digits left where vectors are near.
            for start in range(0, len(self.rows), _BLOCK):
                rows = slice(start, start + _BLOCK)
                apart = self.rows[rows] - query
                np.vecdot(apart, apart, out=scores[rows])
            scores = -np.sqrt(scores)
        else:
            np.vecdot(self.rows, query, out=scores)
            if measure == "cosine":
                np.divide(scores, self.lengths, out=scores, where=self.lengths > 0)
                np.clip(scores, -1, 1, out=scores)
        scores[self.lengths == 0] = NO_SCORE
        return scores
