"""Parts of histories that fit into a row, and where they go in the rows of batches."""

from collections.abc import Sequence
from typing import NamedTuple, Self

import numpy as np

from watchnext.histories import Int32, Int64, spans


class Pieces(NamedTuple):
    """Parts of histories that fit into a row: [pieces] each."""

    user: Int32
    start: Int64
    """Where in the histories' flat array the first watch to read is."""
    size: Int64
    """Positions the piece takes; its last label is one further."""
    context: Int64
    """How many positions at its start are read but no examples of this piece."""

    def at(self, order: Int64 | slice) -> "Pieces":
        """Some of the pieces, in this order."""
        return Pieces(self.user[order], self.start[order], self.size[order], self.context[order])

    def shifted(self, users: int) -> "Pieces":
        """The same with larger user numbers."""
        return self._replace(user=self.user + np.int32(users))

    @classmethod
    def joined(cls, parts: "Sequence[Pieces]") -> Self:
        """All pieces, one part after the other."""
        return cls(*map(np.concatenate, zip(*parts, strict=True)))


def cut_pieces(first: Int64, begins: Int64, ends: Int64, length: int, window: int) -> Pieces:
    """Cut histories into pieces of at most `length` positions, whose labels are the watches `[begins, ends)`.

    Args:
        first: [users] where in the histories' flat array each user's first watch is.
        begins: [users] how many watches at its start are no labels; the very first watch is none in any case.
        ends: [users] watches of each user that may be seen.
        window: how many watches up to and including its own a position needs: pieces overlap by `window - 1`.
    """
    example = np.maximum(begins - 1, 0)  # [users] the position of the first one
    read = np.maximum(example - (window - 1), 0)
    positions = np.where(ends - 1 > example, ends - 1 - read, 0)
    stride = length - window + 1
    count = np.where(positions > 0, 1 + np.maximum(-(-(positions - length) // stride), 0), 0)
    user, piece = spans(np.zeros_like(count), count)
    begin = piece * stride
    size = np.minimum(positions[user] - begin, length)
    context = np.where(piece > 0, window - 1, (example - read)[user])
    return Pieces(user.astype(np.int32), (first + read)[user] + begin, size, context)


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
