"""A warm start: the values of an earlier export in a network whose vocabularies have grown or changed their order.

What both know keeps its values, by id: rows of items, of search tokens, of countries and devices. What is new has the
usual random start. Dense weights are kept. So is the optimizer's state, row by row, where the export has it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np

from model.checkpoint import Arrays
from model.network import FEATURES, Network
from model.parameters import DENSE, TABLE
from model.step import Trainer
from model.trainer import STEP, slot_name
from watchnext.config import FitConfig, ModelConfig, Word2vecConfig
from watchnext.errors import UsageError
from watchnext.export import OPTIMIZER, Export, open_optimizer
from watchnext.features import Float32
from watchnext.histories import Histories, Int32, Int64
from watchnext.item_features import item_bags
from watchnext.presets import text_of
from watchnext.release import export_in
from watchnext.split import split
from watchnext.tower import uses_context, uses_example_age, uses_searches
from watchnext.vocabulary import Vocabulary

SHAPING = (
    *("dim", "encoder", "decays", "learned_decays", "time_gaps", "attention_blocks", "attention_heads"),
    *("tower", "activation", "residual", "tied", "similarity", "bias"),
)
"""Settings that decide which weights there are, of which shape, or what they mean; with attention, `history` too."""
READS = {"context": uses_context, "searches": uses_searches, "example_age": uses_example_age}
"""What the first layer reads, by the setting that switches it."""
ITEM = f"{TABLE}item"
UNKNOWN = f"{DENSE}country", f"{DENSE}device"
"""Tables whose row 0 is learned: that of the unknown one."""


@dataclass(frozen=True)
class WarmStart:
    """An earlier export, and the vocabularies of the corpus that is trained on now.

    Args:
        tokens: of searches; None for a corpus without.
        folder: of the export, where the optimizer's state may be; None for an export in memory.
    """

    export: Export
    items: Vocabulary
    tokens: Vocabulary | None
    folder: Path | None = None

    @classmethod
    def open(cls, folder: Path, items: Vocabulary, tokens: Vocabulary | None) -> Self:
        """Open an export, alone or in a release, or that of the current release of a folder of them.

        Raises UsageError where there is none, CorruptError for a damaged one.
        """
        folder = export_in(folder)
        export = Export.open(folder)
        if isinstance(export.manifest.training, Word2vecConfig):
            got = f"{folder}, an export of item2vec or word2vec, which nothing goes on with"
            raise UsageError("--warm-from", got, "Start from its vectors with --init-from, or leave it out.")
        return cls(export, items, tokens, folder)

    @property
    def checksum(self) -> str:
        """Of the export."""
        return self.export.manifest.checksum

    def keeps_optimizer(self, config: FitConfig) -> bool:
        """Whether the export has the state of the optimizer that trains now; another one begins anew."""
        about = self.export.manifest
        return OPTIMIZER in about.files and about.training.optimizer == config.optimizer

    def known(self, users: Vocabulary, histories: Histories) -> Int64:
        """[users + 1] how many of each user's first watches the export has learned; see `known_watches`."""
        return learned_watches(self.export, users, histories)

    def state(self, trainer: Trainer) -> Arrays:
        """Values for `Trainer.set_arrays`. Raises UsageError if the network is of another shape than the export's."""
        saved = {} if self.folder is None else open_optimizer(self.folder)
        state: Arrays = self.arrays(trainer.network, saved) | trainer.optimizer_arrays()
        if self.keeps_optimizer(trainer.config):
            rows = self._rows(trainer.network)
            state[STEP] = saved[STEP]
            for name, of_one in trainer.slots.items():
                for slot in (slot_name(name, i) for i in range(len(of_one))):
                    if slot in saved:
                        state[slot] = _taken(name, state[slot], saved[slot], rows)
        return state

    def arrays(self, network: Network, saved: Arrays | None = None) -> Arrays:
        """Values for `Network.set_arrays`. Raises UsageError if the network is of another shape than the export's.

        Args:
            saved: what `beside_export` gave.
        """
        self._check(network)
        config, arrays, old = network.config, network.arrays(), self.export
        predicted = old.item_vectors[:, : config.dim]
        tables = {"item": old.watched_vectors} if config.tied else {"watched": old.watched_vectors, "item": predicted}
        if config.bias:
            tables["item_bias"] = old.item_vectors[:, config.dim :]
        if old.search_vectors is not None:
            tables["search"] = old.search_vectors
        sources = {TABLE + name: values for name, values in tables.items() if TABLE + name in arrays}
        raw = {name: values for name, values in (saved or {}).items() if name.startswith(TABLE)}
        if any(name.endswith(FEATURES) for name in raw) == (network.bags is not None):
            sources |= {name: values for name, values in raw.items() if name in arrays}
        rows = self._rows(network)
        for name, values in (sources | {DENSE + name: values for name, values in old.weights.items()}).items():
            arrays[name] = _taken(name, arrays[name], values, rows)
        return arrays

    def _rows(self, network: Network) -> dict[str, Int32]:
        """The rows in the export's tables of those of the network, 0 for none, by the tables' names."""
        old = self.export
        items = old_numbers(self.items, old.items)
        items[old.item_counts[items] == 0] = 0  # never trained: as good as new
        items[np.isin(items, old.withdrawn)] = 0  # their item vectors are gone
        rows = dict.fromkeys((ITEM, f"{TABLE}watched", f"{TABLE}item_bias"), items)
        if old.search_tokens is not None and self.tokens is not None:
            rows[f"{TABLE}search"] = old_numbers(self.tokens, old.search_tokens)
        before, now = old.manifest.features, network.features
        catalogue = old.trained_catalogue or old.catalogue
        bags = item_bags(old.manifest.model, catalogue.table, before.window_end)
        if bags is not None and network.bags is not None:
            features = old_numbers(network.bags.vocabulary, bags.vocabulary)
            rows |= {f"{TABLE}{name}{FEATURES}": features for name in ("item", "watched")}
        rows[f"{DENSE}country"] = old_places(now.countries, before.countries)
        rows[f"{DENSE}device"] = old_places(now.devices, before.devices)
        return rows

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
                cure = f"Train with --set {name}=false" if now else "Ingest the tables that the export's corpus had"
                cure += ", or without --warm-from."
                raise UsageError("--warm-from", got, cure)


