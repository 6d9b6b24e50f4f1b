"""The index on disk, and what it says about itself.

index.faiss     FAISS's own format; read only after its checksum was compared
numbers.npy     int32 [items in it]  their item numbers, rising
fresh.npy       int32  items that were added or got another vector since it was built: searched exactly beside it
withdrawn.npy   int32  items that are found no more
popular.arrow   the most watched items of each country; see index.countries
filters/        which items have a category or an upload time; see index.bitmaps
manifest.json   search parameters, what was tried and measured, checksums
"""

from pathlib import Path
from typing import ClassVar, Literal

import numpy as np

from index.countries import Countries
from index.faiss_index import FRESH_FILE, NUMBERS_FILE, WITHDRAWN_FILE, Changes, FaissIndex
from index.filters import Filters
from index.kinds import Kind
from index.spaces import Space
from index.trial import Effort, Trial
from watchnext.errors import CorruptError
from watchnext.features import Float32
from watchnext.files import Manifest, atomic_folder, share


class IndexManifest(Manifest):
    """What an index says about itself."""

    made_by: ClassVar[str] = "watchnext index"
    format: Literal["watchnext-index-2"] = "watchnext-index-2"
    kind: str
    """FAISS's name of the index: `Flat`, `IVF512,SQfp16`, `HNSW32`."""
    space: Space
    """Where it searches, see `index.spaces`."""
    effort: Effort
    """How hard it searches."""
    dim: int
    items: int
    """Items in the export's vocabulary."""
    indexed: int
    """Items that can be found: those that were trained."""
    recall_at_50: float
    """Against exact search, for user vectors that no tuning saw."""
    target_recall: float
    """The recall that was asked for."""
    fell_back: bool
    """True when no faster index reached the target, so that exact search was chosen."""
    queries: int
    """User vectors that tuned and checked the search."""
    skew: float
    """Of the lengths of the item vectors, see `index.spaces.skew`."""
    warnings: tuple[str, ...]
    """What whoever runs this should know."""
    trials: tuple[Trial, ...]
    """All that was tried; none where no user has a vector."""
    item_vectors_sha256: str
    """Checksum of the export's `item_vectors.npy` that the index was built from."""

    def chosen(self) -> Trial | None:
        """What was measured for the index that was built; None where nothing was."""
        same = (t for t in self.trials if (t.kind, t.space, t.search) == (self.kind, self.space, self.effort.search))
        return next(same, None)

    def best_of_each_kind(self) -> list[Trial]:
        """Of each kind the fastest that reached the target for unseen users, else that of the highest recall."""
        kinds: dict[tuple[str, str], list[Trial]] = {}
        for trial in self.trials:
            kinds.setdefault((trial.kind, trial.space), []).append(trial)
        chosen = self.chosen()
        return [chosen if chosen in tried else _best(tried, self.target_recall) for tried in kinds.values()]


def save_index(
    index: FaissIndex, filters: Filters, countries: Countries, folder: Path, **about: object
) -> IndexManifest:
    """Write an index, whole or not at all; `about` are the fields of the manifest that the index does not know."""
    with atomic_folder(folder, IndexManifest) as temporary:
        index.save(temporary)
        filters.save(temporary)
        countries.save(temporary)
        return IndexManifest.seal(
            temporary,
            kind=index.kind.factory,
            space=index.kind.space,
            effort=index.effort,
            dim=index.dim,
            indexed=len(index),
            **about,
        )


def save_changed(
    old: Path, changes: Changes, filters: Filters | None, folder: Path, items: int, item_vectors_sha256: str
) -> IndexManifest:
    """Write an index with other changes since it was built into a new folder, sharing FAISS's part of the old one.

    Args:
        old: folder of the index, whose checksums the caller has compared.
        changes: all since the index was built.
        filters: others than the old ones; None keeps these.
        folder: an existing, empty one.
        items: in the export's vocabulary.
        item_vectors_sha256: of the export's `item_vectors.npy`.
    """
    about = IndexManifest.read(old)
    found = np.zeros(items + 1, bool)
    found[np.load(old / NUMBERS_FILE)] = True
    found[changes.withdrawn] = False
    found[changes.fresh] = True
    for name, numbers in zip((FRESH_FILE, WITHDRAWN_FILE), changes, strict=True):
        np.save(folder / name, numbers)
    if filters is not None:
        filters.save(folder)
    shared = {name: entry for name, entry in about.files.items() if not (folder / name.split("/")[0]).exists()}
    for name in shared:
        share(old / name, folder / name)
    fields = about.model_dump(exclude={"created", "files"})
    fields |= {
        "items": items,
        "indexed": int(np.count_nonzero(found)),
        "item_vectors_sha256": item_vectors_sha256,
    }
    return IndexManifest.seal(folder, shared, **fields)


def open_index(folder: Path, item_vectors: Float32, verify: bool = True) -> FaissIndex:
    """Memory-map an index.

    Args:
        folder: where `save_index` put it.
        item_vectors: [items + 1, dim] those that it was built from.
        verify: compare all checksums before FAISS reads a byte; leave out only where a release's own were compared.

    Raises UsageError where there is no index, CorruptError where a file is not what the manifest says.
    """
    manifest = IndexManifest.read(folder)
    if verify:
        manifest.verify(folder)
    if item_vectors.shape != (manifest.items + 1, manifest.dim):
        got = f"an index of {manifest.items} items and {manifest.dim} dimensions"
        raise CorruptError(str(folder), got, f"The item vectors are {item_vectors.shape}: watchnext index.")
    kind = Kind(manifest.kind, manifest.space)
    index = FaissIndex.open(folder, item_vectors, kind, manifest.effort)
    if len(index) != manifest.indexed:
        raise CorruptError(str(folder), f"an index of {len(index)} items", f"The manifest says {manifest.indexed}.")
    return index


def _best(tried: list[Trial], target: float) -> Trial:
    reached = [trial for trial in tried if (trial.unseen_recall_at_50 or 0) >= target]
    if reached:
        return min(reached, key=lambda trial: trial.microseconds)
    return max(tried, key=lambda trial: trial.recall_at_50)
