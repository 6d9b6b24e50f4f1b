"""Watch log -> one DuckDB table `log`: user, item, time and a status per row, in the order of the log.

The fast way through a text file is DuckDB's. Where a CSV is broken, its broken records are taken out first
(`corpus.lines`), noted, and the rest goes the fast way.
"""

import glob
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

import duckdb

from corpus import sql
from corpus.lines import Record, csv_records, is_blank, lines, open_text, repair
from corpus.options import Format, IngestOptions
from corpus.sources import (
    check_columns,
    count,
    csv_delimiter,
    csv_header,
    csv_source,
    format_of,
    json_keys,
    json_lines,
    json_pointer,
    parquet,
    parquet_schema,
    unreadable,
)
from corpus.sql import Value, required
from corpus.words import Sequences, Texts, tables
from watchnext.errors import UsageError

GOOD, ERASED, BELOW_FRACTION = 0, 254, 255
"""Statuses of rows that are not malformed; every other status is 1 + the position of its reason in REASONS."""
REASONS = (
    "broken line",
    "missing user id",
    "missing item id",
    "missing timestamp",
    "missing fraction",
    "user id of the wrong type",
    "item id of the wrong type",
    "unparsable timestamp",
    "future timestamp",
    "unparsable fraction",
)


@dataclass(frozen=True)
class LogKind:
    """What a log is, for messages: its name, what its items are called, and the options that name its columns."""

    name: str
    item: str
    columns: Mapping[str, str]

    def reason(self, status: int) -> str:
        """Why a row with this status is malformed."""
        return REASONS[status - 1].replace("item id", self.item)


WATCH_LOG = LogKind("watch log", "item id", {r: f"--{r}-column" for r in ("user", "item", "time", "fraction")})
SEARCH_LOG = LogKind(
    "search log", "query", {"user": "--searches-user", "item": "--searches-query", "time": "--searches-time"}
)


@dataclass
class LogFile:
    """One file of the log and what reading it gave.

    Args:
        first: rowid in `log` of its first row.
        rows: rows in `log`.
        broken: records that were not even rows, with their reasons; they are not in `log`.
    """

    path: Path
    format: Format
    first: int = 0
    rows: int = 0
    broken: list[Record] = field(default_factory=list)


def rows_read(files: list[LogFile]) -> int:
    """Rows of all files, broken ones included."""
    return sum(file.rows + len(file.broken) for file in files)


def log_files(options: IngestOptions) -> list[LogFile]:
    """The files that paths and globs name, in order. Raises UsageError for one that names none."""
    return [LogFile(path, options.format or format_of(path)) for log in options.logs for path in _paths(log)]


def _paths(log: str) -> list[Path]:
    path = Path(log)
    if path.is_file():
        return [path]
    if path.is_dir():
        raise UsageError(log, "a folder", f"Name its files with a glob: '{log.rstrip('/')}/*.parquet'.")
    found = sorted(p for p in map(Path, glob.glob(log, recursive=True)) if p.is_file())  # noqa: PTH207
    if not found:
        raise UsageError(log, "no such file", "Give the path of a watch log, or a glob that matches some.")
    return found


