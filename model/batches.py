"""Whole histories packed into batches of fixed shape: every position is an example, its input the prefix before it.

A history of n watches gives n - 1 examples: position p reads watches up to p and has watch p + 1 as its label.
Short histories lie one after the other in a row of `length` positions; a history longer than a row is cut into pieces
that overlap by the encoder's window, so that every example sees exactly the prefix that serving would show.
Arrays in, arrays out: nothing here knows of TensorFlow.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from model.buffers import BLOCK, BLOCKS, Block, Buffer, Labels, Room, cut_blocks
from model.pieces import Pieces
from model.prefetch import prefetch
from watchnext.config import ModelConfig, TrainingConfig
from watchnext.errors import UsageError
from watchnext.features import Float32
from watchnext.histories import Histories, Int32, Int64, spans

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


def row_length(config: ModelConfig) -> int:
    """Positions a row needs so that at most half of a long history's piece is overlap."""
    return max(ROW_LENGTH, 2 * config.history)


@dataclass(frozen=True)
class BatchBuilder:
    """All batches of any epoch, each a function of (seed, epoch, position) only, so that a run can be resumed.

    Args:
        histories: all watches; may be memory-mapped.
        labels: which watches are labels.
        room: of a batch.
        window: how many of the last watches the encoder sees.
        examples: of one epoch before the cap per user, on average.
        expected: batches of an epoch, more or less.
        blocks: of a buffer.
    """

    histories: Histories
    labels: Labels
    room: Room
    window: int
    training: TrainingConfig
    examples: int
    expected: int
    cut: list[Block]
    blocks: int = BLOCKS

    @classmethod
    def of(
        cls,
        histories: Histories,
        ends: Int64,
        model: ModelConfig,
        training: TrainingConfig,
        watches: int = BLOCK,
        blocks: int = BLOCKS,
        known: Int64 | None = None,
    ) -> "BatchBuilder":
        """A builder for the examples before `ends`, with the shapes that the configuration asks for.

        Args:
            ends: [users + 1] watches of each user that training may see.
            known: [users + 1] how many of them an earlier training has learned; None for none.
            watches: of a block.
            blocks: of a buffer.

        Raises UsageError for time gaps in histories whose order is drawn: what follows a watch is then no gap of it.
        """
        if model.time_gaps and training.order == "random":
            raise UsageError("--set time_gaps", "true with order=random", "Switch one of them off.")
        length, size, cap = row_length(model), training.batch_examples, training.examples_per_user
        cut = cut_blocks(histories.offsets, watches)
        if known is None or training.replay == 1:
            known = np.zeros_like(ends)
        labels = Labels(known, ends, training.replay)
        examples = kept = positions = 0.0
        for block in cut:
            both = labels.pieces(histories, block, length, model.history)
            for share, pieces in zip((1, labels.replay), both, strict=True):
                of_user = share * np.bincount(pieces.user - block.first, pieces.size - pieces.context)
                examples += of_user.sum()
                kept += np.minimum(of_user, cap or np.inf).sum()
                positions += share * pieces.size.sum()
        # As many rows as the examples of a batch lie in on average, with a tenth to spare for what packing wastes.
        share = kept / max(positions, 1)
        rows = min(-(-size // length) * MOST_ROWS, int(1 + 1.1 * size / max(share, 1e-9) / length))
        room = Room(rows, length, max(size, length))
        expected = max(-(-kept // size), positions // (rows * length))
        return cls(histories, labels, room, model.history, training, round(examples), int(expected), cut, blocks)

    @property
    def rows(self) -> int:
        """Rows of a batch."""
        return self.room.rows

    @property
    def length(self) -> int:
        """Positions of a row."""
        return self.room.length

    def epoch(self, epoch: int) -> "Epoch":
        """Shuffle and pack the pieces for one pass."""
        return Epoch(self, epoch)

    def buffers(self, epoch: int) -> Iterator[Buffer]:
        """The buffers of an epoch, each read when it is asked for."""
        training = self.training
        order = np.random.default_rng([training.seed, 4, epoch]).permutation(len(self.cut)).tolist()
        for number, start in enumerate(range(0, len(order), self.blocks)):
            blocks = [self.cut[i] for i in sorted(order[start : start + self.blocks])]
            parts = [self._pieces(block, epoch) for block in blocks]
            seed = [training.seed, 1, epoch, number]
            shuffled = self.labels if training.order == "random" else None
            yield Buffer.of(self.histories, blocks, parts, self.room, training.examples_per_user, shuffled, seed)

    def _pieces(self, block: Block, epoch: int) -> Pieces:
        seed = [self.training.seed, 6, epoch, block.first]
        return self.labels.drawn(self.histories, block, self.length, self.window, seed)


@dataclass(frozen=True)
class Epoch:
    """One shuffled pass; where it has several buffers, the next is prepared while batches are made of one."""

    builder: BatchBuilder
    number: int

    @cached_property
    def _only(self) -> Buffer | None:
        """The buffer of a log that fits into one."""
        return next(self.builder.buffers(self.number)) if len(self.builder.cut) <= self.builder.blocks else None

    def _buffers(self) -> Iterator[Buffer]:
        if self._only is not None:
            yield self._only
            return

        def packed() -> Iterator[Buffer]:
            for buffer in self.builder.buffers(self.number):
                len(buffer)
                yield buffer

        yield from prefetch(packed(), 1)

    def __len__(self) -> int:
        """The number of batches; packs them all."""
        return sum(map(len, self._buffers()))

    def batches(self, start: int = 0) -> Iterator[Batch]:
        """The batches from number `start` on."""
        before = 0
        for buffer in self._buffers():
            for number in range(max(start - before, 0), len(buffer)):
                yield self._batch(buffer, number)
            before += len(buffer)

    def batch(self, number: int) -> Batch:
        """One batch, by its number."""
        return next(self.batches(number))

    def _batch(self, buffer: Buffer, number: int) -> Batch:
        slots, (rows, length, examples) = buffer.slots, buffer.room
        part = slice(*np.searchsorted(slots.batch, [number, number + 1]))
        pieces, row = buffer.pieces.at(part), slots.row[part]
        start = buffer.local[part]
        which, flat = spans(start, start + pieces.size)
        within = flat - start[which]
        position = (slots.column[part][which] + within) * rows + row[which]
        is_example = within >= pieces.context[which]
        if buffer.chosen is not None:
            is_example &= buffer.chosen[flat + 1]
        label = flat[is_example] + 1
        offset = (pieces.start - start)[which]  # from places in the buffer to places in the log
        watch, place = buffer.places(flat) + offset, buffer.places(label) + offset[is_example]
        return Batch(
            watched=_filled(buffer.items[flat], rows * length, position).reshape(length, rows),
            watch=_filled(watch, rows * length, position).reshape(length, rows),
            depth=_filled((within + 1).astype(np.int32), rows * length, position).reshape(length, rows),
            position=_filled(position[is_example].astype(np.int32), examples),
            label=_filled(buffer.items[label], examples),
            weight=_filled(np.ones(len(place), np.float32), examples),
            user=_filled(pieces.user[which[is_example]], examples),
            place=_filled(place, examples),
        )


def _filled(values: NDArray[Any], size: int, places: Int64 | None = None) -> NDArray[Any]:
    """[size] the values at these places, or at the beginning; 0 elsewhere."""
    result = np.zeros(size, values.dtype)
    result[slice(len(values)) if places is None else places] = values
    return result
