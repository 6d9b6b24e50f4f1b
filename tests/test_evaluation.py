"""Ranks and metrics against counting by hand, ties like chance, and splits that never look ahead."""

from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evaluation.metrics import by_user, estimate
from evaluation.protocol import evaluate
from evaluation.ranking import Ranks, rank_targets
from evaluation.scorers import Popularity
from watchnext.errors import UsageError
from watchnext.features import Float32
from watchnext.histories import Histories, Int32, Int64
from watchnext.split import HoldoutName, split


@dataclass
class Fixed:
    """Scores given as a table: [users + 1, items + 1]."""

    table: Float32

    def scores(self, users: Int32, ends: Int64) -> Float32:
        return self.table[users].copy()


def positions(*values: int) -> Int64:
    return np.array([0, *values], np.int64)


def test_ranks_by_hand() -> None:
    # Items 1..5; the user has watched 5 and then 1 and 3; scores of 2 and 3 tie.
    histories = Histories.of([[5, 1, 3]])
    scorer = Fixed(np.array([[0] * 6, [99, 1, 4, 4, 7, 50]], np.float32))
    ranks = rank_targets(scorer, histories, positions(1), positions(3), np.array([1], np.int32))
    # 1: above it are 2, 3, 4 (5 is excluded, 0 is padding); 3: above it 4, beside it 2
    assert ranks.greater.tolist() == [3, 1]
    assert ranks.equal.tolist() == [0, 1]
    metrics = by_user(ranks, 2)
    assert metrics["recall@2"] == pytest.approx([0.25])  # 3 is second or third with the same chance
    assert metrics["hr@2"] == pytest.approx([0.5])
    gain = 0.5 / np.log2(3)
    assert metrics["ndcg@2"] == pytest.approx([gain / (1 + 1 / np.log2(3))])


def test_a_target_watched_before_is_a_miss() -> None:
    histories = Histories.of([[1, 2, 1]])
    scorer = Fixed(np.array([[0, 0, 0], [0, 9, 1]], np.float32))
    ranks = rank_targets(scorer, histories, positions(2), positions(3), np.array([1], np.int32))
    assert by_user(ranks, 2)["hr@2"].tolist() == [0]


@pytest.mark.parametrize("k", [1, 3, 10])
def test_a_constant_scorer_scores_like_chance(k: int) -> None:
    items = 20
    histories = Histories.of([[2, 1], [3, 4]])
    scorer = Fixed(np.ones((3, items + 1), np.float32))
    ranks = rank_targets(scorer, histories, positions(1, 1), positions(2, 2), np.array([1, 2], np.int32))
    chance = k / (items - 1)  # one item is watched
    assert by_user(ranks, k)[f"hr@{k}"] == pytest.approx([chance, chance])
    discounts = 1 / np.log2(np.arange(k) + 2)
    assert by_user(ranks, k)[f"ndcg@{k}"] == pytest.approx([discounts.sum() / (items - 1)] * 2)


@given(st.integers(0, 30), st.integers(0, 9), st.integers(1, 20))
def test_ties_are_the_mean_over_all_orders(greater: int, equal: int, k: int) -> None:
    ranks = Ranks(np.array([1], np.int32), np.array([greater]), np.array([equal]))
    places = np.arange(greater, greater + equal + 1)
    got = by_user(ranks, k)
    assert got[f"hr@{k}"][0] == pytest.approx((places < k).mean(), abs=1e-12)
    assert got[f"ndcg@{k}"][0] == pytest.approx(np.where(places < k, 1 / np.log2(places + 2), 0).mean(), abs=1e-12)


def test_popularity_ranks_by_training_counts_and_says_what_was_never_seen() -> None:
    histories = Histories.of([[1, 2, 3], [2, 1, 4], [2, 3, 1]])
    cut = split(histories, "leave-one-out")
    counts = np.array([0, 1, 2, 0, 0])  # training sees 1, 2 and 2
    report = evaluate(Popularity(counts), histories, cut, counts, ks=(1,))
    # User 1 has watched 1 and 2: nothing is left, 3 is a miss; user 2's target 4 is unknown; user 3 gets 1: a hit.
    assert report.metrics["hr@1"].value == pytest.approx(1 / 3)
    assert (report.users, report.targets, report.untrained_targets) == (3, 3, 2)


def test_nothing_to_test_is_an_error() -> None:
    histories = Histories.of([[1], [2]])
    with pytest.raises(UsageError, match="before and after the cut"):
        evaluate(Popularity(np.ones(3, np.int64)), histories, split(histories, "leave-one-out"), np.ones(3, np.int64))


def test_the_standard_error_is_that_of_a_mean() -> None:
    value, error = estimate(np.array([0.0, 1.0, 1.0, 0.0]))
    assert value == 0.5
    assert error == pytest.approx(np.sqrt(1 / 3 / 4))
    assert np.isnan(estimate(np.zeros(0)).value)


logs = st.lists(st.lists(st.integers(0, 20), max_size=12).map(sorted), min_size=1, max_size=8)


@given(logs, st.sampled_from(["leave-one-out", "temporal", "last", "none"]), st.floats(0.01, 0.49))
def test_no_part_of_a_split_sees_what_comes_after_it(
    times: list[list[int]], holdout: HoldoutName, share: float
) -> None:
    histories = Histories.of([[1] * len(t) for t in times], times)
    cut = split(histories, holdout, share)
    assert (cut.train <= cut.valid).all()
    assert (cut.valid <= cut.test).all()
    assert (cut.test == histories.lengths).all()
    if holdout == "temporal":
        parts: list[list[int]] = [[], [], []]
        for user in range(len(histories)):
            t = histories.times_of(user).tolist()
            for part, piece in zip(
                parts, (t[: cut.train[user]], t[cut.train[user] : cut.valid[user]], t[cut.valid[user] :]), strict=True
            ):
                part.extend(piece)
        for earlier, later in ((0, 1), (1, 2), (0, 2)):
            if parts[earlier] and parts[later]:
                assert max(parts[earlier]) < min(parts[later])


def test_leave_one_out_positions_by_hand() -> None:
    cut = split(Histories.of([[1, 2, 3, 4], [1, 2], []]), "leave-one-out")
    assert cut.train.tolist() == [0, 2, 2, 0]
    assert cut.valid.tolist() == [0, 3, 2, 0]
    assert cut.test.tolist() == [0, 4, 2, 0]
