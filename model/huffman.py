"""A Huffman tree over items: frequent items have short paths from the root. Arrays in, arrays out."""

import heapq
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple, Self

import numpy as np

from watchnext.features import Float32
from watchnext.histories import Int32, Int64


class Paths(NamedTuple):
    """The ways from the root to some leaves: [leaves, longest]."""

    nodes: Int32
    """Numbers of inner nodes from 1, the root first; 0 is padding."""
    signs: Float32
    """1 where the way goes on to the left, -1 to the right, 0 for padding."""


@dataclass(frozen=True)
class HuffmanTree:
    """A binary tree in which every item is a leaf (Huffman 1952), for hierarchical softmax (Morin and Bengio 2005).

    Args:
        parent: [2 leaves - 1] number of the node above each node; leaves come first, the root is last.
        right: [2 leaves - 1] whether a node is the right one below its parent.
        leaf: [items + 1] the leaf of each item, -1 for items that are not in the tree.
    """

    parent: Int64
    right: np.ndarray
    leaf: Int64

    @classmethod
    def of(cls, counts: Int64) -> Self:
        """The tree for watch counts: [items + 1]; row 0 and items never watched are left out.

        >>> HuffmanTree.of(np.array([0, 8, 1, 0, 2])).lengths.tolist()
        [0, 1, 2, 0, 2]
        """
        items = np.flatnonzero(np.where(np.arange(len(counts)) > 0, counts, 0))
        leaf = np.full(len(counts), -1)
        leaf[items] = np.arange(len(items))
        size = max(2 * len(items) - 1, 1)
        parent, right = np.full(size, -1), np.zeros(size, np.bool_)
        heap = [(count, node) for node, count in enumerate(counts[items].tolist())]
        heapq.heapify(heap)
        for new in range(len(items), size):
            one, other = heapq.heappop(heap), heapq.heappop(heap)
            parent[[one[1], other[1]]] = new
            right[other[1]] = True
            heapq.heappush(heap, (one[0] + other[0], new))
        return cls(parent, right, leaf)

    @property
    def inner(self) -> int:
        """How many inner nodes there are; they are numbered from 1."""
        return len(self.parent) // 2

    @cached_property
    def lengths(self) -> Int64:
        """[items + 1] nodes on the way to each item, the bits of its code; 0 for items that are not in the tree."""
        depth = np.zeros(len(self.parent), np.int64)
        for node in range(len(self.parent) - 2, -1, -1):  # a parent's number is higher
            depth[node] = depth[self.parent[node]] + 1
        return np.where(self.leaf >= 0, depth[self.leaf], 0)

    def paths(self, items: Int32) -> Paths:
        """The ways to some items: [items] numbers, 0 for padding; as long as the longest of all ways in the tree."""
        lengths = np.where(items > 0, self.lengths[items], 0)
        longest, leaves = int(self.lengths.max(initial=0)), len(self.parent) - self.inner
        way = np.empty((longest + 1, len(items)), np.int64)
        way[0] = self.leaf[items]
        for above in range(longest):
            way[above + 1] = self.parent[way[above]]
        up = lengths[:, None] - np.arange(1, longest + 1)  # [items, longest] how far above the leaf the turn was made
        below = way[np.maximum(up, 0), np.arange(len(items))[:, None]]
        nodes = np.where(up >= 0, self.parent[below] - leaves + 1, 0).astype(np.int32)
        return Paths(nodes, np.where(up >= 0, np.where(self.right[below], -1, 1), 0).astype(np.float32))
