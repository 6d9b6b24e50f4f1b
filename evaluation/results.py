"""Cells of a comparison, one model on one data set under one protocol, and their results on disk.

A result is a folder, whole or not there, named by what decides it; so an interrupted comparison goes on with the
cells that are missing.

    STORE/0123456789abcdef/
      manifest.json       cell and figures
      users.safetensors   the metrics of every user, for comparisons in pairs
"""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np
from pydantic import ConfigDict
from safetensors.numpy import load_file, save_file

from evaluation.bootstrap import Difference, Estimate, paired
from evaluation.protocol import Float64, Report
from watchnext.config import Closed
from watchnext.files import Manifest, atomic_folder
from watchnext.split import HoldoutName

USERS = "users.safetensors"
ORACLE = "oracle"
"""The model that knows what a made world's users prefer: a ceiling, not a competitor."""


class Cell(Closed):
    """One model on one data set under one protocol."""

    data: str
    """Name of the data set, for people."""
    corpus: str
    """Checksum of the corpus: results of another one do not count."""
    holdout: HoldoutName
    """How watches are held back."""
    holdout_share: float
    """`temporal` and `users`: the share of watches or users in each held-out part."""
    model: str
    """Name of a preset of the network, of a baseline, or `oracle`."""
    settings: tuple[str, ...] = ()
    """What is changed of a preset, `NAME=VALUE`; of the oracle, the folder of its world."""
    configuration: str = ""
    """Checksum of all that a network is trained with, so that no result outlives a change of its preset."""
    seed: int = 0
    """Everything random follows from it."""

    @property
    def label(self) -> str:
        """The model's name with its changed settings."""
        return " ".join([self.model, *self.settings])

    @property
    def key(self) -> str:
        """16 hexadecimal digits that decide the result's folder."""
        return hashlib.sha256(self.model_dump_json().encode()).hexdigest()[:16]


class Cost(Closed):
    """What fitting took, measured in a process of its own."""

    fit_cpu_seconds: float
    """CPU time of all threads for fitting with the chosen settings; for a network with all epochs and validation."""
    tune_cpu_seconds: float
    """CPU time of the whole search for settings, the chosen fit among them; for a network the same as fitting."""
    peak_megabytes: float
    """Largest resident memory of the process until all was fitted, libraries included."""


class Result(Manifest):
    """What a cell gave. A mean of nothing is NaN, in JSON the string "NaN"."""

    model_config = ConfigDict(ser_json_inf_nan="strings")

    made_by: ClassVar[str] = "watchnext compare"
    format: Literal["watchnext-result-1"] = "watchnext-result-1"
    cell: Cell
    users: int
    """Users that were ranked for."""
    targets: int
    """Held-out watches that were asked for."""
    untrained_targets: int
    """Those of them whose item no training watch shows."""
    without_history: int
    """Users left out, with held-out watches only."""
    chosen: dict[str, str]
    """Settings that tuning chose, or the epochs that early stopping chose."""
    cost: Cost
    metrics: dict[str, Estimate]
    """Mean over users and standard error, by name: `ndcg@10`."""
    by_activity: dict[str, dict[str, Estimate]]
    """The same by bucket of users, by how many watches the model was given."""
    by_popularity: dict[str, dict[str, Estimate]]
    """Recall by bucket of the targets' items, by how popular they are."""
    catalogue: dict[str, float]
    """`coverage@10` and `gini@10` of all lists together."""


@dataclass(frozen=True)
class ResultStore:
    """A folder of results."""

    root: Path

    def has(self, cell: Cell) -> bool:
        """Whether a cell has its result."""
        return (self.root / cell.key / "manifest.json").is_file()

    def save(self, cell: Cell, report: Report, cost: Cost, chosen: dict[str, str]) -> Result:
        """Write the result of a cell, whole or not at all."""
        arrays = {name: np.ascontiguousarray(values) for name, values in report.metrics.items()}
        with atomic_folder(self.root / cell.key, Result) as folder:
            save_file({**arrays, "users": report.users}, folder / USERS)
            return Result.seal(
                folder,
                cell=cell,
                users=len(report.users),
                targets=report.targets,
                untrained_targets=report.untrained_targets,
                without_history=report.without_history,
                chosen=chosen,
                cost=cost,
                metrics=report.estimates(),
                by_activity=report.activity_estimates(),
                by_popularity=report.popularity_estimates(),
                catalogue=report.catalogue,
            )

    def load(self, cell: Cell) -> Result:
        """Read the result of a cell. Raises CorruptError where its files are not what they should be."""
        folder = self.root / cell.key
        result = Result.read(folder)
        result.verify(folder)
        return result

    def by_user(self, cell: Cell) -> dict[str, Float64]:
        """[users] each metric of every user, by name; `users` are their numbers."""
        found: dict[str, Float64] = load_file(self.root / cell.key / USERS)
        return found

    def difference(self, one: Cell, other: Cell) -> dict[str, Difference]:
        """`one` minus `other`, in pairs over the users that both were ranked for: the same, as both cut alike."""
        values, others = self.by_user(one), self.by_user(other)
        if not np.array_equal(values.pop("users"), others.pop("users")):
            raise ValueError("cells on different users cannot be compared in pairs")
        return paired(values, others)


def best(results: Sequence[Result], metric: str) -> Result:
    """The result with the highest mean."""
    return max(results, key=lambda result: result.metrics[metric].value)


def groups(results: Sequence[Result]) -> Iterator[tuple[str, str, list[Result]]]:
    """Results that can be compared with each other: data set, holdout, and its results in the order given.

    Corpora and shares of the holdout are told apart too, though their names may be the same.
    """
    grouped: dict[tuple[str, str, str, float], list[Result]] = {}
    for result in results:
        cell = result.cell
        grouped.setdefault((cell.data, cell.holdout, cell.corpus, cell.holdout_share), []).append(result)
    for (data, holdout, *_), found in grouped.items():
        yield data, holdout, found
