"""Files as DuckDB tables: what each format is called, what columns a file has, how it is read. Parses no rows."""

import csv
import json
import shlex
from collections.abc import Mapping
from itertools import islice, takewhile
from pathlib import Path

import duckdb

from corpus import sql
from corpus.lines import lines, open_text
from corpus.options import Format
from watchnext.errors import CorruptError, UsageError

_ENDINGS: dict[str, Format] = {
    ".parquet": "parquet",
    ".csv": "csv",
    ".tsv": "csv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
}


def format_of(path: Path) -> Format:
    """The format a file's name tells. Raises UsageError where it tells none."""
    ending = (path.with_suffix("") if path.suffix == ".gz" else path).suffix.lower()
    if ending not in _ENDINGS:
        known = "parquet, csv, jsonl, sequences or text"
        raise UsageError(str(path), f"the ending {ending!r}", f"Say how it is written: --format {known}.")
    return _ENDINGS[ending]


def count(con: duckdb.DuckDBPyConnection, query: str) -> int:
    """The one number that a query gives."""
    ((value,),) = con.execute(query).fetchall()
    return int(value)


def unreadable(
    path: Path, error: Exception, cure: str = "Give a whole file, and --format if its name misleads."
) -> CorruptError:
    """What to raise for a file that DuckDB cannot read: its message without advice for authors of SQL."""
    lines = takewhile(lambda line: not line.startswith(("Possible", "LINE")), str(error).splitlines())
    return CorruptError(str(path), " ".join(filter(None, map(str.strip, lines))), cure)


def parquet_schema(con: duckdb.DuckDBPyConnection, path: Path) -> dict[str, str]:
    """The DuckDB types of a Parquet file's columns. Raises CorruptError if it is no whole Parquet file."""
    try:
        relation = con.sql(f"FROM {parquet(path)}")
    except duckdb.Error as error:
        raise unreadable(path, error) from error
    return dict(zip(relation.columns, map(str, relation.types), strict=True))


def parquet(path: Path) -> str:
    """A Parquet file as a table of its columns."""
    return f"read_parquet({sql.path(path)}, hive_partitioning = false)"


def json_lines(path: Path) -> str:
    """A JSONL file as a table of one column `json`, null for a line that is no JSON; blank lines are no rows."""
    return f"read_json_objects({sql.path(path)}, format = 'newline_delimited', ignore_errors = true)"


def json_pointer(key: str) -> str:
    """RFC 6901: where a key of an object is."""
    return "/" + key.replace("~", "~0").replace("/", "~1")


def json_keys(path: Path) -> list[str]:
    """The keys of the first 100 lines that are objects."""
    keys: dict[str, None] = {}
    with open_text(path) as file:
        for record in islice(lines(file), 100):
            try:
                value = json.loads(record.raw)
            except ValueError:
                continue
            keys |= dict.fromkeys(value) if isinstance(value, dict) else {}
    return list(keys)


def csv_delimiter(path: Path, chosen: str | None) -> str:
    """The chosen delimiter, or the one that the file's ending tells."""
    return chosen or ("\t" if ".tsv" in path.suffixes[-2:] else ",")


def csv_header(path: Path, delimiter: str) -> list[str]:
    """The column names of a CSV. Raises CorruptError where the first lines are no text."""
    try:
        with open_text(path) as file:
            text = (line.decode("utf-8-sig") for line in file)  # read no further than the header
            return next((row for row in csv.reader(text, delimiter=delimiter) if row), [])
    except (UnicodeDecodeError, csv.Error, OSError, EOFError) as error:
        raise CorruptError(str(path), error, "Give a CSV in UTF-8 with a header.") from error


def csv_source(path: Path, delimiter: str, width: int) -> str:
    """A CSV as a table of texts c0, c1, ..., strictly: DuckDB raises an error where a record is broken."""
    columns = ", ".join(f"c{i}: 'VARCHAR'" for i in range(width))
    return (
        f"read_csv({sql.path(path)}, auto_detect = false, header = true, strict_mode = true, null_padding = false,"
        f" delim = {sql.text(delimiter)}, quote = '\"', escape = '\"', columns = {{{columns}}})"
    )


def check_columns(path: Path, found: list[str], wanted: dict[str, str], options: Mapping[str, str]) -> None:
    """Raise UsageError unless each wanted column is there once.

    Args:
        found: the columns that are there.
        wanted: column names by role.
        options: the options that name them, by role.
    """
    for role, column in wanted.items():
        if found.count(column) != 1:
            got = "no column" if column not in found else "more than one column"
            cure = f"Choose one of its columns: {', '.join(map(repr, found)) or 'none'}."
            if other := other_delimiter(found):
                cure += f" If {other!r} stands between them, say so: --delimiter {shlex.quote(other)}."
            raise UsageError(options[role], f"{got} {column!r} in {path}", cure)


def other_delimiter(found: list[str]) -> str | None:
    """What seems to stand between the columns of a CSV that was read as one column."""
    return next((d for d in ";\t|," if len(found) == 1 and d in found[0]), None)
