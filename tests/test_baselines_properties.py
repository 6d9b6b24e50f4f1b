"""What holds for every baseline: no later watch is seen, only trained items are recommended, threads do not mix."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import cache
from typing import Any, cast

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evaluation.baselines import BASELINES
from evaluation.baselines.ials import IalsSettings
from evaluation.baselines.item2vec import Item2vecSettings, Item2vecTraining
from evaluation.scorers import Scorer
from watchnext.histories import Histories, Int64

ITEMS, USERS, LENGTH = 12, 8, 10
DAY = 24 * 60 * 60
QUICK: dict[str, Any] = {
    "ials": IalsSettings(factors=4, iterations=2),
    "gensim-item2vec": Item2vecSettings(training=Item2vecTraining(dim=4, epochs=1, negatives=2)),
}


def log(seed: int) -> Histories:
    """Random watches over some 100 days; items 11 and 12 are watched late only."""
    rng = np.random.default_rng(seed)
    rows = rng.integers(1, ITEMS - 1, (USERS, LENGTH))
    rows[:, LENGTH // 2 :] = rng.integers(1, ITEMS + 1, (USERS, LENGTH - LENGTH // 2))
    return Histories.of(rows.tolist(), np.sort(rng.integers(0, 100 * DAY, (USERS, LENGTH))).tolist())


def trained_on(histories: Histories) -> Int64:
    """Half of each history, and nothing of the last two users."""
    ends = histories.lengths // 2
    ends[-2:] = 0
    return ends


def fit(name: str, histories: Histories, seed: int = 0) -> Scorer:
    baseline = BASELINES[name]
    return baseline.fit(histories, trained_on(histories), ITEMS, QUICK.get(name, baseline.grid[0]), seed)


@cache
def fitted(name: str) -> tuple[Histories, Scorer]:
    histories = log(0)
    return histories, fit(name, histories)


def changed_after(histories: Histories, ends: Int64, seed: int) -> Histories:
    """The same histories with other items and later times from position `ends` on."""
    rng = np.random.default_rng(seed)
    items, times = histories.items.copy(), histories.times.copy()
    for user in range(1, len(histories)):
        later = slice(histories.offsets[user] + ends[user], histories.offsets[user + 1])
        items[later] = rng.integers(1, ITEMS + 1, len(items[later]))
        times[later] += rng.integers(0, 1000 * DAY)
    return Histories(items, times, histories.offsets)


@pytest.mark.parametrize("name", BASELINES)
@settings(max_examples=15)
@given(st.integers(0, 2**32 - 1), st.lists(st.integers(0, LENGTH), min_size=USERS, max_size=USERS))
def test_no_scorer_looks_at_a_watch_beyond_the_visible(name: str, seed: int, visible: list[int]) -> None:
    histories, scorer = fitted(name)
    ends = np.array([0, *visible], np.int64)
    users = np.arange(1, USERS + 1, dtype=np.int32)
    # What may be seen, in training or now, stays; everything else is replaced before the fit.
    other = changed_after(histories, np.maximum(ends, trained_on(histories)), seed)
    np.testing.assert_array_equal(scorer.scores(users, ends[users]), fit(name, other).scores(users, ends[users]))


@pytest.mark.parametrize("name", [name for name in BASELINES if name != "popularity"])
def test_a_visible_prefix_may_be_shorter_than_what_was_trained_on(name: str) -> None:
    """Of the own history only the visible part counts, also where training has seen more of it."""
    histories, scorer = fitted(name)
    users = np.array([1], np.int32)
    hidden = changed_after(histories, np.ones(USERS + 1, np.int64), 1)
    blind = replace(cast(Any, scorer), histories=hidden)
    np.testing.assert_array_equal(scorer.scores(users, np.array([1])), blind.scores(users, np.array([1])))


@pytest.mark.parametrize("name", BASELINES)
def test_only_items_that_training_saw_are_recommended(name: str) -> None:
    histories, scorer = fitted(name)
    users = np.arange(1, USERS + 1, dtype=np.int32)
    seen = {int(i) for u in users[:-2] for i in histories[u][: LENGTH // 2]}
    for ends in (histories.lengths, trained_on(histories), np.zeros(USERS + 1, np.int64)):
        found = scorer.scores(users, ends[users])
        assert found.shape == (USERS, ITEMS + 1)
        assert found.dtype == np.float32
        recommended = set(np.flatnonzero((found > -np.inf).all(0)).tolist())
        assert recommended == seen
        assert set(np.flatnonzero((found == -np.inf).all(0)).tolist()) == set(range(ITEMS + 1)) - seen


@pytest.mark.parametrize("name", [name for name in BASELINES if "popularity" not in name])
def test_users_that_were_not_trained_on_are_folded_in(name: str) -> None:
    """A new user gets what a trained user with the same history gets, and another for another history."""
    rows = [[1, 2, 3, 4], [5, 6, 7, 8]] * 10
    histories = Histories.of([*rows, [1, 2, 3, 4], [5, 6, 7, 8]])
    ends = histories.lengths.copy()
    ends[-2:] = 0
    baseline = BASELINES[name]
    scorer = baseline.fit(histories, ends, 8, QUICK.get(name, baseline.grid[0]), 0)
    found = scorer.scores(np.array([1, 2, 21, 22], np.int32), np.array([3, 3, 3, 3]))
    np.testing.assert_allclose(found[2:], found[:2], rtol=1e-5)
    assert not np.allclose(found[2, 1:], found[3, 1:])


@pytest.mark.parametrize("name", BASELINES)
def test_scores_are_the_same_from_several_threads_at_once(name: str) -> None:
    histories, scorer = fitted(name)
    blocks = [np.roll(np.arange(1, USERS + 1, dtype=np.int32), n)[:5] for n in range(40)]
    alone = [scorer.scores(block, histories.lengths[block]) for block in blocks]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda block: scorer.scores(block, histories.lengths[block]), blocks))
    for one, other in zip(alone, together, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("name", BASELINES)
def test_a_seed_gives_one_result(name: str) -> None:
    histories, scorer = fitted(name)
    users = np.arange(1, USERS + 1, dtype=np.int32)
    again = fit(name, histories).scores(users, histories.lengths[users])
    np.testing.assert_array_equal(scorer.scores(users, histories.lengths[users]), again)
