"""The export: what training leaves and everything after it needs. Open formats only; never pickle.

    item_vectors.npy       float32 [items + 1, dim]  rows of the softmax weights; row 0 and never-trained items are 0
    user_vectors.npy       float32 [users + 1, dim]  last hidden layer for each whole history; row 0: empty history
    watched_vectors.npy    float32 [items + 1, d]    input embeddings
    search_vectors.npy     float32 [search tokens + 1, d]  embeddings of search tokens; only with searches
    tower.safetensors      all other weights
    item_counts.npy        int64 [items + 1]         watches the model was trained on
    item_vocabulary.arrow  user_vocabulary.arrow     ids
    catalogue.arrow        users.arrow               what is known about items and users
    histories/             items.npy, times.npy, offsets.npy
    searches/              the same of search tokens; only with searches
    search_vocabulary.arrow  search tokens; only with searches
    optimizer.safetensors  the optimizer's state, for warm starts only; where training was asked to keep it
    withdrawn.npy          int32 [withdrawn items], rising; only where there are any, see watchnext.update
    trained_catalogue.arrow  what training knew of items; only where that has changed since
    manifest.json          configuration, metrics, checksums

The score of an item for a user is the dot product of their vectors, always.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from watchnext.catalogue import USER_SCHEMA, Catalogue, open_table, save_table
from watchnext.config import ModelConfig, TrainingConfig, Word2vecConfig
from watchnext.errors import CorruptError
from watchnext.features import FeatureSpec, Float32
from watchnext.files import Manifest, atomic_folder
from watchnext.histories import Histories, Int32, Int64
from watchnext.inputs import UserInputs, user_inputs
from watchnext.split import HoldoutName
from watchnext.tower import UserTower
from watchnext.vocabulary import Vocabulary

HISTORIES, SEARCHES = "histories", "searches"
SEARCH_VECTORS, SEARCH_VOCABULARY = "search_vectors.npy", "search_vocabulary.arrow"
OPTIMIZER = "optimizer.safetensors"
CATALOGUE, TRAINED_CATALOGUE, WITHDRAWN = "catalogue.arrow", "trained_catalogue.arrow", "withdrawn.npy"
USER_BLOCK = 1024


class ExportManifest(Manifest):
    """What an export says about itself."""

    made_by: ClassVar[str] = "watchnext train"
    format: Literal["watchnext-export-1"] = "watchnext-export-1"
    items: int
    """Items in the vocabulary."""
    users: int
    """Users in the vocabulary."""
    dim: int
    """Dimensions of user and item vectors."""
    model: ModelConfig
    training: TrainingConfig | Word2vecConfig
    features: FeatureSpec
    holdout: HoldoutName
    """Which watches the model has not seen."""
    holdout_share: float
    """`temporal` and `users`: the share of watches or users in each of the two held-out parts."""
    holdout_seed: int = 0
    """`users` only: what the held-out users were drawn by."""
    epochs: int
    """Passes over the training part that the weights come from."""
    metrics: dict[str, float]
    """What validation measured for these weights."""


@dataclass(frozen=True)
class Export:
    """An export in memory or memory-mapped; see the module's docstring for shapes."""

    manifest: ExportManifest
    item_vectors: Float32
    user_vectors: Float32
    watched_vectors: Float32
    weights: dict[str, Float32]
    item_counts: Int64
    items: Vocabulary
    users: Vocabulary
    catalogue: Catalogue
    user_table: pa.Table
    histories: Histories
    search_vectors: Float32 | None = None
    search_tokens: Vocabulary | None = None
    searches: Histories | None = None
    optimizer: dict[str, NDArray[Any]] | None = None
    """By names that only training knows; `open` leaves it out, `open_optimizer` reads it."""
    withdrawn: Int32 = field(default_factory=lambda: np.zeros(0, np.int32))
    """[withdrawn items] numbers, rising, of items that are neither recommended nor found near others."""
    trained_catalogue: Catalogue | None = None
    """What training knew of items, where that has changed since."""

    @classmethod
    def open(cls, folder: Path, verify: bool = True) -> Self:
        """Memory-map an export.

        Args:
            folder: where `write` put it.
            verify: compare all checksums first; leave out only where a release's own checksums were compared.

        Raises UsageError where there is no export, CorruptError where a file is not what the manifest says or the
        parts do not fit together.
        """
        manifest = ExportManifest.read(folder)
        if verify:
            manifest.verify(folder)
        try:
            arrays = {name: np.load(folder / f"{name}.npy", mmap_mode="r") for name in _ARRAYS}
            weights = load_file(folder / "tower.safetensors")
            histories = Histories.open(folder / HISTORIES)
            searches = Histories.open(folder / SEARCHES) if (folder / SEARCHES).is_dir() else None
            vectors = folder / SEARCH_VECTORS
            search_vectors = np.load(vectors, mmap_mode="r") if vectors.is_file() else None
            if (folder / WITHDRAWN).is_file():
                arrays["withdrawn"] = np.load(folder / WITHDRAWN, mmap_mode="r")
        except Exception as error:  # numpy's reader evaluates headers and lets any error through
            raise CorruptError(str(folder), error, "Restore the export or train again.") from error
        trained = folder / TRAINED_CATALOGUE
        export = cls(
            manifest=manifest,
            weights=weights,
            items=Vocabulary.open(folder / "item_vocabulary.arrow"),
            users=Vocabulary.open(folder / "user_vocabulary.arrow"),
            catalogue=Catalogue.open(folder / CATALOGUE),
            user_table=open_table(folder / "users.arrow", USER_SCHEMA),
            histories=histories,
            search_vectors=search_vectors,
            search_tokens=Vocabulary.open(folder / SEARCH_VOCABULARY) if searches else None,
            searches=searches,
            trained_catalogue=Catalogue.open(trained) if trained.is_file() else None,
            **arrays,
        )
        export.check_shapes(folder)
        return export

    def tower(self) -> UserTower:
        """The network from histories to user vectors."""
        about = self.manifest
        return UserTower(about.model, about.features, self.watched_vectors, self.weights, self.search_vectors)

    def inputs(self) -> UserInputs:
        """What the tower reads of the export's users."""
        return user_inputs(self.manifest.features, self.histories, self.user_table, self.searches)

    def check_shapes(self, folder: Path) -> None:
        """Raise CorruptError unless all parts have the sizes that the manifest gives."""
        items, users, dim = self.manifest.items, self.manifest.users, self.manifest.dim
        wanted = {
            "item_vectors": (self.item_vectors.shape, (items + 1, dim)),
            "user_vectors": (self.user_vectors.shape, (users + 1, dim)),
            "watched_vectors": (self.watched_vectors.shape[:1], (items + 1,)),
            "item_counts": (self.item_counts.shape, (items + 1,)),
            "item_vocabulary": ((len(self.items),), (items,)),
            "user_vocabulary": ((len(self.users),), (users,)),
            "catalogue": ((len(self.catalogue),), (items,)),
            "users": ((self.user_table.num_rows,), (users + 1,)),
            "histories": ((len(self.histories),), (users + 1,)),
        }
        tokens = self.manifest.features.search_tokens
        if self.search_tokens is not None and self.searches is not None:
            wanted["search_vocabulary"] = ((len(self.search_tokens),), (tokens,))
            wanted["searches"] = ((len(self.searches),), (users + 1,))
        if self.search_vectors is not None:
            wanted["search_vectors"] = (self.search_vectors.shape[:1], (tokens + 1,))
        if len(self.withdrawn) and not 0 < self.withdrawn.min() <= self.withdrawn.max() <= items:
            raise CorruptError(f"{WITHDRAWN} in {folder}", "items that do not exist", "Restore the export.")
        for name, (got, want) in wanted.items():
            if got != want:
                raise CorruptError(
                    f"{name} in {folder}", f"shape {got} where the manifest says {want}", "Train again."
                )


