"""A warm start: the values of an earlier export in a network whose vocabularies have grown or changed their order.

What both know keeps its values, by id: rows of items, of search tokens, of countries and devices. What is new has the
usual random start. Dense weights are kept. An export has no state of the optimizer, so that begins anew.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np

from model.checkpoint import Arrays
from model.network import DENSE, TABLE, Network
from watchnext.config import text_of
from watchnext.errors import UsageError
from watchnext.export import Export
from watchnext.features import Float32
from watchnext.histories import Int32
from watchnext.tower import uses_context, uses_example_age, uses_searches
from watchnext.vocabulary import Vocabulary

SHAPING = (
    *("dim", "encoder", "decays", "learned_decays", "time_gaps", "attention_blocks", "attention_heads"),
    *("tower", "residual", "tied", "similarity", "bias"),
)
"""Settings that decide which weights there are, of which shape, or what they mean; with attention, `history` too."""
READS = {"context": uses_context, "searches": uses_searches, "example_age": uses_example_age}
"""What the first layer reads, by the setting that switches it."""


@dataclass(frozen=True)
class WarmStart:
    """An earlier export, and the vocabularies of the corpus that is trained on now.

    Args:
        tokens: of searches; None for a corpus without.
    """

    export: Export
    items: Vocabulary
    tokens: Vocabulary | None

    @classmethod
    def open(cls, folder: Path, items: Vocabulary, tokens: Vocabulary | None) -> Self:
        """Open an export. Raises UsageError where there is none, CorruptError for a damaged one."""
        return cls(Export.open(folder), items, tokens)

    @property
    def checksum(self) -> str:
        """Of the export."""
        return self.export.manifest.checksum

    def arrays(self, network: Network) -> Arrays:
        """Values for `Network.set_arrays`. Raises UsageError if the network is of another shape than the export's."""
        self._check(network)
        config, arrays, old = network.config, network.arrays(), self.export
        known = old_numbers(self.items, old.items)
        known[old.item_counts[known] == 0] = 0  # never trained: as good as new
        predicted = old.item_vectors[:, : config.dim]
        tables = {"item": old.watched_vectors} if config.tied else {"watched": old.watched_vectors, "item": predicted}
        if config.bias:
            tables["item_bias"] = old.item_vectors[:, config.dim :]
        sources = {TABLE + name: values for name, values in tables.items() if TABLE + name in arrays}
        rows = dict.fromkeys(sources, known)
        if old.search_vectors is not None and old.search_tokens is not None and self.tokens is not None:
            sources[f"{TABLE}search"] = old.search_vectors
            rows[f"{TABLE}search"] = old_numbers(self.tokens, old.search_tokens)
        sources |= {DENSE + name: values for name, values in old.weights.items()}
        before, now = old.manifest.features, network.features
        rows[f"{DENSE}country"] = old_places(now.countries, before.countries)
        rows[f"{DENSE}device"] = old_places(now.devices, before.devices)
        for name, values in sources.items():
            arrays[name] = kept_rows(arrays[name], values, rows[name]) if name in rows else np.array(values)
        for name in (f"{DENSE}country", f"{DENSE}device"):
            if name in sources:
                arrays[name][0] = sources[name][0]  # the unknown one
        return arrays

    def _check(self, network: Network) -> None:
        about = self.export.manifest
        for name in (*SHAPING, *(["history"] if network.config.encoder == "attention" else [])):
            now, before = getattr(network.config, name), getattr(about.model, name)
            if now != before:
                got = f"an export of {name}={text_of(before)}, where {name}={text_of(now)} is to be trained"
                raise UsageError("--warm-from", got, f"Add --set {name}={text_of(before)}, or train without it.")
        for name, reads in READS.items():
            now, before = reads(network.config, network.features), reads(about.model, about.features)
            if now != before:
                got = f"an export that {'reads' if before else 'does not read'} {name}, unlike what is to be trained"
                cure = f"Train without it, or with --set {name}=false." if now else "Train without it."
                raise UsageError("--warm-from", got, cure)


def kept_rows(new: Float32, old: Float32, rows: Int32) -> Float32:
    """Rows of an old table in the order of a new one, whose own rows stay where there is no old one.

    Args:
        new: [rows, dim] as they start.
        old: [old rows, dim].
        rows: [rows] the row in `old`, 0 for none.

    >>> kept_rows(np.zeros((3, 1)), np.array([[9], [1], [2]]), np.array([0, 2, 0])).tolist()
    [[0.0], [2.0], [0.0]]
    """
    return np.where((rows > 0)[:, None], np.asarray(old)[rows], new).astype(new.dtype)


def old_numbers(now: Vocabulary, before: Vocabulary) -> Int32:
    """[numbers + 1] for each number of a vocabulary, that of the same id in an earlier one; 0 where it is new."""
    found = before.numbers(now.ids(np.arange(1, len(now) + 1)))
    return np.concatenate([np.zeros(1, np.int32), found])


def old_places(now: Sequence[str], before: Sequence[str]) -> Int32:
    """The same for countries and devices, whose number is their place + 1."""
    places = {value: place for place, value in enumerate(before, 1)}
    return np.array([0, *(places.get(value, 0) for value in now)], np.int32)
