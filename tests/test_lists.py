"""What lists are like, counted by hand."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evaluation import lists
from evaluation.training import TrainingCounts
from watchnext.histories import Histories

COUNTS = TrainingCounts.of(Histories.of([[1, 1, 2], [1, 2], [1], [1, 3]]), np.array([0, 3, 2, 1, 1]), 4)
"""Item 1 is watched five times by all four users, 2 twice by two, 3 only after the training part, 4 never."""

LISTS = np.array([[1, 2], [2, 3], [0, 0]], np.int32)


def test_training_is_counted_up_to_the_cut() -> None:
    assert COUNTS.watches.tolist() == [0, 5, 2, 0, 0]
    assert COUNTS.viewers.tolist() == [0, 4, 2, 0, 0]
    assert COUNTS.users == 4
    assert COUNTS.buckets()[1:].tolist() == [0, 3, 4, 4]  # item 2 is rare, the last two are untrained


def test_exposure_coverage_and_gini() -> None:
    shown = lists.exposure(LISTS, 4)
    assert shown.tolist() == [0, 1, 2, 1, 0]
    assert lists.coverage(shown[1:]) == 0.75
    # Mean absolute difference of (0, 1, 1, 2) over twice the mean: pairs differ by 1, 1, 2, 0, 1, 1.
    assert lists.gini(shown[1:]) == pytest.approx(2 * 6 / 16 / 2)
    assert np.isnan(lists.gini(np.zeros(3, np.int64)))
    assert np.isnan(lists.coverage(np.zeros(0, np.int64)))


@given(st.lists(st.integers(0, 30), min_size=1, max_size=12).filter(any))
def test_gini_is_half_the_relative_mean_difference(shown: list[int]) -> None:
    difference = np.mean([abs(a - b) for a in shown for b in shown])
    assert lists.gini(np.array(shown)) == pytest.approx(difference / 2 / np.mean(shown), abs=1e-12)


def test_novelty_popularity_and_age() -> None:
    # Shares of users: item 1 all (0 bits), item 2 half (1 bit), item 3 nobody (left out).
    novelty = lists.novelty(LISTS, COUNTS)
    assert novelty[:2].tolist() == [0.5, 1.0]
    popularity = lists.popularity(LISTS, COUNTS)
    assert popularity[:2].tolist() == [3.5, 1.0]
    uploaded = np.array([np.nan, 0, 2, 4, np.nan]) * lists.DAY
    age = lists.age(LISTS, uploaded, np.array([10, 4, 4]) * lists.DAY)
    assert age[:2].tolist() == [9.0, 1.0]
    assert np.isnan([novelty[2], popularity[2], age[2]]).all()  # an empty list
