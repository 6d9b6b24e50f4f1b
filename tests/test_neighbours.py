"""What lies near an item or a sum of items: by hand, against a naive float64 implementation, and against gensim."""

import math
import tracemalloc
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
from gensim.models import KeyedVectors
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import ArrayLike

from index.candidates import Candidate
from index.neighbours import MEASURES, Measure, Neighbours
from tests.worlds import make_export, vectors
from watchnext.errors import CorruptError, UsageError

ROOT = math.sqrt(2)
PLANE = [(1, 0), (2, 0), (1, 1), (0, 2), (0, 0), (-1, 0)]
"""Items 1 to 6 of a plane; 5 was never trained."""
TRIO = [(3, 0), (0, 1), (1, 1), (3, 1), (10, 0)]
"""Of items 1 and 2 each measure has another sum or nearest item."""


def neighbours(item_vectors: ArrayLike, watched_vectors: ArrayLike | None = None) -> Neighbours:
    """Over vectors of items 1, 2, ...."""
    rows = np.asarray(item_vectors, np.float32)
    item = np.vstack([np.zeros((1, rows.shape[1])), rows]).astype(np.float32)
    export = make_export(item, np.ones((2, rows.shape[1]), np.float32), [[1]])
    if watched_vectors is not None:
        watched = np.vstack([[0, 0], watched_vectors]).astype(np.float32)
        export = replace(export, watched_vectors=watched)
    return Neighbours(export)


def pairs(found: Sequence[Candidate]) -> list[tuple[int, float]]:
    return [(c.number, c.score) for c in found]


def near(expected: Sequence[tuple[int, float]]) -> list[tuple[int, object]]:
    return [(number, pytest.approx(score, abs=1e-6)) for number, score in expected]


@pytest.mark.parametrize(
    ("measure", "number", "expected"),
    [
        ("cosine", 1, [(2, 1), (3, 1 / ROOT), (4, 0), (6, -1)]),
        ("dot", 1, [(2, 2), (3, 1), (4, 0), (6, -1)]),
        ("euclidean", 1, [(2, 1), (3, 1), (6, 2), (4, math.sqrt(5))]),
        ("cosine", 3, [(1, 1 / ROOT), (2, 1 / ROOT), (4, 1 / ROOT), (6, -1 / ROOT)]),
        ("dot", 3, [(2, 2), (4, 2), (1, 1), (6, -1)]),
        ("euclidean", 3, [(1, 1), (2, ROOT), (4, ROOT), (6, math.sqrt(5))]),
    ],
)
def test_similar_by_hand(measure: Measure, number: int, expected: list[tuple[int, float]]) -> None:
    plane = neighbours(PLANE)
    assert pairs(plane.similar(number, 10, measure)) == near(expected)
    assert pairs(plane.similar(number, 2, measure)) == near(expected[:2])


@pytest.mark.parametrize(
    ("measure", "negative", "expected"),
    [
        ("cosine", False, [(3, 1), (4, 4 / math.sqrt(20)), (5, 1 / ROOT)]),
        ("dot", False, [(5, 30), (4, 10), (3, 4)]),
        ("euclidean", False, [(4, 0), (3, 2), (5, math.sqrt(50))]),
        ("cosine", True, [(5, 1 / ROOT), (4, 2 / math.sqrt(20)), (3, 0)]),
        ("dot", True, [(5, 30), (4, 8), (3, 2)]),
        ("euclidean", True, [(4, 2), (3, math.sqrt(8)), (5, math.sqrt(50))]),
    ],
)
def test_analogy_by_hand(measure: Measure, negative: bool, expected: list[tuple[int, float]]) -> None:
    added, taken = ([1], [2]) if negative else ([1, 2], [])
    assert pairs(neighbours(TRIO).analogy(added, taken, 10, measure)) == near(expected)


def test_the_parallelogram_is_completed_and_its_corners_are_left_out() -> None:
    spain, france, capital = np.eye(3, dtype=np.float32)
    world = neighbours([spain, spain + capital, france, france + capital, spain + france])
    for measure in MEASURES:
        assert world.analogy([2, 3], [1], 1, measure)[0].number == 4  # Madrid - Spain + France


def test_candidates_have_ids_and_titles() -> None:
    export = make_export(np.array([[0], [1], [2], [3]], np.float32), np.ones((2, 1), np.float32), [[1]], titles=True)
    found = Neighbours(export).similar(2, 5, "dot")
    assert found == [Candidate(3, "i3", "Video 3", 6.0), Candidate(1, "i1", "Video 1", 2.0)]


def test_both_tables_of_vectors() -> None:
    world = neighbours([(1, 0), (1, 0), (0, 1)], watched_vectors=[(1, 0), (0, 1), (1, 0)])
    assert pairs(world.similar(1, 5)) == [(2, 1.0), (3, 0.0)]
    assert pairs(world.similar(1, 5, vectors="watched")) == [(3, 1.0), (2, 0.0)]


@pytest.mark.parametrize("measure", MEASURES)
@pytest.mark.parametrize("items", [10, 11, 1001])
def test_equal_vectors_come_in_the_order_of_their_numbers(measure: Measure, items: int) -> None:
    equal = np.repeat(vectors(1, 33, seed=0)[1:], items, axis=0)
    other = vectors(1, 33, seed=1)[1:]
    found = neighbours(np.vstack([equal, other])).similar(items + 1, items, measure)
    assert [c.number for c in found] == list(range(1, items + 1))
    assert len({c.score for c in found}) == 1


def test_a_cosine_is_never_above_one() -> None:
    direction = vectors(1, 48, seed=5)[1:]
    found = neighbours(direction * np.linspace(0.1, 9, 200)[:, None]).similar(1, 200)
    assert max(c.score for c in found) <= 1
    assert min(c.score for c in found) == pytest.approx(1)


