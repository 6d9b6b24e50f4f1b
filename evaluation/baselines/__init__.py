"""Baselines: other recommenders behind the same interface, to stand beside the model on the same split."""

from typing import Any

from evaluation.baselines.ease import Ease
from evaluation.baselines.ials import Ials
from evaluation.baselines.interface import Baseline
from evaluation.baselines.item2vec import Item2vec
from evaluation.baselines.item_knn import ItemKnn
from evaluation.baselines.popularity import MostPopular, RecentPopularity
from evaluation.baselines.tuning import Trial, Tuned, tune

BASELINES: dict[str, Baseline[Any]] = {
    baseline.name: baseline for baseline in (MostPopular(), RecentPopularity(), ItemKnn(), Ease(), Ials(), Item2vec())
}
"""All baselines by name."""

__all__ = ["BASELINES", "Baseline", "Trial", "Tuned", "tune"]
