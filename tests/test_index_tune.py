"""The search for the least effort, and the spaces that FAISS searches in."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from index.faiss_index import FaissIndex
from index.kinds import Kind
from index.recall import Sample, recall_of_each
from index.spaces import SPACES, Space, items_in, metric, queries_in, skew
from index.trial import Effort
from index.tune import Point, bisected, filtered_steps, harder, measured
from tests.proposals import recorded
from tests.worlds import vectors
from watchnext.features import Float32

INDEX = FaissIndex.build(vectors(60, 4, 0), Kind("IVF2,Flat"), {"nprobe": 10})


def point(recall: float, microseconds: float = 1) -> Point:
    return Point(INDEX, recall, 0.0, microseconds)


@given(least=st.integers(1, 50), needed=st.integers(1, 3000), most=st.integers(50, 3000))
def test_the_least_effort_is_found_to_a_few_percent(least: int, needed: int, most: int) -> None:
    asked: list[int] = []

    def at(effort: int) -> Point:
        asked.append(effort)
        return point(min(1.0, effort / needed))

    found = list(bisected(at, least, most, target=1.0))
    enough = [effort for effort in asked if effort >= needed]
    assert len(found) == len(asked) <= 25
    assert all(least <= effort <= most for effort in asked)
    if needed > most:
        assert not enough
        assert max(asked) == most
    else:
        assert min(enough) <= max(least, needed * 1.06 + 1)


def test_a_slow_search_is_given_up() -> None:
    found = list(bisected(lambda effort: point(0.5, microseconds=effort), 1, 10_000, 0.9, slow=100))
    assert [p.microseconds for p in found] == [1, 2, 4, 8, 16, 32, 64, 128]


def test_a_target_is_reached_only_with_a_margin() -> None:
    assert Point(INDEX, 0.99, 0.0, 1).reaches(0.99)
    assert not Point(INDEX, 0.99, 0.001, 1).reaches(0.99)
    assert not Point(INDEX, 0.9911, 0.001, 1).reaches(0.99)  # of two samples together 1.56 standard errors
    assert Point(INDEX, 0.9912, 0.001, 1).reaches(0.99)


def test_two_samples_confirm_a_target_together() -> None:
    lucky = Point(INDEX, 0.995, 0.001, 1)
    assert lucky.confirmed(Point(INDEX, 0.9901, 0.001, 1), 0.99)
    assert not lucky.confirmed(Point(INDEX, 0.9899, 0.001, 1), 0.99)  # what was not tuned on must reach it by itself
    assert not Point(INDEX, 0.991, 0.001, 1).confirmed(Point(INDEX, 0.9911, 0.001, 1), 0.99)
    assert Point(INDEX, 1.0, 0.0, 1).confirmed(Point(INDEX, 1.0, 0.0, 1), 1.0)


def test_a_glance_is_enough_where_the_target_is_far(monkeypatch: pytest.MonkeyPatch) -> None:
    item_vectors = vectors(2000, 4, 0)
    index = FaissIndex.build(item_vectors, Kind("IVF40,Flat"))
    sample = Sample.of(vectors(400, 4, 1)[1:], item_vectors)
    asked: list[int] = []
    search = FaissIndex.search

    def counted(self: FaissIndex, queries: Float32, *args: Any, **kwargs: Any) -> Any:
        asked.append(len(queries))
        return search(self, queries, *args, **kwargs)

    monkeypatch.setattr(FaissIndex, "search", counted)
    few_lists = index.tuned(Effort(search={"nprobe": 2}))
    exact = index.tuned(Effort(search={"nprobe": 40}))
    assert measured(few_lists, sample, 0.99).recall < 0.9
    assert max(asked) == 50
    assert measured(exact, sample, 0.99).recall == 1
    assert max(asked) == 400


def test_more_effort() -> None:
    assert harder(INDEX).effort.search == {"nprobe": 11}


@pytest.mark.parametrize("space", SPACES)
@given(seed=st.integers(0, 1000), dim=st.integers(1, 40))
def test_spaces_keep_the_order_of_what_they_promise(space: Space, seed: int, dim: int) -> None:
    items, queries = vectors(30, dim, seed, skew=1.0)[1:], vectors(4, dim, seed + 1)[1:]
    longest = float(np.linalg.norm(items, axis=1).max())
    placed, asked = items_in(space, items, longest).astype(float), queries_in(space, queries).astype(float)
    if space == "l2":
        near = -((asked[:, None] - placed[None]) ** 2).sum(axis=2)
        np.testing.assert_allclose(np.linalg.norm(placed, axis=1), 1, rtol=1e-5)
        assert placed.shape[1] % 16 == 0
    else:
        near = asked @ placed.T
    dots = queries.astype(float) @ items.T
    if space == "cosine":
        dots /= np.linalg.norm(items, axis=1)
    order = np.argsort(dots, axis=1)
    gaps = np.diff(np.take_along_axis(near, order, axis=1))
    assert (gaps > -1e-4 * np.abs(near).max()).all()
    assert metric(space) == (1 if space == "l2" else 0)


@pytest.mark.parametrize(
    ("lengths", "expected"),
    [
        ([2] * 1001, 1),
        ([1] * 100 + [2] * 900 + [3], 2),  # the longest of all is 1.5 times the median
        ([2] * 1000 + [20], 10),  # one in a thousand is no hundredth, but the best of most queries
        ([1] * 100 + [2] * 800 + [8] * 100 + [9], 8),
    ],
)
def test_skew_of_lengths(lengths: list[float], expected: float) -> None:
    directions = np.random.default_rng(0).normal(size=(len(lengths), 4))
    directions *= np.array(lengths)[:, None] / np.linalg.norm(directions, axis=1, keepdims=True)
    assert skew(directions.astype(np.float32)) == pytest.approx(expected)


def test_recall_of_each_query() -> None:
    item_vectors = np.array([[0], [4], [3], [2], [1]], np.float32)
    queries, exact = np.array([[1], [1], [2]], np.float32), np.array([[4, 3], [4, 3], [8, 6]], np.float32)
    found = np.array([[1, 2], [1, 4], [3, 0]], np.int32)
    assert recall_of_each(found, exact, queries, item_vectors).tolist() == [1.0, 0.5, 0.0]


def test_a_sample_knows_the_exact_answer_among_what_is_allowed() -> None:
    item_vectors, queries = vectors(400, 8, 3), vectors(30, 8, 4)[1:]
    item_vectors[5:50] = 0
    allowed = np.arange(401) % 3 == 0
    for mask in (None, allowed):
        sample = Sample.of(queries, item_vectors, k=10, allowed=mask)
        scores = queries @ item_vectors.T
        scores[:, ~item_vectors.any(axis=1)] = -np.inf
        if mask is not None:
            scores[:, ~mask] = -np.inf
        np.testing.assert_allclose(sample.exact, -np.sort(-scores, axis=1)[:, :10], rtol=1e-5)
        flat = FaissIndex.build(item_vectors, Kind("Flat"))
        assert sample.recall(flat) == (1.0, 0.0)
        assert len(sample.microseconds(flat, flat)) == 2


@pytest.mark.parametrize("kind", ["Flat", "IVF20,Flat"])
def test_one_denied_item_has_no_search_score_all_others(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    item_vectors, queries = vectors(2000, 4, 0), vectors(50, 4, 1)[1:]
    index = FaissIndex.build(item_vectors, Kind(kind), {"nprobe": 20} if kind != "Flat" else {})
    monkeypatch.setattr(Sample, "microseconds", lambda self, *indexes: [1.0] * len(indexes))  # no share is faster
    steps, scan_below = filtered_steps(index, queries, item_vectors, 0.9, 0)
    assert (steps, scan_below) == ((), 1000)
    asked = recorded(monkeypatch)
    tuned = index.tuned(Effort(search=index.effort.search, scan_below=scan_below))
    best = int(np.argmax(item_vectors @ queries[0]))
    allowed = np.arange(2001) != best
    allowed[0] = False
    assert best not in tuned.search(queries[:1], 10, allowed=allowed)[1]
    assert len(asked) == 1
    assert asked[0][0] < 50
    allowed[1001:] = False
    tuned.search(queries[:1], 10, allowed=allowed)
    assert len(asked) == 1


@pytest.mark.parametrize("untrained", [0, 6000])
def test_shares_are_searched_down_to_where_scoring_all_is_as_fast(
    untrained: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    item_vectors, queries = vectors(2000 + untrained, 4, 0), vectors(50, 4, 1)[1:]
    item_vectors[2001:] = 0
    index = FaissIndex.build(item_vectors, Kind("IVF20,Flat"), {"nprobe": 20})
    scans = iter([4.0, 2.0, 1.0])
    monkeypatch.setattr(Sample, "microseconds", lambda self, *indexes: [1.0, next(scans)][: len(indexes)])
    monkeypatch.setattr("index.tune.measured", lambda index, *_: Point(index, 1.0, 0.0, 1.0))
    steps, scan_below = filtered_steps(index, queries, item_vectors, 0.9, 0)
    assert [(step.share, step.scan_microseconds) for step in steps] == [(0.5, 4.0), (0.25, 2.0)]
    assert scan_below == 500 + untrained // 4, "a mask allows a share of all items"
