"""Builds several kinds of index, measures each on real user vectors, and keeps the fastest that is accurate enough.

No kind wins everywhere: which one does depends on the size of the catalogue, on how the vectors cluster and on how
much their lengths differ. So nothing is assumed and everything is measured, on the vectors that will be served.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path

import numpy as np
from pydantic import Field

from index.exact import ExactIndex
from index.faiss_index import FaissIndex
from index.filters import Filters
from index.folder import IndexManifest, Trial, save_index
from index.recall import DEPTH, cpu_microseconds, recall
from watchnext.config import Closed
from watchnext.errors import CorruptError
from watchnext.export import Export
from watchnext.features import Float32

FLAT = "Flat"
Progress = Callable[[str], None]
"""Is told what is being done, in a few words, each time that changes."""


class IndexOptions(Closed):
    """What an index must reach and what is tried for it."""

    target_recall: float = Field(0.99, gt=0, le=1)
    """The least recall@50 of an approximate index; below it exact search is used."""
    flat_below: int = Field(50_000, ge=0)
    """Catalogues of fewer items are searched exactly: that takes well under a millisecond."""
    hnsw_up_to: int = Field(200_000, ge=0)
    """Larger catalogues get no HNSW trial, since its graph would take many minutes to build."""
    queries: int = Field(1000, ge=1)
    """At most so many user vectors are drawn to measure recall."""
    seed: int = Field(0, ge=0)
    """Draws them."""


@dataclass(frozen=True)
class BuiltIndex:
    """The chosen index, its recall@50, and everything that was tried."""

    index: FaissIndex
    recall_at_50: float
    fell_back: bool
    queries: int
    trials: tuple[Trial, ...]


def build_index(
    item_vectors: Float32, queries: Float32, options: IndexOptions, progress: Progress = lambda _: None
) -> BuiltIndex:
    """Choose and build an index.

    Args:
        item_vectors: [items + 1, dim] float32; row 0 and rows of zeros are left out.
        queries: [users, dim] float32 user vectors; rows of zeros don't count.
        options: what to reach.
        progress: told what is being done.

    Raises CorruptError where a vector is not finite, UsageError where no item has a vector.
    """
    for name, vectors in (("item_vectors", item_vectors), ("queries", queries)):
        if not np.isfinite(vectors).all():
            raise CorruptError(name, "a value that is not finite", "Train again, with a smaller learning rate.")
    sample = _sample(queries, options)
    progress(FLAT)
    flat = FaissIndex.build(item_vectors, FLAT)
    if not len(sample):
        return BuiltIndex(flat, 1.0, False, 0, ())
    exact = ExactIndex(item_vectors).search(sample, min(DEPTH, len(flat)))[0]
    bench = _Bench(sample, exact, item_vectors)
    best, best_trial = flat, bench.measure(flat)
    trials = [best_trial]
    for kind, parameters in _kinds(len(flat), options):
        progress(kind)
        index = FaissIndex.build(item_vectors, kind)
        for candidate, trial in bench.climb(index, parameters, best_trial.microseconds):
            trials.append(trial)
            progress(candidate.describe())
            if trial.recall_at_50 >= options.target_recall:
                if trial.microseconds < best_trial.microseconds:
                    best, best_trial = candidate, trial
                break
    fell_back = best is flat and len(trials) > 1
    return BuiltIndex(best, best_trial.recall_at_50, fell_back, len(sample), tuple(trials))


def build_from_export(
    export_folder: Path, folder: Path, options: IndexOptions, progress: Progress = lambda _: None
) -> IndexManifest:
    """Build the index of an export and write it to `folder`. Raises what `Export.open` and `build_index` raise."""
    IndexManifest.check_target(folder)
    progress("checking the export")
    export = Export.open(export_folder)
    built = build_index(export.item_vectors, export.user_vectors[1:], options, progress)
    return save_index(
        built.index,
        Filters.of(export.catalogue, export.items),
        folder,
        items=export.manifest.items,
        recall_at_50=built.recall_at_50,
        target_recall=options.target_recall,
        fell_back=built.fell_back,
        queries=built.queries,
        trials=built.trials,
        item_vectors_sha256=export.manifest.files["item_vectors.npy"].sha256,
    )


def _sample(queries: Float32, options: IndexOptions) -> Float32:
    """[at most options.queries, dim] rows that are not zero, drawn by seed."""
    usable = np.flatnonzero(np.asarray(queries).any(axis=1))
    if len(usable) > options.queries:
        usable = np.sort(np.random.default_rng(options.seed).choice(usable, options.queries, replace=False))
    return np.ascontiguousarray(queries[usable], np.float32)


def _kinds(items: int, options: IndexOptions) -> Iterator[tuple[str, list[dict[str, int]]]]:
    """Kinds to try for a catalogue size, each with its search parameters from fast to thorough."""
    if items < options.flat_below:
        return
    lists = max(1, min(1 << int(np.ceil(np.log2(np.sqrt(items)))), items // 39))  # FAISS wants 39 vectors a list
    steps = takewhile(lambda n: n < lists, (base << power for power in range(32) for base in (4, 6)))
    yield f"IVF{lists},{FLAT}", [{"nprobe": nprobe} for nprobe in steps]
    if items <= options.hnsw_up_to:
        yield "HNSW32", [{"efSearch": ef} for ef in (64, 96, 128, 192, 256, 384, 512)]


@dataclass(frozen=True)
class _Bench:
    """What every kind of index is measured with: `sample` [queries, dim], its `exact` scores, the item vectors."""

    sample: Float32
    exact: Float32
    item_vectors: Float32

    def measure(self, index: FaissIndex) -> Trial:
        found = index.search(self.sample, self.exact.shape[1])[1]
        return Trial(
            kind=index.kind,
            search=index.parameters,
            recall_at_50=recall(found, self.exact, self.sample, self.item_vectors),
            microseconds=cpu_microseconds(index, self.sample),
        )

    def climb(
        self, index: FaissIndex, parameters: list[dict[str, int]], limit: float
    ) -> Iterator[tuple[FaissIndex, Trial]]:
        """Measure with more and more thorough parameters, until a query takes `limit` microseconds."""
        for chosen in parameters:
            candidate = index.with_parameters(chosen)
            trial = self.measure(candidate)
            yield candidate, trial
            if trial.microseconds >= limit:
                return
