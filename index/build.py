"""Builds several kinds of index, measures each on real user vectors, and keeps the fastest that is accurate enough.

No kind wins everywhere: which one does depends on the size of the catalogue, on how the vectors cluster and on how
much their lengths differ. So nothing is assumed and everything is measured, on the vectors that will be served.
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from pydantic import Field

from index.countries import Countries
from index.faiss_index import FaissIndex
from index.filters import Filters
from index.folder import IndexManifest, save_index
from index.interface import trained_numbers
from index.kinds import Kind, TooSlowError, build, centroids
from index.recall import Sample
from index.spaces import SPACES, Space, skew
from index.trial import Effort, Trial
from index.tune import Point, climb, filtered_steps, harder, measured
from watchnext.config import Closed
from watchnext.errors import CorruptError, UsageError
from watchnext.export import Export, without_length
from watchnext.features import Float32

Progress = Callable[[str], None]
"""Is told what is being done, in a few words, each time that changes."""
FLAT = Kind("Flat")
SKEWED = 2.0
"""The skew of item vectors from which on other spaces are tried, and graphs by raw inner product warned of."""
DEGREES = (16, 32, 48)
"""Of graphs: links of an item, and twice as many at the bottom. The next is tried where one is the fastest so far."""
_EXHAUSTIVE_UP_TO = 200_000
_LEAST_LIST = 40
"""Lists are not halved where they have, on average, fewer items than twice this."""
_LEAST_TRAINED = 16
"""A code of 4 bits is learnt from no fewer items."""
_MORE_EFFORT = 10
"""So often a search gets a twentieth more effort, when the second sample does not confirm the target."""


class IndexOptions(Closed):
    """What an index must reach and what is tried for it."""

    target_recall: float = Field(0.99, gt=0, le=1)
    """The least recall@50 of an approximate index; without one that reaches it exact search is used."""
    flat_below: int = Field(5_000, ge=0)
    """Catalogues of fewer items are searched exactly, if that fits into the memory: it takes some 30 microseconds."""
    queries: int = Field(4000, ge=1)
    """At most so many user vectors tune the search, and as many others, which no tuning sees, check it."""
    memory_megabytes: float | None = Field(None, gt=0)
    """The most that the index may take on disk and in memory; the item vectors are not counted. None: any size.

    Where no user has a vector, nothing can be measured, and all vectors are searched exactly whatever they take.
    """
    build_seconds: float = Field(900, gt=0)
    """After so long no other kind is tried, and a graph that would end later is given up."""
    seed: int = Field(0, ge=0)
    """Draws the user vectors."""


@dataclass(frozen=True)
class BuiltIndex:
    """The chosen index, what it reached, and everything that was tried."""

    index: FaissIndex
    recall_at_50: float
    """For user vectors that no tuning saw; 1 where there are none."""
    fell_back: bool
    queries: int
    skew: float
    """Of the lengths of the item vectors, see `spaces.skew`."""
    warnings: tuple[str, ...]
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

    Raises CorruptError where a vector is not finite; UsageError where no item has a vector, and where nothing that
    fits into the memory reaches the target.
    """
    for name, vectors in (("item_vectors", item_vectors), ("queries", queries)):
        if not np.isfinite(vectors).all():
            raise CorruptError(name, "a value that is not finite", "Train again, with a smaller learning rate.")
    if without_length(item_vectors).any():
        cure = "Train again, or scale all vectors to lengths near 1."
        raise CorruptError("item_vectors", "a length that 32 bits cannot square", cure)
    usable = np.flatnonzero(np.asarray(queries).any(axis=1))
    drawn = np.random.default_rng(options.seed).permutation(usable)[: 2 * options.queries]
    if not len(drawn):
        progress(FLAT.describe())
        return BuiltIndex(FaissIndex.build(item_vectors, FLAT), 1.0, False, 0, 1.0, (), ())
    half = (len(drawn) + 1) // 2
    halves = drawn[:half], drawn[half:] if half < len(drawn) else drawn
    progress("the exact answers")
    tuning, unseen = (Sample.of(queries[np.sort(rows)], item_vectors) for rows in halves)
    contest = _Contest(item_vectors, tuning, unseen, options, progress)
    contest.run()
    return contest.result()


