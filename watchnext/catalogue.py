"""What is known about items and users beside their watches: two optional Arrow tables, aligned by number."""

from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from watchnext.errors import CorruptError

ITEM_SCHEMA = pa.schema(
    [("title", pa.large_string()), ("categories", pa.list_(pa.large_string())), ("uploaded", pa.int64())]
)
"""Row n belongs to item number n; row 0 is null. `uploaded` is seconds since 1970, UTC."""

USER_SCHEMA = pa.schema(
    [
        ("country", pa.large_string()),
        ("device", pa.large_string()),
        ("age", pa.float32()),
        ("gender", pa.large_string()),
        ("logged_in", pa.bool_()),
    ]
)
"""Row n belongs to user number n; row 0 is null. `age` is in years."""


@dataclass(frozen=True)
class Catalogue:
    """The items table: title, categories and upload time of each item number, each of them null when unknown."""

    table: pa.Table

    @classmethod
    def empty(cls, items: int) -> Self:
        """A catalogue of `items` items of which nothing is known."""
        return cls(empty_table(ITEM_SCHEMA, items))

    @classmethod
    def open(cls, path: Path) -> Self:
        """Memory-map a file that `save_table` wrote. Raises CorruptError if its columns are others."""
        return cls(open_table(path, ITEM_SCHEMA))

    def __len__(self) -> int:
        """The number of items, row 0 not counted."""
        return int(self.table.num_rows) - 1

    def uploaded(self) -> NDArray[np.float64] | None:
        """[items + 1] upload times in seconds since 1970, NaN where unknown; None if none is known."""
        column = self.table.column("uploaded")
        return None if column.null_count == len(column) else column.cast(pa.float64()).to_numpy()

    def title(self, number: int) -> str | None:
        """The title of an item, None if unknown."""
        title: str | None = self.table.column("title")[number].as_py()
        return title


def row_numbers(rows: NDArray[np.int64]) -> pa.Array:
    """[rows] an Arrow array for `take`; `pa.array` would import pandas where it is installed, for a second."""
    return pa.Array.from_buffers(pa.int64(), len(rows), [None, pa.py_buffer(np.ascontiguousarray(rows, np.int64))])


def empty_table(schema: pa.Schema, rows: int) -> pa.Table:
    """A table of nulls for numbers 1 to `rows`, with its row 0."""
    return pa.table([pa.nulls(rows + 1, field.type) for field in schema], schema=schema)


def open_table(path: Path, schema: pa.Schema, thorough: bool = False) -> pa.Table:
    """Memory-map an Arrow IPC file. Raises CorruptError if it is none, or has other columns than `schema`.

    Args:
        path: what `save_table` wrote.
        schema: its columns.
        thorough: check each value, too: 16 milliseconds for a million titles, all of which are then read into memory.
    """
    try:
        with pa.memory_map(str(path)) as source:
            table = pa.ipc.open_file(source).read_all()
        table.validate(full=thorough)
        names = table.schema.names
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise CorruptError(str(path), error, "Restore the file or write it again.") from error
    if table.schema != schema:
        raise CorruptError(str(path), f"columns {names}", f"Expected {schema.names}.")
    return table


def save_table(table: pa.Table, path: Path) -> None:
    """Write a table as one Arrow IPC file, which `open_table` can memory-map."""
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table.combine_chunks())
