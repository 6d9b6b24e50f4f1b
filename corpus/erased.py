"""Lists of erased users -> which rows of a log are left out.

A list is read as a watch log is, with the user in the place of the item; but a row that cannot be understood is an
error, since ignoring it would bring somebody back.
"""

from pathlib import Path

import duckdb

from corpus.options import IngestOptions, LogColumns
from corpus.read import ERASED, GOOD, LogKind, LogReader, log_files, rows_read
from corpus.reject import write_rejected
from corpus.sources import count
from watchnext.errors import RejectedRowsError

_KIND = LogKind("list of erased users", "user id", {"user": "--erased", "item": "--erased", "time": "--erased"})
_NEVER = 1 << 62


def read_erased(con: duckdb.DuckDBPyConnection, options: IngestOptions, scratch: Path) -> None:
    """Make the table `erased` (user, time) of the lists of `options`; the last time of each user.

    Args:
        con: a connection without a table `log`.

    Raises RejectedRowsError for a malformed row, and what `ingest` does.
    """
    as_log = options.model_copy(
        update={
            "logs": options.erased,
            "format": None,
            "min_fraction": 0,
            "columns": LogColumns(user="user", item="user", time="time"),
        }
    )
    files = log_files(as_log)
    reader = LogReader(con, as_log, files, scratch, _NEVER, _KIND)
    for file in files:
        reader.read(file)
    rejects = write_rejected(con, files, options.delimiter, scratch / "rejected_erased.parquet", _KIND)
    if rejects.total:
        first = rejects.examples[0]
        got = f"{rejects.total:,} malformed rows of {rows_read(files):,}; {first.file}:{first.line} {first.reason}"
        raise RejectedRowsError("--erased", got, "Mend it: each row needs the columns user and time.")
    con.execute(
        "CREATE TEMP TABLE erased AS SELECT user::VARCHAR AS user, max(time) AS time FROM log"
        f" WHERE status = {GOOD} GROUP BY ALL; DROP TABLE log"
    )


def leave_out_erased(con: duckdb.DuckDBPyConnection) -> int:
    """Mark the rows of `log` that the table `erased` is about; returns how many.

    A row whose time is not known goes too, as does a malformed one: it would be kept in `rejected.parquet`.
    """
    con.execute(
        f"UPDATE log SET status = {ERASED} FROM erased"
        " WHERE log.user::VARCHAR = erased.user AND coalesce(log.time <= erased.time, true)"
    )
    return count(con, f"SELECT count(*) FROM log WHERE status = {ERASED}")
