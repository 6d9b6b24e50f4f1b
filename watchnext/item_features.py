"""What is known about items, hashed: categories, words of titles and upload times as rows of a table of embeddings.

The vector of an item is its own embedding plus, for each kind of feature, the mean of the embeddings of its features
(Kula 2015, arXiv 1507.08439), so that an item that nobody has watched has one, too. Features are numbered by a hash,
so that new words need no vocabulary (Weinberger et al. 2009, arXiv 0902.2206). Arrays in, arrays out.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple
from zlib import crc32

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from watchnext.config import ItemFeature, ModelConfig
from watchnext.errors import UsageError
from watchnext.features import Float32, gap_buckets
from watchnext.histories import Int32, Int64, spans

NO_LETTERS = r"[^\p{L}\p{N}]+"
"""What separates words, as in searches."""
DAY = 86_400


class Pairs(NamedTuple):
    """Features of some items: [pairs] each, item by item."""

    row: Int32
    """Which of the items."""
    feature: Int32
    """A row of the table of feature embeddings."""
    weight: Float32
    """1 over how many features of this kind the item has."""


@dataclass(frozen=True)
class ItemBags:
    """The features of all items.

    Args:
        offsets: [items + 2] item i's features are `feature[offsets[i]:offsets[i + 1]]`; item 0 has none.
        feature: [pairs] from 1 on.
        weight: [pairs] as in `Pairs`.
        size: the highest number of a feature.
    """

    offsets: Int64
    feature: Int32
    weight: Float32
    size: int

    def of(self, items: Int32 | Int64) -> Pairs:
        """The features of some items: [items] numbers."""
        row, place = spans(self.offsets[items], self.offsets[items + 1])
        return Pairs(row.astype(np.int32), self.feature[place], self.weight[place])

    def sums(self, table: Float32, items: Int32 | Int64) -> Float32:
        """[items, dim] what the features of some items add to their own embeddings, 0 where none is known.

        Args:
            table: [size + 1, dim] embeddings of features.
        """
        row, feature, weight = self.of(items)
        found = np.zeros((len(items), table.shape[1]), np.float32)
        if len(row):
            known, first = np.unique(row, return_index=True)
            found[known] = np.add.reduceat(table[feature] * weight[:, None], first, axis=0)
        return found


def item_bags(config: ModelConfig, table: pa.Table, window_end: int) -> ItemBags | None:
    """The features that a model reads of an items table; None for a model that reads none.

    Args:
        table: `catalogue.ITEM_SCHEMA`, row n for item number n.
        window_end: seconds since 1970, when training ended: upload times become ages, in powers of two of days.

    Raises UsageError if the model is to read what is known of no item.
    """
    if not config.item_features:
        return None
    parts = [_hashed(kind, table, window_end, config.feature_buckets) for kind in config.item_features]
    row = np.concatenate([part.row for part in parts])
    order = np.argsort(row, kind="stable")
    offsets = np.concatenate([[0], np.cumsum(np.bincount(row, minlength=table.num_rows))])
    feature, weight = (np.concatenate(values)[order] for values in zip(*(part[1:] for part in parts), strict=True))
    return ItemBags(offsets, feature, weight, config.feature_buckets)


def _hashed(kind: ItemFeature, table: pa.Table, window_end: int, buckets: int) -> Pairs:
    row, text = _TEXTS[kind](table.column(kind), window_end)
    if not len(row):
        cure = f"Ingest an items table (--items) with {kind}, or leave it out of --set item_features."
        raise UsageError("--set item_features", f"{kind}, which is known of no item", cure)
    coded = text.dictionary_encode()
    numbers = [crc32(f"{kind}:{value}".encode()) % buckets + 1 for value in coded.dictionary.to_pylist()]
    feature = np.array(numbers, np.int32)[coded.indices.to_numpy()]
    return Pairs(row.astype(np.int32), feature, (1 / np.bincount(row)[row]).astype(np.float32))


def _categories(column: pa.ChunkedArray, _: int) -> tuple[Int64, pa.Array]:
    lists = column.combine_chunks()
    return pc.list_parent_indices(lists).to_numpy().astype(np.int64), pc.list_flatten(lists)


def _words(column: pa.ChunkedArray, _: int) -> tuple[Int64, pa.Array]:
    clean = pc.replace_substring_regex(pc.utf8_lower(column.combine_chunks()), NO_LETTERS, " ")
    row, words = _categories(pa.chunked_array([pc.split_pattern(clean, " ")]), 0)
    there = pc.not_equal(words, "")
    return row[there.to_numpy(zero_copy_only=False)], words.filter(there)


def _ages(column: pa.ChunkedArray, window_end: int) -> tuple[Int64, pa.Array]:
    row = np.flatnonzero(column.is_valid().to_numpy())
    days = (window_end - column.drop_null().to_numpy()) // DAY
    return row, pa.array(gap_buckets(days)).cast(pa.large_string())


_TEXTS: dict[ItemFeature, Callable[[pa.ChunkedArray, int], tuple[Int64, pa.Array]]] = {
    "categories": _categories,
    "title": _words,
    "uploaded": _ages,
}
"""From a column of the items table to texts, and the row of each."""
