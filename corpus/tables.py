"""The optional items and users tables -> Arrow tables aligned by number. The last row of an id counts."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import duckdb
import pyarrow as pa

from corpus import sql
from corpus.corpus import TableCounts
from corpus.lines import is_blank, repair
from corpus.options import ItemColumns, UserColumns
from corpus.sources import count, csv_delimiter, csv_header, csv_source, format_of, parquet, unreadable
from watchnext.catalogue import ITEM_SCHEMA, USER_SCHEMA, empty_table
from watchnext.errors import CorruptError, UsageError
from watchnext.vocabulary import Vocabulary

OLDEST = 130
"""Ages above this many years, and below 0, are malformed."""

NULLS = '"NULL"'
"""DuckDB's type of a column that has no value in any row."""


@dataclass(frozen=True)
class _Cell:
    """A column of the result: its value in SQL, and when that is malformed."""

    value: str
    wrong: str


_Reader = Callable[[str, str], _Cell | None]


def item_table(
    con: duckdb.DuckDBPyConnection,
    path: Path,
    columns: ItemColumns,
    ids: Vocabulary,
    scratch: Path,
    unwatched: bool = False,
) -> tuple[Vocabulary, pa.Table, TableCounts]:
    """The items table by item number, with `catalogue.ITEM_SCHEMA`.

    Args:
        ids: of items that were watched.
        unwatched: whether other ids of the table are numbered after them, by their bytes; else they are ignored.

    Returns all ids, and the table.
    """
    readers: dict[str, _Reader] = {"title": _text, "categories": _categories, "uploaded": _time}
    known = _cells(con, path, columns.model_dump(), ItemColumns().model_dump(), "item", readers, scratch)
    if unwatched:
        there = con.sql("SELECT DISTINCT id FROM cells WHERE id IS NOT NULL ORDER BY id").to_arrow_table()
        new = [id_ for id_, number in _numbered(there.column("id"), ids) if not number]
        ids = Vocabulary([*ids.ids(range(1, len(ids) + 1)), *new])
    return ids, *_join(con, known, ids, ITEM_SCHEMA)


def _numbered(column: pa.ChunkedArray, ids: Vocabulary) -> Iterable[tuple[str, int]]:
    values = column.to_pylist()
    return zip(values, ids.numbers(values).tolist(), strict=True)


def user_table(
    con: duckdb.DuckDBPyConnection, path: Path, columns: UserColumns, ids: Vocabulary, scratch: Path
) -> tuple[pa.Table, TableCounts]:
    """The users table by user number, with `catalogue.USER_SCHEMA`."""
    readers: dict[str, _Reader] = {
        "country": _text,
        "device": _text,
        "age": _age,
        "gender": _text,
        "logged_in": _binary,
    }
    known = _cells(con, path, columns.model_dump(), UserColumns().model_dump(), "user", readers, scratch)
    return _join(con, known, ids, USER_SCHEMA)


def _text(x: str, type_: str) -> _Cell | None:
    if type_.endswith("]") or type_.startswith(("STRUCT", "MAP", "BLOB")):
        return None
    return _Cell(f"CASE WHEN NOT {sql.blank(f'{x}::VARCHAR')} THEN {x}::VARCHAR END", "false")


def _categories(x: str, type_: str) -> _Cell | None:
    if type_ == "VARCHAR":
        parts = f"string_split({x}, '|')"
    elif type_.endswith("[]"):
        parts = f"{x}::VARCHAR[]"
    else:
        return None
    trimmed = f"list_transform({parts}, lambda c: trim(c))"
    return _Cell(f"list_filter({trimmed}, lambda c: coalesce(c, '') <> '')", "false")


def _time(x: str, type_: str) -> _Cell | None:
    time = sql.seconds(x, type_)
    return _Cell(time.value, f"NOT {time.missing} AND {time.wrong}") if time else None


def _binary(x: str, type_: str) -> _Cell | None:
    if type_ != "BOOLEAN" and sql.number(x, type_) is None:
        return None
    value = f"try_cast({x} AS BOOLEAN)"
    missing = sql.blank(x) if type_ == "VARCHAR" else f"{x} IS NULL"
    return _Cell(value, f"NOT {missing} AND {value} IS NULL")


