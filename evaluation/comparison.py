"""Who is ahead: the results on one data set under one protocol, in order, each in pairs against the best.

Reads the differences from the store once; tables and reports then need no files.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from evaluation.bootstrap import Difference
from evaluation.results import ORACLE, Result, ResultStore, best, groups

LIKELY = 0.05
"""A difference with this p or a larger one may well be chance."""

Standing = Literal["best", "level", "behind", "ceiling"]
"""`level`: not distinguishable from the best; `ceiling`: the oracle."""


@dataclass(frozen=True)
class Entry:
    """One model in a comparison.

    Args:
        label: its name, different from all others in the comparison.
        result: what was measured.
        difference: its main metric minus the best model's; None for the best itself, and where there is no best.
    """

    label: str
    result: Result
    difference: Difference | None

    @property
    def standing(self) -> Standing:
        """Where it stands; an oracle never counts as best."""
        if self.result.cell.model == ORACLE:
            return "ceiling"
        if self.difference is None:
            return "best"
        return "level" if self.difference.p >= LIKELY else "behind"


@dataclass(frozen=True)
class Comparison:
    """Models on one data set under one protocol.

    Args:
        data: name of the data set.
        holdout: name of the protocol.
        main: the metric that decides the order: `ndcg@10`, or NDCG at the nearest k that all were judged at.
        entries: models from the best to the worst, then ceilings.
    """

    data: str
    holdout: str
    main: str
    entries: tuple[Entry, ...]

    @property
    def results(self) -> list[Result]:
        """The results in the order of the entries."""
        return [entry.result for entry in self.entries]

    @property
    def title(self) -> str:
        """Data set and protocol."""
        return f"{self.data}, {self.holdout}"

    def standing(self, standing: Standing) -> list[Entry]:
        """The entries that stand so."""
        return [entry for entry in self.entries if entry.standing == standing]

    def metric(self, name: str, k: int) -> str | None:
        """A metric that all results have, at k or at the nearest common k; None where there is no common k."""
        return at_nearest(name, k, (r.metrics for r in self.results))

    def catalogue(self, name: str, k: int) -> str | None:
        """The same of figures of all lists together."""
        return at_nearest(name, k, (r.catalogue for r in self.results))


def comparisons(results: Sequence[Result], store: ResultStore) -> list[Comparison]:
    """Compare results within each data set and protocol, in the order given; what is given twice counts once.

    Raises ValueError where results of one data set and protocol are of different users or have no NDCG in common.
    """
    different = list({result.cell.key: result for result in results}.values())
    return [_compare(data, holdout, found, store) for data, holdout, found in groups(different)]


def _compare(data: str, holdout: str, results: list[Result], store: ResultStore) -> Comparison:
    main = at_nearest("ndcg", 10, (r.metrics for r in results))
    if main is None:
        raise ValueError(f"results on {data}, {holdout} have no NDCG in common")
    competitors = [r for r in results if r.cell.model != ORACLE]
    winner = best(competitors, main) if competitors else None
    ordered = sorted(results, key=lambda r: (r.cell.model == ORACLE, r is not winner, -r.metrics[main].value))
    entries = [
        Entry(label, r, store.difference(r.cell, winner.cell)[main] if winner and r is not winner else None)
        for label, r in zip(_labels(ordered), ordered, strict=True)
    ]
    return Comparison(data, holdout, main, tuple(entries))


def _labels(results: Sequence[Result]) -> list[str]:
    """Names of models, with the seed where a name alone would stand twice; an oracle's without its folder."""
    names = [ORACLE if r.cell.model == ORACLE else r.cell.label for r in results]
    return [
        f"{name}, seed {r.cell.seed}" if names.count(name) > 1 else name
        for name, r in zip(names, results, strict=True)
    ]


def at_nearest(name: str, k: int, all_names: Iterable[Iterable[str]]) -> str | None:
    """The metric at k, or at the nearest k, that is in every collection of names; None if there is none.

    >>> at_nearest("recall", 50, [["recall@10", "recall@20", "hr@50"], ["recall@20", "recall@10"]])
    'recall@20'
    """
    each = [set(names) for names in all_names]
    common = each[0].intersection(*each[1:]) if each else set()
    found = [int(other.partition("@")[2]) for other in common if other.partition("@")[0] == name]
    return f"{name}@{min(found, key=lambda other: (abs(other - k), other))}" if found else None
