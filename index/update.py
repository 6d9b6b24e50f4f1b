"""From a release to one with new, changed and withdrawn items, without training or building an index."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from index.faiss_index import FRESH_FILE, NUMBERS_FILE, Changes
from index.filters import Filters
from index.folder import IndexManifest, save_changed
from index.publish import alone, entries_of, free_name, release
from watchnext.catalogue import Catalogue
from watchnext.export import Export
from watchnext.files import FileEntry
from watchnext.item_changes import ItemChanges, read_changes
from watchnext.release import EXPORT, INDEX, ReleaseManifest, ReleaseStore
from watchnext.update import VOCABULARY, ItemUpdate, write_update
from watchnext.vocabulary import Vocabulary

MANY_FRESH = 1_000
"""Up to so many fresh items nobody is told to build the index again."""
_NANOSECONDS = 0.8
"""What scoring a fresh item costs a query, for each dimension (`python -m benchmarks.updates`)."""


@dataclass(frozen=True)
class Updated:
    """What an update did.

    `replaced` counts known items with another vector, `described` those with other facts, `withdrawn` those withdrawn
    now, `restored` those that were; `fresh` is how many items are scored beside the index with each query, from all
    updates since it was built.
    """

    manifest: ReleaseManifest
    new: int
    replaced: int
    described: int
    withdrawn: int
    restored: int
    fresh: int
    rebuild: bool
    """Whether scoring the fresh items takes longer than searching the index did when it was built."""


def update(
    store: ReleaseStore,
    items: Path | None = None,
    withdraw: Sequence[str] = (),
    base: str | None = None,
    name: str | None = None,
) -> Updated:
    """Make a release of an earlier one with other items, check it, and make it the current one.

    Files that do not change are shared by hard links.

    Args:
        store: where releases lie.
        items: file of new and changed items, see `watchnext.item_changes`.
        withdraw: ids of items that must not be found any more.
        base: the earlier release; None is the current one.
        name: of the new one; None is the time, UTC.

    Raises UsageError for a name that is taken or impossible and for what is wrong with the items, CorruptError where
    the earlier release or the file is damaged, ReleaseRefusedError where the new one does not pass its checks; the
    current release then stays. What is killed leaves the store as it was, as in `index.publish`.
    """
    store.path(base or store.current())  # where nothing was published, nothing is written
    with alone(store):
        before, name = store.path(base or store.current()), free_name(store, name)
        ReleaseManifest.read(before).verify(before)
        export = Export.open(before / EXPORT, verify=False)
        dim = export.manifest.dim
        changes = ItemChanges.none(dim) if items is None else read_changes(items, dim)
        change = ItemUpdate.of(export, changes, list(dict.fromkeys(withdraw)))
        made = release(store, name, partial(_write, before, export, change), before.name)
    fresh = len(np.load(store.path(made.name) / INDEX / FRESH_FILE, mmap_mode="r"))
    chosen = IndexManifest.read(store.path(made.name) / INDEX).chosen()
    enough = 0.0 if chosen is None else 1000 * chosen.microseconds / (_NANOSECONDS * dim)
    restored = len(np.intersect1d(change.vectors, export.withdrawn))
    return Updated(
        manifest=made,
        new=change.new,
        replaced=len(change.vectors) - change.new - restored,
        described=len(change.described),
        withdrawn=len(change.withdraw),
        restored=restored,
        fresh=fresh,
        rebuild=fresh > max(MANY_FRESH, enough),
    )


def _write(before: Path, export: Export, change: ItemUpdate, folder: Path) -> dict[str, FileEntry]:
    for part in (EXPORT, INDEX):
        (folder / part).mkdir()
    about = write_update(export, before / EXPORT, change, folder / EXPORT)
    filters = None
    if change.catalogue is not None:
        items = Vocabulary.open(folder / EXPORT / VOCABULARY)
        filters = Filters.of(Catalogue(change.catalogue), items)
    fresh, indexed = (np.load(before / INDEX / name) for name in (FRESH_FILE, NUMBERS_FILE))
    changes = Changes(
        fresh=np.setdiff1d(np.union1d(fresh, change.vectors), change.withdrawn).astype(np.int32),
        withdrawn=change.withdrawn[np.isin(change.withdrawn, indexed)],
    )
    checksum = about.files["item_vectors.npy"].sha256
    index = save_changed(before / INDEX, changes, filters, folder / INDEX, about.items, checksum)
    return entries_of(about, index)
