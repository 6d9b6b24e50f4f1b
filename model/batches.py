"""Whole histories packed into batches of fixed shape: every position is an example, its input the prefix before it.

A history of n watches gives n - 1 examples: position p reads watches up to p and has watch p + 1 as its label.
Short histories lie side by side in a row of `length` positions, told apart by a segment number; a history longer than
a row is cut into pieces that overlap by the encoder's window, so that every example sees exactly the prefix that
serving would show. Arrays in, arrays out: nothing here knows of TensorFlow.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from watchnext.config import ModelConfig, TrainingConfig
from watchnext.features import Float32
from watchnext.histories import Histories, Int32, Int64

ROW_LENGTH = 128
"""Positions a row has at least; more only when the encoder's window needs it."""


class Batch(NamedTuple):
    """Packed histories, [rows, length] each; 0 is padding everywhere."""

    watched: Int32
    """Item number at each position."""
    label: Int32
    """Item number of the watch after it."""
    segment: Int32
    """Which history of its row a position belongs to, from 1."""
    weight: Float32
    """1 where the position is an example, 0 where it is only context, capped away or padding."""
    user: Int32
    """User number."""
    place: Int64
    """Where in the histories' flat arrays the label is."""


class Pieces(NamedTuple):
    """Parts of histories that fit into a row: [pieces] each."""

    user: Int32
    start: Int64
    """Where in the histories' flat array the first watch to read is."""
    size: Int64
    """Positions the piece takes; its last label is one further."""
    context: Int64
    """How many positions at its start are examples of the piece before."""


def row_length(config: ModelConfig) -> int:
    """Positions a row needs so that at most half of a long history's piece is overlap."""
    return max(ROW_LENGTH, 2 * config.history)


def cut_pieces(histories: Histories, ends: Int64, length: int, window: int) -> Pieces:
    """Cut the first `ends[user]` watches of each history into pieces of at most `length` positions.

    Args:
        ends: [users + 1] watches of each user that may be seen.
        window: how many watches up to and including its own a position needs: pieces overlap by `window - 1`.
    """
    positions = np.maximum(ends - 1, 0)
    stride = length - window + 1
    count = np.where(positions > 0, 1 + np.maximum(-(-(positions - length) // stride), 0), 0)
    user = np.repeat(np.arange(len(count)), count)
    within = np.arange(len(user)) - np.repeat(np.cumsum(count) - count, count)
    begin = within * stride
    size = np.minimum(positions[user] - begin, length)
    context = np.where(within > 0, window - 1, 0)
    return Pieces(user.astype(np.int32), histories.offsets[:-1][user] + begin, size, context)


@dataclass(frozen=True)
class BatchBuilder:
    """All batches of any epoch, each a function of (seed, epoch, position) only, so that a run can be resumed.

    Args:
        histories: all watches.
        ends: [users + 1] watches of each user that training may see.
    """

    histories: Histories
    pieces: Pieces
    length: int
    rows: int
    cap: int | None
    seed: int

    @classmethod
    def of(cls, histories: Histories, ends: Int64, model: ModelConfig, training: TrainingConfig) -> "BatchBuilder":
        """A builder for the examples before `ends`, with the shapes that the configuration asks for."""
        length = row_length(model)
        rows = max(1, training.batch_examples // length)
        pieces = cut_pieces(histories, ends, length, model.history)
        return cls(histories, pieces, length, rows, training.examples_per_user, training.seed)

    @property
    def examples(self) -> int:
        """Examples of one epoch before the cap per user."""
        return int((self.pieces.size - self.pieces.context).sum())

    def epoch(self, epoch: int) -> "Epoch":
        """Shuffle and pack the pieces for one pass."""
        rng = np.random.default_rng([self.seed, 1, epoch])
        order = rng.permutation(len(self.pieces.user))
        row, column = pack(self.pieces.size[order], self.length)
        chosen = self._capped(rng) if self.cap else None
        return Epoch(self, order, row, column, chosen)

    def _capped(self, rng: np.random.Generator) -> NDArray[np.bool_]:
        """[watches] which labels keep their loss: at most `cap` a user, drawn without replacement."""
        flat, which, within = spread(self.pieces.start, self.pieces.size)
        is_example = within >= self.pieces.context[which]
        label, user = flat[is_example] + 1, self.pieces.user[which][is_example]
        order = np.lexsort((rng.random(len(label)), user))
        user = user[order]
        rank = np.arange(len(user)) - np.searchsorted(user, user)
        chosen = np.zeros(len(self.histories.items), bool)
        chosen[label[order[rank < (self.cap or 0)]]] = True
        return chosen


@dataclass(frozen=True)
class Epoch:
    """One shuffled pass; `len` is its number of batches."""

    builder: BatchBuilder
    order: Int64
    row: Int64
    column: Int64
    chosen: NDArray[np.bool_] | None

    def __len__(self) -> int:
        """The number of batches."""
        rows = int(self.row[-1]) + 1 if len(self.row) else 0
        return (rows + self.builder.rows - 1) // self.builder.rows

    def batches(self, start: int = 0) -> Iterator[Batch]:
        """The batches from number `start` on."""
        return (self.batch(i) for i in range(start, len(self)))

    def batch(self, number: int) -> Batch:
        """One batch, by its number."""
        b = self.builder
        low, high = np.searchsorted(self.row, [number * b.rows, (number + 1) * b.rows])
        piece = self.order[low:high]
        size, user = b.pieces.size[piece], b.pieces.user[piece]
        flat, which, within = spread(b.pieces.start[piece], size)
        row = self.row[low:high] - number * b.rows
        target = np.repeat(row * b.length + self.column[low:high], size) + within
        weight = within >= b.pieces.context[piece][which]
        if self.chosen is not None:
            weight &= self.chosen[flat + 1]
        first = np.searchsorted(row, row)  # the first piece of the same row
        segment = (np.arange(len(row)) - first + 1)[which]

        def placed(values: NDArray[Any]) -> NDArray[Any]:
            flat_batch = np.zeros(b.rows * b.length, values.dtype)
            flat_batch[target] = values
            return flat_batch.reshape(b.rows, b.length)

        items = b.histories.items
        return Batch(
            watched=placed(items[flat]),
            label=placed(items[flat + 1]),
            segment=placed(segment.astype(np.int32)),
            weight=placed(weight.astype(np.float32)),
            user=placed(user[which]),
            place=placed(flat + 1),
        )


def pack(sizes: Int64, length: int) -> tuple[Int64, Int64]:
    """Next-fit packing in the given order: a piece opens a new row when the current one has no room for it.

    Returns the row and the first column of each piece: [pieces] each, rows never falling.

    >>> [part.tolist() for part in pack(np.array([3, 2, 4]), 6)]
    [[0, 0, 1], [0, 3, 0]]
    """
    rows, columns = [], []
    row, used = 0, 0
    for size in sizes.tolist():
        if used + size > length:
            row, used = row + 1, 0
        rows.append(row)
        columns.append(used)
        used += size
    return np.array(rows, np.int64), np.array(columns, np.int64)


def spread(start: Int64, size: Int64) -> tuple[Int64, Int64, Int64]:
    """For ranges `start[i] .. start[i] + size[i]`: all their members, the range of each, its place in the range."""
    which = np.repeat(np.arange(len(size)), size)
    within = np.arange(len(which)) - np.repeat(np.cumsum(size) - size, size)
    return np.repeat(start, size) + within, which, within
