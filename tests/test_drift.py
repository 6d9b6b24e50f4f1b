"""The population stability index against values worked out by hand, and the reference that a release gives."""

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from index.exact import ExactIndex
from index.faiss_index import Changes, FaissIndex
from index.kinds import Kind
from index.recommender import Recommender
from serving.opened import best_scores
from serving.telemetry.drift import BINS, LEAST, ScoreReference, population_stability_index, shares
from tests.worlds import USERS, make_export, two_groups, vectors
from watchnext.errors import ReleaseRefusedError
from watchnext.features import Float32
from watchnext.histories import Int32

RNG = np.random.default_rng(5)


@pytest.mark.parametrize(
    ("expected", "actual", "psi"),
    [
        ([0.5, 0.5], [0.5, 0.5], 0.0),
        ([0.5, 0.5], [0.25, 0.75], math.log(3) / 4),  # -1/4 ln 1/2 + 1/4 ln 3/2
        ([0.2, 0.8], [0.8, 0.2], 1.2 * math.log(4)),  # .6 ln 4 + -.6 ln 1/4
        ([0.1] * 10, [0.2, *[0.1] * 8, 1e-9], 0.1 * math.log(2) + (1e-9 - 0.1) * math.log(1e-8)),
    ],
)
def test_known_values(expected: list[float], actual: list[float], psi: float) -> None:
    assert population_stability_index(expected, actual) == pytest.approx(psi, abs=1e-12)


Counts = st.lists(st.integers(0, 10_000), min_size=BINS, max_size=BINS)


@given(Counts, Counts)
def test_never_negative_the_same_both_ways_and_zero_for_equals(one: list[int], other: list[int]) -> None:
    psi = population_stability_index(shares(one), shares(other))
    assert psi >= 0
    assert psi == pytest.approx(population_stability_index(shares(other), shares(one)))
    assert population_stability_index(shares(one), shares(one)) == 0
    assert sum(shares(one)) == pytest.approx(1)


def reference(scores: object) -> ScoreReference:
    made = ScoreReference.of(np.array(scores, np.float32))
    assert made is not None
    return made


def test_deciles_of_a_hundred_scores() -> None:
    made = reference(range(1, 101))
    assert made.bounds == pytest.approx([10.9, 20.8, 30.7, 40.6, 50.5, 60.4, 70.3, 80.2, 90.1])
    assert made.counts == (10,) * BINS
    assert [made.bin(score) for score in (-5, 10, 11, 50, 51, 90, 91, 1e9)] == [0, 0, 1, 4, 5, 8, 9, 9]


def counted(made: ScoreReference, scores: object) -> list[int]:
    bins = [made.bin(score) for score in np.asarray(scores, np.float32).tolist()]
    return [bins.count(n) for n in range(BINS)]


def test_drift_of_the_same_and_of_another_population() -> None:
    made = reference(RNG.normal(0, 1, 2000))
    assert made.drift(counted(made, RNG.normal(0, 1, 2000))) < 0.05
    assert 0.1 < made.drift(counted(made, RNG.normal(0.5, 1, 2000))) < 0.4  # exact for whole distributions: .25
    assert made.drift(counted(made, RNG.normal(2, 1, 2000))) > 1


def test_equal_scores_do_not_drift_from_themselves() -> None:
    made = reference([1.0] * 600 + [2.0] * 400)
    assert made.drift(counted(made, [1.0] * 600 + [2.0] * 400)) == 0
    assert made.drift(counted(made, [1.0] * 100 + [2.0] * 900)) > 0.25


def test_few_scores_say_nothing() -> None:
    made = reference(range(100))
    assert math.isnan(made.drift([LEAST - 1, *[0] * 9]))
    assert made.drift([LEAST, *[0] * 9]) > 1


def test_no_scores_are_no_reference() -> None:
    assert ScoreReference.of(np.zeros(0, np.float32)) is None


def test_best_scores_are_those_of_answers() -> None:
    world = two_groups()
    found = best_scores(Recommender(world, ExactIndex(world.item_vectors), "r1"), k=5)
    first = [
        2 * ((u + 1) // 2) + (1 if u % 2 else 2) for u in range(1, USERS + 1)
    ]  # the first unwatched of the group
    assert sorted(found) == pytest.approx(sorted(1 - number / 1000 for number in first))


class Wrong(ExactIndex):
    """Finds what it should not."""

    def __init__(self, vectors: Float32, score: float, number: int) -> None:
        super().__init__(vectors)
        self._score, self._number = score, number

    def search(self, queries: Float32, k: int, *_: Any) -> tuple[Float32, Int32]:
        """The same for everybody."""
        shape = len(queries), k
        return np.full(shape, self._score, np.float32), np.full(shape, self._number, np.int32)


@pytest.mark.parametrize(
    ("score", "number", "got"), [(math.nan, 40, "not finite"), (1.0, 1, "watched already"), (1.0, 40, "comes twice")]
)
def test_a_release_with_wrong_answers_is_refused(score: float, number: int, got: str) -> None:
    world = two_groups()
    with pytest.raises(ReleaseRefusedError, match=got):
        best_scores(Recommender(world, Wrong(world.item_vectors, score, number), "r1"), k=5)


def test_who_has_watched_all_that_is_left_gets_nothing() -> None:
    world = replace(make_export(vectors(2, 4, 0), vectors(1, 4, 1), [[1]]), withdrawn=np.array([2], np.int32))
    built = FaissIndex.build(world.item_vectors, Kind("Flat"))
    changes = Changes(withdrawn=world.withdrawn)
    index = FaissIndex(built._index, world.item_vectors, built._numbers, built.kind, built.effort, changes)
    assert len(best_scores(Recommender(world, index, "r1"), k=5)) == 0


def test_users_without_a_vector_or_anything_left_have_no_best_score() -> None:
    world = make_export(vectors(3, 4, 0), vectors(3, 4, 1), [[1], [1, 2, 3], [2]])
    world.user_vectors[3] = 0
    found = best_scores(Recommender(world, ExactIndex(world.item_vectors), "r1"), k=5)
    expected = max(world.item_vectors[[2, 3]] @ world.user_vectors[1])
    assert found == pytest.approx([expected])