class _Contest:
    """All kinds that are tried for one set of vectors, and the fastest of them so far."""

    def __init__(
        self, item_vectors: Float32, tuning: Sample, unseen: Sample, options: IndexOptions, progress: Progress
    ) -> None:
        self.numbers = trained_numbers(item_vectors)
        if not len(self.numbers):
            raise UsageError("item_vectors", "no row that is not zero", "Train the model on at least one watch.")
        self.item_vectors, self.vectors = item_vectors, item_vectors[self.numbers]
        self.tuning, self.unseen, self.options, self.say = tuning, unseen, options, progress
        self.until = time.monotonic() + options.build_seconds
        self.skew = skew(self.vectors)
        self.trials: list[Trial] = []
        self.best: Point | None = None
        self._centres: dict[tuple[int, Space], Float32] = {}

    def run(self) -> None:
        """Let all kinds enter that suit the catalogue's size, while there is time."""
        self.enter(FLAT)
        if self.best is not None and len(self.numbers) < self.options.flat_below:
            return
        for kind in self._kinds():
            if time.monotonic() > self.until:
                break
            self.enter(kind)

    def _kinds(self) -> Iterator[Kind]:
        """From the most promising on; which ones are worth trying depends on what was found before."""
        items, dim = self.vectors.shape
        if items <= _EXHAUSTIVE_UP_TO:
            yield Kind("SQfp16")
            yield Kind("SQ8")
        lists = 1 << round(np.log2(np.sqrt(items)))
        yield Kind(f"IVF{lists},SQfp16")
        while self._champion() == f"IVF{lists},SQfp16" and items > 2 * _LEAST_LIST * lists:
            lists *= 2
            yield Kind(f"IVF{lists},SQfp16")
        if self.best is not None and self.best.index.kind.lists:
            lists = self.best.index.kind.lists
        halves = (f"PQ{dim // 2}x4fs",) if dim % 2 == 0 else ()
        products = (f"PQ{dim}x4fs", *halves) if items >= _LEAST_TRAINED else ()
        for code in ("Flat", "SQ8", *products, "RaBitQ"):
            yield Kind(f"IVF{lists},{code}")
        for space in SPACES if self.skew >= SKEWED else SPACES[:1]:
            if space != "dot":
                yield Kind(f"IVF{lists},SQfp16", space)
            for degree in DEGREES:
                graph = Kind(f"HNSW{degree},SQfp16", space)
                yield graph
                if self._champion() != graph.describe():
                    break

    def _champion(self) -> str:
        return self.best.index.kind.describe() if self.best else ""

    def enter(self, kind: Kind) -> None:
        """Build a kind, find its least effort, and keep it if it is the fastest that reaches the target."""
        size = kind.bytes(*self.vectors.shape) / 1e6
        if size > (self.options.memory_megabytes or np.inf):
            return
        self.say(kind.describe())
        start = time.monotonic()
        try:
            index = FaissIndex(self._built(kind), self.item_vectors, self.numbers, kind)
        except TooSlowError as error:
            self.say(str(error))
            return
        seconds = time.monotonic() - start
        enough: list[tuple[Point, int]] = []
        slow = 2 * self.best.microseconds if self.best else np.inf
        for point in climb(index, self.tuning, self.options.target_recall, slow):
            trial = self._note(_trial(point, size, seconds))
            if point.reaches(self.options.target_recall):
                enough.append((point, trial))
            self.say(point.index.describe())
        if enough:
            self._challenge(*min(enough, key=lambda each: each[0].microseconds))

    def _note(self, trial: Trial) -> int:
        """Add a trial, unless the same search was tried before; returns its place."""
        tried = [(t.kind, t.space, t.search) for t in self.trials]
        same = (trial.kind, trial.space, trial.search)
        if same in tried:
            return tried.index(same)
        self.trials.append(trial)
        return len(tried)

    def _built(self, kind: Kind) -> object:
        if not kind.lists:
            until = np.inf if kind == FLAT else self.until
            return build(kind, self.vectors, self.numbers, until=until)
        shared = kind.lists, kind.space
        if shared not in self._centres:
            self._centres[shared] = centroids(self.vectors, kind)
        return build(kind, self.vectors, self.numbers, self._centres[shared], self.until)

    def _challenge(self, point: Point, trial: int) -> None:
        """Check a point with the unseen sample; keep it if that confirms it and it is faster than the best."""
        target = self.options.target_recall
        checked = self._checked(point)
        for _ in range(_MORE_EFFORT):
            if point.confirmed(checked, target) or point.index.kind.effort is None:
                break
            point, last = measured(harder(point.index), self.tuning, target), self.trials[trial]
            trial = self._note(_trial(point, last.megabytes, last.build_seconds))
            checked = self._checked(point)
        self.trials[trial] = self.trials[trial].model_copy(update={"unseen_recall_at_50": checked.recall})
        if not point.confirmed(checked, target):
            return
        if self.best is not None:
            new, old = self.unseen.microseconds(point.index, self.best.index, seconds=0.3)
            if new >= old:
                return
        self.best = checked

    def _checked(self, point: Point) -> Point:
        """A point with the recall of the unseen sample."""
        recall, error = self.unseen.recall(point.index)
        return replace(point, recall=recall, error=error)

    def result(self) -> BuiltIndex:
        """The winner, with what it does where only few items are allowed."""
        if self.best is None:
            limit = self.options.memory_megabytes
            raise UsageError(
                "target_recall" if limit is None else "memory_megabytes",
                f"{limit or 'no limit'}: nothing that fits reached recall {self.options.target_recall} "
                f"in {self.options.build_seconds:g} s",
                f"Exact search takes {FLAT.bytes(*self.vectors.shape) / 1e6:,.1f} megabytes, compressed vectors a "
                "sixth of that: allow more, or more build_seconds, or lower target_recall.",
            )
        self.say("searches among few items")
        index = self.best.index
        steps, scan_below = filtered_steps(
            index, self.tuning.queries, self.item_vectors, self.options.target_recall, self.options.seed
        )
        return BuiltIndex(
            index=index.tuned(Effort(search=index.effort.search, filtered=steps, scan_below=scan_below)),
            recall_at_50=self.best.recall,
            fell_back=index.kind == FLAT and len({trial.kind for trial in self.trials}) > 1,
            queries=len(self.tuning.queries) + len(self.unseen.queries),
            skew=self.skew,
            warnings=self._warnings(),
            trials=tuple(self.trials),
        )

    def _warnings(self) -> tuple[str, ...]:
        graphs = [t.recall_at_50 for t in self.trials if t.kind.startswith("HNSW") and t.space == "dot"]
        if self.skew < SKEWED or len(self.numbers) < self.options.flat_below:
            return ()
        lost = f"one of them found {max(graphs):.3f} of the best 50 at the most" if graphs else "none was tried"
        return (
            f"The lengths of the item vectors differ: long ones are {self.skew:.1f} times as long as short ones. "
            f"Graphs by raw inner product lose recall with such vectors; {lost}.",
        )


