"""From whoever asks to recommended items, on one opened release. Knows nothing of HTTP."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from index.askers import Asker, Askers
from index.candidates import Candidate, candidates
from index.countries import Countries
from index.denied import DeniedItems
from index.filters import Filters, ItemFilter
from index.folder import open_index
from index.interface import Bool, ItemIndex
from index.popular import MostWatched
from watchnext.api.answers import Source
from watchnext.denied import DenyList
from watchnext.errors import UsageError
from watchnext.export import OPTIMIZER, Export
from watchnext.features import Float32
from watchnext.histories import Int32
from watchnext.release import EXPORT, INDEX, ReleaseManifest, root_of


@dataclass(frozen=True)
class Recommendation:
    """What one user is recommended, best first, where it comes from and which release gave it.

    Scores are dot products of the user's and the items' vectors; of source `popular`, shares of all watches.
    """

    candidates: list[Candidate]
    source: Source
    release: str


_UNREAD = (f"{EXPORT}/{OPTIMIZER}",)
"""Files of a release that only training reads; this one may be a quarter of all."""
_NO_NUMBERS, _NO_SCORES = np.zeros(0, np.int32), np.zeros(0, np.float32)


class Found(NamedTuple):
    """Items for whoever asked, best first.

    Args:
        numbers: [found] item numbers.
        scores: [found] dot products, or shares of watches of popular items; they fall within each source.
        sources: where they come from: the first `sources[0][1]` from `sources[0][0]`, the next from the next.
    """

    numbers: Int32
    scores: Float32
    sources: list[tuple[Source, int]]


class Recommender:
    """Recommends from an export and its index; all methods may be called from several threads at once.

    Args:
        export: vectors, vocabularies, histories.
        index: finds items; built from the export's item vectors.
        release: the release's name, repeated in every answer.
        filters: of the export's catalogue; None makes them.
        denied: items that nobody may be recommended; None denies nothing.
        countries: what is popular where; None knows no country.
    """

    def __init__(
        self,
        export: Export,
        index: ItemIndex,
        release: str,
        filters: Filters | None = None,
        denied: DeniedItems | None = None,
        countries: Countries | None = None,
    ) -> None:
        self.export, self.index, self.release = export, index, release
        self.filters = filters or Filters.of(export.catalogue, export.items)
        self.denied = denied
        self.askers, self.countries = Askers(export), countries or Countries({})
        self._user_vectors: Float32 = np.asarray(export.user_vectors)  # a view: rows of a memmap are slow to take
        self.popular = MostWatched(export.item_counts, export.withdrawn)

    def recommend(self, user_id: str, k: int, wanted: ItemFilter | None = None) -> Recommendation:
        """The `k` best items for a user as training left them, without those already watched.

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
        k = min(k, max(1, len(self.export.items)))
        user = self.export.users.number(user_id)
        source: Source = "stored" if self.knows(user) else "popular"
        watched, allowed = self.export.histories[user], self.allowed(wanted)
        if source == "stored":
            found, best = self.index.search(self._user_vectors[user][None], k, [watched], allowed)
            scores, numbers = found[0], best[0]
        else:
            scores, numbers = self.popular.search(k, watched, allowed)
        return Recommendation(candidates(self.export, numbers, scores), source, self.release)

    def answer(self, asker: Asker, k: int, allowed: Bool | None = None) -> Found:
        """The `k` best items for whoever asks, without those already watched; none are left where there are fewer.

        After the items nearest to the asker's vector come those popular in the country of somebody without a vector,
        then those popular everywhere.

        Args:
            k: at least 1.
            allowed: [items + 1] which items may be found, from `allowed`.
        """
        return self.answers([asker], k, allowed)[0]

    def answers(self, askers: Sequence[Asker], k: int, allowed: Bool | None = None) -> list[Found]:
        """The same for several who ask, by one search."""
        known = [asker for asker in askers if asker.vector is not None]
        near: Iterator[Found] = iter(())
        if known:
            queries = np.array([asker.vector for asker in known], np.float32)
            scores, numbers = self.index.search(queries, k, [asker.watched for asker in known], allowed)
            near = iter(map(_near, known, numbers, scores))
        return [
            self._filled(
                asker, Found(_NO_NUMBERS, _NO_SCORES, []) if asker.vector is None else next(near), k, allowed
            )
            for asker in askers
        ]

    def _filled(self, asker: Asker, near: Found, k: int, allowed: Bool | None) -> Found:
        """What is near, and after it what is popular."""
        numbers, scores, sources = near
        if len(numbers) == k:
            return near
        there = None if asker.vector is not None else self.countries.popular.get(asker.country or "")
        if there is not None:
            left_over = ~np.isin(there.numbers, asker.watched)
            kept = np.flatnonzero(left_over if allowed is None else left_over & allowed[there.numbers])[:k]
            numbers, scores, sources = there.numbers[kept], there.shares[kept], [("popular_in_country", len(kept))]
        missing = k - len(numbers)
        if missing:
            shares, popular = self.popular.search(missing, np.concatenate([asker.watched, numbers]), allowed)
            numbers, scores = np.concatenate([numbers, popular]), np.concatenate([scores, shares])
            sources = [*sources, ("popular", len(popular))]
        return Found(numbers, scores, [part for part in sources if part[1]])

    def knows(self, user: int) -> bool:
        """Whether a user number has watches and a vector, so that the model can answer."""
        return user > 0 and len(self.export.histories[user]) > 0 and bool(self._user_vectors[user].any())

    def denied_numbers(self) -> Int32:
        """[denied] numbers of the items that nobody may be recommended now."""
        return _NO_NUMBERS if self.denied is None else self.denied.now().numbers

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


def _near(asker: Asker, numbers: Int32, scores: Float32) -> Found:
    """What was found for an asker with a vector: [k] with 0 at the end where there are fewer."""
    if not numbers.item(-1):
        left = int(np.count_nonzero(numbers))
        numbers, scores = numbers[:left], scores[:left]
    return Found(numbers, scores, [(asker.source, len(numbers))])


def open_release(path: Path, verify: bool = True) -> Recommender:
    """Open a release of a `ReleaseStore`, memory-mapped.

    Args:
        path: the release's folder.
        verify: compare the checksums of all that is read first.

    What the store's deny list names is not recommended. Raises UsageError where there is no release, CorruptError
    where a file is not what a manifest says and where the deny list cannot be read.
    """
    manifest = ReleaseManifest.read(path)
    if verify:
        manifest.verify(path, _UNREAD)
    export = Export.open(path / EXPORT, verify=False)
    index, filters = (
        open_index(path / INDEX, export.item_vectors, verify=False),
        Filters.open(path / INDEX, export.items),
    )
    denied = DeniedItems(DenyList(root_of(path)), export.items)
    return Recommender(export, index, manifest.name, filters, denied, Countries.open(path / INDEX, export))
