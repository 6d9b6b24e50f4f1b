"""Item-kNN: items whose watchers are those of the items a user has watched."""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from scipy import sparse

from evaluation.baselines.interface import Baseline
from evaluation.baselines.matrix import only, training_matrix, watched_matrix
from watchnext.config import Closed
from watchnext.features import Float32
from watchnext.histories import Histories, Int32, Int64

BLOCK = 1024
"""Items whose neighbours are looked for at once."""


class ItemKnnSettings(Closed):
    """Settings of item-kNN."""

    neighbours: int = Field(100, ge=1)
    """How many of the most similar items each item keeps."""
    shrinkage: float = Field(0.0, ge=0)
    """Added to the denominator of the cosine, so that few watchers in common count for little."""
    weighting: Literal["none", "idf"] = "none"
    """How much a user's watches weigh: all the same, or `idf`: those of users who watch nearly everything weigh
    less, log(items / watched items)."""


@dataclass(frozen=True)
class ItemKnnScorer:
    """Scores are the sum of the similarities to each watched item.

    Args:
        similarities: [items + 1, items + 1] sparse; column i has the similarities of item i to its neighbours.
        known: [items + 1] which items training saw.
    """

    similarities: Any
    known: NDArray[np.bool_]
    histories: Histories

    def scores(self, users: Int32, ends: Int64) -> Float32:
        """[users, items + 1] the rows of watched items times the similarities."""
        watched = watched_matrix(self.histories, users, ends, len(self.known) - 1)
        scores: Float32 = (watched @ self.similarities).toarray()
        return only(scores, self.known)


class ItemKnn(Baseline[ItemKnnSettings]):
    """Cosine of the columns of the watch matrix, shrunk, of which each item keeps the highest.

    s[i, j] = x_i . x_j / (|x_i| |x_j| + shrinkage) with x_i [users] the weighted watches of item i. Sarwar, Karypis,
    Konstan and Riedl, *Item-based collaborative filtering recommendation algorithms*, WWW 2001; shrinkage and weights
    after Ferrari Dacrema, Cremonesi and Jannach, *Are we really making much progress?*, RecSys 2019.
    """

    name = "item-knn"
    grid = tuple(
        ItemKnnSettings(neighbours=neighbours, shrinkage=shrinkage, weighting=weighting)
        for weighting in ("none", "idf")
        for neighbours in (100, 20, 500)
        for shrinkage in (0, 20)
    )

    def fit(
        self, histories: Histories, ends: Int64, items: int, settings: ItemKnnSettings, seed: int
    ) -> ItemKnnScorer:
        """Compute the similarities. Nothing is random."""
        watched = training_matrix(histories, ends, items)
        known = watched.getnnz(axis=0) > 0
        if settings.weighting == "idf":
            lengths = np.maximum(watched.getnnz(axis=1), 1)
            watched = sparse.diags(np.log(items / lengths).astype(np.float32)) @ watched
        return ItemKnnScorer(_similarities(watched.tocsr(), settings), known, histories)


def _similarities(watched: Any, settings: ItemKnnSettings) -> Any:
    """[items + 1, items + 1] sparse: column i has s[i, j] of the neighbours j of item i."""
    transposed, items = watched.T.tocsr(), watched.shape[1]
    norms = np.sqrt(watched.multiply(watched).sum(0)).A1
    blocks = []
    for start in range(0, items, BLOCK):
        block = (transposed[start : start + BLOCK] @ watched).tocoo()
        row, column = block.row + start, block.col
        block.data /= norms[row] * norms[column] + settings.shrinkage
        block.data[row == column] = 0
        blocks.append(_highest(block.tocsr(), settings.neighbours))
    return sparse.vstack(blocks, "csr").T.tocsr()


def _highest(matrix: Any, count: int) -> Any:
    """The same sparse matrix with only the highest `count` positive values of each row; of equals the first."""
    rows = np.repeat(np.arange(matrix.shape[0]), np.diff(matrix.indptr))
    order = np.lexsort((-matrix.data, rows))
    place = np.arange(len(order)) - matrix.indptr[rows]
    kept = order[(place < count) & (matrix.data[order] > 0)]
    return sparse.csr_matrix((matrix.data[kept], (rows[kept], matrix.indices[kept])), shape=matrix.shape)
