"""Features of the items that a batch touches, and the items' embeddings with what their features add."""

from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from model.touched import padded, touched
from watchnext.features import Float32
from watchnext.histories import Int32, Int64
from watchnext.item_features import ItemBags

Tensor = Any

LEAST = 1024
"""What lists of pairs are padded to at least."""


class TouchedFeatures(NamedTuple):
    """What the features of the touched items add to their embeddings."""

    rows: Int32
    """[touched] rows of the table of features, each once; the rest is 0."""
    places: Int64
    """[pairs, 2] places in the touched rows of items, and in `rows`."""
    weight: Float32
    """[pairs] see `watchnext.item_features.Pairs`; 0 for padding."""

    @classmethod
    def of(cls, bags: ItemBags, items: Int32) -> "TouchedFeatures":
        """The features of some items: [items] numbers."""
        pairs = bags.of(items)
        rows, feature = touched(pairs.feature)
        places = np.zeros((padded(len(feature), LEAST), 2), np.int64)
        places[: len(feature)] = np.column_stack([pairs.row, feature])
        return cls(rows, places, np.pad(pairs.weight, (0, len(places) - len(feature))))


def composed(own: Tensor, features: Tensor, touched: TouchedFeatures) -> Tensor:
    """[items, dim] the items' own embeddings and the weighted sums of those of their features.

    Args:
        own: [items, dim].
        features: [touched, dim] the rows of the table of features.
    """
    weights = tf.SparseTensor(touched.places, touched.weight, [own.shape[0], features.shape[0]])
    return own + tf.sparse.sparse_dense_matmul(weights, features)
