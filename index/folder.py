"""The index on disk, and what it says about itself.

index.faiss     FAISS's own format, of plain vectors; read only after its checksum was compared
numbers.npy     int32 [items that can be found]  the item number of each of its rows
manifest.json   search parameters, what was tried and measured, checksums
"""

from pathlib import Path
from typing import ClassVar, Literal

from index.faiss_index import FaissIndex
from index.kinds import Kind
from index.spaces import Space
from index.trial import FilteredStep, Trial
from watchnext.errors import CorruptError
from watchnext.features import Float32
from watchnext.files import Manifest, atomic_folder


class IndexManifest(Manifest):
    """What an index says about itself."""

    made_by: ClassVar[str] = "watchnext index"
    format: Literal["watchnext-index-1"] = "watchnext-index-1"
    kind: str
    """FAISS's name of the index: `Flat`, `IVF512,SQfp16`, `HNSW32`."""
    space: Space
    """Where it searches, see `index.spaces`."""
    search: dict[str, int]
    """`nprobe` or `efSearch`, and `k_factor`: how many times the candidates asked for are scored again."""
    filtered: tuple[FilteredStep, ...]
    """How hard it searches where only a share of the items is allowed."""
    scan_below: int
    """Where no more items are allowed, all of these are scored."""
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
    """How many times as long as the middle item vector that of the longest hundredth is."""
    warnings: tuple[str, ...]
    """What whoever runs this should know."""
    trials: tuple[Trial, ...]
    """All that was tried."""
    item_vectors_sha256: str
    """Checksum of the export's `item_vectors.npy` that the index was built from."""


def save_index(index: FaissIndex, folder: Path, **about: object) -> IndexManifest:
    """Write an index, whole or not at all; `about` are the fields of the manifest that the index does not know."""
    with atomic_folder(folder, IndexManifest) as temporary:
        index.save(temporary)
        return IndexManifest.seal(
            temporary,
            kind=index.kind.factory,
            space=index.kind.space,
            search=index.effort,
            filtered=index.filtered,
            scan_below=index.scan_below,
            dim=index.dim,
            indexed=len(index),
            **about,
        )


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
    index = FaissIndex.open(folder, item_vectors, kind, manifest.search, manifest.filtered, manifest.scan_below)
    if len(index) != manifest.indexed:
        raise CorruptError(str(folder), f"an index of {len(index)} items", f"The manifest says {manifest.indexed}.")
    return index
