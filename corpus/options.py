"""What to ingest and how to clean it: one closed, frozen model, which every corpus stores in its manifest."""

from datetime import datetime
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from watchnext.config import Closed
from watchnext.errors import UsageError

Format = Literal["parquet", "csv", "jsonl", "sequences", "text"]
POSITIONAL: frozenset[Format] = frozenset({"sequences", "text"})
"""Formats without times: a watch's time is its place among its user's watches, and none is a duplicate."""
Name = Annotated[str, Field(min_length=1)]


class LogColumns(Closed):
    """Which columns of the watch log mean what. Sequences and texts have no columns."""

    user: Name = "user"
    """Column of the user's id: text or whole numbers."""
    item: Name = "item"
    """Column of the item's id: text or whole numbers."""
    time: Name = "time"
    """Column of the time of the watch: Unix seconds (or milli-, micro-, nanoseconds, told apart by magnitude),
    ISO 8601 text, or a Parquet DATE or TIMESTAMP. Times without a zone are UTC; all are rounded down to seconds."""
    fraction: Name | None = None
    """Column of the watched fraction, 0 to 1 (more after rewinding); None where the log has none."""


class ItemColumns(Closed):
    """Which columns of the items table mean what. All but `item` may be absent."""

    item: Name = "item"
    """Column of the item's id, as in the watch log."""
    title: Name = "title"
    """Column of the title."""
    categories: Name = "categories"
    """Column of the categories: a list, or one text with `|` between them."""
    uploaded: Name = "uploaded"
    """Column of the upload time, in any form that the log's times may have."""


class UserColumns(Closed):
    """Which columns of the users table mean what. All but `user` may be absent."""

    user: Name = "user"
    """Column of the user's id, as in the watch log."""
    country: Name = "country"
    """Column of the country, any code."""
    device: Name = "device"
    """Column of the device, any name."""
    age: Name = "age"
    """Column of the age in years."""
    gender: Name = "gender"
    """Column of the gender: f, female, m or male; others are kept, and count as unknown in training."""
    logged_in: Name = "logged_in"
    """Column of the logged-in state: true or false, 1 or 0."""


class SearchColumns(Closed):
    """Which columns of the search log mean what."""

    user: Name = "user"
    """Column of the user's id, as in the watch log."""
    query: Name = "query"
    """Column of what was typed."""
    time: Name = "time"
    """Column of the time of the search, in any form that the log's times may have."""


class IngestOptions(Closed):
    """Everything that decides what a corpus contains, and how much of the machine making it may take."""

    logs: tuple[str, ...]
    """Paths or globs (`**` reaches into folders) of the watch log, read in this order; a glob's files by name."""
    to: Path
    """Folder of the corpus. An older corpus there is replaced when all has gone well."""
    format: Format | None = None
    """How the log is written; None tells by the ending: .parquet, .csv, .tsv, .jsonl or .ndjson. All but Parquet may
    end in .gz, too. `sequences` has lines `user item item ...`; `text` has lines of words, each line a user and each
    word an item."""
    delimiter: Annotated[str, Field(pattern=r'^[^"\r\n ]$')] | None = None
    """One character between the columns of a CSV; None is a tab for .tsv and a comma otherwise."""
    columns: LogColumns = LogColumns()
    """Column names of the log."""
    items: Path | None = None
    """A table of items (Parquet, CSV, JSONL)."""
    item_columns: ItemColumns = ItemColumns()
    """Column names of the items table."""
    unwatched_items: bool = False
    """Whether items of the table that no watch is left of get a number, too, after all others. A model that reads
    `item_features` gives them vectors. Needs `items`."""
    users: Path | None = None
    """A table of users (Parquet, CSV, JSONL)."""
    user_columns: UserColumns = UserColumns()
    """Column names of the users table."""
    searches: tuple[str, ...] = ()
    """Paths or globs of the search log (Parquet, CSV, JSONL)."""
    search_columns: SearchColumns = SearchColumns()
    """Column names of the search log."""
    erased: tuple[str, ...] = ()
    """Paths or globs of lists of erased users (Parquet, CSV, JSONL) with the columns `user` and `time`: their watches
    and searches up to that time are left out."""
    max_search_tokens: int | None = Field(1_000_000, ge=1)
    """Only this many of the most frequent words and pairs of words stay (paper, 3.5: a million); None keeps all."""
    min_fraction: float = Field(0, ge=0)
    """Watches below this watched fraction do not count. Needs `columns.fraction`."""
    min_user_watches: int = Field(1, ge=1)
    """Users with fewer watches, counted after all other cleaning, are left out."""
    min_item_watches: int = Field(1, ge=1)
    """Items with fewer watches are left out. Above 1, this and `min_user_watches` are applied until both hold."""
    max_items: int | None = Field(None, ge=1)
    """Only this many of the most watched items stay (ties: the smaller id); None keeps all."""
    max_rejected_share: float = Field(0.01, ge=0, le=1)
    """Above this share of malformed rows the run stops: then the options are wrong rather than the rows."""
    now: datetime | None = None
    """Times more than a day (clocks, time zones) after this are malformed; None is the current time."""
    memory_limit: str | None = None
    """DuckDB's memory limit, such as `4GB`; None is its default, 80 % of the machine. Above it, it spills to disk."""
    threads: int | None = Field(None, ge=1)
    """Threads of DuckDB; None is one a core. The result does not depend on it."""

    @model_validator(mode="after")
    def _has_what_it_needs(self) -> Self:
        if self.min_fraction > 0 and self.columns.fraction is None:
            raise UsageError(
                "--min-fraction", self.min_fraction, "Name the column it refers to: --fraction-column NAME."
            )
        if self.unwatched_items and self.items is None:
            raise UsageError("--unwatched-items", "no items table", "Give one: --items FILE.")
        return self
