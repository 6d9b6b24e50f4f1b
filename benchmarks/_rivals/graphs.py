"""Other libraries' indexes for the inner product, as their users build them: on all cores, searched by one thread.

Variants: `hnswlib M` and `usearch M` with the degree of the graph, `faiss Flat`, and `faiss HNSW32` as it comes.
"""

from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks._rivals.program import Figures, compete
from benchmarks._rivals.search import Array, K, Searcher, SearchTask, all_efforts, contender

EF_CONSTRUCTION = 200


class Hnswlib:
    """https://github.com/nmslib/hnswlib"""

    def __init__(self, vectors: Array, degree: int) -> None:
        self._index = import_module("hnswlib").Index("ip", vectors.shape[1])
        self._index.init_index(len(vectors) - 1, M=degree, ef_construction=EF_CONSTRUCTION)
        self._index.add_items(vectors[1:], np.arange(1, len(vectors)))

    def use(self, effort: int) -> None:
        """See `Searcher`."""
        self._index.set_ef(effort)

    def search(self, queries: Array) -> Array:
        """See `Searcher`."""
        rows: Array = self._index.knn_query(queries, K, num_threads=1)[0]
        return rows

    def size(self, path: Path) -> int:
        """See `Searcher`."""
        self._index.save_index(str(path))
        return _removed(path)


class Usearch:
    """https://github.com/unum-cloud/usearch"""

    def __init__(self, vectors: Array, degree: int) -> None:
        make = import_module("usearch.index").Index
        settings = {"connectivity": degree, "expansion_add": EF_CONSTRUCTION}
        self._index = make(ndim=vectors.shape[1], metric="ip", dtype="f32", **settings)
        self._index.add(np.arange(1, len(vectors)), np.asarray(vectors[1:]))

    def use(self, effort: int) -> None:
        """See `Searcher`."""
        self._index.expansion_search = effort

    def search(self, queries: Array) -> Array:
        """See `Searcher`."""
        rows: Array = self._index.search(queries[0], K, threads=1).keys.astype(np.int64)[None]
        return rows

    def size(self, path: Path) -> int:
        """See `Searcher`."""
        self._index.save(str(path))
        return _removed(path)


class Faiss:
    """An index of `index_factory`, as it is without any setting."""

    def __init__(self, vectors: Array, kind: str) -> None:
        self._faiss: Any = import_module("faiss")
        self._index = self._faiss.index_factory(vectors.shape[1], kind, self._faiss.METRIC_INNER_PRODUCT)
        self._index.add(np.ascontiguousarray(vectors[1:]))
        self._effort: Any = None

    def use(self, effort: int) -> None:
        """See `Searcher`."""
        self._faiss.omp_set_num_threads(1)
        if hasattr(self._index, "hnsw"):
            self._effort = self._faiss.SearchParametersHNSW(efSearch=effort)

    def search(self, queries: Array) -> Array:
        """See `Searcher`."""
        rows: Array = self._index.search(queries, K, params=self._effort)[1] + 1
        return rows

    def size(self, path: Path) -> int:
        """See `Searcher`."""
        self._faiss.write_index(self._index, str(path))
        return _removed(path)


def prepare(task: SearchTask) -> Callable[[], Figures]:
    """Build the index of the variant."""
    library, _, which = task.variant.partition(" ")
    built: list[Searcher] = []

    def build(_: float, vectors: Array) -> Searcher:
        if not built:
            makers: dict[str, Callable[[], Searcher]] = {
                "hnswlib": lambda: Hnswlib(vectors, int(which)),
                "usearch": lambda: Usearch(vectors, int(which)),
                "faiss": lambda: Faiss(vectors, which),
            }
            built.append(makers[library]())
        return built[0]

    return contender(task, build, [K] if which == "Flat" else all_efforts())


def _removed(path: Path) -> int:
    size = path.stat().st_size
    path.unlink()
    return size


if __name__ == "__main__":
    compete(prepare, SearchTask)
