"""A start from vectors that another model, item2vec for one, has learned of the same items."""

from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np

from model.checkpoint import Arrays
from model.parameters import TABLE
from model.step import Trainer
from model.warm import kept_rows, learned_watches, old_numbers
from watchnext.errors import UsageError
from watchnext.export import Export
from watchnext.histories import Histories, Int32, Int64
from watchnext.release import export_in
from watchnext.vocabulary import Vocabulary

OPTION = "--init-from"


@dataclass(frozen=True)
class InitialVectors:
    """The watched vectors of another export, which may be of any kind of model.

    Args:
        rows: [items + 1] the export's row of each item now, 0 for an item that it has not trained.
    """

    export: Export
    rows: Int32

    @classmethod
    def open(cls, folder: Path, items: Vocabulary) -> Self:
        """Open an export, alone or in a release, or that of the current release of a folder of them.

        Raises UsageError where there is none or it shares no item, CorruptError for a damaged one.
        """
        return cls.of(Export.open(export_in(folder)), items)

    @classmethod
    def of(cls, export: Export, items: Vocabulary) -> Self:
        """Find the items of the corpus that is trained on now. Raises UsageError if the export has none of them."""
        rows = old_numbers(items, export.items)
        trained = (export.item_counts > 0) & export.watched_vectors.any(1)
        rows[~trained[rows]] = 0
        if not rows.any():
            raise UsageError(OPTION, "an export with none of the corpus's items", "Name one of the same items' ids.")
        return cls(export, rows)

    @property
    def checksum(self) -> str:
        """Of the export."""
        return self.export.manifest.checksum

    @property
    def items(self) -> int:
        """How many items start from a vector of the export."""
        return int((self.rows > 0).sum())

    def learned(self, users: Vocabulary, histories: Histories) -> Int64:
        """[users + 1] how many of each user's first watches the export has learned; see `warm.known_watches`."""
        return learned_watches(self.export, users, histories)

    def state(self, trainer: Trainer) -> Arrays:
        """Values for `Trainer.set_arrays`: the usual ones but for the rows of the watched table that the export has.

        These rows are multiplied by one number, so that their mean length is that of the usual start: `init_scale`,
        about. With similarity `cosine` only directions count, and the optimizer's steps have the same size whatever
        the length, so vectors as long as word2vec leaves them would turn too slowly. Rows that are longer or shorter
        than others stay so.

        Raises UsageError if the vectors have other dimensions than the network's.
        """
        name, state = TABLE + trainer.network.watched, trainer.arrays()
        usual, vectors, dim = state[name], self.export.watched_vectors, trainer.network.config.dim
        if vectors.shape[1] != dim:
            got = f"an export of watched vectors with {vectors.shape[1]} dimensions, where dim={dim} is to be trained"
            raise UsageError(OPTION, got, f"Add --set dim={vectors.shape[1]}, or name another export.")
        taken = self.rows > 0
        state[name] = kept_rows(usual, vectors, self.rows)
        state[name][taken] *= _mean_length(usual[taken]) / _mean_length(state[name][taken])
        return state


def _mean_length(vectors: np.ndarray) -> np.float32:
    return np.float32(np.linalg.norm(vectors, axis=1).mean())
