"""Watch log -> corpus folder: the stages in their order; at the end the folder is there whole, or not at all."""

import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import duckdb

from corpus.clean import Kept, clean
from corpus.corpus import (
    CATALOGUE,
    ITEM_VOCABULARY,
    REJECTED,
    REJECTED_SEARCHES,
    SEARCH_VOCABULARY,
    SEARCHES,
    USERS,
    Corpus,
    CorpusManifest,
    Counts,
    SearchCounts,
    TableCounts,
)
from corpus.erased import leave_out_erased, read_erased
from corpus.options import POSITIONAL, IngestOptions
from corpus.read import BELOW_FRACTION, LogFile, LogReader, log_files, rows_read
from corpus.reject import Rejects, check_share, write_rejected
from corpus.searches import read_searches
from corpus.sort import sort_log
from corpus.sources import count
from corpus.tables import item_table, user_table
from corpus.write import Written, write_histories
from watchnext.catalogue import ITEM_SCHEMA, USER_SCHEMA, empty_table, save_table
from watchnext.errors import UsageError, WatchnextError
from watchnext.files import atomic_folder
from watchnext.vocabulary import Vocabulary

Progress = Callable[[str, int, int], None]
"""Called with the stage (`read`, `check`, `sort`, `clean`, `write`, `searches`), how much is done, of how much."""

TOLERANCE = timedelta(days=1)
"""How far after `now` a time may be: clocks differ, and local times may be taken for UTC."""


def ingest(options: IngestOptions, progress: Progress = lambda stage, done, total: None) -> Corpus:
    """Make a corpus from a watch log and open it.

    Raises UsageError for wrong options, CorruptError for unreadable files, RejectedRowsError above the allowed share
    of malformed rows (they are then in `<folder name>.rejected.parquet` beside the target), WatchnextError where
    no watch is left. In each case an older corpus at the target stays as it was.
    """
    CorpusManifest.check_target(options.to)
    files = log_files(options)
    with _scratch(options.to) as scratch, _connection(options, scratch) as con:
        if options.erased:
            read_erased(con, options, scratch)
        _read(con, options, files, scratch, progress)
        erased = leave_out_erased(con) if options.erased else 0
        rejects = _check(con, options, files, scratch / REJECTED, progress)
        log = sort_log(con, scratch, lambda done, total: progress("sort", done, total))
        progress("clean", 0, 1)
        kept = clean(
            log.users,
            log.items,
            log.times,
            unique=not any(file.format in POSITIONAL for file in files),
            max_items=options.max_items,
            min_item_watches=options.min_item_watches,
            min_user_watches=options.min_user_watches,
        )
        counts = _counts(con, files, rejects, erased, kept)
        progress("clean", 1, 1)
        with atomic_folder(options.to, CorpusManifest) as folder:
            written = write_histories(log, kept, folder, lambda done, total: progress("write", done, total))
            shutil.move(scratch / REJECTED, folder / REJECTED)
            searches = _searches(options, written.users, scratch, folder, progress) if options.searches else None
            _write_rest(con, options, counts, searches, written, scratch, folder)
    for rejected in (REJECTED, REJECTED_SEARCHES):
        _rejected_beside(options.to, rejected).unlink(missing_ok=True)
    return Corpus.open(options.to, verify=False)


def _read(
    con: duckdb.DuckDBPyConnection, options: IngestOptions, files: list[LogFile], scratch: Path, progress: Progress
) -> None:
    reader = LogReader(con, options, files, scratch, _latest(options))
    for done, file in enumerate(files):
        progress("read", done, len(files))
        reader.read(file)
    progress("read", len(files), len(files))
    if not any(file.rows or file.broken for file in files):
        raise WatchnextError(", ".join(options.logs), "a log without rows", "Give a log with at least one watch.")


def _latest(options: IngestOptions) -> int:
    """Seconds since 1970 after which a time is malformed."""
    now = options.now or datetime.now(UTC)
    now = now if now.tzinfo else now.replace(tzinfo=UTC)
    return int((now + TOLERANCE).timestamp())


def _check(
    con: duckdb.DuckDBPyConnection, options: IngestOptions, files: list[LogFile], path: Path, progress: Progress
) -> Rejects:
    progress("check", 0, 1)
    rejects = write_rejected(con, files, options.delimiter, path)
    beside = _rejected_beside(options.to)
    try:
        check_share(rejects, rows_read(files), options.max_rejected_share, beside)
    except WatchnextError:
        shutil.move(path, beside)
        raise
    progress("check", 1, 1)
    return rejects


