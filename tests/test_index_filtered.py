"""Searches among some of the items, for every kind of index, against the exact answer."""

from functools import cache

import numpy as np
import pytest

from index.exact import ExactIndex
from index.faiss_index import SPARE, Changes, FaissIndex
from index.interface import Bool
from index.kinds import Kind
from index.trial import Effort, FilteredStep
from tests.proposals import recorded
from tests.worlds import vectors
from watchnext.features import Float32
from watchnext.histories import Int32

ITEMS, DIM, K = 20_000, 16, 20
KINDS: list[tuple[Kind, dict[str, int]]] = [
    (Kind("Flat"), {}),
    (Kind("SQfp16"), {"k_factor": 2}),
    (Kind("SQ8"), {"k_factor": 8}),
    (Kind("IVF32,Flat"), {"nprobe": 32}),
    (Kind("IVF32,SQfp16", "l2"), {"nprobe": 32, "k_factor": 2}),
    (Kind("IVF32,SQ8"), {"nprobe": 32, "k_factor": 8}),
    (Kind("IVF32,PQ16x4fs"), {"nprobe": 32, "k_factor": 100}),
    (Kind("IVF32,RaBitQ"), {"nprobe": 32, "k_factor": 150}),
    (Kind("HNSW32"), {"efSearch": 1000}),
    (Kind("HNSW32,SQfp16"), {"efSearch": 1000, "k_factor": 2}),
    (Kind("IVF32,SQfp16", "cosine"), {"nprobe": 32, "k_factor": 100}),
    (Kind("HNSW32,SQfp16", "l2"), {"efSearch": 1000, "k_factor": 2}),
    (Kind("HNSW32,SQfp16", "cosine"), {"efSearch": 2000, "k_factor": 100}),
]
"""Each so thorough that it finds what there is: a wrong filter then shows."""
SHARES = (1.0, 0.95, 0.5, 0.1, 0.01, 0.001, 0.0001)
kinds = pytest.mark.parametrize("position", range(len(KINDS)), ids=[kind.describe() for kind, _ in KINDS])


@cache
def world() -> tuple[Float32, Float32]:
    """Item vectors with some that were never trained, and 5 queries."""
    item_vectors = vectors(ITEMS, DIM, seed=1)
    item_vectors[50:ITEMS:97] = 0
    return item_vectors, vectors(5, DIM, seed=2)[1:]


@cache
def built(position: int) -> FaissIndex:
    return FaissIndex.build(world()[0], *KINDS[position])


def drawn(share: float, seed: int = 3) -> Bool:
    chosen = np.zeros(ITEMS + 1, bool)
    chosen[np.random.default_rng(seed).permutation(ITEMS)[: max(1, round(share * ITEMS))] + 1] = True
    return chosen


def best_watched(count: int, seed: int = 4) -> list[Int32]:
    """For each query the items that it would find first, and as many others, in no order."""
    item_vectors, queries = world()
    rng = np.random.default_rng(seed)
    first = np.argsort(-(queries @ item_vectors.T), axis=1)[:, :count]
    others = rng.integers(1, ITEMS + 1, (len(queries), count))
    return [rng.permutation(row).astype(np.int32) for row in np.concatenate([first, others], axis=1)]


def same(index: FaissIndex, allowed: Bool | None, watched: list[Int32] | None, k: int, least: float) -> None:
    """Only what may be found is, scores are dot products, and at least a share of the exact answer is there."""
    item_vectors, queries = world()
    exact_scores, exact = ExactIndex(item_vectors).search(queries, k, watched, allowed)
    scores, numbers = index.search(queries, k, watched, allowed)
    assert ((numbers > 0) == (exact > 0)).all()
    for row, query in enumerate(queries):
        found = numbers[row][numbers[row] > 0]
        assert len(set(found.tolist())) == len(found)
        assert allowed is None or allowed[found].all()
        assert watched is None or not np.isin(found, watched[row]).any()
        np.testing.assert_allclose(scores[row][: len(found)], item_vectors[found] @ query, rtol=1e-4, atol=1e-5)
        assert (np.diff(scores[row][: len(found)]) <= 0).all()
        assert np.isneginf(scores[row][len(found) :]).all()
    right = (scores >= exact_scores.min(axis=1, keepdims=True, where=exact > 0, initial=np.inf) - 1e-4) & (exact > 0)
    assert right.sum() >= least * (exact > 0).sum()


@kinds
@pytest.mark.parametrize("share", SHARES)
@pytest.mark.parametrize("scan_below", [0, 2_000])
def test_among_a_share(position: int, share: float, scan_below: int) -> None:
    index = built(position)
    index = index.tuned(index.effort.model_copy(update={"scan_below": scan_below}))
    least = 0.95 if share > 0.02 or not index.kind.is_graph or scan_below else 0.0  # a graph loses its way
    same(index, drawn(share), None, K, least)


@kinds
@pytest.mark.parametrize("share", [1.0, 0.3, 0.001])
def test_thousands_were_watched(position: int, share: float) -> None:
    kind = built(position).kind
    least = 0.6 if kind.factory.endswith("RaBitQ") else 0.8 if kind.is_graph else 0.95  # 3,000 places further down
    same(built(position), drawn(share), best_watched(3_000), K, least)
    same(built(position), None, best_watched(3_000), K, least)


@kinds
@pytest.mark.parametrize("left", [0, 1, 19])
def test_k_beyond_what_is_left(position: int, left: int) -> None:
    allowed = drawn(0.02)
    watched = np.flatnonzero(allowed).astype(np.int32)[left:]
    same(built(position), allowed, [watched] * 5, K, 1.0)
    all_but = np.arange(1, ITEMS + 1 - left, dtype=np.int32)
    same(built(position), None, [all_but] * 5, K, 1.0)