def _age(x: str, type_: str) -> _Cell | None:
    age = sql.number(x, type_)
    if age is None:
        return None
    valid = f"coalesce({age.value} BETWEEN 0 AND {OLDEST}, false)"
    return _Cell(f"CASE WHEN {valid} THEN {age.value} END", f"NOT {age.missing} AND NOT {valid}")


def _cells(
    con: duckdb.DuckDBPyConnection,
    path: Path,
    names: dict[str, str],
    defaults: dict[str, str],
    role: str,
    readers: dict[str, _Reader],
    scratch: Path,
) -> dict[str, _Cell]:
    """Make the table `cells`, a row for each of the file: its id, null where it has none, and the known columns."""
    types = _load(con, path, list(names.values()), scratch)
    id_ = sql.identifier(sql.name(names[role]), types[names[role]]) if names[role] in types else None
    if id_ is None:
        got = "a type that is no id" if names[role] in types else "no such column"
        raise UsageError(f"column {names[role]!r} in {path}", got, f"Choose one of: {', '.join(map(repr, types))}.")
    cells = {c: _cell(path, names[c], defaults[c], types, read) for c, read in readers.items()}
    known = {column: cell for column, cell in cells.items() if cell}
    if not known:
        raise UsageError(str(path), f"none of the columns {', '.join(readers)}", f"It has: {', '.join(types)}.")
    values = "".join(f", {cell.value} AS {column}, {cell.wrong} AS {column}_wrong" for column, cell in known.items())
    con.execute(
        f"CREATE OR REPLACE TEMP TABLE cells AS SELECT CASE WHEN NOT {id_.missing} AND NOT {id_.wrong} THEN"
        f" {id_.value}::VARCHAR END AS id{values} FROM side"
    )
    return known


def _join(
    con: duckdb.DuckDBPyConnection, known: dict[str, _Cell], ids: Vocabulary, schema: pa.Schema
) -> tuple[pa.Table, TableCounts]:
    numbers = range(1, len(ids) + 1)
    con.register("numbers", pa.table({"id": pa.array(ids.ids(list(numbers)), pa.string()), "number": numbers}))
    con.execute(
        "CREATE OR REPLACE TEMP TABLE used AS SELECT number, last.* FROM (SELECT * FROM cells WHERE id IS NOT NULL"
        " QUALIFY row_number() OVER (PARTITION BY id ORDER BY rowid DESC) = 1) last JOIN numbers USING (id)"
    )
    con.unregister("numbers")
    table = con.sql(f"SELECT number, {', '.join(known)} FROM used ORDER BY number").to_arrow_table()
    rows = count(con, "SELECT count(*) FROM cells")
    missing = count(con, "SELECT count(*) FROM cells WHERE id IS NULL")
    distinct = count(con, "SELECT count(DISTINCT id) FROM cells")
    wrong = {c: count(con, f"SELECT count(*) FROM used WHERE {c}_wrong") for c in known}
    counts = TableCounts(
        rows=rows,
        missing_id=missing,
        repeated=rows - missing - distinct,
        unknown=distinct - table.num_rows,
        used=table.num_rows,
        malformed={column: n for column, n in wrong.items() if n},
    )
    return _by_number(table, len(ids), schema), counts


def _by_number(table: pa.Table, size: int, schema: pa.Schema) -> pa.Table:
    """Spread rows over numbers 0 to `size`; numbers without a row become null."""
    position: list[int | None] = [None] * (size + 1)
    for row, number in enumerate(table.column("number").to_pylist()):
        position[number] = row
    rows = table.take(pa.array(position, pa.int64()))
    empty = empty_table(schema, size)
    columns = [
        (rows if field.name in table.column_names else empty).column(field.name).cast(field.type) for field in schema
    ]
    return pa.table(columns, schema=schema)