def test_near_vectors_far_from_the_origin_keep_their_distances() -> None:
    found = neighbours([(4096, 0), (4096, 0.5), (4096, 0.25)]).similar(1, 2, "euclidean")
    assert pairs(found) == [(3, 0.25), (2, 0.5)]


def test_what_cannot_be_asked() -> None:
    plane = neighbours(PLANE)
    assert [plane.has_vector(number) for number in range(1, 7)] == [True, True, True, True, False, True]
    assert not plane.has_vector(1, "watched")
    with pytest.raises(UsageError, match=r"item 'i5': got no vector"):
        plane.similar(5, 3)
    with pytest.raises(UsageError, match=r"item 'i5': got no vector"):
        plane.analogy([1], [5], 3)
    with pytest.raises(UsageError, match=r"k: got 0"):
        plane.similar(1, 0)
    with pytest.raises(UsageError, match=r"positive items: got none"):
        plane.analogy([], [1], 3)
    for number in (0, 7, -1):
        with pytest.raises(IndexError):
            plane.similar(number, 3)


@pytest.mark.parametrize("measure", MEASURES)
def test_terms_that_cancel_each_other_out(measure: Measure) -> None:
    for added, taken in (([1], [1]), ([1, 6], []), ([3, 4], [4, 3])):
        with pytest.raises(UsageError, match="cancel each other out"):
            neighbours(PLANE).analogy(added, taken, 3, measure)


def test_vectors_that_are_not_finite_are_refused() -> None:
    with pytest.raises(CorruptError, match="item_vectors: got a value that is not finite"):
        neighbours([(1, 0), (math.nan, 0)]).similar(1, 1)


def naive(rows: list[list[int]], added: list[int], taken: list[int], measure: Measure) -> dict[int, float]:
    """The scores of all items that may be found, in double precision, one multiplication at a time."""
    dims = range(len(rows[0]))
    lengths = [math.sqrt(sum(x * x for x in row)) for row in rows]
    query = [0.0 for _ in dims]
    for sign, numbers in ((1, added), (-1, taken)):
        for n in numbers:
            scale = sign / lengths[n - 1] if measure == "cosine" else sign
            query = [query[d] + scale * rows[n - 1][d] for d in dims]
    length = math.sqrt(sum(q * q for q in query))
    scores = {}
    for n, row in enumerate(rows, 1):
        if lengths[n - 1] and n not in (*added, *taken):
            dot = sum(x * q for x, q in zip(row, query, strict=True))
            apart = math.sqrt(sum((x - q) ** 2 for x, q in zip(row, query, strict=True)))
            scores[n] = {"cosine": dot / lengths[n - 1] / (length or 1), "dot": dot, "euclidean": apart}[measure]
    return scores if length > 1e-9 else {}


@given(st.data())
def test_equals_a_naive_implementation(data: st.DataObject) -> None:
    dim, items = data.draw(st.integers(1, 4)), data.draw(st.integers(2, 30))
    rows = data.draw(
        st.lists(st.lists(st.integers(-3, 3), min_size=dim, max_size=dim), min_size=items, max_size=items)
    )
    usable = [n for n, row in enumerate(rows, 1) if any(row)]
    terms = data.draw(st.lists(st.sampled_from(usable), min_size=1, max_size=4)) if usable else []
    cut = data.draw(st.integers(1, max(1, len(terms))))
    added, taken = terms[:cut], terms[cut:]
    measure: Measure = data.draw(st.sampled_from(MEASURES))
    k = data.draw(st.integers(1, 35))
    scores = naive(rows, added, taken, measure) if terms else {}
    if not scores:
        return  # nothing can be asked, or nothing is left
    found = neighbours(rows).analogy(added, taken, k, measure)
    best = sorted(scores.items(), key=lambda item: (item[1] if measure == "euclidean" else -item[1], item[0]))[:k]
    assert [c.score for c in found] == pytest.approx([score for _, score in best], abs=2e-6)
    for candidate in found:
        assert candidate.score == pytest.approx(scores[candidate.number], abs=2e-6)
    if measure != "cosine":  # of whole numbers, products and squares are exact, and so are ties
        assert [c.number for c in found] == [number for number, _ in best]


def test_cosine_equals_gensim() -> None:
    rows = vectors(300, 20, seed=3, skew=0.8)[1:]
    words = KeyedVectors(20)
    words.add_vectors([f"i{n}" for n in range(1, 301)], rows)
    world = neighbours(rows)
    for added, taken in (([7], []), ([7, 8], [9]), ([20, 30, 40], [50, 60])):
        expected = words.most_similar([f"i{n}" for n in added], [f"i{n}" for n in taken], topn=10)
        found = world.analogy(added, taken, 10)
        assert [c.id for c in found] == [word for word, _ in expected]
        assert [c.score for c in found] == pytest.approx([score for _, score in expected], abs=1e-6)


@pytest.mark.parametrize("measure", MEASURES)
def test_the_table_is_not_copied(measure: Measure) -> None:
    world = neighbours(vectors(50_000, 64, seed=0)[1:])  # 12.8 MB
    tracemalloc.start()
    try:
        world.similar(1, 10, measure)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < world.export.item_vectors.nbytes / 2


def test_several_threads_at_once() -> None:
    rows = vectors(2000, 16, seed=1)[1:]
    asked = [(n, measure) for n in range(1, 60) for measure in MEASURES]
    alone = [neighbours(rows).similar(n, 5, measure) for n, measure in asked]
    shared = neighbours(rows)
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(lambda one: shared.similar(one[0], 5, one[1]), asked)) == alone
