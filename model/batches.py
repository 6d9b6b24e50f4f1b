"""Whole histories packed into batches of fixed shape: every position is an example, its input the prefix before it.

A history of n watches gives n - 1 examples: position p reads watches up to p and has watch p + 1 as its label.
Short histories lie one after the other in a row of `length` positions; a history longer than a row is cut into pieces
that overlap by the encoder's window, so that every example sees exactly the prefix that serving would show.
Arrays in, arrays out: nothing here knows of TensorFlow.
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
MOST_ROWS = 8
"""A batch has at most this many times the rows that its examples would fill: more are needed where few of the
positions are examples, because of a cap per user."""


class Batch(NamedTuple):
    """Packed histories, [length, rows] positions, and the examples among them, [examples]; 0 is padding."""

    watched: Int32
    """[length, rows] item number at each position."""
    watch: Int64
    """[length, rows] where in the histories' flat arrays the watch is; the one after it is its user's, too."""
    depth: Int32
    """[length, rows] how many watches of its piece of a history there are up to a position, itself included."""
    position: Int32
    """[examples] where in the flattened positions the last watch before the label is."""
    label: Int32
    """[examples] number of the item to predict."""
    weight: Float32
    """[examples] 1 for an example, 0 for padding."""
    user: Int32
    """[examples] user number."""
    place: Int64
    """[examples] where in the histories' flat arrays the label is."""


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
        length: positions of a row.
        rows: rows of a batch.
        size: examples a batch has room for.
        cap: at most this many examples a user and epoch.
    """

    histories: Histories
    pieces: Pieces
    length: int
    rows: int
    size: int
    cap: int | None
    seed: int

    @classmethod
    def of(cls, histories: Histories, ends: Int64, model: ModelConfig, training: TrainingConfig) -> "BatchBuilder":
        """A builder for the examples before `ends`, with the shapes that the configuration asks for.

        Args:
            ends: [users + 1] watches of each user that training may see.
        """
        length, size, cap = row_length(model), training.batch_examples, training.examples_per_user
        pieces = cut_pieces(histories, ends, length, model.history)
        examples = np.bincount(pieces.user, pieces.size - pieces.context, minlength=len(ends))
        kept = np.minimum(examples, cap or np.inf).sum()
        # As many rows as the examples of a batch lie in on average, with a tenth to spare for what packing wastes.
        share = kept / max(pieces.size.sum(), 1)
        rows = min(-(-size // length) * MOST_ROWS, int(1 + 1.1 * size / max(share, 1e-9) / length))
        return cls(histories, pieces, length, rows, max(size, length), cap, training.seed)

    @property
    def examples(self) -> int:
        """Examples of one epoch before the cap per user."""
        return int((self.pieces.size - self.pieces.context).sum())

    def epoch(self, epoch: int) -> "Epoch":
        """Shuffle and pack the pieces for one pass."""
        rng = np.random.default_rng([self.seed, 1, epoch])
        order = rng.permutation(len(self.pieces.user))
        chosen = self._capped(rng) if self.cap else None
        examples = (self.pieces.size - self.pieces.context) if chosen is None else self._count(chosen)
        slots = pack(self.pieces.size[order], examples[order], (self.rows, self.length, self.size))
        return Epoch(self, order, slots, chosen)

    def _count(self, chosen: NDArray[np.bool_]) -> Int64:
        """[pieces] examples of each piece that the cap leaves."""
        before = np.concatenate([[0], np.cumsum(chosen)])
        start, p = self.pieces.start + 1, self.pieces
        counts: Int64 = before[start + p.size] - before[start + p.context]
        return counts

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
    slots: "Slots"
    chosen: NDArray[np.bool_] | None

    def __len__(self) -> int:
        """The number of batches."""
        return int(self.slots.batch[-1]) + 1 if len(self.slots.batch) else 0

    def batches(self, start: int = 0) -> Iterator[Batch]:
        """The batches from number `start` on."""
        return (self.batch(i) for i in range(start, len(self)))

    def batch(self, number: int) -> Batch:
        """One batch, by its number."""
        b, slots = self.builder, self.slots
        part = slice(*np.searchsorted(slots.batch, [number, number + 1]))
        piece, row = self.order[part], slots.row[part]
        flat, which, within = spread(b.pieces.start[piece], b.pieces.size[piece])
        position = (slots.column[part][which] + within) * b.rows + row[which]
        is_example = within >= b.pieces.context[piece][which]
        if self.chosen is not None:
            is_example &= self.chosen[flat + 1]
        place = flat[is_example] + 1
        items, positions = b.histories.items, b.rows * b.length
        return Batch(
            watched=_filled(items[flat], positions, position).reshape(b.length, b.rows),
            watch=_filled(flat, positions, position).reshape(b.length, b.rows),
            depth=_filled((within + 1).astype(np.int32), positions, position).reshape(b.length, b.rows),
            position=_filled(position[is_example].astype(np.int32), b.size),
            label=_filled(items[place], b.size),
            weight=_filled(np.ones(len(place), np.float32), b.size),
            user=_filled(b.pieces.user[piece][which[is_example]], b.size),
            place=_filled(place, b.size),
        )


def _filled(values: NDArray[Any], size: int, places: Int64 | None = None) -> NDArray[Any]:
    """[size] the values at these places, or at the beginning; 0 elsewhere."""
    result = np.zeros(size, values.dtype)
    result[slice(len(values)) if places is None else places] = values
    return result


class Slots(NamedTuple):
    """Where pieces go: [pieces] each, batches never falling."""

    batch: Int64
    row: Int64
    column: Int64


def pack(sizes: Int64, examples: Int64, room: tuple[int, int, int]) -> Slots:
    """First-fit packing in the given order.

    A piece goes to the first row of the batch with room for it; a new batch begins when there is none, or no room for
    its examples.

    Args:
        sizes: [pieces] positions of each piece.
        examples: [pieces] how many of them are examples.
        room: rows, positions of a row and examples of a batch; every piece alone fits.

    >>> [part.tolist() for part in pack(np.array([3, 4, 2, 1]), np.array([3, 4, 2, 1]), (2, 6, 9))]
    [[0, 0, 0, 1], [0, 1, 0, 0], [0, 0, 3, 0]]
    """
    rows, length, most = room
    found = np.zeros((3, len(sizes)), np.int64)
    batch, count, used = 0, 0, [0] * rows
    for i, (size, more) in enumerate(zip(sizes.tolist(), examples.tolist(), strict=True)):
        row = next((row for row, taken in enumerate(used) if taken + size <= length), rows)
        if row == rows or count + more > most:
            batch, row, count, used = batch + 1, 0, 0, [0] * rows
        found[:, i] = batch, row, used[row]
        used[row] += size
        count += more
    return Slots(*found)


def spread(start: Int64, size: Int64) -> tuple[Int64, Int64, Int64]:
    """For ranges `start[i] .. start[i] + size[i]`: all their members, the range of each, its place in the range."""
    which = np.repeat(np.arange(len(size)), size)
    within = np.arange(len(which)) - np.repeat(np.cumsum(size) - size, size)
    return np.repeat(start, size) + within, which, within
