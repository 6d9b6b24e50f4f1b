"""Searching for blocks of users finds exactly what sorting all scores finds, whatever the threshold guessed."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from index import batch
from index.batch import BatchSearch
from watchnext.features import Float32
from watchnext.histories import Int32, Int64


def sorted_scores(
    item_vectors: Float32, numbers: Int32, queries: Float32, k: int, watched: list[list[int]]
) -> tuple[list[list[float]], list[list[int]]]:
    """Scores and numbers by plain sorting in Python."""
    scores, found = [], []
    for query, seen in zip(queries.tolist(), watched, strict=True):
        left = set(numbers.tolist()) - set(seen)
        best = sorted((-sum(a * b for a, b in zip(item_vectors[n].tolist(), query, strict=True)), n) for n in left)[
            :k
        ]
        scores.append([-score for score, _ in best] + [-np.inf] * (k - len(best)))
        found.append([n for _, n in best] + [0] * (k - len(best)))
    return scores, found


def flat(watched: list[list[int]]) -> tuple[Int32, Int64]:
    lengths = [len(row) for row in watched]
    return np.array([n for row in watched for n in row], np.int32), np.cumsum([0, *lengths])


def whole(rng: np.random.Generator, rows: int, dim: int, most: int) -> Float32:
    """Vectors of small whole numbers, whose dot products are exact in any order, and often equal."""
    return rng.integers(-most, most + 1, (rows, dim)).astype(np.float32)


@given(
    st.integers(0, 2**32),
    st.integers(1, 60),
    st.integers(0, 9),
    st.integers(1, 70),
    st.sampled_from([1, 3, 1000]),
    st.sampled_from([1, 8, 4096]),
)
def test_all_that_is_found_is_the_best(
    seed: int, items: int, queries: int, k: int, most: int, tile_items: int
) -> None:
    rng = np.random.default_rng(seed)
    vectors, asked = whole(rng, items + 1, 3, most), whole(rng, queries, 3, most)
    numbers = np.flatnonzero(rng.random(items + 1) < 0.8).astype(np.int32)
    numbers = numbers[numbers > 0]
    watched = [rng.integers(1, items + 1, rng.integers(0, items)).tolist() for _ in range(queries)]
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(batch, "TILE_ITEMS", tile_items)
        search = BatchSearch(vectors, numbers)
    scores, found = search.search(asked, k, *flat(watched))
    assert (scores.tolist(), found.tolist()) == sorted_scores(vectors, numbers, asked, k, watched)


@pytest.mark.parametrize("deviations", [-2, 0, 5])
@pytest.mark.parametrize("k", [1, 20, 100])
def test_thresholds_that_were_too_high_are_noticed(
    k: int, deviations: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batch, "TILE_ITEMS", 64)
    monkeypatch.setattr(batch, "DEVIATIONS", deviations)
    again: list[int] = []
    real = BatchSearch._keys

    def keys(self: BatchSearch, queries: Float32, *rest: object) -> object:
        again.append(len(queries))
        return real(self, queries, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(BatchSearch, "_keys", keys)
    rng = np.random.default_rng(0)
    vectors, asked = whole(rng, 3001, 8, 30), whole(rng, 40, 8, 30)
    numbers = np.arange(1, 3001, dtype=np.int32)
    watched = [rng.integers(1, 3001, 50).tolist() for _ in asked]
    scores, found = BatchSearch(vectors, numbers).search(asked, k, *flat(watched))
    assert (scores.tolist(), found.tolist()) == sorted_scores(vectors, numbers, asked, k, watched)
    if k == 100:
        assert again[0] == 40
        assert (sum(again[1:]) > 0) == (deviations < 5)


def test_scores_that_rise_with_every_tile_stay_within_the_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batch, "TILE_ITEMS", 32)
    monkeypatch.setattr(np.random, "default_rng", lambda seed: InOrder())
    vectors = np.arange(1001, dtype=np.float32)[:, None]
    numbers = np.arange(1, 1001, dtype=np.int32)
    asked = np.array([[1], [-1], [0]], np.float32)
    found = BatchSearch(vectors, numbers).search(asked, 40, *flat([[1000], [], [2]]))[1]
    assert found[0].tolist() == list(range(999, 959, -1))
    assert found[1].tolist() == list(range(1, 41))
    assert found[2].tolist() == [1, *range(3, 42)]


class InOrder:
    """Instead of a generator: leaves all in their order."""

    def permutation(self, numbers: Int32) -> Int32:
        return numbers
