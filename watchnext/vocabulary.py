"""Ids and numbers. The only place where outside ids (strings) and inside numbers (int32) meet.

Numbers start at 1; 0 is padding or unknown. Item vocabularies are ordered by falling frequency, so that a number
is also a popularity rank. The file is Arrow IPC, opened memory-mapped: a million ids cost no private memory.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import ArrayLike

from watchnext.catalogue import open_table, row_numbers, save_table
from watchnext.errors import UsageError
from watchnext.histories import Int32

_SCHEMA = pa.schema([("id", pa.large_string()), ("number_in_id_order", pa.int32())])


class Vocabulary:
    """Unique ids in the order of their numbers.

    Args:
        ids: the id of number 1, of number 2, ... Unique. Raises UsageError if one occurs twice.

    >>> vocabulary = Vocabulary(["toy-story", "heat"])
    >>> vocabulary.number("heat"), vocabulary.number("never seen"), vocabulary.id(1)
    (2, 0, 'toy-story')
    """

    def __init__(self, ids: Iterable[str]) -> None:
        column = pa.array(ids, pa.large_string())
        order = pc.sort_indices(column).to_numpy().astype(np.int32) + 1
        if len(pc.unique(column)) != len(column):
            raise UsageError("ids", "one id twice", "Give each id once.")
        self._set(pa.table([column, order], schema=_SCHEMA))

    def _set(self, table: pa.Table) -> None:
        self._table = table.combine_chunks()
        columns = [
            column.chunk(0) if column.num_chunks else pa.array([], column.type) for column in self._table.columns
        ]
        self._ids, order = columns
        # Not order.to_numpy(), which imports pandas where it is installed.
        buffer = order.buffers()[1] or b""
        self._order: Int32 = np.frombuffer(buffer, np.int32, len(order), 4 * order.offset)

    @classmethod
    def open(cls, path: Path) -> Self:
        """Memory-map a file that `save` wrote. Raises CorruptError if it is another kind of file."""
        table = open_table(path, _SCHEMA)
        vocabulary = cls.__new__(cls)
        vocabulary._set(table)
        return vocabulary

    def save(self, path: Path) -> None:
        """Write the vocabulary as an Arrow IPC file."""
        save_table(self._table, path)

    def __len__(self) -> int:
        """The number of ids; numbers go from 1 to this."""
        return len(self._ids)

    def number(self, id_: str) -> int:
        """The number of an id, 0 if it is unknown. A binary search: O(log n), without an index in memory."""
        wanted = id_.encode("utf-8", "surrogatepass")
        low, high = 0, len(self._order)
        while low < high:
            middle = (low + high) // 2
            if self._bytes(middle) < wanted:
                low = middle + 1
            else:
                high = middle
        found = low < len(self._order) and self._bytes(low) == wanted
        return int(self._order[low]) if found else 0

    def _bytes(self, position: int) -> bytes:
        value: str = self._ids[int(self._order[position]) - 1].as_py()
        return value.encode()

    def numbers(self, ids: Sequence[str]) -> Int32:
        """[ids] their numbers, 0 where unknown."""
        found = pc.index_in(pa.array(ids, pa.large_string()), self._ids)
        numbers: Int32 = pc.add(pc.fill_null(found, -1), 1).to_numpy(zero_copy_only=False).astype(np.int32)
        return numbers

    def id(self, number: int) -> str:
        """The id of a number from 1 to `len(self)`. Raises IndexError otherwise."""
        if not 1 <= number <= len(self):
            raise IndexError(f"number {number} is outside 1..{len(self)}")
        value: str = self._ids[number - 1].as_py()
        return value

    def ids(self, numbers: ArrayLike) -> list[str]:
        """The ids of several numbers, all from 1 to `len(self)`. Raises IndexError otherwise."""
        rows = np.asarray(numbers, np.int64) - 1
        if len(rows) and not (rows.min() >= 0 and rows.max() < len(self)):
            raise IndexError(f"numbers must be from 1 to {len(self)}")
        values: list[str] = self._ids.take(row_numbers(rows)).to_pylist()
        return values

    def all_ids(self) -> list[str]:
        """The ids of all numbers, from 1 on."""
        values: list[str] = self._ids.to_pylist()
        return values
