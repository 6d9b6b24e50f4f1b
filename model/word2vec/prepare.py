"""What is done to a batch of windows beside the step, in numpy, by another thread."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from model.huffman import HuffmanTree, Paths
from model.prepare import touched_paths
from model.sampler import Noise
from model.touched import touched
from model.word2vec.windows import Windows, edge_of
from watchnext.config import Word2vecConfig
from watchnext.features import Float32
from watchnext.histories import Int32

TURNS = 64
"""Lists of a row's nodes are padded to a multiple of this, so that few shapes are compiled."""


class RowTurns(NamedTuple):
    """The ways to the watches of each row, whose beginnings they share."""

    nodes: Int32
    """[rows, longest] places of the nodes on these ways, each once in a row; the rest is 0."""
    signs: Float32
    """[rows, length, longest] the turn at each on the way to each watch, 0 for nodes beside it."""

    @classmethod
    def of(cls, paths: Paths, rows: int, touched: int) -> "RowTurns":
        """The turns of ways [rows * length, longest] to places below `touched`."""
        turn = np.flatnonzero(paths.signs)
        watch, place = turn // paths.nodes.shape[1], paths.nodes.ravel()[turn]
        row = watch // (len(paths.nodes) // rows)
        on = np.zeros((rows, touched), np.bool_)
        on[row, place] = True
        column = np.cumsum(on, 1, np.int32) - 1
        longest = -(-max(int(column.max()) + 1, 1) // TURNS) * TURNS
        nodes, signs = np.zeros((rows, longest), np.int32), np.zeros((len(paths.nodes), longest), np.float32)
        nodes[row, column[row, place]] = place
        signs[watch, column[row, place]] = paths.signs.ravel()[turn]
        return cls(nodes, signs.reshape(rows, -1, longest))


class PreparedWindows(NamedTuple):
    """Windows as the step wants them: item numbers replaced by places in the list of touched rows."""

    rows: Int32
    """[touched] rows of the item tables, each once; the rest is 0."""
    items: Int32
    """[rows, edge + length + edge] places in `rows`."""
    history: Int32
    """[rows, edge + length + edge] as in `Windows`."""
    reach: Int32
    """[rows, length] as in `Windows`."""
    weight: Float32
    """[rows, length] 1 for a watch, 0 for padding."""
    negative: Int32
    """[shared negatives] places in `rows`; none with hierarchical softmax."""
    paths: Paths | None
    """Hierarchical softmax: the ways to the watches of the rows, [rows * length, longest], with places in `nodes`."""
    turns: RowTurns | None
    """The same row by row, with `skipgram`."""
    nodes: Int32 | None
    """[touched] inner nodes on these ways, each once; the rest is 0."""


@dataclass(frozen=True)
class WindowPreparer:
    """Turns windows into what the step wants."""

    noise: Noise
    config: Word2vecConfig
    tree: HuffmanTree | None = None

    def __call__(self, batch: Windows, epoch: int, number: int) -> PreparedWindows:
        """Prepare batch `number` of an epoch."""
        config = self.config
        rng = np.random.default_rng([config.seed, 2, epoch, number])
        drawn = self.noise.draw(rng, 0 if self.tree else config.shared_negatives)
        rows, places = touched(np.concatenate([batch.items.ravel(), drawn]))
        items, negative = np.split(places, [batch.items.size])
        edge, length = edge_of(config), batch.reach.shape[1]
        middle = batch.items[:, edge : edge + length]
        paths, nodes = (None, None) if self.tree is None else touched_paths(self.tree, middle.ravel())
        turns = None
        if paths is not None and nodes is not None and config.architecture == "skipgram":
            turns = RowTurns.of(paths, len(batch.items), len(nodes))
        return PreparedWindows(
            rows=rows,
            items=items.reshape(batch.items.shape),
            history=batch.history,
            reach=batch.reach,
            weight=(middle > 0).astype(np.float32),
            negative=negative,
            paths=paths,
            turns=turns,
            nodes=nodes,
        )
