"""How a model is judged: cut the histories, rank everything, keep what was measured for each user."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from evaluation import lists
from evaluation.bootstrap import RESAMPLES, Difference, Estimate, estimates, paired
from evaluation.metrics import Runs, by_user, recall
from evaluation.ranking import Ranking, rank
from evaluation.scorers import Scorer, VectorScorer
from evaluation.training import BUCKETS, TrainingCounts
from watchnext.errors import UsageError
from watchnext.features import Float32
from watchnext.histories import Histories, Int32, Int64
from watchnext.inputs import UserInputs
from watchnext.split import Ask, Split
from watchnext.tower import UserTower

Float64 = NDArray[np.float64]

ACTIVITY = {"1-4": 1, "5-9": 5, "10-19": 10, "20-49": 20, "50+": 50}
"""Buckets of users by how many watches the model is given, each with its smallest number."""


@dataclass(frozen=True)
class Report:
    """What an evaluation found, user by user, so that reports on the same users can be compared in pairs.

    Args:
        users: [users] user numbers that were ranked for.
        given: [users] how many watches of each the model saw.
        without_history: users left out since they have held-out watches only, nothing to recommend from.
        targets: held-out watches that were ranked, each item once a user.
        untrained_targets: those of them that no training watch showed: misses for every model that needs one.
        metrics: by name, `hr@10`: [users] each. HR, recall, NDCG, MRR, MAP; `novelty`, `popularity` and, where upload
            times are known, `age` of the list (NaN for an empty one).
        by_popularity: by bucket of the targets' items (`training.BUCKETS`), then `recall@10`: [users] each, NaN for a
            user without such a target.
        targets_by_popularity: how many of the targets are in each bucket that has any.
        catalogue: `coverage` and `gini` by name, of all lists together, over the items that training shows.
    """

    users: Int32
    given: Int64
    without_history: int
    targets: int
    untrained_targets: int
    metrics: dict[str, Float64]
    by_popularity: dict[str, dict[str, Float64]]
    targets_by_popularity: dict[str, int]
    catalogue: dict[str, float]

    def estimates(self, resamples: int = RESAMPLES, seed: int = 0) -> dict[str, Estimate]:
        """Mean over users and standard error of each metric."""
        return estimates(self.metrics, resamples, seed)

    def by_activity(self) -> dict[str, NDArray[np.bool_]]:
        """[users] who is in it, for each bucket of `ACTIVITY` with any users."""
        bucket = np.searchsorted(list(ACTIVITY.values()), self.given, side="right") - 1
        return {name: bucket == n for n, name in enumerate(ACTIVITY) if (bucket == n).any()}

    def activity_estimates(self, resamples: int = RESAMPLES, seed: int = 0) -> dict[str, dict[str, Estimate]]:
        """By bucket of `ACTIVITY` that has any user, then by metric."""
        return {
            name: estimates({metric: values[inside] for metric, values in self.metrics.items()}, resamples, seed)
            for name, inside in self.by_activity().items()
        }

    def popularity_estimates(self, resamples: int = RESAMPLES, seed: int = 0) -> dict[str, dict[str, Estimate]]:
        """By bucket of `training.BUCKETS` that has any target, then `recall@k`."""
        return {name: estimates(values, resamples, seed) for name, values in self.by_popularity.items()}

    def minus(self, other: "Report", resamples: int = RESAMPLES, seed: int = 0) -> dict[str, Difference]:
        """Paired differences to another model's metrics. Raises ValueError unless both ranked for the same users."""
        if not np.array_equal(self.users, other.users):
            raise ValueError("reports on different users cannot be compared in pairs")
        return paired(self.metrics, other.metrics, resamples, seed)


def test_users(split: Split) -> tuple[Int32, int]:
    """Users with a history and held-out watches after it, and how many have only the latter."""
    asked = split.test.anything
    return _askable(split.test), int((asked & (split.test.given == 0)).sum())


def _askable(ask: Ask) -> Int32:
    return np.flatnonzero(ask.anything & (ask.given > 0)).astype(np.int32)


