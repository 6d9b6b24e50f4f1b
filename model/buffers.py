"""Blocks of users that are read one after the other, and buffers of several blocks in which an epoch is shuffled.

The order of an epoch is that of a block shuffle: blocks are drawn in a random order, several at a time make a buffer,
and the pieces in a buffer are shuffled. Memory holds a few buffers, however long the log is, and each block is read
from one end to the other. A log that fits into one buffer is shuffled as a whole.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from model.pieces import Pieces, Slots, cut_pieces, pack
from watchnext.histories import Histories, Int32, Int64, spans

BLOCK = 1 << 18
"""Watches of neighbouring users that are read together; a block ends with the user who fills it."""
BLOCKS = 16
"""Blocks of a buffer: 4 million watches."""


class Block(NamedTuple):
    """Users `[first, last)`."""

    first: int
    last: int


class Room(NamedTuple):
    """What a batch has room for."""

    rows: int
    length: int
    """Positions of a row."""
    examples: int


def cut_blocks(offsets: Int64, watches: int = BLOCK) -> list[Block]:
    """Neighbouring users, so many that each block has at least `watches` watches, the last perhaps fewer.

    >>> cut_blocks(np.array([0, 0, 3, 5, 9, 10]), 4)
    [Block(first=0, last=3), Block(first=3, last=4), Block(first=4, last=5)]
    """
    users, found, first = len(offsets) - 1, [], 0
    while first < users:
        last = min(int(np.searchsorted(offsets, offsets[first] + watches)), users)
        found.append(Block(first, last))
        first = last
    return found


@dataclass(frozen=True)
class Labels:
    """Which watches are learned: all new ones, and a share of the known ones, drawn anew each epoch.

    Args:
        known: [users + 1] how many of each user's first watches an earlier training has learned.
        ends: [users + 1] watches of each user that training may see; the new ones are `[known, ends)`.
        replay: the share of the known ones, drawn piece by piece.
    """

    known: Int64
    ends: Int64
    replay: float

    def pieces(self, histories: Histories, block: Block, length: int, window: int) -> tuple[Pieces, Pieces]:
        """The pieces of a block's users whose examples are new ones, and those of known ones; see `cut_pieces`."""
        users = slice(*block)
        first, known, ends = np.asarray(histories.offsets[users]), self.known[users], self.ends[users]
        new = cut_pieces(first, known, ends, length, window)
        old = cut_pieces(first, np.zeros_like(known), np.minimum(known, ends), length, window)
        return new.shifted(block.first), old.shifted(block.first)

    def drawn(self, histories: Histories, block: Block, length: int, window: int, seed: list[int]) -> Pieces:
        """The pieces of a block's users that one epoch has; which of the known ones follows from the seed."""
        new, old = self.pieces(histories, block, length, window)
        if not len(old.user):
            return new
        kept = np.flatnonzero(np.random.default_rng(seed).random(len(old.user)) < self.replay)
        return Pieces.joined([new, old.at(kept)])


@dataclass(frozen=True)
class Buffer:
    """The pieces of some blocks, shuffled and packed into batches.

    Args:
        items: the blocks' item numbers, one block after the other.
        local: [pieces] where in `items` each piece starts.
        source: where in `items`, in the log's order, each watch was; None where they are in that order.
        chosen: which labels keep their loss, as `items`; None for all.
    """

    items: Int32
    pieces: Pieces
    local: Int64
    source: Int64 | None
    chosen: NDArray[np.bool_] | None
    room: Room

    @classmethod
    def of(
        cls,
        histories: Histories,
        blocks: list[Block],
        parts: list[Pieces],
        room: Room,
        cap: int | None,
        shuffled: Labels | None,
        seed: list[int],
    ) -> Self:
        """Read the items of blocks and shuffle their pieces.

        Args:
            parts: the pieces of each block.
            cap: at most this many examples a user.
            shuffled: each user's known watches are shuffled among themselves, and so are the new ones; None to leave
                them as they are.
            seed: order and examples follow from it.
        """
        rng = np.random.default_rng(seed)
        begins = [int(histories.offsets[block.first]) for block in blocks]
        items = [
            histories.items[begin : histories.offsets[block.last]]
            for begin, block in zip(begins, blocks, strict=True)
        ]
        before = np.cumsum([0, *(len(part) for part in items)])[:-1]
        local = [part.start - begin + base for part, begin, base in zip(parts, begins, before, strict=True)]
        pieces, places = Pieces.joined(parts), np.concatenate(local)
        order = rng.permutation(len(places))
        read = np.concatenate(items)
        chosen = choose(pieces._replace(start=places), len(read), cap, rng) if cap else None
        source = None
        if shuffled is not None:
            users = np.concatenate([np.arange(*block) for block in blocks])
            offset = np.repeat(before - begins, [block.last - block.first for block in blocks])
            first, ends = histories.offsets[users] + offset, shuffled.ends[users]
            middle = first + np.minimum(shuffled.known[users], ends)
            source = shuffle(np.concatenate([first, middle]), np.concatenate([middle, first + ends]), len(read), rng)
            read = read[source]
        return cls(read, pieces.at(order), places[order], source, chosen, room)

    @cached_property
    def slots(self) -> Slots:
        """Where the pieces go."""
        return pack(self.pieces.size, self._examples(), self.room)

    def __len__(self) -> int:
        """The number of batches."""
        return int(self.slots.batch[-1]) + 1 if len(self.slots.batch) else 0

    def places(self, shuffled: Int64) -> Int64:
        """Where watches were before they were shuffled."""
        return shuffled if self.source is None else self.source[shuffled]

    def _examples(self) -> Int64:
        """[pieces] examples of each piece that the cap leaves."""
        p, start = self.pieces, self.local + 1
        if self.chosen is None:
            return p.size - p.context
        before = np.concatenate([[0], np.cumsum(self.chosen)])
        counts: Int64 = before[start + p.size] - before[start + p.context]
        return counts


def choose(pieces: Pieces, watches: int, cap: int, rng: np.random.Generator) -> NDArray[np.bool_]:
    """[watches] which labels keep their loss: at most `cap` a user, drawn without replacement."""
    which, flat = spans(pieces.start, pieces.start + pieces.size)
    is_example = flat >= (pieces.start + pieces.context)[which]
    label, user = flat[is_example] + 1, pieces.user[which][is_example]
    order = np.lexsort((rng.random(len(label)), user))
    user = user[order]
    rank = np.arange(len(user)) - np.searchsorted(user, user)
    chosen = np.zeros(watches, bool)
    chosen[label[order[rank < cap]]] = True
    return chosen


def shuffle(begin: Int64, end: Int64, watches: int, rng: np.random.Generator) -> Int64:
    """[watches] which watch comes to each place: those of a range `[begin, end)` among themselves.

    >>> shuffle(np.array([0, 3]), np.array([1, 5]), 6, np.random.default_rng(0)).tolist()
    [0, 1, 2, 4, 3, 5]
    """
    which, flat = spans(begin, end)
    source = np.arange(watches)
    source[flat] = flat[np.lexsort((rng.random(len(flat)), which))]
    return source
