"""The corpus: prepared histories, vocabularies and tables in a folder, memory-mapped.

histories/             items.npy, times.npy, offsets.npy
item_vocabulary.arrow  ids by falling frequency in the cleaned log, ties by id
user_vocabulary.arrow  ids in the order of their UTF-8 bytes; whole numbers in Parquet, by value
catalogue.arrow        title, categories, upload time of each item number
users.arrow            country, device, age, gender, logged-in state of each user number
searches/              search tokens in place of items; only with a search log
search_vocabulary.arrow  search tokens by falling frequency, ties by their bytes; only with a search log
rejected.parquet       malformed rows: file, line, reason, row; of searches in rejected_searches.parquet
manifest.json          options, counts, checksums
"""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import ClassVar, Literal, Self

import numpy as np
import pyarrow as pa
from pydantic import BaseModel, ConfigDict

from corpus.options import IngestOptions
from watchnext.catalogue import USER_SCHEMA, Catalogue, open_table
from watchnext.errors import CorruptError
from watchnext.files import Manifest
from watchnext.histories import Histories, Int64
from watchnext.vocabulary import Vocabulary

HISTORIES = "histories"
ITEM_VOCABULARY, USER_VOCABULARY = "item_vocabulary.arrow", "user_vocabulary.arrow"
CATALOGUE, USERS, REJECTED = "catalogue.arrow", "users.arrow", "rejected.parquet"
SEARCHES, SEARCH_VOCABULARY = "searches", "search_vocabulary.arrow"
REJECTED_SEARCHES = "rejected_searches.parquet"
_CURE = "Restore the corpus or ingest again."


class Counts(BaseModel):
    """Where every row of the log went, in the order of the stages: `rows_read` is the sum of all the others."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    rows_read: int
    """Rows of the log; of sequences and texts, watches and broken lines."""
    rejected: dict[str, int]
    """Malformed rows by reason."""
    erased: int = 0
    """Rows of erased users up to the time of the erasure, malformed or not."""
    below_fraction: int
    """Watches below the minimum watched fraction."""
    duplicates: int
    """Watches with the user, item and time of one before."""
    out_of_vocabulary: int
    """Watches of items with too few watches, or beyond the number of items to keep."""
    by_short_users: int
    """Watches of users who had too few of them left."""
    kept: int
    """Watches in the corpus."""

    @property
    def gone(self) -> int:
        """Rows that did not become watches of the corpus."""
        cleaned = self.below_fraction + self.duplicates + self.out_of_vocabulary + self.by_short_users
        return sum(self.rejected.values()) + self.erased + cleaned


class TableCounts(BaseModel):
    """What became of the rows of an items or users table."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    rows: int
    """Rows of the table."""
    missing_id: int
    """Rows without an id; ignored."""
    repeated: int
    """Rows whose id comes again further down; the last row of an id counts."""
    unknown: int
    """Other rows whose id is not in the vocabulary; ignored."""
    used: int
    """Rows in the corpus; `rows` is the sum of this and the three above."""
    malformed: dict[str, int]
    """By column: values of used rows that could not be understood and became null."""


class SearchCounts(BaseModel):
    """Where every row of the search log went."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    rows_read: int
    """Rows of the search log; the sum of the next four."""
    rejected: dict[str, int]
    """Malformed rows by reason."""
    erased: int = 0
    """Rows of erased users up to the time of the erasure, malformed or not."""
    unknown_users: int
    """Searches of users who are not in the corpus; ignored."""
    searches: int
    """Searches in the corpus."""
    tokens: int
    """Words and pairs of words in the corpus."""
    tokens_out_of_vocabulary: int
    """Words and pairs beyond the number of tokens to keep."""


class CorpusManifest(Manifest):
    """What a corpus says about itself."""

    made_by: ClassVar[str] = "watchnext ingest"
    format: Literal["watchnext-corpus-1"] = "watchnext-corpus-1"
    items: int
    """Items in the vocabulary."""
    users: int
    """Users in the vocabulary."""
    counts: Counts
    first_time: int
    """Time of the earliest watch, seconds since 1970 (a position in sequences and texts)."""
    last_time: int
    """Time of the latest watch, likewise."""
    item_table: TableCounts | None
    """None where no items table was given."""
    user_table: TableCounts | None
    """None where no users table was given."""
    searches: SearchCounts | None = None
    """None where no search log was given."""
    options: IngestOptions
    """What it was made with."""

    @property
    def of_text(self) -> bool:
        """Whether its items are words and its users lines of a text."""
        return self.options.format == "text"


@dataclass(frozen=True)
class Corpus:
    """A corpus, memory-mapped; see the module's docstring for its parts."""

    manifest: CorpusManifest
    histories: Histories
    items: Vocabulary
    users: Vocabulary
    catalogue: Catalogue
    user_table: pa.Table
    searches: Histories | None = None
    search_tokens: Vocabulary | None = None

    @cached_property
    def item_counts(self) -> Int64:
        """[items + 1] watches of each item number; number 0 has none."""
        counts: Int64 = np.bincount(self.histories.items, minlength=len(self.items) + 1)
        return counts

    @classmethod
    def open(cls, folder: Path, verify: bool = True) -> Self:
        """Memory-map a corpus.

        Args:
            folder: where `ingest` put it.
            verify: compare all checksums first.

        Raises UsageError where there is no corpus, CorruptError where a file is not what the manifest says or the
        parts do not fit together.
        """
        manifest = CorpusManifest.read(folder)
        if verify:
            manifest.verify(folder)
        try:
            histories = Histories.open(folder / HISTORIES)
            searches = Histories.open(folder / SEARCHES) if manifest.searches else None
        except (OSError, ValueError, EOFError) as error:
            raise CorruptError(str(folder), error, _CURE) from error
        corpus = cls(
            manifest=manifest,
            histories=histories,
            items=Vocabulary.open(folder / ITEM_VOCABULARY),
            users=Vocabulary.open(folder / USER_VOCABULARY),
            catalogue=Catalogue.open(folder / CATALOGUE),
            user_table=open_table(folder / USERS, USER_SCHEMA),
            searches=searches,
            search_tokens=Vocabulary.open(folder / SEARCH_VOCABULARY) if manifest.searches else None,
        )
        corpus._check_sizes(folder)
        return corpus

    def _check_sizes(self, folder: Path) -> None:
        manifest, h = self.manifest, self.histories
        sizes = {
            "histories/items.npy": (h.items.shape, (manifest.counts.kept,)),
            "histories/times.npy": (h.times.shape, (manifest.counts.kept,)),
            "histories/offsets.npy": (h.offsets.shape, (manifest.users + 2,)),
            "the end of histories/offsets.npy": (
                int(h.offsets[-1]) if h.offsets.size else None,
                manifest.counts.kept,
            ),
            ITEM_VOCABULARY: (len(self.items), manifest.items),
            USER_VOCABULARY: (len(self.users), manifest.users),
            CATALOGUE: (len(self.catalogue), manifest.items),
            USERS: (self.user_table.num_rows, manifest.users + 1),
        }
        if self.searches is not None and manifest.searches is not None:
            sizes["searches/items.npy"] = (self.searches.items.shape, (manifest.searches.tokens,))
            sizes["searches/offsets.npy"] = (self.searches.offsets.shape, (manifest.users + 2,))
        for name, (got, wanted) in sizes.items():
            if got != wanted:
                raise CorruptError(f"{name} in {folder}", f"{got} where the manifest says {wanted}", _CURE)