def _counts(
    con: duckdb.DuckDBPyConnection, files: list[LogFile], rejects: Rejects, erased: int, kept: Kept
) -> Counts:
    counts = Counts(
        rows_read=rows_read(files),
        rejected=rejects.reasons,
        erased=erased,
        below_fraction=count(con, f"SELECT count(*) FROM log WHERE status = {BELOW_FRACTION}"),
        duplicates=kept.duplicates,
        out_of_vocabulary=kept.out_of_vocabulary,
        by_short_users=kept.by_short_users,
        kept=int(kept.user_counts.sum()),
    )
    if not counts.kept:
        raise _nothing_left(counts)
    if counts.kept + counts.gone != counts.rows_read:
        raise RuntimeError(f"rows do not add up: {counts!r}")
    return counts


def _nothing_left(counts: Counts) -> WatchnextError:
    """Says where the rows went, and which options took them."""
    reasons = (
        (sum(counts.rejected.values()), "malformed", ()),
        (counts.erased, "of erased users", ("--erased",)),
        (counts.below_fraction, "below the watched fraction", ("--min-fraction",)),
        (counts.duplicates, "duplicates", ()),
        (counts.out_of_vocabulary, "of items left out", ("--min-item-watches", "--max-items")),
        (counts.by_short_users, "of users with too few watches", ("--min-user-watches",)),
    )
    words = ", ".join(f"{n:,} {what}" for n, what, _ in reasons if n)
    names = " or ".join(option for n, _, options in reasons if n for option in options)
    cure = "The log is too small for this cleaning: give a larger one" if names else "Give a log with whole rows"
    lower = f", or change {names} of watchnext ingest." if names else "."
    return WatchnextError("watch log", f"no watch left of {counts.rows_read:,} rows: {words}", cure + lower)


def _searches(
    options: IngestOptions, users: Vocabulary, scratch: Path, folder: Path, progress: Progress
) -> SearchCounts:
    progress("searches", 0, 1)
    with _connection(options, scratch) as con:
        beside = _rejected_beside(options.to, REJECTED_SEARCHES)
        found = read_searches(con, options, users, _latest(options), scratch / REJECTED_SEARCHES, beside)
    shutil.move(scratch / REJECTED_SEARCHES, folder / REJECTED_SEARCHES)
    (folder / SEARCHES).mkdir()
    found.stream.save(folder / SEARCHES)
    found.tokens.save(folder / SEARCH_VOCABULARY)
    progress("searches", 1, 1)
    return found.counts


def _write_rest(
    con: duckdb.DuckDBPyConnection,
    options: IngestOptions,
    counts: Counts,
    searches: SearchCounts | None,
    written: Written,
    scratch: Path,
    folder: Path,
) -> None:
    items, users = written.items, written.users
    catalogue, people = empty_table(ITEM_SCHEMA, len(items)), empty_table(USER_SCHEMA, len(users))
    item_counts: TableCounts | None = None
    user_counts: TableCounts | None = None
    if options.items:
        columns, unwatched = options.item_columns, options.unwatched_items
        items, catalogue, item_counts = item_table(con, options.items, columns, items, scratch, unwatched)
        if unwatched:
            items.save(folder / ITEM_VOCABULARY)
    if options.users:
        people, user_counts = user_table(con, options.users, options.user_columns, users, scratch)
    save_table(catalogue, folder / CATALOGUE)
    save_table(people, folder / USERS)
    CorpusManifest.seal(
        folder,
        items=len(items),
        users=len(users),
        counts=counts,
        searches=searches,
        first_time=written.first_time,
        last_time=written.last_time,
        item_table=item_counts,
        user_table=user_counts,
        options=options,
    )


def _rejected_beside(target: Path, name: str = REJECTED) -> Path:
    return target.with_name(f"{target.name}.{name}")


@contextmanager
def _scratch(target: Path) -> Iterator[Path]:
    target.parent.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(dir=target.parent, prefix=f".{target.name}.scratch."))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _connection(options: IngestOptions, scratch: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    """DuckDB in memory, spilling into `scratch`; no progress bar, UTC, the order of the log preserved."""
    con = duckdb.connect()
    try:
        con.execute("SET enable_progress_bar = false; SET TimeZone = 'UTC'; SET preserve_insertion_order = true")
        con.execute("SET temp_directory = ?", [str(scratch / "spill")])
        if options.threads:
            con.execute("SET threads = ?", [options.threads])
        if options.memory_limit:
            try:
                con.execute("SET memory_limit = ?", [options.memory_limit])
            except duckdb.Error as error:
                raise UsageError("--memory-limit", repr(options.memory_limit), "Write it like 4GB.") from error
        yield con
    finally:
        con.close()
