"""The most watched items of each country, for those of whom nothing else is known. Counted when an index is built.

popular.arrow   a row for each country that users have: its name, its most watched items, their shares of its watches
"""

from pathlib import Path
from typing import NamedTuple, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from watchnext.catalogue import open_table, save_table
from watchnext.errors import CorruptError
from watchnext.export import Export
from watchnext.features import Float32
from watchnext.histories import Int32

POPULAR = "popular.arrow"
MOST = 2_000
"""Items of a country that are kept; whoever needs more gets those popular everywhere."""
_CURE = "Build the index again: watchnext index."
_SCHEMA = pa.schema(
    [("country", pa.large_string()), ("items", pa.list_(pa.int32())), ("shares", pa.list_(pa.float32()))]
)


class Popular(NamedTuple):
    """The most watched items of one country: [items] numbers, and shares of the country's watches, falling."""

    numbers: Int32
    shares: Float32


class Countries:
    """The most watched items of countries by the names that the users table has."""

    def __init__(self, popular: dict[str, Popular]) -> None:
        self.popular = popular

    @classmethod
    def of(cls, export: Export) -> Self:
        """Count what the users of each country watched; equal items in the order of their numbers."""
        countries, histories = export.user_table.column("country"), export.histories
        popular = {}
        for name in export.manifest.features.countries:
            users = np.flatnonzero(pc.fill_null(pc.equal(countries, name), False).to_numpy()).astype(np.int32)
            _, watches = histories.positions(users, np.zeros(len(users), np.int64), histories.lengths[users])
            counts = np.bincount(histories.items[watches], minlength=len(export.items) + 1)
            counts[0] = counts[export.withdrawn] = 0
            numbers = np.flatnonzero(counts)
            best = numbers[np.argsort(-counts[numbers], kind="stable")][:MOST]
            if len(best):
                shares = counts[best] / counts.sum()
                popular[name] = Popular(best.astype(np.int32), shares.astype(np.float32))
        return cls(popular)

    def save(self, folder: Path) -> None:
        """Write the file into the folder of an index."""
        columns = [
            pa.array(list(self.popular), pa.large_string()),
            pa.array([p.numbers.tolist() for p in self.popular.values()], pa.list_(pa.int32())),
            pa.array([p.shares.tolist() for p in self.popular.values()], pa.list_(pa.float32())),
        ]
        save_table(pa.table(columns, schema=_SCHEMA), folder / POPULAR)

    @classmethod
    def open(cls, folder: Path, export: Export) -> Self:
        """Read the file that `save` wrote; an index of before there was one knows no country.

        Items that the export says are withdrawn are left out: updates keep the file as the index was built with it.
        Raises CorruptError where the file holds anything else.
        """
        path = folder / POPULAR
        if not path.is_file():
            return cls({})
        table = open_table(path, _SCHEMA, thorough=True)
        names, items, shares = (column.combine_chunks() for column in table.columns)
        counts = pc.list_value_length(items)
        numbers, parts = pc.list_flatten(items), pc.list_flatten(shares)
        nulls = sum(column.null_count for column in (names, items, shares, numbers, parts))
        if nulls or not counts.equals(pc.list_value_length(shares)):
            raise CorruptError(str(path), "nulls, or items and shares that differ in number", _CURE)
        numbers, parts = numbers.to_numpy(), parts.to_numpy()
        if not ((numbers >= 1) & (numbers <= len(export.items)) & (parts >= 0) & (parts <= 1)).all():
            raise CorruptError(str(path), "numbers that no item has, or shares not from 0 to 1", _CURE)
        there = ~np.isin(numbers, export.withdrawn)
        popular, end = {}, 0
        for name, count in zip(names.to_pylist(), counts.to_pylist(), strict=True):
            start, end = end, end + count
            kept = there[start:end]
            popular[name] = Popular(numbers[start:end][kept], parts[start:end][kept])
        return cls(popular)