def without_length(vectors: Float32) -> NDArray[np.bool_]:
    """[rows] whether the squared length of a vector [rows, dim] that is not zero is 0 or infinite in float32."""
    with np.errstate(over="ignore"):
        squares = np.vecdot(vectors, vectors)
    found: NDArray[np.bool_] = np.isinf(squares) | ((squares == 0) & vectors.any(axis=1))
    return found


def user_vectors(
    tower: UserTower, inputs: UserInputs, track: Callable[[range], Iterable[int]] = lambda blocks: blocks
) -> Float32:
    """[users + 1, dim] the vector of every user from the whole history; row 0 for an empty one.

    Args:
        track: called with the first user numbers of the blocks, gives them back one by one: a progress bar.
    """
    lengths = inputs.histories.lengths
    parts = []
    for start in track(range(0, len(lengths), USER_BLOCK)):
        block = np.arange(start, min(start + USER_BLOCK, len(lengths)), dtype=np.int32)
        parts.append(tower.user_vectors(*inputs.at(block, lengths[block])))
    return np.concatenate(parts)


def open_optimizer(folder: Path) -> dict[str, NDArray[Any]]:
    """The optimizer's state in an export; empty where it was not kept. Raises CorruptError for a damaged file."""
    try:
        return load_file(folder / OPTIMIZER) if (folder / OPTIMIZER).is_file() else {}
    except (OSError, SafetensorError) as error:
        raise CorruptError(str(folder / OPTIMIZER), error, "Restore the export or train again.") from error


_ARRAYS = ("item_vectors", "user_vectors", "watched_vectors", "item_counts")


def write_export(export: Export, folder: Path) -> ExportManifest:
    """Write an export, whole or not at all; the checksums of `export.manifest` are taken anew and returned."""
    export.check_shapes(folder)
    with atomic_folder(folder, ExportManifest) as temporary:
        for name in _ARRAYS:
            np.save(temporary / f"{name}.npy", getattr(export, name))
        save_file(export.weights, temporary / "tower.safetensors")
        export.items.save(temporary / "item_vocabulary.arrow")
        export.users.save(temporary / "user_vocabulary.arrow")
        save_table(export.catalogue.table, temporary / CATALOGUE)
        if export.trained_catalogue is not None:
            save_table(export.trained_catalogue.table, temporary / TRAINED_CATALOGUE)
        if len(export.withdrawn):
            np.save(temporary / WITHDRAWN, export.withdrawn)
        save_table(export.user_table, temporary / "users.arrow")
        (temporary / HISTORIES).mkdir()
        export.histories.save(temporary / HISTORIES)
        if export.searches is not None and export.search_tokens is not None:
            (temporary / SEARCHES).mkdir()
            export.searches.save(temporary / SEARCHES)
            export.search_tokens.save(temporary / SEARCH_VOCABULARY)
        if export.search_vectors is not None:
            np.save(temporary / SEARCH_VECTORS, export.search_vectors)
        if export.optimizer:
            save_file(export.optimizer, temporary / OPTIMIZER)
        about = export.manifest.model_dump(exclude={"created", "files"})
        return ExportManifest.seal(temporary, **about)
