"""A FAISS inner-product index that speaks item numbers and can leave items out.."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import faiss
import numpy as np

from index.interface import NO_SCORE, Bool, trained_numbers
from watchnext.errors import CorruptError, UsageError
from watchnext.features import Float32
from watchnext.histories import Int32

INDEX_FILE, NUMBERS_FILE = "index.faiss", "numbers.npy"
SPARE = 64
"""With exclusions, so many candidates more than k are fetched first; doubled while that is too few."""
_faiss: Any = faiss  # its own annotations leave out half of it
_ALL_THREADS: int = faiss.omp_get_max_threads()
_SINGLE = 8
"""Up to so many queries are searched in the calling thread alone: a server's parallelism is its requests."""


class FaissIndex:
    """Any FAISS index over the trained rows of the item vectors.

    Args:
        index: a FAISS index with the inner product as metric; its row r is the item `numbers[r]`.
        numbers: [rows of the index] item numbers.
        kind: FAISS's own name of the index: `Flat`, `IVF512,Flat`, `HNSW32`.
        parameters: how hard to search: `nprobe` of an IVF index or `efSearch` of an HNSW index; empty for Flat.
    """

    def __init__(self, index: Any, numbers: Int32, kind: str, parameters: dict[str, int]) -> None:
        self._index, self._numbers = index, np.asarray(numbers)
        self.kind, self.parameters = kind, parameters
        self._effort = _effort(parameters)
        self._highest = int(self._numbers.max(initial=0))

    @classmethod
    def build(cls, item_vectors: Float32, kind: str) -> Self:
        """Train a FAISS index by its factory name and add all trained rows of item vectors [items + 1, dim]."""
        numbers = trained_numbers(item_vectors)
        if not len(numbers):
            raise UsageError("item_vectors", "no row that is not zero", "Train the model on at least one watch.")
        vectors = np.ascontiguousarray(item_vectors[numbers], np.float32)
        _faiss.omp_set_num_threads(_ALL_THREADS)
        index = _faiss.index_factory(vectors.shape[1], kind, _faiss.METRIC_INNER_PRODUCT)
        if kind.startswith("HNSW"):
            index.hnsw.efConstruction = 100
        index.train(vectors)
        index.add(vectors)
        return cls(index, numbers, kind, {})

    def with_parameters(self, parameters: dict[str, int]) -> "FaissIndex":
        """The same index, searched with other parameters; nothing is copied."""
        return FaissIndex(self._index, self._numbers, self.kind, parameters)

    def __len__(self) -> int:
        """How many items can be found."""
        return len(self._numbers)

    @property
    def dim(self) -> int:
        """Dimensions of queries."""
        return int(self._index.d)

    @property
    def numbers(self) -> Int32:
        """[items that can be found] their numbers, rising."""
        return self._numbers

    def search(
        self, queries: Float32, k: int, exclude: Sequence[Int32] | None = None, allowed: Bool | None = None
    ) -> tuple[Float32, Int32]:
        """See `ItemIndex.search`. Safe to call from several threads at once."""
        _faiss.omp_set_num_threads(1 if len(queries) <= _SINGLE else _ALL_THREADS)  # it holds for this thread only
        if allowed is not None:
            denied = np.flatnonzero(~allowed).astype(np.int32)
            exclude = [np.concatenate([denied, row]) for row in exclude or [denied[:0]] * len(queries)]
        queries = np.ascontiguousarray(queries, np.float32)
        scores = np.full((len(queries), k), NO_SCORE, np.float32)
        numbers = np.zeros((len(queries), k), np.int32)
        masked = np.zeros(self._highest + 1, bool)
        todo, fetch = np.arange(len(queries)), k + (0 if exclude is None else SPARE)
        while len(todo):
            fetch = min(fetch, len(self))
            short = []
            for query, row_scores, rows in zip(todo.tolist(), *self._fetch(queries[todo], fetch), strict=True):
                found = self._numbers[rows]
                keep = slice(0, k) if exclude is None else _unmasked(found, exclude[query], masked)[:k]
                kept = found[keep]
                scores[query, : len(kept)], numbers[query, : len(kept)] = row_scores[keep], kept
                if len(kept) < k and fetch < len(self):
                    short.append(query)
            todo, fetch = np.array(short, np.int64), 2 * fetch
        return scores, numbers

    def _fetch(self, queries: Float32, fetch: int) -> tuple[Float32, Any]:
        """The best `fetch` rows of each query, all of them: an approximate search that finds fewer is made full."""
        scores, rows = self._index.search(queries, fetch, params=self._effort)
        missed = np.flatnonzero(rows[:, -1] < 0)
        if len(missed):
            scores[missed], rows[missed] = self._fetch_exhaustively(queries[missed], fetch)
        return scores, rows

    def _fetch_exhaustively(self, queries: Float32, fetch: int) -> tuple[Float32, Any]:
        if "nprobe" in self.parameters:
            lists = _faiss.SearchParametersIVF(nprobe=self._index.nlist)
            scores, rows = self._index.search(queries, fetch, params=lists)
        else:
            scores, rows = self._index.storage.search(queries, fetch)
        return scores, rows

    def save(self, folder: Path) -> None:
        """Write `index.faiss` and `numbers.npy`."""
        _faiss.write_index(self._index, str(folder / INDEX_FILE))
        np.save(folder / NUMBERS_FILE, self._numbers)

    @classmethod
    def open(cls, folder: Path, kind: str, parameters: dict[str, int]) -> Self:
        """Memory-map what `save` wrote. The caller must have compared checksums: FAISS trusts what it reads.

        Raises CorruptError where FAISS cannot read the file or the two files do not fit together.
        """
        path = folder / INDEX_FILE
        try:
            index = _faiss.read_index(str(path), _faiss.IO_FLAG_MMAP_IFC)
            numbers = np.load(folder / NUMBERS_FILE, mmap_mode="r")
        except (RuntimeError, OSError, ValueError, EOFError) as error:
            raise CorruptError(str(path), error, "Build the index again: watchnext index.") from error
        if index.ntotal != len(numbers) or index.metric_type != _faiss.METRIC_INNER_PRODUCT:
            raise CorruptError(str(path), f"{index.ntotal} rows for {len(numbers)} items", "Build the index again.")
        return cls(index, numbers, kind, parameters)

    def describe(self) -> str:
        """See `ItemIndex.describe`."""
        return " ".join([self.kind, *(f"{name}={value}" for name, value in self.parameters.items())])


def _effort(parameters: dict[str, int]) -> Any:
    """FAISS's object for search parameters; None for an index without any."""
    if "nprobe" in parameters:
        return _faiss.SearchParametersIVF(nprobe=parameters["nprobe"])
    if "efSearch" in parameters:
        return _faiss.SearchParametersHNSW(efSearch=parameters["efSearch"])
    return None


def _unmasked(found: Int32, exclude: Int32, masked: Any) -> Any:
    """Positions in `found` that `exclude` lacks. `masked` [highest number + 1] is all False before and after."""
    excluded = exclude[exclude < len(masked)]
    masked[excluded] = True
    kept = np.flatnonzero(~masked[found])
    masked[excluded] = False
    return kept
