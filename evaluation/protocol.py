"""How a model is judged: cut the histories, rank everything, average over users."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from evaluation.metrics import Estimate, by_user, estimate
from evaluation.ranking import rank_targets
from evaluation.scorers import Scorer, VectorScorer
from watchnext.errors import UsageError
from watchnext.features import Float32
from watchnext.histories import Histories, Int32, Int64
from watchnext.inputs import UserInputs
from watchnext.split import Split
from watchnext.tower import UserTower


@dataclass(frozen=True)
class Report:
    """What an evaluation found.

    Args:
        users: users that were ranked for.
        without_history: users left out since they have held-out watches only, nothing to recommend from.
        targets: held-out watches that were ranked, each item once a user.
        untrained_targets: those of them that no training watch showed: misses for every model.
        metrics: by name, `hr@10`.
    """

    users: int
    without_history: int
    targets: int
    untrained_targets: int
    metrics: dict[str, Estimate]


def test_users(split: Split) -> tuple[Int32, int]:
    """Users with a history and held-out watches after it, and how many have only the latter."""
    asked = split.test > split.valid
    return np.flatnonzero(asked & (split.valid > 0)).astype(np.int32), int((asked & (split.valid == 0)).sum())


def evaluate(
    scorer: Scorer,
    histories: Histories,
    split: Split,
    counts: Int64,
    ks: Sequence[int] = (10, 50),
    advance: Callable[[int], None] = lambda _: None,
) -> Report:
    """Rank the test part of a split given everything before it.

    Args:
        counts: [items + 1] watches of each item in the training part.
        ks: lengths of lists to judge.
        advance: called with the number of users done.

    Raises UsageError if the split leaves nothing to test.
    """
    users, without = test_users(split)
    if not len(users):
        raise UsageError("holdout", "no user with watches before and after the cut", "Choose another holdout.")
    ranks = rank_targets(scorer, histories, split.valid, split.test, users, advance)
    targets = np.concatenate([np.unique(histories[u][split.valid[u] : split.test[u]]) for u in users])
    metrics = {name: estimate(values) for k in ks for name, values in by_user(ranks, k).items()}
    return Report(len(users), without, len(targets), int((counts[targets] == 0).sum()), metrics)


class Validator:
    """The metric that early stopping watches: a full ranking of the validation part, for a fixed sample of users.

    Args:
        limit: at most this many users, drawn by `seed`.
        inputs: what a tower reads of users.
    """

    def __init__(self, inputs: UserInputs, split: Split, limit: int, seed: int) -> None:
        self.inputs, self.split = inputs, split
        users = np.flatnonzero((split.valid > split.train) & (split.train > 0)).astype(np.int32)
        if not len(users):
            raise UsageError("holdout", "no user with watches before and after the cut", "Choose another holdout.")
        if len(users) > limit:
            users = np.sort(np.random.default_rng([seed, 4]).choice(users, limit, replace=False))
        self.users = users

    def __call__(self, item_vectors: Float32, tower: UserTower) -> dict[str, float]:
        """HR, recall and NDCG at 10, and recall at 50."""
        scorer = VectorScorer(item_vectors, tower, self.inputs)
        ranks = rank_targets(scorer, self.inputs.histories, self.split.train, self.split.valid, self.users)
        found = by_user(ranks, 10) | {"recall@50": by_user(ranks, 50)["recall@50"]}
        return {name: float(values.mean()) for name, values in found.items()}
