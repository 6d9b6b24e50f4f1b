"""Metrics against the definition itself, over all orders of tied items, and against an independent library."""

import json
import os
import subprocess
import sys
from itertools import pairwise, permutations
from math import log2

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evaluation.metrics import ACCURACY, by_user
from evaluation.ranking import Ranking, rank
from tests.scorers import Fixed
from watchnext.features import Float32
from watchnext.histories import Histories
from watchnext.split import Ask


def ranked(table: Float32, targets: list[list[int]], k: int) -> Ranking:
    """The ranking of users whose targets are given; each has watched the last item, which is no target.

    Args:
        table: [users, items + 1] scores.
    """
    watched = table.shape[1] - 1
    histories = Histories.of([[watched, *row] for row in targets])
    ask = Ask(np.minimum(histories.lengths, 1), histories.lengths)
    users = np.arange(1, len(targets) + 1, dtype=np.int32)
    return rank(Fixed(np.concatenate([table[:1], table])), histories, ask, users, k)


def of_order(order: list[int], targets: set[int], k: int) -> dict[str, float]:
    """The metrics of one strict order of items, from their definitions."""
    hits = [item in targets for item in order[:k]]
    ranks = [rank for rank, hit in enumerate(hits, 1) if hit]
    best = sum(1 / log2(rank + 1) for rank in range(1, min(k, len(targets)) + 1))
    precisions = [sum(hits[:rank]) / rank for rank in ranks]
    values = (
        float(bool(ranks)),
        len(ranks) / len(targets),
        len(ranks) / min(k, len(targets)),
        sum(1 / log2(rank + 1) for rank in ranks) / best,
        1 / ranks[0] if ranks else 0.0,
        sum(precisions) / min(k, len(targets)),
    )
    return {f"{name}@{k}": value for name, value in zip(ACCURACY, values, strict=True)}


def over_all_orders(scores: list[float], targets: set[int], k: int) -> dict[str, float]:
    """The mean over all orders of items 1, 2, ... in which no item stands before one of higher score."""
    items = range(1, len(scores) + 1)
    orders = [
        order for order in permutations(items) if all(scores[a - 1] >= scores[b - 1] for a, b in pairwise(order))
    ]
    found = [of_order(list(order), targets, k) for order in orders]
    return {name: float(np.mean([values[name] for values in found])) for name in found[0]}


@given(st.data())
def test_ties_are_the_mean_over_all_orders(data: st.DataObject) -> None:
    scores = data.draw(st.lists(st.integers(0, 2).map(float), min_size=1, max_size=6))
    targets = data.draw(st.sets(st.integers(1, len(scores)), min_size=1))
    k = data.draw(st.integers(1, 7))
    got = by_user(ranked(np.array([[0, *scores, 99]], np.float32), [sorted(targets)], k), k)
    for name, value in over_all_orders(scores, targets, k).items():
        assert got[name][0] == pytest.approx(value, abs=1e-9), name


@given(st.data())
def test_users_do_not_disturb_each_other(data: st.DataObject) -> None:
    users = data.draw(st.integers(1, 6))
    rng = np.random.default_rng(data.draw(st.integers(0, 1 << 20)))
    table = rng.integers(0, 4, (users, 12)).astype(np.float32)
    targets = [sorted(rng.choice(10, rng.integers(1, 5), replace=False) + 1) for _ in range(users)]
    together = by_user(ranked(table, targets, 5), 5)
    for user in range(users):
        alone = by_user(ranked(table[user : user + 1], targets[user : user + 1], 5), 5)
        assert {n: v[user] for n, v in together.items()} == pytest.approx({n: v[0] for n, v in alone.items()})


