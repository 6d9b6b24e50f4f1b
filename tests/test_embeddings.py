"""What the study of embeddings measures of vectors, on tiny ones by hand and against brute force."""

import re
from dataclasses import replace
from typing import get_args

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import spearmanr

from evaluation.bootstrap import Difference, Estimate
from evaluation.embeddings import (
    MeasureScorer,
    correlation_error,
    fewer_users,
    first_layer,
    kinship,
    neighbours,
    serving,
    share_error,
    vectors_of,
)
from evaluation.embeddings_report import Section, accuracy, correlation, difference, estimate, placed, table
from evaluation.plots import bars
from evaluation.words import Accuracy, Measure, Similarity
from tests.worlds import random_export, vectors
from watchnext.config import ModelConfig
from watchnext.errors import UsageError
from watchnext.features import FeatureSpec, Float32
from watchnext.histories import Histories
from watchnext.inputs import UserInputs
from watchnext.linear import linear_weights
from watchnext.split import split
from watchnext.tower import UserTower

MEASURES: tuple[Measure, ...] = get_args(Measure)


def scorer(watched: Float32, items: Float32, rows: list[list[int]], measure: Measure) -> MeasureScorer:
    model = ModelConfig.linear(watched.shape[1], history=2)
    tower = UserTower(model, FeatureSpec(), watched, linear_weights(model))
    return MeasureScorer(tower, items, UserInputs(Histories.of(rows)), measure)


@pytest.mark.parametrize(
    ("measure", "order", "first"),
    [("dot", [1, 3, 2], 6), ("cosine", [1, 3, 2], 2**0.5), ("euclidean", [3, 2, 1], 2.1 - 2.21 / 2)],
)
def test_the_mean_of_the_last_watches_beside_items_by_hand(measure: Measure, order: list[int], first: float) -> None:
    watched = np.array([[0, 0], [2, 0], [0, 2], [9, 9], [0, 0]], np.float32)
    items = np.array([[0, 0], [3, 3], [1, 0], [1.1, 1], [0, 0]], np.float32)
    found = scorer(watched, items, [[3, 1, 2, 3]], measure).scores(np.array([1], np.int32), np.array([3]))[0]
    assert np.argsort(-found)[:3].tolist() == order  # beside (1, 1): the mean of (2, 0) and (0, 2)
    assert found[order[0]] == pytest.approx(first, abs=1e-6)
    assert found[[0, 4]].tolist() == [-np.inf, -np.inf]


@given(st.integers(0, 1000))
def test_euclidean_scores_order_as_distances_do(seed: int) -> None:
    watched, items = vectors(12, 3, seed, skew=1.0), vectors(12, 3, seed + 1, skew=1.0)
    found = scorer(watched, items, [[4, 7]], "euclidean").scores(np.array([1], np.int32), np.array([2]))[0, 1:]
    distances = np.linalg.norm(items[1:] - (watched[4] + watched[7]) / 2, axis=1)
    assert np.argsort(-found).tolist() == np.argsort(distances).tolist()


@given(st.integers(0, 1000), st.sampled_from(MEASURES), st.integers(1, 5))
def test_neighbours_against_sorting_everything(seed: int, measure: Measure, k: int) -> None:
    rows = vectors(20, 4, seed, skew=1.0)[1:]
    near = {
        "dot": rows @ rows.T,
        "cosine": rows @ rows.T / np.outer(*[np.linalg.norm(rows, axis=1)] * 2),
        "euclidean": -np.linalg.norm(rows[:, None] - rows[None], axis=2),
    }[measure]
    np.fill_diagonal(near, -np.inf)
    assert np.sort(neighbours(rows, k, measure)).tolist() == np.sort(np.argsort(-near)[:, :k]).tolist()


def test_shared_categories_of_films_by_hand() -> None:
    # On a line from left to right; the fourth has no category, the fifth no vector.
    films = np.array([[1, 0], [1, 0.1], [1, 0.3], [1, 0.31], [0, 0], [1, 2]], np.float32)
    categories = [["War"], ["War", "Drama"], ["Comedy"], None, ["War"], ["Drama", "Comedy"]]
    found = kinship(films, categories, 2, "euclidean")
    assert found is not None
    # War: near War Drama and Comedy. War Drama: War and Comedy. Comedy: War Drama and War. Last: Comedy, War Drama.
    assert found.shares.tolist() == [0.5, 0.5, 0, 1]
    assert found.chance == pytest.approx([1 / 3, 2 / 3, 1 / 3, 2 / 3])


def test_of_all_others_as_many_share_a_category_as_chance_says() -> None:
    rng = np.random.default_rng(1)
    categories = [[f"c{n}" for n in rng.integers(0, 6, 2)] for _ in range(30)]
    found = kinship(vectors(30, 4, 2)[1:], categories, 29, "cosine")
    assert found is not None
    assert found.shares == pytest.approx(found.chance)


def test_too_few_films_with_categories_say_nothing() -> None:
    assert kinship(np.ones((5, 2), np.float32), [None] * 5, 2, "cosine") is None
    assert kinship(np.ones((5, 2), np.float32), [["a"]] * 2 + [None] * 3, 2, "cosine") is None


