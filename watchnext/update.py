"""An export with new, changed and withdrawn items, made of an earlier one without training.

New items get the numbers after the last, so that no number changes its meaning. What does not change is the same file
as before, by hard link; users, histories and the tower never change. New items have no watches and no watched vector.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import pyarrow as pa
from numpy.lib import format as npy
from numpy.typing import NDArray

from watchnext.catalogue import row_numbers, save_table
from watchnext.errors import UsageError
from watchnext.export import CATALOGUE, OPTIMIZER, TRAINED_CATALOGUE, WITHDRAWN, Export, ExportManifest
from watchnext.files import share
from watchnext.histories import Int32
from watchnext.item_changes import ItemChanges
from watchnext.vocabulary import Vocabulary

SHOWN = 5
"""Ids that an error lists at most."""
VOCABULARY = "item_vocabulary.arrow"
_BLOCK = 65_536
"""Rows that are copied at a time."""


@dataclass(frozen=True)
class ItemUpdate:
    """What an update does to the items of an export.

    Args:
        changes: new and changed items.
        numbers: [changed items] their numbers; those of new ones go on from the last.
        new: how many items are new.
        vectors: numbers, rising, of the items that get another vector, new ones too.
        withdraw: numbers, rising, of the items that are withdrawn now and were not.
        withdrawn: numbers, rising, of all that are withdrawn afterwards.
        described: numbers, rising, of known items of which something else is known afterwards.
        catalogue: [items + 1] what is known of items afterwards; None: the same.
    """

    changes: ItemChanges
    numbers: Int32
    new: int
    vectors: Int32
    withdraw: Int32
    withdrawn: Int32
    described: Int32
    catalogue: pa.Table | None

    @classmethod
    def of(cls, export: Export, changes: ItemChanges, withdraw: Sequence[str]) -> Self:
        """Find the items.

        Raises UsageError for a withdrawn id that is unknown or changed, too, for a new item without a vector, and
        where nothing would change.
        """
        gone, numbers = _numbers(export.items, withdraw), _numbers(export.items, changes.ids)
        unknown = [id_ for id_, number in zip(withdraw, gone, strict=True) if not number]
        _refuse(unknown, "to withdraw", "no such item in the release", "Name items that it has.")
        _refuse(sorted(set(withdraw) & set(changes.ids)), "to withdraw", "a change to it, too", "Give one of both.")
        is_new = numbers == 0
        bare = [changes.ids[row] for row in np.flatnonzero(is_new & ~changes.has_vector)]
        _refuse(bare, "without a vector", "a new item", "Give it a vector.")
        rows = np.flatnonzero(changes.has_vector)
        other = (np.asarray(export.item_vectors)[numbers[rows]] != changes.vectors[rows]).any(axis=1)
        numbers[is_new] = len(export.items) + np.arange(1, is_new.sum() + 1)
        vectors = np.sort(numbers[rows[other]])
        withdraw_now = np.setdiff1d(gone, export.withdrawn).astype(np.int32)
        withdrawn = np.setdiff1d(np.union1d(export.withdrawn, withdraw_now), vectors).astype(np.int32)
        catalogue = _catalogue(export, changes.facts, numbers, int(is_new.sum()))
        if not (len(vectors) or len(withdraw_now) or catalogue is not None):
            raise UsageError("update", "nothing that changes the release", "Name items with --items or --withdraw.")
        described = _described(export.catalogue.table, catalogue, np.sort(numbers[~is_new]))
        return cls(changes, numbers, int(is_new.sum()), vectors, withdraw_now, withdrawn, described, catalogue)


def _catalogue(export: Export, facts: pa.Table, numbers: Int32, new: int) -> pa.Table | None:
    """[items + 1] the catalogue with new facts [changed items], of which null ones say nothing; None: the same."""
    old = export.catalogue.table
    columns = []
    for before, said in zip(old.columns, facts.columns, strict=True):
        source = np.arange(old.num_rows + new)
        heard = (numbers >= old.num_rows) | said.is_valid().to_numpy()
        source[numbers[heard]] = old.num_rows + np.flatnonzero(heard)
        columns.append(pa.chunked_array([*before.chunks, *said.chunks], before.type).take(row_numbers(source)))
    table = pa.table(columns, schema=old.schema)
    return None if table.equals(old) else table


def _described(old: pa.Table, new: pa.Table | None, numbers: Int32) -> Int32:
    """Those of some known items whose facts differ."""
    if new is None:
        return numbers[:0]
    before, after = (table.take(row_numbers(numbers.astype(np.int64))).to_pylist() for table in (old, new))
    return numbers[[one != other for one, other in zip(before, after, strict=True)]]


def _numbers(items: Vocabulary, ids: Sequence[str]) -> Int32:
    return np.array(items.numbers(ids), np.int32)


def _refuse(ids: Sequence[str], what: str, got: str, cure: str) -> None:
    if ids:
        named = ", ".join(map(repr, ids[:SHOWN])) + (", ..." if len(ids) > SHOWN else "")
        raise UsageError(f"item {what}: {named}", got, cure)


def write_update(export: Export, folder: Path, update: ItemUpdate, target: Path) -> ExportManifest:
    """Write the export that an update makes of another one.

    Args:
        export: in `folder`, whose checksums the caller has compared: files that are shared are not read again.
        update: of this export.
        target: an existing, empty folder.
    """
    items, about = len(export.items) + update.new, export.manifest
    if len(update.vectors) or len(update.withdraw):
        vectors = _grown(export.item_vectors, items + 1, target / "item_vectors.npy")
        rows = np.isin(update.numbers, update.vectors)
        vectors[update.numbers[rows]] = update.changes.vectors[rows]
        vectors[update.withdraw] = 0
        vectors.flush()
    if update.new:
        new = update.numbers > len(export.items)
        ids = [id_ for id_, is_new in zip(update.changes.ids, new, strict=True) if is_new]
        export.items.with_more(ids).save(target / VOCABULARY)
        for name in ("watched_vectors", "item_counts"):
            _grown(getattr(export, name), items + 1, target / f"{name}.npy").flush()
    if update.catalogue is not None:
        save_table(update.catalogue, target / CATALOGUE)
        if OPTIMIZER in about.files and TRAINED_CATALOGUE not in about.files:
            share(folder / CATALOGUE, target / TRAINED_CATALOGUE)
    if len(update.withdrawn):
        np.save(target / WITHDRAWN, update.withdrawn)
    shared = {name: entry for name, entry in about.files.items() if name != WITHDRAWN}
    shared = {name: entry for name, entry in shared.items() if not (target / name).exists()}
    for name in shared:
        share(folder / name, target / name)
    fields = about.model_dump(exclude={"created", "files"})
    return ExportManifest.seal(target, shared, **{**fields, "items": items})


def _grown(table: NDArray[Any], rows: int, path: Path) -> np.memmap[Any, Any]:
    """A table in a new file, memory-mapped, with rows of zeros added up to `rows`.

    The file is written, not mapped, at first: a full disk is then an error, where a mapping would end the process.
    """
    about = {**npy.header_data_from_array_1_0(table), "fortran_order": False, "shape": (rows, *table.shape[1:])}
    with path.open("wb") as file:
        npy.write_array_header_1_0(file, about)
        for start in range(0, len(table), _BLOCK):
            file.write(np.ascontiguousarray(table[start : start + _BLOCK]).data)
        file.write(np.zeros((rows - len(table), *table.shape[1:]), table.dtype).data)
    grown: np.memmap[Any, Any] = np.load(path, mmap_mode="r+")
    return grown
