"""The optional search log -> a stream of search tokens for each user, and their vocabulary.

A query becomes its words (runs of letters and digits, lower case) and its pairs of neighbouring words: the unigrams
and bigrams of the paper (Covington et al. 2016, section 3.3). The search log is read as a watch log is, with queries
in the place of items, so that malformed rows are found, kept and counted by the same rules.
"""

from pathlib import Path
from typing import NamedTuple

import duckdb
import numpy as np
import pyarrow as pa

from corpus.corpus import SearchCounts
from corpus.erased import leave_out_erased, read_erased
from corpus.options import IngestOptions, LogColumns
from corpus.read import GOOD, SEARCH_LOG, LogReader, log_files, rows_read
from corpus.reject import check_share, write_rejected
from corpus.sources import count
from watchnext.errors import WatchnextError
from watchnext.histories import Histories
from watchnext.vocabulary import Vocabulary

WORD = r"[\p{L}\p{N}]+"


class Searches(NamedTuple):
    """What was read.

    Args:
        stream: token numbers in place of items, with the times of their searches.
    """

    tokens: Vocabulary
    stream: Histories
    counts: SearchCounts


def read_searches(
    con: duckdb.DuckDBPyConnection,
    options: IngestOptions,
    users: Vocabulary,
    latest: int,
    rejected: Path,
    kept_in: Path,
) -> Searches:
    """Read the search log of `options`.

    Args:
        con: a connection without a table `log`.
        users: those of the corpus; searches of others are counted and left out.
        latest: seconds since 1970; later times are malformed.
        rejected: where malformed rows are written.
        kept_in: where they will be when reading fails for them.

    Raises what `ingest` does.
    """
    columns = options.search_columns
    as_log = options.model_copy(
        update={
            "logs": options.searches,
            "format": None,
            "min_fraction": 0,
            "columns": LogColumns(user=columns.user, item=columns.query, time=columns.time),
        }
    )
    files = log_files(as_log)
    if options.erased:
        read_erased(con, options, rejected.parent)
    reader = LogReader(con, as_log, files, rejected.parent, latest, SEARCH_LOG)
    for file in files:
        reader.read(file)
    erased = leave_out_erased(con) if options.erased else 0
    rejects = write_rejected(con, files, options.delimiter, rejected, SEARCH_LOG)
    try:
        check_share(rejects, rows_read(files), options.max_rejected_share, kept_in, SEARCH_LOG)
    except WatchnextError:
        rejected.replace(kept_in)
        raise
    _tokenise(con, users)
    tokens = _vocabulary(con, options.max_search_tokens)
    stream = _stream(con, tokens, len(users))
    known = count(con, "SELECT count(*) FROM known")
    counts = SearchCounts(
        rows_read=rows_read(files),
        rejected=rejects.reasons,
        erased=erased,
        unknown_users=count(con, f"SELECT count(*) FROM log WHERE status = {GOOD}") - known,
        searches=known,
        tokens=len(stream.items),
        tokens_out_of_vocabulary=count(con, "SELECT count(*) FROM tokens") - len(stream.items),
    )
    return Searches(tokens, stream, counts)


def _tokenise(con: duckdb.DuckDBPyConnection, users: Vocabulary) -> None:
    """Make the tables `known`, searches of the corpus's users, and `tokens`, a row for each token of each search."""
    numbers = np.arange(1, len(users) + 1, dtype=np.int32)
    con.register("users", pa.table({"id": pa.array(users.ids(numbers), pa.string()), "number": numbers}))
    con.execute(
        f"""
        CREATE TEMP TABLE known AS
        SELECT
            number, time, log.rowid AS search,
            regexp_extract_all(lower(nfc_normalize(item::VARCHAR)), '{WORD}') AS words
        FROM log JOIN users ON log.user::VARCHAR = users.id WHERE status = {GOOD};

        CREATE TEMP TABLE tokens AS
        SELECT number, time, search, unnest(all_) AS token, generate_subscripts(all_, 1) AS place
        FROM (
            SELECT *, words || list_transform(range(1, len(words)), lambda i: words[i] || ' ' || words[i + 1]) AS all_
            FROM known
        )
        """
    )
    con.unregister("users")


def _vocabulary(con: duckdb.DuckDBPyConnection, most: int | None) -> Vocabulary:
    """Tokens by falling frequency, ties by their bytes."""
    limit = "" if most is None else f"LIMIT {most}"
    found = con.sql(f"SELECT token FROM tokens GROUP BY token ORDER BY count(*) DESC, token {limit}").to_arrow_table()
    return Vocabulary(found.column("token").cast(pa.large_string()).combine_chunks())


def _stream(con: duckdb.DuckDBPyConnection, tokens: Vocabulary, users: int) -> Histories:
    numbers = np.arange(1, len(tokens) + 1, dtype=np.int32)
    con.register("vocabulary", pa.table({"token": pa.array(tokens.ids(numbers), pa.string()), "n": numbers}))
    rows = con.sql(
        "SELECT number, n, time FROM tokens JOIN vocabulary USING (token) ORDER BY number, time, search, place"
    ).fetchnumpy()
    con.unregister("vocabulary")
    lengths = np.bincount(np.asarray(rows["number"]), minlength=users + 1)
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    return Histories(np.asarray(rows["n"], np.int32), np.asarray(rows["time"], np.int64), offsets)
