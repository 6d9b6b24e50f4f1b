"""A whole evaluation against counting by hand: metrics, counts, buckets, pairs, validation."""

from typing import get_args

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evaluation.protocol import Validator, evaluate
from evaluation.ranking import rank
from evaluation.scorers import Popularity, VectorScorer
from evaluation.training import TrainingCounts
from tests.scorers import Fixed
from watchnext.config import ModelConfig
from watchnext.errors import UsageError
from watchnext.features import FeatureSpec, Float32
from watchnext.histories import Histories, Int32, Int64
from watchnext.inputs import UserInputs
from watchnext.split import Ask, HoldoutName, Split, asked_last, split
from watchnext.tower import UserTower


def test_popularity_ranks_by_training_counts_and_says_what_was_never_seen() -> None:
    histories = Histories.of([[1, 2, 3], [2, 1, 4], [2, 3, 1]])
    cut = split(histories, "leave-one-out")
    counts = TrainingCounts.of(histories, cut.train, 4)  # training sees 1, 2 and 2
    assert counts.watches.tolist() == [0, 1, 2, 0, 0]
    report = evaluate(Popularity(counts.watches), histories, cut, counts, ks=(1,))
    # User 1 has watched 1 and 2: nothing is left, 3 is a miss; user 2's target 4 is unknown; user 3 gets 1: a hit.
    assert report.metrics["hr@1"].tolist() == [0, 0, 1]
    assert (len(report.users), report.targets, report.untrained_targets) == (3, 3, 2)
    assert report.estimates()["hr@1"].value == pytest.approx(1 / 3)
    assert np.isnan(report.metrics["popularity@1"][:2]).all()
    assert report.metrics["popularity@1"][2] == 1
    # Of the trained items 1 and 2, only 1 is on a list.
    assert report.catalogue == {"coverage@1": 0.5, "gini@1": 0.5}


def test_nothing_to_test_is_an_error() -> None:
    histories = Histories.of([[1], [2]])
    cut = split(histories, "leave-one-out")
    counts = TrainingCounts.of(histories, cut.train, 2)
    with pytest.raises(UsageError, match="before and after the cut"):
        evaluate(Popularity(counts.watches), histories, cut, counts)
    with pytest.raises(UsageError, match="before and after the cut"):
        Validator(UserInputs(histories), cut, 10, 0)


def test_users_without_history_are_counted_and_left_out() -> None:
    histories = Histories.of([[1, 2, 3, 1], [3, 2]], [[0, 1, 2, 9], [8, 9]])
    cut = split(histories, "temporal", 0.4)
    counts = TrainingCounts.of(histories, cut.train, 3)
    report = evaluate(Popularity(counts.watches), histories, cut, counts, ks=(1,))
    assert report.users.tolist() == [1]
    assert report.without_history == 1


def test_buckets_by_hand() -> None:
    # Training: item 1 fifteen times, 2 ten times, 3 five times, 6 once, 4 and 5 never. Thirds of 31: 1 | 2 | 3, 6.
    watched = [1] * 15 + [2] * 10 + [3] * 5 + [6]
    histories = Histories.of([[*watched, 4], [5, 1, 2, 3, 4, 6]])
    ask = Ask(np.array([0, 31, 1]), np.array([0, 32, 6]))
    cut = Split(np.array([0, 31, 0]), ask, ask)
    counts = TrainingCounts.of(histories, cut.train, 6)
    assert counts.buckets()[1:].tolist() == [0, 1, 2, 4, 4, 3]
    scores = np.array([[0] * 7, [0, 0, 0, 0, 9, 0, 0], [0, 9, 8, 7, 6, 0, 5]], np.float32)
    report = evaluate(Fixed(scores), histories, cut, counts, ks=(2,))
    found = report.popularity_estimates()
    assert {name: e["recall@2"].value for name, e in found.items()} == {
        "head": 1,
        "middle": 1,
        "tail": 0,
        "rare": 0,
        "untrained": 0.5,
    }
    assert report.targets_by_popularity == {"head": 1, "middle": 1, "tail": 1, "rare": 1, "untrained": 2}
    active = report.activity_estimates()
    assert list(active) == ["1-4", "20-49"]
    assert active["1-4"]["recall@2"].value == 0.4
    assert active["20-49"]["recall@2"].value == 1


