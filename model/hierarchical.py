"""Hierarchical softmax: the probability of an item is that of all the turns on its way through a Huffman tree."""

from typing import Any

import numpy as np
import tensorflow as tf

from model.huffman import HuffmanTree
from watchnext.features import Float32

Tensor = Any


def hierarchical_softmax(users: Tensor, nodes: Tensor, signs: Tensor) -> Tensor:
    """-log P of the true items, where P(item) = product over the nodes on its way of sigmoid(sign user . node).

    Morin and Bengio 2005; Mikolov et al. 2013, section 2.1. Covington et al. 2016 (3.1) found it less accurate than
    sampled softmax, since a node tells apart sets of items that are often unrelated.

    Args:
        users: [examples, dim] user vectors.
        nodes: [examples, longest, dim] vectors of the inner nodes.
        signs: [examples, longest] 1, -1, or 0 for padding.

    Returns [examples] nats.
    """
    turns = tf.nn.softplus(-signs * tf.einsum("nd,nld->nl", users, nodes))
    return tf.reduce_sum(tf.where(signs == 0, 0.0, turns), 1)


def log_probabilities(tree: HuffmanTree, nodes: Float32, users: Float32) -> Float32:
    """[users, items + 1] log P of every item, -inf for items that are not in the tree.

    Args:
        nodes: [inner + 1, dim] vectors of the inner nodes.
        users: [users, dim].
    """
    scores = users @ nodes.T  # [users, inner + 1]
    total = np.full((len(users), len(tree.parent)), 0.0, np.float64)
    leaves = len(tree.parent) - tree.inner
    for node in range(len(tree.parent) - 2, -1, -1):
        above = tree.parent[node]
        sign = -1 if tree.right[node] else 1
        total[:, node] = total[:, above] - np.logaddexp(0, -sign * scores[:, above - leaves + 1])
    found = np.full((len(users), len(tree.leaf)), -np.inf, np.float32)
    inside = tree.leaf >= 0
    found[:, inside] = total[:, tree.leaf[inside]]
    return found


def linear_item_vectors(tree: HuffmanTree, nodes: Float32) -> tuple[Float32, Float32]:
    """Item vectors whose dot products with users are the first-order approximation of log P, and its constant.

    log sigmoid(x) = -log 2 + x / 2 - x^2 / 8 + ..., so that log P is about half the signed sum of the nodes on the
    way times the user, less log 2 for every node.

    Returns [items + 1, dim] and [items + 1, 1].
    """
    total = np.zeros((len(tree.parent), nodes.shape[1]), np.float64)
    leaves = len(tree.parent) - tree.inner
    for node in range(len(tree.parent) - 2, -1, -1):
        above = tree.parent[node]
        total[node] = total[above] + (-0.5 if tree.right[node] else 0.5) * nodes[above - leaves + 1]
    vectors = np.where((tree.leaf >= 0)[:, None], total[tree.leaf], 0)
    return vectors.astype(np.float32), (-np.log(2) * tree.lengths[:, None]).astype(np.float32)