@pytest.mark.parametrize("k", [1, 3, 10, 25])
@pytest.mark.parametrize("hits", [1, 4])
def test_a_constant_scorer_scores_like_chance(k: int, hits: int) -> None:
    items = 20  # left to recommend
    got = by_user(ranked(np.ones((1, items + 2), np.float32), [list(range(2, 2 + hits))], k), k)
    rng = np.random.default_rng(0)
    shuffled = [of_order(rng.permutation(items).tolist(), set(range(hits)), k) for _ in range(20_000)]
    for name, values in got.items():
        drawn = np.array([metrics[name] for metrics in shuffled])
        assert values[0] == pytest.approx(drawn.mean(), abs=5 * drawn.std() / len(drawn) ** 0.5 + 1e-12), name
    assert got[f"recall@{k}"][0] == pytest.approx(min(k, items) / items, abs=1e-12)


def test_metrics_of_two_tied_items_by_hand() -> None:
    # Best is item 1; 2 and 3 tie for the second place. Targets are 3 and 4, and 4 is behind.
    got = by_user(ranked(np.array([[0, 9, 5, 5, 1, 0]], np.float32), [[3, 4]], 2), 2)
    ideal = 1 + 1 / log2(3)
    wanted = {"hr@2": 0.5, "recall@2": 0.25, "capped_recall@2": 0.25, "ndcg@2": 0.5 / log2(3) / ideal}
    wanted |= {"mrr@2": 0.25, "map@2": 0.125}
    assert {name: values[0] for name, values in got.items()} == pytest.approx(wanted, abs=1e-12)


def test_a_target_watched_before_is_a_miss() -> None:
    histories = Histories.of([[1, 2, 1]])
    scorer = Fixed(np.array([[0, 0, 0], [0, 9, 1]], np.float32))
    found = rank(scorer, histories, Ask(np.array([0, 2]), np.array([0, 3])), np.array([1], np.int32), 2)
    assert {name: values[0] for name, values in by_user(found, 2).items()} == dict.fromkeys(by_user(found, 2), 0)


def test_more_places_than_were_ranked_cannot_be_judged() -> None:
    with pytest.raises(ValueError, match="ranked 2 places, cannot judge 3"):
        by_user(ranked(np.ones((1, 5), np.float32), [[1]], 2), 3)


def ask_ranx(table: Float32, targets: list[list[int]], metrics: list[str]) -> dict[str, dict[str, float]]:
    """What ranx says, by metric and user `u0`, `u1`, ..."""
    question = {
        "qrels": {f"u{u}": {str(i): 1 for i in row} for u, row in enumerate(targets)},
        "run": {f"u{u}": {str(i): float(row[i]) for i in range(1, len(row) - 1)} for u, row in enumerate(table)},
        "metrics": metrics,
    }
    command = [sys.executable, "-m", "tests.ranx_scores"]
    environment = os.environ | {"NUMBA_DISABLE_JIT": "1"}
    done = subprocess.run(
        command, input=json.dumps(question), env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    answer: dict[str, dict[str, float]] = json.loads(done.stdout)
    return answer


def test_ranx_finds_the_same() -> None:
    users, items, k = 60, 40, 10
    rng = np.random.default_rng(5)
    table = rng.permuted(np.tile(np.arange(items + 2, dtype=np.float32), (users, 1)), axis=1)  # no ties
    targets = [sorted((rng.choice(items, rng.integers(1, 15), replace=False) + 1).tolist()) for _ in range(users)]
    got = by_user(ranked(table, targets, k), k)
    names = {"hr": "hit_rate", "recall": "recall", "ndcg": "ndcg", "mrr": "mrr", "map": "map"}
    found = ask_ranx(table, targets, [f"{name}@{k}" for name in names.values()])
    counts = np.array([len(row) for row in targets])
    for ours, theirs in names.items():
        wanted = np.array([found[f"{theirs}@{k}"][f"u{u}"] for u in range(users)])
        if ours == "map":  # ranx divides by all targets, not by those that the list has room for
            wanted = wanted * counts / np.minimum(counts, k)
        assert got[f"{ours}@{k}"] == pytest.approx(wanted, abs=1e-9), ours
