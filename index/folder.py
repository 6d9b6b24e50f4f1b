"""The index on disk, and what it says about itself.

index.faiss     FAISS's own format, of plain vectors; read only after its checksum was compared
numbers.npy     int32 [items that can be found]  the item number of each of its rows
filters/        which items have a category or an upload time; see index.bitmaps
manifest.json   search parameters, what was tried and measured, checksums
"""

from pathlib import Path
from typing import ClassVar, Literal

from index.faiss_index import FaissIndex
from index.filters import Filters
from watchnext.config import Closed
from watchnext.errors import CorruptError
from watchnext.files import Manifest, atomic_folder


class Trial(Closed):
    """One kind of index with its search parameters, and what was measured for it."""

    kind: str
    """FAISS's name of the index: `Flat`, `IVF512,Flat`, `HNSW32`."""
    search: dict[str, int]
    """`nprobe` or `efSearch`; empty for `Flat`, which needs none."""
    recall_at_50: float
    """Share of the exact 50 best that it found."""
    microseconds: float
    """Median CPU time of one query alone."""

    def describe(self) -> str:
        """Kind and parameters as one word or two."""
        return " ".join([self.kind, *(f"{name}={value}" for name, value in self.search.items())])


class IndexManifest(Manifest):
    """What an index says about itself."""

    made_by: ClassVar[str] = "watchnext index"
    format: Literal["watchnext-index-1"] = "watchnext-index-1"
    kind: str
    search: dict[str, int]
    dim: int
    items: int
    """Items in the export's vocabulary."""
    indexed: int
    """Items that can be found: those that were trained."""
    recall_at_50: float
    """Of the chosen index, against exact search, for a sample of the user vectors."""
    target_recall: float
    """The recall that was asked for."""
    fell_back: bool
    """True when no faster index reached the target, so that exact search was chosen."""
    queries: int
    """User vectors that recall was measured with."""
    trials: tuple[Trial, ...]
    """All that was tried."""
    item_vectors_sha256: str
    """Checksum of the export's `item_vectors.npy` that the index was built from."""


def save_index(index: FaissIndex, filters: Filters, folder: Path, **about: object) -> IndexManifest:
    """Write an index, whole or not at all; `about` are the fields of the manifest that the index does not know."""
    with atomic_folder(folder, IndexManifest) as temporary:
        index.save(temporary)
        filters.save(temporary)
        return IndexManifest.seal(
            temporary, kind=index.kind, search=index.parameters, dim=index.dim, indexed=len(index), **about
        )


def open_index(folder: Path, verify: bool = True) -> FaissIndex:
    """Memory-map an index.

    Args:
        folder: where `save_index` put it.
        verify: compare all checksums before FAISS reads a byte; leave out only where a release's own were compared.

    Raises UsageError where there is no index, CorruptError where a file is not what the manifest says.
    """
    manifest = IndexManifest.read(folder)
    if verify:
        manifest.verify(folder)
    index = FaissIndex.open(folder, manifest.kind, manifest.search)
    if (index.dim, len(index)) != (manifest.dim, manifest.indexed):
        raise CorruptError(
            str(folder),
            f"an index of {len(index)} items and {index.dim} dimensions",
            f"The manifest says {manifest.indexed} and {manifest.dim}; build it again: watchnext index.",
        )
    return index