def beside_export(best: Arrays, config: ModelConfig) -> Arrays:
    """What an exact continuation needs beside what an export holds anyway; empty where it was not asked for.

    That is the optimizer's state, the rows of predicted items where the export has them scaled to length 1, and where
    there are features of items, their embeddings and the items' own, of which the export has the sums. The nodes of
    hierarchical softmax begin anew in any case, since the tree follows the counts.

    Args:
        best: all values of the best epoch, with the optimizer's state or without.
    """
    if STEP not in best:
        return {}
    nodes = slot_name(f"{TABLE}node", 0)[:-1]
    wanted = {name for name in best if not name.startswith((TABLE, DENSE, nodes))}
    if not config.tied and config.similarity == "cosine":
        wanted.add(ITEM)
    featured = {name for name in best if name.endswith(FEATURES)}
    wanted |= featured | {name.removesuffix(FEATURES) for name in featured}
    return {name: best[name] for name in wanted & best.keys()}


def learned_watches(export: Export, users: Vocabulary, histories: Histories) -> Int64:
    """[users + 1] how many of each user's first watches an export has learned; see `known_watches`."""
    about, before = export.manifest, export.histories
    learned = split(before, about.holdout, about.holdout_share, about.holdout_seed).train
    return known_watches(histories, before, learned, old_numbers(users, export.users))


def known_watches(now: Histories, before: Histories, learned: Int64, old: Int32) -> Int64:
    """[users + 1] how many of each user's first watches were learned before.

    These are the watches earlier than the last one that was learned, and of those at its very second as many as then.
    So it does not matter if the log has lost its beginning since.

    Args:
        before: the histories then.
        learned: [users then + 1] how many of each user's first watches were learned.
        old: [users + 1] the user's number then, 0 for a new one.

    >>> then, now = Histories.of([[5, 6, 7]], [[10, 20, 20]]), Histories.of([[8], [6, 7, 9]], [[5], [20, 20, 30]])
    >>> known_watches(now, then, np.array([0, 2]), np.array([0, 0, 1])).tolist()
    [0, 0, 1]
    """
    last = np.full(len(before), np.iinfo(np.int64).min)
    some = np.flatnonzero(learned)
    last[some] = before.times[before.offsets[some] + learned[some] - 1]
    tied = learned - before.before(last)
    return np.minimum(now.before(last[old]) + tied[old], now.before(last[old] + 1))


def _taken(name: str, new: Float32, old: Float32, rows: dict[str, Int32]) -> Float32:
    """Values, or state, of a variable: those of an earlier one, row by row where its rows have changed."""
    if name not in rows:
        return np.array(old)
    kept = kept_rows(new, old, rows[name])
    if name in UNKNOWN:
        kept[0] = old[0]
    return kept


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
    found = before.numbers(now.all_ids())
    return np.concatenate([np.zeros(1, np.int32), found])


def old_places(now: Sequence[str], before: Sequence[str]) -> Int32:
    """The same for countries and devices, whose number is their place + 1."""
    places = {value: place for place, value in enumerate(before, 1)}
    return np.array([0, *(places.get(value, 0) for value in now)], np.int32)
