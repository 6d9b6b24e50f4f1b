"""Exact and FAISS indexes: right by construction, equal to each other, honest about what they leave out."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from index.exact import ExactIndex
from index.faiss_index import FaissIndex
from index.interface import ItemIndex
from index.kinds import Kind
from index.recall import recall
from index.trial import Effort
from tests.worlds import two_groups, vectors
from watchnext.errors import CorruptError, UsageError
from watchnext.features import Float32

KINDS: list[tuple[Kind, dict[str, int]]] = [
    (Kind("Flat"), {}),
    (Kind("SQfp16"), {"k_factor": 2}),
    (Kind("SQ8", "l2"), {"k_factor": 2}),
    (Kind("IVF8,Flat"), {"nprobe": 2}),
    (Kind("IVF8,SQfp16", "l2"), {"nprobe": 2}),
    (Kind("IVF8,SQ8", "cosine"), {"nprobe": 4, "k_factor": 64}),
    (Kind("IVF8,PQ4x4fs"), {"nprobe": 4, "k_factor": 16}),
    (Kind("IVF8,RaBitQ"), {"nprobe": 4, "k_factor": 16}),
    (Kind("HNSW32"), {"efSearch": 16}),
    (Kind("HNSW16,SQfp16", "l2"), {"efSearch": 16}),
    (Kind("HNSW16,SQ8", "cosine"), {"efSearch": 200, "k_factor": 64}),
]
POSITIONS = range(1 + len(KINDS))


def index_at(position: int, item_vectors: Float32) -> ItemIndex:
    return FaissIndex.build(item_vectors, *KINDS[position - 1]) if position else ExactIndex(item_vectors)


@pytest.mark.parametrize("position", POSITIONS)
def test_finds_the_own_group_in_order(position: int) -> None:
    world = two_groups()
    index = index_at(position, world.item_vectors)
    scores, numbers = index.search(world.user_vectors[[1, 2]], 3)
    assert numbers.tolist() == [[1, 3, 5], [2, 4, 6]]
    np.testing.assert_allclose(scores, [[0.999, 0.997, 0.995], [0.998, 0.996, 0.994]], rtol=1e-6)
    assert scores.dtype == np.float32
    assert numbers.dtype == np.int32


@pytest.mark.parametrize("position", POSITIONS)
def test_leaves_out_and_fills_up(position: int) -> None:
    world = two_groups()
    index = index_at(position, world.item_vectors)
    watched = np.array([1, 3, 7, 3], np.int32)
    none = np.array([], np.int32)
    _, numbers = index.search(world.user_vectors[[1, 1]], 3, [watched, none])
    assert numbers.tolist() == [[5, 9, 11], [1, 3, 5]]


@pytest.mark.parametrize("position", POSITIONS)
def test_k_beyond_the_catalogue(position: int) -> None:
    item_vectors = vectors(300, 8, seed=1)
    item_vectors[[7, 300]] = 0
    index = index_at(position, item_vectors)
    watched = np.arange(10, 295, dtype=np.int32)  # leaves 1..9 without 7, and 295..299
    scores, numbers = index.search(vectors(2, 8, seed=2)[1:], 400, [watched, watched])
    for row_scores, row in zip(scores, numbers, strict=True):
        assert sorted(row[:13]) == [1, 2, 3, 4, 5, 6, 8, 9, 295, 296, 297, 298, 299]
        assert not row[13:].any()
        assert np.isneginf(row_scores[13:]).all()
        assert (np.diff(row_scores[:13]) <= 0).all()


@pytest.mark.parametrize(("kind", "search"), KINDS)
def test_excludes_thousands(kind: Kind, search: dict[str, int]) -> None:
    item_vectors = vectors(6000, 8, seed=3)
    query = vectors(1, 8, seed=4)[1:]
    order = np.argsort(-(item_vectors[1:] @ query[0])) + 1
    watched = order[:4000].astype(np.int32)  # just those the search meets first
    _, numbers = FaissIndex.build(item_vectors, kind, search).search(query, 20, [watched])
    assert (numbers > 0).all()
    assert not np.isin(numbers, watched).any()
    if kind == Kind("Flat"):
        assert numbers[0].tolist() == order[4000:4020].tolist()


@pytest.mark.parametrize(("kind", "search"), KINDS)
def test_several_threads_at_once(kind: Kind, search: dict[str, int]) -> None:
    index, queries = FaissIndex.build(vectors(2000, 8, seed=3), kind, search), vectors(200, 8, seed=4)
    watched = [np.arange(n, 2000, 7, dtype=np.int32) for n in range(len(queries))]
    alone = [index.search(query[None], 10, [left]) for query, left in zip(queries, watched, strict=True)]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda n: index.search(queries[n][None], 10, [watched[n]]), range(len(queries))))
    np.testing.assert_array_equal([numbers for _, numbers in together], [numbers for _, numbers in alone])


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_flat_equals_exact(data: st.DataObject) -> None:
    items, dim, k = (data.draw(st.integers(1, most)) for most in (40, 6, 50))
    item_vectors = vectors(items, dim, data.draw(st.integers(0, 1000)), skew=data.draw(st.sampled_from([0.0, 1.5])))
    queries = vectors(3, dim, data.draw(st.integers(0, 1000)))[1:]
    watched = [np.array(data.draw(st.lists(st.integers(0, items), max_size=60)), np.int32) for _ in queries]
    exact_scores, exact_numbers = ExactIndex(item_vectors).search(queries, k, watched)
    scores, numbers = FaissIndex.build(item_vectors, Kind("Flat")).search(queries, k, watched)
    np.testing.assert_allclose(scores, exact_scores, rtol=1e-4, atol=1e-5)
    clear = np.ones(numbers.shape, bool)  # where the next score is not so near that rounding decides
    with np.errstate(invalid="ignore"):
        near = np.abs(np.diff(exact_scores, axis=1)) < 1e-4
    clear[:, 1:] &= ~near
    clear[:, :-1] &= ~near
    assert (numbers == exact_numbers)[clear].all()


@pytest.mark.parametrize("skew", [0.0, 1.0])
def test_recall_rises_with_nprobe(skew: float) -> None:
    item_vectors, queries = vectors(4000, 16, seed=5, skew=skew), vectors(50, 16, seed=6)[1:]
    exact, _ = ExactIndex(item_vectors).search(queries, 50)
    index = FaissIndex.build(item_vectors, Kind("IVF32,Flat"))
    reached = [
        recall(index.tuned(Effort(search={"nprobe": n})).search(queries, 50)[1], exact, queries, item_vectors)
        for n in (8, 16, 32)
    ]
    assert reached[0] < reached[1] < reached[2] == 1


def test_exact_orders_equal_scores_by_number() -> None:
    item_vectors = np.ones((60, 3), np.float32)
    item_vectors[0] = 0
    _, numbers = ExactIndex(item_vectors).search(np.ones((1, 3), np.float32), 20)
    assert numbers[0].tolist() == list(range(1, 21))


def test_recall_counts_either_of_two_equal_items() -> None:
    item_vectors = np.array([[0], [2], [1], [1]], np.float32)
    query, exact = np.array([[1]], np.float32), np.array([[2, 1]], np.float32)
    found = [
        recall(np.array([numbers], np.int32), exact, query, item_vectors) for numbers in ([1, 3], [1, 0], [3, 2])
    ]
    assert found == [1.0, 0.5, 1.0]


@pytest.mark.parametrize(("kind", "search"), KINDS)
def test_saves_and_opens(kind: Kind, search: dict[str, int], tmp_path: Path) -> None:
    item_vectors, queries = vectors(500, 8, seed=7), vectors(4, 8, seed=8)[1:]
    item_vectors[[3, 99]] = 0
    index = FaissIndex.build(item_vectors, kind, search)
    index.save(tmp_path)
    opened = FaissIndex.open(tmp_path, item_vectors, kind, Effort(search=search))
    assert opened.describe() == index.describe()
    for got, want in zip(opened.search(queries, 9), index.search(queries, 9), strict=True):
        np.testing.assert_array_equal(got, want)


def test_exact_saves_and_opens(tmp_path: Path) -> None:
    index, queries = ExactIndex(vectors(50, 4, seed=9)), vectors(2, 4, seed=10)
    index.save(tmp_path)
    np.testing.assert_array_equal(ExactIndex.open(tmp_path).search(queries, 5)[1], index.search(queries, 5)[1])


def test_open_refuses_what_is_no_index(tmp_path: Path) -> None:
    item_vectors = vectors(50, 4, seed=9)
    FaissIndex.build(item_vectors, Kind("Flat")).save(tmp_path)
    (tmp_path / "index.faiss").write_bytes((tmp_path / "index.faiss").read_bytes()[:200])
    with pytest.raises(CorruptError, match=r"index\.faiss"):
        FaissIndex.open(tmp_path, item_vectors, Kind("Flat"), Effort())


def test_nothing_trained() -> None:
    with pytest.raises(UsageError, match="no row that is not zero"):
        FaissIndex.build(np.zeros((5, 3), np.float32), Kind("Flat"))


@pytest.mark.parametrize("position", POSITIONS)
def test_finds_only_what_is_allowed(position: int) -> None:
    world = two_groups()
    index = index_at(position, world.item_vectors)
    allowed = np.zeros(201, bool)
    allowed[[3, 5, 8, 199, 200]] = True  # 200 has no vector
    _, numbers = index.search(
        world.user_vectors[[1, 2]], 3, [np.array([5], np.int32), np.array([], np.int32)], allowed
    )
    assert numbers[0].tolist() == [3, 199, 8]
    assert numbers[1].tolist()[0] == 8
    assert set(numbers[1].tolist()[1:]) <= {3, 5, 199}
