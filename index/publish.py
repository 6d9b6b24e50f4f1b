"""From an export and its index to a release that was checked as a whole before anyone can see it."""

import fcntl
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import numpy as np

from index.exact import ExactIndex
from index.filters import Filters
from index.folder import IndexManifest, open_index
from index.recall import DEPTH, recall
from index.recommender import Recommender
from watchnext.denied import DENIED
from watchnext.errors import ReleaseRefusedError, UsageError, WatchnextError
from watchnext.export import Export, ExportManifest
from watchnext.features import Float32
from watchnext.files import MANIFEST, FileEntry, Manifest, atomic_folder
from watchnext.release import CURRENT, EXPORT, INDEX, ReleaseManifest, ReleaseStore
from watchnext.variants import CURRENT_VARIANT, VARIANTS

SMOKE_USERS = 100
"""So many users, drawn once, are answered by the new release before it may become current."""
RECALL_MARGIN = 0.05
"""So far below the index's own figure their recall may be: they are few, and their watched items are left out."""


def publish(export_folder: Path, index_folder: Path, store: ReleaseStore, name: str | None = None) -> ReleaseManifest:
    """Copy an export and its index into a new release, check it, and make it the current one.

    Args:
        export_folder: what training wrote.
        index_folder: what `index.build` wrote for this export.
        store: where releases lie.
        name: of the release; None is the time, UTC, as `20260131-120000`.

    Raises UsageError for a name that is taken or impossible, ReleaseRefusedError with the reason where anything else
    is wrong; the current release then stays. A publication that is killed leaves the store as it was, but for a
    hidden folder that nothing reads and the next publication deletes, or, in its last moment, a whole release that is
    not current.
    """
    store.root.mkdir(parents=True, exist_ok=True)
    with alone(store):
        return release(store, free_name(store, name), partial(_copies, export_folder, index_folder))


def release(
    store: ReleaseStore, name: str, write: Callable[[Path], dict[str, FileEntry]], updated_from: str | None = None
) -> ReleaseManifest:
    """Have a release written, check it, and make it the current one, all while the caller holds `alone`.

    Args:
        store: where releases lie.
        name: what `free_name` gave.
        write: fills an empty folder with an export and an index; returns the checksums that it knows.
        updated_from: see `ReleaseManifest`.

    Raises ReleaseRefusedError with the reason where anything is wrong; the current release then stays.
    """
    try:
        with atomic_folder(store.root / name, ReleaseManifest) as folder:
            known = write(folder)
            manifest = _checked(folder, name, known, updated_from=updated_from, replaced=store.current_if_any())
    except WatchnextError as error:
        raise ReleaseRefusedError(error.argument, error.got, error.cure) from error
    except OSError as error:
        raise ReleaseRefusedError(str(error.filename), error.strerror, "Mend that, then publish again.") from error
    store.make_current(name)
    return manifest


def _copies(export_folder: Path, index_folder: Path, folder: Path) -> dict[str, FileEntry]:
    export, about = Export.open(export_folder), IndexManifest.read(index_folder)
    about.verify(index_folder)
    _check_match(export, about, index_folder)
    _check_values(export, export_folder)
    _copy(export_folder, folder / EXPORT, export.manifest)
    _copy(index_folder, folder / INDEX, about)
    return entries_of(export.manifest, about)


def entries_of(export: ExportManifest, index: IndexManifest) -> dict[str, FileEntry]:
    """The checksums of an export and an index by their names in a release."""
    parts = {EXPORT: export.files, INDEX: index.files}
    return {f"{folder}/{name}": entry for folder, files in parts.items() for name, entry in files.items()}


def _checked(folder: Path, name: str, known: dict[str, FileEntry], **about: str | None) -> ReleaseManifest:
    """Ask a release for some users, then write its manifest; `about` are the fields that its files don't tell."""
    export, found = Export.open(folder / EXPORT, verify=False), IndexManifest.read(folder / INDEX)
    index = open_index(folder / INDEX, export.item_vectors, verify=False)
    recommender = Recommender(export, index, name, Filters.open(folder / INDEX, export.items))
    _smoke(recommender, found.recall_at_50)
    return ReleaseManifest.seal(
        folder,
        known,
        name=name,
        items=export.manifest.items,
        users=export.manifest.users,
        dim=export.manifest.dim,
        index=recommender.index.describe(),
        recall_at_50=found.recall_at_50,
        metrics=export.manifest.metrics,
        **about,
    )


