"""Malformed rows -> `rejected.parquet`, with the file, line and reason of each, and the raw row."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from corpus.read import BELOW_FRACTION, ERASED, GOOD, WATCH_LOG, LogFile, LogKind, file_records
from corpus.sources import parquet
from watchnext.errors import CorruptError, RejectedRowsError

SCHEMA = pa.schema(
    [("file", pa.string()), ("line", pa.int64()), ("reason", pa.string()), ("row", pa.string())],
)
"""`line` is the 1-based line of a text file where the row starts, the 1-based row of a Parquet file; `row` is the
text of the row, or the JSON of a Parquet row."""
_BATCH = 10_000


class Rejected(NamedTuple):
    """A malformed row."""

    file: str
    line: int
    reason: str
    row: str


@dataclass(frozen=True)
class Rejects:
    """What was rejected: reasons with counts, falling, and the first three rows."""

    reasons: dict[str, int]
    examples: list[Rejected]

    @property
    def total(self) -> int:
        """All rejected rows."""
        return sum(self.reasons.values())


def write_rejected(
    con: duckdb.DuckDBPyConnection,
    files: list[LogFile],
    delimiter: str | None,
    path: Path,
    kind: LogKind = WATCH_LOG,
) -> Rejects:
    """Write all malformed rows of the log to a Parquet file, by file and line.

    Raises CorruptError where a file does not have the rows it had when it was read.
    """
    reasons: Counter[str] = Counter()
    examples: list[Rejected] = []
    with pq.ParquetWriter(path, SCHEMA, compression="zstd") as writer:
        for _, batch in groupby(enumerate(_all(con, files, delimiter, kind)), lambda pair: pair[0] // _BATCH):
            rows = [row for _, row in batch]
            examples += rows[: 3 - len(examples)]
            reasons.update(row.reason for row in rows)
            writer.write_table(pa.Table.from_pylist([row._asdict() for row in rows], SCHEMA))
    return Rejects(dict(reasons.most_common()), examples)


def check_share(rejects: Rejects, rows_read: int, limit: float, kept_in: Path, kind: LogKind = WATCH_LOG) -> None:
    """Raise RejectedRowsError if more than the share `limit` of the rows was rejected."""
    if rejects.total <= limit * rows_read:
        return
    reasons = ", ".join(f"{count:,} {reason}" for reason, count in rejects.reasons.items())
    examples = "; ".join(f"{r.file}:{r.line} {r.reason}: {r.row[:100]!r}" for r in rejects.examples)
    raise RejectedRowsError(
        kind.name,
        f"{rejects.total:,} malformed rows of {rows_read:,} ({reasons}), above --max-rejected-share {limit:g}."
        f" The first: {examples}",
        f"All of them are in {kept_in}. Mend the log or its column options, or raise --max-rejected-share.",
    )


def _all(
    con: duckdb.DuckDBPyConnection, files: list[LogFile], delimiter: str | None, kind: LogKind
) -> Iterator[Rejected]:
    bad = con.execute(
        f"SELECT rowid, status FROM log WHERE status NOT IN ({GOOD}, {ERASED}, {BELOW_FRACTION}) ORDER BY rowid"
    ).fetchall()
    start = 0
    for file in files:
        end = start
        while end < len(bad) and bad[end][0] < file.first + file.rows:
            end += 1
        statuses = {row - file.first: kind.reason(status) for row, status in bad[start:end]}
        found = (
            _parquet_rows(con, file, statuses) if file.format == "parquet" else _text_rows(file, statuses, delimiter)
        )
        broken = [Rejected(str(file.path), r.line, r.problem or "", _text(r.raw)) for r in file.broken]
        yield from sorted([*broken, *found], key=lambda r: r.line)
        start = end


def _text_rows(file: LogFile, reasons: dict[int, str], delimiter: str | None) -> list[Rejected]:
    if not reasons:
        return []
    found, rows = [], 0
    for row, record in enumerate(file_records(file, delimiter)):
        rows += 1
        if row in reasons:
            found.append(Rejected(str(file.path), record.line, reasons[row], _text(record.raw)))
    if rows != file.rows:
        raise CorruptError(str(file.path), f"{rows} rows where {file.rows} were read", "Ingest when it has settled.")
    return found


def _parquet_rows(con: duckdb.DuckDBPyConnection, file: LogFile, reasons: dict[int, str]) -> list[Rejected]:
    if not reasons:
        return []
    con.register("bad_rows", pa.table({"number": pa.array(reasons, pa.int64())}))
    rows = con.execute(
        f"SELECT file_row_number, to_json(r)::VARCHAR FROM {parquet(file.path)} r"
        " SEMI JOIN bad_rows ON file_row_number = number"
    ).fetchall()
    con.unregister("bad_rows")
    return [Rejected(str(file.path), number + 1, reasons[number], row) for number, row in rows]


def _text(raw: bytes) -> str:
    return raw.rstrip(b"\r\n").decode("utf-8", "backslashreplace")
