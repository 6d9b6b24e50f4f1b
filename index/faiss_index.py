"""A FAISS index behind the contract of `ItemIndex`: FAISS proposes, exact dot products decide.

FAISS may compress the vectors or search in another space. What it proposes is scored again with the item vectors
themselves, so scores are dot products whatever the kind. Where few items are left to choose from, FAISS is not asked.
"""

import threading
from collections.abc import Iterator, Sequence
from copy import copy
from pathlib import Path
from typing import Any, NamedTuple, Self

import faiss
import numpy as np

from index.exact import best_of
from index.hardened import read_index, read_numbers
from index.interface import NO_SCORE, Bool, trained_numbers
from index.kinds import ALL_THREADS, Kind, build
from index.spaces import metric, queries_in
from index.trial import Effort, described
from watchnext.errors import UsageError
from watchnext.features import Float32
from watchnext.histories import Int32

INDEX_FILE = "index.faiss"
NUMBERS_FILE, FRESH_FILE, WITHDRAWN_FILE = _NUMBER_FILES = "numbers.npy", "fresh.npy", "withdrawn.npy"
K_FACTOR = "k_factor"
SPARE = 32
"""So many candidates more than are wanted are fetched for those that were watched, if there are as many."""
_faiss: Any = faiss
MOST_EF = 2048
"""No graph is searched with more effort."""
_SINGLE = 16
"""Up to so many queries are searched in the calling thread alone: a server's parallelism is its requests."""
_NONE = np.zeros(0, np.int32)
_NEARLY_ALL = 0.9
"""Where such a share of the items is allowed, FAISS is asked as if all were, and the others are dropped."""


class Changes(NamedTuple):
    """What changed since an index was built; its FAISS part stays as it is."""

    fresh: Int32 = _NONE
    """[items] numbers, rising, of items that were added or got another vector: scored exactly beside the index."""
    withdrawn: Int32 = _NONE
    """[items] numbers, rising, of items that are found no more."""