def test_input_output_and_average_of_an_export() -> None:
    export = replace(random_export(5, 2, dim=3), watched_vectors=vectors(5, 3, 7))
    assert np.array_equal(vectors_of(export, "input"), export.watched_vectors)
    assert np.array_equal(vectors_of(export, "output"), export.item_vectors)
    both = np.stack([export.watched_vectors, export.item_vectors])
    assert vectors_of(export, "average") == pytest.approx(both.mean(0))


def test_what_serving_needs_is_the_size_of_the_arrays() -> None:
    export = random_export(300, 200, dim=16)
    needs = serving(300, 200, 16, one_table=False)
    assert needs.items * 2**20 == export.item_vectors.nbytes
    assert needs.stored * 2**20 == export.user_vectors.nbytes
    assert needs.fresh == needs.items
    assert serving(300, 200, 16, one_table=True) == needs._replace(fresh=0)


def test_weights_and_memory_of_first_layers_by_hand() -> None:
    sizes = {"items": 9, "touched": 2, "width": 4, "dim": 3, "examples": 5, "positions": 8}
    dense, rows, narrow = (first_layer(arm, **sizes) for arm in ("one-hot", "rows", "embeddings"))
    assert (dense.weights, dense.updated, dense.with_gradient) == (40, 1.0, 0.2)
    assert dense.megabytes * 2**20 / 4 == 40 + 2 * 40 + 40 + 5 * 10
    assert (rows.weights, rows.updated, rows.with_gradient) == (40, 0.2, 0.2)
    assert rows.megabytes * 2**20 / 4 == 40 + 2 * 40 + 2 * 4 + 8
    assert (narrow.weights, narrow.updated) == (10 * 3 + 3 * 4, (2 * 3 + 3 * 4) / 42)


def test_fewer_users_are_asked_for_the_same() -> None:
    ask = split(Histories.of([[1, 2, 3]] * 20 + [[1]]), "leave-one-out").test
    fewer = fewer_users(ask, 5)
    assert fewer.anything.sum() == 5
    assert np.array_equal(fewer.until[fewer.anything], ask.until[fewer.anything])
    assert np.array_equal(fewer.given, ask.given)
    assert fewer_users(ask, 20) is ask
    assert fewer_users(ask, None) is ask


def test_standard_errors_of_known_cases() -> None:
    assert correlation_error(0.0, 28) == pytest.approx(0.2)
    assert correlation_error(1.0, 28) == 0
    assert np.isnan(correlation_error(0.5, 3))
    assert share_error(0.5, 100) == pytest.approx(0.05)
    assert np.isnan(share_error(0.5, 0))
    assert list(correlation([Similarity(0.1, 28, 30), Similarity(-0.1, 28, 30)])) == pytest.approx([0, 0.2])
    assert list(accuracy([Accuracy(40, 100, 120), Accuracy(60, 100, 120)])) == pytest.approx([0.5, 0.05])


def test_the_error_of_a_correlation_is_the_spread_of_samples() -> None:
    rng, count, rho = np.random.default_rng(0), 100, 0.6
    pairs = rng.multivariate_normal([0, 0], [[1, rho], [rho, 1]], (2000, count))
    found = [float(spearmanr(*sample.T).statistic) for sample in pairs]
    assert correlation_error(float(np.mean(found)), count) == pytest.approx(np.std(found), rel=0.05)


def test_numbers_in_tables() -> None:
    assert estimate(Estimate(0.12345, 0.001)) == "0.1235 ± 0.0010"
    assert estimate(Estimate(0.5, float("nan")), 1) == "0.5"
    assert estimate(Estimate(float("nan"), float("nan"))) == "-"
    assert difference(None) == ""
    assert difference(Difference(0.0, 0.0, 0.0, 0.0, 1.0)) == "none for any user"
    assert difference(Difference(-0.01, 0.002, -0.014, -0.006, 1.0)) == "-0.0100 ± 0.0020, p = 1.000"
    assert table(["a", "b", "c"], [], words=2).splitlines()[1] == "| --- | --- | ---: |"


def section(question: int) -> Section:
    drawn = bars({"x": {"a": Estimate(1, 0.1)}}, ["a"], "y")
    return Section(question, "Why?", ["| a |", r"5 \1 % more"], {"plot": (drawn, "What is seen")})


def test_a_section_is_placed_into_a_document_as_it_is() -> None:
    document = "One\n<!-- question 1 -->\n<!-- end 1 -->\nTwo\n<!-- question 2 -->\nold\n\nold\n<!-- end 2 -->\nEnd\n"
    once = placed(document, section(2))
    assert once.startswith("One\n<!-- question 1 -->\n<!-- end 1 -->\nTwo\n<!-- question 2 -->\n| a |")
    assert "old" not in once
    assert r"5 \1 % more" in once
    assert "![What is seen](embeddings-2-plot.svg)\n<!-- end 2 -->\nEnd" in once
    assert placed(once, section(2)) == once
    with pytest.raises(UsageError, match=re.escape("<!-- question 3 -->")):
        placed(document, section(3))