def _trial(point: Point, megabytes: float, seconds: float) -> Trial:
    kind = point.index.kind
    return Trial(
        kind=kind.factory,
        space=kind.space,
        search=point.index.effort.search,
        recall_at_50=point.recall,
        recall_error=point.error,
        microseconds=point.microseconds,
        megabytes=megabytes,
        build_seconds=seconds,
    )


def build_from_export(
    export_folder: Path, folder: Path, options: IndexOptions, progress: Progress = lambda _: None
) -> IndexManifest:
    """Build the index of an export and write it to `folder`. Raises what `Export.open` and `build_index` raise."""
    IndexManifest.check_target(folder)
    progress("checking the export")
    export = Export.open(export_folder)
    built = build_index(np.asarray(export.item_vectors), np.asarray(export.user_vectors)[1:], options, progress)
    return save_index(
        built.index,
        Filters.of(export.catalogue, export.items),
        Countries.of(export),
        folder,
        items=export.manifest.items,
        recall_at_50=built.recall_at_50,
        target_recall=options.target_recall,
        fell_back=built.fell_back,
        queries=built.queries,
        skew=built.skew,
        warnings=built.warnings,
        trials=built.trials,
        item_vectors_sha256=export.manifest.files["item_vectors.npy"].sha256,
    )
