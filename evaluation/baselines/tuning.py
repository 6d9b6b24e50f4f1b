"""Tuning: fit a baseline with each settings of its grid and keep the one that the validation part likes best."""

from collections.abc import Callable
from dataclasses import dataclass
from math import isnan
from typing import Generic

from evaluation.baselines.interface import Baseline, Settings
from evaluation.scorers import Scorer
from watchnext.histories import Histories, Int64


@dataclass(frozen=True)
class Trial(Generic[Settings]):
    """Settings that were tried, and what the judge gave them (more is better)."""

    settings: Settings
    score: float


@dataclass(frozen=True)
class Tuned(Generic[Settings]):
    """The best of a grid.

    Args:
        settings: the best settings; of equals the first.
        scorer: fitted with them.
        score: what the judge gave it.
        trials: all settings in the order of the grid.
    """

    settings: Settings
    scorer: Scorer
    score: float
    trials: tuple[Trial[Settings], ...]


def tune(
    baseline: Baseline[Settings],
    histories: Histories,
    ends: Int64,
    items: int,
    judge: Callable[[Scorer], float],
    progress: Callable[[int, int], None] = lambda done, total: None,
    seed: int = 0,
) -> Tuned[Settings]:
    """Fit a baseline with every settings of its grid and keep the best.

    Args:
        ends: [users + 1] how many of each user's first watches are trained on.
        items: the number of items.
        judge: gives a scorer its value on the validation part, more is better; nan never wins.
        progress: called after each trial with how many are done and how many there are.
        seed: the same for every trial.
    """
    best: list[tuple[Settings, Scorer, float]] = []
    trials: list[Trial[Settings]] = []
    scorers = baseline.fit_each(histories, ends, items, baseline.grid, seed)
    for settings in baseline.grid:
        scorer = next(scorers)
        score = judge(scorer)
        trials.append(Trial(settings, score))
        if not best or score > best[0][2] or isnan(best[0][2]):
            best = [(settings, scorer, score)]
        del scorer  # the next is fitted beside the best alone
        progress(len(trials), len(baseline.grid))
    return Tuned(*best[0], tuple(trials))
