"""Kinds of FAISS index: how one is named, how large it will be, and how it is built from item vectors."""

import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import faiss
import numpy as np

from index.spaces import Space, items_in, lengths, metric
from watchnext.features import Float32
from watchnext.histories import Int32

ALL_THREADS: int = faiss.omp_get_max_threads()
POINTS_A_LIST = 64
"""k-means sees so many items for each list: more change the lists little and take their time."""
_ITERATIONS = 10
_CHUNK = 1 << 16
_GRAPH_CHUNK = 1 << 10
"""FAISS makes a better graph of items added in small parts, in the order of their numbers, than of all at once."""
_TRAINED_ON = 1 << 17
"""At most so many items train a quantiser: it has few numbers to learn."""
_EF_CONSTRUCTION = 200
_faiss: Any = faiss
_CODE_BYTES: tuple[tuple[str, Callable[[re.Match[str], int], float]], ...] = (
    (r"Flat$", lambda _, dim: 4 * dim),
    (r"SQfp16$", lambda _, dim: 2 * dim),
    (r"SQ8$", lambda _, dim: dim),
    (r"PQ(\d+)x4fs$", lambda match, _: int(match[1]) / 2),
    (r"RaBitQ$", lambda _, dim: dim / 8 + 8),
)


class TooSlowError(Exception):
    """Building takes longer than allowed."""


@dataclass(frozen=True)
class Kind:
    """A kind of index.

    Args:
        factory: FAISS's name of it, for `index_factory`: `Flat`, `SQfp16`, `HNSW32,SQ8`, `IVF1024,PQ32x4fs`.
        space: where it searches.
    """

    factory: str
    space: Space = "dot"

    @property
    def effort(self) -> str | None:
        """The search parameter that trades time for recall: `nprobe`, `efSearch`, or None for exhaustive kinds."""
        return "nprobe" if self.lists else "efSearch" if self.is_graph else None

    @cached_property
    def lists(self) -> int:
        """Inverted lists; 0 for a kind without."""
        match = re.match(r"IVF(\d+),", self.factory)
        return int(match[1]) if match else 0

    @property
    def is_graph(self) -> bool:
        """Whether it is a graph of near items (HNSW)."""
        return self.factory.startswith("HNSW")

    def describe(self) -> str:
        """FAISS's name, with the space unless that is `dot`."""
        return self.factory if self.space == "dot" else f"{self.factory} {self.space}"

    def bytes(self, items: int, dim: int) -> int:
        """About how large an index of `items` vectors of `dim` dimensions is, on disk and in memory."""
        width = items_in(self.space, np.ones((1, dim), np.float32), float(dim)).shape[1]
        code = self.factory.rpartition(",")[2]
        links = 0
        if self.is_graph:
            degree, _, code = self.factory.removeprefix("HNSW").partition(",")
            code, links = code or "Flat", 8 * int(degree) + 12
        each = next(size(match, width) for pattern, size in _CODE_BYTES if (match := re.match(pattern, code)))
        padded = items + 16 * self.lists if "fs" in code else items  # codes stand in blocks of 32
        return int(padded * each + items * (links + (8 if self.lists else 0)) + 4 * self.lists * width)


def centroids(vectors: Float32, kind: Kind) -> Float32:
    """[lists, dimensions of the space] centres of `kind.lists` clusters of item vectors [items, dim], by k-means."""
    rng = np.random.default_rng(0)
    longest = float(lengths(vectors).max(initial=0))
    drawn = np.sort(rng.permutation(len(vectors))[: POINTS_A_LIST * kind.lists])
    points = items_in(kind.space, vectors[drawn], longest)
    _faiss.omp_set_num_threads(ALL_THREADS)
    means = _faiss.Kmeans(
        points.shape[1],
        kind.lists,
        niter=_ITERATIONS,
        seed=1,
        min_points_per_centroid=1,
        max_points_per_centroid=POINTS_A_LIST,
    )
    means.train(points)
    found: Float32 = means.centroids
    return found


def build(
    kind: Kind, vectors: Float32, numbers: Int32, centres: Float32 | None = None, until: float = float("inf")
) -> Any:
    """Train and fill a FAISS index.

    The ids of an index with lists are item numbers; all others number their rows from 0. Items go to the nearest
    centre, whose list is asked for by its inner product with the query: where lengths differ, lists of items of like
    length are scanned less than those of like direction, FAISS's own choice (docs/log.md, 2026-11-26).

    Args:
        vectors: [items, dim] float32, no row of zeros.
        numbers: [items] their item numbers.
        centres: what `centroids` gave for the kind's lists and space; None computes them.
        until: `time.monotonic()` after which building stops.

    Raises TooSlowError when it would take longer than until then.
    """
    _faiss.omp_set_num_threads(ALL_THREADS)
    longest = float(lengths(vectors).max(initial=0))
    width = items_in(kind.space, vectors[:1], longest).shape[1]
    index = _faiss.index_factory(width, kind.factory, metric(kind.space))
    if kind.lists:
        index.quantizer.metric_type = _faiss.METRIC_L2
        index.quantizer.add(centroids(vectors, kind) if centres is None else centres)
    if kind.is_graph:
        index.hnsw.efConstruction = _EF_CONSTRUCTION
    if not index.is_trained:
        drawn = np.random.default_rng(1).permutation(len(vectors))[:_TRAINED_ON]
        index.train(items_in(kind.space, vectors[np.sort(drawn)], longest))
    _fill(index, kind, vectors, numbers, longest, until)
    if kind.lists:
        index.quantizer.metric_type = metric(kind.space)
    return index


def _fill(index: Any, kind: Kind, vectors: Float32, numbers: Int32, longest: float, until: float) -> None:
    chunk, begun = _GRAPH_CHUNK if kind.is_graph else _CHUNK, time.monotonic()
    for start in range(0, len(vectors), chunk):
        rows = items_in(kind.space, vectors[start : start + chunk], longest)
        if kind.lists:
            index.add_with_ids(rows, numbers[start : start + chunk].astype(np.int64))
        else:
            index.add(rows)
        done = start + len(rows)
        spent = time.monotonic() - begun
        if begun + spent * len(vectors) / done > until:  # a graph's later items take longer than its first
            raise TooSlowError(f"{kind.describe()} would take more than {spent * len(vectors) / done:,.0f} s")