@contextmanager
def alone(store: ReleaseStore) -> Iterator[None]:
    """Hold the store's lock, which the system frees when the process dies, and clear what killed processes left."""
    with (store.root / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        for folder in store.root.glob(".*.*/"):
            if {path.name for path in folder.iterdir()} <= {EXPORT, INDEX, MANIFEST}:
                shutil.rmtree(folder, ignore_errors=True)
        yield


def free_name(store: ReleaseStore, name: str | None) -> str:
    """The name of a new release: the given one, or the time. Raises UsageError if it is taken or impossible."""
    stamp = datetime.now(UTC).strftime("%Y%m%d-%H%M%S")
    if name is None:
        names = (stamp if n == 1 else f"{stamp}-{n}" for n in range(1, 1000))
        return next(free for free in names if not (store.root / free).exists())
    reserved = (CURRENT, CURRENT_VARIANT, DENIED, VARIANTS)
    if name in reserved:
        raise UsageError("--name", repr(name), f"That means something else here: give another, like {stamp}.")
    if not name or Path(name).name != name or name.startswith(".") or not name.isprintable() or " " in name:
        raise UsageError("--name", repr(name), f"Give a name without slashes, spaces or a leading dot, like {stamp}.")
    if (store.root / name).exists():
        raise UsageError(
            "--name", f"{name!r}, which {store.root} has already", "Releases never change: choose another."
        )
    return name


def _copy(source: Path, target: Path, manifest: Manifest) -> None:
    """Copy the files that a manifest names, then compare the copies with it."""
    for name in (*manifest.files, MANIFEST):
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source / name, target / name)
    manifest.verify(target)


def _check_match(export: Export, index: IndexManifest, folder: Path) -> None:
    """Refuse an index that was built from other item vectors."""
    facts = {
        "item vectors": (index.item_vectors_sha256, export.manifest.files["item_vectors.npy"].sha256),
        "dimensions": (index.dim, export.manifest.dim),
        "items": (index.items, export.manifest.items),
    }
    for name, (got, want) in facts.items():
        if got != want:
            raise ReleaseRefusedError(
                f"{name} of {folder}", f"{got} where the export has {want}", "Build its index: watchnext index."
            )


def _check_values(export: Export, folder: Path) -> None:
    """Refuse vectors that are not finite and histories that name items which do not exist."""
    for name in ("item_vectors", "user_vectors", "watched_vectors"):
        if not _finite(getattr(export, name)):
            raise ReleaseRefusedError(f"{name} in {folder}", "a value that is not finite", "Train again.")
    items, offsets = export.histories.items, export.histories.offsets
    outside = len(items) > 0 and not 0 <= items.min() <= items.max() <= export.manifest.items
    if outside or offsets[0] != 0 or offsets[-1] != len(items) or (np.diff(offsets) < 0).any():
        raise ReleaseRefusedError(f"histories in {folder}", "watches of items that do not exist", "Train again.")


def _finite(vectors: Float32, rows: int = 65_536) -> bool:
    return all(bool(np.isfinite(vectors[start : start + rows]).all()) for start in range(0, len(vectors), rows))


def _smoke(recommender: Recommender, promised: float) -> None:
    """Ask the release for some users, and refuse it unless every answer is right."""
    export = recommender.export
    users = [user for user in _draw(export.manifest.users) if recommender.knows(user)]
    if not export.manifest.items or not recommender.recommend("", 1).candidates:
        raise ReleaseRefusedError("release", "no item to recommend", "Train on a corpus with items, and leave some.")
    if not users:
        return
    vectors = np.asarray(export.user_vectors)[users]
    watched = [export.histories[user] for user in users]
    exact, _ = ExactIndex(export.item_vectors).search(vectors, DEPTH, watched)
    found = np.zeros(exact.shape, np.int32)
    for row, user in enumerate(users):
        id_ = export.users.id(user)
        candidates = recommender.recommend(id_, DEPTH).candidates
        numbers, scores = [c.number for c in candidates], np.array([c.score for c in candidates])
        if len(numbers) != np.isfinite(exact[row]).sum():
            _refuse(id_, f"{len(numbers)} items where {np.isfinite(exact[row]).sum()} are left")
        if not np.isfinite(scores).all() or (np.diff(scores) > 0).any():
            _refuse(id_, "scores that are not finite or do not fall")
        if np.isin(numbers, watched[row]).any() or len(set(numbers)) != len(numbers):
            _refuse(id_, "an item that was watched already or comes twice")
        if np.isin(numbers, export.withdrawn).any():
            _refuse(id_, "an item that is withdrawn")
        found[row, : len(numbers)] = numbers
    reached = recall(found, exact, vectors, export.item_vectors)
    if reached < promised - RECALL_MARGIN:
        _refuse("a sample of users", f"recall {reached:.3f} where the index promised {promised:.3f}")


def _draw(users: int) -> list[int]:
    chosen = np.random.default_rng(0).permutation(users)[:SMOKE_USERS] + 1
    return [int(user) for user in np.sort(chosen)]


def _refuse(asked: str, got: str) -> None:
    raise ReleaseRefusedError(f"test question for {asked}", got, "Build the index again: watchnext index.")
