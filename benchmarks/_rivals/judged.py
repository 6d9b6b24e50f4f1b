"""Accuracy after each epoch against the CPU seconds of training, judged alike for every model."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from corpus.corpus import Corpus
from evaluation.protocol import Validator
from evaluation.scorers import Scorer, VectorScorer
from watchnext.features import Float32
from watchnext.histories import Int32, Int64
from watchnext.inputs import UserInputs
from watchnext.split import Split
from watchnext.tower import UserTower

METRICS = ("hr@10", "ndcg@10", "recall@50")


@dataclass(frozen=True)
class ListScorer:
    """Scores that put the items of a given list in its order, and recommend nothing else.

    Args:
        lists: [users + 1, k] item numbers, the best first, 0 where there are no more.
        items: items in the vocabulary.
    """

    lists: Int32
    items: int

    def scores(self, users: Int32, ends: Int64) -> Float32:
        """[users, items + 1] k for the first of the list, 1 for the last."""
        found = np.full((len(users), self.items + 1), -np.inf, np.float32)
        k = self.lists.shape[1]
        found[np.arange(len(users))[:, None], self.lists[users]] = np.arange(k, 0, -1)
        found[:, 0] = -np.inf
        return found


class Judge:
    """Full ranking of the validation and of the test part, for the same users whatever the model."""

    def __init__(self, corpus: Corpus, cut: Split, inputs: UserInputs, limit: int) -> None:
        self.inputs, self.items = inputs, len(corpus.items)
        of_test = replace(cut, valid=cut.test)
        self.valid, self.test = (Validator(inputs, part, limit, 0) for part in (cut, of_test))

    def of_lists(self, lists: dict[str, Any]) -> dict[str, float]:
        """Metrics of lists for both parts."""
        return self._both(ListScorer(lists["valid"], self.items), ListScorer(lists["test"], self.items))

    def of_vectors(self, item_vectors: Float32, tower: UserTower) -> dict[str, float]:
        """Metrics of vectors and a tower."""
        scorer = VectorScorer(item_vectors, tower, self.inputs)
        return self._both(scorer, scorer)

    def _both(self, valid: Scorer, test: Scorer) -> dict[str, float]:
        judged = (("valid", self.valid.judge(valid)), ("test", self.test.judge(test)))
        return {f"{part} {name}": found[name] for part, found in judged for name in METRICS}
