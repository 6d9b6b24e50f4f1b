"""New and changed items as a file brings them: Parquet, Arrow or lines of JSON, one row for each item.

    item_id      text; whole numbers become text
    vector       list of `dim` numbers; null or left out: a known item keeps its own
    title        text
    categories   list of texts, or one text with | between them
    uploaded     a timestamp or date, or a Unix time in seconds, milli-, micro- or nanoseconds

Only `item_id` must be there. Null keeps what is known. Knows nothing of releases.
"""

import re
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.json
import pyarrow.parquet
from numpy.typing import NDArray

from watchnext.catalogue import ITEM_SCHEMA
from watchnext.errors import CorruptError, UsageError
from watchnext.export import without_length
from watchnext.features import Float32

ID, VECTOR = "item_id", "vector"
COLUMNS = (ID, VECTOR, *ITEM_SCHEMA.names)
FORMATS = ".parquet, .arrow, .feather, .jsonl, .ndjson"
_OTHER_KIND = re.compile(r"Column\(/(\w+).*\) changed from (\w+) to (\w+)")
"""How Arrow says that a value is of another kind than the column."""
_KINDS = {
    ID: "texts, or whole numbers in all lines",
    VECTOR: "lists of numbers",
    "title": "texts",
    "categories": "lists of texts",
    "uploaded": "timestamps in all lines, or seconds since 1970 in all lines",
}
_TIMES = "Give timestamps, or seconds since 1970."
_JSON_BLOCK = 1 << 25
"""No line of JSON may be longer, in bytes."""


@dataclass(frozen=True)
class ItemChanges:
    """New and changed items.

    Args:
        ids: [items] each once.
        vectors: [items, dim] float32, finite; rows of zeros where there is none.
        has_vector: [items].
        facts: [items] `ITEM_SCHEMA`; null keeps what is known.
    """

    ids: list[str]
    vectors: Float32
    has_vector: NDArray[np.bool_]
    facts: pa.Table

    @classmethod
    def none(cls, dim: int) -> "ItemChanges":
        """No changes."""
        nothing = np.zeros((0, dim), np.float32)
        return cls([], nothing, np.zeros(0, bool), ITEM_SCHEMA.empty_table())


def read_changes(path: Path, dim: int) -> ItemChanges:
    """Read a file of new and changed items whose vectors have `dim` dimensions.

    Raises UsageError naming the column or item that is wrong, CorruptError where the file cannot be read.
    """
    table = _table(path)
    names = table.column_names
    wrong = [name for name in names if name not in COLUMNS or names.count(name) > 1]
    if wrong or ID not in names:
        got = f"a column {wrong[0]!r}" if wrong else f"no column {ID!r}"
        raise UsageError(str(path), got, f"Name each column once; there may be {', '.join(COLUMNS)}.")
    columns = {name: _whole(table.column(name)) for name in names}
    ids = _ids(columns[ID])
    vectors, has_vector = _vectors(columns.get(VECTOR, pa.nulls(len(ids))), ids, dim)
    given = {name: columns.get(name, pa.nulls(len(ids))) for name in ITEM_SCHEMA.names}
    facts = [_READERS[name](column) for name, column in given.items()]
    return ItemChanges(ids, vectors, has_vector, pa.table(facts, schema=ITEM_SCHEMA))


def _table(path: Path) -> pa.Table:
    if not path.is_file():
        raise UsageError("--items", f"{path}, which is no file", f"Name a file: {FORMATS}.")
    try:
        if path.suffix == ".parquet":
            table = pyarrow.parquet.read_table(path)
        elif path.suffix in {".arrow", ".feather"}:
            with pa.memory_map(str(path)) as source:
                table = pa.ipc.open_file(source).read_all()
        elif path.suffix in {".jsonl", ".ndjson"}:
            table = _json(path)
        else:
            raise UsageError("--items", path, f"Name a file that ends in one of {FORMATS}.")
        table.validate(full=True)
    except (pa.ArrowException, OSError) as error:
        raise CorruptError(str(path), str(error).splitlines()[0], "Write the file again.") from error
    return table


def _json(path: Path) -> pa.Table:
    name, wanted, got = ID, "text", "number"
    for id_type in (pa.large_string(), pa.int64()):
        try:
            return _json_lines(path, id_type)
        except pa.ArrowInvalid as error:
            other = _OTHER_KIND.search(str(error))
            if other is not None:
                name, wanted, got = other.groups()
            elif "JSON to int64" not in str(error):  # which it is for an id like 5.5
                raise
            if (name, got) != (ID, "number"):
                break
    raise UsageError(f"column {name!r} of {path}", f"a {got}", f"Give {_KINDS.get(name, f'only {wanted}s')}.")


def _json_lines(path: Path, id_type: pa.DataType) -> pa.Table:
    text = pa.large_string()
    if not path.stat().st_size:
        return pa.table({ID: pa.array([], text)})
    schema = pa.schema(
        [
            (ID, id_type),
            (VECTOR, pa.list_(pa.float64())),
            ("title", text),
            ("categories", pa.list_(text)),
        ]  # without which a title like 2001-01-01 would be a time
    )
    how = pyarrow.json.ParseOptions(explicit_schema=schema, unexpected_field_behavior="infer")
    with path.open("rb") as file:
        table = pyarrow.json.read_json(file, pyarrow.json.ReadOptions(block_size=_JSON_BLOCK), how)
    empty = [name for name in schema.names if table.column(name).null_count == len(table) and name != ID]
    return table.drop_columns(empty)