def evaluate(
    scorer: Scorer,
    histories: Histories,
    split: Split,
    counts: TrainingCounts,
    ks: Sequence[int] = (10, 50),
    uploaded: Float64 | None = None,
    advance: Callable[[int], None] = lambda _: None,
) -> Report:
    """Rank the test part of a split given everything before it.

    Args:
        counts: of the split's training part.
        ks: lengths of lists to judge.
        uploaded: [items + 1] upload times in seconds since 1970, NaN where unknown; None without any.
        advance: called with the number of users done.

    Raises UsageError if the split leaves nothing to test.
    """
    users, without = test_users(split)
    if not len(users):
        raise UsageError("--holdout", "no user with watches before and after the cut", "Choose another holdout.")
    ranking = rank(scorer, histories, split.test, users, max(ks), advance)
    bucket = counts.buckets()[ranking.target]
    given = split.test.given[users]
    asked = histories.times[histories.offsets[users] + given - 1]
    metrics = {name: values for k in ks for name, values in by_user(ranking, k).items()}
    for k in ks:
        metrics |= _of_lists(ranking.items[:, :k], counts, uploaded, asked, k)
    return Report(
        users=users,
        given=given,
        without_history=without,
        targets=len(ranking.target),
        untrained_targets=int((counts.watches[ranking.target] == 0).sum()),
        metrics=metrics,
        by_popularity=_by_popularity(ranking, bucket, ks),
        targets_by_popularity={name: int((bucket == n).sum()) for n, name in enumerate(BUCKETS) if n in bucket},
        catalogue=_catalogue(ranking, counts, ks),
    )


def _of_lists(
    items: Int32, counts: TrainingCounts, uploaded: Float64 | None, asked: Int64, k: int
) -> dict[str, Float64]:
    found = {f"novelty@{k}": lists.novelty(items, counts), f"popularity@{k}": lists.popularity(items, counts)}
    if uploaded is not None:
        found[f"age@{k}"] = lists.age(items, uploaded, asked)
    return found


def _catalogue(ranking: Ranking, counts: TrainingCounts, ks: Sequence[int]) -> dict[str, float]:
    found: dict[str, float] = {}
    for k in ks:
        shown = lists.exposure(ranking.items[:, :k], len(counts.watches) - 1)[counts.watches > 0]
        found |= {f"coverage@{k}": lists.coverage(shown), f"gini@{k}": lists.gini(shown)}
    return found


def _by_popularity(ranking: Ranking, bucket: Int64, ks: Sequence[int]) -> dict[str, dict[str, Float64]]:
    runs = {name: Runs.of(ranking.only(bucket == n)) for n, name in enumerate(BUCKETS) if n in bucket}
    return {name: {f"recall@{k}": recall(inside, k) for k in ks} for name, inside in runs.items()}


class Validator:
    """A full ranking of the validation part, for a fixed sample of users: what early stopping and tuning watch.

    Args:
        inputs: what a tower reads of users.
        limit: at most this many users, drawn by `seed`.
    """

    def __init__(self, inputs: UserInputs, split: Split, limit: int, seed: int) -> None:
        self.inputs, self.ask = inputs, split.valid
        users = _askable(split.valid)
        if not len(users):
            raise UsageError("--holdout", "no user with watches before and after the cut", "Choose another holdout.")
        if len(users) > limit:
            users = np.sort(np.random.default_rng([seed, 4]).choice(users, limit, replace=False))
        self.users = users

    def judge(self, scorer: Scorer) -> dict[str, float]:
        """HR, recall, NDCG, MRR and MAP at 10, and recall at 50, of any scorer."""
        ranking = rank(scorer, self.inputs.histories, self.ask, self.users, 50)
        found = by_user(ranking, 10) | {"recall@50": by_user(ranking, 50)["recall@50"]}
        return {name: float(values.mean()) for name, values in found.items()}

    def __call__(self, item_vectors: Float32, tower: UserTower) -> dict[str, float]:
        """The same of vectors and a tower, as training calls it."""
        return self.judge(VectorScorer(item_vectors, tower, self.inputs))
