"""Lists and ranks against sorting every row in Python."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evaluation import ranking as ranking_module
from evaluation.ranking import rank
from tests.scorers import Fixed
from watchnext.features import Float32
from watchnext.histories import Histories, Int32, Int64
from watchnext.split import Ask


def everybody(histories: Histories) -> Int32:
    return np.arange(1, len(histories), dtype=np.int32)


def sorted_lists(table: Float32, histories: Histories, given_: Int64, k: int) -> list[list[int]]:
    """The best k of each user by sorting, filled up with 0."""
    lists = []
    for user, history in enumerate(histories[u].tolist() for u in range(1, len(histories))):
        row = table[user + 1].tolist()
        left = set(range(1, len(row))) - set(history[: given_[user + 1]])
        best = sorted((-row[i], i) for i in left if row[i] > -np.inf)[:k]
        lists.append([i for _, i in best] + [0] * (k - len(best)))
    return lists


def counted_ranks(table: Float32, histories: Histories, ask: Ask, k: int) -> list[tuple[int, int, int, int]]:
    """(user, target, greater, equal) of each target that can be among the first k, by counting."""
    places = []
    for user in range(1, len(histories)):
        history, row = histories[user].tolist(), table[user].tolist()
        left = set(range(1, len(row))) - set(history[: ask.given[user]])
        for target in sorted(set(history[ask.given[user] : ask.until[user]]) & left):
            greater = sum(row[i] > row[target] for i in left)
            if row[target] > -np.inf and greater < k:
                equal = sum(row[i] == row[target] for i in left) - 1
                places.append((user, target, greater, equal))
    return places


@st.composite
def worlds(draw: st.DrawFn) -> tuple[Float32, Histories, Ask]:
    """Scores with ties, NaN and infinities, for one to five users and up to 300 items."""
    items = draw(st.integers(1, 300))
    rows = draw(st.lists(st.lists(st.integers(1, items), max_size=8), min_size=1, max_size=5))
    rng = np.random.default_rng(draw(st.integers(0, 1 << 20)))
    table = rng.normal(size=(len(rows) + 1, items + 1)).astype(np.float32)
    if draw(st.booleans()):
        table = np.round(table * draw(st.integers(0, 2)))
    for value in draw(st.lists(st.sampled_from([np.nan, -np.inf, np.inf]), max_size=3)):
        table[rng.random(table.shape) < draw(st.floats(0, 1))] = value
    histories = Histories.of(rows)
    begin = (histories.lengths * rng.random(len(rows) + 1)).astype(np.int64)
    return table, histories, Ask(begin, histories.lengths)


@given(worlds(), st.integers(1, 12), st.integers(1, 700))
def test_lists_and_ranks_are_those_of_sorting(
    world: tuple[Float32, Histories, Ask], k: int, block_scores: int
) -> None:
    table, histories, ask = world
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ranking_module, "BLOCK_SCORES", block_scores)
        found = rank(Fixed(table), histories, ask, everybody(histories), k)
    assert found.items.tolist() == sorted_lists(table, histories, ask.given, k)
    columns = (found.users[found.row], found.target, found.greater, found.equal)
    places = [tuple(place) for place in np.column_stack(columns)[found.found].tolist()]
    assert places == counted_ranks(table, histories, ask, k)
    asked = [len(set(histories[u][ask.given[u] :].tolist())) for u in range(1, len(histories))]
    assert np.bincount(found.row, minlength=len(asked)).tolist() == asked  # misses stay in the count


def test_ranks_by_hand() -> None:
    # Items 1..5; the user has watched 5 and then 1 and 3; scores of 2 and 3 tie.
    histories = Histories.of([[5, 1, 3]])
    scorer = Fixed(np.array([[0] * 6, [99, 1, 4, 4, 7, 50]], np.float32))
    found = rank(scorer, histories, Ask(np.array([0, 1]), np.array([0, 3])), everybody(histories), 4)
    # 1: above it are 2, 3, 4 (5 is excluded, 0 is padding); 3: above it 4, beside it 2
    assert found.target.tolist() == [1, 3]
    assert found.greater.tolist() == [3, 1]
    assert found.equal.tolist() == [0, 1]
    assert found.items.tolist() == [[4, 2, 3, 1]]
    assert found.only(np.array([False, True])).greater.tolist() == [1]


def test_users_are_told_as_done() -> None:
    histories = Histories.of([[1, 2]] * 1300)
    done: list[int] = []
    ask = Ask(histories.lengths // 2, histories.lengths)
    rank(Fixed(np.ones((1301, 3), np.float32)), histories, ask, everybody(histories), 1, done.append)
    assert sum(done) == 1300
    assert len(done) > 1


def test_an_error_of_the_scorer_is_raised() -> None:
    class Broken(Fixed):
        def scores(self, users: Int32, ends: Int64) -> Float32:
            if 1200 in users:
                raise ZeroDivisionError
            return super().scores(users, ends)

    histories = Histories.of([[1, 2]] * 1300)
    ask = Ask(histories.lengths // 2, histories.lengths)
    with pytest.raises(ZeroDivisionError):
        rank(Broken(np.ones((1301, 3), np.float32)), histories, ask, everybody(histories), 1)