def _whole(column: pa.ChunkedArray) -> pa.Array:
    """A column as one array, of its values where it is a dictionary."""
    array = column.combine_chunks()
    if isinstance(array, pa.ChunkedArray):
        array = pa.concat_arrays(array.chunks) if array.num_chunks else pa.array([], array.type)
    return array.dictionary_decode() if pa.types.is_dictionary(array.type) else array


def _is_text(type_: pa.DataType) -> bool:
    return bool(pa.types.is_string(type_) or pa.types.is_large_string(type_) or pa.types.is_string_view(type_))


def _is_list(type_: pa.DataType) -> bool:
    types = pa.types
    return bool(types.is_list(type_) or types.is_large_list(type_) or types.is_fixed_size_list(type_))


def _ids(column: pa.Array) -> list[str]:
    if not (_is_text(column.type) or pa.types.is_integer(column.type)):
        raise UsageError(f"column {ID!r}", f"the type {column.type}", "Give texts.")
    column = column.cast(pa.large_string())
    if column.null_count or pc.any(pc.equal(column, "")).as_py():
        raise UsageError(f"column {ID!r}", "an empty id", "Give each item an id.")
    counts = pc.value_counts(column)
    twice = counts.filter(pc.greater(counts.field("counts"), 1))
    if len(twice):
        raise UsageError(f"column {ID!r}", f"{twice[0]['values'].as_py()!r} twice", "Give each item once.")
    ids: list[str] = column.to_pylist()
    return ids


def _vectors(column: pa.Array, ids: list[str], dim: int) -> tuple[Float32, NDArray[np.bool_]]:
    """[items, dim] vectors, zeros where there is none, and [items] where there is one."""
    try:
        if not (_is_list(column.type) or pa.types.is_null(column.type)):
            raise pa.ArrowTypeError
        column = column.cast(pa.large_list(pa.float32()))
    except pa.ArrowException as error:
        raise UsageError(f"column {VECTOR!r}", f"the type {column.type}", "Give lists of numbers.") from error
    has_vector = column.is_valid().to_numpy(zero_copy_only=False)
    rows = np.flatnonzero(has_vector)
    there = column.drop_null()
    lengths = pc.list_value_length(there).to_numpy()
    _refuse(ids, rows[lengths != dim], lambda row: f"{len(column[row])} numbers where items have {dim} dimensions")
    values = there.flatten()
    vectors = np.zeros((len(ids), dim), np.float32)
    vectors[rows] = values.to_numpy(zero_copy_only=False).reshape(-1, dim)  # null becomes NaN
    _refuse(ids, np.flatnonzero(~np.isfinite(vectors).all(axis=1)), lambda _: "a number that is not finite")
    _refuse(ids, rows[~vectors[rows].any(axis=1)], lambda _: "nothing but zeros, which no search finds")
    _refuse(ids, np.flatnonzero(without_length(vectors)), lambda _: "a length that 32 bits cannot square")
    return vectors, has_vector


def _refuse(ids: list[str], rows: NDArray[np.int64], got: Callable[[int], str]) -> None:
    if len(rows):
        cure = "Give another, or null to keep the one there is."
        raise UsageError(f"vector of item {ids[rows[0]]!r}", got(int(rows[0])), cure)


def _title(column: pa.Array) -> pa.Array:
    if not (_is_text(column.type) or pa.types.is_null(column.type)):
        raise UsageError("column 'title'", f"the type {column.type}", "Give texts.")
    return column.cast(pa.large_string())


def _categories(column: pa.Array) -> pa.Array:
    listed = _is_list(column.type) and _is_text(column.type.value_type)
    if not (listed or _is_text(column.type) or pa.types.is_null(column.type)):
        raise UsageError("column 'categories'", f"the type {column.type}", "Give lists of texts.")
    return pa.array(map(_names, column.to_pylist()), pa.list_(pa.large_string()))


def _names(value: str | list[str | None] | None) -> list[str] | None:
    """Categories without blanks around them and without empty ones; None stays None."""
    if value is None:
        return None
    names = value.split("|") if isinstance(value, str) else value
    return [name.strip() for name in names if name is not None and name.strip()]


def _uploaded(column: pa.Array) -> pa.Array:
    """[items] seconds since 1970, rounded down."""
    if _is_text(column.type):
        column = _moments(column)
    types, type_ = pa.types, column.type
    if types.is_timestamp(type_) or types.is_date(type_):
        moments = column.cast(pa.timestamp(type_.unit if types.is_timestamp(type_) else "s"))  # in UTC
        return pc.floor_temporal(moments, unit="second").cast(pa.timestamp("s")).cast(pa.int64())
    whole = types.is_integer(type_) or types.is_null(type_)
    if not (whole or types.is_floating(type_) or types.is_decimal(type_)):
        raise UsageError("column 'uploaded'", f"the type {type_}", _TIMES)
    try:
        column = (column if whole else pc.floor(column)).cast(pa.int64())
    except pa.ArrowInvalid as error:
        raise UsageError("column 'uploaded'", "a number that is not finite, or too large", _TIMES) from error
    values = column.fill_null(0).to_numpy()
    size = np.abs(values)
    units = np.select([size < 10**11, size < 10**14, size < 10**17], [1, 10**3, 10**6], 10**9)
    return pa.array(values // units, pa.int64(), mask=column.is_null().to_numpy(zero_copy_only=False))


def _moments(column: pa.Array) -> pa.Array:
    """Texts as times where all of them are: Arrow reads fractions of a second, but does not find them by itself."""
    for type_ in (pa.timestamp("us", "UTC"), pa.timestamp("us")):  # all with a zone, or all without
        with suppress(pa.ArrowInvalid):
            return column.cast(type_)
    return column


_READERS: dict[str, Callable[[Any], Any]] = {"title": _title, "categories": _categories, "uploaded": _uploaded}
