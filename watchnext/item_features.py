"""What is known about items: categories, words of titles and upload times as rows of a table of embeddings.

The vector of an item is its own embedding plus, for each kind of feature, the mean of the embeddings of its features
(Kula 2015, arXiv 1507.08439), so that an item that nobody has watched has one, too. Arrays in, arrays out.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from watchnext.config import ItemFeature, ModelConfig
from watchnext.features import Float32, gap_buckets
from watchnext.histories import Int32, Int64, spans
from watchnext.vocabulary import Vocabulary

NO_LETTERS = r"[^\p{L}\p{N}]+"
"""What separates words, as in searches."""
DAY = 86_400
SHARED = 2
"""A feature of fewer items tells nothing that the item's own embedding does not."""


class Pairs(NamedTuple):
    """Features of some items: [pairs] each, item by item."""

    row: Int32
    """Which of the items."""
    feature: Int32
    """Its number, and row of the table of embeddings."""
    weight: Float32
    """1 over how many features of this kind the item has."""


@dataclass(frozen=True)
class ItemBags:
    """The features of all items.

    Args:
        offsets: [items + 2] item i's features are `feature[offsets[i]:offsets[i + 1]]`; item 0 has none.
        feature, weight: [pairs] as in `Pairs`.
        vocabulary: of features, as `categories:drama`, `title:alien`, `uploaded:9`.
    """

    offsets: Int64
    feature: Int32
    weight: Float32
    vocabulary: Vocabulary

    def of(self, items: Int32 | Int64) -> Pairs:
        """The features of some items: [items] numbers."""
        row, place = spans(self.offsets[items], self.offsets[items + 1])
        return Pairs(row.astype(np.int32), self.feature[place], self.weight[place])

    def sums(self, table: Float32, items: Int32 | Int64) -> Float32:
        """[items, dim] what the features of some items add to their own embeddings, 0 where none is known.

        Args:
            table: [features + 1, dim] their embeddings.
        """
        row, feature, weight = self.of(items)
        found = np.zeros((len(items), table.shape[1]), np.float32)
        if len(row):
            known, first = np.unique(row, return_index=True)
            found[known] = np.add.reduceat(table[feature] * weight[:, None], first, axis=0)
        return found


def item_bags(config: ModelConfig, table: pa.Table, window_end: int) -> ItemBags | None:
    """The features that a model reads of an items table; None where it reads none or none is known.

    Args:
        table: `catalogue.ITEM_SCHEMA`, row n for item number n.
        window_end: seconds since 1970, when training ended: upload times become ages, in powers of two of days.
    """
    parts = [_pairs(kind, table, window_end) for kind in config.item_features]
    if not sum(len(row) for row, _ in parts):
        return None
    row = np.concatenate([row for row, _ in parts])
    kind = np.repeat(np.arange(len(parts)), [len(row) for row, _ in parts])
    texts = pa.concat_arrays([text for _, text in parts]).dictionary_encode()
    vocabulary, number = _vocabulary(texts, row, config.most_item_features)
    if not len(vocabulary):
        return None
    order = np.argsort(row, kind="stable")
    order = order[number[order] > 0]
    row, kind, number = row[order], kind[order], number[order]
    together = row * len(parts) + kind
    offsets = np.concatenate([[0], np.cumsum(np.bincount(row, minlength=table.num_rows))])
    return ItemBags(offsets, number, (1 / np.bincount(together)[together]).astype(np.float32), vocabulary)


def _vocabulary(texts: pa.DictionaryArray, row: Int64, most: int) -> tuple[Vocabulary, Int32]:
    """The texts that items share, by falling number of items and then by their bytes, and [pairs] their numbers."""
    code = texts.indices.to_numpy().astype(np.int64)
    size = len(texts.dictionary)
    items = np.bincount(np.unique(row * size + code) % size, minlength=size)
    by_text = pc.sort_indices(texts.dictionary).to_numpy()
    order = by_text[np.argsort(-items[by_text], kind="stable")]
    kept = order[: min(most, int((items >= SHARED).sum()))]
    number = np.zeros(size, np.int32)
    number[kept] = np.arange(1, len(kept) + 1)
    return Vocabulary(texts.dictionary.take(pa.array(kept))), number[code]


def _pairs(kind: ItemFeature, table: pa.Table, window_end: int) -> tuple[Int64, pa.Array]:
    """[pairs] the row of each feature of a kind, and its text."""
    row, text = _TEXTS[kind](table.column(kind), window_end)
    prefix, separator = (pa.scalar(part, pa.large_string()) for part in (kind, ":"))
    return row, pc.binary_join_element_wise(prefix, text.cast(pa.large_string()), separator)


def _categories(column: pa.ChunkedArray, _: int) -> tuple[Int64, pa.Array]:
    return _flat(column.combine_chunks())


def _flat(lists: pa.Array) -> tuple[Int64, pa.Array]:
    return pc.list_parent_indices(lists).to_numpy().astype(np.int64), pc.list_flatten(lists)


def _words(column: pa.ChunkedArray, _: int) -> tuple[Int64, pa.Array]:
    clean = pc.replace_substring_regex(pc.utf8_lower(column.combine_chunks()), NO_LETTERS, " ")
    row, words = _flat(pc.split_pattern(clean, " "))
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
