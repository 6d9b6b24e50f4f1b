"""Ids and numbers. The only place where outside ids (strings) and inside numbers (int32) meet.

Numbers start at 1; 0 is padding or unknown. Item vocabularies are ordered by falling frequency, so that a number
is also a popularity rank. The file is Arrow IPC, opened memory-mapped: a million ids cost no private memory.
"""

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import ArrayLike, NDArray

from watchnext.catalogue import open_table, row_numbers, save_table
from watchnext.errors import UsageError
from watchnext.histories import Int32, Int64

_SCHEMA = pa.schema([("id", pa.large_string()), ("number_in_id_order", pa.int32())])
_FEW = 24
"""Up to so many ids are searched one by one."""
_MANY = 16
"""One in so many of all ids, and more, are found by hashing all."""
_EVERY = 64
"""One in so many ids, in their order, is kept in memory, so that most steps of a search are made by `bisect`."""


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
        self._places = memoryview(buffer).cast("i")[order.offset : order.offset + len(order)]
        _, offsets, text = self._ids.buffers()
        self._starts = memoryview(offsets or b"").cast("q")[self._ids.offset :]
        self._text = memoryview(text or b"")
        self._guides: list[bytes] = []

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

    def with_more(self, ids: Sequence[str]) -> "Vocabulary":
        """The same numbers and, after them, those of more ids. Raises UsageError if one is there already."""
        return Vocabulary(pa.concat_arrays([self._ids, pa.array(ids, pa.large_string())]))

    def __len__(self) -> int:
        """The number of ids; numbers go from 1 to this."""
        return len(self._ids)

    def number(self, id_: str) -> int:
        """The number of an id, 0 if it is unknown. A binary search: O(log n), with one in 64 ids in memory."""
        wanted = id_.encode("utf-8", "surrogatepass")
        order, starts, text = self._places, self._starts, self._text  # Arrow's scalars take thrice as long
        high = bisect_right(self._guides or self._guided(), wanted) * _EVERY
        low, high = max(0, high - _EVERY), min(high, len(order))
        while low < high:
            middle = (low + high) // 2
            number = order[middle]
            id_there = bytes(text[starts[number - 1] : starts[number]])
            if id_there < wanted:
                low = middle + 1
            elif id_there == wanted:
                return number
            else:
                high = middle
        return 0

    def _guided(self) -> list[bytes]:
        """The ids at places 0, 64, 128, ... of their order; made when first asked for."""
        starts = self._starts
        self._guides = [bytes(self._text[starts[n - 1] : starts[n]]) for n in self._places[::_EVERY].tolist()]
        return self._guides

    def numbers(self, ids: Sequence[str]) -> Int32:
        """[ids] their numbers, 0 where unknown.

        Few are searched one by one, several side by side, and many by hashing all ids, which takes half a second
        for a million.
        """
        if len(ids) <= _FEW:
            return np.array([self.number(id_) for id_ in ids], np.int32)
        wanted = pa.array(ids, pa.large_string())
        if len(ids) * _MANY < len(self):
            return self._search(wanted)
        found = pc.index_in(wanted, self._ids)
        numbers: Int32 = pc.add(pc.fill_null(found, -1), 1).to_numpy(zero_copy_only=False).astype(np.int32)
        return numbers

    def _search(self, wanted: pa.Array) -> Int32:
        """[wanted] numbers by binary searches that go side by side, for a vocabulary that is not empty."""
        low, high = np.zeros(len(wanted), np.int64), np.full(len(wanted), len(self))
        for _ in range(len(self).bit_length()):
            middle = (low + high) // 2
            less = _true(pc.less(self._in_id_order(middle), wanted))
            low, high = np.where(less, middle + 1, low), np.where(less, high, middle)
        found = _true(pc.equal(self._in_id_order(low), wanted))
        return np.where(found, self._order[np.minimum(low, len(self) - 1)], 0)

    def _in_id_order(self, positions: Int64) -> pa.Array:
        """[positions] the ids there in the order of ids; of positions behind the last, the last."""
        numbers = self._order[np.minimum(positions, len(self) - 1)]
        return self._ids.take(row_numbers(numbers.astype(np.int64) - 1))

    def id(self, number: int) -> str:
        """The id of a number from 1 to `len(self)`. Raises IndexError otherwise."""
        if not 1 <= number <= len(self):
            raise IndexError(f"number {number} is outside 1..{len(self)}")
        value: str = self._ids[number - 1].as_py()
        return value

    def ids(self, numbers: ArrayLike) -> list[str]:
        """The ids of several numbers, all from 1 to `len(self)`. Raises IndexError otherwise."""
        values: list[str] = self.column(numbers).to_pylist()
        return values

    def column(self, numbers: ArrayLike) -> pa.Array:
        """The same as an Arrow array."""
        rows = np.asarray(numbers, np.int64) - 1
        if len(rows) and not (rows.min() >= 0 and rows.max() < len(self)):
            raise IndexError(f"numbers must be from 1 to {len(self)}")
        return self._ids.take(row_numbers(rows))

    def all_ids(self) -> list[str]:
        """The ids of all numbers, from 1 on."""
        values: list[str] = self._ids.to_pylist()
        return values


def _true(answers: pa.Array) -> NDArray[np.bool_]:
    """[answers] booleans that are not null; not by `to_numpy`, which imports pandas where it is installed."""
    bits = np.frombuffer(answers.buffers()[1], np.uint8)
    return np.unpackbits(bits, count=len(answers), bitorder="little").astype(bool)
