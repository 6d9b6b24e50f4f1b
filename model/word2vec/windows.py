"""Histories cut into rows of watches with the windows around them. Arrays in, arrays out; no TensorFlow.

The windows of neighbouring watches overlap, so a row of watches with the edges that its windows reach into has them
all: every watch's vectors are gathered once, not once for each pair. Histories lie one after the other, whatever
their lengths; a number beside each watch says which history it is of.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from model.buffers import Block, Room, cut_blocks
from model.pieces import pack
from watchnext.config import Word2vecConfig
from watchnext.features import Float32
from watchnext.histories import Histories, Int32, Int64, spans

LENGTH = 32
"""Watches of a row."""
WHOLE = 64
"""Watches of a row where the window is the whole history; longer ones are cut into random parts, anew each epoch."""


class Windows(NamedTuple):
    """Rows of watches; 0 is padding."""

    items: Int32
    """[rows, edge + length + edge] item numbers: those of the row and what its windows reach into on both sides."""
    history: Int32
    """[rows, edge + length + edge] which history each is of, from 1 on."""
    reach: Int32
    """[rows, length] how many watches before and after it the window of each has."""

    def at(self, rows: Int64 | slice) -> Self:
        """Some of the rows, in this order."""
        return type(self)(self.items[rows], self.history[rows], self.reach[rows])

    def filled(self, rows: int) -> Self:
        """With rows of padding, so that there are `rows`."""
        return type(self)(*(np.pad(values, ((0, rows - len(values)), (0, 0))) for values in self))


def keep_shares(counts: Int64, threshold: float) -> Float32:
    """[items + 1] the share of each item's watches that subsampling keeps; 1 for threshold 0.

    With f the item's share of all watches and t the threshold it is (sqrt(f / t) + 1) t / f, at most 1, as in
    word2vec's own program; Mikolov et al. 2013b (2.3) print sqrt(t / f).

    >>> keep_shares(np.array([0, 4, 1, 1, 1, 1, 1, 1]), 0.1)[:3].tolist()
    [1.0, 0.75, 1.0]
    """
    f = counts / max(int(counts.sum()), 1)
    with np.errstate(divide="ignore", invalid="ignore"):
        share = (np.sqrt(f / threshold) + 1) * threshold / f
    return np.where((f > 0) & (threshold > 0), np.minimum(share, 1), 1).astype(np.float32)


@dataclass(frozen=True)
class WindowBuilder:
    """All batches of any epoch, each a function of (seed, epoch, position) only, so that a run can be resumed.

    Args:
        histories: all watches; may be memory-mapped.
        ends: [users + 1] how many watches of each user training may see.
        keep: [items + 1] from `keep_shares`.
        expected: batches of an epoch, more or less.
    """

    histories: Histories
    ends: Int64
    config: Word2vecConfig
    keep: Float32
    cut: list[Block]
    expected: int

    @classmethod
    def of(cls, histories: Histories, ends: Int64, counts: Int64, config: Word2vecConfig) -> "WindowBuilder":
        """A builder for the watches before `ends`; `counts` [items + 1] are those of each item among them."""
        keep = keep_shares(counts, config.subsampling)
        kept = float((counts * keep).sum())
        expected = -(-kept // (rows_of(config) * length_of(config)))
        return cls(histories, ends, config, keep, cut_blocks(histories.offsets), int(expected))

    def epoch(self, epoch: int) -> "WindowEpoch":
        """One pass in an order of its own."""
        return WindowEpoch(self, epoch)

    def block(self, block: Block, epoch: int) -> Windows:
        """The rows of a block's users in a random order."""
        config = self.config
        rng = np.random.default_rng([config.seed, 1, epoch, block.first])
        users = block.first + rng.permutation(block.last - block.first)
        first = self.histories.offsets[users]
        which, places = spans(first, first + self.ends[users])
        items = self.histories.items[places]
        if config.subsampling:
            kept = rng.random(len(items), np.float32) < self.keep[items]
            items, which = items[kept], which[kept]
        history = (which + 1).astype(np.int32)
        if config.window is None:
            return _whole(items, history, rows_of(config), rng)
        reach = np.full(len(items), config.window, np.int32)
        if config.dynamic_window:
            reach = rng.integers(1, config.window + 1, len(items), np.int32)
        rows = _in_rows(items, history, reach, config.window)
        return rows.at(rng.permutation(len(rows.items)))


@dataclass(frozen=True)
class WindowEpoch:
    """One shuffled pass: blocks of users in a random order, and the rows of each block."""

    builder: WindowBuilder
    number: int

    def batches(self, start: int = 0) -> Iterator[Windows]:
        """The batches from number `start` on, all of the same shape."""
        builder, size, before = self.builder, rows_of(self.builder.config), 0
        order = np.random.default_rng([builder.config.seed, 4, self.number]).permutation(len(builder.cut))
        for block in (builder.cut[i] for i in order.tolist()):
            windows = builder.block(block, self.number)
            count = -(-len(windows.items) // size)
            for number in range(max(start - before, 0), count):
                yield windows.at(slice(number * size, (number + 1) * size)).filled(size)
            before += count


def length_of(config: Word2vecConfig) -> int:
    """Watches of a row."""
    return WHOLE if config.window is None else LENGTH


def edge_of(config: Word2vecConfig) -> int:
    """Watches on each side of a row that its windows reach into."""
    return config.window or 0


def rows_of(config: Word2vecConfig) -> int:
    """Rows of a batch."""
    return max(1, config.batch_examples // length_of(config))


def _in_rows(items: Int32, history: Int32, reach: Int32, edge: int) -> Windows:
    """Watches one after the other, cut into rows that overlap by their edges."""
    rows = -(-len(items) // LENGTH)
    spare = rows * LENGTH - len(items)
    places = np.arange(rows)[:, None] * LENGTH + np.arange(LENGTH + 2 * edge)
    items, history = (np.pad(values, (edge, edge + spare))[places] for values in (items, history))
    return Windows(items, history, np.pad(reach, (0, spare)).reshape(rows, LENGTH))


def _whole(items: Int32, history: Int32, rows: int, rng: np.random.Generator) -> Windows:
    """Each history without its order, as one part or several of about the same size, packed into rows."""
    items = items[np.lexsort((rng.random(len(items)), history))]
    sizes = _part_sizes(np.bincount(history)[1:])
    begin, order = np.cumsum(sizes) - sizes, rng.permutation(len(sizes))
    sizes, begin = sizes[order], begin[order]
    slots = pack(sizes, sizes, Room(rows, WHOLE, rows * WHOLE))
    part, source = spans(begin, begin + sizes)
    column = slots.column[part] + source - begin[part]
    count = rows * (int(slots.batch.max(initial=-1)) + 1)
    found, parts = np.zeros((2, count, WHOLE), np.int32)
    found[(slots.batch * rows + slots.row)[part], column] = items[source]
    parts[(slots.batch * rows + slots.row)[part], column] = part + 1
    return Windows(found, parts, np.where(found > 0, np.int32(WHOLE), 0))


def _part_sizes(sizes: NDArray[np.int64]) -> Int64:
    """[parts] how many watches each part of each history has, at most `WHOLE`.

    >>> _part_sizes(np.array([3, 130, 0])).tolist()
    [3, 43, 43, 44]
    """
    parts = -(-sizes // WHOLE)
    which, part = spans(np.zeros_like(parts), parts)
    ends = [(part + i) * sizes[which] // np.maximum(parts[which], 1) for i in (0, 1)]
    return ends[1] - ends[0]
