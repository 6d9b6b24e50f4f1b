"""From a user id to recommended items, on one opened release. Knows nothing of HTTP, and never runs the network."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from index.candidates import Candidate, candidates
from index.denied import DeniedItems
from index.filters import Filters, ItemFilter
from index.folder import open_index
from index.interface import Bool, ItemIndex
from index.popular import MostWatched
from watchnext.denied import DenyList
from watchnext.errors import UsageError
from watchnext.export import Export
from watchnext.features import Float32
from watchnext.release import EXPORT, INDEX, ReleaseManifest

Source = Literal["model", "popular"]
"""Whether items come from the user's vector, or are the most watched because there is none."""


@dataclass(frozen=True)
class Recommendation:
    """What one user is recommended, best first, where it comes from and which release gave it.

    Scores are dot products of the user's and the items' vectors; of source `popular`, shares of all watches.
    """

    candidates: list[Candidate]
    source: Source
    release: str


class Recommender:
    """Recommends from an export and its index; all methods may be called from several threads at once.

    Args:
        export: vectors, vocabularies, histories.
        index: finds items; built from the export's item vectors.
        release: the release's name, repeated in every answer.
        filters: of the export's catalogue; None makes them.
        denied: items that nobody may be recommended; None denies nothing.
    """

    def __init__(
        self,
        export: Export,
        index: ItemIndex,
        release: str,
        filters: Filters | None = None,
        denied: DeniedItems | None = None,
    ) -> None:
        self.export, self.index, self.release = export, index, release
        self.filters = filters or Filters.of(export.catalogue, export.items)
        self.denied = denied
        self._user_vectors: Float32 = np.asarray(export.user_vectors)  # a view: rows of a memmap are slow to take
        self.popular = MostWatched(export.item_counts, export.withdrawn)

    def recommend(self, user_id: str, k: int, wanted: ItemFilter | None = None) -> Recommendation:
        """The `k` best items for a user, without those already watched.

        A user that is unknown, or has no vector or no watch, gets the most watched items. Fewer than `k` only where
        no more are left.

        Args:
            user_id: as in the watch log.
            k: at least 1.
            wanted: what items must be like; None asks for nothing.

        Raises UsageError for k below 1, and what `Filters.mask` raises.
        """
        if k < 1:
            raise UsageError("k", k, "Ask for at least 1 item.")
        user = self.export.users.number(user_id)
        source: Source = "model" if self.knows(user) else "popular"
        watched, allowed = self.export.histories[user], self.allowed(wanted)
        if source == "model":
            found, best = self.index.search(self._user_vectors[user][None], k, [watched], allowed)
            scores, numbers = found[0], best[0]
        else:
            scores, numbers = self.popular.search(k, watched, allowed)
        return Recommendation(candidates(self.export, numbers, scores), source, self.release)

    def knows(self, user: int) -> bool:
        """Whether a user number has watches and a vector, so that the model can answer."""
        return user > 0 and len(self.export.histories[user]) > 0 and bool(self._user_vectors[user].any())

    def allowed(self, wanted: ItemFilter | None = None) -> Bool | None:
        """[items + 1] which items may be found now: those wanted, without those denied; None where all may.

        It may be read-only. Raises what `Filters.mask` raises.
        """
        mask = None if wanted is None else self.filters.mask(wanted)
        if self.denied is None:
            return mask
        denied = self.denied.now()
        if mask is None:
            return denied.allowed
        mask[denied.numbers] = False
        return mask


def open_release(path: Path, verify: bool = True) -> Recommender:
    """Open a release of a `ReleaseStore`, memory-mapped.

    Args:
        path: the release's folder.
        verify: compare all checksums first.

    What the store's deny list names is not recommended. Raises UsageError where there is no release, CorruptError
    where a file is not what a manifest says and where the deny list cannot be read.
    """
    manifest = ReleaseManifest.read(path)
    if verify:
        manifest.verify(path)
    export = Export.open(path / EXPORT, verify=False)
    index, filters = (
        open_index(path / INDEX, export.item_vectors, verify=False),
        Filters.open(path / INDEX, export.items),
    )
    denied = DeniedItems(DenyList(path.resolve().parent), export.items)
    return Recommender(export, index, manifest.name, filters, denied)
