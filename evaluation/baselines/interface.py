"""What a baseline is: closed settings, a published grid of them, and a fit that gives a scorer."""

import importlib
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from types import ModuleType
from typing import Generic, TypeVar

from evaluation.scorers import Scorer
from watchnext.config import Closed
from watchnext.errors import UsageError
from watchnext.histories import Histories, Int64

Settings = TypeVar("Settings", bound=Closed)


class Baseline(ABC, Generic[Settings]):
    """A recommender to stand beside the model.

    Attributes:
        name: what `BASELINES` calls it.
        grid: the settings that are tried when it is tuned, the first being a sensible default.
    """

    name: str
    grid: Sequence[Settings]

    @abstractmethod
    def fit(self, histories: Histories, ends: Int64, items: int, settings: Settings, seed: int) -> Scorer:
        """Learn from the first `ends` watches of each user; the scorer looks at nothing later than it is told to.

        Args:
            ends: [users + 1] how many of each user's first watches are trained on; may be 0.
            items: the number of items.
            seed: whatever is random follows from it.

        Raises TrainingError without watches, UsageError when a library is missing or memory would not suffice.
        """

    def fit_each(
        self, histories: Histories, ends: Int64, items: int, grid: Sequence[Settings], seed: int
    ) -> Iterator[Scorer]:
        """A scorer for each of several settings, one at a time; baselines that can share work between them do."""
        for settings in grid:
            yield self.fit(histories, ends, items, settings, seed)


def baseline_library(name: str) -> ModuleType:
    """Import a module of the extra `baselines`. Raises UsageError with the cure when it is not installed."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise UsageError(
            "baseline", f"no module {name.partition('.')[0]!r}", "Install it: pip install watchnext[baselines]."
        ) from error