class FaissIndex:
    """Any FAISS index over the trained rows of the item vectors. All methods are safe in several threads at once.

    Args:
        index: what `kinds.build` made.
        item_vectors: [items + 1, dim] float32, in memory or memory-mapped: what candidates are scored with.
        numbers: [items in the index] their numbers, rising.
        kind: what `index` is.
        effort: how hard to search.
        changes: since `index` was built.
    """

    def __init__(
        self,
        index: Any,
        item_vectors: Float32,
        numbers: Int32,
        kind: Kind,
        effort: Effort | None = None,
        changes: Changes | None = None,
    ) -> None:
        self._index, self._numbers = index, np.asarray(numbers)
        self._vectors: Float32 = np.asarray(item_vectors)  # a view: rows of a memmap are slow to take
        self.kind, self.effort, self.changes = kind, effort or Effort(), changes or Changes()
        self._unfiltered = parameters(kind, self.effort.search)
        self._rows = _as_slice(self._numbers)
        self._findable = np.zeros(len(self._vectors), bool)
        self._findable[self._numbers] = True
        self._proposed: Bool | None = None  # [items + 1] what may be taken from FAISS; None: all
        self._left = 1.0  # of what FAISS proposes, the share that may be taken
        if len(self.changes.fresh) or len(self.changes.withdrawn):
            self._findable[self.changes.withdrawn] = False
            self._proposed = self._findable.copy()
            self._proposed[self.changes.fresh] = False
            self._left = max(int(np.count_nonzero(self._proposed)), 1) / max(len(self._numbers), 1)
            self._findable[self.changes.fresh] = True
        self._local = threading.local()

    @classmethod
    def build(cls, item_vectors: Float32, kind: Kind, search: dict[str, int] | None = None) -> Self:
        """Train a FAISS index and add all trained rows of item vectors [items + 1, dim]."""
        numbers = trained_numbers(item_vectors)
        if not len(numbers):
            raise UsageError("item_vectors", "no row that is not zero", "Train the model on at least one watch.")
        faiss_index = build(kind, item_vectors[numbers], numbers)
        return cls(faiss_index, item_vectors, numbers, kind, Effort(search=search or {}))

    def tuned(self, effort: Effort) -> "FaissIndex":
        """The same index, searched in another way; all but the effort is shared."""
        other = copy(self)
        other.effort, other._unfiltered = effort, parameters(self.kind, effort.search)
        return other

    def __len__(self) -> int:
        """How many items can be found."""
        return int(np.count_nonzero(self._findable))

    @property
    def dim(self) -> int:
        """Dimensions of queries."""
        return int(self._vectors.shape[1])

    def search(
        self, queries: Float32, k: int, exclude: Sequence[Int32] | None = None, allowed: Bool | None = None
    ) -> tuple[Float32, Int32]:
        """See `ItemIndex.search`."""
        queries = np.ascontiguousarray(queries, np.float32)
        scores, numbers = np.empty((len(queries), k), np.float32), np.empty((len(queries), k), np.int32)
        if not len(queries):
            return scores, numbers
        watched: Sequence[Int32] = [_NONE] * len(queries) if exclude is None else exclude
        for row, candidates in enumerate(self._candidates(queries, k, watched, allowed)):
            best_scores, best = best_of(self._vectors, queries[row], candidates, k)
            if len(queries) == 1 and len(best) == k:
                return best_scores[None], best.astype(np.int32)[None]
            scores[row, : len(best)], numbers[row, : len(best)] = best_scores, best
            scores[row, len(best) :], numbers[row, len(best) :] = NO_SCORE, 0
        return scores, numbers

    def _candidates(
        self, queries: Float32, k: int, watched: Sequence[Int32], allowed: Bool | None
    ) -> Iterator[Int32]:
        """For each query the numbers of the items to choose the best of."""
        items = len(self._vectors) - 1
        count = items if allowed is None else int(np.count_nonzero(allowed))  # with those never trained, as `items`
        if allowed is not None and count <= max(self.effort.scan_below, k):
            few = _numbers(allowed & self._findable)
            yield from (self._without(few, row) for row in watched)
            return
        plan = self._plan(k, count / items, allowed)
        dropped = max(map(len, watched)) + len(self.changes.fresh) + len(self.changes.withdrawn)
        dropped += max(0, items - count)
        proposed = self._propose(queries, plan.fetch + min(SPARE, dropped), plan.parameters)
        for query, found, row in zip(queries, proposed, watched, strict=True):
            dropping = len(row) or plan.mask is not None or not found[-1]
            kept = self._without(found, row, plan.mask) if dropping else found
            if len(kept) < k or (len(kept) < plan.wanted and found[-1] > 0):
                kept = self._again(query, k, row, plan)
            if len(kept) < k:
                yield self._without(_numbers(self._findable), row, allowed)
            elif len(self.changes.fresh):
                yield np.concatenate([kept[: plan.wanted], self._without(self.changes.fresh, row, allowed)])
            else:
                yield kept[: plan.wanted]

    def _plan(self, k: int, share: float, allowed: Bool | None) -> "_Plan":
        """How FAISS is asked where about a share of the items is allowed.

        Where nearly all are, for more than needed, of which the others are dropped; else for allowed ones.
        """
        mask = self._proposed
        if allowed is not None:
            mask = allowed if mask is None else allowed & mask
        if mask is None or share >= _NEARLY_ALL:
            wanted = k * self.effort.search.get(K_FACTOR, 1)
            return _Plan(wanted, int(wanted / min(1, share * self._left)), self._unfiltered, mask)
        search = self.effort.among(share)
        wanted = k * search.get(K_FACTOR, 1)
        return _Plan(wanted, wanted, parameters(self.kind, search, self._selector(mask)), mask)

    def _again(self, query: Float32, k: int, watched: Int32, plan: "_Plan") -> Int32:
        """The candidates of a query that had too few: its best are watched or not allowed, or its lists are short.

        Four times the effort, and four times that, until there are `k`; fewer where even all effort finds no more.
        """
        selector = None if plan.mask is None else self._selector(plan.mask)
        name, search = self.kind.effort, dict(self.effort.search)
        fetch, most = plan.wanted + SPARE + len(watched), self.kind.lists or MOST_EF
        while True:
            if name is not None:
                search[name] = min(most, 4 * search.get(name, 1))
            found = self._propose(query[None], fetch, parameters(self.kind, search, selector))[0]
            kept = self._without(found, watched, plan.mask)
            if len(kept) >= k or name is None or search[name] >= most:
                return kept

    def _selector(self, mask: Bool) -> Any:
        """FAISS's object for the items that a mask [items + 1] allows, by their ids in the index."""
        bits = np.packbits(mask if self.kind.lists else mask[self._rows], bitorder="little")
        return _faiss.IDSelectorBitmap(bits)

    def _propose(self, queries: Float32, fetch: int, choice: Any) -> Int32:
        """[queries, fetch] numbers of FAISS's candidates, best first; 0 where it found fewer."""
        _faiss.omp_set_num_threads(1 if len(queries) <= _SINGLE else ALL_THREADS)  # it holds for this thread only
        places = queries_in(self.kind.space, queries)
        _, rows = self._index.search(places, min(fetch, len(self._numbers)), params=choice)
        if self.kind.lists:
            numbers: Int32 = np.maximum(rows, 0)
        else:
            numbers = np.where(rows < 0, 0, self._numbers.take(rows, mode="clip"))
        return numbers

    def _without(self, found: Int32, watched: Int32, mask: Bool | None = None) -> Int32:
        """The numbers in `found` that are neither 0 nor in `watched`, and allowed by `mask`, in their order."""
        masked, watched = self._mask(), watched.astype(np.intp)  # numpy takes twice as long to index by int32
        masked[watched] = True
        kept = found.compress(~masked.take(found))
        masked[watched] = False
        masked[0] = True
        return kept if mask is None else kept.compress(mask.take(kept))

    def _mask(self) -> Bool:
        """[items + 1] this thread's own: only number 0 is True."""
        masked: Bool | None = getattr(self._local, "masked", None)
        if masked is None:
            masked = self._local.masked = np.zeros(len(self._vectors), bool)
            masked[0] = True
        return masked

    def findable(self) -> Int32:
        """See `ItemIndex.findable`."""
        return _numbers(self._findable)

    def save(self, folder: Path) -> None:
        """Write `index.faiss`, `numbers.npy`, `fresh.npy` and `withdrawn.npy`."""
        _faiss.write_index(self._index, str(folder / INDEX_FILE))
        for name, numbers in zip(_NUMBER_FILES, (self._numbers, *self.changes), strict=True):
            np.save(folder / name, numbers)

    @classmethod
    def open(cls, folder: Path, item_vectors: Float32, kind: Kind, effort: Effort) -> Self:
        """Memory-map what `save` wrote.

        Raises CorruptError where the files hold anything else than an index of this kind of some of the items.
        """
        numbers, fresh, withdrawn = (read_numbers(folder / name, len(item_vectors) - 1) for name in _NUMBER_FILES)
        dim = queries_in(kind.space, item_vectors[:1]).shape[1]
        index = read_index(folder / INDEX_FILE, kind.factory, dim, metric(kind.space), numbers)
        return cls(index, item_vectors, numbers, kind, effort, Changes(fresh, withdrawn))

    def describe(self) -> str:
        """See `ItemIndex.describe`."""
        return described(self.kind, self.effort.search)


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


class _Plan(NamedTuple):
    """How FAISS is asked: for `fetch` candidates of each query; the first `wanted` that `mask` allows are scored."""

    wanted: int
    fetch: int
    parameters: Any
    mask: Bool | None


def _as_slice(numbers: Int32) -> slice | Int32:
    """Rising numbers as what takes them from an array; without gaps that is a slice, which costs nothing."""
    gapless = len(numbers) > 0 and numbers[-1] - numbers[0] == len(numbers) - 1
    return slice(int(numbers[0]), int(numbers[-1]) + 1) if gapless else numbers


def _numbers(mask: Bool) -> Int32:
    """The item numbers, rising, that a mask [items + 1] allows."""
    return np.flatnonzero(mask).astype(np.int32)
