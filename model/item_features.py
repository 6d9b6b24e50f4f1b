"""Features of the items that a batch touches, and the items' embeddings with what their features add."""

from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from model.touched import touched
from watchnext.features import Float32
from watchnext.histories import Int32
from watchnext.item_features import ItemBags

Tensor = Any

LEAST = 1024
"""Lists of pairs are padded to a power of two from this on, so that few shapes are compiled."""


class TouchedFeatures(NamedTuple):
    """What the features of the touched items add to their embeddings."""

    rows: Int32
    """[touched] rows of the table of features, each once; the rest is 0."""
    feature: Int32
    """[pairs] places in `rows`."""
    item: Int32
    """[pairs] places in the touched rows of items."""
    weight: Float32
    """[pairs] see `watchnext.item_features.Pairs`; 0 for padding."""

    @classmethod
    def of(cls, bags: ItemBags, items: Int32) -> "TouchedFeatures":
        """The features of some items: [items] numbers."""
        pairs = bags.of(items)
        rows, feature = touched(pairs.feature)
        padding = (0, max(LEAST, 1 << (len(feature) - 1).bit_length()) - len(feature))
        return cls(rows, np.pad(feature, padding), np.pad(pairs.row, padding), np.pad(pairs.weight, padding))


def composed(own: Tensor, features: Tensor, touched: TouchedFeatures) -> Tensor:
    """[items, dim] the items' own embeddings and the weighted sums of those of their features.

    Args:
        own: [items, dim].
        features: [touched, dim] the rows of the table of features.
    """
    parts = tf.gather(features, touched.feature) * touched.weight[:, None]
    return own + tf.math.unsorted_segment_sum(parts, touched.item, own.shape[0])