@kinds
def test_allowed_items_far_from_the_query(position: int) -> None:
    item_vectors, queries = world()
    far = queries[0] @ item_vectors.T < 0  # half of the items, and none of the first query's best
    far[0] = False
    same(built(position), far, None, K, 0.7 if built(position).kind.is_graph else 0.95)


@kinds
def test_changes_since_the_build(position: int) -> None:
    item_vectors, queries = world()
    rng = np.random.default_rng(5)
    changed = item_vectors.copy()
    best = np.unique(np.argsort(-(queries @ item_vectors.T), axis=1)[:, :30])
    withdrawn, moved = np.sort(rng.permutation(best)[:40]), np.sort(rng.integers(1, ITEMS, 30))
    moved = np.setdiff1d(moved, withdrawn)
    changed[withdrawn] = 0
    changed[moved] = rng.normal(size=(len(moved), DIM)) * 3  # among the best now
    added = rng.normal(size=(10, DIM)).astype(np.float32) * 3
    changed = np.concatenate([changed, added]).astype(np.float32)
    fresh = np.concatenate([moved, np.arange(ITEMS + 1, ITEMS + 11)]).astype(np.int32)
    old = built(position)
    index = FaissIndex(
        old._index, changed, old._numbers, old.kind, old.effort, Changes(fresh, withdrawn.astype(np.int32))
    )
    exact_scores, exact = ExactIndex(changed).search(queries, K)
    scores, numbers = index.search(queries, K)
    assert np.isin(exact, fresh).any()
    assert not np.isin(numbers, withdrawn).any()
    assert (scores >= exact_scores[:, -1:] - 1e-4).mean() >= 0.95
    allowed = np.zeros(len(changed), bool)
    allowed[[*fresh[:3], *withdrawn[:3], 1, 2, 3]] = True
    _, few = index.search(queries, K, allowed=allowed)
    assert {n for n in few[0].tolist() if n} == {*fresh[:3].tolist(), 1, 2, 3}


@pytest.mark.parametrize("untrained", [slice(0, 1), slice(0, 700), slice(900, 2_001), slice(5, 2_001, 7)])
@pytest.mark.parametrize("kind", ["SQfp16", "HNSW32", "IVF8,Flat"])
def test_masks_with_and_without_gaps_among_the_trained(kind: str, untrained: slice) -> None:
    item_vectors, query = vectors(2_000, DIM, seed=1), vectors(1, DIM, seed=2)[1:]
    item_vectors[untrained] = 0
    allowed = np.random.default_rng(3).random(2_001) < 0.6
    index = FaissIndex.build(item_vectors, Kind(kind), {"nprobe": 8, "efSearch": 1000})
    found = index.search(query, K, allowed=allowed)[1]
    np.testing.assert_array_equal(found, ExactIndex(item_vectors).search(query, K, allowed=allowed)[1])


@pytest.mark.parametrize("kind", ["Flat", "IVF8,Flat"])
def test_half_of_the_items_withdrawn_cost_no_second_search(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    item_vectors, queries = vectors(4_000, DIM, seed=1), vectors(30, DIM, seed=2)[1:]
    built = FaissIndex.build(item_vectors, Kind(kind), {"nprobe": 8} if kind != "Flat" else {})
    withdrawn = np.sort(np.random.default_rng(3).permutation(4_000)[:2_000] + 1).astype(np.int32)
    index = FaissIndex(
        built._index, item_vectors, built._numbers, built.kind, built.effort, Changes(withdrawn=withdrawn)
    )
    asked = recorded(monkeypatch)
    item_vectors = item_vectors.copy()
    item_vectors[withdrawn] = 0
    for query in queries:
        found = index.search(query[None], K)[1]
        np.testing.assert_array_equal(found, ExactIndex(item_vectors).search(query[None], K)[1])
    assert len(asked) == len(queries)


def test_fewer_allowed_items_are_searched_with_more_effort() -> None:
    steps = tuple(
        FilteredStep(share=share, search={"nprobe": nprobe}, microseconds=1, scan_microseconds=1)
        for share, nprobe in ((0.5, 8), (0.25, 32))
    )
    effort = Effort(search={"nprobe": 1}, filtered=steps)
    item_vectors, queries = world()
    index = FaissIndex.build(item_vectors, Kind("IVF32,Flat")).tuned(effort)

    def found(share: float) -> float:
        allowed = drawn(share)
        exact = ExactIndex(item_vectors).search(queries, K, allowed=allowed)[1]
        numbers = index.search(queries, K, allowed=allowed)[1]
        return float(np.mean([len(set(a) & set(b)) for a, b in zip(numbers, exact, strict=True)])) / K

    assert found(1.0) < 0.7 < found(0.4) == found(0.3) == found(0.1) == 1.0
    assert found(0.6) < 1.0


@pytest.mark.parametrize("kind", ["Flat", "IVF8,Flat"])
def test_items_that_were_never_trained_make_no_share_larger(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    item_vectors = vectors(2_000, DIM, seed=1)
    item_vectors[1::2] = 0
    query = vectors(1, DIM, seed=2)[1:]
    best = np.argsort(-(item_vectors @ query[0]))[:5]
    index = FaissIndex.build(item_vectors, Kind(kind), {"nprobe": 8} if kind != "Flat" else {})
    asked = recorded(monkeypatch)
    allowed = np.arange(2_001) > 0
    allowed[best] = False
    found = index.search(query, K, allowed=allowed)[1]
    half = np.arange(2_001) > 1_000
    index.search(query, K, allowed=half)
    assert not np.isin(found, best).any()
    assert asked == [(K + len(best), False), (K + SPARE, True)]