def _cell(path: Path, column: str, default: str, types: dict[str, str], read: _Reader) -> _Cell | None:
    """How to read a column; None where it is absent and was not asked for by name."""
    if column not in types:
        if column == default:
            return None
        raise UsageError(f"column {column!r} in {path}", "no such column", f"Choose one of: {', '.join(types)}.")
    cell = read(sql.name(column), types[column])
    if cell is None:
        what = "lists or objects among other values" if types[column] == "JSON" else f"the type {types[column]}"
        raise UsageError(f"column {column!r} in {path}", what, "Cast it, or name another column.")
    return cell


def _load(con: duckdb.DuckDBPyConnection, path: Path, wanted: list[str], scratch: Path) -> dict[str, str]:
    """Copy the wanted columns of a file into the table `side`; the types of all its columns by name.

    Line ends of several kinds, which DuckDB refuses, are mended in a copy in `scratch`. Raises CorruptError for a
    broken record: a table is small enough to be mended, so that none is left out.
    """
    if not path.is_file():
        raise UsageError(str(path), "no such file", "Give the path of a Parquet, CSV or JSONL file.")
    if format_of(path) != "parquet" and is_blank(path):
        raise UsageError(str(path), "a table without rows", "Give one with at least one row, or leave it out.")
    try:
        try:
            return _copy(con, _source(path, path), wanted)
        except duckdb.Error:
            if format_of(path) != "csv":
                raise
            return _copy(con, _source(path, _mended(path, scratch / "table.csv")), wanted)
    except duckdb.Error as error:
        raise unreadable(path, error, "Give a whole file of the kind that its name tells.") from error


def _copy(con: duckdb.DuckDBPyConnection, source: str, wanted: list[str]) -> dict[str, str]:
    table = con.sql(f"FROM {source}")
    types = dict(zip(table.columns, map(str, table.types), strict=True))
    chosen = [sql.name(column) for column in dict.fromkeys(wanted) if column in types] or ["*"]
    con.execute(f"CREATE OR REPLACE TEMP TABLE side AS SELECT {', '.join(chosen)} FROM {source}")
    for column in [column for column in dict.fromkeys(wanted) if types.get(column) in {"JSON", NULLS}]:
        if _make_texts(con, sql.name(column), types[column]):
            types[column] = "VARCHAR"
    return types


def _make_texts(con: duckdb.DuckDBPyConnection, x: str, type_: str) -> bool:
    """Make texts of a column of `side` in which JSON mixes texts and numbers, or has nothing; False for others."""
    if type_ == "JSON" and count(con, f"SELECT count(*) FROM side WHERE json_type({x}) IN ('ARRAY', 'OBJECT')"):
        return False
    value = f"json_extract_string({x}, '$')" if type_ == "JSON" else f"{x}::VARCHAR"
    con.execute(f"ALTER TABLE side ALTER {x} TYPE VARCHAR USING {value}")
    return True


def _mended(path: Path, to: Path) -> Path:
    delimiter = csv_delimiter(path, None)
    broken = repair(path, to, delimiter, len(csv_header(path, delimiter)))
    if broken:
        first, more = broken[0], f", and {len(broken) - 1:,} more" if len(broken) > 1 else ""
        row = first.raw.rstrip(b"\r\n").decode("utf-8", "backslashreplace")[:100]
        got = f"a broken row in line {first.line} ({first.problem}: {row}){more}"
        raise CorruptError(str(path), got, "Give a CSV in UTF-8 with a header, and as many columns in every row.")
    return to


def _source(path: Path, content: Path) -> str:
    """A file as a table; `content` is where its rows are read from: itself, or a mended copy."""
    kind = format_of(path)
    if kind == "parquet":
        return parquet(path)
    if kind == "jsonl":
        guess = "sample_size = -1, convert_strings_to_integers = false"
        return f"read_json({sql.path(path)}, format = 'newline_delimited', {guess})"
    delimiter = csv_delimiter(path, None)
    header = csv_header(path, delimiter)
    names = ", ".join(f"c{i} AS {sql.name(column)}" for i, column in enumerate(header))
    return f"(SELECT {names or '1 AS empty'} FROM {csv_source(content, delimiter, len(header))})"
