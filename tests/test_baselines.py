"""Baselines against answers by hand, on worlds of a few items."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from evaluation.baselines import BASELINES, tune
from evaluation.baselines.ease import Ease, EaseSettings
from evaluation.baselines.ials import Ials, IalsScorer, IalsSettings
from evaluation.baselines.item2vec import Item2vec, Item2vecSettings, Item2vecTraining
from evaluation.baselines.item_knn import ItemKnn, ItemKnnSettings
from evaluation.baselines.popularity import RecentPopularity, RecentPopularitySettings
from evaluation.scorers import Popularity, Scorer
from watchnext.errors import TrainingError, UsageError
from watchnext.histories import Histories, Int64

DAY = 24 * 60 * 60


def everything(histories: Histories) -> Int64:
    return histories.lengths


def scores(scorer: Scorer, user: int, end: int) -> list[float]:
    """The scores for the first `end` watches of one user."""
    row: list[float] = scorer.scores(np.array([user], np.int32), np.array([end]))[0].tolist()
    return row


def checkerboard(users: int = 40, items: int = 20) -> Histories:
    """Users of even numbers have watched all items of even numbers but two, odd ones the odd; in random order."""
    rng = np.random.default_rng(3)
    own = [[i for i in range(1, items + 1) if i % 2 == u % 2] for u in range(1, users + 1)]
    return Histories.of([rng.permutation(row)[:-2].tolist() for row in own])


@pytest.mark.parametrize("name", ["item-knn", "ease", "ials", "gensim-item2vec"])
def test_on_a_checkerboard_everybody_gets_the_own_colour(name: str) -> None:
    histories = checkerboard()
    baseline = BASELINES[name]
    scorer = baseline.fit(histories, everything(histories), 20, baseline.grid[0], 0)
    users = np.arange(1, 41, dtype=np.int32)
    found = scorer.scores(users, histories.lengths[users])
    for user, row in zip(users.tolist(), found, strict=True):
        row[histories[user]] = -np.inf
        assert sorted(np.argsort(row)[-2:] % 2) == [user % 2] * 2


def test_recent_popularity_counts_the_days_before_the_users_last_watch() -> None:
    rows = [[1, 2], [1, 3], [2, 3, 3]]
    times = [[0, 10 * DAY], [1 * DAY, 11 * DAY], [9 * DAY, 11 * DAY, 20 * DAY]]
    histories = Histories.of(rows, times)
    both = RecentPopularitySettings(days=2, until="user"), RecentPopularitySettings(days=2, until="end")
    fitted = [RecentPopularity().fit(histories, everything(histories), 4, settings, 0) for settings in both]
    # Up to day 10 and after day 8: 2 and 2. Up to day 11 and after day 9: 2, 3 and 3. Up to day 1: 1 and 1.
    assert scores(fitted[0], 1, 2) == [-np.inf, 0, 2, 0, -np.inf]
    assert scores(fitted[0], 2, 2) == [-np.inf, 0, 1, 2, -np.inf]
    assert scores(fitted[0], 2, 1) == [-np.inf, 2, 0, 0, -np.inf]
    together = fitted[0].scores(np.array([2, 1, 2], np.int32), np.array([2, 2, 1]))
    assert together[:, 1:4].tolist() == [[0, 1, 2], [0, 2, 0], [2, 0, 0]]
    assert scores(fitted[1], 1, 2) == [-np.inf, 0, 0, 1, -np.inf]
    assert scores(fitted[0], 1, 0) == scores(fitted[1], 1, 0)  # nothing seen: as of the end of training


def test_recent_popularity_is_popularity_where_there_is_order_only() -> None:
    histories = Histories.of([[1, 2, 3], [1, 2], [2, 1, 2]])
    for settings in RecentPopularity.grid:
        scorer = RecentPopularity().fit(histories, everything(histories), 4, settings, 0)
        assert isinstance(scorer, Popularity)
        assert scores(scorer, 1, 3) == [-np.inf, 3, 4, 1, -np.inf]


def test_cosines_and_shrinkage_by_hand() -> None:
    # Item 1 has the watchers 1, 2, 3, 4; item 2 has 1; item 3 has 1, 2. The second watch of 1 does not count.
    histories = Histories.of([[1, 2, 3, 1], [1, 3], [1], [1]])
    plain, shrunk, one = (
        ItemKnn().fit(histories, everything(histories), 4, ItemKnnSettings(neighbours=k, shrinkage=h), 0)
        for k, h in ((4, 0), (4, 2), (1, 0))
    )
    # s[1, 2] = 1 / sqrt(4 * 1), s[1, 3] = 2 / sqrt(4 * 2), s[2, 3] = 1 / sqrt(1 * 2)
    assert scores(plain, 3, 1) == pytest.approx([-np.inf, 0, 1 / 2, 2 / 8**0.5, -np.inf])
    assert scores(plain, 1, 3) == pytest.approx(
        [-np.inf, 1 / 2 + 2 / 8**0.5, 1 / 2 + 1 / 2**0.5, 2 / 8**0.5 + 1 / 2**0.5, -np.inf]
    )
    assert scores(shrunk, 3, 1) == pytest.approx([-np.inf, 0, 1 / 4, 2 / (8**0.5 + 2), -np.inf])
    # With one neighbour item 2 keeps 3 (.71 > .5), item 3 keeps 1 or 2 (equal: the first), item 1 keeps 3.
    assert scores(one, 1, 3) == pytest.approx([-np.inf, 2 / 8**0.5, 1 / 2**0.5, 2 / 8**0.5, -np.inf])


def test_watches_of_users_who_watch_everything_weigh_nothing_by_idf() -> None:
    histories = Histories.of([[1, 2, 3, 4], [1, 2], [3]])
    scorer = ItemKnn().fit(histories, everything(histories), 4, ItemKnnSettings(weighting="idf"), 0)
    # User 1 has all 4 items, idf log(4 / 4) = 0: 1 and 2 share user 2 alone, 4 has no other watcher at all.
    assert scores(scorer, 2, 1) == pytest.approx([-np.inf, 0, 1, 0, 0], abs=1e-6)


def test_ease_solves_its_constrained_least_squares() -> None:
    rng = np.random.default_rng(0)
    watched = rng.random((30, 8)) < 0.4
    watched[:, 6] = False  # item 7 is never watched
    histories = Histories.of([(np.flatnonzero(row) + 1).tolist() for row in watched])
    scorer = Ease().fit(histories, everything(histories), 8, EaseSettings(regularisation=5.0), 0)
    x = watched.astype(float)
    expected = np.zeros((8, 8))
    for item in range(8):  # ridge regression of each item on the others: the diagonal stays 0
        others = [i for i in range(8) if i != item]
        a = np.concatenate([x[:, others], 5**0.5 * np.eye(7)])
        expected[others, item] = np.linalg.lstsq(a, np.concatenate([x[:, item], np.zeros(7)]))[0]
    users = np.arange(1, 31, dtype=np.int32)
    found = scorer.scores(users, histories.lengths[users])
    seen = [i for i in range(8) if i != 6]
    np.testing.assert_allclose(found[:, 1:][:, seen], (x @ expected)[:, seen], atol=1e-5)
    assert (found[:, [0, 7]] == -np.inf).all()


def test_ease_in_several_blocks_is_ease_in_one(monkeypatch: pytest.MonkeyPatch) -> None:
    histories = checkerboard()
    one = Ease().fit(histories, everything(histories), 20, EaseSettings(), 0)
    monkeypatch.setattr("evaluation.baselines.ease.BLOCK", 7)
    np.testing.assert_array_equal(
        Ease().fit(histories, everything(histories), 20, EaseSettings(), 0).weights, one.weights
    )


def test_ease_refuses_what_does_not_fit_into_memory() -> None:
    histories = Histories.of([[1, 2, 3]])
    with pytest.raises(UsageError, match=r"3 items.*at most 2 items"):
        Ease(memory=60).fit(histories, everything(histories), 3, EaseSettings(), 0)


def test_ials_folds_trained_users_in_where_they_were() -> None:
    histories = checkerboard()
    settings = IalsSettings(factors=8, regularisation=1.0, alpha=5.0, iterations=50)
    scorer = Ials().fit(histories, everything(histories), 20, settings, 0)
    assert isinstance(scorer, IalsScorer)
    users = np.arange(1, 41, dtype=np.int32)
    trained, folded = scorer.model.user_factors[1:], scorer.user_factors(users, histories.lengths[users])
    np.testing.assert_allclose(folded, trained, atol=0.02 * np.abs(trained).max())
    # and they solve (Y'Y + (alpha - 1) Y_u'Y_u + regularisation I) x = alpha Y_u'1
    y = scorer.model.item_factors.astype(float)
    own = y[histories[1]]
    direct = np.linalg.solve(y.T @ y + 4 * own.T @ own + np.eye(8), 5 * own.sum(0))
    np.testing.assert_allclose(folded[0], direct, atol=1e-4)


def circle(items: int, users: int, length: int) -> Histories:
    """Everybody walks around a circle of items, from a random place, one item further with each watch."""
    starts = np.random.default_rng(1).integers(0, items, users)
    return Histories.of([((start + np.arange(length)) % items + 1).tolist() for start in starts])


def test_item2vec_finds_the_neighbours_on_a_circle() -> None:
    histories = circle(items=30, users=200, length=20)
    training = Item2vecTraining(dim=16, window=1, epochs=20, negatives=5)
    scorer = Item2vec().fit(histories, everything(histories), 31, Item2vecSettings(training=training, last=1), 0)
    for user in range(1, 20):
        last = histories[user][9] - 1
        best = np.argsort(scores(scorer, user, 10))[-2:] - 1
        assert set(best.tolist()) == {(last - 1) % 30, (last + 1) % 30}


def test_item2vec_of_shuffled_histories_knows_no_order() -> None:
    # Two circles side by side: shuffled, everything of the own circle is equally near.
    one = circle(items=15, users=200, length=15)
    rows = [(one[u] + 15 * (u % 2)).tolist() for u in range(1, 201)]
    histories = Histories.of(rows)
    training = Item2vecTraining(order="shuffled", dim=16, window=5, epochs=20, negatives=5)
    settings = Item2vecSettings(training=training, last=1)
    scorer = Item2vec().fit(histories, everything(histories), 30, settings, 0)
    neighbours = 0
    for user in range(1, 101):
        row = np.array(scores(scorer, user, 8))
        last = rows[user - 1][7]
        row[last] = -np.inf
        best = np.argsort(row)[-10:]
        assert ((best - 1) // 15 == user % 2).all()
        neighbours += sum((item - last) % 15 in {1, 14} for item in best.tolist())
    assert neighbours / 1000 == pytest.approx(2 / 14, abs=0.05)  # 2 of the 14 others of the circle


def test_one_seed_gives_one_item2vec_in_every_process() -> None:
    histories, baseline = checkerboard(), BASELINES["gensim-item2vec"]
    here: Any = baseline.fit(histories, everything(histories), 20, baseline.grid[0], 7)
    code = (
        "from tests.test_baselines import BASELINES, checkerboard\n"
        "h, b = checkerboard(), BASELINES['gensim-item2vec']\n"
        "print(b.fit(h, h.lengths, 20, b.grid[0], 7).item_vectors.tobytes().hex())"
    )
    there = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | {"PYTHONHASHSEED": "1"},
        cwd=Path(__file__).parent.parent,
        capture_output=True,
        text=True,
        check=True,
    )
    assert there.stdout.strip() == here.item_vectors.tobytes().hex()
    assert there.stderr == ""


def test_tuning_keeps_the_best_of_the_grid() -> None:
    histories = checkerboard()
    judged: list[Scorer] = []
    values = [1.0, 3.0, float("nan"), 3.0, 2.0]

    def judge(scorer: Scorer) -> float:
        judged.append(scorer)
        return values[len(judged) - 1]

    steps: list[tuple[int, int]] = []
    tuned = tune(Ease(), histories, everything(histories), 20, judge, lambda *step: steps.append(step))
    assert tuned.settings == Ease.grid[1]
    assert tuned.scorer is judged[1]
    assert tuned.score == 3
    assert [trial.settings for trial in tuned.trials] == list(Ease.grid)
    np.testing.assert_equal([trial.score for trial in tuned.trials], values)
    assert steps == [(n, 5) for n in range(1, 6)]


def test_nan_never_wins_a_tuning() -> None:
    histories = checkerboard()
    values = iter([float("nan"), 1.0, 0.5, float("nan"), 0.0])
    assert tune(Ease(), histories, everything(histories), 20, lambda _: next(values)).score == 1


@pytest.mark.parametrize("name", ["ease", "gensim-item2vec"])
def test_a_shared_fit_is_a_fit(name: str) -> None:
    histories, baseline = checkerboard(), BASELINES[name]
    ends, users = everything(histories) - (everything(histories) > 0), np.arange(1, 41, dtype=np.int32)
    grid = [baseline.grid[0], *baseline.grid[-2:]]
    for settings, shared in zip(grid, baseline.fit_each(histories, ends, 20, grid, 0), strict=True):
        alone = baseline.fit(histories, ends, 20, settings, 0)
        np.testing.assert_array_equal(shared.scores(users, ends[users]), alone.scores(users, ends[users]))


@pytest.mark.parametrize("name", BASELINES)
def test_nothing_to_train_on_is_an_error(name: str) -> None:
    baseline: Any = BASELINES[name]
    with pytest.raises(TrainingError, match="watches to train on: got 0"):
        baseline.fit(Histories.of([[1, 2]]), np.zeros(2, np.int64), 2, baseline.grid[0], 0)


@pytest.mark.parametrize(
    ("name", "module"), [("ials", "implicit.cpu.als"), ("gensim-item2vec", "gensim.models.word2vec")]
)
def test_a_missing_library_is_named_with_its_cure(name: str, module: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    histories, baseline = checkerboard(), BASELINES[name]
    with pytest.raises(UsageError, match=r"no module '(implicit|gensim)'.*pip install watchnext\[baselines\]"):
        baseline.fit(histories, everything(histories), 20, baseline.grid[0], 0)


def test_importing_the_baselines_loads_no_optional_library() -> None:
    code = "import sys, evaluation.baselines; print({'implicit', 'gensim', 'tensorflow'} & set(sys.modules))"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "set()"


def test_every_baseline_is_documented() -> None:
    page = (Path(__file__).parent.parent / "docs" / "baselines.md").read_text()
    for name, baseline in BASELINES.items():
        assert f"`{name}`" in page
        assert 1 <= len(baseline.grid) <= 12
        assert len(set(baseline.grid)) == len(baseline.grid)
