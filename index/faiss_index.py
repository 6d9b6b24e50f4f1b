"""A FAISS index behind the contract of `ItemIndex`: FAISS proposes, exact dot products decide.

FAISS may compress the vectors or search in another space. What it proposes is scored again with the item vectors
themselves, so scores are dot products whatever the kind. Where few items are left to choose from, FAISS is not asked.
"""

import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Self

import faiss
import numpy as np

from index.exact import best_of
from index.interface import NO_SCORE, Bool, trained_numbers
from index.kinds import ALL_THREADS, Kind, build
from index.spaces import metric, queries_in
from index.trial import FilteredStep, described
from watchnext.errors import CorruptError, UsageError
from watchnext.features import Float32
from watchnext.histories import Int32

INDEX_FILE, NUMBERS_FILE = "index.faiss", "numbers.npy"
K_FACTOR = "k_factor"
SPARE = 64
"""With exclusions, so many candidates more are fetched; what lacks more is asked for again."""
_faiss: Any = faiss
_SINGLE = 8
"""Up to so many queries are searched in the calling thread alone: a server's parallelism is its requests."""
_NONE = np.zeros(0, np.int32)


class FaissIndex:
    """Any FAISS index over the trained rows of the item vectors. All methods are safe in several threads at once.

    Args:
        index: what `kinds.build` made.
        item_vectors: [items + 1, dim] float32, in memory or memory-mapped: what candidates are scored with.
        numbers: [items in the index] their numbers, rising.
        kind: what `index` is.
        search: how hard to search: `nprobe` or `efSearch`, and `k_factor`, how many times k candidates are scored.
        filtered: how hard to search where only a share of the items is allowed, by falling share.
        scan_below: where no more items are allowed, they are scored without FAISS.
    """

    def __init__(
        self,
        index: Any,
        item_vectors: Float32,
        numbers: Int32,
        kind: Kind,
        search: dict[str, int],
        filtered: Sequence[FilteredStep] = (),
        scan_below: int = 0,
    ) -> None:
        self._index, self._numbers = index, np.asarray(numbers)
        self._vectors: Float32 = np.asarray(item_vectors)  # a view: rows of a memmap are slow to take
        self.kind, self.effort = kind, search
        self.filtered, self.scan_below = tuple(filtered), scan_below
        self._findable = np.zeros(len(self._vectors), bool)
        self._findable[self._numbers] = True
        self._unfiltered = parameters(kind, search)
        self._local = threading.local()

    @classmethod
    def build(cls, item_vectors: Float32, kind: Kind, search: dict[str, int] | None = None) -> Self:
        """Train a FAISS index and add all trained rows of item vectors [items + 1, dim]."""
        numbers = trained_numbers(item_vectors)
        if not len(numbers):
            raise UsageError("item_vectors", "no row that is not zero", "Train the model on at least one watch.")
        return cls(build(kind, item_vectors[numbers], numbers), item_vectors, numbers, kind, search or {})

    def tuned(
        self, search: dict[str, int], filtered: Sequence[FilteredStep] = (), scan_below: int = 0
    ) -> "FaissIndex":
        """The same index, searched in another way; FAISS's part is shared."""
        return FaissIndex(self._index, self._vectors, self._numbers, self.kind, search, filtered, scan_below)

    def __len__(self) -> int:
        """How many items the index has."""
        return len(self._numbers)

    @property
    def dim(self) -> int:
        """Dimensions of queries."""
        return int(self._vectors.shape[1])

    def search(
        self, queries: Float32, k: int, exclude: Sequence[Int32] | None = None, allowed: Bool | None = None
    ) -> tuple[Float32, Int32]:
        """See `ItemIndex.search`."""
        queries = np.ascontiguousarray(queries, np.float32)
        scores = np.full((len(queries), k), NO_SCORE, np.float32)
        numbers = np.zeros((len(queries), k), np.int32)
        if not len(queries):
            return scores, numbers
        watched: Sequence[Int32] = [_NONE] * len(queries) if exclude is None else exclude
        for row, candidates in enumerate(self._candidates(queries, k, watched, allowed)):
            best_scores, best = best_of(self._vectors, queries[row], candidates, k)
            scores[row, : len(best)], numbers[row, : len(best)] = best_scores, best
        return scores, numbers

    def _candidates(
        self, queries: Float32, k: int, watched: Sequence[Int32], allowed: Bool | None
    ) -> Iterator[Int32]:
        """For each query the numbers of the items to choose the best of."""
        search, choice = self.effort, self._unfiltered
        if allowed is not None:
            allowed = allowed & self._findable
            share = np.count_nonzero(allowed) / len(self)
            if share * len(self) <= max(self.scan_below, k):
                few = np.flatnonzero(allowed).astype(np.int32)
                yield from (self._without(few, row) for row in watched)
                return
            search = next((step.search for step in self.filtered if step.share <= share), search)
            choice = parameters(self.kind, search, self._selector(allowed))
        wanted = k * search.get(K_FACTOR, 1)
        spare = SPARE if any(map(len, watched)) else 0
        proposed = self._propose(queries, wanted + spare, choice)
        for query, found, row in zip(queries, proposed, watched, strict=True):
            kept = self._without(found, row)
            if len(kept) < wanted:
                kept = self._without(self._propose(query[None], wanted + SPARE + len(row), choice)[0], row)
            if len(kept) < k:
                left = np.flatnonzero(self._findable if allowed is None else allowed).astype(np.int32)
                yield self._without(left, row)
            else:
                yield kept[:wanted]

    def _propose(self, queries: Float32, fetch: int, choice: Any) -> Int32:
        """[queries, fetch] numbers of FAISS's candidates, best first; 0 where it found fewer."""
        _faiss.omp_set_num_threads(1 if len(queries) <= _SINGLE else ALL_THREADS)  # it holds for this thread only
        places = queries_in(self.kind.space, queries)
        _, rows = self._index.search(places, min(fetch, len(self)), params=choice)
        if self.kind.lists:
            numbers: Int32 = np.maximum(rows, 0)
        else:
            numbers = np.where(rows < 0, 0, self._numbers.take(rows, mode="clip"))
        return numbers

    def _without(self, found: Int32, watched: Int32) -> Int32:
        """The numbers in `found` that are neither 0 nor in `watched`, in their order."""
        masked = self._mask()
        masked[watched] = True
        kept = found.compress(~masked.take(found))
        masked[watched] = False
        masked[0] = True
        return kept

    def _mask(self) -> Bool:
        """[items + 1] this thread's own: only number 0 is True."""
        masked: Bool | None = getattr(self._local, "masked", None)
        if masked is None:
            masked = self._local.masked = np.zeros(len(self._vectors), bool)
            masked[0] = True
        return masked

    def _selector(self, allowed: Bool) -> Any:
        """FAISS's object for the ids of allowed items [items + 1]."""
        bits = np.packbits(allowed if self.kind.lists else allowed[self._numbers], bitorder="little")
        return _faiss.IDSelectorBitmap(bits)

    def save(self, folder: Path) -> None:
        """Write `index.faiss` and `numbers.npy`."""
        _faiss.write_index(self._index, str(folder / INDEX_FILE))
        np.save(folder / NUMBERS_FILE, self._numbers)

    @classmethod
    def open(
        cls,
        folder: Path,
        item_vectors: Float32,
        kind: Kind,
        search: dict[str, int],
        filtered: Sequence[FilteredStep] = (),
        scan_below: int = 0,
    ) -> Self:
        """Memory-map what `save` wrote. The caller must have compared checksums: FAISS trusts what it reads.

        Raises CorruptError where FAISS cannot read the file or the parts do not fit together.
        """
        path = folder / INDEX_FILE
        try:
            index = _faiss.read_index(str(path), _faiss.IO_FLAG_MMAP_IFC)
            numbers = np.load(folder / NUMBERS_FILE, mmap_mode="r")
        except (RuntimeError, OSError, ValueError, EOFError) as error:
            raise CorruptError(str(path), error, "Build the index again: watchnext index.") from error
        if index.ntotal != len(numbers) or index.metric_type != metric(kind.space):
            raise CorruptError(str(path), f"{index.ntotal} rows for {len(numbers)} items", "Build the index again.")
        if len(numbers) and not 0 < numbers.min() <= numbers.max() < len(item_vectors):
            raise CorruptError(str(folder / NUMBERS_FILE), "numbers that no item has", "Build the index again.")
        return cls(index, item_vectors, numbers, kind, search, filtered, scan_below)

    def describe(self) -> str:
        """See `ItemIndex.describe`."""
        return described(self.kind, self.effort)


def parameters(kind: Kind, search: dict[str, int], selector: Any = None) -> Any:
    """FAISS's object for search parameters; None where it needs none."""
    if "RaBitQ" in kind.factory:
        found = _faiss.IVFRaBitQSearchParameters()
        found.nprobe, found.sel = search.get("nprobe", 1), selector
    elif kind.lists:
        found = _faiss.SearchParametersIVF(nprobe=search.get("nprobe", 1), sel=selector)
    elif kind.is_graph:
        found = _faiss.SearchParametersHNSW(efSearch=search.get("efSearch", 16), sel=selector)
    else:
        found = None if selector is None else _faiss.SearchParameters(sel=selector)
    return found
