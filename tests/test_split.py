"""Splits never look ahead, and hold back what their rules say."""

from typing import get_args

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from watchnext.errors import UsageError
from watchnext.histories import Histories
from watchnext.split import Ask, HoldoutName, Split, asked_last, split

logs = st.lists(st.lists(st.integers(0, 20), max_size=12).map(sorted), min_size=1, max_size=12)
rules = st.sampled_from(get_args(HoldoutName))
shares = st.floats(0.01, 0.49)


def cut_of(times: list[list[int]], holdout: HoldoutName, share: float, seed: int = 0) -> tuple[Histories, Split]:
    """A split of histories whose items are 0, 1, 2, ..., and the histories that its prefixes are of."""
    histories = Histories.of([list(range(len(t))) for t in times], times)
    cut = split(histories, holdout, share, seed)
    return asked_last(histories, cut, holdout, seed), cut


@given(logs, rules, shares, st.integers(0, 3))
def test_no_input_holds_a_watch_from_after_what_is_asked_for(
    times: list[list[int]], holdout: HoldoutName, share: float, seed: int
) -> None:
    histories, cut = cut_of(times, holdout, share, seed)
    for ask in (cut.valid, cut.test):
        assert ((ask.given >= 0) & (ask.given <= ask.until) & (ask.until <= histories.lengths)).all()
        for user in range(len(times) + 1):
            watched = histories.times_of(user).tolist()
            assert watched == sorted(watched)
            visible, asked = watched[: ask.given[user]], watched[ask.given[user] : ask.until[user]]
            assert not visible or not asked or max(visible) <= min(asked)
            # Training has seen none of the watches that are asked for.
            assert not asked or cut.train[user] <= ask.given[user]
    both = cut.valid.anything & cut.test.anything
    assert (cut.valid.until[both] <= cut.test.given[both]).all()


@given(logs, shares)
def test_temporal_trains_before_validation_before_the_test(times: list[list[int]], share: float) -> None:
    _, cut = cut_of(times, "temporal", share)
    rows = [[], *times]
    trained = [t for u, row in enumerate(rows) for t in row[: cut.train[u]]]
    validated, tested = (
        [t for u, row in enumerate(rows) for t in row[ask.given[u] : ask.until[u]]] for ask in (cut.valid, cut.test)
    )
    assert len(trained) + len(validated) + len(tested) == sum(len(t) for t in times)
    for earlier, later in ((trained, validated), (validated, tested), (trained, tested)):
        assert not earlier or not later or max(earlier) < min(later)


@given(logs, st.sampled_from(["users", "users-random"]), shares, st.integers(0, 3))
def test_held_out_users_are_not_trained_on(
    times: list[list[int]], holdout: HoldoutName, share: float, seed: int
) -> None:
    histories, cut = cut_of(times, holdout, share, seed)
    n = histories.lengths
    held = cut.valid.anything | cut.test.anything
    assert not (cut.valid.anything & cut.test.anything).any()
    assert (cut.train[held] == 0).all()
    assert (cut.train[~held] == n[~held]).all()
    eligible = int((n >= 5).sum())
    part = -(-eligible * share // 1) if eligible > 2 else 0  # rounded up
    assert cut.test.anything.sum() == part
    for ask in (cut.valid, cut.test):
        for user in np.flatnonzero(ask.anything).tolist():
            assert n[user] >= 5
            assert ask.given[user] == n[user] * 8 // 10
            assert ask.until[user] == n[user]


@given(logs, rules, shares, st.integers(0, 3))
def test_what_is_asked_for_moves_to_the_end_and_all_else_stays_in_order(
    times: list[list[int]], holdout: HoldoutName, share: float, seed: int
) -> None:
    histories, cut = cut_of(times, holdout, share, seed)
    for user, log in enumerate([[], *times]):
        items, given_ = histories[user].tolist(), int(min(cut.valid.given[user], cut.test.given[user]))
        assert sorted(items) == list(range(len(log)))
        for part in (items[:given_], items[given_:]):
            assert part == sorted(part)
        assert histories.times_of(user)[:given_].tolist() == [log[item] for item in items[:given_]]
        if holdout == "users-random":
            assert set(histories.times_of(user)[given_:].tolist()) <= {log[-1] if log else None}
        else:
            assert items == list(range(len(log)))


def test_every_watch_is_asked_for_alike() -> None:
    histories, cut = cut_of([list(range(10))] * 4000, "users-random", 0.25)
    asked = np.concatenate([histories[user][8:] for user in np.flatnonzero(cut.test.anything).tolist()])
    counts = np.bincount(asked, minlength=10)
    assert counts.sum() == 2 * 1000
    assert (abs(counts - 200) < 5 * np.sqrt(200 * 0.8)).all()  # five standard errors of a fifth of 1,000 users
    drawn = [cut_of([list(range(10))] * 50, "users-random", 0.25, seed)[0].items.tolist() for seed in (1, 1, 2)]
    assert drawn[0] == drawn[1] != drawn[2]


def test_held_out_users_are_drawn_by_the_seed() -> None:
    times = [list(range(6))] * 100
    drawn = [np.flatnonzero(cut_of(times, "users", 0.1, seed)[1].test.anything).tolist() for seed in (1, 1, 2)]
    assert drawn[0] == drawn[1] != drawn[2]
    assert [len(users) for users in drawn] == [10, 10, 10]


def test_leave_one_out_positions_by_hand() -> None:
    cut = split(Histories.of([[1, 2, 3, 4], [1, 2], []]), "leave-one-out")
    assert cut.train.tolist() == [0, 2, 2, 0]
    assert (cut.valid.given.tolist(), cut.valid.until.tolist()) == ([0, 2, 2, 0], [0, 3, 2, 0])
    assert (cut.test.given.tolist(), cut.test.until.tolist()) == ([0, 3, 2, 0], [0, 4, 2, 0])


def test_last_and_none_leave_no_test() -> None:
    histories = Histories.of([[1, 2, 3], [1]])
    for holdout, train in (("last", [0, 2, 1]), ("none", [0, 3, 1])):
        cut = split(histories, holdout)  # type: ignore[arg-type]
        assert cut.train.tolist() == train
        assert not cut.test.anything.any()
        assert cut.valid.anything.sum() == (holdout == "last")


@pytest.mark.parametrize("holdout", ["temporal", "users"])
def test_an_impossible_share_is_refused(holdout: HoldoutName) -> None:
    with pytest.raises(UsageError, match=r"below 0\.5"):
        cut_of([[1, 2]], holdout, 0.5)


def test_an_ask_says_of_whom() -> None:
    assert Ask(np.array([0, 2, 3]), np.array([0, 3, 3])).anything.tolist() == [False, True, False]
