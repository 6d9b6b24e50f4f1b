"""Sets of item numbers on disk, memory-mapped and quickly made into masks: by category and by upload time.

Bit n of a bitmap, counted from the lowest bit of the first byte, belongs to item number n. Knows nothing of ids.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from index.interface import Bool
from watchnext.catalogue import open_table, save_table
from watchnext.errors import CorruptError
from watchnext.histories import Int32, Int64

Bitmaps = NDArray[np.uint8]
BLOCKS = 64
"""A range of upload times is found to a block, of so many, and then to the item."""
_NAMES = pa.schema([("name", pa.large_string()), ("items", pa.int64())])
_CURE = "Build the index again: watchnext index."


class Categories:
    """The items of each category: a bitmap or, where that is shorter, a list of numbers.

    Args:
        names: table of `name` and the number of `items`, falling, so that those with bitmaps come first.
        bitmaps: [categories with bitmaps, bytes].
        lists: [items of all others] item numbers, those of one category together.
        items: how many items there are.
    """

    def __init__(self, names: pa.Table, bitmaps: Bitmaps, lists: Int32, items: int) -> None:
        self._table, self._bitmaps, self._lists, self._items = names, np.asarray(bitmaps), np.asarray(lists), items
        self.names: list[str] = names.column("name").to_pylist()
        """The most frequent first."""
        self.rows = {name: row for row, name in enumerate(self.names)}
        counts = names.column("items").to_pylist()
        self._ends = np.cumsum([0, *counts[len(bitmaps) :]])

    @classmethod
    def of(cls, column: pa.ListArray) -> Self:
        """From lists of categories [items + 1], in any order, null where unknown."""
        encoded = pc.list_flatten(column).dictionary_encode()
        there = encoded.is_valid().to_numpy(zero_copy_only=False)
        codes = encoded.indices.fill_null(0).to_numpy().astype(np.int64)[there]
        numbers = pc.list_parent_indices(column).to_numpy()[there]
        pairs = np.unique(codes * len(column) + numbers)  # an item may name a category twice
        codes, numbers = pairs // len(column), (pairs % len(column)).astype(np.int32)
        names, counts = encoded.dictionary.to_pylist(), np.bincount(codes, minlength=len(encoded.dictionary))
        members = np.split(numbers, np.cumsum(counts)[:-1]) if names else []
        order = sorted(range(len(names)), key=lambda row: (-counts[row], names[row]))
        items = len(column) - 1
        dense = _dense(counts, items)
        bitmaps = [packed(members[row], items) for row in order[:dense]]
        return cls(
            pa.table([[names[row] for row in order], counts[order]], schema=_NAMES),
            np.array(bitmaps, np.uint8).reshape(dense, width(items)),
            np.concatenate([np.array([], np.int32), *(members[row] for row in order[dense:])]),
            items,
        )

    def mask(self, rows: Sequence[int]) -> Bool:
        """[items + 1] the items that are in any of the categories of some rows, at least one."""
        dense = [row for row in rows if row < len(self._bitmaps)]
        if dense:
            mask = unpacked(np.bitwise_or.reduce(self._bitmaps[dense]), self._items)
        else:
            mask = np.zeros(self._items + 1, bool)
        for at in (row - len(self._bitmaps) for row in rows if row not in dense):
            _set(mask, self._lists[self._ends[at] : self._ends[at + 1]], True)
        return mask

    def save(self, folder: Path) -> None:
        """Write `categories.arrow`, `category_bitmaps.npy` and `category_lists.npy`."""
        save_table(self._table, folder / "categories.arrow")
        np.save(folder / "category_bitmaps.npy", self._bitmaps)
        np.save(folder / "category_lists.npy", self._lists)

    @classmethod
    def open(cls, folder: Path, items: int) -> Self:
        """Memory-map what `save` wrote. Raises CorruptError where the files do not fit together or to the items."""
        bitmaps, lists = _load(folder, {"category_bitmaps": np.uint8, "category_lists": np.int32})
        names = open_table(folder / "categories.arrow", _NAMES, thorough=True)
        counts = np.array(names.column("items").to_pylist(), np.float64)  # null becomes NaN
        dense = _dense(counts, items)
        fits = bitmaps.shape == (dense, width(items)) and lists.shape == (counts[dense:].sum(),)
        if not (fits and names.column("name").null_count == 0 and (np.diff(counts) <= 0).all()):
            raise CorruptError(str(folder), "categories that do not fit together", _CURE)
        _check_numbers(folder, lists, items)
        return cls(names, bitmaps, lists, items)


class UploadTimes(NamedTuple):
    """The items of known upload time, so prepared that a range of times is quickly a mask.

    The items of a range are those of a prefix of `order` without those of a shorter one. `prefixes` are that of every
    64th part; where the range ends within a part, the items that are too many are taken off one by one.
    """

    times: Int64
    """[known] seconds since 1970, rising."""
    order: Int32
    """[known] their item numbers."""
    prefixes: Bitmaps
    """[blocks + 1, bytes] row b is the first `b * known // blocks` items of `order`."""
    items: int
    """How many items there are."""

    @classmethod
    def of(cls, column: pa.Int64Array) -> Self:
        """From upload times [items + 1], null where unknown."""
        known = np.flatnonzero(column.is_valid().to_numpy(zero_copy_only=False)).astype(np.int32)
        times = column.drop_null().to_numpy()
        by_time = np.argsort(times, kind="stable")
        order, items = known[by_time], len(column) - 1
        prefixes = [packed(order[:end], items) for end in _edges(len(order))]
        return cls(times[by_time], order, np.array(prefixes), items)

    def mask(self, after: int | None, before: int | None) -> Bool:
        """[items + 1] items with after <= upload time < before, where None is no bound."""
        start = 0 if after is None else int(np.searchsorted(self.times, after))
        end = len(self.times) if before is None else int(np.searchsorted(self.times, before))
        edges = _edges(len(self.times))
        first, last = int(np.searchsorted(edges, start, "right")) - 1, int(np.searchsorted(edges, end))
        mask = unpacked(self.prefixes[first] ^ self.prefixes[last], self.items)
        _set(mask, self.order[edges[first] : start], False)
        _set(mask, self.order[end : edges[last]], False)
        return mask

    def save(self, folder: Path) -> None:
        """Write `upload_times.npy`, `upload_order.npy` and `upload_prefixes.npy`."""
        for name in ("times", "order", "prefixes"):
            np.save(folder / f"upload_{name}.npy", getattr(self, name))

    @classmethod
    def open(cls, folder: Path, items: int) -> Self:
        """Memory-map what `save` wrote. Raises CorruptError where the files do not fit together or to the items."""
        types = {"upload_times": np.int64, "upload_order": np.int32, "upload_prefixes": np.uint8}
        times, order, prefixes = _load(folder, types)
        shape = (len(_edges(times.size)), width(items))
        if times.ndim != 1 or times.shape != order.shape or prefixes.shape != shape:
            raise CorruptError(str(folder), "upload times that do not fit together", _CURE)
        _check_numbers(folder, order, items)
        return cls(times, order, prefixes, items)


def packed(numbers: Int32, items: int) -> Bitmaps:
    """[bytes] item numbers as a bitmap.

    >>> packed(np.array([1, 9], np.int32), items=9).tolist()[:3]
    [2, 2, 0]
    """
    mask = np.zeros(8 * width(items), bool)
    mask[numbers] = True
    return np.packbits(mask, bitorder="little")


def unpacked(bitmap: Bitmaps, items: int) -> Bool:
    """[items + 1] a bitmap as a mask."""
    return np.unpackbits(bitmap, count=items + 1, bitorder="little").view(bool)


def width(items: int) -> int:
    """Bytes of a bitmap: whole words of 8, in which numpy combines them."""
    return 8 * (items // 64 + 1)


def _set(mask: Bool, numbers: Int32, value: bool) -> None:
    mask[numbers.astype(np.intp)] = value  # numpy takes twice as long to index by the int32 itself


def _dense(counts: NDArray[Any], items: int) -> int:
    """How many categories have bitmaps: a list of 4 bytes an item would be longer."""
    return int((4 * counts >= width(items)).sum())


def _edges(known: int) -> Int64:
    """[blocks + 1] how many items of the order by time a prefix has."""
    blocks = max(1, min(BLOCKS, known))
    return np.arange(blocks + 1) * known // blocks


def _load(folder: Path, types: Mapping[str, type]) -> list[NDArray[Any]]:
    """Memory-map arrays. Raises CorruptError where one is missing, cut or of another type."""
    arrays = []
    for name, type_ in types.items():
        path = folder / f"{name}.npy"
        try:
            array = np.asarray(np.load(path, mmap_mode="r"))  # a view: rows of a memmap are slow to take
        except Exception as error:  # numpy's reader evaluates the header and lets any error through
            raise CorruptError(str(path), error, _CURE) from error
        if array.dtype != type_:
            raise CorruptError(str(path), f"numbers of the type {array.dtype}", _CURE)
        arrays.append(array)
    return arrays


def _check_numbers(folder: Path, numbers: Int32, items: int) -> None:
    if len(numbers) and not 1 <= numbers.min() <= numbers.max() <= items:
        raise CorruptError(str(folder), f"a number that is not from 1 to {items}", _CURE)