def test_the_age_of_lists_is_that_at_the_users_last_visible_watch() -> None:
    day = 86_400
    histories = Histories.of([[1, 2, 3]], [[0, 5 * day, 9 * day]])
    ask = Ask(np.array([0, 2]), np.array([0, 3]))
    counts = TrainingCounts.of(histories, np.array([0, 2]), 3)
    uploaded = np.array([np.nan, 0, 0, 2 * day])
    report = evaluate(
        Fixed(np.ones((2, 4), np.float32)), histories, Split(ask.given, ask, ask), counts, (1,), uploaded
    )
    assert report.metrics["age@1"].tolist() == [3]


def test_reports_are_compared_user_by_user() -> None:
    histories = Histories.of([[1, 2, 3]] * 30)
    cut = split(histories, "leave-one-out")
    counts = TrainingCounts.of(histories, cut.train, 3)
    good, bad = (
        evaluate(Fixed(np.tile(row, (31, 1))), histories, cut, counts, (1,))
        for row in (np.array([0, 0, 0, 1], np.float32), np.array([0, 0, 0, -np.inf], np.float32))
    )
    assert good.minus(bad)["hr@1"].value == 1
    assert bad.minus(good)["hr@1"].high == -1
    other = Histories.of([[1, 2, 3]] * 29)
    fewer = evaluate(Fixed(np.ones((30, 4), np.float32)), other, split(other, "leave-one-out"), counts, (1,))
    with pytest.raises(ValueError, match="different users"):
        good.minus(fewer)


def test_validation_asks_for_the_validation_part_only() -> None:
    histories = Histories.of([[1, 2, 3]] * 40)
    scores = np.tile(np.array([0, 0, 9, 8], np.float32), (41, 1))
    found = Validator(UserInputs(histories), split(histories, "leave-one-out"), 10, 0).judge(Fixed(scores))
    assert found["hr@10"] == found["ndcg@10"] == found["mrr@10"] == found["map@10"] == found["recall@50"] == 1
    assert len(Validator(UserInputs(histories), split(histories, "last"), 10, 0).users) == 10
    scores[:, 2] = np.nan
    assert (
        Validator(UserInputs(histories), split(histories, "leave-one-out"), 10, 0).judge(Fixed(scores))["hr@10"] == 0
    )


class Timekeeper:
    """Knows the times of all watches, and notes the latest that it may look at for each user."""

    def __init__(self, histories: Histories) -> None:
        self.histories, self.latest = histories, dict[int, int]()

    def scores(self, users: Int32, ends: Int64) -> Float32:
        for user, end in zip(users.tolist(), ends.tolist(), strict=True):
            self.latest[user] = max(self.histories.times_of(user)[:end].tolist())
        return np.ones((len(users), 2), np.float32)


@given(
    st.lists(st.lists(st.integers(0, 20), min_size=1, max_size=12).map(sorted), min_size=1, max_size=8),
    st.sampled_from(get_args(HoldoutName)),
)
def test_a_scorer_is_never_given_a_watch_from_after_what_is_asked_for(
    times: list[list[int]], holdout: HoldoutName
) -> None:
    histories = Histories.of([[1] * len(t) for t in times], times)
    cut = split(histories, holdout, 0.3)
    histories = asked_last(histories, cut, holdout)
    for ask in (cut.valid, cut.test):
        users = np.flatnonzero(ask.anything & (ask.given > 0)).astype(np.int32)
        if not len(users):
            continue
        scorer = Timekeeper(histories)
        rank(scorer, histories, ask, users, 1)
        for user in users.tolist():
            asked = histories.times_of(user)[ask.given[user] : ask.until[user]]
            assert scorer.latest[user] <= asked.min()


@given(st.lists(st.integers(1, 9), min_size=2, max_size=8), st.lists(st.integers(1, 9), min_size=8, max_size=8))
def test_the_model_scores_the_same_whatever_comes_later(history: list[int], other: list[int]) -> None:
    rng = np.random.default_rng(0)
    config = ModelConfig(dim=4, tower=(), history=5, encoder="mean")
    weights = {"kernel_out": (4, 4), "bias_out": (4,), "residual": (1,)}
    watched, items = (rng.normal(size=(10, 4)).astype(np.float32) for _ in range(2))
    drawn = {name: rng.normal(size=shape).astype(np.float32) for name, shape in weights.items()}
    tower = UserTower(config, FeatureSpec(), watched, drawn)
    seen = len(history) // 2
    first, second = (
        VectorScorer(items, tower, UserInputs(Histories.of([row]))).scores(np.array([1], np.int32), np.array([seen]))
        for row in (history, history[:seen] + other)
    )
    assert np.allclose(first, second, rtol=0, atol=1e-6)  # sums may round differently in another place of memory