class LogReader:
    """Reads files one by one into the table `log` of a connection.

    Args:
        con: the table `log` is made in it.
        scratch: folder for repaired copies.
        now: seconds since 1970; later times are malformed.
        kind: for messages.
    """

    def __init__(
        self,
        con: duckdb.DuckDBPyConnection,
        options: IngestOptions,
        files: list[LogFile],
        scratch: Path,
        now: int,
        kind: LogKind = WATCH_LOG,
    ) -> None:
        self._kind = kind
        self._con, self._options, self._scratch, self._now = con, options, scratch, now
        self._runs: dict[Format, Sequences | Texts] = {"sequences": Sequences(), "text": Texts()}
        user, item = self._id_types(files)
        con.execute(f"CREATE TEMP TABLE log (user {user}, item {item}, time BIGINT, status UTINYINT)")

    def read(self, file: LogFile) -> None:
        """Append one file to `log`. Raises UsageError for missing columns, CorruptError for unreadable files."""
        before = self._rows()
        if file.path.stat().st_size and (file.format == "parquet" or not is_blank(file.path)):
            readers = {"parquet": self._parquet, "csv": self._csv, "jsonl": self._jsonl}
            readers.get(file.format, self._words)(file)
        file.first, file.rows = before, self._rows() - before

    def _rows(self) -> int:
        return count(self._con, "SELECT count(*) FROM log")

    def _id_types(self, files: list[LogFile]) -> list[str]:
        """Whole numbers stay numbers until they are all known: they sort and join faster."""
        if any(file.format != "parquet" for file in files):
            return ["VARCHAR", "VARCHAR"]
        schemas = [parquet_schema(self._con, file.path) for file in files]
        columns = (self._options.columns.user, self._options.columns.item)
        small = [all(schema.get(column) in sql.SMALL_INTEGERS for schema in schemas) for column in columns]
        return ["BIGINT" if s else "VARCHAR" for s in small]

    def _parquet(self, file: LogFile) -> None:
        names, schema = self._options.columns, parquet_schema(self._con, file.path)
        check_columns(file.path, list(schema), self._wanted(), self._kind.columns)
        x = {column: (sql.name(column), schema[column]) for column in self._wanted().values()}
        user, item, time = sql.identifier(*x[names.user]), sql.identifier(*x[names.item]), sql.seconds(*x[names.time])
        fraction = sql.number(*x[names.fraction]) if names.fraction else None
        values = {"user": user, "item": item, "time": time, "fraction": fraction}
        for role, column in self._wanted().items():
            if values[role] is None:
                cure = "Ids are text or whole numbers, times numbers, text or timestamps, fractions numbers."
                raise UsageError(f"column {column!r} in {file.path}", f"the type {x[column][1]}", cure)
        try:
            self._insert(parquet(file.path), values)
        except duckdb.Error as error:
            raise unreadable(file.path, error) from error

    def _wanted(self) -> dict[str, str]:
        return {role: column for role, column in self._options.columns.model_dump().items() if column is not None}

    def _csv(self, file: LogFile) -> None:
        delimiter = csv_delimiter(file.path, self._options.delimiter)
        header = csv_header(file.path, delimiter)
        check_columns(file.path, header, self._wanted(), self._kind.columns)
        try:
            self._insert_csv(file.path, delimiter, header)
        except duckdb.Error:
            repaired = self._scratch / "repaired.csv"
            file.broken = repair(file.path, repaired, delimiter, len(header))
            try:
                self._insert_csv(repaired, delimiter, header)
            except duckdb.Error as error:
                raise unreadable(file.path, error) from error

    def _insert_csv(self, path: Path, delimiter: str, header: list[str]) -> None:
        x = {role: f"c{header.index(column)}" for role, column in self._wanted().items()}
        self._insert(csv_source(path, delimiter, len(header)), _text_values(x))

    def _jsonl(self, file: LogFile) -> None:
        check_columns(file.path, json_keys(file.path), self._wanted(), self._kind.columns)
        pointers = {role: sql.text(json_pointer(column)) for role, column in self._wanted().items()}
        types = ", ".join(f"json_type(json, {p}) AS {role}_type" for role, p in pointers.items())
        texts = ", ".join(f"json_extract_string(json, {p}) AS {role}" for role, p in pointers.items())
        broken = "coalesce(json_type(json) <> 'OBJECT', true) AS broken"
        source = f"(SELECT {broken}, {types}, {texts} FROM {json_lines(file.path)})"
        values = {}
        for role, value in _text_values({role: role for role in pointers}).items():
            allowed = "('VARCHAR', 'BIGINT', 'UBIGINT'" + (")" if role in {"user", "item"} else ", 'DOUBLE')")
            values[role] = value._replace(wrong=f"({value.wrong} OR {role}_type NOT IN {allowed})")
        try:
            self._insert(source, values, "broken")
        except duckdb.Error as error:
            raise unreadable(file.path, error) from error

    def _insert(self, source: str, values: Mapping[str, Value | None], broken: str = "false") -> None:
        """Append the rows of a table, each with its status.

        Args:
            values: user, item, time, and fraction where there is one, as expressions over `source`.
            broken: whether a row of `source` could not even be parsed.
        """
        user, item, time = (required(values[role]) for role in ("user", "item", "time"))
        tests = {
            "broken line": broken,
            "missing user id": user.missing,
            "missing item id": item.missing,
            "missing timestamp": time.missing,
            "user id of the wrong type": user.wrong,
            "item id of the wrong type": item.wrong,
            "unparsable timestamp": time.wrong,
            "future timestamp": f"{time.value} > {self._now}",
        }
        low, least = "false", self._options.min_fraction
        if fraction := values.get("fraction"):
            wrong = f"NOT {fraction.missing} AND ({fraction.wrong} OR {fraction.value} < 0)"
            tests |= {"missing fraction": fraction.missing if least else "false", "unparsable fraction": wrong}
            low = f"{fraction.value} < {least!r}"
        cases = " ".join(f"WHEN {test} THEN {1 + REASONS.index(reason)}" for reason, test in tests.items())
        status = f"CASE {cases} WHEN {low} THEN {BELOW_FRACTION} ELSE {GOOD} END"
        self._con.execute(
            f"INSERT INTO log SELECT {user.value}, {item.value}, {time.value}, {status} FROM {source}"
        ).fetchall()

    def _words(self, file: LogFile) -> None:
        with open_text(file.path) as stream:
            for rows in tables(self._runs[file.format].runs(lines(stream), file.broken)):
                self._con.register("rows", rows)
                self._con.execute(f"INSERT INTO log SELECT user, item, time, {GOOD} FROM rows")
                self._con.unregister("rows")


def _text_values(columns: dict[str, str]) -> dict[str, Value]:
    """The values of columns that are all texts, by role."""
    readers = {"user": sql.identifier, "item": sql.identifier, "time": sql.seconds, "fraction": sql.number}
    return {role: required(readers[role](column, "VARCHAR")) for role, column in columns.items()}


def file_records(file: LogFile, delimiter: str | None) -> Iterator[Record]:
    """The records of a text file that became rows of `log`, in that order."""
    with open_text(file.path) as stream:
        if file.format == "csv":
            separator = csv_delimiter(file.path, delimiter)
            records = csv_records(stream, separator, len(csv_header(file.path, separator)))
            yield from islice((r for r in records if not r.problem), 1, None)
        else:
            yield from lines(stream)
